//! The rules of `poly_ir`. [`verify`] checks them all; the name of the broken one is in the error.
//!
//! | rule | |
//! |---|---|
//! | `order` | operands come before their use |
//! | `index` | inputs, encoded constants, digits, halves, limbs of keys, polynomials and outputs named by index exist |
//! | `basis` | a basis is ascending and of limbs that exist; it is empty for an `embed_inverse` and for nothing else |
//! | `encode` | a `round_residues` rounds an `embed_inverse`, over the basis of the level of its slots |
//! | `type` | basis and domain of operands and result are what the operation says |
//! | `convert` | a conversion's bases are disjoint, its source has at most 64 limbs, its result at most 256 |
//! | `terms` | an inner product has 1 to 768 terms |
//! | `repeat` | a constant that is stored once a run of equal values has runs of 16 to N / 2; it is only sliced, and the first factor of products |
//! | `scalar` | there is one residue a limb, each below its prime |
//! | `galois` | a Galois element is odd and below 2N |
//! | `call` | callees, calls and results named by index exist; arguments are values over the bases of the callee's inputs and come before the results; each constant of a callee is one of the caller's; a callee keeps these rules |
//! | `output` | every output has polynomials 0 and 1, in order, evaluation domain, of one basis |

use fhe_core::params::{GaloisElement, LimbIdx, Params};
use kernels_gpu::abi::{MAX_CONVERT_SOURCES, MAX_CONVERT_TARGETS, MAX_TERMS};

use super::calls::output_basis;
use super::{Call, Domain, Encoded, Function, Op, PolyId, Value};
use crate::error::{Error, Result};

type Broken = (&'static str, String);

/// Checks every rule. `after` is named in the error.
///
/// # Errors
/// [`Error::Verify`] for the first broken rule.
pub fn verify(function: &Function, params: &Params, after: &str) -> Result<()> {
    check(function, params).map_err(|(rule, problem)| Error::Verify {
        after: after.to_owned(),
        rule,
        problem,
    })
}

fn check(function: &Function, params: &Params) -> core::result::Result<(), Broken> {
    let n_primes = params.primes().len();
    let basis_ok = |basis: &[LimbIdx]| {
        !basis.is_empty()
            && basis.windows(2).all(|w| w[0] < w[1])
            && basis.last().is_none_or(|l| l.idx() < n_primes)
    };
    for (i, basis) in function.inputs.iter().enumerate() {
        if !basis_ok(basis) {
            return Err(("basis", format!("input {i} has {basis:?}")));
        }
    }
    for callee in &function.callees {
        check(callee, params).map_err(|(rule, problem)| (rule, format!("{:?}: {problem}", callee.name)))?;
    }
    for (i, call) in function.calls.iter().enumerate() {
        check_call(function, call).map_err(|problem| ("call", format!("!{i} {:?}: {problem}", call.name)))?;
    }
    for id in function.ids() {
        let value = function.value(id);
        if let Some(late) = value.op.operands().find(|&a| a >= id) {
            return Err(("order", format!("{id} reads {late}")));
        }
        let real = matches!(value.op, Op::EmbedInverse(_));
        if if real { !value.basis.is_empty() } else { !basis_ok(&value.basis) } {
            return Err(("basis", format!("{id} has {:?}", value.basis)));
        }
        check_value(function, params, id)?;
    }
    for (i, pair) in function.outputs.chunks(2).enumerate() {
        for (j, output) in pair.iter().enumerate() {
            if output.value.0 as usize >= function.values.len() {
                return Err(("index", format!("output {i} returns {}", output.value)));
            }
            let value = function.value(output.value);
            let placed = output.output.0 as usize == i && usize::from(output.poly) == j;
            if !placed || value.domain != Domain::Eval {
                return Err(("output", format!("entry {i}, {j} is {output:?}, {:?}", value.domain)));
            }
        }
        let [first, second] = pair else {
            return Err(("output", format!("output {i} has one polynomial")));
        };
        if function.value(first.value).basis != function.value(second.value).basis {
            return Err(("output", format!("the polynomials of output {i} have two bases")));
        }
    }
    Ok(())
}

/// Constants of a function: those that it encodes or gives to calls are below this.
fn n_constants(function: &Function) -> u32 {
    let encoded = function.encoded.iter().chain(&function.slots).map(|e| e.constant);
    let given = function.calls.iter().flat_map(|call| call.constants.iter().copied());
    encoded.chain(given).map(|c| c.0 + 1).max().unwrap_or(0)
}

fn check_call(function: &Function, call: &Call) -> core::result::Result<(), String> {
    let callee = function.callee(call).ok_or_else(|| format!("{} is not there", call.callee))?;
    let (found, expected) = (call.arguments.len(), callee.inputs.len());
    if found != expected {
        return Err(format!("{found} arguments, expected {expected}"));
    }
    let (found, expected) = (call.constants.len(), n_constants(callee));
    if found < expected as usize {
        return Err(format!("{found} constants, expected {expected}"));
    }
    for (basis, &id) in
        callee.inputs.iter().zip(&call.arguments).flat_map(|(b, pair)| pair.iter().map(move |id| (b, id)))
    {
        let value =
            function.values.get(id.0 as usize).ok_or_else(|| format!("argument {id} is not there"))?;
        if &value.basis != basis || value.domain != Domain::Eval {
            return Err(format!(
                "argument {id} is {:?} over {:?}, expected values over {basis:?}",
                value.domain, value.basis
            ));
        }
    }
    Ok(())
}

fn check_value(function: &Function, params: &Params, id: PolyId) -> core::result::Result<(), Broken> {
    let value = function.value(id);
    let get = |a: &PolyId| function.value(*a);
    let typed = |ok: bool, what: &str| {
        if ok { Ok(()) } else { Err(("type", format!("{id}: {} needs {what}", value.op.name()))) }
    };
    let index = |ok: bool| {
        if ok { Ok(()) } else { Err(("index", format!("{id}: {} of what is not there", value.op.name()))) }
    };
    let same = |a: &Value, b: &Value| a.basis == b.basis && a.domain == b.domain;
    let eval = value.domain == Domain::Eval;
    match &value.op {
        Op::Input { input, poly } => {
            let basis = function.inputs.get(input.0 as usize);
            index(basis.is_some() && *poly < 2)?;
            typed(eval && basis == Some(&value.basis), "the input's basis, evaluation domain")
        }
        Op::Result { call, result, poly } => {
            let callee = function.calls.get(call.0 as usize).and_then(|call| function.callee(call));
            let basis = callee.and_then(|callee| output_basis(callee, *result));
            let known = basis.is_some() && *poly < 2;
            let late = function.needs(&value.op).into_iter().find(|&a| a >= id);
            if !known || late.is_some() {
                let problem =
                    format!("{id} is result {result} {poly} of {call}, which is not there or comes later");
                return Err(("call", problem));
            }
            typed(eval && basis == Some(&value.basis[..]), "the basis of the callee's output, as values")
        }
        Op::Constant(encoded) => {
            let encoded = function.encoded.get(encoded.0 as usize);
            let basis = encoded.and_then(|e| e.basis(params).ok());
            index(basis.is_some())?;
            let domain = encoded.map(Encoded::domain) == Some(value.domain);
            typed(domain && basis.is_some_and(|b| b == value.basis), "the basis of its level, its domain")?;
            if encoded.is_some_and(|e| e.has_runs_of(params.log_n())) {
                return Ok(());
            }
            Err(("repeat", format!("{id} is stored in runs of {:?}", value.domain)))
        }
        Op::EmbedInverse(slots) => {
            let found = function.slots.get(slots.0 as usize);
            index(found.is_some_and(|e| params.level(e.level).is_ok() && e.log_repeat == 0))?;
            typed(value.domain == Domain::Real, "no domain but that of doubles")
        }
        Op::RoundResidues(a) => {
            typed(value.domain == Domain::Coeff, "the coefficient domain")?;
            let basis = function.slots_of(*a).and_then(|e| e.basis(params).ok());
            if basis.is_some_and(|basis| basis == value.basis) {
                return Ok(());
            }
            Err(("encode", format!("{id} rounds {a} over {:?}", value.basis)))
        }
        Op::Key { key, digit, half } => {
            let limbs = key.limbs(params).unwrap_or_default();
            let there = value.basis.iter().all(|limb| limbs.contains(limb));
            index(*digit < key.n_digits(params) && *half < 2 && there)?;
            typed(eval, "the evaluation domain")
        }
        Op::Ntt(a) => {
            let from = get(a);
            typed(eval && from.domain == Domain::Coeff && from.basis == value.basis, "coefficients")
        }
        Op::Intt(a) => {
            let from = get(a);
            typed(!eval && from.domain == Domain::Eval && from.basis == value.basis, "values")
        }
        Op::ConvertBasis { a, before, after } => {
            let from = get(a);
            typed(!eval && from.domain == Domain::Coeff, "coefficients")?;
            for (of, scalars) in [(from, before), (value, after)].into_iter().filter(|(_, s)| !s.is_empty()) {
                check_scalars(params, id, of, scalars)?;
            }
            let disjoint = from.basis.iter().all(|l| !value.basis.contains(l));
            let few = from.basis.len() <= MAX_CONVERT_SOURCES && value.basis.len() <= MAX_CONVERT_TARGETS;
            if disjoint && few {
                return Ok(());
            }
            Err(("convert", format!("{id} from {:?} to {:?}", from.basis, value.basis)))
        }
        Op::Slice(a) => {
            let from = get(a);
            let subset = value.basis.iter().all(|l| from.basis.contains(l));
            typed(subset && from.domain == value.domain, "an operand with these limbs")
        }
        Op::Concat(parts) => {
            let mut union: Vec<LimbIdx> = parts.iter().flat_map(|p| get(p).basis.clone()).collect();
            union.sort_unstable();
            let one_domain = parts.iter().all(|p| get(p).domain == value.domain);
            let whole = parts.len() >= 2 && one_domain && union == value.basis;
            typed(eval && whole, "disjoint parts that make its basis, as values")
        }
        Op::Add(a, b) | Op::Sub(a, b) => {
            typed(eval && same(get(a), value) && same(get(b), value), "operands of its type, as values")
        }
        Op::Neg(a) => typed(eval && same(get(a), value), "an operand of its type, as values"),
        Op::InnerProduct { terms, init, times, galois } => {
            let first = |a: &Value| {
                same(a, value) || (a.basis == value.basis && matches!(a.domain, Domain::Repeated(_)))
            };
            let factors = terms.iter().all(|(a, b)| first(get(a)) && same(get(b), value));
            let all = factors && init.iter().all(|a| same(get(a), value));
            typed(eval && all, "operands of its type, as values; first factors repeated or not")?;
            if !(1..=MAX_TERMS).contains(&terms.len()) {
                return Err(("terms", format!("{id} has {}, expected 1 to {MAX_TERMS}", terms.len())));
            }
            if init.is_some() && !times.is_empty() {
                check_scalars(params, id, value, times)?;
            } else if !times.is_empty() {
                return Err(("scalar", format!("{id} has {times:?} times nothing")));
            }
            check_galois(params, id, *galois)
        }
        Op::MulScalar(a, scalars) | Op::AddScalar(a, scalars) => {
            typed(eval && same(get(a), value), "an operand of its type, as values")?;
            check_scalars(params, id, value, scalars)
        }
        Op::SubMulScalar { scalars, galois, .. } => {
            let all = value.op.operands().all(|a| same(get(&a), value));
            typed(eval && all, "operands of its type, as values")?;
            check_scalars(params, id, value, scalars)?;
            check_galois(params, id, *galois)
        }
        Op::Automorphism(a, g) => {
            typed(same(get(a), value), "an operand of its type")?;
            check_galois(params, id, *g)
        }
    }
}

fn check_galois(params: &Params, id: PolyId, g: GaloisElement) -> core::result::Result<(), Broken> {
    if g.0 % 2 == 1 && u64::from(g.0) < 2 * params.n() as u64 {
        return Ok(());
    }
    Err(("galois", format!("{id} has {g}")))
}

fn check_scalars(
    params: &Params,
    id: PolyId,
    value: &Value,
    scalars: &[u64],
) -> core::result::Result<(), Broken> {
    let below = value.basis.iter().zip(scalars).all(|(&l, &s)| s < params.prime(l));
    if below && scalars.len() == value.basis.len() {
        return Ok(());
    }
    Err(("scalar", format!("{id} has {scalars:?}")))
}
