//! What `deny.toml` asks of the dependencies and cargo alone can tell: licences, sources, versions, reasons. `make deny` has
//! the rest.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

const RULES: &str = include_str!("../../deny.toml");
const LOCK: &str = include_str!("../../Cargo.lock");

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().expect("packages").iter()
}

/// The texts between quotes of the line that begins with `key =`.
fn listed(key: &str) -> BTreeSet<&'static str> {
    let line = RULES.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
    line.expect(key).split('"').skip(1).step_by(2).collect()
}

/// An SPDX expression, with `/` for OR as older manifests have it: true if some choice consists of what is allowed.
struct Licence<'a> {
    words: Vec<&'a str>,
    allowed: &'a BTreeSet<&'a str>,
}

impl Licence<'_> {
    fn is_allowed(text: &str, allowed: &BTreeSet<&str>) -> bool {
        let text = text.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
        let mut licence = Licence { words: text.split_whitespace().rev().collect(), allowed };
        let allowed = licence.any();
        allowed && licence.words.is_empty()
    }

    fn next(&mut self, wanted: &str) -> bool {
        let found = self.words.last() == Some(&wanted);
        if found {
            self.words.pop();
        }
        found
    }

    fn any(&mut self) -> bool {
        let mut allowed = self.all();
        while self.next("OR") {
            allowed |= self.all();
        }
        allowed
    }

    fn all(&mut self) -> bool {
        let mut allowed = self.one();
        while self.next("AND") {
            allowed &= self.one();
        }
        allowed
    }

    fn one(&mut self) -> bool {
        if self.next("(") {
            let allowed = self.any();
            return self.next(")") && allowed;
        }
        let Some(name) = self.words.pop() else { return false };
        if !self.next("WITH") {
            return self.allowed.contains(name);
        }
        let Some(exception) = self.words.pop() else { return false };
        self.allowed.contains(format!("{name} WITH {exception}").as_str())
    }
}

#[test]
fn every_dependency_has_a_licence_that_we_allow() {
    let allowed = listed("allow");
    let (metadata, mut checked) = (metadata(), 0);
    for package in packages(&metadata) {
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(Licence::is_allowed(licence, &allowed), "{} is under {licence}", package["name"]);
        checked += 1;
    }
    assert!(checked > 50, "{checked}");
}

#[test]
fn an_expression_of_licences_is_read_as_it_is_meant() {
    let allowed = BTreeSet::from(["MIT", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"]);
    for good in
        ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(GPL-3.0 OR MIT) AND Unicode-3.0", "Apache-2.0 WITH LLVM-exception"]
    {
        assert!(Licence::is_allowed(good, &allowed), "{good}");
    }
    for bad in ["", "none", "GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT GPL-3.0", "Apache-2.0", "GPL-3.0 OR MIT AND ISC"]
    {
        assert!(!Licence::is_allowed(bad, &allowed), "{bad}");
    }
}

#[test]
fn every_dependency_comes_from_the_one_registry_and_is_locked_by_its_checksum() {
    let metadata = metadata();
    let sources: BTreeSet<&str> = packages(&metadata).filter_map(|package| package["source"].as_str()).collect();
    assert!(sources.len() == 1 && sources.iter().all(|source| source.starts_with("registry+")), "{sources:?}");
    let local = packages(&metadata).filter(|package| package["source"].is_null());
    assert_eq!(
        local.map(|package| package["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["sandkeep", "sandkeep-test-support"]
    );
    let locked = |word: &str| LOCK.lines().filter(|line| line.starts_with(word)).count();
    assert_eq!(locked("source = "), locked("checksum = "));
}

#[test]
fn no_dependency_of_ours_takes_any_version() {
    let metadata = metadata();
    let ours = packages(&metadata).filter(|package| package["source"].is_null());
    let all = ours.flat_map(|package| package["dependencies"].as_array().unwrap());
    // What lies in this repository has one version.
    for dependency in all.filter(|dependency| dependency["path"].is_null()) {
        let wanted = dependency["req"].as_str().unwrap();
        assert!(!wanted.contains('*') && !wanted.is_empty(), "{} {wanted}", dependency["name"]);
    }
}

/// An advisory is passed over for what brings it, and no longer than that is there.
#[test]
fn every_ignored_advisory_has_a_reason_and_still_has_its_cause() {
    let (_, ignored) = RULES.split_once("ignore = [").expect("a list of ignored advisories");
    let (ignored, _) = ignored.split_once("\n]").expect("its end");
    let entries: Vec<&str> = ignored.lines().filter(|line| !line.trim().is_empty()).collect();
    assert!(!entries.is_empty());
    for entry in entries {
        let quoted: Vec<&str> = entry.split('"').skip(1).step_by(2).collect();
        let [id, reason] = quoted[..] else { panic!("{entry}") };
        assert!(id.starts_with("RUSTSEC-") && entry.contains("reason ="), "{entry}");
        let (of, why) = reason.split_once(',').expect("the crate, and why");
        assert!(LOCK.contains(&format!("name = \"{of}\"\n")), "{id}: {of} is not there any more");
        assert!(why.len() > 40, "{id}: {why}");
    }
}
