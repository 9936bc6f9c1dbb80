//! A v1 hierarchy that is mounted nowhere any more and still holds its controllers.
//!
//! Whoever unmounts one while the kernel is not yet done with a cgroup of it leaves it in that state for ever: every
//! process is "in" it, nobody can find it, and containerd and podman then have no metrics of any container, whatever the
//! runtime. Mounting and unmounting it once more, empty, ends it.

use std::fs;
use std::sync::Once;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount, umount};

/// Ends those that this machine has, once a test program.
pub fn end_forgotten() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for controller in forgotten() {
            eprintln!("the v1 hierarchy of {controller} is mounted nowhere and holds its controller: ending it");
            end(&controller);
        }
    });
}

/// Controllers of a hierarchy that no mount shows (proc_pid_mountinfo(5), cgroups(7)).
fn forgotten() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    let shown = |controller: &str| {
        let options = mounts.lines().filter_map(|line| line.split_once(" - cgroup ")?.1.split(' ').nth(1));
        options.into_iter().any(|options| options.split(',').any(|word| word == controller))
    };
    let controllers = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let fields = controllers.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter(|f| f.len() == 4 && f[1] != "0" && !shown(f[0])).map(|f| f[0].to_owned()).collect()
}

/// On a pure v2 machine /proc/cgroups says 0 of every controller, so there is nothing to end there.
fn end(controller: &str) {
    let place = tempfile::tempdir().expect("a folder");
    let deadline = Instant::now() + Duration::from_secs(10);
    while forgotten().iter().any(|name| name == controller) && Instant::now() < deadline {
        if mount(Some("cgroup"), place.path(), Some("cgroup"), MsFlags::empty(), Some(controller)).is_ok() {
            umount(place.path()).expect("unmount");
        }
        // The kernel ends it behind our back; nothing tells when.
        std::thread::sleep(Duration::from_millis(50));
    }
}
