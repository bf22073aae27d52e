//! What a program costs at each stage, counted; and stages as graphs for Graphviz.
//!
//! Values are counted once, what a run does as often as its body is called.
//!
//! Bytes of `poly_ir` are those of one kernel for each operation on two operands, each of which reads its operands and writes its result once:
//! what a library without fusion moves. Bytes of a plan are those of the rows that the items of its launches touch, a row once an item.

use core::fmt::Write;

use fhe_core::params::{GaloisElement, Params};
use kernels_gpu::abi::KernelId;

use crate::ckks_ir::{self, Op};
use crate::error::{Error, Result};
use crate::passes::Stage;
use crate::plan::{Plan, PlanStep, Step};
use crate::poly_ir;

/// Counts of a stage; `None` where a stage does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Values, or launches of a plan.
    pub values: usize,
    /// Rotations, conjugations and relinearizations, without those of transforms that are not expanded yet.
    pub key_switches: Option<usize>,
    /// Rescales, merged or not.
    pub rescales: Option<usize>,
    /// Transforms of a limb, there and back.
    pub ntts: Option<u64>,
    /// Bytes read and written in a run.
    pub bytes: Option<u64>,
}

impl Counts {
    /// Those of a stage.
    ///
    /// # Errors
    /// [`crate::Error::Verify`]: an item of a plan that is not in its pool.
    pub fn of(stage: Stage<'_>, params: &Params) -> Result<Self> {
        let row_bytes = (params.n() * params.word().bytes()) as u64;
        Ok(match stage {
            Stage::Ckks(function) => of_ckks(function),
            Stage::Poly(function) => of_poly(function, row_bytes),
            Stage::Plan(plan) => of_plan(plan)?,
        })
    }
}

fn of_ckks(function: &ckks_ir::Function) -> Counts {
    let count = |is: fn(&Op) -> bool| function.values.iter().filter(|v| is(&v.op)).count();
    let placed = function.values.iter().any(|v| v.kind.is_some());
    let called = function.calls.iter().filter_map(|call| function.callee(call));
    let called: Vec<Counts> = called.map(|callee| of_ckks(callee)).collect();
    let of_calls = |f: fn(&Counts) -> Option<usize>| called.iter().filter_map(f).sum::<usize>();
    let raises = count(|op| matches!(op, Op::ModRaise(..)));
    let key_switches =
        2 * raises + count(|op| matches!(op, Op::Rotate(..) | Op::Conjugate(_) | Op::Relinearize(_)));
    let rescales = count(|op| matches!(op, Op::Rescale(_) | Op::ModDownRescale(_)));
    Counts {
        values: function.n_values(),
        key_switches: Some(key_switches + of_calls(|c| c.key_switches)),
        rescales: placed.then(|| rescales + of_calls(|c| c.rescales)),
        ..Counts::default()
    }
}

fn of_poly(function: &poly_ir::Function, row_bytes: u64) -> Counts {
    let limbs = |v: &poly_ir::Value| match v.op {
        poly_ir::Op::Ntt(_) | poly_ir::Op::Intt(_) => v.basis.len() as u64,
        _ => 0,
    };
    let rows = function.values.iter().map(|v| rows_unfused(function, v));
    let called = function.calls.iter().filter_map(|call| function.callee(call));
    let called: Vec<Counts> = called.map(|callee| of_poly(callee, row_bytes)).collect();
    let of_calls = |f: fn(&Counts) -> Option<u64>| called.iter().filter_map(f).sum::<u64>();
    Counts {
        values: function.n_values(),
        ntts: Some(function.values.iter().map(limbs).sum::<u64>() + of_calls(|c| c.ntts)),
        bytes: Some(rows.sum::<u64>() * row_bytes + of_calls(|c| c.bytes)),
        ..Counts::default()
    }
}

/// Rows that a value reads and writes, done by one kernel after the other.
fn rows_unfused(function: &poly_ir::Function, value: &poly_ir::Value) -> u64 {
    let limbs = value.basis.len() as u64;
    // Two operands, one result; one operand, one result.
    let (binary, unary) = (3 * limbs, 2 * limbs);
    match &value.op {
        poly_ir::Op::Input { .. } | poly_ir::Op::Constant(_) | poly_ir::Op::Key { .. } => 0,
        poly_ir::Op::Result { .. } => 0,
        poly_ir::Op::Slice(_) | poly_ir::Op::Concat(_) => 0,
        poly_ir::Op::EmbedInverse(_) => 6,
        poly_ir::Op::RoundResidues(_) => 2 + limbs,
        poly_ir::Op::Ntt(_) | poly_ir::Op::Intt(_) | poly_ir::Op::Neg(_) | poly_ir::Op::Automorphism(..) => {
            unary
        }
        poly_ir::Op::MulScalar(..) | poly_ir::Op::AddScalar(..) => unary,
        poly_ir::Op::Add(..) | poly_ir::Op::Sub(..) => binary,
        poly_ir::Op::ConvertBasis { a, .. } => function.value(*a).basis.len() as u64 + limbs,
        poly_ir::Op::InnerProduct { terms, init, galois, .. } => {
            let sums = terms.len() as u64 - 1 + u64::from(init.is_some());
            let turned = *galois != GaloisElement(1);
            binary * (terms.len() as u64 + sums) + if turned { unary } else { 0 }
        }
        poly_ir::Op::SubMulScalar { add, galois, .. } => {
            let turned = *galois != GaloisElement(1);
            binary + unary + if add.is_some() { binary } else { 0 } + if turned { unary } else { 0 }
        }
    }
}

fn of_plan(plan: &Plan) -> Result<Counts> {
    let (mut ntts, mut words) = (0, 0);
    for step in &plan.schedule {
        let PlanStep::Call { segment, .. } = step else { continue };
        let Some(segment) = plan.segment(*segment) else { continue };
        for Step::Launch { launch, .. } in &segment.steps {
            let broken = |problem| Error::Verify { after: "report".to_owned(), rule: "pool", problem };
            let items = plan.items(launch).map_err(broken)?;
            ntts += match launch.kernel {
                KernelId::Ntt | KernelId::NttColumns | KernelId::Intt | KernelId::InttRows => items.len(),
                KernelId::ConvertBasisColumns => items.iter().map(|item| item.writes().len()).sum(),
                _ => 0,
            } as u64;
            words += items.iter().map(|item| item.words(launch.kernel, plan.log_n)).sum::<u64>();
        }
    }
    let bytes = Some(words * plan.word.bytes() as u64);
    Ok(Counts { values: plan.n_launches(), ntts: Some(ntts), bytes, ..Counts::default() })
}

/// A stage before the plan as a graph in Graphviz's language: values, and edges from operands, or from the arguments of a call to its results. Plans have an order, not a graph: their
/// launches are a chain.
pub fn dot(stage: Stage<'_>) -> String {
    let mut text = String::from("digraph {\n  node [shape=box];\n");
    let quoted = |s: &str| s.replace('\\', "\\\\").replace('"', "\\\"");
    match stage {
        Stage::Ckks(function) => {
            for id in function.ids() {
                let value = function.value(id);
                let kind = value.kind.map(|kind| format!("\\n{kind}")).unwrap_or_default();
                let _ = writeln!(text, "  v{} [label=\"{}{kind}\"];", id.0, quoted(&function.describe(id)));
                for a in function.needs(&value.op) {
                    let _ = writeln!(text, "  v{} -> v{};", a.0, id.0);
                }
            }
            for (i, output) in function.outputs.iter().enumerate() {
                let _ = writeln!(text, "  o{i} [label=\"{}\", shape=oval];", quoted(&output.name));
                let _ = writeln!(text, "  v{} -> o{i};", output.value.0);
            }
        }
        Stage::Poly(function) => {
            for id in function.ids() {
                let value = function.value(id);
                let limbs = value.basis.len();
                let _ = writeln!(text, "  v{} [label=\"{id} {}\\n{limbs} limbs\"];", id.0, value.op.name());
                for a in function.needs(&value.op) {
                    let _ = writeln!(text, "  v{} -> v{};", a.0, id.0);
                }
            }
        }
        Stage::Plan(plan) => {
            let mut last: Option<String> = None;
            for (s, segment) in plan.segments.iter().enumerate() {
                for (i, Step::Launch { launch, .. }) in segment.steps.iter().enumerate() {
                    let name = format!("l{s}_{i}");
                    let label = format!("{} {} items", launch.kernel.name(), launch.n_items);
                    let _ = writeln!(text, "  {name} [label=\"{label}\"];");
                    if let Some(last) = last.replace(name.clone()) {
                        let _ = writeln!(text, "  {last} -> {name};");
                    }
                }
            }
        }
    }
    text.push_str("}\n");
    text
}
