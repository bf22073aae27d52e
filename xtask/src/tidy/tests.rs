use super::*;
use crate::metadata::Dependency;

/// What the rule `name` finds in a tree of these files and packages, as `path:line: what`.
fn check(name: &str, files: &[(&str, &str)], packages: Vec<Package>) -> Vec<String> {
    let sources = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let tree = Tree::new(sources, packages);
    let rule = RULES.iter().find(|rule| rule.name == name).unwrap();
    (rule.check)(&tree).iter().map(|f| format!("{}:{}: {}", f.path, f.line, f.what)).collect()
}

fn file(name: &str, path: &str, text: &str) -> Vec<String> {
    check(name, &[(path, text)], Vec::new())
}

const NOTHING: [&str; 0] = [];

fn package(name: &str, imports: &[(&str, Option<&str>)]) -> Package {
    let dependency = |(name, kind): &(&str, Option<&str>)| Dependency {
        name: (*name).to_owned(),
        kind: kind.map(str::to_owned),
        path: Some(format!("../{name}")),
    };
    Package {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        license: None,
        source: None,
        dependencies: imports.iter().map(dependency).collect(),
    }
}

#[test]
fn this_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let lines = findings(&Tree::load(root).unwrap());
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
}

#[test]
fn rule_names_are_distinct() {
    let names: BTreeSet<_> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), RULES.len());
}

#[test]
fn arrows_point_one_way() {
    let arrows = |package| check("arrows", &[], vec![package]);
    assert_eq!(arrows(package("scheduler", &[("fhe-core", None), ("kernels-gpu", None)])), NOTHING);
    assert_eq!(arrows(package("kernels-gpu", &[("fhe-core", Some("dev"))])), NOTHING);
    assert_eq!(arrows(package("models", &[("models", Some("dev"))])), NOTHING);
    assert_eq!(
        arrows(package("kernels-gpu", &[("fhe-core", None)])),
        ["kernels-gpu/Cargo.toml:0: `kernels-gpu` imports `fhe-core` (normal dependency)"]
    );
    assert_eq!(
        arrows(package("scheduler", &[("host", Some("dev"))])),
        ["scheduler/Cargo.toml:0: `scheduler` imports `host` (dev dependency)"]
    );
    assert_eq!(arrows(package("fhe-core", &[("kernels-gpu", Some("build"))])).len(), 1);
    assert_eq!(arrows(package("xtask", &[("fhe-core", None)])).len(), 1);
    assert_eq!(
        arrows(package("annex", &[])),
        ["annex/Cargo.toml:0: `annex` has no row in xtask/src/tidy/arrows.rs"]
    );
}

#[test]
fn foreign_packages_are_no_arrows() {
    let mut fhe_core = package("fhe-core", &[("host", None)]);
    fhe_core.dependencies[0].path = None;
    assert_eq!(check("arrows", &[], vec![fhe_core]), NOTHING);
}

#[test]
fn file_length_is_bounded() {
    assert_eq!(file("file-length", "a/src/a.rs", &"//\n".repeat(800)), NOTHING);
    assert_eq!(file("file-length", "a/src/a.rs", &"//\n".repeat(801)), ["a/src/a.rs:801: 801 lines"]);
    assert_eq!(file("file-length", "Cargo.lock", &"\n".repeat(5000)), NOTHING);
}

#[test]
fn stubs_are_found_and_words_are_not() {
    let text = "// todo!()\nfn todo() { let s = \"unimplemented!\"; }\n#[test]\nfn ignore() {}\n";
    assert_eq!(file("stubs", "a/src/a.rs", text), NOTHING);
    let text = "fn a() { todo!() }\nfn b() { unimplemented!() }\n#[ignore]\n#[ignore = \"slow\"]\n#[cfg_attr(x, ignore)]\n";
    let found =
        ["1: `todo!`", "2: `unimplemented!`", "3: ignored test", "4: ignored test", "5: ignored test"];
    assert_eq!(file("stubs", "a/src/a.rs", text), found.map(|f| format!("a/src/a.rs:{f}")));
}

#[test]
fn unsafe_is_explained() {
    let text = "
        // SAFETY: the pointer is valid.
        let a = unsafe { *p };
        // SAFETY: a comment
        // of two lines.
        #[inline]
        unsafe impl Send for A {}
        // SAFETY: above the statement.
        let b =
            unsafe { *p };
        unsafe { f() } // SAFETY: on the line.
        unsafe fn declared() {}
        unsafe extern \"C\" {}";
    assert_eq!(file("safety", "a/src/a.rs", text), NOTHING);
    let text = "
        // SAFETY: belongs to the first only.
        unsafe impl Send for A {}
        unsafe impl Sync for A {}
        let s = \"SAFETY:\"; unsafe { f() }
        // SAFETY: a blank line follows.

        unsafe { f() }";
    let found = [4, 5, 8].map(|line| format!("a/tests/a.rs:{line}: unsafe without `// SAFETY:`"));
    assert_eq!(file("safety", "a/tests/a.rs", text), found);
}

#[test]
fn one_path_for_all_device_counts() {
    assert_eq!(file("one-path", "a/src/a.rs", "fn gpu_main() {} // mgpu"), NOTHING);
    let text = "fn run_mgpu() {}\nstruct MGpuPlan;\nlet m_gpu = 1;";
    let found = ["a.rs:1: `run_mgpu`", "a.rs:2: `MGpuPlan`", "a.rs:3: `m_gpu`"];
    assert_eq!(file("one-path", "a/src/a.rs", text), found.map(|f| format!("a/src/{f}")));
    assert_eq!(file("one-path", "a/src/mgpu.rs", ""), ["a/src/mgpu.rs:0: file name"]);
}

#[test]
fn pure_rooms_see_no_world() {
    let text = "use std::collections::HashMap;\nuse std::{fmt, fs::File, io::{self, env}};\nlet t = std::time::Instant::now();\n";
    let found = ["1: `HashMap`", "2: `std::fs`", "3: `std::time`"].map(|f| format!("scheduler/src/a.rs:{f}"));
    assert_eq!(file("pure", "scheduler/src/a.rs", text), found);
    assert_eq!(file("pure", "fhe-core/src/a.rs", text).len(), 3);
    for elsewhere in ["host/src/a.rs", "scheduler/tests/a.rs", "fhe-core/benches/a.rs"] {
        assert_eq!(file("pure", elsewhere, text), NOTHING);
    }
    assert_eq!(
        file("pure", "fhe-core/src/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{text}}}\n")),
        NOTHING
    );
}

#[test]
fn files_of_test_modules_are_test_code() {
    let world = "use std::fs;";
    let files = [
        ("scheduler/src/lib.rs", "#[cfg(test)]\nmod support;\nmod dsl;"),
        ("scheduler/src/support/mod.rs", world),
        ("scheduler/src/support/deep.rs", world),
        ("scheduler/src/dsl.rs", "#[cfg(test)] mod tests;"),
        ("scheduler/src/dsl/tests.rs", world),
        ("scheduler/src/supporting.rs", world),
    ];
    assert_eq!(check("pure", &files, Vec::new()), ["scheduler/src/supporting.rs:1: `std::fs`"]);
}

#[test]
fn secrets_stay_with_the_client() {
    let text = "//! The SecretKey stays away.\nfn f(key: &SecretKey) {}\n";
    assert_eq!(file("no-secret", "host/src/a.rs", text), ["host/src/a.rs:2: `SecretKey`"]);
    assert_eq!(file("no-secret", "kernels-gpu/src/a.rs", text).len(), 1);
    assert_eq!(file("no-secret", "fhe-core/src/a.rs", text), NOTHING);
    assert_eq!(file("no-secret", "host/tests/a.rs", text), NOTHING);
}

#[test]
fn modules_have_a_head() {
    assert_eq!(file("module-head", "a/src/a.rs", "// Note\n#![no_std]\n\n//! Owns a.\nfn f() {}"), NOTHING);
    assert_eq!(file("module-head", "a/tests/a.rs", "fn f() {}"), NOTHING);
    let headless = ["fn f() {}\n//! late", "/// Not a head.\nfn f() {}", ""];
    let found: Vec<_> = headless.iter().flat_map(|text| file("module-head", "a/src/a.rs", text)).collect();
    assert_eq!(found.len(), 2 + 1, "{found:?}");
    let files = [("a/src/lib.rs", "//! A.\n#[cfg(test)] mod t;"), ("a/src/t.rs", "fn f() {}")];
    assert_eq!(check("module-head", &files, Vec::new()), NOTHING);
}

#[test]
fn machine_paths_are_found_in_any_text() {
    for dir in ["home", "root", "work", "tmp"] {
        for text in
            [format!("see /{dir}/x"), format!("\"/{dir}/x\""), format!("/{dir}"), format!("a=/{dir}/")]
        {
            assert_eq!(file("no-machine-paths", "a.md", &text), [format!("a.md:1: `/{dir}`")], "{text}");
        }
        for text in [format!("src/{dir}/x"), format!("./{dir}"), format!("/{dir}-made"), format!("/{dir}s/")]
        {
            assert_eq!(file("no-machine-paths", "a.md", &text), NOTHING, "{text}");
        }
    }
}

#[test]
fn asm_only_in_device() {
    let text = "fn f() { asm!(\"nop\") }\nglobal_asm!(\"x\");\n// asm!\n";
    assert_eq!(file("asm", "kernels-gpu/src/body.rs", text).len(), 2);
    assert_eq!(file("asm", "kernels-gpu/src/device/shared.rs", text), NOTHING);
    assert_eq!(file("asm", "kernels-gpu/src/device.rs", text), NOTHING);
    assert_eq!(file("asm", "host/src/device/a.rs", text).len(), 2);
}

#[test]
fn lints_are_inherited() {
    let good = "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n";
    assert_eq!(file("lints", "a/Cargo.toml", good), NOTHING);
    assert_eq!(file("lints", "a/Cargo.toml", "[package]\n"), ["a/Cargo.toml:0: lints not inherited"]);
    assert_eq!(file("lints", "a/Cargo.toml", "[package]\n[lints]\n[features]\n").len(), 1);
}

#[test]
fn decision_records_are_indexed() {
    let index = "| [0001](0001-a.md) | A |\n| [0002](0002-b.md) | B |\n[elsewhere](../x.md)";
    let files = [("docs/adr/README.md", index), ("docs/adr/0001-a.md", ""), ("docs/adr/0003-c.md", "")];
    let found = ["docs/adr/README.md:0: no row for 0003-c.md", "docs/adr/README.md:0: no file 0002-b.md"];
    assert_eq!(check("adr-index", &files, Vec::new()), found);
}
