//! A terminal out of the container's own devpts: the master goes to whoever asked, the slave becomes stdio.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, ResolveFlag};

use super::root::Root;
use super::{SetupError, Step};
use crate::sys::mount::{self, Extent};
use crate::sys::{descriptors, tty};

/// The container's side.
pub struct Terminal {
    slave: OwnedFd,
}

/// Opens a new pair: (master, slave). `root` is the container's tree, whose /dev/pts is mounted.
pub fn open(root: &Root<'_>, size: Option<(u16, u16)>) -> Result<(OwnedFd, Terminal), SetupError> {
    let what = || "open a terminal in the container (/dev/pts/ptmx)".to_owned();
    let master = root
        .open(Path::new("/dev/pts/ptmx"), OFlag::O_RDWR | OFlag::O_NOCTTY, ResolveFlag::RESOLVE_NO_SYMLINKS)?
        .ok_or_else(|| {
            SetupError::Refused("process.terminal needs a devpts mounted at /dev/pts, and there is none".into())
        })?;
    let slave = tty::unlock_and_open_slave(master.as_fd()).step(what)?;
    if let Some(size) = size.filter(|(rows, columns)| *rows > 0 || *columns > 0) {
        tty::set_window_size(master.as_fd(), size).step(what)?;
    }
    Ok((master, Terminal { slave }))
}

impl Terminal {
    /// The slave becomes stdin, stdout and stderr, but for those that are kept, and the controlling terminal of this
    /// session leader.
    pub fn become_stdio(&self, kept: &[i32]) -> Result<(), SetupError> {
        tty::set_controlling(self.slave.as_fd()).step(|| "make the terminal the controlling one".into())?;
        for number in (0..3).filter(|number| !kept.contains(number)) {
            descriptors::place(self.slave.as_fd(), number).step(|| "make the terminal stdio".into())?;
        }
        Ok(())
    }

    /// /dev/console of the container is this terminal.
    pub fn bind_console(&self, root: &Root<'_>) -> Result<(), SetupError> {
        let what = || "bind /dev/console".to_owned();
        let target = root.file_without_symlink(Path::new("/dev/console"))?;
        let tree = mount::clone_tree(self.slave.as_fd(), c"", Extent::One, 0).step(what)?;
        mount::attach(tree.as_fd(), target.as_fd()).step(what)
    }

    /// The application's user owns its terminal, as login(1) does it.
    pub fn chown(&self, uid: u32) -> Result<(), SetupError> {
        use std::os::fd::AsRawFd;
        nix::unistd::fchown(self.slave.as_raw_fd(), Some(uid.into()), None).step(|| "chown the terminal".into())
    }
}
