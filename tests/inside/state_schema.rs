//! The files of state-schema/ and the drawing in docs/state-machine.md are what the code says. After a deliberate
//! change, `SANDKEEP_BLESS=1 cargo test --test inside state_schema` writes them again; golden bytes are never written again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sandkeep::model::machine::{Format, render};
use sandkeep::model::record::{Exit, RootIdentity};
use sandkeep::model::{Phase, exits};
use sandkeep::store::schema;
use serde_json::Value;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The file holds this text; with SANDKEEP_BLESS=1, it does from now on.
fn holds(name: &str, text: &str) {
    let path = file(name);
    if std::env::var_os("SANDKEEP_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{name} is not what the code says; SANDKEEP_BLESS=1 writes it again");
}

#[test]
fn the_transitions_are_the_table() {
    holds("state-schema/transitions.json", &render(Format::Json));
}

#[test]
fn the_drawing_in_the_documentation_is_the_table() {
    let name = "docs/state-machine.md";
    let page = fs::read_to_string(file(name)).unwrap();
    let (before, rest) = page.split_once("```mermaid\n").expect("the page has a drawing");
    let (_, after) = rest.split_once("```").expect("the drawing ends");
    holds(name, &format!("{before}```mermaid\n{}```{after}", render(Format::Mermaid)));
}

#[test]
fn every_stored_shape_has_its_schema() {
    for (name, schema) in schema::json_schemas() {
        holds(&format!("state-schema/{name}.schema.json"), &(serde_json::to_string_pretty(&schema).unwrap() + "\n"));
    }
}

/// A file of bytes that must always load.
struct Golden {
    /// `v1/snapshot.json`
    name: String,
    shape: String,
    bytes: Vec<u8>,
    /// Of the latest version of its shape.
    latest: bool,
}

fn golden() -> Vec<Golden> {
    let names = |folder: &str| {
        let entries = fs::read_dir(file(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        names
    };
    let shapes: Vec<&str> = schema::json_schemas().iter().map(|(shape, _)| *shape).collect();
    let mut files: Vec<Golden> = Vec::new();
    for version in names("state-schema/golden") {
        let folder = format!("state-schema/golden/{version}");
        for name in names(&folder) {
            let bytes = fs::read(file(&folder).join(&name)).unwrap();
            let name = name.trim_end_matches(".json");
            let shape = shapes.iter().filter(|shape| name.starts_with(**shape)).max_by_key(|shape| shape.len());
            let shape = shape.expect("a golden file is named after its shape").to_string();
            files.push(Golden { name: format!("{version}/{name}"), shape, bytes, latest: true });
        }
        let here = format!("{version}/");
        let again: BTreeSet<String> =
            files.iter().filter(|file| file.name.starts_with(&here)).map(|file| file.shape.clone()).collect();
        for file in files.iter_mut().filter(|file| again.contains(&file.shape)) {
            file.latest = file.name.starts_with(&here);
        }
    }
    files
}

/// What it means, whatever the version it was written in.
fn meaning(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.remove("version");
            fields.remove("crc32");
            fields.values_mut().for_each(|field| *field = meaning(field.take()));
        }
        Value::Array(list) => list.iter_mut().for_each(|item| *item = meaning(item.take())),
        _ => {}
    }
    value
}

#[test]
fn golden_bytes_still_load_and_mean_the_same() {
    for Golden { name, shape, bytes, latest } in golden() {
        let again = match shape.as_str() {
            "snapshot" => schema::encode_snapshot(&schema::decode_snapshot(&bytes).unwrap()),
            "intent" => schema::encode_intent(&schema::decode_intent(&bytes).unwrap()),
            "journal-entry" => schema::encode_journal_entry(&schema::decode_journal_entry(&bytes).unwrap()),
            "records" => schema::encode_records(&schema::decode_records(&bytes).unwrap()),
            "state" => schema::encode_state(&schema::decode_state(&bytes).unwrap()),
            "pending" => schema::encode_pending(&schema::decode_pending(&bytes).unwrap()),
            "hook-record" => schema::encode_hook_record(&schema::decode_hook_record(&bytes).unwrap()),
            "exit-record" => exits::encode_payload(&exits::decode_payload(&bytes).unwrap()),
            "limits" => schema::encode_limits(&schema::decode_limits(&bytes).unwrap()),
            "scope" => schema::encode_scope(&schema::decode_scope(&bytes).unwrap()),
            other => panic!("nobody knows how to load {other}"),
        };
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        match latest {
            true => assert_eq!(json(&again), json(&bytes), "{name}"),
            false => assert_eq!(meaning(json(&again)), meaning(json(&bytes)), "{name}"),
        }
    }
}

#[test]
fn every_shape_has_golden_bytes_and_they_fit_its_schema() {
    let golden = golden();
    for (shape, schema) in schema::json_schemas() {
        let validator = jsonschema::validator_for(schema.as_value()).unwrap();
        let of_shape: Vec<_> = golden.iter().filter(|file| file.shape == shape && file.latest).collect();
        assert!(!of_shape.is_empty(), "{shape} has no golden bytes");
        for Golden { name, bytes, .. } in of_shape {
            let value: Value = serde_json::from_slice(bytes).unwrap();
            if let Err(error) = validator.validate(&value) {
                panic!("{name} does not fit: {error}");
            }
            let mut spoilt = value;
            spoilt.as_object_mut().unwrap().remove("version");
            assert!(!validator.is_valid(&spoilt), "the schema of {shape} accepts anything");
        }
    }
}

#[test]
fn golden_bytes_say_what_they_always_said() {
    let load = |name: &str| fs::read(file("state-schema/golden").join(name)).unwrap();
    let root = RootIdentity { mount_id: 412, device: 65_024, inode: 131_073 };
    for (version, root) in [("v1", None), ("v2", Some(root))] {
        let snapshot = schema::decode_snapshot(&load(&format!("{version}/snapshot.json"))).unwrap();
        assert_eq!(snapshot.sandbox.id.as_str(), "web");
        assert_eq!(snapshot.sandbox.supervisor.pid, 42);
        assert_eq!(snapshot.state.sandbox.phase, Phase::Running);
        let ended = Exit { code: 137, signal: Some(9), at: 1_760_000_000_000_000_009, inferred: true };
        assert_eq!(snapshot.state.containers["side"].exit, Some(ended));
        assert_eq!(snapshot.containers["web"].root, root);
    }
    let intent = schema::decode_intent(&load("v1/intent-root.json")).unwrap();
    assert_eq!(intent.container, intent.sandbox);
}

#[test]
fn nothing_lies_in_state_schema_that_no_shape_accounts_for() {
    let known: BTreeSet<String> = schema::json_schemas()
        .iter()
        .map(|(name, _)| format!("{name}.schema.json"))
        .chain(["transitions.json", "golden"].map(String::from))
        .collect();
    let found: BTreeSet<String> = fs::read_dir(file("state-schema"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, known);
}
