//! What the steps cost; the figures of docs/cgroups.md. `cargo test --test kernel cgroup_measure -- --ignored --nocapture`
#![allow(unsafe_code)] // pre_exec: the closure makes system calls only.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cgroup_support::{Container, Kind, soon};
use sandkeep::cgroup::{self, Hierarchies, Joiner, Layout};
use sandkeep::model::record::CgroupRecord;

const TIMES: usize = 41;

fn median(what: &str, mut once: impl FnMut() -> Duration) {
    let mut all: Vec<Duration> = (0..TIMES).map(|_| once()).collect();
    all.sort();
    println!("{what:<58} {:>8.3} ms", all[TIMES / 2].as_secs_f64() * 1e3);
}

fn time<T>(run: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

/// In a child, just before it would execute `true`: how long `join` takes there.
fn in_child(container: &Container, join: impl Fn() + Send + Sync + 'static) -> Duration {
    let (mut read, write) = std::io::pipe().unwrap();
    let mut command = container.command("exit");
    let measure = move || {
        let took = time(&join);
        (&write).write_all(&took.as_nanos().to_ne_bytes())
    };
    // SAFETY: the child has one thread; `measure` writes to files and a pipe.
    unsafe { command.pre_exec(measure) };
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut nanos = [0; 16];
    read.read_exact(&mut nanos).unwrap();
    child.wait().unwrap();
    Duration::from_nanos(u128::from_ne_bytes(nanos) as u64)
}

#[test]
#[ignore = "a measurement, for a quiet machine"]
fn measure() {
    if Kind::with_controllers().is_none() {
        return;
    }
    median("reading the hierarchies", || time(|| Hierarchies::read().unwrap()));
    for kind in Kind::here() {
        println!("-- {kind:?}");
        let container = Container::new(kind, "measure", None, r#"{"devices": [{"allow": false, "access": "rwm"}]}"#);
        let record = container.layout.record();
        let supervisor = Layout::of_supervisor(&container.layout);
        let remove = |record: &CgroupRecord| cgroup::remove(record, soon()).unwrap();
        let make = || drop(container.layout.make(Some(&container.resources)).unwrap());
        median("making a container's cgroups, default spec's limits, fds", || {
            let took = time(make);
            remove(&record);
            took
        });
        median("making a supervisor's cgroups", || {
            let took = time(|| supervisor.make(None).unwrap());
            remove(&supervisor.record());
            took
        });
        for folder in &record.folders {
            median(&format!("mkdir + rmdir {}", folder.display()), || {
                let took = time(|| std::fs::create_dir(folder).unwrap());
                took + time(|| std::fs::remove_dir(folder).unwrap())
            });
        }
        make();
        median("opening what joins", || time(|| Joiner::open(&record, std::process::id() as i32).unwrap()));
        // Moving a process is slow when nobody did it for a while: as in real life, it has been quiet before each.
        let quiet = || std::thread::sleep(Duration::from_millis(60));
        median("join_self", || {
            quiet();
            let joiner = Arc::new(Joiner::open(&record, std::process::id() as i32).unwrap());
            in_child(&container, move || joiner.join_self().unwrap())
        });
        let folders = record.folders.clone();
        median("the same by pid into cgroup.procs", || {
            quiet();
            let folders = folders.clone();
            in_child(&container, move || {
                for folder in &folders {
                    std::fs::write(folder.join("cgroup.procs"), std::process::id().to_string()).unwrap();
                }
            })
        });
        let joiner = Arc::new(Joiner::open(&record, std::process::id() as i32).unwrap());
        let freeze = |cgroup: &dyn Fn()| {
            let mut child = container.spawn(&joiner, "exec sleep 100");
            let took = time(cgroup);
            cgroup::kill_and_wait(&record, soon()).unwrap();
            child.wait().unwrap();
            took
        };
        median("freezing a process", || freeze(&|| cgroup::freeze(&record, soon()).unwrap()));
        median("killing a process and waiting", || freeze(&|| cgroup::kill_and_wait(&record, soon()).unwrap()));
        median("removing", || {
            remove(&record);
            make();
            time(|| remove(&record))
        });
    }
}
