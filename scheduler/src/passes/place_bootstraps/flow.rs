//! How levels fall along a function without kinds, with bootstraps or without: the graph that [`super::search`] cuts. Where levels fall is
//! [`place`]'s to say (its shapes), here is the same for any set of bootstraps in time linear in the function.
//!
//! ```text
//! a use (v, u)       takes   what v owes in the form that u wants (0, 1)   +   what u takes itself (1 of a linear transform)
//! need(v)        =   max over uses of need(u) + takes; the need of what is bootstrapped counts for the bootstrap
//! ```
//!
//! A potential `p` is a number for each value that rises along every use by at least what the use takes. `c = p + owes` is where the canonical form
//! of a value is. Explicit bootstraps are sources as inputs are; what they are of ends there.

use fhe_core::params::Level;

use crate::ckks_ir::{Function, Op, Scale, ValueId};
use crate::cost::Owed;
use crate::error::Result;
use crate::passes::place;

/// The levels that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Of inputs.
    pub(super) fresh: u32,
    /// Of what bootstrapping returns, not more.
    pub(super) returned: u32,
}

/// A use of a value, by the user that it is listed with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub(super) a: usize,
    /// Levels that the user takes itself.
    own: u32,
    /// Levels that the value owes for it.
    owed: u32,
}

/// Which users take the bootstrap of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takers {
    /// There is none.
    None,
    /// Those in later stretches. The others may be on the way to what is bootstrapped beside it.
    Later,
    /// All.
    All,
}

/// A set of bootstraps. Stretches are what lies between two cuts, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// The stretch of each value.
    pub(super) stretch: Vec<u32>,
    pub(super) takers: Vec<Takers>,
}

impl Split {
    /// No bootstrap of so many values.
    pub(super) fn none(n: usize) -> Self {
        Self { stretch: vec![0; n], takers: vec![Takers::None; n] }
    }

    pub(super) fn bootstraps(&self, v: usize) -> bool {
        self.takers[v] != Takers::None
    }
}

/// What users need.
#[derive(Debug)]
pub(super) struct Needs {
    /// Of each value.
    pub(super) own: Vec<u32>,
    /// Of its bootstrap, where it has one.
    pub(super) bootstrap: Vec<u32>,
    /// A value, and the level that was written for it, lower than its users need.
    below: Option<(ValueId, u32)>,
}

#[derive(Debug)]
pub(super) struct Flow<'a> {
    pub(super) function: &'a Function,
    uses: Vec<Use>,
    /// Where the uses of each user begin, and where the last ones end.
    begin: Vec<usize>,
    owes: Vec<bool>,
    /// What each value is brought to its canonical form by, if a user takes that.
    pub(super) owed: Vec<Owed>,
    pub(super) limits: Limits,
    /// Arguments of calls, and the levels that these need.
    arguments: Vec<(usize, u32)>,
}

impl<'a> Flow<'a> {
    /// Of a function whose calls return level 0 and need some levels of their arguments.
    ///
    /// # Errors
    /// [`crate::Error::Override`].
    pub(super) fn new(function: &'a Function, limits: Limits, arguments: &[(ValueId, u32)]) -> Result<Self> {
        // A product that was relinearized is as deep whether its users share it or not.
        let shapes = place::shapes(function, &function.ids().collect())?;
        let (mut uses, mut begin) = (Vec::new(), vec![0]);
        let owes: Vec<bool> = shapes.iter().map(|shape| shape.scale == Scale::Product).collect();
        let mut canonical = vec![false; shapes.len()];
        function.outputs.iter().for_each(|output| canonical[output.value.0 as usize] = true);
        for id in function.ids() {
            let op = function.value(id).op;
            let wanted = place::operand_shape(&op, shapes[id.0 as usize]);
            let own = u32::from(matches!(op, Op::LinearTransform(..)));
            for a in op.operands().map(|a| a.0 as usize) {
                canonical[a] |= wanted.scale == Scale::Canonical;
                if !matches!(op, Op::Bootstrap(..)) {
                    let owed = u32::from(owes[a] && wanted.scale == Scale::Canonical);
                    uses.push(Use { a, own, owed });
                }
            }
            begin.push(uses.len());
        }
        let once = |(shape, &canonical): (&place::Shape, &bool)| Owed {
            rescale: canonical && shape.scale == Scale::Product,
            relinearize: canonical && shape.degree > 1,
        };
        let owed = shapes.iter().zip(&canonical).map(once).collect();
        let arguments = arguments.iter().map(|&(a, level)| (a.0 as usize, level)).collect();
        Ok(Self { function, uses, begin, owes, owed, limits, arguments })
    }

    pub(super) fn n(&self) -> usize {
        self.function.values.len()
    }

    /// What a value uses.
    pub(super) fn uses(&self, u: usize) -> &[Use] {
        &self.uses[self.begin[u]..self.begin[u + 1]]
    }

    fn op(&self, v: usize) -> Op {
        self.function.values[v].op
    }

    /// Levels from a value to its canonical form.
    pub(super) fn owes(&self, v: usize) -> u32 {
        u32::from(self.owes[v])
    }

    /// Whether it is an input or an explicit bootstrap, which are as fresh as can be.
    pub(super) fn is_source(&self, v: usize) -> bool {
        matches!(self.op(v), Op::Input(_) | Op::Bootstrap(..))
    }

    /// What an explicit bootstrap is of.
    pub(super) fn explicit_operand(&self, v: usize) -> Option<usize> {
        match self.op(v) {
            Op::Bootstrap(a, _) => Some(a.0 as usize),
            _ => None,
        }
    }

    /// Where a source begins, so that from 0 to the level of inputs is the first stretch for all of them.
    fn start(&self, v: usize) -> u32 {
        match self.op(v) {
            Op::Bootstrap(..) => self.limits.fresh - self.limits.returned,
            // Nothing is left.
            Op::Result(..) => self.limits.fresh,
            _ => 0,
        }
    }

    /// Whether a bootstrap can stand between each value and its users: they take its canonical form.
    pub(super) fn movable(&self) -> Vec<bool> {
        let mut movable = vec![true; self.n()];
        for u in 0..self.n() {
            let form = matches!(self.op(u), Op::Rescale(_) | Op::Relinearize(_));
            for used in self.uses(u).iter().filter(|used| form || used.owed < self.owes(used.a)) {
                movable[used.a] = false;
            }
        }
        movable
    }

    /// The potential that is least everywhere, but for values that no bootstrap can follow: these are where their users are.
    pub(super) fn earliest(&self) -> Vec<u32> {
        let mut p: Vec<u32> = Vec::with_capacity(self.n());
        for u in 0..self.n() {
            let least = self.uses(u).iter().map(|used| p[used.a] + used.own + used.owed).max();
            p.push(least.unwrap_or(0).max(self.start(u)));
        }
        let movable = self.movable();
        let mut latest = vec![u32::MAX; self.n()];
        for u in (0..self.n()).rev() {
            if !movable[u] && latest[u] != u32::MAX {
                p[u] = p[u].max(latest[u]);
            }
            for used in self.uses(u) {
                latest[used.a] = latest[used.a].min(p[u] - used.own - used.owed);
            }
        }
        p
    }

    /// The potential that is largest everywhere, of those that are no longer than need be.
    pub(super) fn latest(&self) -> Vec<u32> {
        let needs = self.needs(&Split::none(self.n()));
        let sources = (0..self.n()).filter(|&v| self.uses(v).is_empty());
        let end = sources.map(|v| self.start(v) + needs.own[v]).max().unwrap_or(0);
        needs.own.iter().map(|need| end.saturating_sub(*need)).collect()
    }

    /// Whether `u` takes the bootstrap of `a`. An explicit bootstrap does not.
    pub(super) fn takes_bootstrap(&self, split: &Split, a: usize, u: usize) -> bool {
        let takes = match split.takers[a] {
            Takers::None => false,
            Takers::Later => split.stretch[a] < split.stretch[u],
            Takers::All => true,
        };
        takes && !matches!(self.op(u), Op::Bootstrap(..))
    }

    /// What users need of each value, with a set of bootstraps.
    pub(super) fn needs(&self, split: &Split) -> Needs {
        let mut needs = Needs { own: vec![0; self.n()], bootstrap: vec![0; self.n()], below: None };
        for output in &self.function.outputs {
            let v = output.value.0 as usize;
            needs.own[v] = self.owes(v);
        }
        for &(a, level) in &self.arguments {
            needs.own[a] = needs.own[a].max(level + self.owes(a));
        }
        for u in (0..self.n()).rev() {
            match self.op(u) {
                Op::Bootstrap(a, _) => {
                    let a = a.0 as usize;
                    needs.own[a] = needs.own[a].max(self.owes(a));
                }
                Op::LevelDrop(_, written) => {
                    if needs.own[u] > written.0 {
                        needs.below.get_or_insert((ValueId(u as u32), written.0));
                    }
                    needs.own[u] = needs.own[u].max(written.0);
                }
                _ => {}
            }
            if split.bootstraps(u) {
                needs.own[u] = needs.own[u].max(self.owes(u));
            }
            for &Use { a, own, owed } in self.uses(u) {
                let from = needs.own[u] + own;
                if self.takes_bootstrap(split, a, u) {
                    needs.bootstrap[a] = needs.bootstrap[a].max(from);
                } else {
                    needs.own[a] = needs.own[a].max(from + owed);
                }
            }
        }
        needs
    }

    /// Whether there are as many levels as are needed.
    pub(super) fn fits(&self, needs: &Needs) -> bool {
        needs.below.is_none() && self.excess(needs).is_none()
    }

    /// The first value of which more is needed than there is: what is needed, and what there is.
    pub(super) fn excess(&self, needs: &Needs) -> Option<(ValueId, Level, Level)> {
        let Limits { fresh, returned } = self.limits;
        let of_value = |v: usize| {
            let own = match self.op(v) {
                Op::Input(_) => fresh,
                Op::Bootstrap(..) => returned,
                Op::Result(..) => 0,
                // Nothing is above its source.
                _ => u32::MAX,
            };
            let pairs = [(needs.own[v], own), (needs.bootstrap[v], returned)];
            let found = pairs.into_iter().find(|(need, limit)| need > limit);
            found.map(|(need, limit)| (ValueId(v as u32), Level(need), Level(limit)))
        };
        (0..self.n()).find_map(of_value)
    }
}
