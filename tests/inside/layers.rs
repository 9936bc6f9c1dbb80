//! Imports go downward only: this reads the code and holds it.

use std::fs;
use std::path::Path;

use crate::code::{files, source, without_comments};
use crate::imports::{Sources, circles, told};

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
    let sources = Sources::read(&source());
    let mut wrong = Vec::new();
    for ((from, to), names) in sources.ties() {
        let (Some(layer), Some(used)) = (sources.layer(from), sources.layer(to)) else { continue };
        let allowed = ALLOWED.iter().find(|(name, _)| *name == layer).map_or(&[][..], |(_, allowed)| allowed);
        if used != layer && !allowed.contains(&used) {
            wrong.push(format!("{}: {layer} imports {used}: {names:?}", sources.path(from).display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = Sources::read(&source());
    let ties = sources.ties();
    let wrong: Vec<String> = circles(&ties).iter().map(|group| told(group, &ties, &sources)).collect();
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
fn what_a_container_will_be_is_written_by_spec_alone() {
    let mut wrong = Vec::new();
    for (layer, _) in ALLOWED.iter().filter(|(layer, _)| *layer != "spec") {
        for file in files(layer) {
            for (number, line) in code(&file).lines().take_while(|line| !line.starts_with("#[cfg(test)]")).enumerate() {
                if ["mut plan", "&mut Plan", "&mut ProcessPlan"].iter().any(|writes| line.contains(writes)) {
                    wrong.push(format!("{}:{}: {line}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "a plan is changed after it was made:\n{}", wrong.join("\n"));
}

fn code(file: &Path) -> String {
    without_comments(&fs::read_to_string(file).unwrap())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}
