//! `cargo xtask tidy`: the rules of the house that neither the compiler nor clippy states.
//!
//! A rule is a function from the tree to its findings, and a row of [`RULES`]. To add one: write the function
//! in `rules`, add the row, and prove in `tests` that it can fail.

mod arrows;
mod rules;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::metadata::{self, Package};

/// One rule: its name, the sentence that a finding repeats, and the check.
struct Rule {
    name: &'static str,
    says: &'static str,
    check: fn(&Tree) -> Vec<Finding>,
}

const RULES: &[Rule] = &[
    Rule {
        name: "arrows",
        says: "a crate imports only the rooms that ARCHITECTURE.md lets it",
        check: arrows::arrows,
    },
    Rule { name: "file-length", says: "no file over 800 lines: split it", check: rules::file_length },
    Rule {
        name: "stubs",
        says: "no todo!, unimplemented! or ignored test: leave out what is not there",
        check: rules::stubs,
    },
    Rule {
        name: "safety",
        says: "`// SAFETY:` directly before every unsafe block and unsafe impl",
        check: rules::safety,
    },
    Rule {
        name: "one-path",
        says: "one code path for n >= 1 devices: no identifier says mgpu",
        check: rules::one_path,
    },
    Rule {
        name: "pure",
        says: "fhe-core and scheduler use no files, environment, clocks, network, processes or hash order",
        check: rules::pure,
    },
    Rule {
        name: "no-secret",
        says: "a secret key cannot reach host or kernels-gpu: the type is not named there",
        check: rules::no_secret,
    },
    Rule {
        name: "module-head",
        says: "every module file begins with `//!`: what it owns",
        check: rules::module_head,
    },
    Rule {
        name: "no-machine-paths",
        says: "no absolute path of somebody's machine",
        check: rules::no_machine_paths,
    },
    Rule { name: "asm", says: "asm! only in kernels-gpu/src/device", check: rules::asm },
    Rule { name: "lints", says: "every member has `[lints] workspace = true`", check: rules::lints },
    Rule {
        name: "adr-index",
        says: "every decision record has a row in docs/adr/README.md, and every row its file",
        check: rules::adr_index,
    },
];

/// A place that breaks a rule. `line` counts from 1; 0 means the file as a whole.
#[derive(Debug, PartialEq)]
struct Finding {
    path: String,
    line: usize,
    what: String,
}

/// What the rules read: the tracked text files and the members of the workspace.
struct Tree {
    files: Vec<File>,
    packages: Vec<Package>,
}

/// One text file; `path` is relative to the root, with `/`.
struct File {
    path: String,
    text: String,
    /// Rust only: `text` without comments and literals.
    code: String,
    /// Rust only: `code` without test items; empty for a file that is test code as a whole.
    live: String,
}

impl Tree {
    /// From (path, text) pairs; marks the files of test modules as test code.
    fn new(sources: Vec<(String, String)>, packages: Vec<Package>) -> Self {
        let mut test_modules = BTreeSet::new();
        let mut files = Vec::new();
        for (path, text) in sources {
            let (mut code, mut live) = (String::new(), String::new());
            if path.ends_with(".rs") {
                code = source::blank_comments_and_literals(&text);
                let (kept, modules) = source::blank_tests(&code);
                live = kept;
                test_modules.extend(modules.iter().map(|name| format!("{}/{name}", module_dir(&path))));
            }
            files.push(File { path, text, code, live });
        }
        for file in &mut files {
            let stem = file.path.trim_end_matches(".rs").trim_end_matches("/mod");
            let in_test_module = test_modules.iter().any(|module| {
                stem.strip_prefix(module.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
            if in_test_module || !in_src(&file.path) {
                file.live.clear();
            }
        }
        Self { files, packages }
    }

    fn load(root: &Path) -> Result<Self> {
        let mut sources = Vec::new();
        for path in tracked(root)? {
            // A file that is not text has nothing for these rules; one that is tracked but deleted neither.
            if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
                sources.push((path, text));
            }
        }
        Ok(Self::new(sources, metadata::members(root)?.packages))
    }

    fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }
}

/// Whether a path lies in the sources of a crate, not in its tests, benches or examples.
fn in_src(path: &str) -> bool {
    path.starts_with("src/") || path.contains("/src/")
}

/// The directory in which the file at `path` looks for its modules.
fn module_dir(path: &str) -> &str {
    let stem = path.trim_end_matches(".rs");
    ["/lib", "/main", "/mod"].iter().find_map(|name| stem.strip_suffix(name)).unwrap_or(stem)
}

/// Tracked files; in a tree without git (an unpacked archive), all files outside hidden and build directories.
fn tracked(root: &Path) -> Result<Vec<String>> {
    let git = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    if let Ok(output) = git
        && output.status.success()
    {
        let listed = String::from_utf8(output.stdout).context("a tracked path is not UTF-8")?;
        let paths: Vec<String> = listed.split_terminator('\0').map(str::to_owned).collect();
        // An archive that was unpacked inside another repository lists nothing of ours.
        if paths.iter().any(|path| path == "Cargo.toml") {
            return Ok(paths);
        }
    }
    let mut paths = Vec::new();
    walk(root, "", &mut paths)?;
    paths.sort();
    Ok(paths)
}

fn walk(root: &Path, below: &str, paths: &mut Vec<String>) -> Result<()> {
    let dir = root.join(below);
    for entry in std::fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        if entry.file_type()?.is_file() {
            paths.push(path);
        } else if entry.file_type()?.is_dir()
            && name != "target"
            && (!name.starts_with('.') || name == ".ci" || name == ".cargo")
        {
            walk(root, &path, paths)?;
        }
    }
    Ok(())
}

/// Every finding of every rule, as lines to print.
fn findings(tree: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    for rule in RULES {
        for Finding { path, line, what } in (rule.check)(tree) {
            lines.push(format!("{path}:{line}: {what} [{}: {}]", rule.name, rule.says));
        }
    }
    lines
}

/// Checks the tree at `root`; returns one line for the closing table.
pub(crate) fn run(root: &Path) -> Result<String> {
    let tree = Tree::load(root)?;
    let lines = findings(&tree);
    if !lines.is_empty() {
        bail!("{} findings\n{}", lines.len(), lines.join("\n"));
    }
    Ok(format!("{} rules, {} files", RULES.len(), tree.files.len()))
}
