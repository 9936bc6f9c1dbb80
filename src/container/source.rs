//! A part of the host's tree, by its path there, as a detached mount: what is bound into containers.
//!
//! A mount that is unbindable on the host is none that a container may not be given: other runtimes bind from the container's
//! own mount namespace, in which nothing is unbindable any more. We bind from the host's, so that what is shared stays so;
//! what is unbindable comes from a mount namespace that is made for this alone.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use super::channel::{self, Failure, Report};
use crate::sys::clone::{self, Cloned, Parent};
use crate::sys::mount::{self, Extent};
use crate::sys::{descriptors, pidfd};

/// `path` is absolute, `flags` are those of open_tree(2). The caller has a single thread: for what is unbindable, another
/// process is made.
pub fn detached(path: &Path, extent: Extent, flags: i32) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(io::Error::other)?;
    let clone = || mount::clone_tree(File::open("/")?.as_fd(), &name, extent, flags);
    match clone() {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => from_elsewhere(clone)
            .map_err(|_| io::Error::new(error.kind(), format!("{error} (it is no mount that can be bound from here)"))),
        other => other,
    }
}

/// The detached mount that `make` makes in a copy of our mount namespace, where every mount is private; it outlives the copy.
/// The caller has a single thread.
pub fn from_elsewhere(make: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    let (ours, theirs) = channel::pair()?;
    let Cloned::Parent { pidfd, .. } = clone::clone(libc::CLONE_NEWNS, Parent::Me, None)? else {
        let made = descriptors::close_others(&[theirs.as_raw_fd()]).and_then(|()| make_private()).and_then(|()| make());
        let report = match made {
            Ok(tree) => Report::Tree(tree),
            Err(error) => Report::Failed(Failure::of_helper(crate::sys::told::on_one_line(&error))),
        };
        let _ = channel::report(theirs.as_fd(), &report);
        clone::exit_now(0)
    };
    drop(theirs);
    let report = channel::next_report(ours.as_fd());
    pidfd::wait_exit(pidfd.as_fd(), None).and_then(|_| pidfd::wait_child(pidfd.as_fd()))?;
    match report? {
        Report::Tree(tree) => Ok(tree),
        Report::Failed(failure) => Err(io::Error::other(failure.text)),
        _ => Err(io::Error::other("the process that was to make it ended without a word")),
    }
}

/// What is mounted here must not appear in the mount namespace that this is a copy of, and what is private is not unbindable.
fn make_private() -> io::Result<()> {
    mount::set_propagation(File::open("/")?.as_fd(), libc::MS_PRIVATE | libc::MS_REC)
}
