//! The pid file: complete or absent, never half-written, and never anywhere else.
//!
//! Its folder may be one that others write to: it is opened once, and everything happens in what was opened. The file is
//! written under a name that nobody can foresee, as a new file, and takes its own name by a rename: a symbolic link of
//! that name is replaced and not followed.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, renameat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{HostError, Trying};
use crate::sys::{open, random};

/// What others may do with it: read it.
const MODE: u32 = 0o644;

/// Written last, when everything the caller may rely on is true.
pub fn write(path: &Path, pid: i32) -> Result<(), HostError> {
    let what = || format!("write the pid file {path:?}");
    let name = path.file_name().ok_or_else(|| io::Error::from(ErrorKind::InvalidInput)).trying(what)?;
    let folder = parent(path).trying(what)?;
    let temporary = format!(".sandkeep-{}", random::hex::<8>().trying(what)?);
    let written = write_new(&folder, &temporary, pid.to_string().as_bytes()).and_then(|()| {
        let folder = Some(folder.as_raw_fd());
        Ok(renameat(folder, temporary.as_str(), folder, name)?)
    });
    if written.is_err() {
        let _ = unlinkat(Some(folder.as_raw_fd()), temporary.as_str(), UnlinkatFlags::NoRemoveDir);
    }
    written.trying(what)
}

fn parent(path: &Path) -> io::Result<OwnedFd> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    open::from_here(folder, OFlag::O_PATH | OFlag::O_DIRECTORY)
}

fn write_new(folder: &OwnedFd, name: &str, text: &[u8]) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    File::from(open::at(folder.as_fd(), Path::new(name), flags, MODE)?).write_all(text)
}
