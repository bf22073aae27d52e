//! What can go wrong: the user's program, the parameters, a text, or (our bug) a pass.

use core::fmt;

use fhe_core::params::Level;

use crate::ckks_ir::Location;

/// An error of the room.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is used twice among inputs or outputs.
    #[error("{what} `{name}` is declared twice: first{}, again{}", At(.first), At(.at))]
    DuplicateName {
        /// `input` or `output`.
        what: &'static str,
        /// The name.
        name: String,
        /// Where it was declared first.
        first: Option<Location>,
        /// Where in the user's source.
        at: Option<Location>,
    },
    /// A period that is no power of two, or does not divide the number of slots.
    #[error("`{name}`: period {found}, expected a power of two{}{}", .limit.map(|n| format!(" of at most {n}")).unwrap_or_default(), At(.at))]
    Period {
        /// The value.
        name: String,
        /// What was given.
        found: usize,
        /// The number of slots, where known.
        limit: Option<usize>,
        /// Where in the user's source.
        at: Option<Location>,
    },
    /// An output of more slots than there are.
    #[error("output `{name}`: {found} slots, expected 1 to {expected}{}", At(.at))]
    OutputSlots {
        /// The output.
        name: String,
        /// The largest number.
        expected: usize,
        /// What was given.
        found: usize,
        /// Where in the user's source.
        at: Option<Location>,
    },
    /// A number that is not finite.
    #[error("`{name}`: element {index} is {value}, expected a finite number{}", At(.at))]
    NotFinite {
        /// The constant or value.
        name: String,
        /// First such element.
        index: usize,
        /// The element as text.
        value: String,
        /// Where in the user's source.
        at: Option<Location>,
    },
    /// A matrix whose length is not rows times columns, or that does not fit the period.
    #[error("matrix `{name}`: {problem}{}", At(.at))]
    Matrix {
        /// The matrix.
        name: String,
        /// Found and expected.
        problem: String,
        /// Where in the user's source.
        at: Option<Location>,
    },
    /// A call of a function of the program with other sizes than its first call, or with other parameters than it reads.
    #[error("call of `{name}`{}: {problem}", At(.at))]
    Call {
        /// The function.
        name: String,
        /// Found and expected.
        problem: String,
        /// Where in the user's source.
        at: Option<Location>,
    },
    /// Vectors of different lengths, or an empty one.
    #[error("{what} of {found}, expected {expected}{}", At(.at))]
    Length {
        /// What has the length.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length that it should have.
        expected: usize,
        /// Where in the user's source.
        at: Option<Location>,
    },
    /// An element that a vector of ciphertexts does not have.
    #[error("element {index} of a vector of {len} ciphertexts{}", At(.at))]
    Index {
        /// The element, from 0.
        index: usize,
        /// The length of the vector.
        len: usize,
        /// Where in the user's source.
        at: Option<Location>,
    },
    /// An interval that is empty or not finite, or on which a function is not defined.
    #[error("interval from {low} to {high}, expected {expected}{}", At(.at))]
    Interval {
        /// Its lower end.
        low: f64,
        /// Its upper end.
        high: f64,
        /// What was expected.
        expected: &'static str,
        /// Where in the user's source.
        at: Option<Location>,
    },
    /// A function that no polynomial is near enough to.
    #[error(
        "no polynomial of degree up to {degree} found within {expected} of the function from {low} to {high}, \
         the last one is off by {found}{}: shorten the interval or allow a larger error",
        At(.at)
    )]
    NotApproximated {
        /// Lower end of the interval.
        low: f64,
        /// Upper end of the interval.
        high: f64,
        /// The highest degree.
        degree: usize,
        /// The error at that degree.
        found: f64,
        /// The error that was asked for.
        expected: f64,
        /// Where in the user's source.
        at: Option<Location>,
    },
    /// A program without outputs.
    #[error("program `{name}` has no output{}: return a value by `Graph::output`", At(.at))]
    NoOutput {
        /// The program.
        name: String,
        /// Where in the user's source.
        at: Option<Location>,
    },
    /// Values of two programs in one expression.
    #[error("`{name}`{} belongs to another program than what it meets{}", At(.made), At(.at))]
    ForeignValue {
        /// The value.
        name: String,
        /// Where it was made.
        made: Option<Location>,
        /// Where in the user's source.
        at: Option<Location>,
    },
    /// A value, an input or a constant that reaches no output.
    #[error(
        "{what} `{name}`{} reaches no output{}: return it, remove it, or mark it by `unused_on_purpose`",
        At(.at), more(*.others)
    )]
    Unused {
        /// `input`, `plaintext` or `value`.
        what: &'static str,
        /// The user's name, or the operation.
        name: String,
        /// How many others there are.
        others: usize,
        /// Where in the user's source.
        at: Option<Location>,
    },
    /// The program multiplies more often in a row than the parameters allow.
    #[error("the program needs {needed} levels, the parameters have {available}; longest chain: {}; choose parameters with \
         more, or such that bootstrap", .chain.join(" -> "))]
    TooDeep {
        /// Levels from the input to the output.
        needed: u32,
        /// The highest level.
        available: Level,
        /// Names along the longest chain and where they were written, from the input.
        chain: Vec<String>,
    },
    /// A program that is too deep, in which no bootstraps can be placed.
    #[error(
        "`{name}`{} is needed at level {needed}, expected at most {available}, and no places for bootstraps (which return level {returned}) \
         were found: remove `at_level`, `rescaled` and `relinearized` from what it is needed for, or bootstrap there by `bootstrapped`",
        At(.at)
    )]
    NoBootstrap {
        /// The input, or the bootstrap.
        name: String,
        /// The level that its users need.
        needed: u32,
        /// The highest that there is for it.
        available: Level,
        /// The level of a bootstrap's result.
        returned: Level,
        /// Where in the user's source.
        at: Option<Location>,
    },
    /// A rescale, a relinearization or a level that the user wrote, where it cannot be.
    #[error("`{name}`{}: {problem}", At(.at))]
    Override {
        /// The value, or the method that was called.
        name: String,
        /// Found and expected, and what to do.
        problem: String,
        /// Where in the user's source.
        at: Option<Location>,
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
    /// A number of groups that the devices cannot be.
    #[error("groups: {found} of {n_devices} devices, expected a divisor of their number")]
    Groups {
        /// What was given.
        found: u32,
        /// Number of devices.
        n_devices: u32,
    },
    /// The parameters or the reference refuse.
    #[error(transparent)]
    Core(#[from] fhe_core::Error),
}

/// ` at src/net.rs:12:9`, or nothing.
struct At<'a>(&'a Option<Location>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |at| write!(f, " {at}"))
    }
}

fn more(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" (and {others} more)") }
}

/// What every fallible function of the room returns.
pub type Result<T> = core::result::Result<T, Error>;
