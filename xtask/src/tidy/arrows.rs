//! Which crate may import which room: the arrows of ARCHITECTURE.md as a table.

use super::{Finding, Tree};

/// What one crate may import of ours.
struct Arrow {
    from: &'static str,
    to: &'static [&'static str],
    /// More that its tests may import.
    dev: &'static [&'static str],
}

const ARROWS: &[Arrow] = &[
    Arrow { from: "fhe-core", to: &[], dev: &[] },
    Arrow { from: "kernels-gpu", to: &[], dev: &["fhe-core"] },
    Arrow { from: "scheduler", to: &["fhe-core", "kernels-gpu"], dev: &[] },
    Arrow { from: "host", to: &["scheduler", "fhe-core", "kernels-gpu"], dev: &[] },
    Arrow { from: "models", to: &["host", "scheduler", "fhe-core"], dev: &[] },
    Arrow { from: "ferrocerium", to: &["models", "host", "scheduler", "fhe-core", "kernels-gpu"], dev: &[] },
    Arrow {
        from: "benches",
        to: &["ferrocerium", "models", "host", "scheduler", "fhe-core", "kernels-gpu"],
        dev: &[],
    },
    Arrow { from: "xtask", to: &[], dev: &[] },
];

/// Rule: only the arrows of the table; a member that the table does not know needs a row first.
pub(super) fn arrows(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for package in &tree.packages {
        let path = if package.name == "ferrocerium" { String::new() } else { format!("{}/", package.name) };
        let mut report = |what| found.push(Finding { path: format!("{path}Cargo.toml"), line: 0, what });
        let Some(arrow) = ARROWS.iter().find(|arrow| arrow.from == package.name) else {
            report(format!("`{}` has no row in xtask/src/tidy/arrows.rs", package.name));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            let name = dependency.name.as_str();
            let dev = dependency.kind.as_deref() == Some("dev");
            if !arrow.to.contains(&name) && !(dev && (arrow.dev.contains(&name) || name == arrow.from)) {
                let kind = dependency.kind.as_deref().unwrap_or("normal");
                report(format!("`{}` imports `{name}` ({kind} dependency)", package.name));
            }
        }
    }
    found
}
