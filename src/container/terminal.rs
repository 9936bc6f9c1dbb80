//! A terminal out of the container's own devpts: the master goes to whoever asked, the slave becomes stdio.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, ResolveFlag};

use super::root::Rootfs;
use super::verify::Provenance;
use super::{SetupError, Step};
use crate::sys::mount::{self, Extent};
use crate::sys::{descriptors, open, tty};

/// The container's side.
pub struct Terminal {
    slave: OwnedFd,
}

/// Opens a new pair: (master, slave). `root` is the container's tree, whose /dev/pts is mounted.
pub fn open(root: &Rootfs<'_>, size: Option<(u16, u16)>) -> Result<(OwnedFd, Terminal), SetupError> {
    let what = || "open a terminal in the container (/dev/pts/ptmx)".to_owned();
    let missing = || {
        let text = "process.terminal needs a devpts mounted at /dev/pts, and there is none to have a /dev/pts/ptmx";
        SetupError::Refused(text.into())
    };
    // A device of that name could be anything, and would be woken by being opened. A devpts has no other nodes in it.
    let folder = root.find(Path::new("/dev/pts"))?.ok_or_else(missing)?;
    if !is_devpts(&folder).step(what)? {
        return Err(missing());
    }
    let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    let master =
        open::confined(folder.as_fd(), Path::new("ptmx"), OFlag::O_RDWR | OFlag::O_NOCTTY, resolve).step(what)?;
    let slave = tty::unlock_and_open_slave(master.as_fd()).step(what)?;
    if let Some(size) = size.filter(|(rows, columns)| *rows > 0 || *columns > 0) {
        tty::set_window_size(master.as_fd(), size).step(what)?;
    }
    Ok((master, Terminal { slave }))
}

fn is_devpts(folder: &OwnedFd) -> std::io::Result<bool> {
    const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
    Ok(nix::sys::statfs::fstatfs(folder)?.filesystem_type().0 as i64 == DEVPTS_SUPER_MAGIC)
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
    ///
    /// A terminal of the host's is one that the configuration has brought, with the /dev/pts that it is from.
    pub fn bind_console(&self, root: &Rootfs<'_>, provenance: &mut Provenance) -> Result<(), SetupError> {
        let what = || "bind /dev/console".to_owned();
        let target = root.file_without_symlink(Path::new("/dev/console"))?;
        let tree = mount::clone_tree(self.slave.as_fd(), c"", Extent::One, 0).step(what)?;
        mount::attach(tree.as_fd(), target.as_fd()).step(what)?;
        provenance.gives(tree.as_fd())
    }

    /// The application's user owns its terminal, as login(1) does it. One out of a devpts of the host's, whose groups a
    /// user namespace does not map, stays whose it is: the application has it open all the same.
    pub fn chown(&self, uid: u32) {
        use std::os::fd::AsRawFd;
        let _ = nix::unistd::fchown(self.slave.as_raw_fd(), Some(uid.into()), None);
    }
}
