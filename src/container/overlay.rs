//! A writable overlay in memory over a tree: all writes go to a tmpfs and end with the container.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::root::Rootfs;
use super::{SetupError, Step};
use crate::sys::mount;

/// The overlay, attached where nothing else is: in the scratch space, which lies below the old root and goes with it. (A
/// mount on the very root of another would be left behind as a second root.) Everything is attached before it becomes a
/// layer: older kernels take no other (6.1).
pub fn cover(lower: BorrowedFd<'_>) -> Result<OwnedFd, SetupError> {
    let what =
        || "make a writable overlay over the root (in a user namespace, of a root whose ids are mapped)".to_owned();
    let scratch = mount::new_filesystem("tmpfs", "tmpfs", &[("mode".into(), Some("755".into()))], 0).step(what)?;
    mount::attach(scratch.as_fd(), std::fs::File::open("/tmp").step(what)?.as_fd()).step(what)?;
    let inside = Rootfs(scratch.as_fd());
    inside.folder(Path::new("/upper"))?;
    inside.folder(Path::new("/work"))?;
    mount::attach(lower, inside.folder(Path::new("/lower"))?.as_fd()).step(what)?;
    let path = |fd: BorrowedFd<'_>, name: &str| format!("/proc/self/fd/{}{name}", fd.as_raw_fd());
    let options = [
        ("lowerdir".to_owned(), Some(path(lower, "/"))),
        ("upperdir".to_owned(), Some(path(scratch.as_fd(), "/upper"))),
        ("workdir".to_owned(), Some(path(scratch.as_fd(), "/work"))),
        // A user namespace may set no others (on a tmpfs from 6.6 on: before, no folder of the lower tree can be removed).
        ("userxattr".to_owned(), None),
    ];
    let overlay = mount::new_filesystem("overlay", "overlay", &options, 0).step(what)?;
    mount::attach(overlay.as_fd(), inside.folder(Path::new("/root"))?.as_fd()).step(what)?;
    Ok(overlay)
}
