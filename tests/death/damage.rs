//! What is in the way of a file, or gone: said, put aside, and no end of anything.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use support::{Env, Outcome, needs_root};

/// Far above what looking takes, and below the suite's own deadline: who reaches it waits for a fifo.
const SOON: Duration = Duration::from_secs(20);

/// What may lie in the place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InTheWay {
    Folder,
    Fifo,
    Link,
    Socket,
}

const ALL: [InTheWay; 4] = [InTheWay::Folder, InTheWay::Fifo, InTheWay::Link, InTheWay::Socket];

impl InTheWay {
    fn of(self, file: &Path) {
        let _ = fs::remove_file(file);
        match self {
            InTheWay::Folder => {
                fs::create_dir(file).unwrap();
                fs::write(file.join("not-empty"), "x").unwrap();
            }
            InTheWay::Fifo => mkfifo(file, Mode::S_IRWXU).unwrap(),
            InTheWay::Link => std::os::unix::fs::symlink("/etc/passwd", file).unwrap(),
            InTheWay::Socket => drop(bind(file)),
        }
    }
}

/// The path of a socket is short; that of a root with a long tag is not always.
fn bind(file: &Path) -> UnixListener {
    let folder = fs::File::open(file.parent().unwrap()).unwrap();
    let short = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder));
    UnixListener::bind(Path::new(&short).join(file.file_name().unwrap())).unwrap()
}

fn soon(env: &Env, args: &[&str]) -> Outcome {
    env.cmd(args).deadline(SOON).run()
}

#[test]
fn whatever_lies_in_the_place_of_a_sandboxs_file_keeps_nobody_from_deleting_it() {
    needs_root!();
    let env = Env::new();
    let other = env.id("other");
    let bundle = env.bundle().args(&["sleep", "1000"]);
    env.started(&bundle, &other);
    for name in ["lock", "sandbox.json", "config.json", "exits", "limits.json", "limits.next.json", "scope.json"] {
        let all = if ["lock", "sandbox.json"].contains(&name) { &ALL[..] } else { &ALL[..2] };
        for what in all {
            let id = env.id("damaged");
            env.started(&bundle, &id);
            let file = env.root().join("sandboxes").join(&id).join(name);
            let had = file.exists();
            what.of(&file);
            // Nobody waits, and the other one is there whatever has become of this one.
            let list = soon(&env, &["list", "--quiet"]);
            assert!(list.stdout.contains(&other), "{name} is a {what:?}: {list}");
            let doctor = soon(&env, &["doctor"]);
            if had && name != "exits" {
                assert!(
                    doctor.status.code() == Some(1) && doctor.stdout.contains(name),
                    "{name} is a {what:?}: {doctor}"
                );
            }
            soon(&env, &["recover"]);
            if name == "lock" || name == "sandbox.json" {
                soon(&env, &["doctor"]).success();
                assert_eq!(env.status(&id), "running", "{name} was a {what:?}");
                soon(&env, &["pause", &id]).success();
            }
            soon(&env, &["delete", "--force", &id]).code(0);
            env.gone(&id);
            soon(&env, &["doctor"]).success();
        }
    }
    soon(&env, &["delete", "--force", &other]).success();
}

#[test]
fn a_lock_that_is_a_folder_is_replaced_once_however_many_come_at_once() {
    needs_root!();
    let env = Env::new();
    let id = env.id("lock");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let folder = env.root().join("sandboxes").join(&id);
    InTheWay::Folder.of(&folder.join("lock"));
    let commands: Vec<_> = (0..8).map(|_| env.cmd(["pause", &id]).spawn()).collect();
    let done: Vec<Outcome> = commands.into_iter().map(|command| command.finish(support::command::DEADLINE)).collect();
    let paused = done.iter().filter(|outcome| outcome.status.success()).count();
    assert_eq!(paused, 1, "one pauses, and the others are told that it is paused already");
    let put_away = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("lock.damaged-");
    let left = fs::read_dir(&folder).unwrap().filter(|entry| put_away(&entry.as_ref().unwrap().file_name())).count();
    assert_eq!(left, 1);
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn whatever_lies_in_the_place_of_the_stores_files_loses_no_history() {
    needs_root!();
    for name in ["format", "store.lock", "pending", "pending.folding"] {
        for what in ALL {
            let env = Env::new();
            let id = env.id("kept");
            env.started(&env.bundle().args(&["sleep", "1000"]), &id);
            soon(&env, &["history"]).says("start-requested");
            what.of(&env.root().join("store").join(name));
            for args in [&["list"][..], &["doctor"]] {
                soon(&env, args);
            }
            let history = soon(&env, &["history"]).code(0);
            assert!(history.stdout.contains("start-requested"), "{name} was a {what:?}: {history}");
            soon(&env, &["pause", &id]).code(0);
            soon(&env, &["history"]).success().says("pause-requested");
            soon(&env, &["doctor"]).success();
            soon(&env, &["delete", "--force", &id]).success();
        }
    }
}

#[test]
fn a_format_that_never_ends_is_read_no_further_than_it_can_be_ours() {
    needs_root!();
    let env = Env::new();
    let id = env.id("format");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    soon(&env, &["history"]).success();
    // A hole of 64 GiB: who reads it whole needs as much memory.
    let format = fs::File::create(env.root().join("store/format")).unwrap();
    format.set_len(64 << 30).unwrap();
    let failed = soon(&env, &["history"]).code(1);
    assert!(failed.stderr.contains("newer sandkeep") && failed.stderr.len() < 2000, "{failed}");
    soon(&env, &["delete", "--force", &id]).code(0);
    env.gone(&id);
}

#[test]
fn a_database_that_is_a_file_is_moved_aside() {
    needs_root!();
    let env = Env::new();
    let id = env.id("db");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let database = env.root().join("store/db");
    fs::remove_dir_all(&database).unwrap();
    fs::write(&database, "x").unwrap();
    let paused = soon(&env, &["pause", &id]).code(0);
    assert!(paused.stderr.contains("moved aside"), "{paused}");
    soon(&env, &["history"]).success().says("pause-requested");
    soon(&env, &["delete", "--force", &id]).success();
}

#[test]
fn a_root_that_has_lost_its_sandboxes_says_so() {
    needs_root!();
    let env = Env::new();
    let id = env.id("lost");
    env.run_bundle(&env.bundle(), &env.id("past")).run().success();
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let (sandboxes, elsewhere) = (env.root().join("sandboxes"), env.root().join("elsewhere"));
    fs::rename(&sandboxes, &elsewhere).unwrap();
    let commands: [&[&str]; 7] = [
        &["list"],
        &["history"],
        &["doctor"],
        &["state", &id],
        &["kill", &id],
        &["delete", "--force", &id],
        &["recover", "--dry-run"],
    ];
    for args in commands {
        soon(&env, args).fails_with(1, &["sandboxes", "is missing", "sandkeep recover"]);
    }
    assert!(!sandboxes.exists(), "who only looks makes nothing");
    // Put back, all is as it was.
    fs::rename(&elsewhere, &sandboxes).unwrap();
    soon(&env, &["doctor"]).success();
    soon(&env, &["delete", "--force", &id]).success();
    // Lost for good: made again, and the history is still there.
    fs::remove_dir(&sandboxes).unwrap();
    soon(&env, &["recover"]).code(0);
    soon(&env, &["history"]).success().says("delete-requested");
    soon(&env, &["doctor"]).success();
}

#[test]
fn a_part_of_the_root_that_is_no_folder_is_put_away_by_recover_alone() {
    needs_root!();
    let env = Env::new();
    let id = env.id("parts");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let store = env.root().join("store");
    fs::remove_dir_all(&store).unwrap();
    fs::write(&store, "x").unwrap();
    assert_eq!(env.status(&id), "running", "who only reads needs no store");
    soon(&env, &["recover"]).code(0).says("the store was missing");
    soon(&env, &["doctor"]).success();
    let (sandboxes, kept) = (env.root().join("sandboxes"), env.root().join("kept"));
    fs::rename(&sandboxes, &kept).unwrap();
    std::os::unix::fs::symlink(&kept, &sandboxes).unwrap();
    soon(&env, &["list"]).fails("is not a folder");
    fs::remove_file(&sandboxes).unwrap();
    fs::rename(&kept, &sandboxes).unwrap();
    soon(&env, &["delete", "--force", &id]).success();
    fs::remove_dir(&sandboxes).unwrap();
    fs::write(&sandboxes, "x").unwrap();
    soon(&env, &["list"]).fails("is not a folder");
    soon(&env, &["recover"]).code(0);
    soon(&env, &["list"]).success();
}

#[test]
fn a_lost_store_folder_is_made_again() {
    needs_root!();
    let env = Env::new();
    let id = env.id("lost");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    fs::remove_dir_all(env.root().join("store")).unwrap();
    soon(&env, &["list"]).success();
    soon(&env, &["pause", &id]).code(0);
    soon(&env, &["history"]).success().says("pause-requested");
    soon(&env, &["delete", "--force", &id]).success();
    soon(&env, &["doctor"]).success();
}
