//! What a compiled program takes beyond its kernels.
//!
//! ```text
//! T     replay of all calls of a plan, from event to event
//! t_i   launch i by itself: (2 R of it in one graph - R of it) / R
//! overhead = (T - sum t_i) / T,       at most  (T - sum t_i + L min t_i) / T       for L launches
//! ```
//!
//! The events, and what a graph costs to submit, drop out of `t_i` but not out of `T`: they are overhead. What may be wrong:
//!
//! * `t_i` includes the gap to a launch before it, which a profiler would not count as the kernel's. No launch is shorter than the
//!   gap, so the second figure bounds an overhead that counts all gaps.
//! * Repeats find their operands in the cache, where the plan may find them in memory: `sum t_i` is too small, the
//!   overhead too large. A plan whose rows exceed the cache shows this most.
//! * Launches that could overlap in a graph do not: plans have one stream, and here neither do repeats.
//! * Clocks may differ between `T` and `t_i`: take both from one warm device, and look at the spread of several runs.

use crate::error::Result;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Times of a plan and of its launches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LaunchOverhead {
    /// Launches of a run.
    pub launches: u64,
    /// Microseconds of a replay: the median.
    pub replay: f64,
    /// Microseconds of the launches, each by itself.
    pub own: f64,
    /// Microseconds of the shortest launch: no gap between two launches is longer.
    pub shortest: f64,
    /// `(replay - own) / replay`. Below zero where launches of the plan help one another more than repeats do.
    pub share: f64,
    /// `(replay - own + launches shortest) / replay`.
    pub most: f64,
}

impl LaunchOverhead {
    pub(crate) fn new(replay: Duration, launches: &[Duration]) -> Self {
        let us = |t: Duration| t.as_secs_f64() * 1e6;
        let own: Duration = launches.iter().sum();
        let shortest = launches.iter().min().copied().unwrap_or_default();
        let n = launches.len() as u64;
        let (replay, own, shortest) = (us(replay), us(own), us(shortest));
        let share = |gaps: f64| (replay - own + gaps) / replay.max(1e-9);
        Self { launches: n, replay, own, shortest, share: share(0.0), most: share(n as f64 * shortest) }
    }
}

impl fmt::Display for LaunchOverhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { launches, replay, own, shortest, share, most } = self;
        write!(
            f,
            "launch overhead {:.1} %, at most {:.1} %: replay {replay:.1} us, {launches} launches {own:.1} us by \
             themselves, the shortest {shortest:.2} us",
            100.0 * share,
            100.0 * most
        )
    }
}

/// The time in the middle; zero of none.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The median time of a replay; `replay` tells that of so many.
pub(crate) fn median_replay(
    samples: u32,
    mut replay: impl FnMut(u32) -> Result<Duration>,
) -> Result<Duration> {
    /// Replays of a sample.
    const ROUNDS: u32 = 4;
    replay(1)?;
    let sample = |_| Ok(replay(ROUNDS)? / ROUNDS);
    Ok(median((0..samples.max(1)).map(sample).collect::<Result<Vec<_>>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_replay() {
        let us = Duration::from_micros;
        let found = LaunchOverhead::new(us(100), &[us(50), us(40), us(5)]);
        assert_eq!((found.launches, found.own, found.shortest), (3, 95.0, 5.0));
        assert!((found.share - 0.05).abs() < 1e-12 && (found.most - 0.20).abs() < 1e-12);
        let text = "launch overhead 5.0 %, at most 20.0 %: replay 100.0 us, 3 launches 95.0 us by themselves, the \
                    shortest 5.00 us";
        assert_eq!(found.to_string(), text);
        assert_eq!(median(vec![us(3), us(1), us(2)]), us(2));
        assert!(LaunchOverhead::new(Duration::ZERO, &[]).most.is_finite());
    }
}
