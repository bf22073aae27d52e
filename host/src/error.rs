//! What can go wrong: the caller's mistakes, the world's refusals, and plans that break a rule (our bug).

use fhe_core::params::Level;

/// An error of the room. Whatever returned it has changed nothing that a later call would see.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A backend that this build or this machine has not.
    #[error("backend `{backend}` is not available: {reason}")]
    BackendUnavailable {
        /// Its name.
        backend: &'static str,
        /// Why.
        reason: String,
    },
    /// A plan of another kernel ABI.
    #[error("kernel ABI: expected version {expected}, found {found}: compile the program again")]
    AbiMismatch {
        /// [`kernels_gpu::abi::ABI_VERSION`].
        expected: u32,
        /// The plan's.
        found: u32,
    },
    /// A plan over a ring that the kernels do not serve.
    #[error("ring refused: {what} is {found}, expected {expected}")]
    UnsupportedRing {
        /// What of the ring.
        what: &'static str,
        /// The range that is served.
        expected: String,
        /// The plan's.
        found: String,
    },
    /// A plan for another number of devices than the backend has.
    #[error(
        "backend `{backend}` has {expected} device, the plan is for {found}: compile it for {expected} (`Options::topology`), or choose \
         the backend `cpu`, which simulates any number"
    )]
    Devices {
        /// Its name.
        backend: &'static str,
        /// The plan's.
        found: u32,
        /// The backend's.
        expected: u32,
    },
    /// A plan that breaks a rule: a bug of the compiler, or of whoever made the plan.
    #[error("plan refused: rule `{rule}` is broken: {problem}")]
    InvalidPlan {
        /// The rule.
        rule: &'static str,
        /// Where and how.
        problem: String,
    },
    /// More memory than the machine has: it will never fit.
    #[error("out of memory: {what} needs {found} bytes, the machine has {expected}")]
    TooBig {
        /// What was to be allocated.
        what: String,
        /// Bytes that it needs.
        found: u64,
        /// Bytes of the machine.
        expected: u64,
    },
    /// The allocation failed: it may fit when others have freed memory.
    #[error("out of memory now: {what} needs {found} bytes, of which the system gave {expected}")]
    NotNow {
        /// What was to be allocated.
        what: String,
        /// Bytes that it needs.
        found: u64,
        /// Bytes that were allocated before one was refused.
        expected: u64,
    },
    /// More than the budget that the session was given.
    #[error("over budget: {what} needs {found} bytes, {expected} of the budget of {budget} are left")]
    OverBudget {
        /// What was to be allocated.
        what: String,
        /// Bytes that it needs.
        found: u64,
        /// Bytes that are left.
        expected: u64,
        /// The budget.
        budget: u64,
    },
    /// The file in which a program keeps what does not fit memory cannot be made, written or read.
    #[error("spill file in `{directory}`: {during}: {words}")]
    SpillFile {
        /// The directory that the session was given.
        directory: String,
        /// What was being done.
        during: &'static str,
        /// The system's words, or found and expected.
        words: String,
    },
    /// A plan that needs a file, in a session without a directory for it.
    #[error("{what} needs {found} bytes in a file: expected a session with a spill directory")]
    NoSpillDirectory {
        /// The program.
        what: String,
        /// Bytes of the file tier.
        found: u64,
    },
    /// The driver, or a kernel, failed.
    #[error("device error during {during}: {words}")]
    Driver {
        /// What was being done: the program, the segment or the node.
        during: String,
        /// The driver's call and words.
        words: String,
    },
    /// The device does not answer any more: a kernel or the hardware failed, and the driver repeats the error whatever is
    /// asked of it. Programs on it cannot be used any more; on NVIDIA devices nothing of this process can use it.
    #[error("device lost during {during}: {words}: start the process again")]
    DeviceLost {
        /// What was being done: the program, the segment or the node.
        during: String,
        /// The driver's call and words; for a later call, those of the first error and when it was.
        words: String,
    },
    /// A buffer, or rows of one, that the plan has not.
    #[error("buffer {buffer}: found {found}, expected {expected}")]
    BufferAccess {
        /// Index of the buffer.
        buffer: u32,
        /// What was asked for.
        found: String,
        /// What there is.
        expected: String,
    },
    /// An input that the program has not.
    #[error("unknown input `{found}`: expected {}", names(.expected))]
    UnknownInput {
        /// What was given.
        found: String,
        /// The inputs of the program.
        expected: Vec<String>,
    },
    /// An input that was not given.
    #[error("missing input `{missing}`: found {}", names(.found))]
    MissingInput {
        /// Its name.
        missing: String,
        /// What was given.
        found: Vec<String>,
    },
    /// An input given twice.
    #[error("input `{name}`: found {found} values, expected 1")]
    DuplicateInput {
        /// Its name.
        name: String,
        /// How often it was given.
        found: usize,
    },
    /// An input that cannot be read, or is of other parameters.
    #[error("input `{name}`: {error}")]
    Input {
        /// Its name.
        name: String,
        /// What is wrong.
        error: fhe_core::Error,
    },
    /// An input at another level than it was compiled for.
    #[error("input `{name}`: expected level {expected}, found {found}")]
    InputLevel {
        /// Its name.
        name: String,
        /// The manifest's.
        expected: Level,
        /// The ciphertext's.
        found: Level,
    },
    /// An input at another scale than it was compiled for.
    #[error("input `{name}`: expected log2 scale {expected:.6}, found {found:.6}")]
    InputScale {
        /// Its name.
        name: String,
        /// The manifest's.
        expected: f64,
        /// The ciphertext's.
        found: f64,
    },
    /// An input that is not of degree 1.
    #[error("input `{name}`: expected a ciphertext of degree {expected}, found degree {found}")]
    InputDegree {
        /// Its name.
        name: String,
        /// 1.
        expected: usize,
        /// The ciphertext's.
        found: usize,
    },
    /// A run before the evaluation keys were loaded.
    #[error("program `{program}`: evaluation keys are not loaded: expected {expected}, found 0")]
    KeysNotLoaded {
        /// The program.
        program: String,
        /// How many it needs.
        expected: usize,
    },
    /// Keys, constants or results that the reference refuses.
    #[error(transparent)]
    Core(#[from] fhe_core::Error),
    /// The program does not compile.
    #[error(transparent)]
    Compile(#[from] scheduler::Error),
}

/// What every fallible function of the room returns.
pub type Result<T> = core::result::Result<T, Error>;

fn names(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    quoted.join(", ")
}
