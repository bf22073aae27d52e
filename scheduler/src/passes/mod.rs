//! The passes on `ckks_ir` and on `poly_ir`, and the order in which they run: [`CKKS`], then
//! [`crate::lower::ckks`], then [`POLY`].
//!
//! Every pass is a function from a verified function to a verified function; in debug builds, tests
//! included, the verifier runs after each. Passes on `ckks_ir` preserve messages; of those on placed functions
//! [`absorb_drops`], [`scalars_in_sums`] and [`raise`] change bits. Passes on `poly_ir` preserve bits.

pub mod absorb_drops;
pub mod calls;
pub mod cse;
pub mod dce;
pub mod expand_bootstraps;
pub mod expand_transforms;
pub mod fuse;
mod min_cut;
pub mod order;
mod overrides;
pub mod place;
pub mod place_bootstraps;
pub mod raise;
pub mod realness;
pub mod scalars_in_sums;
pub mod simplify;
pub mod split_products;

use std::sync::Arc;

use fhe_core::params::Params;

use crate::ckks_ir;
use crate::compile::PassStat;
use crate::error::Result;
use crate::plan::Plan;
use crate::poly_ir;

/// A pass on `ckks_ir`.
#[derive(Clone, Copy, Debug)]
pub struct CkksPass {
    /// Its name.
    pub name: &'static str,
    /// The pass, on a function and its callees.
    pub run: fn(&ckks_ir::Function, &Params) -> Result<ckks_ir::Function>,
}

/// A pass on `poly_ir`.
#[derive(Clone, Copy, Debug)]
pub struct PolyPass {
    /// Its name.
    pub name: &'static str,
    /// The pass, on one function.
    pub run: fn(poly_ir::Function) -> poly_ir::Function,
}

/// A function after its callees: but for the passes that decide about calls, each is a pass on one function.
fn each(
    function: &ckks_ir::Function,
    pass: impl Fn(&ckks_ir::Function) -> Result<ckks_ir::Function>,
) -> Result<ckks_ir::Function> {
    function.everywhere(&pass)
}

/// A function before its callees, which it looks into.
fn top_down(
    function: &ckks_ir::Function,
    pass: &dyn Fn(&ckks_ir::Function) -> Result<ckks_ir::Function>,
) -> Result<ckks_ir::Function> {
    let mut out = pass(function)?;
    for callee in &mut out.callees {
        *callee = Arc::new(top_down(callee, pass)?);
    }
    Ok(out)
}

/// The pipeline on `ckks_ir`.
pub const CKKS: &[CkksPass] = &[
    // Products that need no level (x * 2, x * -1) must be gone before levels are counted.
    CkksPass { name: "simplify", run: |f, p| each(f, |f| Ok(simplify::simplify(f, p))) },
    // Equal values first, so that dce sees which copies have no use left.
    CkksPass { name: "cse", run: |f, _| each(f, |f| Ok(cse::cse(f))) },
    // Dead values would ask for levels.
    CkksPass { name: "dce", run: |f, _| each(f, |f| Ok(dce::dce(f))) },
    // Of the whole program, since a bootstrap in one place saves those in others.
    CkksPass { name: "place_bootstraps", run: place_bootstraps::place_bootstraps },
    // Pairs of real values are one bootstrap, in functions too.
    CkksPass { name: "mark_real", run: |f, _| Ok(realness::mark_real(f)) },
    // Calls, so that bootstrapping is compiled once where there are several.
    CkksPass {
        name: "expand_bootstraps",
        run: |f, p| top_down(f, &|f| expand_bootstraps::expand_bootstraps(f, p)),
    },
    // Before levels are counted, for what is expanded is folded with its surroundings.
    CkksPass { name: "inline_calls", run: calls::inline_calls },
    // The levels of calls are known now, if every transform takes one.
    CkksPass { name: "specialise", run: calls::specialise },
    // What is known now is the level where each transform runs, which is where its split is cheap or dear.
    CkksPass {
        name: "expand_transforms",
        run: |f, p| each(f, |f| expand_transforms::expand_transforms(f, p)),
    },
    // Diagonals of one number are scalars; a rotation or a constant may be there already; constants were turned.
    CkksPass { name: "expanded_simplify", run: |f, p| each(f, |f| Ok(simplify::simplify(f, p))) },
    CkksPass { name: "expanded_cse", run: |f, _| each(f, |f| Ok(cse::cse(f))) },
    CkksPass { name: "expanded_dce", run: |f, _| each(f, |f| Ok(dce::dce(f))) },
    // Levels, scales, relinearization, rescale, level_drop; those that the user wrote are kept.
    CkksPass { name: "place", run: |f, p| each(f, |f| place::place(f, p)) },
    // Placement may make equal values of what differed only in where it was needed.
    CkksPass { name: "placed_cse", run: |f, _| each(f, |f| Ok(cse::cse(f))) },
    // Bits are free until the freeze. After placed_cse, which has one form of what several want.
    CkksPass { name: "absorb_drops", run: |f, p| each(f, |f| Ok(absorb_drops::absorb_drops(f, p))) },
    // Before raise, which knows what plaintexts of a short period cost.
    CkksPass { name: "scalars_in_sums", run: |f, p| each(f, |f| Ok(scalars_in_sums::scalars_in_sums(f, p))) },
    // Bits are still free here. After placed_cse, so that a form that several want is paid for once.
    CkksPass { name: "raise", run: |f, p| each(f, |f| raise::raise(f, p)) },
    CkksPass { name: "placed_dce", run: |f, _| each(f, |f| Ok(dce::dce(f))) },
    // Last, so that lowering finds what it may batch side by side.
    CkksPass { name: "order_by_level", run: |f, _| each(f, |f| Ok(order::by_level(f))) },
];

/// The pipeline on `poly_ir`.
pub const POLY: &[PolyPass] = &[
    // A sum of products becomes one inner product: one reduction, one pass over memory. So does the automorphism of a raised rotation.
    PolyPass { name: "fuse_inner_products", run: fuse::fuse_inner_products },
    // What is added to a part of a sum is what that part starts from.
    PolyPass { name: "split_products", run: split_products::split_products },
    PolyPass { name: "fuse_parts", run: fuse::fuse_inner_products },
    // The end of a key switch: adding c_0 and permuting are done where the quotient is written.
    PolyPass { name: "fuse_divisions", run: fuse::fuse_divisions },
    PolyPass { name: "poly_dce", run: dce::poly_dce },
];

/// What the pipelines tell while they run, so that a caller with a clock can time them.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// A pass begins.
    Begin(&'static str),
    /// A pass is done, and what it made.
    End(PassStat, Stage<'a>),
}

/// A program on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage<'a> {
    /// Operations on ciphertexts.
    Ckks(&'a ckks_ir::Function),
    /// Operations on polynomials.
    Poly(&'a poly_ir::Function),
    /// What is executed.
    Plan(&'a Plan),
}

/// The levels that a function without kinds needs under some parameters.
///
/// # Errors
/// [`crate::Error::TooDeep`] when they have fewer.
pub fn levels_needed(function: &ckks_ir::Function, params: &Params) -> Result<u32> {
    let mut function = function.clone();
    for pass in CKKS.iter().take_while(|pass| pass.name != "place") {
        function = (pass.run)(&function, params)?;
    }
    Ok(place::lowest_levels(&function, params)?.into_iter().map(|level| level.0).max().unwrap_or(0))
}

/// Runs [`CKKS`].
///
/// # Errors
/// Of the passes; [`crate::Error::Verify`] in debug builds when one breaks a rule.
pub fn run_ckks(
    mut function: ckks_ir::Function,
    params: &Params,
    event: &mut dyn FnMut(Event<'_>),
) -> Result<ckks_ir::Function> {
    for pass in CKKS {
        event(Event::Begin(pass.name));
        let before = function.n_values();
        function = (pass.run)(&function, params)?;
        if cfg!(debug_assertions) {
            ckks_ir::verify::verify(&function, Some(params), pass.name)?;
        }
        let stat = PassStat { pass: pass.name, before, after: function.n_values() };
        event(Event::End(stat, Stage::Ckks(&function)));
    }
    Ok(function)
}

/// Runs [`POLY`].
///
/// # Errors
/// [`crate::Error::Verify`] in debug builds when a pass breaks a rule.
pub fn run_poly(
    mut function: poly_ir::Function,
    params: &Params,
    event: &mut dyn FnMut(Event<'_>),
) -> Result<poly_ir::Function> {
    for pass in POLY {
        event(Event::Begin(pass.name));
        let before = function.n_values();
        function = function.everywhere(pass.run);
        if cfg!(debug_assertions) {
            poly_ir::verify::verify(&function, params, pass.name)?;
        }
        let stat = PassStat { pass: pass.name, before, after: function.n_values() };
        event(Event::End(stat, Stage::Poly(&function)));
    }
    Ok(function)
}
