//! What the store does when the disk is full, or nearly so.

use super::*;

#[test]
fn on_a_full_disk_what_ends_a_sandbox_still_works_and_nothing_is_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    if let Err(error) = small_filesystem(dir.path(), "size=4m") {
        println!("skipped: a filesystem cannot be mounted here ({error})");
        return;
    }
    let root = Root::open_or_make(&dir.path().join("state")).unwrap();
    let mut folder = root.prepare().unwrap().0.claim(&id("web")).unwrap();
    let mut exits = File::from(folder.make_exits().unwrap());
    let guard = folder.lock(LONG).unwrap();
    folder.publish(&guard, &snapshot("web")).unwrap();
    remember(&open(&root), "web", 2);

    let filler = dir.path().join("filler");
    fill(&filler);

    guard.write_intent(&intent("web")).unwrap();
    assert_eq!(folder.intent_unlocked().unwrap(), Some(intent("web")));
    let exit = crate::model::record::Exit { code: 137, signal: Some(9), at: 1, inferred: false };
    let ended = crate::model::exits::ExitRecord { container: "web".to_owned(), exit };
    exits.write_all(&crate::model::exits::encode(&ended)).unwrap();
    assert_eq!(folder.read_exits().unwrap(), [ended]);
    assert!(folder.publish(&guard, &snapshot("web")).unwrap_err().is_full());
    assert_eq!(folder.read_snapshot().unwrap(), Some(snapshot("web")));
    for seq in 3..8 {
        let (snapshot, journal) = (at_seq("web", seq), [entry("web", seq)]);
        let commit = Commit { id: &id("web"), snapshot: Some(&snapshot), journal: &journal };
        match commit_or_pend(Opening::begin(&root, LONG).finish(), &root, &commit) {
            Recorded::Pending { why } => println!("pending: {why}"),
            Recorded::Committed(_) => panic!("the disk was not full"),
            Recorded::Lost { why } => panic!("{why}"),
        }
    }
    guard.clear_intent().unwrap();
    folder.retire().unwrap();
    let deleted = Commit { id: &id("web"), snapshot: None, journal: &[entry("web", 8)] };
    let recorded = commit_or_pend(Opening::begin(&root, LONG).finish(), &root, &deleted);
    assert!(matches!(recorded, Recorded::Pending { .. }));
    assert!(aside(&root).is_empty());

    fs::remove_file(&filler).unwrap();
    folder.remove().unwrap();
    let db = open(&root);
    assert!(db.notices().is_empty());
    assert_eq!(db.snapshots().unwrap(), []);
    assert_eq!(db.history(None).unwrap().len(), 7);
}

/// Every step of every opening and commit meets the end of the disk once, with small records and with such that sled
/// would have put into files of their own. A panic in a thread of sled's would end a process that is built to abort:
/// there must be none.
#[test]
fn wherever_the_disk_ends_nothing_is_moved_aside_and_nothing_that_was_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    if let Err(error) = small_filesystem(dir.path(), "size=10m") {
        println!("skipped: a filesystem cannot be mounted here ({error})");
        return;
    }
    let small = (0..4).chain([40, 127, 128, 129, 130, 160]).map(|left| (left, 1, 0));
    let again = (0..4).map(|left| (left, 3, 0));
    let large = [0, 1, 9, 40, 100, 180, 300].map(|left| (left, 3, 200_000));
    let long = [0, 1, 9, 40, 128, 200].map(|left| (left, 30, 40_000));
    for (left, earlier, size) in small.chain(again).chain(large).chain(long) {
        let what = format!("{left} pages left, {earlier} openings before, records of {size} bytes");
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        let numbers = [left, earlier, size].map(|number| number.to_string());
        let numbers = [("LEFT", &*numbers[0]), ("EARLIER", &*numbers[1]), ("SIZE", &*numbers[2])];
        let mut child = spawn("full_disk::child_that_works_at_the_end_of_the_disk", &state, &numbers);
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        let told = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        assert!(output.status.success() && !told.contains("panicked"), "{what}: {:?}: {told}", output.status);
        println!("{what}: {}", told.lines().filter(|line| line.contains("at once")).collect::<String>());
        fs::remove_dir_all(&state).unwrap();
    }
}

#[test]
#[ignore = "a child of another test"]
fn child_that_works_at_the_end_of_the_disk() {
    // A database that waits for ever is one of the things that may happen.
    nix::unistd::alarm::set(60);
    let number = |name| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (left, earlier, note) = (number("LEFT"), number("EARLIER"), "x".repeat(number("SIZE") as usize));
    let root = child_root();
    publish(&root, "web");
    let record = |seq| {
        let (mut snapshot, journal) = (at_seq("web", seq), [entry("web", seq)]);
        let container = snapshot.containers.get_mut("web").unwrap();
        container.annotations.insert("note".to_owned(), format!("{seq}{note}"));
        let commit = Commit { id: &id("web"), snapshot: Some(&snapshot), journal: &journal };
        commit_or_pend(Opening::begin(&root, LONG).finish(), &root, &commit)
    };
    for seq in 1..=earlier {
        assert!(matches!(record(seq), Recorded::Committed(_)));
    }
    let ballast = root.path().join("ballast");
    let size = fill(&ballast);
    OpenOptions::new().write(true).open(&ballast).unwrap().set_len(size.saturating_sub(left * 4096)).unwrap();
    let mut acknowledged: Vec<u64> = (1..=earlier).collect();
    let mut at_once = 0;
    for seq in earlier + 1..=earlier + 12 {
        match record(seq) {
            Recorded::Committed(db) => {
                assert!(db.notices().is_empty(), "{:?}", db.notices());
                at_once += 1;
                acknowledged.push(seq);
            }
            Recorded::Pending { .. } => acknowledged.push(seq),
            // Small ones always find the room that was set aside for them.
            Recorded::Lost { why } => assert!(note.len() > 1000, "{why}"),
        }
    }
    fs::remove_file(&ballast).unwrap();
    let db = open(&root);
    assert!(db.notices().is_empty() && aside(&root).is_empty(), "{:?}", db.notices());
    let known: Vec<u64> = db.history(None).unwrap().iter().map(|entry| entry.seq).collect();
    assert!(acknowledged.iter().all(|seq| known.contains(seq)), "{known:?} of {acknowledged:?}");
    assert!(db.snapshot(&id("web")).unwrap().unwrap().state.seq >= *acknowledged.last().unwrap());
    println!("\n{at_once} of 12 committed at once, {} lost", earlier + 12 - acknowledged.len() as u64);
}

#[test]
fn a_store_that_looks_corrupt_on_a_full_disk_stays_where_it_is_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    if let Err(error) = small_filesystem(dir.path(), "size=4m") {
        println!("skipped: a filesystem cannot be mounted here ({error})");
        return;
    }
    for damage in ["noise", "deaths"] {
        let root = Root::open_or_make(&dir.path().join(damage)).unwrap();
        publish(&root, "web");
        remember(&open(&root), "web", 2);
        match damage {
            "noise" => overwrite(&root.path().join("store/db/db"), 0, &[0xff; 400]),
            _ => overwrite(&root.path().join("store/store.lock"), 0, &[3]),
        }
        let ballast = root.path().join("ballast");
        fill(&ballast);
        for _ in 0..4 {
            let Err(error) = Opening::begin(&root, LONG).finish() else { panic!("{damage}: the disk was not full") };
            assert!(error.is_full(), "{damage}: {error}");
        }
        assert!(aside(&root).is_empty(), "{damage}");
        fs::remove_file(&ballast).unwrap();
        let db = open(&root);
        assert_eq!((db.notices().len(), aside(&root).len()), (1, 1), "{damage}: {:?}", db.notices());
        assert_eq!(db.snapshots().unwrap(), [snapshot("web")]);
        remember(&db, "web", 3);
        drop(db);
        assert!(open(&root).notices().is_empty(), "{damage}");
        fs::remove_dir_all(root.path()).unwrap();
    }
}

/// Takes what room there is, to the last byte; how much that was.
fn fill(ballast: &Path) -> u64 {
    let mut file = File::create(ballast).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    file.metadata().unwrap().len()
}

/// In a mount namespace of this thread: it goes when the thread ends, and nobody else sees it.
fn small_filesystem(at: &Path, size: &str) -> nix::Result<()> {
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(size))
}
