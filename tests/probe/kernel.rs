//! System calls, by number: the standard library has no names for most of them, and this program uses nothing else.

use std::ffi::{CStr, CString, c_int, c_long};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    pub fn name(self) -> String {
        let known = [
            (1, "EPERM"),
            (2, "ENOENT"),
            (3, "ESRCH"),
            (5, "EIO"),
            (6, "ENXIO"),
            (7, "E2BIG"),
            (8, "ENOEXEC"),
            (9, "EBADF"),
            (11, "EAGAIN"),
            (13, "EACCES"),
            (14, "EFAULT"),
            (16, "EBUSY"),
            (17, "EEXIST"),
            (18, "EXDEV"),
            (19, "ENODEV"),
            (20, "ENOTDIR"),
            (21, "EISDIR"),
            (22, "EINVAL"),
            (25, "ENOTTY"),
            (26, "ETXTBSY"),
            (28, "ENOSPC"),
            (30, "EROFS"),
            (31, "EMLINK"),
            (36, "ENAMETOOLONG"),
            (38, "ENOSYS"),
            (40, "ELOOP"),
            (61, "ENODATA"),
            (87, "EUSERS"),
            (91, "EPROTOTYPE"),
            (95, "EOPNOTSUPP"),
            (97, "EAFNOSUPPORT"),
            (111, "ECONNREFUSED"),
            (116, "ESTALE"),
            (126, "ENOKEY"),
        ];
        let found = known.iter().find(|(number, _)| *number == self.0);
        found.map_or_else(|| format!("E{}", self.0), |(_, name)| (*name).to_owned())
    }
}

/// A call with up to six arguments. The caller answers for its pointers.
pub fn call(number: c_long, args: &[usize]) -> Result<usize, Errno> {
    let arg = |at: usize| args.get(at).copied().unwrap_or(0);
    // SAFETY: every caller hands in pointers to memory that it owns and that is as long as the call expects.
    let result = unsafe { syscall(number, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
    if result == -1 {
        return Err(Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(5)));
    }
    Ok(result as usize)
}

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
pub mod nr {
    use std::ffi::c_long;
    pub const PREAD: c_long = 17; pub const PWRITE: c_long = 18; pub const SOCKET: c_long = 41;
 pub const CLONE: c_long = 56; pub const WAIT4: c_long = 61; pub const KILL: c_long = 62;
    pub const PTRACE: c_long = 101; pub const SYSLOG: c_long = 103; pub const PIVOT_ROOT: c_long = 155;
    pub const PRCTL: c_long = 157; pub const CHROOT: c_long = 161; pub const ACCT: c_long = 163;
    pub const SETTIMEOFDAY: c_long = 164; pub const MOUNT: c_long = 165; pub const UMOUNT: c_long = 166;
    pub const SWAPON: c_long = 167; pub const REBOOT: c_long = 169; pub const SETHOSTNAME: c_long = 170;
    pub const IOPL: c_long = 172; pub const INIT_MODULE: c_long = 175; pub const DELETE_MODULE: c_long = 176;
    pub const SETXATTR: c_long = 188; pub const REMOVEXATTR: c_long = 197; pub const EXIT_GROUP: c_long = 231;
    pub const KEXEC_LOAD: c_long = 246; pub const ADD_KEY: c_long = 248;
    pub const KEYCTL: c_long = 250; pub const OPENAT: c_long = 257; pub const MKDIRAT: c_long = 258;
    pub const MKNODAT: c_long = 259; pub const FCHOWNAT: c_long = 260; pub const UNLINKAT: c_long = 263;
    pub const LINKAT: c_long = 265; pub const FCHMODAT: c_long = 268; pub const UNSHARE: c_long = 272;
    pub const UTIMENSAT: c_long = 280; pub const PERF_EVENT_OPEN: c_long = 298; pub const FANOTIFY_INIT: c_long = 300;
 pub const OPEN_BY_HANDLE_AT: c_long = 304; pub const SETNS: c_long = 308;
    pub const PROCESS_VM_READV: c_long = 310; pub const FINIT_MODULE: c_long = 313; pub const BPF: c_long = 321;
    pub const USERFAULTFD: c_long = 323; pub const STATX: c_long = 332; pub const CLOSE: c_long = 3;
    pub const ALARM_SETITIMER: c_long = 38; pub const FCHMOD: c_long = 91; pub const FCHOWN: c_long = 93;
}

#[cfg(target_arch = "aarch64")]
#[rustfmt::skip]
pub mod nr {
    use std::ffi::c_long;
    pub const PREAD: c_long = 67; pub const PWRITE: c_long = 68; pub const SOCKET: c_long = 198;
 pub const CLONE: c_long = 220; pub const WAIT4: c_long = 260; pub const KILL: c_long = 129;
    pub const PTRACE: c_long = 117; pub const SYSLOG: c_long = 116; pub const PIVOT_ROOT: c_long = 41;
    pub const PRCTL: c_long = 167; pub const CHROOT: c_long = 51; pub const ACCT: c_long = 89;
    pub const SETTIMEOFDAY: c_long = 170; pub const MOUNT: c_long = 40; pub const UMOUNT: c_long = 39;
    pub const SWAPON: c_long = 224; pub const REBOOT: c_long = 142; pub const SETHOSTNAME: c_long = 161;
    // There are no ports to ask for.
    pub const IOPL: c_long = -1; pub const INIT_MODULE: c_long = 105; pub const DELETE_MODULE: c_long = 106;
    pub const SETXATTR: c_long = 5; pub const REMOVEXATTR: c_long = 14; pub const EXIT_GROUP: c_long = 94;
    pub const KEXEC_LOAD: c_long = 104; pub const ADD_KEY: c_long = 217;
    pub const KEYCTL: c_long = 219; pub const OPENAT: c_long = 56; pub const MKDIRAT: c_long = 34;
    pub const MKNODAT: c_long = 33; pub const FCHOWNAT: c_long = 54; pub const UNLINKAT: c_long = 35;
    pub const LINKAT: c_long = 37; pub const FCHMODAT: c_long = 53; pub const UNSHARE: c_long = 97;
    pub const UTIMENSAT: c_long = 88; pub const PERF_EVENT_OPEN: c_long = 241; pub const FANOTIFY_INIT: c_long = 262;
 pub const OPEN_BY_HANDLE_AT: c_long = 265; pub const SETNS: c_long = 268;
    pub const PROCESS_VM_READV: c_long = 270; pub const FINIT_MODULE: c_long = 273; pub const BPF: c_long = 280;
    pub const USERFAULTFD: c_long = 282; pub const STATX: c_long = 291; pub const CLOSE: c_long = 57;
    pub const ALARM_SETITIMER: c_long = 103; pub const FCHMOD: c_long = 52; pub const FCHOWN: c_long = 55;
}

/// The same on every architecture.
#[rustfmt::skip]
pub mod nr_new {
    use std::ffi::c_long;
    pub const IO_URING_SETUP: c_long = 425; pub const OPEN_TREE: c_long = 428;
    pub const FSOPEN: c_long = 430; pub const PIDFD_OPEN: c_long = 434; pub const PIDFD_GETFD: c_long = 438;

}

pub const AT_FDCWD: usize = -100isize as usize;
pub const AT_SYMLINK_NOFOLLOW: usize = 0x100;
pub const AT_REMOVEDIR: usize = 0x200;
pub const AT_EMPTY_PATH: usize = 0x1000;
pub const AT_NO_AUTOMOUNT: usize = 0x800;
pub const O_WRONLY: usize = 1;
pub const O_RDWR: usize = 2;
pub const O_NONBLOCK: usize = 0o4000;
pub const O_NOCTTY: usize = 0o400;
pub const O_CLOEXEC: usize = 0o2000000;
pub const O_PATH: usize = 0o10000000;
#[cfg(target_arch = "x86_64")]
pub const O_DIRECTORY: usize = 0o200000;
#[cfg(target_arch = "aarch64")]
pub const O_DIRECTORY: usize = 0o40000;

pub const S_IFMT: u32 = 0o170000;
pub const S_IFSOCK: u32 = 0o140000;
pub const S_IFLNK: u32 = 0o120000;
pub const S_IFREG: u32 = 0o100000;
pub const S_IFBLK: u32 = 0o060000;
pub const S_IFDIR: u32 = 0o040000;
pub const S_IFCHR: u32 = 0o020000;
pub const S_IFIFO: u32 = 0o010000;

pub fn c(path: impl AsRef<Path>) -> CString {
    let bytes: Vec<u8> = path.as_ref().as_os_str().as_bytes().iter().copied().filter(|byte| *byte != 0).collect();
    CString::new(bytes).expect("no zero byte is left")
}

/// Which inode something is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    pub major: u32,
    pub minor: u32,
    pub inode: u64,
}

/// What statx(2) says.
#[derive(Clone, Copy)]
pub struct Stat {
    pub identity: Identity,
    pub mount: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub rdev: (u32, u32),
    pub atime: [i64; 2],
    pub mtime: [i64; 2],
}

impl Stat {
    pub fn kind(&self) -> u32 {
        self.mode & S_IFMT
    }
}

/// statx(2) of `path` below `folder`; an empty path is the descriptor itself.
pub fn stat_at(folder: usize, path: &CStr, flags: usize) -> Result<Stat, Errno> {
    // BASIC_STATS | MNT_ID
    const MASK: usize = 0x7ff | 0x1000;
    let mut buffer = [0u64; 32];
    let empty = if path.is_empty() { AT_EMPTY_PATH } else { 0 };
    let flags = flags | empty | AT_NO_AUTOMOUNT;
    call(nr::STATX, &[folder, path.as_ptr() as usize, flags, MASK, buffer.as_mut_ptr() as usize])?;
    let bytes: Vec<u8> = buffer.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let u16_at = |at: usize| u32::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]));
    let u32_at = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let u64_at = |at: usize| buffer[at / 8];
    let time_at = |at: usize| [u64_at(at) as i64, i64::from(u32_at(at + 8))];
    Ok(Stat {
        uid: u32_at(20),
        gid: u32_at(24),
        mode: u16_at(28),
        size: u64_at(40),
        atime: time_at(64),
        mtime: time_at(112),
        rdev: (u32_at(128), u32_at(132)),
        identity: Identity { major: u32_at(136), minor: u32_at(140), inode: u64_at(32) },
        mount: u64_at(144),
    })
}

pub fn stat(path: impl AsRef<Path>) -> Result<Stat, Errno> {
    stat_at(AT_FDCWD, &c(path), 0)
}

pub fn lstat(path: impl AsRef<Path>) -> Result<Stat, Errno> {
    stat_at(AT_FDCWD, &c(path), AT_SYMLINK_NOFOLLOW)
}

/// A descriptor that is closed with its owner.
pub struct Fd(pub usize);

impl Drop for Fd {
    fn drop(&mut self) {
        let _ = call(nr::CLOSE, &[self.0]);
    }
}

pub fn open_at(folder: usize, path: impl AsRef<Path>, flags: usize) -> Result<Fd, Errno> {
    let path = c(path);
    call(nr::OPENAT, &[folder, path.as_ptr() as usize, flags | O_CLOEXEC | O_NOCTTY, 0]).map(Fd)
}

pub fn open(path: impl AsRef<Path>, flags: usize) -> Result<Fd, Errno> {
    open_at(AT_FDCWD, path, flags)
}

pub fn pid() -> i32 {
    std::process::id() as c_int
}
