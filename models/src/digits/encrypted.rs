//! The network on ciphertexts: the same three layers, written without a scale or a level.
//!
//! The 64 pixels repeat through all slots. A layer is a product by diagonals
//! ([`scheduler::dsl::linear::matvec`]), a bias and a square; the 10 logits are the first slots of the output.

use super::plain::{Linear, Network};
use super::{CLASSES, INPUTS};
use scheduler::dsl::linear::matvec;
use scheduler::dsl::{self, Encrypted, Program};

/// Name of the program's input: 64 pixels, scaled to `[0, 1]`.
pub const INPUT: &str = "pixels";
/// Name of the program's output: 10 logits.
pub const OUTPUT: &str = "logits";

/// The network as a program: five levels, 3 matrix products, 2 squares.
///
/// # Errors
/// None for a network that could be built; what the DSL says otherwise.
pub fn program(network: &Network) -> scheduler::Result<Program> {
    let weights = network.weights();
    dsl::build("digits", |g| {
        let x = g.input(INPUT, INPUTS)?;
        let h1 = linear(x, "layer1", &weights.layer1)?.square();
        let h2 = linear(h1, "layer2", &weights.layer2)?.square();
        let logits = linear(h2, "layer3", &weights.layer3)?;
        g.output(OUTPUT, logits, CLASSES)
    })
}

/// `W x + b`; the bias is padded with zeros to the period of the product.
fn linear<'g, const I: usize, const O: usize>(
    x: Encrypted<'g>,
    name: &str,
    layer: &Linear<I, O>,
) -> scheduler::Result<Encrypted<'g>> {
    let y = matvec(x, &format!("{name}.weight"), layer.weight().data(), O, I)?;
    let mut bias = layer.bias().to_vec();
    bias.resize(y.period(), 0.0);
    Ok(y + x.graph().plain(&format!("{name}.bias"), &bias)?)
}
