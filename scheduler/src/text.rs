//! The shape that the text forms of all three languages share: lines of words, strings and punctuation.
//!
//! A word is a run of letters, digits, `_`, `.`, `+` and `-`; a string is in double quotes with `\"` and
//! `\\`; any other visible character is punctuation; `;` begins a comment.

use core::str::FromStr;

use crate::error::{Error, Result};

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Str(String),
    Punct(char),
}

/// A line being read.
pub(crate) struct Line {
    number: usize,
    tokens: Vec<Token>,
    at: usize,
}

/// Quotes a name.
pub(crate) fn quote(name: &str) -> String {
    let mut out = String::from("\"");
    for c in name.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The lines that are not empty.
pub(crate) fn lines(text: &str) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (i, raw) in text.lines().enumerate() {
        let tokens = tokens(raw).map_err(|problem| Error::Parse { line: i + 1, problem })?;
        if !tokens.is_empty() {
            lines.push(Line { number: i + 1, tokens, at: 0 });
        }
    }
    Ok(lines)
}

fn tokens(raw: &str) -> core::result::Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_whitespace() {
            continue;
        }
        if c == ';' {
            break;
        }
        if c == '"' {
            let mut s = String::new();
            loop {
                match chars.next() {
                    Some('"') => break,
                    Some('\\') => match chars.next() {
                        Some('n') => s.push('\n'),
                        Some(c) => s.push(c),
                        None => return Err("string is not closed".to_owned()),
                    },
                    Some(c) => s.push(c),
                    None => return Err("string is not closed".to_owned()),
                }
            }
            tokens.push(Token::Str(s));
        } else if is_word(c) {
            let mut w = String::from(c);
            while let Some(&c) = chars.peek() {
                if !is_word(c) {
                    break;
                }
                w.push(c);
                chars.next();
            }
            tokens.push(Token::Word(w));
        } else {
            tokens.push(Token::Punct(c));
        }
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '+' | '-')
}

impl Line {
    /// An error on this line.
    pub(crate) fn error(&self, problem: impl Into<String>) -> Error {
        Error::Parse { line: self.number, problem: problem.into() }
    }

    fn expected(&self, what: &str) -> Error {
        let found = match self.tokens.get(self.at) {
            Some(Token::Word(w)) => format!("`{w}`"),
            Some(Token::Str(s)) => quote(s),
            Some(Token::Punct(c)) => format!("`{c}`"),
            None => "the end of the line".to_owned(),
        };
        self.error(format!("expected {what}, found {found}"))
    }

    /// Any word.
    pub(crate) fn word(&mut self) -> Result<String> {
        match self.tokens.get(self.at) {
            Some(Token::Word(w)) => {
                self.at += 1;
                Ok(w.clone())
            }
            _ => Err(self.expected("a word")),
        }
    }

    /// This word, if it comes next.
    pub(crate) fn take(&mut self, word: &str) -> bool {
        let here = matches!(self.tokens.get(self.at), Some(Token::Word(w)) if w == word);
        self.at += usize::from(here);
        here
    }

    /// This word.
    pub(crate) fn expect(&mut self, word: &str) -> Result<()> {
        if self.take(word) { Ok(()) } else { Err(self.expected(&format!("`{word}`"))) }
    }

    /// This character, if it comes next.
    pub(crate) fn take_punct(&mut self, c: char) -> bool {
        let here = self.tokens.get(self.at) == Some(&Token::Punct(c));
        self.at += usize::from(here);
        here
    }

    /// This character.
    pub(crate) fn punct(&mut self, c: char) -> Result<()> {
        if self.take_punct(c) { Ok(()) } else { Err(self.expected(&format!("`{c}`"))) }
    }

    /// A quoted name.
    pub(crate) fn string(&mut self) -> Result<String> {
        match self.tokens.get(self.at) {
            Some(Token::Str(s)) => {
                self.at += 1;
                Ok(s.clone())
            }
            _ => Err(self.expected("a name in quotes")),
        }
    }

    /// Whether a quoted name comes next.
    pub(crate) fn at_string(&self) -> bool {
        matches!(self.tokens.get(self.at), Some(Token::Str(_)))
    }

    /// A number.
    pub(crate) fn number<T: FromStr>(&mut self) -> Result<T> {
        if let Some(Token::Word(w)) = self.tokens.get(self.at)
            && let Ok(n) = w.parse()
        {
            self.at += 1;
            return Ok(n);
        }
        Err(self.expected("a number"))
    }

    /// A number after a sigil, as `%7`.
    pub(crate) fn id(&mut self, sigil: char) -> Result<u32> {
        self.punct(sigil)?;
        self.number()
    }

    /// Items in brackets, separated by commas.
    pub(crate) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.punct('[')?;
        let mut items = Vec::new();
        if self.take_punct(']') {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.take_punct(']') {
                return Ok(items);
            }
            self.punct(',')?;
        }
    }

    /// Whether the line is read.
    pub(crate) fn is_done(&self) -> bool {
        self.at == self.tokens.len()
    }

    /// The end of the line.
    pub(crate) fn done(&self) -> Result<()> {
        if self.is_done() { Ok(()) } else { Err(self.expected("the end of the line")) }
    }
}
