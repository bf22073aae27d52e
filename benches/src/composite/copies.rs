//! Copies of a plan's operands, so that replays find none of them in the cache.

use scheduler::plan::{BufferId, BufferKind, HostStep, Plan, PlanStep};

/// The plan with `n` copies of every buffer but the arena; a run does the schedule once for each.
pub fn with_copies(mut plan: Plan, n: u32) -> Plan {
    let own: Vec<_> = plan.buffers.iter().filter(|b| b.kind != BufferKind::Arena).cloned().collect();
    let per_copy = own.len() as u32;
    plan.buffers.extend((1..n).flat_map(|_| own.clone()));
    // Buffer 0 is the arena: the host refuses other plans.
    let moved = |id: BufferId, copy: u32| if id.0 == 0 { id } else { BufferId(id.0 + copy * per_copy) };
    let host = |step: HostStep, copy: u32| match step {
        HostStep::Encode { encoded, buffer } => HostStep::Encode { encoded, buffer: moved(buffer, copy) },
        HostStep::LoadSlots { encoded, buffer } => {
            HostStep::LoadSlots { encoded, buffer: moved(buffer, copy) }
        }
        HostStep::LoadFactors { buffer } => HostStep::LoadFactors { buffer: moved(buffer, copy) },
        HostStep::LoadKey { key, buffer } => HostStep::LoadKey { key, buffer: moved(buffer, copy) },
        HostStep::Upload { input, buffer } => HostStep::Upload { input, buffer: moved(buffer, copy) },
        HostStep::Download { buffer, output } => HostStep::Download { buffer: moved(buffer, copy), output },
    };
    let step = |step: &PlanStep, copy: u32| {
        let mut step = step.clone();
        if let PlanStep::Host(s) = &mut step {
            *s = host(*s, copy);
        }
        if let PlanStep::Call { bindings, .. } = &mut step {
            bindings.iter_mut().for_each(|id| *id = moved(*id, copy));
        }
        step
    };
    let (setup, schedule) = (plan.setup.clone(), plan.schedule.clone());
    plan.setup =
        (0..n).flat_map(|copy| setup.iter().map(move |&s| (s, copy))).map(|(s, c)| host(s, c)).collect();
    plan.schedule =
        (0..n).flat_map(|copy| schedule.iter().map(move |s| (s, copy))).map(|(s, c)| step(s, c)).collect();
    let row_bytes = plan.row_bytes() as u64;
    for peak in &mut plan.peaks {
        let here = plan.buffers.iter().filter(|b| (b.device, b.tier) == (peak.device, peak.tier));
        peak.rows = here.map(|b| u64::from(b.rows)).sum();
        peak.bytes = peak.rows * row_bytes;
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Chain;
    use fhe_core::params::Preset;
    use host::check::CheckedPlan;

    #[test]
    fn copies_share_the_arena_and_nothing_else() {
        let chain = Chain::preset(Preset::N13).unwrap();
        let rotate = crate::composite::ALL.iter().find(|s| s.name == "rotate").unwrap();
        let plan = rotate.compile(&chain, chain.levels[0]).unwrap().plan;
        let (buffers, steps) = (plan.buffers.len(), plan.schedule.len());
        let copied = with_copies(plan, 3);
        assert_eq!(copied.buffers.len(), 1 + 3 * (buffers - 1));
        assert_eq!(copied.schedule.len(), 3 * steps);
        CheckedPlan::new(copied).unwrap();
    }
}
