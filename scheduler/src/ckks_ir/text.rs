//! The text form: prints and parses back.
//!
//! ```text
//! function "square" {
//!   input "x" period 4
//!   input "z" period 4 complex
//!   constant #0 "w" [1.0, 2.0, (0.5 -1.0), 0.0]
//!   constant #1 "long" period 64 digest 00112233445566778899aabbccddeeff
//!   transform $0 "matrix" [0 #0, 3 #1]
//!   %0 = input 0 {level 1 canonical degree 1}
//!   %1 = mul_plain %0, #0 {level 1 product degree 1} bound 2.0 mean 0.5 "scaled" at "src/net.rs:12:9" from "src/main.rs:7:5"
//!   output "y" slots 4 %1
//! }
//! ```
//!
//! The callees of a function stand before its inputs; a callee's first line has its variants and, once they are known, its levels:
//!
//! ```text
//! function "network" {
//!   function "layer" variants 2 levels [3] to [2] {
//!     input "argument 0" period 4
//!     constant #0 "w" [1.0, 2.0]                    ; a family: 1.0 in variant 0, 2.0 in variant 1
//!     ...
//!   }
//!   call !0 "layer[0]" &0 variant 0 [%0]
//!   %1 = result !0 0
//! }
//! ```
//!
//! Each line may end with the [`Location`] that it came from, and those of the calls that led there.
//!
//! Constants of at most [`SHORT`] elements are printed in full; longer ones by digest, and their data is
//! given to [`parse`] beside the text.

use core::fmt;
use std::sync::Arc;

use fhe_core::params::Level;
use num_complex::Complex64;

use super::{
    Bound, Call, CallIdx, CalleeIdx, ConstId, Constant, Expansion, Function, Input, InputIdx, Interface,
    Kind, Location, Op, Output, Scalar, Scale, Transform, TransformIdx, Unit, Value, ValueId,
};
use crate::error::{Error, Result};
use crate::text::{Line, lines, quote};

/// The longest constant that is printed in full.
pub const SHORT: usize = 8;

impl Constant {
    /// The first 16 bytes of the BLAKE3 hash of the elements, in hex.
    pub fn digest(&self) -> String {
        let mut bytes = Vec::with_capacity(self.values.len() * 16);
        for z in &self.values {
            bytes.extend_from_slice(&z.re.to_le_bytes());
            bytes.extend_from_slice(&z.im.to_le_bytes());
        }
        blake3::hash(&bytes).as_bytes()[..16].iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "function {}", quote(&self.name))?;
        if self.variants != 1 {
            write!(f, " variants {}", self.variants)?;
        }
        if let Some(Interface { inputs, outputs }) = &self.interface {
            write!(f, " levels [{}] to [{}]", joined(inputs), joined(outputs))?;
        }
        writeln!(f, " {{")?;
        for callee in &self.callees {
            callee.to_string().lines().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        for input in &self.inputs {
            let at = Ending(&input.at);
            let complex = if input.complex { " complex" } else { "" };
            writeln!(f, "  input {} period {}{complex}{at}", quote(&input.name), input.period)?;
        }
        for (i, constant) in self.constants.iter().enumerate() {
            write!(f, "  constant #{i} {} ", quote(&constant.name))?;
            if constant.values.len() > SHORT {
                let (digest, at) = (constant.digest(), Ending(&constant.at));
                let period = constant.period(self.variants);
                writeln!(f, "period {period} digest {digest}{at}")?;
                continue;
            }
            let element = |z: &Complex64| {
                if z.im == 0.0 { format!("{:?}", z.re) } else { format!("({:?} {:?})", z.re, z.im) }
            };
            let elements = constant.values.iter().map(element).collect::<Vec<_>>().join(", ");
            writeln!(f, "[{elements}]{}", Ending(&constant.at))?;
        }
        for (i, transform) in (0u32..).zip(&self.transforms) {
            let diagonals = transform.diagonals.iter().map(|(d, c)| format!("{d} {c}"));
            let (id, name, at) = (TransformIdx(i), quote(&transform.name), Ending(&transform.at));
            writeln!(f, "  transform {id} {name} [{}]{at}", diagonals.collect::<Vec<_>>().join(", "))?;
        }
        for (i, call) in (0u32..).zip(&self.calls) {
            let (id, name, at) = (CallIdx(i), quote(&call.name), Ending(&call.at));
            let expansion = match call.expansion {
                Expansion::ByRule => "",
                Expansion::Never => " called",
                Expansion::Always => " expanded",
            };
            let (callee, variant, arguments) = (call.callee, call.variant, joined(&call.arguments));
            writeln!(f, "  call {id} {name} {callee} variant {variant} [{arguments}]{expansion}{at}")?;
        }
        for id in self.ids() {
            let value = self.value(id);
            write!(f, "  {id} = {}", value.op)?;
            if let Some(kind) = value.kind {
                write!(f, " {{{kind}}}")?;
            }
            if let Some(bound) = value.bound {
                write!(f, "{bound}")?;
            }
            if let Some(name) = &value.name {
                write!(f, " {}", quote(name))?;
            }
            writeln!(f, "{}", Ending(&value.at))?;
        }
        for output in &self.outputs {
            let (name, at) = (quote(&output.name), Ending(&output.at));
            writeln!(f, "  output {name} slots {} {}{at}", output.slots, output.value)?;
        }
        writeln!(f, "}}")
    }
}

fn joined<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The end of a line: ` at "..." from "..."`.
struct Ending<'a>(&'a Option<Location>);

impl fmt::Display for Ending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stack = self.0.iter().flat_map(Location::stack);
        for (i, at) in stack.enumerate() {
            write!(f, " {} {}", if i == 0 { "at" } else { "from" }, quote(&at.innermost()))?;
        }
        Ok(())
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())?;
        match self {
            Self::Input(i) => write!(f, " {}", i.0),
            Self::Add(a, b) | Self::Sub(a, b) | Self::Mul(a, b) => write!(f, " {a}, {b}"),
            Self::Neg(a)
            | Self::Conjugate(a)
            | Self::Relinearize(a)
            | Self::Rescale(a)
            | Self::ModDown(a)
            | Self::ModDownRescale(a) => write!(f, " {a}"),
            Self::AddPlain(a, c) | Self::SubPlain(a, c) | Self::MulPlain(a, c) | Self::MulI(a, c) => {
                write!(f, " {a}, {c}")
            }
            Self::AddScalar(a, s) | Self::MulScalar(a, s) => write!(f, " {a}, {:?}", s.value()),
            Self::Rotate(a, k) => write!(f, " {a}, {k}"),
            Self::LevelDrop(a, level) => write!(f, " {a}, {level}"),
            Self::LinearTransform(a, t) => write!(f, " {a}, {t}"),
            Self::Bootstrap(a, period) => write!(f, " {a}, {period}"),
            Self::ModRaise(a, level, s) => write!(f, " {a}, {level}, {:?}", s.value()),
            Self::Result(c, i) => write!(f, " {c} {i}"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = match self.scale {
            Scale::Canonical => "canonical",
            Scale::Product => "product",
        };
        let raised = if self.raised { " raised" } else { "" };
        write!(f, "level {} {scale} degree {}{raised}", self.level, self.degree)
    }
}

/// Parses the text form. `data` holds the constants that the text gives by digest, in any order.
///
/// # Errors
/// [`Error::Parse`] names the line. The result is not verified.
pub fn parse(text: &str, data: &[Constant]) -> Result<Function> {
    let mut all = lines(text)?.into_iter();
    let Some(mut head) = all.next() else {
        return Err(Error::Parse { line: 1, problem: "expected `function`, found nothing".to_owned() });
    };
    head.expect("function")?;
    let end = text.lines().count();
    let function = parse_function(&mut head, &mut all, end, data)?;
    match all.next() {
        Some(line) => Err(line.error("expected the end of the text")),
        None => Ok(function),
    }
}

/// A function whose first word is read, up to its brace. `end` is the last line of the text.
fn parse_function(
    head: &mut Line,
    all: &mut dyn Iterator<Item = Line>,
    end: usize,
    data: &[Constant],
) -> Result<Function> {
    let mut function = Function { name: head.string()?, ..Function::default() };
    if head.take("variants") {
        function.variants = head.number()?;
    }
    if head.take("levels") {
        let inputs = head.list(|line| line.number().map(Level))?;
        head.expect("to")?;
        function.interface = Some(Interface { inputs, outputs: head.list(|line| line.number().map(Level))? });
    }
    head.punct('{')?;
    head.done()?;
    while let Some(mut line) = all.next() {
        if line.take_punct('}') {
            line.done()?;
            return Ok(function);
        }
        if line.take("function") {
            let callee = parse_function(&mut line, &mut *all, end, data)?;
            function.callees.push(Arc::new(callee));
            continue;
        }
        parse_line(&mut line, &mut function, data)?;
        line.done()?;
    }
    Err(Error::Parse { line: end, problem: "expected `}`, found the end".to_owned() })
}

fn parse_line(line: &mut Line, function: &mut Function, data: &[Constant]) -> Result<()> {
    if line.take("input") {
        let name = line.string()?;
        line.expect("period")?;
        let (period, complex) = (line.number()?, line.take("complex"));
        function.inputs.push(Input { name, period, complex, at: parse_ending(line)? });
        return Ok(());
    }
    if line.take("constant") {
        if line.id('#')? as usize != function.constants.len() {
            return Err(line.error(format!("expected constant #{}", function.constants.len())));
        }
        let name = line.string()?;
        let values = if line.take("period") {
            let period: usize = line.number()?;
            line.expect("digest")?;
            let digest = line.word()?;
            let len = period.saturating_mul(function.variants as usize);
            let found = data.iter().find(|c| c.values.len() == len && c.digest() == digest);
            found.ok_or_else(|| line.error(format!("no data with digest {digest}")))?.values.clone()
        } else {
            line.list(|line| {
                if !line.take_punct('(') {
                    return Ok(Complex64::new(line.number()?, 0.0));
                }
                let z = Complex64::new(line.number()?, line.number()?);
                line.punct(')')?;
                Ok(z)
            })?
        };
        function.constants.push(Constant { name, values, at: parse_ending(line)? });
        return Ok(());
    }
    if line.take("transform") {
        if line.id('$')? as usize != function.transforms.len() {
            return Err(line.error(format!("expected transform ${}", function.transforms.len())));
        }
        let name = line.string()?;
        let diagonals = line.list(|line| Ok((line.number()?, ConstId(line.id('#')?))))?;
        function.transforms.push(Transform { name, diagonals, at: parse_ending(line)? });
        return Ok(());
    }
    if line.take("call") {
        if line.id('!')? as usize != function.calls.len() {
            return Err(line.error(format!("expected call {}", CallIdx(function.calls.len() as u32))));
        }
        let name = line.string()?;
        let callee = CalleeIdx(line.id('&')?);
        line.expect("variant")?;
        let variant = line.number()?;
        let arguments = line.list(value)?;
        let expansion = if line.take("called") {
            Expansion::Never
        } else if line.take("expanded") {
            Expansion::Always
        } else {
            Expansion::ByRule
        };
        let at = parse_ending(line)?;
        function.calls.push(Call { callee, variant, arguments, expansion, name, at });
        return Ok(());
    }
    if line.take("output") {
        let name = line.string()?;
        line.expect("slots")?;
        let slots = line.number()?;
        function.outputs.push(Output { name, slots, value: value(line)?, at: parse_ending(line)? });
        return Ok(());
    }
    if line.id('%')? as usize != function.values.len() {
        return Err(line.error(format!("expected value %{}", function.values.len())));
    }
    line.punct('=')?;
    let op = parse_op(line)?;
    let kind = if line.take_punct('{') { Some(parse_kind(line)?) } else { None };
    let bound = if line.take("bound") { Some(parse_bound(line)?) } else { None };
    let name = if line.at_string() { Some(line.string()?) } else { None };
    let at = parse_ending(line)?;
    function.values.push(Value { op, kind, bound, name, at });
    Ok(())
}

fn parse_bound(line: &mut Line) -> Result<Bound> {
    let largest = line.number()?;
    line.expect("mean")?;
    let mean = line.number()?;
    let of = match line.take("of") {
        false => Unit::One,
        true if line.take("raised") => Unit::Raised,
        true => {
            line.expect("returned")?;
            Unit::Returned
        }
    };
    Ok(Bound { of, largest, mean })
}

fn parse_ending(line: &mut Line) -> Result<Option<Location>> {
    let mut stack = Vec::new();
    while line.take(if stack.is_empty() { "at" } else { "from" }) {
        let text = line.string()?;
        let at = Location::parse(&text);
        stack.push(
            at.ok_or_else(|| line.error(format!("expected `file:line:column`, found {}", quote(&text))))?,
        );
    }
    let outwards = stack.into_iter().rev();
    Ok(outwards.fold(None, |caller, at| Some(Location { caller: caller.map(Arc::new), ..at })))
}

fn value(line: &mut Line) -> Result<ValueId> {
    line.id('%').map(ValueId)
}

fn parse_op(line: &mut Line) -> Result<Op> {
    let name = line.word()?;
    if name == "input" {
        return Ok(Op::Input(InputIdx(line.number()?)));
    }
    if name == "result" {
        return Ok(Op::Result(CallIdx(line.id('!')?), line.number()?));
    }
    let a = value(line)?;
    let unary = match name.as_str() {
        "neg" => Some(Op::Neg(a)),
        "conjugate" => Some(Op::Conjugate(a)),
        "relinearize" => Some(Op::Relinearize(a)),
        "rescale" => Some(Op::Rescale(a)),
        "mod_down" => Some(Op::ModDown(a)),
        "mod_down_rescale" => Some(Op::ModDownRescale(a)),
        _ => None,
    };
    if let Some(op) = unary {
        return Ok(op);
    }
    line.punct(',')?;
    Ok(match name.as_str() {
        "add" => Op::Add(a, value(line)?),
        "sub" => Op::Sub(a, value(line)?),
        "mul" => Op::Mul(a, value(line)?),
        "add_plain" => Op::AddPlain(a, ConstId(line.id('#')?)),
        "sub_plain" => Op::SubPlain(a, ConstId(line.id('#')?)),
        "mul_plain" => Op::MulPlain(a, ConstId(line.id('#')?)),
        "mul_i" => Op::MulI(a, ConstId(line.id('#')?)),
        "add_scalar" => Op::AddScalar(a, Scalar::new(line.number()?)),
        "mul_scalar" => Op::MulScalar(a, Scalar::new(line.number()?)),
        "rotate" => Op::Rotate(a, line.number()?),
        "level_drop" => Op::LevelDrop(a, Level(line.number()?)),
        "linear_transform" => Op::LinearTransform(a, TransformIdx(line.id('$')?)),
        "bootstrap" => Op::Bootstrap(a, line.number()?),
        "mod_raise" => {
            let level = Level(line.number()?);
            line.punct(',')?;
            Op::ModRaise(a, level, Scalar::new(line.number()?))
        }
        _ => return Err(line.error(format!("no operation `{name}`"))),
    })
}

fn parse_kind(line: &mut Line) -> Result<Kind> {
    line.expect("level")?;
    let level = Level(line.number()?);
    let scale = match line.word()?.as_str() {
        "canonical" => Scale::Canonical,
        "product" => Scale::Product,
        other => return Err(line.error(format!("expected `canonical` or `product`, found `{other}`"))),
    };
    line.expect("degree")?;
    let degree = line.number()?;
    let raised = line.take("raised");
    line.punct('}')?;
    Ok(Kind { level, scale, degree, raised })
}
