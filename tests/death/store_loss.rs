//! What is on disk is damaged or lost: nothing that runs is forgotten, and the user is told.

use std::fs;
use std::path::{Path, PathBuf};

use support::{Env, needs_root};

/// The files of the database itself: neither the store's lock, nor what waits to be folded in.
fn database(env: &Env) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![env.root().join("store/db")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => found.push(path),
            }
        }
    }
    assert!(!found.is_empty(), "the store has no files");
    found
}

/// A sandbox survives, can be used and deleted; and something was said aloud.
fn survives(env: &Env, id: &str, damage: impl FnOnce(&Env)) {
    env.started(&env.bundle().args(&["sleep", "1000"]), id);
    damage(env);
    assert_eq!(env.status(id), "running", "reads need no store");
    let pause = env.run(["pause", id]).code(0);
    assert!(!pause.stderr.is_empty(), "a store that was lost is not passed over in silence:\n{pause}");
    env.run(["resume", id]).success();
    env.run(["exec", id, "true"]).success();
    env.run(["delete", "--force", id]).success();
    env.run(["doctor"]).success();
}

#[test]
fn a_corrupt_store_is_moved_aside_and_rebuilt() {
    needs_root!();
    let env = Env::new();
    survives(&env, &env.id("corrupt"), |env| {
        for file in database(env) {
            fs::write(&file, [0x5a; 8192]).unwrap();
        }
    });
    let aside = fs::read_dir(env.root().join("store")).unwrap().chain(fs::read_dir(env.root()).unwrap());
    let aside = aside.flatten().any(|entry| entry.file_name().to_string_lossy().contains("corrupt"));
    assert!(aside, "what was corrupt is kept");
}

#[test]
fn a_lost_store_is_rebuilt_from_the_snapshots() {
    needs_root!();
    let env = Env::new();
    env.started(&env.bundle().args(&["sleep", "1000"]), &env.id("lost"));
    for file in database(&env) {
        fs::remove_file(&file).unwrap();
    }
    env.run(["pause", &env.id("lost")]).code(0);
    assert_eq!(env.status(&env.id("lost")), "paused");
    env.run(["delete", "--force", &env.id("lost")]).success();
}

#[test]
fn a_lost_or_broken_snapshot_is_written_anew_from_the_store() {
    needs_root!();
    let env = Env::new();
    let id = env.id("snapshot");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let snapshot = env.root().join("sandboxes").join(&id).join("sandbox.json");
    for damage in [Damage::Broken, Damage::Lost, Damage::Altered] {
        damage.to(&snapshot);
        env.run(["doctor"]).code(1);
        env.run(["recover"]).code(0);
        assert_eq!(env.status(&id), "running");
        env.run(["doctor"]).success();
    }
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_sandbox_whose_snapshot_is_broken_stops_no_other() {
    needs_root!();
    let env = Env::new();
    let (broken, whole) = (env.id("broken"), env.id("whole"));
    let bundle = env.bundle().args(&["sleep", "1000"]);
    env.started(&bundle, &broken);
    env.started(&bundle, &whole);
    Damage::Broken.to(&env.root().join("sandboxes").join(&broken).join("sandbox.json"));
    let list = env.run(["list", "--quiet"]);
    assert!(list.stdout.contains(&whole), "{list}");
    env.run(["exec", &whole, "true"]).success();
    env.run(["delete", "--force", &whole]).success();
    env.run(["delete", "--force", &broken]).code(0);
    env.gone(&broken);
}

#[derive(Clone, Copy)]
enum Damage {
    Broken,
    Lost,
    /// Still JSON, still a snapshot, and not what was written.
    Altered,
}

impl Damage {
    fn to(self, file: &Path) {
        match self {
            Damage::Broken => fs::write(file, "{\"half\": ").unwrap(),
            Damage::Lost => fs::remove_file(file).unwrap(),
            Damage::Altered => {
                let text = fs::read_to_string(file).unwrap();
                let altered = text.replacen("\"owner\":0", "\"owner\":1", 1);
                assert_ne!(altered, text);
                fs::write(file, altered).unwrap();
            }
        }
    }
}
