//! What the kernel says of the mounts of a namespace: a line of /proc/PID/mountinfo each (proc_pid_mountinfo(5)).

use std::path::PathBuf;

use super::procfs::unescape;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub id: u64,
    pub parent: u64,
    /// st_dev of what is on it.
    pub device: u64,
    /// Which part of its file system is mounted.
    pub root: PathBuf,
    /// Where, below the root of the process that is asked about.
    pub at: PathBuf,
    pub writable: bool,
    pub fstype: String,
}

impl Mount {
    /// None for a line of another shape.
    pub fn parse(line: &str) -> Option<Mount> {
        let (mount, superblock) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let id = fields.next()?.parse().ok()?;
        let parent = fields.next()?.parse().ok()?;
        let (major, minor) = fields.next()?.split_once(':')?;
        let device = libc::makedev(major.parse().ok()?, minor.parse().ok()?);
        let (root, at) = (unescape(fields.next()?).into(), unescape(fields.next()?).into());
        let options = fields.next()?;
        let mut superblock = superblock.split(' ');
        let fstype = superblock.next()?.to_owned();
        let read_only = |options: &str| options.split(',').any(|option| option == "ro");
        let writable = !read_only(options) && !superblock.next_back().is_some_and(read_only);
        Some(Mount { id, parent, device, root, at, writable, fstype })
    }
}

/// Of a whole mountinfo; None if a line is none.
pub fn parse(text: &str) -> Option<Vec<Mount>> {
    text.lines().map(Mount::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_escapes_and_both_ways_of_being_read_only() {
        let line = r"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let mount = Mount::parse(line).unwrap();
        assert_eq!((mount.id, mount.parent, mount.device), (36, 35, libc::makedev(98, 0)));
        assert_eq!((mount.root, mount.at), ("/mnt1".into(), "/mnt 2".into()));
        assert!(mount.writable && mount.fstype == "ext3");
        for read_only in ["1 2 0:3 / / ro - tmpfs x rw", "1 2 0:3 / / rw shared:1 - tmpfs x ro,size=1k"] {
            assert!(!Mount::parse(read_only).unwrap().writable, "{read_only}");
        }
        assert_eq!(parse("garbage\n"), None);
    }

    #[test]
    fn our_own_mounts_are_all_read() {
        let mounts = parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap()).unwrap();
        assert!(mounts.iter().any(|mount| mount.at == std::path::Path::new("/")));
    }
}
