//! Where in the user's source a value was written. It is for messages only: no pass decides by it, and two values that
//! differ only in it are one to [`crate::passes::cse`].

use core::fmt;
use core::panic;
use std::borrow::Cow;
use std::sync::Arc;

/// A file, a line and a column, both from 1; with the call that led there, if a function of the program was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file, as the compiler of the user's program names it.
    pub file: Cow<'static, str>,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
    /// Where the function was called that this line is in.
    pub caller: Option<Arc<Self>>,
}

impl Location {
    /// The place that called the innermost function marked `#[track_caller]`.
    #[track_caller]
    pub fn here() -> Self {
        let at = panic::Location::caller();
        Self { file: Cow::Borrowed(at.file()), line: at.line(), column: at.column(), caller: None }
    }

    /// Reads `file:line:column`. The file may hold colons.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, ':');
        let column = parts.next()?.parse().ok()?;
        let line = parts.next()?.parse().ok()?;
        let file = Cow::Owned(parts.next()?.to_owned());
        Some(Self { file, line, column, caller: None })
    }

    /// Without its callers: `src/net.rs:12:9`.
    pub fn innermost(&self) -> String {
        format!("{}:{}:{}", self.file, self.line, self.column)
    }

    /// The same place, reached by way of one more call, the outermost.
    #[must_use]
    pub fn called_from(self, caller: Option<&Self>) -> Self {
        let Some(outermost) = caller else { return self };
        let caller = match self.caller {
            None => outermost.clone(),
            Some(inner) => Arc::unwrap_or_clone(inner).called_from(caller),
        };
        Self { caller: Some(Arc::new(caller)), ..self }
    }

    /// The place without its outermost callers, so that `n` places are left.
    #[must_use]
    pub fn innermost_of(self, n: usize) -> Self {
        let caller = self.caller.filter(|_| n > 1);
        let caller = caller.map(|caller| Arc::new(Arc::unwrap_or_clone(caller).innermost_of(n - 1)));
        Self { caller, ..self }
    }

    /// It, then its callers, outwards.
    pub fn stack(&self) -> impl Iterator<Item = &Self> {
        core::iter::successors(Some(self), |at| at.caller.as_deref())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}", self.innermost())?;
        self.stack().skip(1).try_for_each(|caller| write!(f, ", called at {}", caller.innermost()))
    }
}
