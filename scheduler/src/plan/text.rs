//! The text form: prints and parses back. A row of a launch is `slot:row`, one of a copy `buffer:row`; a tier is
//! named where it is not the device's own, a segment's device where it is not the first, and `groups 2` where there is more than one.
//!
//! ```text
//! plan "square" abi 5 {
//!   params 00112233445566778899aabbccddeeff word 32 log_n 10
//!   prime 1073741789 root 5
//!   buffer 0 arena rows 16 device 0
//!   buffer 1 key galois 25 rows 96 device 0 tier host
//!   setup load_key galois 25 buffer 1
//!   segment "s0_level1" {
//!     slot rows 16 read_write
//!     launch add %7 {
//!       0:1 = 0:2, 0:3 prime 0
//!     }
//!   }
//!   copy [1:4 to 0:2 rows 2]
//!   record 0 copies device 0
//!   wait 0 launches device 0
//!   call 0 [0]
//!   peak device 0 rows 16 bytes 65536
//!   peak device 0 tier host rows 96 bytes 393216
//! }
//! ```

use core::fmt;

use fhe_core::math::word::WordKind;
use fhe_core::params::{GaloisElement, LimbIdx};
use kernels_gpu::abi::{
    AutomorphismItem, ConvertSource, ConvertTarget, EmbedInverseItem, ItemKind, KernelId, RoundTarget,
    RowItem, RowRef, Term, is_begun,
};

use super::{
    Access, Buffer, BufferId, BufferKind, DeviceIdx, EventId, HostStep, Item, NodeId, Peak, Place, Plan,
    PlanStep, PoolWriter, RowCopy, Segment, SegmentId, SlotUse, Step, StreamId, StreamKind, Tier,
};
use crate::ckks_ir::{ConstId, InputIdx, OutputIdx};
use crate::error::{Error, Result};
use crate::poly_ir::text::{parse_encoded, parse_key};
use crate::text::{Line, lines, quote};

impl fmt::Display for BufferKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arena => write!(f, "arena"),
            Self::Input(i) => write!(f, "input {}", i.0),
            Self::Output(i) => write!(f, "output {}", i.0),
            Self::Key(key) => write!(f, "key {key}"),
            Self::Constant(c) => write!(f, "constant {}", c.0),
            Self::Slots(c) => write!(f, "slots {}", c.0),
            Self::Factors => write!(f, "factors"),
            Self::Passed => write!(f, "passed"),
            Self::Spill => write!(f, "spill"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.buffer.0, self.row)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} device {}", self.kind.name(), self.device.0)
    }
}

impl fmt::Display for RowCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {} rows {}", self.from, self.to, self.rows)
    }
}

impl fmt::Display for HostStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode { encoded, buffer } => write!(f, "encode {encoded} buffer {}", buffer.0),
            Self::LoadSlots { encoded, buffer } => write!(f, "load_slots {encoded} buffer {}", buffer.0),
            Self::LoadFactors { buffer } => write!(f, "load_factors buffer {}", buffer.0),
            Self::LoadKey { key, buffer } => write!(f, "load_key {key} buffer {}", buffer.0),
            Self::Upload { input, buffer } => write!(f, "upload {} buffer {}", input.0, buffer.0),
            Self::Download { buffer, output } => write!(f, "download {} buffer {}", output.0, buffer.0),
        }
    }
}

impl Access {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadWrite => "read_write",
        }
    }
}

fn tier(tier: Tier) -> String {
    if tier == Tier::Device { String::new() } else { format!(" tier {}", tier.name()) }
}

fn row(r: RowRef) -> String {
    if r == RowRef::NONE { "none".to_owned() } else { format!("{}:{}", r.slot, r.row) }
}

/// One row, or two.
fn pair([a, b]: [RowRef; 2]) -> String {
    if b == RowRef::NONE { row(a) } else { format!("{} and {}", row(a), row(b)) }
}

fn join<T>(items: &[T], f: impl Fn(&T) -> String) -> String {
    items.iter().map(f).collect::<Vec<_>>().join(", ")
}

fn item_text(item: &Item, kernel: KernelId) -> String {
    match item {
        Item::Row(i) => {
            let b = if kernel.reads_b() { format!(", {}", row(i.b)) } else { String::new() };
            let scalar = if kernel.reads_scalar() { format!(" scalar {}", i.scalar) } else { String::new() };
            let add = if i.c == RowRef::NONE { String::new() } else { format!(" add {}", row(i.c)) };
            let galois = if i.galois == 1 { String::new() } else { format!(" galois {}", i.galois) };
            format!("{} = {}{b}{scalar}{add}{galois} prime {}", row(i.dst), row(i.a), i.prime)
        }
        Item::InnerProduct { dst, init, times, prime, terms, begun, galois } => {
            let begun = |t| if is_begun(*begun, t) { "begun " } else { "" };
            let terms: Vec<String> = (0..)
                .zip(terms)
                .map(|(t, term)| {
                    let part = match term.log_repeat {
                        0 => String::new(),
                        log_repeat => format!(" part {} repeat {log_repeat}", term.part),
                    };
                    format!("{}{}{part} * {}", begun(t), row(term.a), pair(term.b))
                })
                .collect();
            let terms = terms.join(", ");
            let init =
                if init == &[RowRef::NONE; 2] { String::new() } else { format!(" init {}", pair(*init)) };
            let times = match times {
                [1, 1] => String::new(),
                [a, b] => format!(" times {a} and {b}"),
            };
            let galois = if *galois == 1 { String::new() } else { format!(" galois {galois}") };
            format!("{} = [{terms}]{init}{times}{galois} prime {prime}", pair(*dst))
        }
        Item::ConvertBasis { sources, targets, matrix } => {
            let source =
                |s: &ConvertSource| format!("{} inv {} frac {} prime {}", row(s.row), s.inv, s.frac, s.prime);
            let target = |t: &ConvertTarget| format!("{} big {} prime {}", row(t.row), t.big, t.prime);
            format!("[{}] to [{}] matrix {matrix:?}", join(sources, source), join(targets, target))
        }
        Item::Automorphism(i) => {
            format!("{} = {} galois {} prime {}", row(i.dst), row(i.a), i.galois, i.prime)
        }
        Item::EmbedInverse(i) => {
            format!("{} = {} factors {}", pair(i.dst), pair(i.src), pair(i.factors))
        }
        Item::RoundResidues { src, scale, targets } => {
            let target = |t: &RoundTarget| format!("{} prime {}", row(t.row), t.prime);
            format!("{} scale {:?} to [{}]", pair(*src), f64::from_bits(*scale), join(targets, target))
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan {} abi {} {{", quote(&self.name), self.abi_version)?;
        let digest: String = self.params_digest.iter().map(|b| format!("{b:02x}")).collect();
        writeln!(f, "  params {digest} word {} log_n {}", self.word.bits(), self.log_n)?;
        for (prime, root) in self.primes.iter().zip(&self.roots) {
            writeln!(f, "  prime {prime} root {root}")?;
        }
        if !self.sparse_limbs.is_empty() {
            let limbs: Vec<String> = self.sparse_limbs.iter().map(|limb| limb.0.to_string()).collect();
            writeln!(f, "  sparse [{}]", limbs.join(", "))?;
        }
        if self.n_groups != 1 {
            writeln!(f, "  groups {}", self.n_groups)?;
        }
        for (i, b) in self.buffers.iter().enumerate() {
            writeln!(f, "  buffer {i} {} rows {} device {}{}", b.kind, b.rows, b.device.0, tier(b.tier))?;
        }
        for step in &self.setup {
            writeln!(f, "  setup {step}")?;
        }
        for segment in &self.segments {
            let device =
                if segment.device.0 == 0 { String::new() } else { format!(" device {}", segment.device.0) };
            writeln!(f, "  segment {}{device} {{", quote(&segment.name))?;
            for slot in &segment.slots {
                writeln!(f, "    slot rows {} {}", slot.rows, slot.access.name())?;
            }
            for Step::Launch { launch, node } in &segment.steps {
                writeln!(f, "    launch {} %{} {{", launch.kernel.name(), node.0)?;
                match self.items(launch) {
                    Ok(items) => {
                        for item in items {
                            writeln!(f, "      {}", item_text(&item, launch.kernel))?;
                        }
                    }
                    Err(problem) => writeln!(f, "      ; {problem}")?,
                }
                writeln!(f, "    }}")?;
            }
            writeln!(f, "  }}")?;
        }
        for step in &self.schedule {
            match step {
                PlanStep::Call { segment, bindings } => {
                    writeln!(f, "  call {} [{}]", segment.0, join(bindings, |b| b.0.to_string()))?;
                }
                PlanStep::Host(step) => writeln!(f, "  {step}")?,
                PlanStep::Copy(copies) => writeln!(f, "  copy [{}]", join(copies, RowCopy::to_string))?,
                PlanStep::Record { event, stream } => writeln!(f, "  record {} {stream}", event.0)?,
                PlanStep::Wait { event, stream } => writeln!(f, "  wait {} {stream}", event.0)?,
            }
        }
        for p in &self.peaks {
            let (device, tier) = (p.device.0, tier(p.tier));
            writeln!(f, "  peak device {device}{tier} rows {} bytes {}", p.rows, p.bytes)?;
        }
        writeln!(f, "}}")
    }
}

/// Parses the text form.
///
/// # Errors
/// [`Error::Parse`] names the line. The result is not verified.
pub fn parse(text: &str) -> Result<Plan> {
    let mut all = lines(text)?.into_iter();
    let end = || Error::Parse { line: text.lines().count(), problem: "the text ends too early".to_owned() };
    let mut head = all.next().ok_or_else(end)?;
    head.expect("plan")?;
    let name = head.string()?;
    head.expect("abi")?;
    let abi_version = head.number()?;
    head.punct('{')?;
    head.done()?;
    let mut second = all.next().ok_or_else(end)?;
    let (params_digest, word, log_n) = parse_params(&mut second)?;
    let mut plan = Plan {
        abi_version,
        name,
        params_digest,
        word,
        log_n,
        primes: Vec::new(),
        roots: Vec::new(),
        sparse_limbs: Vec::new(),
        pool: Vec::new(),
        n_groups: 1,
        buffers: Vec::new(),
        segments: Vec::new(),
        setup: Vec::new(),
        schedule: Vec::new(),
        peaks: Vec::new(),
    };
    // Made at the first segment: primes come before.
    let mut pool: Option<PoolWriter> = None;
    loop {
        let mut line = all.next().ok_or_else(end)?;
        if line.take_punct('}') {
            line.done()?;
            break;
        }
        if line.take("segment") {
            let name = line.string()?;
            let device = if line.take("device") { DeviceIdx(line.number()?) } else { DeviceIdx(0) };
            line.punct('{')?;
            line.done()?;
            let pool = pool.get_or_insert_with(|| PoolWriter::new(&plan.primes, word));
            let segment = parse_segment(name, device, &mut all, pool)?;
            plan.segments.push(segment.ok_or_else(end)?);
            continue;
        }
        parse_line(&mut line, &mut plan)?;
        line.done()?;
    }
    if let Some(line) = all.next() {
        return Err(line.error("expected the end of the text"));
    }
    plan.pool = pool.map(PoolWriter::finish).unwrap_or_default();
    Ok(plan)
}

fn parse_params(line: &mut Line) -> Result<([u8; 16], WordKind, u32)> {
    line.expect("params")?;
    let hex = line.word()?;
    let mut digest = [0; 16];
    if hex.len() != 32 || !hex.is_ascii() {
        return Err(line.error(format!("expected a digest of 32 hex digits, found `{hex}`")));
    }
    for (i, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16)
            .map_err(|_| line.error(format!("expected a digest of 32 hex digits, found `{hex}`")))?;
    }
    line.expect("word")?;
    let word = match line.number::<u32>()? {
        32 => WordKind::U32,
        64 => WordKind::U64,
        other => return Err(line.error(format!("expected a word of 32 or 64 bits, found {other}"))),
    };
    line.expect("log_n")?;
    let log_n = line.number()?;
    line.done()?;
    Ok((digest, word, log_n))
}

fn buffer_id(line: &mut Line) -> Result<BufferId> {
    line.expect("buffer")?;
    Ok(BufferId(line.number()?))
}

fn device(line: &mut Line) -> Result<DeviceIdx> {
    line.expect("device")?;
    Ok(DeviceIdx(line.number()?))
}

fn parse_tier(line: &mut Line) -> Result<Tier> {
    if !line.take("tier") {
        return Ok(Tier::Device);
    }
    let name = line.word()?;
    Tier::from_name(&name).ok_or_else(|| line.error(format!("no tier `{name}`")))
}

fn parse_place(line: &mut Line) -> Result<Place> {
    let buffer = BufferId(line.number()?);
    line.punct(':')?;
    Ok(Place { buffer, row: line.number()? })
}

fn parse_stream(line: &mut Line) -> Result<StreamId> {
    let name = line.word()?;
    let kind = StreamKind::from_name(&name);
    let kind = kind.ok_or_else(|| line.error(format!("expected `launches` or `copies`, found `{name}`")))?;
    Ok(StreamId { device: device(line)?, kind })
}

fn parse_copy(line: &mut Line) -> Result<RowCopy> {
    let from = parse_place(line)?;
    line.expect("to")?;
    Ok(RowCopy { from, to: parse_place(line)?, rows: field(line, "rows")? })
}

fn parse_line(line: &mut Line, plan: &mut Plan) -> Result<()> {
    match line.word()?.as_str() {
        "prime" => {
            plan.primes.push(line.number()?);
            line.expect("root")?;
            plan.roots.push(line.number()?);
        }
        "sparse" => plan.sparse_limbs = line.list(|line| Ok(LimbIdx(line.number()?)))?,
        "groups" => plan.n_groups = line.number()?,
        "buffer" => {
            if line.number::<usize>()? != plan.buffers.len() {
                return Err(line.error(format!("expected buffer {}", plan.buffers.len())));
            }
            let kind = match line.word()?.as_str() {
                "arena" => BufferKind::Arena,
                "input" => BufferKind::Input(InputIdx(line.number()?)),
                "output" => BufferKind::Output(OutputIdx(line.number()?)),
                "key" => BufferKind::Key(parse_key(line)?),
                "constant" => BufferKind::Constant(ConstId(line.number()?)),
                "slots" => BufferKind::Slots(ConstId(line.number()?)),
                "factors" => BufferKind::Factors,
                "passed" => BufferKind::Passed,
                "spill" => BufferKind::Spill,
                other => return Err(line.error(format!("no kind of buffer `{other}`"))),
            };
            line.expect("rows")?;
            let rows = line.number()?;
            plan.buffers.push(Buffer { device: device(line)?, tier: parse_tier(line)?, rows, kind });
        }
        "setup" => {
            let word = line.word()?;
            let step = parse_host_step(line, &word)?;
            plan.setup.push(step);
        }
        "call" => {
            let segment = SegmentId(line.number()?);
            let bindings = line.list(|line| line.number().map(BufferId))?;
            plan.schedule.push(PlanStep::Call { segment, bindings });
        }
        "copy" => {
            let copies = line.list(parse_copy)?;
            plan.schedule.push(PlanStep::Copy(copies));
        }
        "record" => {
            let (event, stream) = (EventId(line.number()?), parse_stream(line)?);
            plan.schedule.push(PlanStep::Record { event, stream });
        }
        "wait" => {
            let (event, stream) = (EventId(line.number()?), parse_stream(line)?);
            plan.schedule.push(PlanStep::Wait { event, stream });
        }
        "peak" => {
            let (device, tier) = (device(line)?, parse_tier(line)?);
            plan.peaks.push(Peak { device, tier, rows: field(line, "rows")?, bytes: field(line, "bytes")? });
        }
        word => {
            let step = parse_host_step(line, word)?;
            plan.schedule.push(PlanStep::Host(step));
        }
    }
    Ok(())
}

fn parse_host_step(line: &mut Line, word: &str) -> Result<HostStep> {
    Ok(match word {
        "encode" | "load_slots" => {
            let (encoded, buffer) = (parse_encoded(line)?, buffer_id(line)?);
            match word {
                "encode" => HostStep::Encode { encoded, buffer },
                _ => HostStep::LoadSlots { encoded, buffer },
            }
        }
        "load_factors" => HostStep::LoadFactors { buffer: buffer_id(line)? },
        "load_key" => HostStep::LoadKey { key: parse_key(line)?, buffer: buffer_id(line)? },
        "upload" => HostStep::Upload { input: InputIdx(line.number()?), buffer: buffer_id(line)? },
        "download" => {
            let output = OutputIdx(line.number()?);
            HostStep::Download { buffer: buffer_id(line)?, output }
        }
        _ => return Err(line.error(format!("no step `{word}`"))),
    })
}

/// `None` when the text ends inside.
fn parse_segment(
    name: String,
    device: DeviceIdx,
    all: &mut impl Iterator<Item = Line>,
    pool: &mut PoolWriter,
) -> Result<Option<Segment>> {
    let mut segment = Segment { name, device, slots: Vec::new(), steps: Vec::new() };
    while let Some(mut line) = all.next() {
        if line.take_punct('}') {
            line.done()?;
            return Ok(Some(segment));
        }
        if line.take("slot") {
            line.expect("rows")?;
            let rows = line.number()?;
            let access = match line.word()?.as_str() {
                "read" => Access::Read,
                "write" => Access::Write,
                "read_write" => Access::ReadWrite,
                other => return Err(line.error(format!("no access `{other}`"))),
            };
            segment.slots.push(SlotUse { rows, access });
        } else {
            line.expect("launch")?;
            let name = line.word()?;
            let kernel =
                KernelId::from_name(&name).ok_or_else(|| line.error(format!("no kernel `{name}`")))?;
            let node = NodeId(line.id('%')?);
            line.punct('{')?;
            line.done()?;
            let mut items = Vec::new();
            loop {
                let Some(mut line) = all.next() else { return Ok(None) };
                if line.take_punct('}') {
                    line.done()?;
                    break;
                }
                items.push(parse_item(&mut line, kernel)?);
                line.done()?;
            }
            segment.steps.push(Step::Launch { launch: pool.launch(kernel, &items)?, node });
            continue;
        }
        line.done()?;
    }
    Ok(None)
}

fn parse_row(line: &mut Line) -> Result<RowRef> {
    if line.take("none") {
        return Ok(RowRef::NONE);
    }
    let slot = line.number()?;
    line.punct(':')?;
    Ok(RowRef { slot, row: line.number()? })
}

fn parse_pair(line: &mut Line) -> Result<[RowRef; 2]> {
    let a = parse_row(line)?;
    Ok([a, if line.take("and") { parse_row(line)? } else { RowRef::NONE }])
}

fn field<T: core::str::FromStr>(line: &mut Line, name: &str) -> Result<T> {
    line.expect(name)?;
    line.number()
}

fn parse_item(line: &mut Line, kernel: KernelId) -> Result<Item> {
    if kernel.item() == ItemKind::ConvertBasis {
        let sources = line.list(|line| {
            let (row, inv, frac) = (parse_row(line)?, field(line, "inv")?, field(line, "frac")?);
            Ok(ConvertSource { row, inv, frac, prime: field(line, "prime")?, pad: 0 })
        })?;
        line.expect("to")?;
        let targets = line.list(|line| {
            let (row, big) = (parse_row(line)?, field(line, "big")?);
            Ok(ConvertTarget { row, big, prime: field(line, "prime")?, pad: 0 })
        })?;
        line.expect("matrix")?;
        return Ok(Item::ConvertBasis { sources, targets, matrix: line.list(Line::number)? });
    }
    if kernel.item() == ItemKind::InnerProduct {
        let dst = parse_pair(line)?;
        line.punct('=')?;
        let (mut begun, mut t) = (0, 0);
        let terms = line.list(|line| {
            if line.take("begun") {
                begun |= 1u32.checked_shl(t).unwrap_or(0);
            }
            t += 1;
            let a = parse_row(line)?;
            let part = if line.take("part") { line.number()? } else { 0 };
            let log_repeat = if line.take("repeat") { line.number()? } else { 0 };
            line.punct('*')?;
            Ok(Term { part, log_repeat, ..Term::new(a, parse_pair(line)?) })
        })?;
        let init = if line.take("init") { parse_pair(line)? } else { [RowRef::NONE; 2] };
        let times = if line.take("times") { [line.number()?, field(line, "and")?] } else { [1; 2] };
        let galois = if line.take("galois") { line.number()? } else { 1 };
        let prime = field(line, "prime")?;
        return Ok(Item::InnerProduct { dst, init, times, prime, terms, begun, galois });
    }
    if kernel.item() == ItemKind::EmbedInverse {
        let dst = parse_pair(line)?;
        line.punct('=')?;
        let src = parse_pair(line)?;
        line.expect("factors")?;
        return Ok(Item::EmbedInverse(EmbedInverseItem { dst, src, factors: parse_pair(line)? }));
    }
    if kernel.item() == ItemKind::RoundResidues {
        let (src, scale) = (parse_pair(line)?, field::<f64>(line, "scale")?.to_bits());
        line.expect("to")?;
        let targets = line.list(|line| {
            let row = parse_row(line)?;
            Ok(RoundTarget { row, prime: field(line, "prime")?, pad: 0 })
        })?;
        return Ok(Item::RoundResidues { src, scale, targets });
    }
    let dst = parse_row(line)?;
    line.punct('=')?;
    let a = parse_row(line)?;
    if kernel.item() == ItemKind::Automorphism {
        let galois = GaloisElement(field(line, "galois")?);
        let prime = field(line, "prime")?;
        return Ok(Item::Automorphism(AutomorphismItem { dst, a, galois: galois.0, prime }));
    }
    let b = if kernel.reads_b() {
        line.punct(',')?;
        parse_row(line)?
    } else {
        RowRef::NONE
    };
    let scalar = if kernel.reads_scalar() { field(line, "scalar")? } else { 0 };
    let c = if line.take("add") { parse_row(line)? } else { RowRef::NONE };
    let galois = if line.take("galois") { line.number()? } else { 1 };
    Ok(Item::Row(RowItem { dst, a, b, c, scalar, prime: field(line, "prime")?, galois }))
}
