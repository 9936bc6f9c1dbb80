//! What /proc says of a process, and whether a process that was written down is still that process.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Instant;

use super::pidfd;
use crate::model::record::{Boot, ProcessRef};

/// Set by the kernel at the start of an exit (sched.h): from here on a process only falls apart.
const PF_EXITING: u32 = 0x4;

/// A line of /proc/PID/stat (proc_pid_stat(5)); times in clock ticks.
#[allow(missing_docs)] // Named as there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    pub pid: i32,
    pub comm: String,
    pub state: char,
    pub ppid: i32,
    pub pgrp: i32,
    pub session: i32,
    pub tty_nr: i32,
    pub tpgid: i32,
    pub flags: u32,
    pub utime: u64,
    pub stime: u64,
    pub num_threads: i64,
    /// Since boot, in the reader's time namespace.
    pub start_time: u64,
}

impl Stat {
    /// The name stands in parentheses and may hold spaces and parentheses itself: the last one closes it.
    pub fn parse(line: &str) -> Option<Stat> {
        let (before, after) = line.split_at(line.rfind(')')?);
        let (pid, comm) = before.split_once(" (")?;
        let fields: Vec<&str> = after[1..].split_whitespace().collect();
        // proc_pid_stat(5) counts from 1; the state is its field 3 and our field 0.
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Stat {
            pid: pid.trim().parse().ok()?,
            comm: comm.to_owned(),
            state: field(3)?.chars().next()?,
            ppid: field(4)?.parse().ok()?,
            pgrp: field(5)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            tty_nr: field(7)?.parse().ok()?,
            tpgid: field(8)?.parse().ok()?,
            flags: field(9)?.parse().ok()?,
            utime: field(14)?.parse().ok()?,
            stime: field(15)?.parse().ok()?,
            num_threads: field(20)?.parse().ok()?,
            start_time: field(22)?.parse().ok()?,
        })
    }

    /// A zombie, dead, or on its way there: pid 1 of a PID namespace that was killed while an outside parent is slow to
    /// reap stays in the kernel for as long as that takes, neither dead nor a zombie. A first thread that has ended
    /// alone does not end its process.
    pub fn is_gone(&self) -> bool {
        let ending = matches!(self.state, 'Z' | 'X' | 'x') || self.flags & PF_EXITING != 0;
        ending && self.num_threads <= 1
    }
}

/// `None`: there is no such process.
pub fn stat(pid: i32) -> io::Result<Option<Stat>> {
    match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(bytes) => Stat::parse(&String::from_utf8_lossy(&bytes)).map(Some).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat is not as in proc(5)"))
        }),
        Err(error) if is_no_such_process(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The process that a thread belongs to; `None`: it has ended.
pub fn owner_of_thread(thread: i32) -> io::Result<Option<i32>> {
    let text = match std::fs::read(format!("/proc/{thread}/status")) {
        Err(error) if is_no_such_process(&error) => return Ok(None),
        other => other?,
    };
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok()).filter(|pid| *pid > 0))
}

/// Every process of our PID namespace. All of them are listed before any is looked at: numbers only rise, so that beside a
/// fork bomb a slow reader never comes to the end.
pub fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The PID namespace of a process, to be compared with another's; `None`: it has ended, or is not ours to look at.
pub fn pid_namespace(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// How many tasks there are on the whole machine (proc_loadavg(5), the fourth field).
pub fn tasks() -> io::Result<usize> {
    let text = crate::sys::text::read("/proc/loadavg")?;
    let total = text.split_whitespace().nth(3).and_then(|field| field.split_once('/')?.1.parse().ok());
    total.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/loadavg is not as in proc_loadavg(5)"))
}

/// Which boot this is: a UUID that the kernel draws anew at each.
pub fn boot_id() -> io::Result<String> {
    Ok(crate::sys::text::read("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The inode of our time namespace; 0 on a kernel without them.
pub fn time_namespace() -> io::Result<u64> {
    match std::fs::metadata("/proc/self/ns/time") {
        Ok(metadata) => Ok(metadata.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Where and when we read start times.
pub fn boot() -> io::Result<Boot> {
    Ok(Boot { boot_id: boot_id()?, time_namespace: time_namespace()? })
}

/// `None`: there is no such process. Number, start time and inode are those of one process.
pub fn process_ref(pid: i32) -> io::Result<Option<ProcessRef>> {
    let fd = match pidfd::open(pid) {
        Ok(fd) => fd,
        Err(error) if is_no_such_process(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(stat) = stat(pid)? else { return Ok(None) };
    // Unreaped until here, so the number cannot have passed to another process before `stat` was read.
    match pidfd::send_signal(fd.as_fd(), 0) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        _ => Ok(Some(ProcessRef { pid, start_time: stat.start_time, pidfd_inode: pidfd::inode(fd.as_fd())? })),
    }
}

/// What has become of a process that was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is there and has not begun to end.
    Runs,
    /// Killed, or past its last instruction, and held in the kernel: pid 1 of a PID namespace by what still lives in it.
    Ending,
    /// It has ended, reaped or not; or the number is another's by now.
    Gone,
}

/// Whether the process that was written down on `boot` runs now. One that cannot be looked at counts as alive: what is
/// taken for dead is buried.
pub fn is_alive(process: &ProcessRef, boot: &Boot) -> bool {
    matches!(standing(process, boot), Ok(Standing::Runs) | Err(_))
}

/// Whether the process that was written down on `boot` is there: the same boot, pidfd inode and start time, as far as
/// each of them is known. An error: it cannot be looked at.
pub fn standing(process: &ProcessRef, boot: &Boot) -> io::Result<Standing> {
    let Some((fd, stat)) = find(process, boot)? else { return Ok(Standing::Gone) };
    Ok(match (stat.is_gone(), pidfd::wait_exit(fd.as_fd(), Some(Instant::now()))?) {
        (false, false) => Standing::Runs,
        (true, false) => Standing::Ending,
        (_, true) => Standing::Gone,
    })
}

/// A pidfd of the process that was written down on `boot`, unless it was reaped.
pub fn open_unreaped(process: &ProcessRef, boot: &Boot) -> io::Result<Option<OwnedFd>> {
    Ok(find(process, boot)?.map(|(fd, _)| fd))
}

fn find(process: &ProcessRef, boot: &Boot) -> io::Result<Option<(OwnedFd, Stat)>> {
    let here = self::boot()?;
    if here.boot_id != boot.boot_id {
        return Ok(None);
    }
    let fd = match pidfd::open(process.pid) {
        // EINVAL: the number is none, or that of a thread.
        Err(error) if is_no_such_process(&error) || error.raw_os_error() == Some(libc::EINVAL) => return Ok(None),
        other => other?,
    };
    if let (Some(then), Some(now)) = (process.pidfd_inode, pidfd::inode(fd.as_fd())?)
        && then != now
    {
        return Ok(None);
    }
    let Some(stat) = stat(process.pid)? else { return Ok(None) };
    // A start time means something only in the time namespace it was read in.
    let another = here.time_namespace == boot.time_namespace && stat.start_time != process.start_time;
    Ok((!another).then_some((fd, stat)))
}

fn is_no_such_process(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// The flags of an open file of a process, as open(2) takes them (proc_pid_fdinfo(5)).
pub fn open_flags(pid: i32, number: u32) -> io::Result<i32> {
    let text = crate::sys::text::read(format!("/proc/{pid}/fdinfo/{number}"))?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// mountinfo writes space, tab, newline and backslash as \ooo, and every other byte as it is.
pub fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.first_chunk::<3>().filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        let code = digits.map(|digits| digits.iter().fold(0, |code, digit| code * 8 + u32::from(digit - b'0')));
        match code.and_then(|code| u8::try_from(code).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const LINE: &str = "41 (a b) c)) S 1 2 3 4 5 4194560 7 8 9 10 11 12 13 14 20 0 1 0 1234 99 98 97";

    #[test]
    fn a_name_may_hold_spaces_and_parentheses() {
        let stat = Stat::parse(LINE).unwrap();
        assert_eq!((stat.pid, stat.comm.as_str(), stat.state, stat.ppid), (41, "a b) c)", 'S', 1));
        assert_eq!((stat.pgrp, stat.session, stat.tty_nr, stat.tpgid), (2, 3, 4, 5));
        assert_eq!((stat.utime, stat.stime, stat.start_time), (11, 12, 1234));
        assert!(!stat.is_gone());
    }

    #[test]
    fn whatever_is_not_a_stat_line_is_refused_without_a_panic() {
        for end in 0..LINE.len() - 10 {
            let _ = Stat::parse(&LINE[..end]);
        }
        for line in ["", ")", "1 (x)", "1 (x) S", "x (y) S 1 2 3 4 5 6 7"] {
            assert_eq!(Stat::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_process_is_itself_until_it_ends_and_never_another() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let (me, boot) = (process_ref(child.id() as i32).unwrap().unwrap(), boot().unwrap());
        assert!(is_alive(&me, &boot));
        assert!(!is_alive(&ProcessRef { start_time: me.start_time + 1, ..me.clone() }, &boot));
        assert!(!is_alive(&me, &Boot { boot_id: "another".to_owned(), ..boot.clone() }));
        // Read in another time namespace: the inode still tells, where there is one.
        let elsewhere = Boot { time_namespace: boot.time_namespace + 1, ..boot.clone() };
        assert!(is_alive(&ProcessRef { start_time: me.start_time + 1, ..me.clone() }, &elsewhere));
        if let Some(inode) = me.pidfd_inode {
            assert!(!is_alive(&ProcessRef { pidfd_inode: Some(inode + 1), ..me.clone() }, &elsewhere));
        }
        child.kill().unwrap();
        let fd = pidfd::open(me.pid).unwrap();
        assert!(pidfd::wait_exit(fd.as_fd(), None).unwrap());
        assert!(stat(me.pid).unwrap().unwrap().is_gone(), "a zombie is gone");
        assert!(!is_alive(&me, &boot));
        child.wait().unwrap();
        assert!(!is_alive(&me, &boot));
        assert_eq!(process_ref(me.pid).unwrap(), None);
    }

    #[test]
    fn mount_points_are_unescaped() {
        let unescape = |field: &[u8]| unescape(field).into_os_string().into_vec();
        assert_eq!(unescape(br"/a\040b"), b"/a b");
        assert_eq!(unescape(br"a\b\134"), br"a\b\");
        assert_eq!(unescape(b"/\xff\\012\\377\\400\\09"), b"/\xff\n\xff\\400\\09");
    }
}
