//! Cgroups with real processes in them: on this machine's controllers, and on its v2 hierarchy where there is one.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cgroup_support::{Container, Kind, soon, wait_until};
use sandkeep::cgroup::{self, Error, Layout};

#[test]
fn made_joined_frozen_thawed_killed_and_removed() {
    for kind in Kind::here() {
        let container = Container::new(kind, "life", None, "{}");
        let record = container.layout.record();
        assert!(!cgroup::exists(&record).unwrap());
        let joiner = container.make();
        assert!(record.folders.iter().all(|folder| folder.is_dir()));

        let mut child = container.spawn(&joiner, "sleep 100 & wait");
        wait_until("both are there", || cgroup::processes(&record).unwrap().len() == 2);
        assert!(cgroup::processes(&record).unwrap().contains(&(child.id() as i32)));
        // Beside v1, the v2 hierarchy is one to be born in.
        let beside = |folder: &&std::path::PathBuf| kind == Kind::V2 || folder.join("tasks").exists();
        for folder in record.folders.iter().filter(beside) {
            let procs = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap();
            assert!(procs.lines().any(|pid| pid == child.id().to_string()), "not in {folder:?}");
        }

        assert!(!cgroup::is_frozen(&record).unwrap());
        cgroup::freeze(&record, soon()).unwrap();
        cgroup::freeze(&record, soon()).unwrap();
        assert!(cgroup::is_frozen(&record).unwrap());
        cgroup::thaw(&record).unwrap();
        cgroup::thaw(&record).unwrap();
        assert!(!cgroup::is_frozen(&record).unwrap());

        assert!(matches!(
            cgroup::remove(&record, Instant::now() + Duration::from_millis(20)),
            Err(Error::StillPopulated { count: 2, .. })
        ));
        cgroup::kill_and_wait(&record, soon()).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        cgroup::kill_and_wait(&record, soon()).unwrap();
        cgroup::remove(&record, soon()).unwrap();
        cgroup::remove(&record, soon()).unwrap();
        assert!(!cgroup::exists(&record).unwrap());
        assert!(cgroup::processes(&record).unwrap().is_empty());
        assert!(!cgroup::is_frozen(&record).unwrap(), "gone is not frozen");
    }
}

#[test]
fn a_frozen_process_makes_no_progress() {
    for kind in Kind::here() {
        let container = Container::new(kind, "tick", None, "{}");
        let record = container.layout.record();
        let joiner = container.make();
        let ticks = tempfile::NamedTempFile::new().unwrap();
        let script = format!("while :; do echo x >> {}; sleep 0.001; done", ticks.path().display());
        let mut child = container.spawn(&joiner, &script);
        let size = || ticks.as_file().metadata().unwrap().len();
        wait_until("it ticks", || size() > 0);
        cgroup::freeze(&record, soon()).unwrap();
        let frozen_at = size();
        // Nothing to wait on proves that nothing happens; time enough for fifty ticks must do.
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(size(), frozen_at);
        cgroup::thaw(&record).unwrap();
        wait_until("it ticks again", || size() > frozen_at);
        cgroup::kill_and_wait(&record, soon()).unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_paused_container_is_killed_without_resuming_it_first() {
    for kind in Kind::here() {
        let container = Container::new(kind, "paused", None, "{}");
        let record = container.layout.record();
        let joiner = container.make();
        let mut child = container.spawn(&joiner, "sleep 100 & wait");
        wait_until("both are there", || cgroup::processes(&record).unwrap().len() == 2);
        cgroup::freeze(&record, soon()).unwrap();
        cgroup::kill_and_wait(&record, soon()).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert!(!cgroup::is_frozen(&record).unwrap(), "a kill leaves nothing frozen");
    }
}

#[test]
fn a_signal_to_all_reaches_each_and_waits_in_a_paused_container() {
    for kind in Kind::here() {
        let container = Container::new(kind, "signal", None, "{}");
        let record = container.layout.record();
        let joiner = container.make();
        let mut child = container.spawn(&joiner, "sleep 100 & sleep 100 & wait");
        wait_until("all are there", || cgroup::processes(&record).unwrap().len() == 3);
        cgroup::freeze(&record, soon()).unwrap();
        assert_eq!(cgroup::signal_all(&record, libc::SIGTERM).unwrap(), 3);
        if kind == Kind::Controllers {
            // v2 lets a signal through at once if it ends the process.
            assert!(cgroup::is_frozen(&record).unwrap(), "still paused");
            assert!(child.try_wait().unwrap().is_none());
        }
        cgroup::thaw(&record).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        wait_until("all have ended", || cgroup::processes(&record).unwrap().is_empty());
        assert_eq!(cgroup::signal_all(&record, libc::SIGTERM).unwrap(), 0);
    }
}

#[test]
fn a_fork_bomb_is_bounded_by_pids_and_all_gone_after_the_kill() {
    let Some(kind) = Kind::with_controllers() else { return };
    let container = Container::new(kind, "bomb", None, r#"{"pids": {"limit": 60}}"#);
    let record = container.layout.record();
    let joiner = container.make();
    let mut child = container.spawn(&joiner, "b() { b | b & sleep 0.01; }; while :; do b; done");
    let pids = record.folders.iter().map(|folder| folder.join("pids.events")).find(|events| events.exists()).unwrap();
    wait_until("a fork was refused", || !std::fs::read_to_string(&pids).unwrap().starts_with("max 0"));
    // Not the list of processes: it is read one hierarchy after the other, and may name some that have just ended.
    let current = std::fs::read_to_string(pids.with_file_name("pids.current")).unwrap();
    assert!(current.trim().parse::<u32>().unwrap() <= 60, "{current}");
    cgroup::kill_and_wait(&record, soon()).unwrap();
    child.wait().unwrap();
    assert!(cgroup::processes(&record).unwrap().is_empty());
    cgroup::remove(&record, soon()).unwrap();
    assert!(!cgroup::exists(&record).unwrap());
}

#[test]
fn cgroups_that_the_container_made_and_froze_go_with_it() {
    for kind in Kind::here() {
        let container = Container::new(kind, "nested", None, "{}");
        let record = container.layout.record();
        let joiner = container.make();
        let freezer = record.freezer.clone().unwrap();
        let inner = freezer.join("inner");
        std::fs::create_dir_all(inner.join("deeper")).unwrap();
        let mut child = container.spawn(&joiner, "exec sleep 100");
        std::fs::write(inner.join("deeper/cgroup.procs"), child.id().to_string()).unwrap();
        let (file, value) = match kind {
            Kind::V2 => ("cgroup.freeze", "1"),
            Kind::Controllers => ("freezer.state", "FROZEN"),
        };
        std::fs::write(inner.join(file), value).unwrap();
        assert_eq!(cgroup::processes(&record).unwrap(), [child.id() as i32]);
        cgroup::kill_and_wait(&record, soon()).unwrap();
        child.wait().unwrap();
        cgroup::remove(&record, soon()).unwrap();
        assert!(!cgroup::exists(&record).unwrap());
    }
}

#[test]
fn an_id_of_1000_bytes_has_cgroups_like_any_other() {
    for kind in Kind::here() {
        let container = Container::new(kind, &"n".repeat(1000), None, "{}");
        let record = container.layout.record();
        container.layout.make(None).unwrap();
        assert!(cgroup::exists(&record).unwrap());
        cgroup::remove(&record, soon()).unwrap();
    }
}

#[test]
fn a_cgroup_with_processes_of_somebody_else_is_refused_and_left_alone() {
    for kind in Kind::here() {
        let container = Container::new(kind, "taken", None, "{}");
        let record = container.layout.record();
        let joiner = container.make();
        let mut child = container.spawn(&joiner, "exec sleep 100");
        let refused = container.layout.make(None).unwrap_err().to_string();
        assert!(refused.contains("container's cgroup is not empty: 1 process(es) found"), "{refused}");
        assert_eq!(cgroup::processes(&record).unwrap(), [child.id() as i32]);
        cgroup::kill_and_wait(&record, soon()).unwrap();
        child.wait().unwrap();
        // Empty again, it may be taken: so a create that was killed half-way can be repeated.
        cgroup::freeze(&record, soon()).unwrap();
        container.layout.make(None).unwrap();
        assert!(!cgroup::is_frozen(&record).unwrap(), "a left-over freeze would stop the next container");
    }
}

#[test]
fn the_supervisor_is_neither_frozen_nor_killed_with_its_container() {
    for kind in Kind::here() {
        let container = Container::new(kind, "pair", None, "{}");
        let layout = Layout::of_supervisor(&container.layout);
        let (record, own) = (container.layout.record(), layout.record());
        let (joiner, its) = (container.make(), Arc::new(layout.make(None).unwrap()));
        let mut init = container.spawn(&joiner, "exec sleep 100");
        let mut supervisor = container.spawn(&its, "exec sleep 100");
        cgroup::freeze(&record, soon()).unwrap();
        assert!(!cgroup::is_frozen(&own).unwrap());
        cgroup::kill_and_wait(&record, soon()).unwrap();
        init.wait().unwrap();
        assert_eq!(cgroup::processes(&own).unwrap(), [supervisor.id() as i32]);
        cgroup::remove(&record, soon()).unwrap();
        cgroup::kill_and_wait(&own, soon()).unwrap();
        supervisor.wait().unwrap();
        cgroup::remove(&own, soon()).unwrap();
        assert!(!cgroup::exists(&own).unwrap());
    }
}

#[test]
fn one_more_process_joins_through_the_record_alone() {
    for kind in Kind::here() {
        let container = Container::new(kind, "exec", None, "{}");
        let record = container.layout.record();
        container.layout.make(None).unwrap();
        let joiner = Arc::new(cgroup::Joiner::open(&record, std::process::id() as i32).unwrap());
        assert_eq!(joiner.v2_folder().is_some(), kind == Kind::V2 || Kind::here().contains(&Kind::V2));
        assert_eq!(joiner.fds().count(), record.folders.len());
        let mut child = container.spawn(&joiner, "exec sleep 100");
        assert_eq!(cgroup::processes(&record).unwrap(), [child.id() as i32]);
        cgroup::kill_and_wait(&record, soon()).unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_folder_below_sandkeep_is_found_as_an_orphan() {
    for kind in Kind::here() {
        let container = Container::new(kind, "orphan", None, "{}");
        let record = container.layout.record();
        container.layout.make(None).unwrap();
        let found = cgroup::orphans(&container.hierarchies).unwrap();
        assert!(record.folders.iter().all(|folder| found.contains(folder)));
        cgroup::remove(&record, soon()).unwrap();
        assert!(!cgroup::orphans(&container.hierarchies).unwrap().iter().any(|folder| record.folders.contains(folder)));
    }
}

#[test]
fn parents_that_somebody_removes_meanwhile_are_made_again() {
    for kind in Kind::here() {
        let name = format!("sandkeep-gone-{}", std::process::id());
        let container = Container::new(kind, "gone", Some(&format!("/{name}/a")), "{}");
        let record = container.layout.record();
        let parents: Vec<_> = record.folders.iter().filter_map(|folder| folder.parent()).collect();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    parents.iter().for_each(|parent| drop(std::fs::remove_dir(parent)));
                    // Somebody who does nothing else would let nobody make anything.
                    std::thread::sleep(std::time::Duration::from_micros(300));
                }
            });
            let made: Vec<_> =
                (0..20).map(|_| container.layout.make(None).map(drop).and(cgroup::remove(&record, soon()))).collect();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            made.into_iter().for_each(|made| made.unwrap());
        });
        parents.iter().for_each(|parent| drop(std::fs::remove_dir(parent)));
    }
}

#[test]
fn a_path_of_the_spec_is_used_as_given() {
    for kind in Kind::here() {
        let name = format!("sandkeep-test-{}", std::process::id());
        let container = Container::new(kind, "path", Some(&format!("/{name}/a")), "{}");
        let record = container.layout.record();
        assert_eq!(record.path, format!("/{name}/a"));
        container.layout.make(None).unwrap();
        cgroup::remove(&record, soon()).unwrap();
        for parent in record.folders.iter().filter_map(|folder| folder.parent()) {
            assert!(parent.is_dir(), "a parent is shared and stays");
            std::fs::remove_dir(parent).unwrap();
        }
        assert!(!Path::new(&record.folders[0]).exists());
    }
}

#[test]
fn a_frozen_cgroup_that_was_there_is_refused_before_anything_is_made() {
    for kind in Kind::here() {
        let container = Container::new(kind, "frozen", None, "{}");
        container.make();
        container.layout.check_free().unwrap();
        cgroup::freeze(&container.layout.record(), soon()).unwrap();
        let refused = container.layout.check_free().unwrap_err().to_string();
        assert!(refused.starts_with("container's cgroup unexpectedly frozen"), "{refused}");
        cgroup::thaw(&container.layout.record()).unwrap();
    }
}

#[test]
fn a_v2_cgroup_is_delegated_with_the_files_that_the_kernel_names_and_no_other() {
    use std::os::unix::fs::MetadataExt;
    for kind in Kind::here().into_iter().filter(|kind| *kind == Kind::V2) {
        let container = Container::new(kind, "delegated", None, "{}");
        container.make();
        container.layout.delegate(100_000).unwrap();
        let folder = container.layout.record().folders[0].clone();
        let owner = |name: &str| folder.join(name).metadata().unwrap().uid();
        for name in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
            assert_eq!(owner(name), 100_000, "{name:?}");
        }
        for name in ["cgroup.freeze", "cgroup.kill", "cgroup.max.depth"] {
            assert_eq!(owner(name), 0, "{name:?} limits or ends what the container may not decide on");
        }
    }
    // v1 cannot be delegated safely.
    if let Some(kind) =
        Kind::with_controllers().filter(|_| cgroup::Hierarchies::read().unwrap().setup() != cgroup::Setup::V2)
    {
        let container = Container::new(kind, "kept", None, "{}");
        container.make();
        container.layout.delegate(100_000).unwrap();
        assert!(container.layout.record().folders.iter().all(|folder| folder.metadata().unwrap().uid() == 0));
    }
}
