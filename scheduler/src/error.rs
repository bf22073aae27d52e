//! What can go wrong: the user's program, the parameters, a text, or (our bug) a pass.

use fhe_core::params::Level;

/// An error of the room.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is used twice among inputs or outputs.
    #[error("{what} `{name}` is declared twice")]
    DuplicateName {
        /// `input` or `output`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A period that is no power of two, or does not divide the number of slots.
    #[error("`{name}`: period {found}, expected a power of two{}", .limit.map(|n| format!(" of at most {n}")).unwrap_or_default())]
    Period {
        /// The value.
        name: String,
        /// What was given.
        found: usize,
        /// The number of slots, where known.
        limit: Option<usize>,
    },
    /// An output of more slots than there are.
    #[error("output `{name}`: {found} slots, expected 1 to {expected}")]
    OutputSlots {
        /// The output.
        name: String,
        /// The largest number.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// A number that is not finite.
    #[error("`{name}`: element {index} is {value}, expected a finite number")]
    NotFinite {
        /// The constant or value.
        name: String,
        /// First such element.
        index: usize,
        /// The element as text.
        value: String,
    },
    /// A matrix whose length is not rows times columns, or that does not fit the period.
    #[error("matrix `{name}`: {problem}")]
    Matrix {
        /// The matrix.
        name: String,
        /// Found and expected.
        problem: String,
    },
    /// A program without outputs.
    #[error("program `{name}` has no output")]
    NoOutput {
        /// The program.
        name: String,
    },
    /// Values of two programs in one expression.
    #[error("`{name}` belongs to another program")]
    ForeignValue {
        /// The value.
        name: String,
    },
    /// The program multiplies more often in a row than the parameters allow.
    #[error("the program needs {needed} levels, the parameters have {available}; longest chain: {}", .chain.join(" -> "))]
    TooDeep {
        /// Levels from the input to the output.
        needed: u32,
        /// The highest level.
        available: Level,
        /// Names along the longest chain, from the input.
        chain: Vec<String>,
    },
    /// A text that does not parse.
    #[error("line {line}: {problem}")]
    Parse {
        /// Line, from 1.
        line: usize,
        /// Found and expected.
        problem: String,
    },
    /// A rule of a language is broken: a bug of the pass, or of whoever wrote the text.
    #[error("{after}: rule `{rule}` is broken: {problem}")]
    Verify {
        /// The pass or stage after which it was found.
        after: String,
        /// The rule.
        rule: &'static str,
        /// Where and how.
        problem: String,
    },
    /// Something given to an interpreter is missing or of the wrong shape.
    #[error("interpreter: {0}")]
    Interp(String),
    /// A limit of the plan format.
    #[error("plan too large: {what} is {found}, expected at most {expected}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// The number needed.
        found: u64,
        /// The largest.
        expected: u64,
    },
    /// A device that cannot hold what one item of a launch reads and writes.
    #[error("device memory: {item} needs {needed} bytes at once, available are {available}")]
    DeviceBudget {
        /// Node and kernel.
        item: String,
        /// Bytes of its rows.
        needed: u64,
        /// The limit.
        available: u64,
    },
    /// A number of devices that no plan is made for.
    #[error("topology: {found} devices, expected 1 to {limit}")]
    Devices {
        /// What was given.
        found: u32,
        /// The largest number.
        limit: u32,
    },
    /// The parameters or the reference refuse.
    #[error(transparent)]
    Core(#[from] fhe_core::Error),
}

/// What every fallible function of the room returns.
pub type Result<T> = core::result::Result<T, Error>;
