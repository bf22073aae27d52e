//! Licence and source of every package in Cargo.lock, against an allow-list.
//!
//! This stands in for cargo-deny: building that takes more than five minutes on two cores, longer than all
//! other steps of CI. What is kept of it: the licence allow-list, a ban list, and "registry packages only".
//! Not kept: security advisories and duplicate versions.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};

use crate::metadata::{self, Package};

/// Permissive licences that need no more than a notice.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that we decided against, with the reason.
const BANNED: &[(&str, &str)] = &[("cust", "see docs/adr/0002-cudarc-instead-of-cust.md")];

/// The licence of our own packages.
const OURS: &str = "MIT OR Apache-2.0";

/// Checks all packages; returns one line for the closing table.
pub(crate) fn run(root: &Path) -> Result<String> {
    let packages = metadata::locked(root)?.packages;
    let complaints: Vec<String> = packages.iter().flat_map(complaints).collect();
    if !complaints.is_empty() {
        bail!("{} packages refused:\n  {}", complaints.len(), complaints.join("\n  "));
    }
    let mut expressions: BTreeMap<&str, usize> = BTreeMap::new();
    for package in packages.iter().filter(|package| package.source.is_some()) {
        *expressions.entry(package.license.as_deref().unwrap_or_default()).or_default() += 1;
    }
    for (expression, count) in &expressions {
        println!("{count:5}  {expression}");
    }
    let foreign: usize = expressions.values().sum();
    Ok(format!("{foreign} foreign packages, {} licence expressions", expressions.len()))
}

/// What is wrong with one package, as sentences.
fn complaints(package: &Package) -> Vec<String> {
    let who = format!("{} {}", package.name, package.version);
    let mut found = Vec::new();
    let Some(source) = &package.source else {
        if package.license.as_deref() != Some(OURS) {
            found.push(format!("{who}: our own packages are `{OURS}`, found {:?}", package.license));
        }
        return found;
    };
    if !source.starts_with("registry+") && !source.starts_with("sparse+") {
        found.push(format!("{who}: comes from `{source}`, expected a package registry"));
    }
    if let Some((_, reason)) = BANNED.iter().find(|(name, _)| *name == package.name) {
        found.push(format!("{who}: banned, {reason}"));
    }
    match &package.license {
        None => found.push(format!("{who}: names no licence")),
        Some(text) => match Expression::parse(text) {
            Err(error) => found.push(format!("{who}: licence `{text}` does not parse: {error}")),
            Ok(expression) if !expression.allowed() => {
                found.push(format!(
                    "{who}: licence `{text}` is not in the allow-list of xtask/src/licences.rs"
                ));
            }
            Ok(_) => {}
        },
    }
    found
}

/// An SPDX licence expression. `AND` binds tighter than `OR`; `/` is the old way to write `OR`.
#[derive(Debug, PartialEq)]
enum Expression {
    Licence(String),
    And(Vec<Expression>),
    Or(Vec<Expression>),
}

impl Expression {
    fn parse(text: &str) -> Result<Self> {
        let spaced = text.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
        let tokens: Vec<&str> = spaced.split_whitespace().collect();
        let mut parser = Parser { tokens: &tokens };
        let expression = parser.any()?;
        match parser.tokens.first() {
            None => Ok(expression),
            Some(token) => bail!("unexpected `{token}`"),
        }
    }

    /// Whether some choice of licences that the expression offers lies in the allow-list.
    fn allowed(&self) -> bool {
        match self {
            Self::Licence(id) => ALLOWED.contains(&id.as_str()),
            Self::And(parts) => parts.iter().all(Self::allowed),
            Self::Or(parts) => parts.iter().any(Self::allowed),
        }
    }
}

struct Parser<'a> {
    tokens: &'a [&'a str],
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn eat(&mut self, word: &str) -> bool {
        let here = self.tokens.first().is_some_and(|token| token.eq_ignore_ascii_case(word));
        if here {
            self.tokens = &self.tokens[1..];
        }
        here
    }

    fn any(&mut self) -> Result<Expression> {
        let mut parts = vec![self.all()?];
        while self.eat("OR") {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Expression::Or))
    }

    fn all(&mut self) -> Result<Expression> {
        let mut parts = vec![self.single()?];
        while self.eat("AND") {
            parts.push(self.single()?);
        }
        Ok(one_or(parts, Expression::And))
    }

    fn single(&mut self) -> Result<Expression> {
        if self.eat("(") {
            let inner = self.any()?;
            if !self.eat(")") {
                bail!("`(` without `)`");
            }
            return Ok(inner);
        }
        let id = self.id()?;
        if self.eat("WITH") {
            return Ok(Expression::Licence(format!("{id} WITH {}", self.id()?)));
        }
        Ok(Expression::Licence(id.to_owned()))
    }

    fn id(&mut self) -> Result<&'a str> {
        match self.next() {
            Some(word) if !["OR", "AND", "WITH", "(", ")"].contains(&word) => Ok(word),
            Some(word) => bail!("expected a licence, found `{word}`"),
            None => bail!("expected a licence, found the end"),
        }
    }
}

fn one_or(mut parts: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    if parts.len() == 1 { parts.remove(0) } else { many(parts) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str) -> bool {
        Expression::parse(text).unwrap().allowed()
    }

    #[test]
    fn expressions_offer_a_choice_or_demand_all() {
        assert!(allowed("MIT"));
        assert!(allowed("MIT OR GPL-3.0-only"));
        assert!(allowed("GPL-3.0-only/MIT"));
        assert!(!allowed("MIT AND GPL-3.0-only"));
        assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!allowed("(GPL-2.0-only OR AGPL-3.0-only) AND MIT"));
        // AND binds tighter: MIT alone is offered.
        assert!(allowed("MIT OR GPL-2.0-only AND AGPL-3.0-only"));
        assert!(!allowed("LGPL-3.0-or-later"));
    }

    #[test]
    fn an_exception_is_part_of_the_licence() {
        assert!(allowed("Apache-2.0 WITH LLVM-exception"));
        assert!(!allowed("GPL-2.0-only WITH Classpath-exception-2.0"));
        assert!(!allowed("MIT WITH LLVM-exception"));
    }

    #[test]
    fn broken_expressions_are_errors() {
        for text in ["", "MIT OR", "(MIT", "MIT)", "AND MIT", "MIT Apache-2.0", "MIT WITH"] {
            assert!(Expression::parse(text).is_err(), "{text:?} parsed");
        }
    }

    fn package(license: Option<&str>, source: Option<&str>, name: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: license.map(str::to_owned),
            source: source.map(str::to_owned),
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn each_kind_of_complaint_is_made() {
        let registry = Some("registry+somewhere");
        let says = |package: &Package| complaints(package).join("; ");
        assert_eq!(says(&package(Some("MIT"), registry, "fine")), "");
        assert_eq!(says(&package(Some(OURS), None, "host")), "");
        assert!(says(&package(Some("MIT"), None, "host")).contains("our own packages"));
        assert!(says(&package(None, registry, "x")).contains("names no licence"));
        assert!(says(&package(Some("GPL-3.0"), registry, "x")).contains("allow-list"));
        assert!(says(&package(Some("MIT OR"), registry, "x")).contains("does not parse"));
        assert!(
            says(&package(Some("MIT"), Some("git+somewhere"), "x")).contains("expected a package registry")
        );
        assert!(says(&package(Some("MIT"), registry, "cust")).contains("banned"));
    }
}
