//! The rules that read text. Each function is one row of [`super::RULES`].

use super::source::{is_word, words};
use super::{File, Finding, Tree, in_src};

/// Longest file that one can still read, in lines.
const MAX_LINES: usize = 800;

fn at(file: &File, line: usize, what: impl Into<String>) -> Finding {
    Finding { path: file.path.clone(), line, what: what.into() }
}

/// Files that people write: sources, manifests, documents, scripts.
pub(super) fn file_length(tree: &Tree) -> Vec<Finding> {
    let written = |path: &str| {
        path.starts_with(".ci/")
            || [".rs", ".md", ".toml", ".sh", ".py"].iter().any(|end| path.ends_with(end))
    };
    let long = |file: &&File| written(&file.path) && file.text.lines().count() > MAX_LINES;
    let files = tree.files.iter().filter(long);
    files.map(|file| at(file, MAX_LINES + 1, format!("{} lines", file.text.lines().count()))).collect()
}

pub(super) fn stubs(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.rust() {
        for (line, word, after) in words(&file.code) {
            if matches!(word, "todo" | "unimplemented") && after.starts_with('!') {
                found.push(at(file, line, format!("`{word}!`")));
            }
        }
        for (line, text) in (1..).zip(file.code.lines()) {
            let attribute = text.trim_start().starts_with("#[");
            if attribute && words(text).any(|(_, word, _)| word == "ignore") {
                found.push(at(file, line, "ignored test"));
            }
        }
    }
    found
}

/// Clippy has the same rule, but it does not see code for another target (`kernels-gpu::device` on a GPU).
pub(super) fn safety(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.rust() {
        let raw: Vec<&str> = file.text.lines().collect();
        let code: Vec<&str> = file.code.lines().collect();
        for (line, word, after) in words(&file.code) {
            let after = after.trim_start();
            let is_impl = after.strip_prefix("impl").is_some_and(|rest| !rest.starts_with(is_word));
            if word == "unsafe" && (after.starts_with('{') || is_impl) && !explained(&raw, &code, line) {
                found.push(at(file, line, "unsafe without `// SAFETY:`"));
            }
        }
    }
    found
}

/// Whether a SAFETY comment stands on `line` or above the statement that `line` belongs to.
fn explained(raw: &[&str], code: &[&str], line: usize) -> bool {
    let says = |i: usize| raw[i].contains("// SAFETY:");
    if says(line - 1) {
        return true;
    }
    for i in (0..line - 1).rev() {
        if says(i) {
            return true;
        }
        let (text, code) = (raw[i].trim(), code[i].trim());
        let ends_another = !code.starts_with("#[") && code.ends_with([';', '{', '}', ',']);
        if text.is_empty() || ends_another {
            return false;
        }
    }
    false
}

pub(super) fn one_path(tree: &Tree) -> Vec<Finding> {
    let says = |word: &str| word.to_lowercase().replace('_', "").contains("mgpu");
    let mut found = Vec::new();
    for file in tree.rust() {
        let named = file.path.contains("mgpu").then(|| at(file, 0, "file name"));
        let used = words(&file.code).filter(|(_, word, _)| says(word));
        found
            .extend(named.into_iter().chain(used.map(|(line, word, _)| at(file, line, format!("`{word}`")))));
    }
    found
}

pub(super) fn pure(tree: &Tree) -> Vec<Finding> {
    const MODULES: &[&str] = &["fs", "env", "time", "net", "process"];
    const TYPES: &[&str] = &["HashMap", "HashSet"];
    let mut found = Vec::new();
    for file in tree.rust().filter(|file| in_room(file, &["fhe-core", "scheduler"])) {
        for (line, word, after) in words(&file.live) {
            if word == "std" {
                let used = std_modules(after).into_iter().filter(|name| MODULES.contains(name));
                found.extend(used.map(|name| at(file, line, format!("`std::{name}`"))));
            } else if TYPES.contains(&word) {
                found.push(at(file, line, format!("`{word}`")));
            }
        }
    }
    found
}

/// The modules that a path after `std` names: `::fs::..` one, `::{fs, io::Read}` several.
fn std_modules(after: &str) -> Vec<&str> {
    let Some(path) = after.strip_prefix("::") else { return Vec::new() };
    let Some(group) = path.strip_prefix('{') else {
        return words(path).take(1).map(|(_, word, _)| word).collect();
    };
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.extend(words(&group[start..i]).take(1).map(|(_, word, _)| word));
                start = i + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names
}

pub(super) fn no_secret(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.rust().filter(|file| in_room(file, &["host", "kernels-gpu"])) {
        let named = words(&file.live).filter(|(_, word, _)| *word == "SecretKey");
        found.extend(named.map(|(line, ..)| at(file, line, "`SecretKey`")));
    }
    found
}

/// Comments and inner attributes may stand before the head; code may not. Test modules need none.
pub(super) fn module_head(tree: &Tree) -> Vec<Finding> {
    let headless = |file: &&File| {
        let mut lines = file.text.lines().map(str::trim);
        let first = lines.find(|line| {
            line.starts_with("//!") || !(line.is_empty() || line.starts_with("//") || line.starts_with("#!["))
        });
        !first.is_some_and(|line| line.starts_with("//!"))
    };
    let test_code = |file: &File| file.live.trim().is_empty() && !file.code.trim().is_empty();
    let modules = tree.rust().filter(|file| in_src(&file.path) && !test_code(file));
    modules.filter(headless).map(|file| at(file, 1, "no `//!` head")).collect()
}

/// Reads comments, documents and data too. The directory names stand apart so that this file has no such path.
pub(super) fn no_machine_paths(tree: &Tree) -> Vec<Finding> {
    const DIRS: &[&str] = &["home", "root", "work", "tmp"];
    let part_of_path = |c: char| is_word(c) || "./-})~*".contains(c);
    let mut found = Vec::new();
    for file in &tree.files {
        for (line, text) in (1..).zip(file.text.lines()) {
            for (i, _) in text.match_indices('/') {
                let (before, after) = (&text[..i], &text[i + 1..]);
                let end = after.find(|c| !is_word(c)).unwrap_or(after.len());
                let rooted = !before.ends_with(part_of_path);
                // The directory alone counts too, but not a longer name that begins like it.
                if rooted && DIRS.contains(&&after[..end]) && !after[end..].starts_with(['-', '.']) {
                    found.push(at(file, line, format!("`/{}`", &after[..end])));
                }
            }
        }
    }
    found
}

pub(super) fn asm(tree: &Tree) -> Vec<Finding> {
    let device =
        |path: &str| path == "kernels-gpu/src/device.rs" || path.starts_with("kernels-gpu/src/device/");
    let mut found = Vec::new();
    for file in tree.rust().filter(|file| !device(&file.path)) {
        for (line, word, after) in words(&file.code) {
            if matches!(word, "asm" | "global_asm" | "naked_asm") && after.starts_with('!') {
                found.push(at(file, line, format!("`{word}!`")));
            }
        }
    }
    found
}

pub(super) fn lints(tree: &Tree) -> Vec<Finding> {
    let manifests = tree.files.iter().filter(|file| {
        (file.path == "Cargo.toml" || file.path.ends_with("/Cargo.toml")) && file.text.contains("[package]")
    });
    let inherits = |file: &&File| {
        let mut lines = file.text.lines().map(str::trim);
        lines.any(|line| line == "[lints]") && lines.next() == Some("workspace = true")
    };
    manifests.filter(|file| !inherits(file)).map(|file| at(file, 0, "lints not inherited")).collect()
}

pub(super) fn adr_index(tree: &Tree) -> Vec<Finding> {
    const DIR: &str = "docs/adr/";
    let Some(index) = tree.files.iter().find(|file| file.path == format!("{DIR}README.md")) else {
        return Vec::new();
    };
    let numbered = |name: &&str| name.starts_with(|c: char| c.is_ascii_digit()) && name.ends_with(".md");
    let paths = tree.files.iter().filter_map(|file| file.path.strip_prefix(DIR));
    let records: Vec<&str> = paths.filter(numbered).collect();
    let links = index.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let rows: Vec<&str> = links.filter(numbered).collect();
    let unlisted = records.iter().filter(|name| !rows.contains(name));
    let missing = rows.iter().filter(|name| !records.contains(name));
    let mut found: Vec<Finding> = unlisted.map(|name| at(index, 0, format!("no row for {name}"))).collect();
    found.extend(missing.map(|name| at(index, 0, format!("no file {name}"))));
    found
}

/// Whether a file belongs to the sources of one of these crates.
fn in_room(file: &File, rooms: &[&str]) -> bool {
    rooms.iter().any(|room| file.path.strip_prefix(room).is_some_and(|rest| rest.starts_with("/src/")))
}
