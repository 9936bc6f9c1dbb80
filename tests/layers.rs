//! Imports go downward only: this reads the code and holds it.

use std::fs;
use std::path::{Path, PathBuf};

/// What each layer may import, itself apart. What is not here is not allowed.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("model", &[]),
    ("sys", &["model"]),
    ("spec", &["model", "sys"]),
    ("store", &["model", "sys"]),
    ("engine", &["model", "sys", "spec", "store"]),
    ("control", &["model", "sys"]),
    ("cgroup", &["model", "sys", "spec"]),
    ("container", &["model", "sys", "spec", "cgroup"]),
    ("boot", &["model", "sys", "spec", "control", "cgroup", "container"]),
    ("host", &["model", "sys", "spec", "store", "engine", "control", "cgroup", "container", "boot"]),
    ("recover", &["model", "sys", "spec", "store", "engine", "control", "cgroup", "container", "host"]),
    ("cli", &["model", "sys", "spec", "store", "engine", "control", "cgroup", "container", "boot", "host", "recover"]),
];

/// What may be named in one layer only.
const FENCED: [(&str, &str); 2] = [("sled::", "store"), ("clap::", "cli")];

#[test]
fn imports_go_downward_only() {
    let mut wrong = Vec::new();
    for (layer, allowed) in ALLOWED {
        for file in files(layer) {
            let code = product_code(&file);
            for used in crate_paths(&code) {
                let known = ALLOWED.iter().any(|(name, _)| *name == used);
                if known && used != layer && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{}: {layer} imports {used}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_folder_of_src_is_a_layer() {
    let folders = fs::read_dir(source()).unwrap().map(|entry| entry.unwrap().path());
    for folder in folders.filter(|path| path.is_dir()) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(ALLOWED.iter().any(|(layer, _)| *layer == name), "src/{name} is in no layer");
    }
}

#[test]
fn a_layer_may_only_import_what_stands_before_it() {
    for (place, (layer, allowed)) in ALLOWED.iter().enumerate() {
        for import in *allowed {
            assert!(ALLOWED[..place].iter().any(|(name, _)| name == import), "{layer} may import {import}");
        }
    }
    for confined in ["boot", "container"] {
        let (_, allowed) = ALLOWED.iter().find(|(layer, _)| *layer == confined).unwrap();
        for never in ["store", "engine", "recover", "cli"] {
            assert!(!allowed.contains(&never), "{confined} may never import {never}");
        }
    }
}

#[test]
fn unsafe_is_in_sys_alone() {
    let mut wrong = Vec::new();
    for (layer, _) in ALLOWED.iter().filter(|(layer, _)| *layer != "sys") {
        for file in files(layer) {
            for (number, line) in code(&file).lines().enumerate() {
                if words(line).any(|word| word == "unsafe") {
                    wrong.push(format!("{}:{}: {line}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_unsafe_says_why_it_is_sound() {
    let mut wrong = Vec::new();
    for file in files("sys") {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let opens = line.split("//").next().is_some_and(|code| code.contains("unsafe {"));
            // Beside it, or above it among the lines of the same statement.
            let near = &lines[number.saturating_sub(8)..=number];
            if opens && !near.iter().any(|line| line.contains("SAFETY:")) {
                wrong.push(format!("{}:{}: {line}", file.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn some_crates_are_named_in_one_layer_only() {
    let mut wrong = Vec::new();
    for (path, home) in FENCED {
        for (layer, _) in ALLOWED.iter().filter(|(layer, _)| *layer != home) {
            for file in files(layer) {
                if code(&file).lines().any(|line| line.contains(path)) {
                    wrong.push(format!("{}: {path} belongs into {home}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_reads_all_their_forms() {
    let paths = |text| crate_paths(&without_comments(text));
    assert_eq!(paths("use crate::model::Id;"), ["model"]);
    assert_eq!(
        paths("use crate::{\n  model::{Id, Phase},\n  store::{self, Root},\n  sys,\n};"),
        ["model", "store", "sys"]
    );
    assert_eq!(paths("fn f(a: crate::engine::Engine) {}"), ["engine"]);
    assert_eq!(paths("// crate::cli::main\n/// [`crate::boot`]\nlet x = 1;"), [""; 0]);
    assert_eq!(paths("pub(crate) fn f() {}"), [""; 0]);
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file of a layer.
fn files(layer: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![source().join(layer)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "src/{layer} holds no code");
    found
}

fn code(file: &Path) -> String {
    without_comments(&fs::read_to_string(file).unwrap())
}

/// The code without its tests, which may look wherever they need to.
fn product_code(file: &Path) -> String {
    let code = code(file);
    let end = code.find("#[cfg(test)]\nmod tests").unwrap_or(code.len());
    code[..end].to_owned()
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.map(|line| line.split(" // ").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The first segments after `crate::`, of plain paths and of groups.
fn crate_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => paths.extend(top_level_names(group)),
            None => paths.extend(first_name(rest)),
        }
    }
    paths
}

/// The first name of each item of a `{…}` group, nested groups left out.
fn top_level_names(group: &str) -> Vec<String> {
    let (mut depth, mut item, mut names) = (1, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                names.extend(first_name(item.trim()));
                item.clear();
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
        item.push(c);
    }
    names.extend(first_name(item.trim()));
    names
}

fn first_name(path: &str) -> Option<String> {
    words(path).next().filter(|word| path.starts_with(*word)).map(str::to_owned)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}
