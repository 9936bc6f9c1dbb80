//! The kernel's mount API on file descriptors: mounts are made detached and attached onto an open folder, so that no
//! path is ever looked up twice. See open_tree(2), move_mount(2), mount_setattr(2), fsopen(2).

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::check;

/// AT_RECURSIVE: a mount and all below it (open_tree(2), mount_setattr(2)).
pub const AT_RECURSIVE: u32 = 0x8000;

/// How much of a mount tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// One mount, without what is mounted below it.
    One,
    /// The mount and all below it.
    Tree,
}

/// A detached copy of the mount at `path` below `dir` (a bind mount that is not yet anywhere).
pub fn clone_tree(dir: BorrowedFd<'_>, path: &CStr, extent: Extent, flags: i32) -> io::Result<OwnedFd> {
    let mut all = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | flags as u32;
    if path.is_empty() {
        all |= libc::AT_EMPTY_PATH as u32;
    }
    if extent == Extent::Tree {
        all |= AT_RECURSIVE;
    }
    // SAFETY: `path` is a C string that outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), all) })
}

/// Attaches a detached mount onto an open folder or file.
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: the empty paths are static C strings.
    check(unsafe {
        libc::syscall(libc::SYS_move_mount, tree.as_raw_fd(), c"".as_ptr(), target.as_raw_fd(), c"".as_ptr(), flags)
    })
    .map(drop)
}

/// What mount_setattr(2) changes. `propagation` is 0 or one of MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// MOUNT_ATTR_* that are there afterwards.
    pub set: u64,
    /// MOUNT_ATTR_* that are gone afterwards. Access time modes need not be in here: one that is set takes the place of
    /// any.
    pub clear: u64,
    /// MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE; 0 keeps what is.
    pub propagation: u64,
}

/// mount_setattr(2), on what is open. `user_namespace`: its mappings are the mount's from now on. EINVAL then means that the
/// file system has no idmapped mounts.
pub fn set_attributes(
    mount: BorrowedFd<'_>,
    extent: Extent,
    attributes: Attributes,
    user_namespace: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attr_clr = attributes.clear;
    // Setting any access time mode means clearing the old one first (mount_setattr(2)).
    if attributes.set & libc::MOUNT_ATTR__ATIME != 0 {
        attr_clr |= libc::MOUNT_ATTR__ATIME;
    }
    let attr = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr,
        propagation: attributes.propagation,
        userns_fd: user_namespace.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = libc::AT_EMPTY_PATH as u32 | if extent == Extent::Tree { AT_RECURSIVE } else { 0 };
    // SAFETY: `attr` and the static path outlive the call, and the size is that of `attr`.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &attr,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// How mounts and unmounts spread from here: `flags` is MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE, with or without
/// MS_REC.
pub fn set_propagation(tree: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    let extent = if flags & libc::MS_REC != 0 { Extent::Tree } else { Extent::One };
    let attributes = Attributes { propagation: flags & !libc::MS_REC, ..Attributes::default() };
    set_attributes(tree, extent, attributes, None)
}

/// A new file system, detached. Options are (key, value), or a bare key for a flag.
pub fn new_filesystem(
    fstype: &str,
    source: &str,
    options: &[(String, Option<String>)],
    attributes: u64,
) -> io::Result<OwnedFd> {
    let context = open_filesystem(fstype)?;
    let result = configure_filesystem(context.as_fd(), source, options)
        .and_then(|()| mount_filesystem(context.as_fd(), attributes));
    result.map_err(|error| explain(context.as_fd(), error))
}

/// A new file system, detached, that `fill` puts something into (by a descriptor of its top) and that nobody can write to
/// from then on: the superblock is read-only, whatever becomes of its mounts. `attributes` are those of this mount.
pub fn new_sealed_filesystem(
    fstype: &str,
    source: &str,
    options: &[(String, Option<String>)],
    attributes: u64,
    fill: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<OwnedFd> {
    let context = open_filesystem(fstype)?;
    let tree = configure_filesystem(context.as_fd(), source, options)
        .and_then(|()| mount_filesystem(context.as_fd(), attributes & !libc::MOUNT_ATTR_RDONLY))
        .map_err(|error| explain(context.as_fd(), error))?;
    fill(tree.as_fd())?;
    // Once it is mounted, the context is for changing what it has made (fsmount(2)).
    configure(context.as_fd(), libc::FSCONFIG_SET_FLAG, Some("ro"), None)
        .and_then(|()| configure(context.as_fd(), libc::FSCONFIG_CMD_RECONFIGURE, None, None))
        .map_err(|error| explain(context.as_fd(), error))?;
    set_attributes(
        tree.as_fd(),
        Extent::One,
        Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() },
        None,
    )?;
    Ok(tree)
}

/// Whether this kernel's file system of that type takes this option with this value.
pub fn takes_option(fstype: &str, key: &str, value: &str) -> io::Result<bool> {
    let context = open_filesystem(fstype)?;
    Ok(configure(context.as_fd(), libc::FSCONFIG_SET_STRING, Some(key), Some(value)).is_ok())
}

/// mount(2) onto an open folder, which has to be in our mount namespace. The kernel cuts `data` at a page, and says nothing.
pub fn by_page(at: BorrowedFd<'_>, fstype: &str, source: &str, flags: u64, data: &str) -> io::Result<()> {
    let flags = nix::mount::MsFlags::from_bits_retain(flags);
    Ok(nix::mount::mount(Some(source), path_of(at).as_str(), Some(fstype), flags, Some(data))?)
}

/// Takes a mount, by a descriptor of its top, from where it is, with all that is mounted below it.
pub fn detach(mount: BorrowedFd<'_>) -> io::Result<()> {
    Ok(nix::mount::umount2(path_of(mount).as_str(), nix::mount::MntFlags::MNT_DETACH)?)
}

/// Leads to what the descriptor is of, whatever lies on top of that.
fn path_of(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn open_filesystem(fstype: &str) -> io::Result<OwnedFd> {
    let name = c_string(fstype)?;
    // SAFETY: `name` is a C string that outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), libc::FSOPEN_CLOEXEC) })
}

fn mount_filesystem(context: BorrowedFd<'_>, attributes: u64) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), libc::FSMOUNT_CLOEXEC, attributes as u32) })
}

fn configure_filesystem(context: BorrowedFd<'_>, source: &str, options: &[(String, Option<String>)]) -> io::Result<()> {
    if !source.is_empty() {
        configure(context, libc::FSCONFIG_SET_STRING, Some("source"), Some(source))?;
    }
    for (key, value) in options {
        let command = if value.is_some() { libc::FSCONFIG_SET_STRING } else { libc::FSCONFIG_SET_FLAG };
        configure(context, command, Some(key), value.as_deref())
            .map_err(|error| io::Error::new(error.kind(), format!("option {key:?}: {error}")))?;
    }
    configure(context, libc::FSCONFIG_CMD_CREATE, None, None)
}

fn configure(context: BorrowedFd<'_>, command: u32, key: Option<&str>, value: Option<&str>) -> io::Result<()> {
    let key = key.map(c_string).transpose()?;
    let value = value.map(c_string).transpose()?;
    let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
    // SAFETY: both strings, where given, outlive the call; null is what the kernel expects where not.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, pointer(&key), pointer(&value), 0) })
        .map(drop)
}

/// The file system says more than errno: its messages are read from the context (fsopen(2)).
fn explain(context: BorrowedFd<'_>, error: io::Error) -> io::Error {
    let mut text = [0u8; 512];
    match nix::unistd::read(context.as_raw_fd(), &mut text) {
        Ok(length) if length > 2 => {
            let message = String::from_utf8_lossy(&text[2..length]).trim().to_owned();
            io::Error::new(error.kind(), format!("{error} ({message})"))
        }
        _ => error,
    }
}

fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{text:?} holds a NUL byte")))
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel has just given us this descriptor; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
