//! The one error type of the room: what the caller did, with what was found and what was expected.

use crate::params::{GaloisElement, Level};

/// A caller's mistake, or bytes from outside that are not what they claim to be. No operation that returns
/// an error has changed anything.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A literal that does not describe valid parameters.
    #[error("parameters refused: {0}")]
    InvalidParams(String),
    /// The modulus is too large for 128-bit security at this ring degree (ePrint 2024/463).
    #[error(
        "parameters refused: log2(QP) = {log_qp:.2} at log N = {log_n}, but 128-bit security allows at most \
         {limit} (mark the literal `Security::Insecure` if that is meant)"
    )]
    BeyondSecurityTable {
        /// log2 of the ring degree.
        log_n: u32,
        /// log2 of the whole modulus, special primes included.
        log_qp: f64,
        /// The largest log2(QP) at this degree.
        limit: u32,
    },
    /// The modulus of the key to a sparse secret is too large for 128-bit security (ePrint 2022/024).
    #[error(
        "sparse secret of weight {weight} refused: log2 of its modulus is {log_qp:.2} at log N = {log_n}, but 128-bit security \
         allows at most {limit:.2} (fewer bits at level 0, or insecure parameters)"
    )]
    BeyondSparseSecurity {
        /// log2 of the ring degree.
        log_n: u32,
        /// Non-zero coefficients of the secret.
        weight: usize,
        /// log2 of the modulus, special primes included.
        log_qp: f64,
        /// The largest at this degree and weight.
        limit: f64,
    },
    /// Parameters of one word size, an object or context of another.
    #[error("word size: expected {expected} bits, found {found}")]
    WordMismatch {
        /// Bits of the word of the parameters.
        expected: u32,
        /// Bits of the word that was asked for.
        found: u32,
    },
    /// Two objects made under different parameters.
    #[error("parameters differ: expected digest {expected}, found {found}")]
    ParamsMismatch {
        /// Digest of the parameters in use.
        expected: String,
        /// Digest that the object carries.
        found: String,
    },
    /// A message whose length is not the number of slots.
    #[error("wrong number of slots: expected {expected}, found {found}")]
    SlotCount {
        /// N / 2, or what the receiver takes.
        expected: usize,
        /// Length of what was given.
        found: usize,
    },
    /// A value that is not a finite number.
    #[error("slot {slot} is {value}, expected a finite number")]
    NotFinite {
        /// First such slot.
        slot: usize,
        /// Its value as text.
        value: String,
    },
    /// An interval that is empty or not finite, or on which a function is not defined.
    #[error("interval from {low} to {high}, expected {expected}")]
    Interval {
        /// Its lower end.
        low: f64,
        /// Its upper end.
        high: f64,
        /// What was expected.
        expected: &'static str,
    },
    /// A function that is no finite number somewhere in its interval.
    #[error("the function is {found} at {x}, expected a finite number")]
    FunctionNotFinite {
        /// Where.
        x: f64,
        /// What it is there.
        found: f64,
    },
    /// A function that no polynomial is near enough to.
    #[error(
        "no polynomial of degree up to {degree} found within {expected} of the function from {low} to {high}, \
         the last one is off by {found}: shorten the interval or allow a larger error"
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
    },
    /// The message does not fit the modulus at this scale.
    #[error(
        "message too large: log2 of its largest coefficient is {found:.2} at this scale, expected below \
         {expected:.2} (half the modulus at level {level})"
    )]
    Overflow {
        /// log2 of the largest coefficient, scaled.
        found: f64,
        /// log2 of the largest that fits.
        expected: f64,
        /// The level.
        level: Level,
    },
    /// A message that fills the range of its modulus, or of what bootstrapping brings back: it was too large, or decrypted with another key.
    #[error(
        "{operation}: a coefficient is {found:.6} at this scale, expected at most {expected:.6}: the message is too large, or the key is \
         not its own"
    )]
    OutOfRange {
        /// The operation.
        operation: &'static str,
        /// The largest that is possible.
        expected: f64,
        /// The largest that there is.
        found: f64,
    },
    /// Slots of which a coefficient may not fit, for who encodes them unseen.
    #[error(
        "slots too large: log2 of the largest is {found:.2} at this scale, expected below {expected:.2} (63, and half the \
         modulus at level {level})"
    )]
    RawSlots {
        /// log2 of the largest slot, scaled.
        found: f64,
        /// log2 of the largest that surely fits.
        expected: f64,
        /// The level.
        level: Level,
    },
    /// No such level in these parameters.
    #[error("no level {found}: the highest is {expected}")]
    NoSuchLevel {
        /// Highest level.
        expected: Level,
        /// What was asked for.
        found: Level,
    },
    /// Operands or arguments at levels that the operation does not take.
    #[error("{operation}: expected level {expected}, found {found}")]
    LevelMismatch {
        /// The operation.
        operation: &'static str,
        /// Level that was needed.
        expected: Level,
        /// Level that was given.
        found: Level,
    },
    /// Operands whose scales differ by more than 2^-30.
    #[error("{operation}: expected log2 scale {expected:.6}, found {found:.6}")]
    ScaleMismatch {
        /// The operation.
        operation: &'static str,
        /// log2 of the scale that was needed.
        expected: f64,
        /// log2 of the scale that was given.
        found: f64,
    },
    /// A scale that is not a finite number or leaves the modulus of the level no room for a message.
    #[error("{operation}: log2 scale is {found:.2}, expected below the modulus, {expected:.2}")]
    ScaleTooLarge {
        /// The operation.
        operation: &'static str,
        /// log2 of the modulus of the level.
        expected: f64,
        /// log2 of the scale.
        found: f64,
    },
    /// Polynomials of another ring degree.
    #[error("{operation}: expected {expected} coefficients, found {found}")]
    RingDegreeMismatch {
        /// The operation.
        operation: &'static str,
        /// N that was needed.
        expected: usize,
        /// N that was given.
        found: usize,
    },
    /// Another number of ciphertexts than an operation takes.
    #[error("{operation}: expected {expected} ciphertexts, found {found}")]
    Parts {
        /// The operation.
        operation: &'static str,
        /// How many it takes.
        expected: usize,
        /// How many there were.
        found: usize,
    },
    /// A ciphertext of the wrong degree.
    #[error("{operation}: expected a ciphertext of degree {expected}, found degree {found}")]
    DegreeMismatch {
        /// The operation.
        operation: &'static str,
        /// Degree that was needed.
        expected: usize,
        /// Degree that was given.
        found: usize,
    },
    /// Polynomials over different bases.
    #[error("{operation}: bases differ: expected {expected:?}, found {found:?}")]
    BasisMismatch {
        /// The operation.
        operation: &'static str,
        /// Limb indexes that were needed.
        expected: Vec<u32>,
        /// Limb indexes that were given.
        found: Vec<u32>,
    },
    /// A rotation outside `(-N/2, N/2)`.
    #[error("rotation {found} is out of range: expected more than -{n_slots} and less than {n_slots}")]
    RotationOutOfRange {
        /// Number of slots.
        n_slots: usize,
        /// What was asked for.
        found: i64,
    },
    /// An element that is no automorphism of the ring.
    #[error("{found} is not a Galois element: expected an odd number below {two_n}")]
    NotGalois {
        /// 2 N.
        two_n: u64,
        /// What was given.
        found: u64,
    },
    /// An evaluation key that the operation needs is not there.
    #[error("missing key: Galois element {element} (rotation by {rotation})")]
    MissingGaloisKey {
        /// The element.
        element: GaloisElement,
        /// The rotation, or `conjugation`.
        rotation: String,
    },
    /// The relinearization key is not there.
    #[error("missing key: relinearization")]
    MissingRelinearizationKey,
    /// The keys to an ephemeral sparse secret and back are not there.
    #[error("missing keys: encapsulation, the switch to a sparse secret and back")]
    MissingEncapsulationKeys,
    /// Keys that are needed are not there, all of them by name.
    #[error("missing keys: {}", .missing.join(", "))]
    MissingKeys {
        /// `relinearization`, `encapsulation`, `rotation by k` or `conjugation`.
        missing: Vec<String>,
    },
    /// A key that is not for what it was given for.
    #[error("wrong key: expected {expected}, found {found}")]
    WrongKey {
        /// What was needed.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A rescale at level 0.
    #[error("{operation}: no level left below level 0")]
    LevelsExhausted {
        /// The operation.
        operation: &'static str,
    },
    /// Bytes from outside that cannot be read.
    #[error("cannot read {what} at byte {at}: {problem}")]
    Wire {
        /// The object being read.
        what: &'static str,
        /// Offset in the blob.
        at: usize,
        /// Found and expected.
        problem: String,
    },
    /// Arguments of noise flooding that mean nothing.
    #[error("noise flooding: {0}")]
    Flooding(String),
    /// Noise flooding would leave too little of an answer.
    #[error(
        "noise flooding: expected {expected:.1} bits of precision, but only {found:.1} would be left (fewer answers, bits of security \
         or slots, or a computation of a smaller error)"
    )]
    FloodedPrecision {
        /// Bits that were asked for.
        expected: f64,
        /// Bits that the noise leaves.
        found: f64,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(String),
}

/// What every fallible function of the room returns.
pub type Result<T> = core::result::Result<T, Error>;
