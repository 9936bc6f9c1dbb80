//! Time for realtime processes, on v1 with CONFIG_RT_GROUP_SCHED: a cgroup has none unless its parent has as much to give,
//! and a new one has none. Parents of ours are given what their children need; everybody else's are theirs, and the error
//! says what to write there (sched-rt-group.rst).

use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxCpu;

use crate::cgroup::files;

const RUNTIME: &str = "cpu.rt_runtime_us";
const PERIOD: &str = "cpu.rt_period_us";
/// Of a cgroup that says nothing else, in microseconds.
const USUAL_PERIOD: u64 = 1_000_000;

/// For a container in `folder`, which is still to be given its own. `ours`: folders above it that may be changed. What cannot
/// be given is found out when the container's own value is written.
pub(in crate::cgroup) fn make_room(folder: &Path, mount: &Path, cpu: &LinuxCpu, ours: &[PathBuf]) {
    let wanted = match cpu.realtime_runtime() {
        Some(runtime @ 1..) => Share::of(runtime.unsigned_abs(), cpu.realtime_period().unwrap_or(0)),
        _ => return,
    };
    let _ = give(folder, mount, wanted, ours);
}

/// From below, what each has to have; from above, it is written, since no child may have more than its parent.
fn give(folder: &Path, mount: &Path, wanted: Share, ours: &[PathBuf]) -> io::Result<()> {
    let mut raised = Vec::new();
    let (mut below, mut needed) = (folder, wanted);
    for parent in folder.ancestors().skip(1).take_while(|parent| *parent != mount && parent.starts_with(mount)) {
        let others = shares_below(parent, below)?;
        needed = Share(needed.0.saturating_add(others.0));
        let has = share_of(parent)?;
        if has.0 >= needed.0 || !ours.iter().any(|path| path == parent) {
            break;
        }
        raised.push((parent, needed));
        below = parent;
    }
    for (parent, needed) in raised.into_iter().rev() {
        let period = number(&parent.join(PERIOD))?;
        files::write(&parent.join(RUNTIME), &needed.of_period(period).to_string())?;
    }
    Ok(())
}

/// What a parent that has too little to give is to be told, if that is why the kernel refuses `file`.
pub(super) fn hint(file: &Path, error: &io::Error) -> Option<String> {
    if error.raw_os_error() != Some(libc::EINVAL) || file.file_name()? != RUNTIME {
        return None;
    }
    let parent = file.parent()?.parent()?;
    let (runtime, period) = (number(&parent.join(RUNTIME)).ok()?, number(&parent.join(PERIOD)).ok()?);
    Some(format!(
        "the cgroup above has {runtime} of {period} µs to give to all that are in it: write more to {:?}, and as much to \
         those above that",
        parent.join(RUNTIME)
    ))
}

/// Of a CPU's time, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share(u64);

impl Share {
    /// Rounded up. No period is the usual one.
    fn of(runtime: u64, period: u64) -> Share {
        let period = if period == 0 { USUAL_PERIOD } else { period };
        Share(runtime.saturating_mul(1_000_000).div_ceil(period))
    }

    fn of_period(self, period: u64) -> u64 {
        self.0.saturating_mul(period).div_ceil(1_000_000)
    }
}

fn share_of(folder: &Path) -> io::Result<Share> {
    Ok(Share::of(number(&folder.join(RUNTIME))?, number(&folder.join(PERIOD))?))
}

/// Those of the children, but for one.
fn shares_below(parent: &Path, except: &Path) -> io::Result<Share> {
    let mut sum = 0;
    for entry in std::fs::read_dir(parent)? {
        let child = entry?.path();
        if child != except && child.is_dir() {
            // One that goes while we look has none any more.
            sum += share_of(&child).map_or(0, |share| share.0);
        }
    }
    Ok(Share(sum))
}

/// -1 is as much as there is.
fn number(file: &Path) -> io::Result<u64> {
    let text = files::read(file)?;
    Ok(text.trim().parse().unwrap_or(if text.trim() == "-1" { USUAL_PERIOD } else { 0 }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn cgroup(path: &Path, runtime: &str) {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join(RUNTIME), format!("{runtime}\n")).unwrap();
        fs::write(path.join(PERIOD), "1000000\n").unwrap();
    }

    fn runtime(path: &Path) -> String {
        fs::read_to_string(path.join(RUNTIME)).unwrap().trim().to_owned()
    }

    #[test]
    fn parents_of_ours_get_what_all_their_children_need_and_no_others_are_changed() {
        let mount = tempfile::tempdir().unwrap();
        let (theirs, top) = (mount.path().join("theirs"), mount.path().join("sandkeep"));
        for path in [mount.path(), &theirs, &top, &top.join("a"), &top.join("b"), &theirs.join("c")] {
            cgroup(path, "0");
        }
        cgroup(&top.join("b"), "3000");
        let cpu = |runtime: i64| {
            let mut cpu = LinuxCpu::default();
            cpu.set_realtime_runtime(Some(runtime));
            cpu.set_realtime_period(Some(500_000));
            cpu
        };
        make_room(&top.join("a"), mount.path(), &cpu(2500), std::slice::from_ref(&top));
        assert_eq!(runtime(&top), "8000");
        // There is enough.
        make_room(&top.join("a"), mount.path(), &cpu(1000), std::slice::from_ref(&top));
        assert_eq!((runtime(&top), runtime(mount.path())), ("8000".to_owned(), "0".to_owned()));
        make_room(&theirs.join("c"), mount.path(), &cpu(1000), std::slice::from_ref(&top));
        assert_eq!(runtime(&theirs), "0");
        let hint = hint(&theirs.join("c").join(RUNTIME), &io::Error::from_raw_os_error(libc::EINVAL)).unwrap();
        assert!(hint.contains("0 of 1000000") && hint.contains("theirs/cpu.rt_runtime_us"), "{hint}");
    }
}
