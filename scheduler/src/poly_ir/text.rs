//! The text form: prints and parses back.
//!
//! ```text
//! polynomials "square" {
//!   encoded #0 = constant 0 level 1 scale 50.0 0.0
//!   slots #0 = constant 1 level 1 scale 50.0 0.0
//!   input 0 [0-3]
//!   %0 = input 0 1 : eval [0-3] @0/1
//!   %1 = intt %0 : coeff [0-3] @4/1
//!   %2 = key relinearization 0 1 : eval [0-3, 12-15] @4/1
//!   %3 = inner_product [%0 * %2, %1 * %2] init %0 : eval [0-3] @4/1
//!   output 0 0 %3
//! }
//! ```
//!
//! After the colon: domain and limbs, in ranges. After `@`: the `ckks_ir` value and the level of
//! [`super::Origin`].

use core::fmt;
use std::sync::Arc;

use fhe_core::math::double::Double;
use fhe_core::params::{GaloisElement, Level, LimbIdx};

use super::{Call, Domain, Encoded, EncodedIdx, Function, Op, Origin, Output, PolyId, SlotsIdx, Value};
use crate::ckks_ir::{CallIdx, CalleeIdx, ConstId, InputIdx, OutputIdx, ValueId};
use crate::error::{Error, Result};
use crate::plan::KeyId;
use crate::text::{Line, lines, quote};

/// Ascending limbs as ranges.
struct Basis<'a>(&'a [LimbIdx]);

impl fmt::Display for Basis<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for limb in self.0 {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == limb.0 => *last = limb.0,
                _ => ranges.push((limb.0, limb.0)),
            }
        }
        let range = |&(a, b): &(u32, u32)| if a == b { a.to_string() } else { format!("{a}-{b}") };
        write!(f, "[{}]", ranges.iter().map(range).collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relinearization => write!(f, "relinearization"),
            Self::Galois(g) => write!(f, "galois {g}"),
            Self::ToSparse => write!(f, "to_sparse"),
            Self::ToDense => write!(f, "to_dense"),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())?;
        match self {
            Self::Input { input, poly } => write!(f, " {} {poly}", input.0),
            Self::Constant(e) => write!(f, " #{}", e.0),
            Self::EmbedInverse(s) => write!(f, " #{}", s.0),
            Self::Result { call, result, poly } => write!(f, " {call} {result} {poly}"),
            Self::Key { key, digit, half } => write!(f, " {key} {digit} {half}"),
            Self::Ntt(a) | Self::Intt(a) | Self::RoundResidues(a) | Self::Slice(a) | Self::Neg(a) => {
                write!(f, " {a}")
            }
            Self::ConvertBasis { a, before, after } => {
                write!(f, " {a}")?;
                let scalars = [("before", before), ("after", after)];
                scalars
                    .iter()
                    .filter(|(_, s)| !s.is_empty())
                    .try_for_each(|(name, s)| write!(f, " {name} {s:?}"))
            }
            Self::Concat(parts) => {
                write!(f, " [{}]", parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
            Self::Add(a, b) | Self::Sub(a, b) => write!(f, " {a}, {b}"),
            Self::InnerProduct { terms, init, times, galois } => {
                let terms: Vec<String> = terms.iter().map(|(a, b)| format!("{a} * {b}")).collect();
                write!(f, " [{}]", terms.join(", "))?;
                init.map_or(Ok(()), |a| write!(f, " init {a}"))?;
                if !times.is_empty() {
                    write!(f, " times {times:?}")?;
                }
                if *galois == GaloisElement(1) { Ok(()) } else { write!(f, " galois {galois}") }
            }
            Self::MulScalar(a, s) | Self::AddScalar(a, s) => write!(f, " {a}, {s:?}"),
            Self::SubMulScalar { a, b, scalars, add, galois } => {
                write!(f, " {a}, {b}, {scalars:?}")?;
                add.map_or(Ok(()), |c| write!(f, " add {c}"))?;
                if *galois == GaloisElement(1) { Ok(()) } else { write!(f, " galois {galois}") }
            }
            Self::Automorphism(a, g) => write!(f, " {a}, {g}"),
        }
    }
}

impl fmt::Display for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hi, lo) = self.log_scale.parts();
        write!(f, "constant {} level {} scale {hi:?} {lo:?}", self.constant.0, self.level)?;
        if self.raised {
            f.write_str(" raised")?;
        }
        if self.log_repeat > 0 { write!(f, " repeat {}", self.log_repeat) } else { Ok(()) }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eval => f.write_str("eval"),
            Self::Coeff => f.write_str("coeff"),
            Self::Real => f.write_str("real"),
            Self::Repeated(log_repeat) => write!(f, "repeated {log_repeat}"),
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "polynomials {} {{", quote(&self.name))?;
        for callee in &self.callees {
            callee.to_string().lines().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        for (name, list) in [("encoded", &self.encoded), ("slots", &self.slots)] {
            for (i, encoded) in list.iter().enumerate() {
                writeln!(f, "  {name} #{i} = {encoded}")?;
            }
        }
        for (i, basis) in self.inputs.iter().enumerate() {
            writeln!(f, "  input {i} {}", Basis(basis))?;
        }
        for (i, call) in (0u32..).zip(&self.calls) {
            let Call { callee, arguments, constants, name } = call;
            let arguments: Vec<String> = arguments.iter().map(|[a, b]| format!("{a} {b}")).collect();
            let constants: Vec<String> = constants.iter().map(|c| c.0.to_string()).collect();
            let (id, name) = (CallIdx(i), quote(name));
            let (arguments, constants) = (arguments.join(", "), constants.join(", "));
            writeln!(f, "  call {id} {name} {callee} [{arguments}] constants [{constants}]")?;
        }
        for id in self.ids() {
            let Value { op, basis, domain, origin } = self.value(id);
            writeln!(f, "  {id} = {op} : {domain} {} @{}/{}", Basis(basis), origin.value.0, origin.level)?;
        }
        for output in &self.outputs {
            writeln!(f, "  output {} {} {}", output.output.0, output.poly, output.value)?;
        }
        writeln!(f, "}}")
    }
}

/// Parses the text form.
///
/// # Errors
/// [`Error::Parse`] names the line. The result is not verified.
pub fn parse(text: &str) -> Result<Function> {
    let mut all = lines(text)?.into_iter();
    let Some(mut head) = all.next() else {
        return Err(Error::Parse { line: 1, problem: "expected `polynomials`, found nothing".to_owned() });
    };
    head.expect("polynomials")?;
    let function = parse_function(&mut head, &mut all, text.lines().count())?;
    match all.next() {
        Some(line) => Err(line.error("expected the end of the text")),
        None => Ok(function),
    }
}

/// A function whose first word is read, up to its brace. `end` is the last line of the text.
fn parse_function(head: &mut Line, all: &mut dyn Iterator<Item = Line>, end: usize) -> Result<Function> {
    let mut function = Function { name: head.string()?, ..Function::default() };
    head.punct('{')?;
    head.done()?;
    while let Some(mut line) = all.next() {
        if line.take_punct('}') {
            line.done()?;
            return Ok(function);
        }
        if line.take("polynomials") {
            let callee = parse_function(&mut line, &mut *all, end)?;
            function.callees.push(Arc::new(callee));
            continue;
        }
        parse_line(&mut line, &mut function)?;
        line.done()?;
    }
    Err(Error::Parse { line: end, problem: "expected `}`, found the end".to_owned() })
}

fn parse_line(line: &mut Line, function: &mut Function) -> Result<()> {
    if line.take("encoded") {
        parse_listed(line, "encoded", &mut function.encoded)?;
    } else if line.take("slots") {
        parse_listed(line, "slots", &mut function.slots)?;
    } else if line.take("input") {
        if line.number::<usize>()? != function.inputs.len() {
            return Err(line.error(format!("expected input {}", function.inputs.len())));
        }
        let basis = parse_basis(line)?;
        function.inputs.push(basis);
    } else if line.take("call") {
        if line.id('!')? as usize != function.calls.len() {
            return Err(line.error(format!("expected call {}", CallIdx(function.calls.len() as u32))));
        }
        let name = line.string()?;
        let callee = CalleeIdx(line.id('&')?);
        let arguments = line.list(|line| Ok([poly(line)?, poly(line)?]))?;
        line.expect("constants")?;
        let constants = line.list(|line| line.number().map(ConstId))?;
        function.calls.push(Call { callee, arguments, constants, name });
    } else if line.take("output") {
        let (output, poly) = (OutputIdx(line.number()?), line.number()?);
        function.outputs.push(Output { output, poly, value: PolyId(line.id('%')?) });
    } else {
        if line.id('%')? as usize != function.values.len() {
            return Err(line.error(format!("expected value %{}", function.values.len())));
        }
        line.punct('=')?;
        let op = parse_op(line)?;
        line.punct(':')?;
        let domain = if line.take("eval") {
            Domain::Eval
        } else if line.take("real") {
            Domain::Real
        } else if line.take("repeated") {
            Domain::Repeated(line.number()?)
        } else {
            line.expect("coeff")?;
            Domain::Coeff
        };
        let basis = parse_basis(line)?;
        line.punct('@')?;
        let value = ValueId(line.number()?);
        line.punct('/')?;
        let origin = Origin { value, level: Level(line.number()?) };
        function.values.push(Value { op, basis, domain, origin });
    }
    Ok(())
}

fn parse_listed(line: &mut Line, name: &str, list: &mut Vec<Encoded>) -> Result<()> {
    if line.id('#')? as usize != list.len() {
        return Err(line.error(format!("expected {name} #{}", list.len())));
    }
    line.punct('=')?;
    list.push(parse_encoded(line)?);
    Ok(())
}

/// How a constant is encoded.
pub(crate) fn parse_encoded(line: &mut Line) -> Result<Encoded> {
    line.expect("constant")?;
    let constant = ConstId(line.number()?);
    line.expect("level")?;
    let level = Level(line.number()?);
    line.expect("scale")?;
    let log_scale = parse_scale(line)?;
    let raised = line.take("raised");
    let log_repeat = if line.take("repeat") { line.number()? } else { 0 };
    Ok(Encoded { constant, level, log_scale, raised, log_repeat })
}

/// The two parts of a scale.
pub(crate) fn parse_scale(line: &mut Line) -> Result<Double> {
    Ok(Double::from_parts(line.number()?, line.number()?))
}

/// A key's name.
pub(crate) fn parse_key(line: &mut Line) -> Result<KeyId> {
    if line.take("relinearization") {
        return Ok(KeyId::Relinearization);
    }
    for (name, key) in [("to_sparse", KeyId::ToSparse), ("to_dense", KeyId::ToDense)] {
        if line.take(name) {
            return Ok(key);
        }
    }
    line.expect("galois")?;
    Ok(KeyId::Galois(GaloisElement(line.number()?)))
}

/// The most limbs that a text may name: what parameters may have.
const MAX_LIMBS: u32 = 2048;

fn parse_basis(line: &mut Line) -> Result<Vec<LimbIdx>> {
    let ranges = line.list(|line| {
        let word = line.word()?;
        let (a, b) = word.split_once('-').unwrap_or((&word, &word));
        match (a.parse::<u32>(), b.parse::<u32>()) {
            (Ok(a), Ok(b)) if a <= b && b < MAX_LIMBS => Ok((a, b)),
            _ => Err(line.error(format!("expected a range of limbs, found `{word}`"))),
        }
    })?;
    Ok(ranges.into_iter().flat_map(|(a, b)| a..=b).map(LimbIdx).collect())
}

fn poly(line: &mut Line) -> Result<PolyId> {
    line.id('%').map(PolyId)
}

fn after_comma(line: &mut Line) -> Result<PolyId> {
    line.punct(',')?;
    poly(line)
}

fn scalars(line: &mut Line) -> Result<Vec<u64>> {
    line.punct(',')?;
    line.list(Line::number)
}

fn parse_op(line: &mut Line) -> Result<Op> {
    let name = line.word()?;
    Ok(match name.as_str() {
        "input" => Op::Input { input: InputIdx(line.number()?), poly: line.number()? },
        "constant" => Op::Constant(EncodedIdx(line.id('#')?)),
        "embed_inverse" => Op::EmbedInverse(SlotsIdx(line.id('#')?)),
        "round_residues" => Op::RoundResidues(poly(line)?),
        "result" => Op::Result { call: CallIdx(line.id('!')?), result: line.number()?, poly: line.number()? },
        "key" => Op::Key { key: parse_key(line)?, digit: line.number()?, half: line.number()? },
        "ntt" => Op::Ntt(poly(line)?),
        "intt" => Op::Intt(poly(line)?),
        "convert_basis" => {
            let a = poly(line)?;
            let mut scalars = |name| if line.take(name) { line.list(Line::number) } else { Ok(Vec::new()) };
            Op::ConvertBasis { a, before: scalars("before")?, after: scalars("after")? }
        }
        "slice" => Op::Slice(poly(line)?),
        "neg" => Op::Neg(poly(line)?),
        "concat" => Op::Concat(line.list(poly)?),
        "add" => Op::Add(poly(line)?, after_comma(line)?),
        "sub" => Op::Sub(poly(line)?, after_comma(line)?),
        "inner_product" => {
            let terms = line.list(|line| {
                let a = poly(line)?;
                line.punct('*')?;
                Ok((a, poly(line)?))
            })?;
            let init = if line.take("init") { Some(poly(line)?) } else { None };
            let times = if line.take("times") { line.list(Line::number)? } else { Vec::new() };
            let galois = GaloisElement(if line.take("galois") { line.number()? } else { 1 });
            Op::InnerProduct { terms, init, times, galois }
        }
        "mul_scalar" => Op::MulScalar(poly(line)?, scalars(line)?),
        "add_scalar" => Op::AddScalar(poly(line)?, scalars(line)?),
        "sub_mul_scalar" => {
            let (a, b, scalars) = (poly(line)?, after_comma(line)?, scalars(line)?);
            let add = if line.take("add") { Some(poly(line)?) } else { None };
            let galois = GaloisElement(if line.take("galois") { line.number()? } else { 1 });
            Op::SubMulScalar { a, b, scalars, add, galois }
        }
        "automorphism" => {
            let a = poly(line)?;
            line.punct(',')?;
            Op::Automorphism(a, GaloisElement(line.number()?))
        }
        _ => return Err(line.error(format!("no operation `{name}`"))),
    })
}
