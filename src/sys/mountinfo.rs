//! What the kernel says of the mounts of a namespace: a line of /proc/PID/mountinfo each (proc_pid_mountinfo(5)).

use std::io;
use std::path::PathBuf;

use super::procfs::unescape;

/// A line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its number; given anew once it is unmounted.
    pub id: u64,
    /// The number of the mount that it hangs on; its own of the first one.
    pub parent: u64,
    /// st_dev of what is on it.
    pub device: u64,
    /// Which part of its file system is mounted.
    pub root: PathBuf,
    /// Where, below the root of the process that is asked about.
    pub at: PathBuf,
    /// Neither the mount nor its file system is read-only.
    pub writable: bool,
    /// The type of its file system: `tmpfs`, `fuse.sshfs`.
    pub fstype: String,
}

impl Mount {
    /// None for a line of another shape.
    pub fn parse(line: &[u8]) -> Option<Mount> {
        let (mount, superblock) = split_once(line, b" - ")?;
        let mut fields = mount.split(|byte| *byte == b' ');
        let id = number(fields.next()?)?;
        let parent = number(fields.next()?)?;
        let (major, minor) = split_once(fields.next()?, b":")?;
        let device = libc::makedev(number(major)?, number(minor)?);
        let (root, at) = (unescape(fields.next()?), unescape(fields.next()?));
        let options = fields.next()?;
        let mut superblock = superblock.split(|byte| *byte == b' ');
        let fstype = String::from_utf8_lossy(superblock.next()?).into_owned();
        let read_only = |options: &[u8]| options.split(|byte| *byte == b',').any(|option| option == b"ro");
        let writable = !read_only(options) && !superblock.next_back().is_some_and(read_only);
        Some(Mount { id, parent, device, root, at, writable, fstype })
    }
}

/// Of a whole mountinfo; None if a line is none.
pub fn parse(text: &[u8]) -> Option<Vec<Mount>> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(Mount::parse).collect()
}

/// Of this process.
pub fn ours() -> io::Result<Vec<Mount>> {
    let text = std::fs::read("/proc/self/mountinfo")?;
    parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/mountinfo is not as in proc(5)"))
}

/// What is before and after the first `separator`.
pub fn split_once<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(separator.len()).position(|part| part == separator)?;
    Some((&text[..at], &text[at + separator.len()..]))
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_line_is_read_with_its_escapes_and_both_ways_of_being_read_only() {
        let line = br"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let mount = Mount::parse(line).unwrap();
        assert_eq!((mount.id, mount.parent, mount.device), (36, 35, libc::makedev(98, 0)));
        assert_eq!((mount.root, mount.at), ("/mnt1".into(), "/mnt 2".into()));
        assert!(mount.writable && mount.fstype == "ext3");
        for read_only in [&b"1 2 0:3 / / ro - tmpfs x rw"[..], b"1 2 0:3 / / rw shared:1 - tmpfs x ro,size=1k"] {
            assert!(!Mount::parse(read_only).unwrap().writable, "{}", read_only.escape_ascii());
        }
        assert_eq!(parse(b"garbage\n"), None);
    }

    #[test]
    fn a_mount_whose_name_is_no_text_hides_none() {
        let text = b"1 2 0:3 / /a\xff rw - fuse.\xfe x rw\n2 2 0:4 / /b rw - tmpfs x rw\n";
        let at: Vec<_> = parse(text).unwrap().into_iter().map(|mount| mount.at.into_os_string()).collect();
        assert_eq!(at, [OsStr::from_bytes(b"/a\xff"), OsStr::new("/b")]);
    }

    #[test]
    fn our_own_mounts_are_all_read() {
        let mounts = ours().unwrap();
        assert!(mounts.iter().any(|mount| mount.at == std::path::Path::new("/")));
    }
}
