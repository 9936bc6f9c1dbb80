//! Processes by file descriptor: a pidfd never comes to mean another process, as a number does (pidfd_open(2)).

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

use super::ready::{self, Readiness};

/// The magic number of pidfs (statfs(2)); older kernels show every pidfd as the one anonymous inode.
const PIDFS_MAGIC: i64 = 0x5049_4446;

/// `PIDFD_GET_INFO`, for those that must allow it by number.
pub const GET_INFO: u64 = libc::PIDFD_GET_INFO;

/// How a process ended, out of a raw wait status (wait(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The exit code, or 128 + the signal's number.
    pub code: u8,
    /// The signal that killed it; None when it has exited by itself.
    pub signal: Option<u8>,
}

impl Ended {
    /// Out of a raw status, as waitpid(2) and SIGCHLD have it.
    pub fn of(status: i32) -> Ended {
        match (status & 0x7f) as u8 {
            0 => Ended { code: (status >> 8 & 0xff) as u8, signal: None },
            signal => Ended { code: 128 + signal, signal: Some(signal) },
        }
    }
}

/// ESRCH: no such process. A zombie can be opened.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers and touches no memory of ours.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just made this descriptor (close-on-exec) for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A copy of a descriptor that the process has open (pidfd_getfd(2)); needs the privilege to trace it.
pub fn descriptor(pidfd: BorrowedFd<'_>, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes three integers and touches no memory of ours.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })?;
    // SAFETY: the kernel has just made this descriptor (close-on-exec) for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// `signal` 0 only asks. ESRCH: it has been reaped. EINVAL: it is in no PID namespace that we can see.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a null siginfo means "as kill(2) would"; the other arguments are integers.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) })?;
    Ok(())
}

/// Whether the process ended before `deadline` (never reached without one). An end is seen before it is reaped.
pub fn wait_exit(pidfd: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    ready::wait(pidfd, Readiness::Readable, deadline)
}

/// Reaps our child if it has ended: its raw wait status. `None` while it runs; ECHILD if it is not a child of ours
/// (not yet, or not any more). Children of any exit signal are waited for.
pub fn wait_child(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    // SAFETY: all-zero bytes are a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::__WALL;
    // SAFETY: `info` is a valid place for the kernel to write to.
    check(unsafe { libc::waitid(libc::P_PIDFD, pidfd.as_raw_fd() as libc::id_t, &mut info, flags) }.into())?;
    // SAFETY: waitid(2) fills both fields for a child, and leaves them zero if none has ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    Ok(Some(match info.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    }))
}

/// Reaps any child that has ended: its pid and raw wait status. `None` when there is none.
pub fn wait_any_child() -> io::Result<Option<(i32, i32)>> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the kernel to write to.
    match check(unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG | libc::__WALL) }.into()) {
        Ok(0) => Ok(None),
        Ok(pid) => Ok(Some((pid as i32, status))),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The raw wait status of a process that anybody has reaped (Linux 6.15). `None`: not reaped yet. `Unsupported`: this
/// kernel keeps no such thing, or not for this process.
pub fn exit_info(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    match info(pidfd) {
        // It can be reaped between the two looks that the kernel takes: the second time it is there, or never.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => info(pidfd),
        other => other,
    }
    .map_err(|error| match error.raw_os_error() {
        Some(libc::ENOTTY | libc::EINVAL | libc::ESRCH) => io::Error::new(io::ErrorKind::Unsupported, error),
        _ => error,
    })
}

/// The inode, which on pidfs is one process's alone until the next boot (Linux 6.9); `None` on older kernels.
pub fn inode(pidfd: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    if nix::sys::statfs::fstatfs(pidfd)?.filesystem_type().0 as i64 != PIDFS_MAGIC {
        return Ok(None);
    }
    Ok(Some(nix::sys::stat::fstat(pidfd.as_raw_fd())?.st_ino))
}

/// Its number in the PID namespace of our /proc; `None` once it is reaped or if it is not to be seen there.
pub fn pid_of(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let text = crate::sys::text::read(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    let pid: i32 = line
        .and_then(|pid| pid.trim().parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a pidfd"))?;
    Ok((pid > 0).then_some(pid))
}

fn info(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    // SAFETY: all-zero bytes are a valid pidfd_info.
    let mut info: libc::pidfd_info = unsafe { mem::zeroed() };
    info.mask = u64::from(libc::PIDFD_INFO_EXIT);
    // SAFETY: the number of the request carries the size of this very struct, which the kernel reads and writes.
    check(unsafe { libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &mut info) }.into())?;
    Ok((info.mask & u64::from(libc::PIDFD_INFO_EXIT) != 0).then_some(info.exit_code))
}

fn check(outcome: libc::c_long) -> io::Result<libc::c_long> {
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(outcome) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::*;

    fn sh(script: &str) -> std::process::Child {
        Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn raw_statuses_are_told_as_a_shell_would() {
        assert_eq!(Ended::of(7 << 8), Ended { code: 7, signal: None });
        assert_eq!(Ended::of(9), Ended { code: 137, signal: Some(9) });
        assert_eq!(Ended::of(11 | 0x80), Ended { code: 139, signal: Some(11) });
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "it is reaped through its pidfd")]
    fn a_child_is_waited_for_once_and_only_after_its_end() {
        let mut child = sh("read line; exit 7");
        let pidfd = open(child.id() as i32).unwrap();
        assert_eq!(wait_child(pidfd.as_fd()).unwrap(), None);
        assert!(!wait_exit(pidfd.as_fd(), Some(Instant::now())).unwrap());
        assert_eq!(pid_of(pidfd.as_fd()).unwrap(), Some(child.id() as i32));
        drop(child.stdin.take());
        assert!(wait_exit(pidfd.as_fd(), None).unwrap());
        assert_eq!(wait_child(pidfd.as_fd()).unwrap(), Some(7 << 8));
        assert_eq!(wait_child(pidfd.as_fd()).unwrap_err().raw_os_error(), Some(libc::ECHILD));
        assert_eq!(pid_of(pidfd.as_fd()).unwrap(), None);
    }

    #[test]
    fn the_status_of_a_process_that_somebody_else_reaped_stays_readable() {
        let mut child = sh("read line; exit 3");
        let pidfd = open(child.id() as i32).unwrap();
        drop(child.stdin.take());
        assert!(wait_exit(pidfd.as_fd(), None).unwrap());
        match exit_info(pidfd.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                eprintln!("skipped: this kernel keeps no exit status in a pidfd");
                child.wait().unwrap();
                return;
            }
            before => assert_eq!(before.unwrap(), None, "a zombie is not reaped"),
        }
        child.wait().unwrap();
        assert_eq!(exit_info(pidfd.as_fd()).unwrap(), Some(3 << 8));
        assert_eq!(send_signal(pidfd.as_fd(), 0).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn two_processes_never_share_an_inode() {
        let (mut a, mut b) = (sh("read line"), sh("read line"));
        let (fd_a, fd_b) = (open(a.id() as i32).unwrap(), open(b.id() as i32).unwrap());
        match (inode(fd_a.as_fd()).unwrap(), inode(fd_b.as_fd()).unwrap()) {
            (Some(one), Some(other)) => assert_ne!(one, other),
            _ => eprintln!("skipped: this kernel has no pidfs"),
        }
        send_signal(fd_a.as_fd(), libc::SIGKILL).unwrap();
        send_signal(fd_b.as_fd(), libc::SIGKILL).unwrap();
        assert!(wait_exit(fd_a.as_fd(), Some(Instant::now() + Duration::from_secs(5))).unwrap());
        a.wait().unwrap();
        b.wait().unwrap();
    }
}
