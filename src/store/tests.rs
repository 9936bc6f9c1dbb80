//! The store as a whole: across processes, crashes, corruption and a full disk.

mod full_disk;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fs2::FileExt as _;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::schema::samples::{entry, id, intent, snapshot};
use super::*;
use crate::model::record::{JournalEntry, Snapshot};

const LONG: Duration = Duration::from_secs(60);

fn root() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open_or_make(dir.path()).unwrap();
    (dir, root)
}

fn open(root: &Root) -> Db {
    Opening::begin(root, LONG).finish().unwrap()
}

fn at_seq(name: &str, seq: u64) -> Snapshot {
    let mut snapshot = snapshot(name);
    snapshot.state.seq = seq;
    snapshot
}

fn remember(db: &Db, name: &str, seq: u64) {
    let (snapshot, journal) = (at_seq(name, seq), [entry(name, seq)]);
    db.commit(&Commit { id: &id(name), snapshot: Some(&snapshot), journal: &journal }).unwrap();
}

fn publish(root: &Root, name: &str) {
    let folder = root.prepare().unwrap().0.claim(&id(name)).unwrap();
    let guard = folder.lock(LONG).unwrap();
    folder.publish(&guard, &snapshot(name)).unwrap();
}

fn aside(root: &Root) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.path().join("store")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_str().unwrap().contains("db.corrupt-")).collect()
}

#[test]
fn what_was_committed_is_there_when_the_same_process_opens_the_store_again() {
    let (_dir, root) = root();
    for seq in 1..4 {
        let db = open(&root);
        assert_eq!(db.history(None).unwrap().len() as u64, seq - 1);
        remember(&db, "web", seq);
        assert!(db.notices().is_empty());
    }
    let db = open(&root);
    assert_eq!(db.snapshots().unwrap(), [at_seq("web", 3)]);
    assert_eq!(db.snapshot(&id("web")).unwrap(), Some(at_seq("web", 3)));
    assert_eq!(db.snapshot(&id("other")).unwrap(), None);
}

#[test]
fn history_survives_deletion_and_is_told_by_sandbox() {
    let (_dir, root) = root();
    let db = open(&root);
    remember(&db, "web", 1);
    remember(&db, "other", 1);
    db.commit(&Commit { id: &id("web"), snapshot: None, journal: &[entry("web", 2)] }).unwrap();
    assert_eq!(db.snapshots().unwrap(), [at_seq("other", 1)]);
    assert_eq!(db.history(Some(&id("web"))).unwrap(), [entry("web", 1), entry("web", 2)]);
    assert_eq!(db.history(None).unwrap().len(), 3);
}

#[test]
fn an_entry_committed_again_by_a_recovery_is_kept_once() {
    let (_dir, root) = root();
    let db = open(&root);
    remember(&db, "web", 1);
    remember(&db, "web", 1);
    assert_eq!(db.history(None).unwrap().len(), 1);
}

#[test]
fn the_journal_keeps_the_newest_entries_and_no_more_than_its_bound() {
    let (_dir, root) = root();
    let db = open(&root).with_journal_bound(5);
    for seq in 1..=8 {
        remember(&db, "web", seq);
    }
    let many: Vec<JournalEntry> = (9..=20).map(|seq| entry("web", seq)).collect();
    assert_eq!(db.history(None).unwrap().first().unwrap().seq, 4);
    db.commit(&Commit { id: &id("web"), snapshot: Some(&at_seq("web", 20)), journal: &many }).unwrap();
    let kept: Vec<u64> = db.history(None).unwrap().iter().map(|entry| entry.seq).collect();
    assert_eq!(kept, [16, 17, 18, 19, 20]);
}

#[test]
fn while_another_has_the_store_a_commit_waits_in_pending_and_the_next_opener_folds_it_in() {
    let (_dir, root) = root();
    remember(&open(&root), "web", 1);
    let holder = OpenOptions::new().write(true).open(root.path().join("store/store.lock")).unwrap();
    holder.lock_exclusive().unwrap();
    let impatient = Opening::begin(&root, Duration::from_millis(30)).finish();
    assert!(matches!(impatient, Err(StoreError::Held { .. })));
    for (name, seq) in [("web", 2), ("other", 1)] {
        let (snapshot, journal) = (at_seq(name, seq), [entry(name, seq)]);
        let commit = Commit { id: &id(name), snapshot: Some(&snapshot), journal: &journal };
        let opened = Opening::begin(&root, Duration::from_millis(1)).finish();
        assert!(matches!(commit_or_pend(opened, &root, &commit), Recorded::Pending { .. }));
    }
    let deleted = Commit { id: &id("other"), snapshot: None, journal: &[entry("other", 2)] };
    let opened = Opening::begin(&root, Duration::from_millis(1)).finish();
    assert!(matches!(commit_or_pend(opened, &root, &deleted), Recorded::Pending { .. }));
    fs2::FileExt::unlock(&holder).unwrap();
    let db = open(&root);
    assert_eq!(db.snapshots().unwrap(), [at_seq("web", 2)]);
    let seen: Vec<_> = db.history(None).unwrap().into_iter().map(|e| (e.sandbox.to_string(), e.seq)).collect();
    let expected = [("web", 1), ("web", 2), ("other", 1), ("other", 2)].map(|(name, seq)| (name.to_owned(), seq));
    assert_eq!(seen, expected);
    assert_eq!(fs::metadata(root.path().join("store/pending")).unwrap().len(), 0);
}

#[test]
fn a_pending_deletion_does_not_take_a_later_sandbox_of_the_same_id() {
    let (_dir, root) = root();
    let old = Commit { id: &id("web"), snapshot: None, journal: &[entry("web", 9)] };
    let held = Err(StoreError::Held { path: "store.lock".into(), waited: LONG });
    assert!(matches!(commit_or_pend(held, &root, &old), Recorded::Pending { .. }));
    // As if a crash had come between the fold and the removal of what was folded.
    let pending = root.path().join("store/pending");
    let bytes = fs::read(&pending).unwrap();
    let db = open(&root);
    let mut later = at_seq("web", 1);
    later.sandbox.incarnation = "6".repeat(32);
    db.commit(&Commit { id: &id("web"), snapshot: Some(&later), journal: &[] }).unwrap();
    drop(db);
    fs::write(pending.with_extension("folding"), bytes).unwrap();
    let db = open(&root);
    assert_eq!(db.snapshots().unwrap(), [later]);
    assert_eq!(db.history(None).unwrap().len(), 1);
}

#[test]
fn a_store_that_nobody_asks_for_yet_is_no_ones_hindrance() {
    let (_dir, root) = root();
    publish(&root, "web");
    remember(&open(&root), "web", 1);
    fs::remove_dir_all(root.path().join("store/db")).unwrap();
    let early = Opening::begin(&root, LONG);
    // Not before the first one has begun.
    while !root.path().join("store/db").exists() {
        std::thread::yield_now();
    }
    remember(&open(&root), "web", 2);
    let db = early.finish().unwrap();
    assert_eq!(db.history(None).unwrap(), [entry("web", 2)]);
    assert!(db.notices()[0].contains("was missing"), "{:?}", db.notices());
}

#[test]
fn a_store_that_lost_its_files_is_made_again_from_what_was_published_and_says_so() {
    let (_dir, root) = root();
    publish(&root, "web");
    remember(&open(&root), "web", 2);
    fs::remove_dir_all(root.path().join("store/db")).unwrap();
    let db = open(&root);
    assert_eq!(db.snapshots().unwrap(), [snapshot("web")]);
    assert_eq!(db.notices().len(), 1, "{:?}", db.notices());
    drop(db);
    assert!(open(&root).notices().is_empty());
    assert!(aside(&root).is_empty());
}

#[test]
fn a_store_that_fell_back_to_an_earlier_moment_is_found_out_and_keeps_what_history_it_has() {
    let (_dir, root) = root();
    publish(&root, "web");
    remember(&open(&root), "web", 1);
    let db = root.path().join("store/db");
    let earlier = root.path().join("earlier");
    fs::create_dir(&earlier).unwrap();
    copy(&db, &earlier);
    remember(&open(&root), "web", 2);
    fs::remove_dir_all(&db).unwrap();
    fs::rename(&earlier, &db).unwrap();
    let db = open(&root);
    assert!(db.notices()[0].contains("lost its last 1 journal entries"), "{:?}", db.notices());
    assert_eq!(db.history(None).unwrap(), [entry("web", 1)]);
    assert_eq!(aside(&root).len(), 1);
    drop(db);
    assert!(open(&root).notices().is_empty());
}

#[test]
fn a_store_whose_maker_died_is_made_again_without_a_word() {
    let (_dir, root) = root();
    fs::create_dir(root.path().join("store/db")).unwrap();
    fs::write(root.path().join("store/db/db"), [7; 4096]).unwrap();
    assert!(open(&root).notices().is_empty());
}

#[test]
fn a_store_that_kills_whoever_opens_it_is_moved_aside_after_three_deaths() {
    let (_dir, root) = root();
    publish(&root, "web");
    remember(&open(&root), "web", 2);
    let lock = OpenOptions::new().write(true).open(root.path().join("store/store.lock")).unwrap();
    lock.write_all_at(&[2], 0).unwrap();
    assert!(open(&root).notices().is_empty());
    lock.write_all_at(&[3], 0).unwrap();
    let db = open(&root);
    assert!(db.notices()[0].contains("died"), "{:?}", db.notices());
    assert_eq!(aside(&root).len(), 1);
}

/// Runs `child`, a test of this file that is ignored otherwise, in a process of its own.
fn spawn(child: &str, root: &Path, more: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("store::tests::{child}"), "--ignored", "--nocapture", "--test-threads=1"])
        .env("SANDKEEP_TEST_ROOT", root)
        .envs(more.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn child_root() -> Root {
    Root::open_or_make(Path::new(&std::env::var_os("SANDKEEP_TEST_ROOT").expect("started by another test"))).unwrap()
}

#[test]
fn whatever_is_overwritten_in_the_database_nobody_is_stuck_and_nothing_is_thrown_away() {
    let (_dir, pristine) = root();
    publish(&pristine, "web");
    {
        let db = open(&pristine);
        for seq in 1..40 {
            remember(&db, "web", seq);
        }
    }
    type Damage = fn(&Path);
    let damages: [(&str, bool, Damage); 7] = [
        ("the whole log is noise", true, |db| fs::write(db.join("db"), [0xa5; 300_000]).unwrap()),
        ("the log is zeros", true, |db| fs::write(db.join("db"), [0; 300_000]).unwrap()),
        ("the log is empty", true, |db| fs::write(db.join("db"), []).unwrap()),
        ("the log lost its beginning", true, |db| overwrite(&db.join("db"), 0, &[0xff; 4096])),
        ("the log has noise in the middle", true, |db| overwrite(&db.join("db"), 9000, &[0x5a; 2000])),
        ("the configuration is noise", true, |db| fs::write(db.join("conf"), b"nonsense and more of it").unwrap()),
        ("the log is a folder", false, |db| {
            fs::remove_file(db.join("db")).unwrap();
            fs::create_dir(db.join("db")).unwrap();
        }),
    ];
    for (what, certain, damage) in damages {
        let (_dir, root) = root();
        copy(pristine.path(), root.path());
        damage(&root.path().join("store/db"));
        // In a process of its own: a database that makes whoever opens it hang or die is part of what may happen.
        let mut told = String::new();
        let mut opened = false;
        for _ in 0..4 {
            let mut child = spawn("child_that_opens_the_store", root.path(), &[]);
            drop(child.stdin.take());
            let output = child.wait_with_output().unwrap();
            told.push_str(&String::from_utf8_lossy(&output.stdout));
            opened = output.status.success();
            if opened {
                break;
            }
        }
        println!("{what}: {}", told.lines().filter(|line| line.contains("notice")).collect::<String>());
        if what == "the log is a folder" {
            // Not what a write left behind, but the machine refusing: nothing is touched for it.
            assert!(!opened && aside(&root).is_empty(), "{what}: {told}");
            continue;
        }
        assert!(opened, "{what}: {told}");
        assert!(told.contains("web is known"), "{what}: {told}");
        assert_eq!(told.contains("notice"), !aside(&root).is_empty(), "{what}: {told}");
        assert!(!certain || told.contains("notice"), "{what} went unnoticed");
    }
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(done.success());
}

#[test]
#[ignore = "a child of another test"]
fn child_that_opens_the_store() {
    let root = child_root();
    let db = open(&root);
    for notice in db.notices() {
        println!("notice: {notice}");
    }
    if db.snapshot(&id("web")).unwrap().is_some() {
        println!("web is known");
    }
    remember(&db, "web", 1000);
    drop(db);
    assert_eq!(open(&root).snapshot(&id("web")).unwrap().unwrap().state.seq, 1000);
}

#[test]
fn processes_that_hammer_the_store_all_get_their_turn_and_lose_nothing() {
    let (_dir, root) = root();
    let (processes, rounds) = (4, 12);
    let children: Vec<Child> = (0..processes)
        .map(|n| {
            spawn("child_that_hammers", root.path(), &[("NAME", &format!("s{n}")), ("ROUNDS", &rounds.to_string())])
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let db = open(&root);
    assert_eq!(db.history(None).unwrap().len(), processes * rounds);
    assert!(db.notices().is_empty());
}

#[test]
fn a_process_killed_at_any_moment_loses_nothing_that_it_was_told_is_kept() {
    let (_dir, root) = root();
    let mut acknowledged = 0;
    for round in 0..15 {
        let name = format!("s{round}");
        let mut child = spawn("child_that_hammers", root.path(), &[("NAME", &name), ("ROUNDS", "1000")]);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        // After so many acknowledgements, in the middle of whatever it does then.
        let mut lines = lines.filter(|line| line.starts_with("kept "));
        let last: u64 = lines.nth(round).unwrap()["kept ".len()..].parse().unwrap();
        child.kill().unwrap();
        let told = lines.last().map_or(last, |line| line["kept ".len()..].parse().unwrap());
        child.wait().unwrap();
        let db = open(&root);
        assert!(db.notices().is_empty(), "{:?}", db.notices());
        let kept = db.history(Some(&id(&name))).unwrap().len() as u64;
        assert!(kept == told || kept == told + 1, "{kept} kept, {told} acknowledged");
        assert_eq!(db.snapshot(&id(&name)).unwrap().unwrap().state.seq, kept);
        acknowledged += told;
    }
    assert!(acknowledged > 15);
}

#[test]
#[ignore = "a child of another test"]
fn child_that_hammers() {
    let root = child_root();
    let name = std::env::var("NAME").unwrap();
    let rounds: u64 = std::env::var("ROUNDS").unwrap().parse().unwrap();
    for seq in 1..=rounds {
        remember(&open(&root), &name, seq);
        println!("\nkept {seq}");
    }
}

#[test]
fn a_child_that_inherited_the_locks_of_a_living_process_does_not_keep_them() {
    let (_dir, root) = root();
    let folder = root.prepare().unwrap().0.claim(&id("web")).unwrap();
    let guard = folder.lock(LONG).unwrap();
    let db = open(&root);
    remember(&db, "web", 1);
    inherit(guard.as_fd().as_raw_fd());
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        if fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(root.path().canonicalize().unwrap())) {
            inherit(entry.file_name().to_str().unwrap().parse().unwrap());
        }
    }
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    drop((guard, db));
    assert!(folder.try_lock().unwrap().is_some());
    drop(open(&root));
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// The trap that makes "whatever forks, forks first" a rule: the lock outlives its holder.
#[test]
fn a_child_that_inherited_the_lock_of_a_dead_process_keeps_it_until_it_closes_it() {
    let (_dir, root) = root();
    let folder = root.prepare().unwrap().0.claim(&id("web")).unwrap();
    let mut holder = spawn("child_that_leaves_a_child_with_the_lock", root.path(), &[]);
    let mut said = BufReader::new(holder.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("locked") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0);
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
    let heir: i32 = line["locked ".len()..].trim().parse().unwrap();
    match folder.lock(Duration::from_millis(20)) {
        Err(LockError::Busy { intent: found, .. }) => assert_eq!(*found.unwrap(), intent("web")),
        other => panic!("{other:?}"),
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(heir), nix::sys::signal::Signal::SIGKILL).unwrap();
    let guard = folder.lock(LONG).unwrap();
    assert_eq!(guard.intent().unwrap(), Some(intent("web")));
}

#[test]
#[ignore = "a child of another test"]
#[allow(clippy::zombie_processes)] // That nobody waits for it is the point.
fn child_that_leaves_a_child_with_the_lock() {
    let root = child_root();
    let folder = root.find(&id("web")).unwrap().unwrap();
    let guard = folder.lock(LONG).unwrap();
    guard.write_intent(&intent("web")).unwrap();
    inherit(guard.as_fd().as_raw_fd());
    let heir =
        Command::new("tail").args(["-f", "/dev/null"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    println!("\nlocked {}", heir.id());
    // Until the test kills us.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn inherit(descriptor: i32) {
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
}

/// sled writes its snapshot beside the log at every opening; what a full disk or a death leaves of an unfinished one
/// sorts after the good one, and it would read that first.
#[test]
fn an_unfinished_snapshot_of_the_database_is_not_taken_for_damage() {
    for left in [&b""[..], &[7; 5], &[7; 5000]] {
        let (_dir, root) = root();
        for seq in 1..4 {
            remember(&open(&root), "web", seq);
        }
        fs::write(root.path().join("store/db/snap.7FFFFFFFFFFFFFFF.generating"), left).unwrap();
        let db = open(&root);
        assert!(db.notices().is_empty(), "{:?}", db.notices());
        assert_eq!(db.history(None).unwrap().len(), 3);
    }
}

#[test]
fn what_a_command_began_that_died_while_it_made_the_store_again_is_finished_or_undone() {
    let (_dir, root) = root();
    publish(&root, "web");
    remember(&open(&root), "web", 2);
    let db = root.path().join("store/db");
    for (name, moved) in [("making", 0), ("made", 1)] {
        fs::create_dir(db.with_extension(name)).unwrap();
        copy(&db, &db.with_extension(name));
        assert_eq!(open(&root).notices().len(), moved, "{name}");
        assert_eq!(aside(&root).len(), moved, "{name}");
        assert!(!db.with_extension(name).exists());
    }
    fs::rename(&db, db.with_extension("made")).unwrap();
    let db = open(&root);
    assert_eq!((db.notices().len(), aside(&root).len()), (1, 1));
    assert_eq!(db.history(None).unwrap().len(), 1);
}

/// Not a test but a figure: the first opening in a process.
#[test]
#[ignore = "prints how long the first opening takes"]
fn figure_of_the_first_opening() {
    let (_dir, root) = root();
    remember(&open(&root), "web", 1);
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..30 {
        let output = spawn("child_that_times_an_opening", root.path(), &[]).wait_with_output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let line = output.lines().find_map(|line| line.strip_prefix("took ")).unwrap();
        times.push(Duration::from_nanos(line.parse().unwrap()));
    }
    times.sort();
    println!("first opening: median {:?}, least {:?}, most {:?}", times[15], times[0], times[29]);
}

#[test]
#[ignore = "a child of another test"]
fn child_that_times_an_opening() {
    let root = child_root();
    let begun = std::time::Instant::now();
    let db = open(&root);
    println!("\ntook {}", begun.elapsed().as_nanos());
    let begun = std::time::Instant::now();
    remember(&db, "web", u64::from(std::process::id()));
    let committed = begun.elapsed();
    drop(db);
    println!("commit {:?}, drop {:?}", committed, begun.elapsed() - committed);
}
