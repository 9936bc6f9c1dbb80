//! docs/on-disk.md is what is on disk: every file of a root and of a sandbox is named there, and so are tests that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use support::{Env, needs_root};

/// What a sandbox that lives through its usual days does not have: what is only there for a moment, after damage, with
/// systemd, or with Intel RDT.
const NOT_USUAL: [&str; 5] = ["limits.next.json", "scope.json", "resctrl", ".tmp-<16 hex>", "*.damaged-<16 hex>"];

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(project().join("docs/on-disk.md")).unwrap()
}

/// The names in the page's drawing: those of the root by their path, and those of a sandbox.
fn drawn() -> (Vec<String>, Vec<String>) {
    let page = page();
    let drawing = page.split("```").nth(1).expect("the page has a drawing");
    let (mut of_root, mut of_sandbox) = (Vec::new(), Vec::new());
    for line in drawing.lines().filter(|line| line.starts_with("  ")) {
        let name = line.trim_start();
        let name = name.split("  ").next().unwrap_or(name).trim_end_matches('/').to_owned();
        match line.starts_with("    ") {
            true => of_sandbox.push(name),
            false => of_root.push(name),
        }
    }
    (of_root, of_sandbox)
}

/// `<…>` and `*` stand for anything.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['<', '*']) {
        parts.push(&rest[..at]);
        rest = if rest[at..].starts_with('*') { &rest[at + 1..] } else { rest[at..].split_once('>').unwrap().1 };
    }
    if parts.is_empty() {
        return pattern == name;
    }
    let Some(mut left) = name.strip_prefix(parts[0]).and_then(|name| name.strip_suffix(rest)) else { return false };
    parts[1..].iter().all(|part| match left.find(part) {
        Some(at) => {
            left = &left[at + part.len()..];
            true
        }
        None => false,
    })
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_file_of_a_root_and_of_a_sandbox_is_in_the_documentation() {
    needs_root!();
    let env = Env::new();
    let id = env.id("drawn");
    let bundle = env.bundle().args(&["sleep", "1000"]).default_profile().edit(|config| {
        config["hooks"] = json!({"poststop": [{"path": "/bin/true"}]});
    });
    let create = ["create", "--no-pivot", "--bundle"].map(std::ffi::OsString::from);
    let bundle = bundle.config_path().parent().unwrap().to_owned();
    env.run(create.into_iter().chain([bundle.into(), id.clone().into()])).success();
    env.run(["start", &id]).success();
    env.run(["update", &id, "--pids-limit", "10"]).success();

    let (of_root, of_sandbox) = drawn();
    let found = names(&env.root().join("sandboxes").join(&id));
    for name in &found {
        assert!(of_sandbox.iter().any(|drawn| fits(drawn, name)), "{name} of a sandbox is not in docs/on-disk.md");
    }
    for drawn in of_sandbox.iter().filter(|drawn| !NOT_USUAL.contains(&drawn.as_str())) {
        assert!(found.iter().any(|name| fits(drawn, name)), "docs/on-disk.md has {drawn}, and the sandbox has not");
    }
    for folder in names(env.root()) {
        for name in names(&env.root().join(&folder)) {
            let path = format!("{folder}/{name}");
            assert!(of_root.iter().any(|drawn| fits(drawn, &path)), "{path} is not in docs/on-disk.md");
        }
    }
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn every_test_that_holds_an_invariant_is_there() {
    let page = page();
    let (_, rest) = page.split_once("## Invariants").expect("the page has invariants");
    let (invariants, _) = rest.split_once("\n## ").expect("and something behind them");
    let code: String = ["src", "tests"].iter().flat_map(|folder| rust_files(&project().join(folder))).collect();
    let mut counted = 0;
    for named in invariants.split('`').skip(1).step_by(2) {
        let there = match named.matches('_').count() {
            _ if named.contains('/') => project().join(named).exists(),
            0..3 => continue,
            _ => code.contains(&format!("fn {named}(")),
        };
        assert!(there, "docs/on-disk.md names {named}, and there is no such test");
        counted += 1;
    }
    assert!(counted > 10, "{counted} tests are named");
}

/// The texts of all Rust files below.
fn rust_files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    let files = files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let texts = files.map(|path| fs::read_to_string(path).unwrap());
    texts.chain(folders.iter().flat_map(|folder| rust_files(folder))).collect()
}
