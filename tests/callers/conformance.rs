//! How results of runc's own tests are judged, with results that are made up.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

struct Results(TempDir);

impl Results {
    fn of(peer: &str, ours: &str) -> Results {
        let dir = tempfile::tempdir().unwrap();
        for (column, text) in [("peer", peer), ("ours", ours)] {
            fs::create_dir(dir.path().join(column)).unwrap();
            fs::write(dir.path().join(column).join("checkpoint.bats.tap"), text).unwrap();
        }
        Results(dir)
    }

    /// Whether all is well, and what is said.
    fn judged(&self, exceptions: &str) -> (bool, String) {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
        let file = self.0.path().join("exceptions.toml");
        let own = fs::read_to_string(here.join("exceptions.toml")).unwrap();
        fs::write(&file, if exceptions.is_empty() { own.as_str() } else { exceptions }).unwrap();
        let mut compare = std::process::Command::new(here.join("compare"));
        let output = compare.arg(self.0.path()).arg(&file).arg("checkpoint.bats").env("WHOLE", "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text.into_owned())
    }
}

const PASSES: &str = "1..2\nok 1 checkpoint and restore\nok 2 checkpoint --pre-dump and restore\n";
const FAILS: &str = "1..2\nnot ok 1 checkpoint and restore\nnot ok 2 checkpoint --pre-dump and restore\n";
const SKIPS: &str = "1..2\nok 1 checkpoint and restore # skip test requires criu\nok 2 checkpoint --pre-dump and restore # skip test requires criu\n";

#[test]
fn with_criu_what_asks_for_checkpoints_is_excepted_and_without_it_nothing_is_said() {
    let (well, text) = Results::of(PASSES, FAILS).judged("");
    assert!(well && text.contains("0 behind runc, 2 excepted"), "{text}");
    let (well, text) = Results::of(SKIPS, SKIPS).judged("");
    assert!(well && text.contains("0 behind runc, 0 excepted") && !text.contains("yet excepted"), "{text}");
}

#[test]
fn a_test_that_runc_alone_passes_counts_unless_its_file_or_itself_is_excepted() {
    let results = Results::of(PASSES, FAILS);
    let exception =
        |test: &str| format!("[[exception]]\nfile = \"checkpoint.bats\"\ntest = \"{test}\"\nreason = \"made up\"\n");
    let (well, text) = results.judged("# nothing\n");
    assert!(!well && text.contains("2 behind runc"), "{text}");
    let (well, text) = results.judged(&exception("checkpoint and restore"));
    assert!(!well && text.contains("1 behind runc, 1 excepted"), "{text}");
    let (well, text) = results.judged(&exception("*"));
    assert!(well && text.contains("0 behind runc, 2 excepted"), "{text}");
    // What is not needed any more is said.
    let (_, text) = Results::of(PASSES, PASSES).judged(&exception("checkpoint and restore"));
    assert!(text.contains("not needed any more"), "{text}");
    let (_, text) = Results::of(PASSES, PASSES).judged(&exception("*"));
    assert!(text.contains("not needed any more: checkpoint.bats: *"), "{text}");
    let (_, text) = results.judged(&exception("no such test"));
    assert!(text.contains("no such test, yet excepted"), "{text}");
}
