//! What an engine and its containers leave behind.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::leftovers;

/// Engines end some of their processes only after they have answered.
const PATIENCE: Duration = Duration::from_secs(10);

/// Fails unless nothing bears the tag any more: no process, cgroup, mount, socket, network namespace or sandbox. What is
/// there is removed first, so that a failure is told once.
pub fn nothing(dir: &Path, tag: &str, runtime_root: &Path) {
    let deadline = Instant::now() + PATIENCE;
    let left = loop {
        remove_parents(tag);
        let left = find(tag, runtime_root);
        if left.is_empty() || Instant::now() > deadline {
            break left;
        }
        thread::sleep(Duration::from_millis(20));
    };
    sweep(dir, &left);
    remove_parents(tag);
    // A test that fails already has more to tell.
    assert!(left.is_empty() || thread::panicking(), "left behind:\n{}", left.join("\n"));
}

fn find(tag: &str, runtime_root: &Path) -> Vec<String> {
    // A root that is shared with others holds more than ours: only what names the tag counts.
    let mut left = leftovers::of(Path::new(&format!("/tmp/{tag}")), tag);
    left.extend(sandboxes(runtime_root, tag));
    for parent in parents(tag) {
        let below = fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path());
        left.extend(below.filter(|path| path.is_dir()).map(|folder| format!("cgroup {}", folder.display())));
    }
    left
}

/// The sandboxes of this root whose configuration names the tag.
pub fn sandboxes(runtime_root: &Path, tag: &str) -> Vec<String> {
    let folders = fs::read_dir(runtime_root.join("sandboxes")).into_iter().flatten().flatten();
    let named = |folder: &Path| fs::read_to_string(folder.join("config.json")).is_ok_and(|text| text.contains(tag));
    let folders = folders.map(|entry| entry.path()).filter(|folder| named(folder));
    folders.map(|folder| format!("sandbox {}", folder.display())).collect()
}

/// The cgroups that the engine itself makes for conmon and for pods, and above those of containers. No engine removes
/// them all.
fn remove_parents(tag: &str) {
    for parent in parents(tag) {
        // Engines take a folder of that name for a hierarchy, mounted or not: then it is a folder like any other.
        if !parent.join("cgroup.procs").exists() {
            let _ = fs::remove_dir_all(&parent);
        }
        for below in fs::read_dir(&parent).into_iter().flatten().flatten() {
            let name = below.file_name().to_string_lossy().into_owned();
            if name == "conmon" || name.len() == 64 {
                let _ = fs::remove_dir(below.path());
            }
        }
        let _ = fs::remove_dir(parent);
    }
}

/// The cgroup with this name in every hierarchy that has it.
fn parents(tag: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).map(|hierarchy| hierarchy.join(tag));
    folders.filter(|folder| folder.is_dir()).collect()
}

fn sweep(dir: &Path, left: &[String]) {
    for line in left {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("process"), Some(pid)) => {
                if let Ok(pid @ 2..) = pid.parse::<i32>() {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
            }
            (Some("cgroup"), Some(folder)) => {
                if let Ok(mut state) = fs::File::options().write(true).open(Path::new(folder).join("freezer.state")) {
                    let _ = state.write_all(b"THAWED");
                }
                let _ = fs::remove_dir(folder);
            }
            _ => {}
        }
    }
    unmount_below(dir);
}

/// For what an engine mounts and leaves, in its own folder.
pub fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = mounts.lines().rev().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    for place in places.filter(|place| place.starts_with(dir)) {
        let _ = umount2(&place, MntFlags::MNT_DETACH);
    }
}
