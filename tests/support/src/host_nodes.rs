//! Device nodes of this machine that a test lets a container attack. They are put back, whatever becomes of the test.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

/// One test at a time, of all processes: what another has changed must not pass for what was there before.
pub struct HostNodes {
    nodes: Vec<(PathBuf, Looks)>,
    _lock: Flock<File>,
}

/// (mode, uid, gid, seconds and nanoseconds of the last change of the content)
type Looks = (u32, u32, u32, i64, i64);

impl HostNodes {
    /// What a container does that wants to have one of them changed, by every way that was ever open to it.
    pub const ATTACK: &str = "for f in /proc/keys /proc/timer_list /proc/kcore /proc/self/fd/0 /proc/self/fd/1; do \
                              chmod 0766 $f; chown 7:7 $f; touch $f; done";

    pub fn null() -> HostNodes {
        HostNodes::at(&["/dev/null"])
    }

    /// Nodes that are everybody's to read and write.
    pub fn at(paths: &[&str]) -> HostNodes {
        let lock = File::create(std::env::temp_dir().join("sandkeep-test-host-nodes")).expect("a lock file");
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).expect("the lock");
        let nodes: Vec<_> = paths.iter().map(|path| (PathBuf::from(path), looks(path.as_ref()))).collect();
        for (path, (mode, uid, gid, ..)) in &nodes {
            let whole = (mode & 0o7777, *uid, *gid);
            assert_eq!(whole, (0o666, 0, 0), "{path:?} of this machine has been changed before this test");
        }
        HostNodes { nodes, _lock }
    }

    /// Mode, owner and time are what they were.
    #[track_caller]
    pub fn assert_untouched(&self) {
        for (path, before) in &self.nodes {
            assert_eq!(looks(path), *before, "{path:?} of the host was changed");
        }
    }
}

impl Drop for HostNodes {
    fn drop(&mut self) {
        for (path, before) in self.nodes.iter().filter(|(path, before)| looks(path) != *before) {
            let (mode, uid, gid, seconds, nanoseconds) = *before;
            let _ = chown(path, Some(uid), Some(gid));
            let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777));
            let time = TimeSpec::new(seconds, nanoseconds);
            let _ = utimensat(None, path, &time, &time, UtimensatFlags::FollowSymlink);
            eprintln!("put back: {path:?}");
        }
    }
}

fn looks(path: &Path) -> Looks {
    let found = fs::metadata(path).expect("a node of the host");
    (found.mode(), found.uid(), found.gid(), found.mtime(), found.mtime_nsec())
}
