//! What a machine executes: buffers, segments of kernel launches, calls that bind the one to the other, and
//! host steps. This and [`kernels_gpu::abi`] are the whole contract between the compiler and `host`.
//!
//! ```text
//! Plan
//!   pool      items and tables of all launches (kernels_gpu::abi)
//!   buffers   what to allocate: rows of N words; the first are the arenas, one a device
//!   segments  launches of one device in order; their rows name *slots*, not buffers
//!   setup     host steps done once: load keys, encode constants
//!   schedule  host steps, calls and copies of every run; a call binds slot i of its segment to bindings[i]
//! ```
//!
//! **Rows.** Row `r` of a buffer is the `N` words from `r * N`. An object is blocks of rows over a basis, so its row is
//! `block * basis.len() + position in basis`. A ciphertext has a block for each polynomial, over the basis of its level; an encoded
//! plaintext has one, in fewer rows if its values are repeated ([`Sharding::part`]); a key has block `digit * 2 + half`, half 0 = `b`, 1 = `a`, for all digits, over all primes. Each device's buffer of an
//! object holds the rows of the limbs that the device owns, in the object's order: [`Sharding`]; there is none where it owns no limb. Slots,
//! and factors of the special FFT, are two rows of doubles, real and imaginary parts ([`kernels_gpu::abi`]), on whichever device.
//!
//! **Order.** The launches of a segment take effect in order, and so do the steps of a *stream*: each device has one of calls and one of
//! copies. Between streams events say what comes after what, and nothing else does; host steps wait for all before them. Done in the order
//! in which it stands a schedule gives the same bits ([`order`], docs/adr/0013).
//! Slot [`kernels_gpu::abi::ARENA`] of every segment is the arena of its device. An arena's contents need not survive a run.
//!
//! **Devices.** Devices are groups of one size; an object is on each group that reads it, an output on one. A segment's launches see buffers of its device only. Rows pass from the arena of one device to that of another by copies
//! (docs/adr/0011).
//!
//! **Tiers.** Launches see device memory only. Rows of other tiers are copied to the arena before their use; a
//! copy down moves, after it the arena's row holds nothing (docs/adr/0006).

mod items;
pub mod order;
pub mod refine;
mod shard;
pub mod text;
pub mod verify;

pub(crate) use items::sums;
pub use items::{Form, Item, PoolWriter, Read};
pub use order::{EventId, StreamId, StreamKind};
pub use shard::{MAX_DEVICES, Sharding, pack};

use fhe_core::math::word::WordKind;
use fhe_core::params::{GaloisElement, LimbIdx, Params};
use fhe_core::rlwe::encapsulation_basis;
use kernels_gpu::abi;

use crate::ckks_ir::{ConstId, InputIdx, OutputIdx};
use crate::error::Result;
use crate::poly_ir::Encoded;

/// A buffer of a plan: an index into [`Plan::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferId(pub u32);

/// A segment of a plan: an index into [`Plan::segments`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u32);

/// What a launch was made from: the index of its first value in the `poly_ir` function, for profiles and
/// messages. Those of callees follow, in the order of their segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// A device of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceIdx(pub u32);

/// A kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The device's own memory.
    Device,
    /// Memory of the host that the device reaches.
    Host,
    /// A file of the host.
    File,
}

impl Tier {
    /// Every tier, the fastest first.
    pub const ALL: [Self; 3] = [Self::Device, Self::Host, Self::File];

    /// The name in texts and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Host => "host",
            Self::File => "file",
        }
    }

    /// The tier of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }
}

/// An evaluation key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyId {
    /// The relinearization key.
    Relinearization,
    /// The key of a Galois element.
    Galois(GaloisElement),
    /// The key to the ephemeral sparse secret of bootstrapping: one digit, over [`Plan::sparse_limbs`].
    ToSparse,
    /// The key from there back.
    ToDense,
}

impl KeyId {
    /// The limbs of the key under some parameters.
    ///
    /// # Errors
    /// None in practice: level 0 is there.
    pub fn limbs(self, params: &Params) -> Result<Vec<LimbIdx>> {
        Ok(match self {
            Self::ToSparse => encapsulation_basis(params)?,
            _ => (0..params.primes().len() as u32).map(LimbIdx).collect(),
        })
    }

    /// Digits of the key under some parameters, of two halves each.
    pub fn n_digits(self, params: &Params) -> u32 {
        match self {
            Self::ToSparse => 1,
            _ => params.digits().len() as u32,
        }
    }

    /// Blocks of limbs of the key: two halves of each digit.
    pub fn n_blocks(self, params: &Params) -> u32 {
        2 * self.n_digits(params)
    }
}

/// What a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BufferKind {
    /// Values between kernels; exactly one a device, buffer `d` on device `d`.
    Arena,
    /// An encrypted input, degree 1, written by [`HostStep::Upload`].
    Input(InputIdx),
    /// An encrypted output, degree 1, read by [`HostStep::Download`].
    Output(OutputIdx),
    /// An evaluation key, written by [`HostStep::LoadKey`].
    Key(KeyId),
    /// An encoded constant, written by [`HostStep::Encode`].
    Constant(ConstId),
    /// A constant's slots, written by [`HostStep::LoadSlots`].
    Slots(ConstId),
    /// The factors of the inverse special FFT, written by [`HostStep::LoadFactors`].
    Factors,
    /// A value that is an argument or a result of calls of a function of the program, degree 1.
    Passed,
    /// Values between kernels for which the arena has no room; at most one a device and tier below it.
    Spill,
}

/// Memory to allocate.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// On which device.
    pub device: DeviceIdx,
    /// In which memory.
    pub tier: Tier,
    /// Size in rows of `N` words.
    pub rows: u32,
    /// What it holds.
    pub kind: BufferKind,
}

/// How a segment uses a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Only read.
    Read,
    /// Only written.
    Write,
    /// Both.
    ReadWrite,
}

/// What a segment expects of the buffer bound to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotUse {
    /// Least number of rows of the buffer.
    pub rows: u32,
    /// How its rows are used.
    pub access: Access,
}

/// A step of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run a kernel over items.
    Launch {
        /// Kernel and items.
        launch: abi::Launch,
        /// What it was made from.
        node: NodeId,
    },
}

/// Launches that are submitted together, over slots that a call binds.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Name in profiles, unique in the plan.
    pub name: String,
    /// The device that executes it.
    pub device: DeviceIdx,
    /// What each slot must be; slot 0 is the arena of the device.
    pub slots: Vec<SlotUse>,
    /// The launches, in order.
    pub steps: Vec<Step>,
}

/// A step that only the host can do, with a buffer of one device: an object that is on several takes a step for each. `Upload` and
/// `Download` occur in [`Plan::schedule`] only, the others in [`Plan::setup`] only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HostStep {
    /// Encode a constant (repeated to all slots) at a level and a scale into a buffer, evaluation domain.
    Encode {
        /// Which constant of the manifest, and how.
        encoded: Encoded,
        /// Where to.
        buffer: BufferId,
    },
    /// Copy a constant's slots (repeated to all slots) to a buffer, once they are known to encode at a level and a scale to
    /// integers of 63 bits: `fhe_core::ckks::check_raw_slots`.
    LoadSlots {
        /// Which constant of the manifest, and how it will be encoded.
        encoded: Encoded,
        /// Where to.
        buffer: BufferId,
    },
    /// Copy the factors of the inverse special FFT to a buffer: those of `fhe_core`'s encoder.
    LoadFactors {
        /// Where to.
        buffer: BufferId,
    },
    /// Copy an evaluation key to a buffer.
    LoadKey {
        /// Which key.
        key: KeyId,
        /// Where to.
        buffer: BufferId,
    },
    /// Copy an input ciphertext to a buffer.
    Upload {
        /// Which input of the manifest.
        input: InputIdx,
        /// Where to.
        buffer: BufferId,
    },
    /// Copy a buffer to its rows of an output ciphertext.
    Download {
        /// Where from.
        buffer: BufferId,
        /// Which output of the manifest.
        output: OutputIdx,
    },
}

/// A row of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which buffer.
    pub buffer: BufferId,
    /// Which row.
    pub row: u32,
}

/// Where a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CopyKind {
    /// To the arena, from another tier of its device.
    Fetch,
    /// From the arena, to another tier of its device. It moves: the rows of the arena hold nothing afterwards.
    Spill,
    /// From the arena of one device to that of another.
    Exchange,
}

/// Consecutive rows that change their tier or device; which, their buffers say: [`Plan::copy_kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowCopy {
    /// First row to read.
    pub from: Place,
    /// First row to write.
    pub to: Place,
    /// Number of rows.
    pub rows: u32,
}

impl RowCopy {
    /// Appends the copy of a row; it joins the last copy of the list where it follows on both sides.
    pub(crate) fn append(copies: &mut Vec<Self>, from: Place, to: Place) {
        let follows = |place: Place, next: Place, rows: u32| {
            (next.buffer, next.row) == (place.buffer, place.row + rows)
        };
        match copies.last_mut() {
            Some(last) if follows(last.from, from, last.rows) && follows(last.to, to, last.rows) => {
                last.rows += 1;
            }
            _ => copies.push(Self { from, to, rows: 1 }),
        }
    }
}

/// What the copies of a run move, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopiedBytes {
    /// To an arena, from other tiers.
    pub fetched: u64,
    /// From an arena, to other tiers.
    pub spilled: u64,
    /// From the arena of one device to that of another.
    pub exchanged: u64,
}

impl CopiedBytes {
    /// Counts a copy.
    pub fn add(&mut self, kind: CopyKind, bytes: u64) {
        *match kind {
            CopyKind::Fetch => &mut self.fetched,
            CopyKind::Spill => &mut self.spilled,
            CopyKind::Exchange => &mut self.exchanged,
        } += bytes;
    }
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanStep {
    /// Execute a segment.
    Call {
        /// Which segment.
        segment: SegmentId,
        /// The buffer of each slot; `bindings[0]` is the arena of the segment's device.
        bindings: Vec<BufferId>,
    },
    /// A step of the host.
    Host(HostStep),
    /// Copies between an arena and other tiers or devices, in order, all to buffers of one device.
    Copy(Vec<RowCopy>),
    /// Marks the present end of a stream.
    Record {
        /// The mark; each is recorded once.
        event: EventId,
        /// Whose end.
        stream: StreamId,
    },
    /// What follows in a stream comes after a mark.
    Wait {
        /// The mark, recorded before.
        event: EventId,
        /// What waits.
        stream: StreamId,
    },
}

/// The most memory that a run holds in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peak {
    /// On which device.
    pub device: DeviceIdx,
    /// In which memory.
    pub tier: Tier,
    /// Rows of all buffers there.
    pub rows: u64,
    /// The same in bytes.
    pub bytes: u64,
}

/// A compiled program: everything but the keys and the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// [`abi::ABI_VERSION`] of the compiler.
    pub abi_version: u32,
    /// Name of the program.
    pub name: String,
    /// Digest of the parameters that it was compiled for.
    pub params_digest: [u8; 16],
    /// The word of a residue.
    pub word: WordKind,
    /// log2 of the ring degree.
    pub log_n: u32,
    /// The primes: main primes first, special primes after them.
    pub primes: Vec<u64>,
    /// The primitive 2N-th root of unity of each prime.
    pub roots: Vec<u64>,
    /// The limbs of [`KeyId::ToSparse`]; none without it.
    pub sparse_limbs: Vec<LimbIdx>,
    /// Items and tables.
    pub pool: Vec<u64>,
    /// How many groups the devices are ([`Sharding`]).
    pub n_groups: u32,
    /// What to allocate.
    pub buffers: Vec<Buffer>,
    /// The segments.
    pub segments: Vec<Segment>,
    /// Done once, before the first run.
    pub setup: Vec<HostStep>,
    /// Done at every run.
    pub schedule: Vec<PlanStep>,
    /// Peak memory, one entry for each device and tier.
    pub peaks: Vec<Peak>,
}

impl Plan {
    /// Words of a row, `N`.
    pub fn row_words(&self) -> usize {
        1 << self.log_n
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.row_words() * self.word.bytes()
    }

    /// A buffer.
    pub fn buffer(&self, id: BufferId) -> Option<&Buffer> {
        self.buffers.get(id.0 as usize)
    }

    /// A segment.
    pub fn segment(&self, id: SegmentId) -> Option<&Segment> {
        self.segments.get(id.0 as usize)
    }

    /// The buffer of that kind on a device, if there is exactly one or the first of several (a constant may be encoded at
    /// several levels).
    pub fn buffer_of(&self, kind: BufferKind, device: DeviceIdx) -> Option<BufferId> {
        self.buffers.iter().position(|b| (b.kind, b.device) == (kind, device)).map(|i| BufferId(i as u32))
    }

    /// Number of devices: that of arenas.
    pub fn n_devices(&self) -> u32 {
        self.buffers.iter().filter(|b| b.kind == BufferKind::Arena).count() as u32
    }

    /// Which device has which rows.
    pub fn sharding(&self) -> Sharding {
        Sharding::in_groups(self.n_devices(), self.n_groups)
    }

    /// The limbs of a key: all, but for [`KeyId::ToSparse`].
    pub fn key_limbs(&self, key: KeyId) -> Vec<LimbIdx> {
        match key {
            KeyId::ToSparse => self.sparse_limbs.clone(),
            _ => (0..self.primes.len() as u32).map(LimbIdx).collect(),
        }
    }

    /// Where a copy goes, by the buffers at its ends; none where that is nowhere a copy may go.
    pub fn copy_kind(&self, copy: &RowCopy) -> Option<CopyKind> {
        let (from, to) = (self.buffer(copy.from.buffer)?, self.buffer(copy.to.buffer)?);
        let is_arena = |b: &Buffer| (b.kind == BufferKind::Arena).then_some(b.tier);
        match (is_arena(from), is_arena(to)) {
            (Some(Tier::Device), Some(Tier::Device)) => {
                (from.device != to.device).then_some(CopyKind::Exchange)
            }
            (None, Some(Tier::Device)) if from.tier != Tier::Device && from.device == to.device => {
                Some(CopyKind::Fetch)
            }
            (Some(Tier::Device), None) if to.tier != Tier::Device && from.device == to.device => {
                Some(CopyKind::Spill)
            }
            _ => None,
        }
    }

    /// Number of launches of a run.
    pub fn n_launches(&self) -> usize {
        self.schedule
            .iter()
            .map(|step| match step {
                PlanStep::Call { segment, .. } => self.segment(*segment).map_or(0, |s| s.steps.len()),
                _ => 0,
            })
            .sum()
    }

    /// What the copies of a run move.
    pub fn copied_bytes(&self) -> CopiedBytes {
        let mut sum = CopiedBytes::default();
        for step in &self.schedule {
            let PlanStep::Copy(copies) = step else { continue };
            for (copy, kind) in copies.iter().filter_map(|copy| Some((copy, self.copy_kind(copy)?))) {
                sum.add(kind, u64::from(copy.rows) * self.row_bytes() as u64);
            }
        }
        sum
    }

    /// The peak of a tier, over all devices; 0 where the plan has nothing there.
    pub fn peak_bytes(&self, tier: Tier) -> u64 {
        self.peaks.iter().filter(|p| p.tier == tier).map(|p| p.bytes).sum()
    }

    /// The peak of device memory on the device that holds most.
    pub fn device_peak_bytes(&self) -> u64 {
        self.peaks.iter().filter(|p| p.tier == Tier::Device).map(|p| p.bytes).max().unwrap_or(0)
    }

    /// The smallest memory of a device with which the program can be planned: the rows of its largest item.
    pub fn least_device_bytes(&self) -> u64 {
        let launches = self.segments.iter().flat_map(|s| &s.steps);
        let rows = launches.flat_map(|Step::Launch { launch, .. }| {
            let items = self.items(launch).unwrap_or_default();
            items.into_iter().map(move |item| item.rows(launch.kernel).len())
        });
        (rows.max().unwrap_or(0) * self.row_bytes()) as u64
    }
}
