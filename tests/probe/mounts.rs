//! Every mount: what may be written in it, and whether it can be changed, taken away, or seen through.

use std::fs;
use std::path::{Path, PathBuf};

use crate::child;
use crate::kernel::*;
use crate::report::{line, tried};
use crate::touch;

const CLONE_NEWNS: usize = 0x20000;
const CLONE_NEWUSER: usize = 0x1000_0000;
const CLONE_NEWPID: usize = 0x2000_0000;
const CLONE_NEWNET: usize = 0x4000_0000;
const MS_NOSUID: usize = 2;
const MS_NODEV: usize = 4;
const MS_NOEXEC: usize = 8;
const MS_REMOUNT: usize = 32;
const MS_BIND: usize = 4096;
const MS_REC: usize = 16384;
const MS_PRIVATE: usize = 1 << 18;
const MNT_DETACH: usize = 2;

struct Mount {
    at: PathBuf,
    options: String,
    fstype: String,
    which: Identity,
}

pub fn walk() {
    let mounts = all();
    let roots = mounts.iter().filter(|mount| mount.at == Path::new("/")).count();
    line("mounts", "/", "mounts with this mount point", &roots.to_string(), None);
    for mount in &mounts {
        let name = mount.at.to_string_lossy();
        let writable = if mount.options.split(',').any(|word| word == "rw") { "rw" } else { "ro" };
        line("mount", &name, &mount.fstype, writable, Some(mount.which));
        if let Ok(stat) = stat(&mount.at) {
            touch::attributes("mount", &mount.at, &stat);
            if stat.kind() == S_IFDIR {
                touch::make("mount", &mount.at, &stat);
            }
        }
    }
    for (whose, flags) in [("own", CLONE_NEWNS), ("user", CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET)] {
        change_all(&mounts, whose, flags);
    }
}

pub fn all_of_type(prefix: &str) -> Vec<PathBuf> {
    all().into_iter().filter(|mount| mount.fstype.starts_with(prefix)).map(|mount| mount.at).collect()
}

/// proc_pid_mountinfo(5)
fn all() -> Vec<Mount> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let read = |line: &str| {
        let (mount, superblock) = line.split_once(" - ")?;
        let fields: Vec<&str> = mount.split(' ').collect();
        let (major, minor) = fields.get(2)?.split_once(':')?;
        let at = PathBuf::from(fields.get(4)?.replace("\\040", " "));
        let mut words = superblock.split(' ');
        let fstype = words.next()?.to_owned();
        // What the superblock refuses the mount cannot give.
        let read_only = words.nth(1)?.split(',').any(|word| word == "ro");
        let options = fields.get(5)?.to_string();
        let options = if read_only { options.replace("rw", "ro") } else { options };
        let inode = stat(&at).map_or(0, |stat| stat.identity.inode);
        let which = Identity { major: major.parse().ok()?, minor: minor.parse().ok()?, inode };
        Some(Mount { at, options, fstype, which })
    };
    text.lines().filter_map(read).collect()
}

/// What somebody with namespaces of their own can do to our mounts, and what new ones would show.
fn change_all(mounts: &[Mount], whose: &str, flags: usize) {
    let kind = format!("mounting-{whose}");
    let entered = child::tries(|| {
        call(nr::UNSHARE, &[flags])?;
        attach("/", None, MS_REC | MS_PRIVATE)?;
        // Every one read-write, if it is not.
        for mount in mounts {
            let name = mount.at.to_string_lossy();
            let has = |word: &str| mount.options.split(',').any(|option| option == word);
            if !has("rw") {
                let mut flags = MS_REMOUNT | MS_BIND;
                for (word, flag) in [("nosuid", MS_NOSUID), ("nodev", MS_NODEV), ("noexec", MS_NOEXEC)] {
                    flags |= if has(word) { flag } else { 0 };
                }
                let result = attach(&name, None, flags);
                tried(&kind, &name, "remount-rw", &result, Some(mount.which));
            }
        }
        for mount in mounts.iter().rev().filter(|mount| mount.at != Path::new("/")) {
            let at = c(&mount.at);
            let result = call(nr::UMOUNT, &[at.as_ptr() as usize, MNT_DETACH]);
            tried(&kind, &mount.at.to_string_lossy(), "umount", &result, Some(mount.which));
        }
        let place = if stat("/tmp").is_ok() { "/tmp" } else { "/" };
        for fstype in
            ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2", "devtmpfs", "ext4", "debugfs", "tracefs"]
        {
            // A proc shows the PID namespace of whoever mounts it: the new one is our child's, and has one child only.
            let attach = || attach(place, Some(fstype), 0);
            let result = if fstype == "proc" { child::tries(attach) } else { attach() };
            tried(&kind, fstype, "mount", &result, None);
        }
        let what = stat("/")?;
        let dot = c".".as_ptr() as usize;
        tried(&kind, "/", "pivot_root", &call(nr::PIVOT_ROOT, &[dot, dot]), None);
        under_the_root(&kind, what);
        Ok(())
    });
    tried("call", &format!("unshare ({whose})"), "call", &entered, None);
}

fn attach(at: &str, fstype: Option<&str>, flags: usize) -> Result<(), Errno> {
    let (at, fstype) = (c(at), fstype.map(c));
    let fstype = fstype.as_ref().map_or(0, |fstype| fstype.as_ptr() as usize);
    call(nr::MOUNT, &[c"none".as_ptr() as usize, at.as_ptr() as usize, fstype, flags, 0]).map(drop)
}

/// What is below `/` once `/` is taken away: setns into our own mount namespace puts us on it.
fn under_the_root(kind: &str, was: Stat) {
    let Ok(namespace) = open("/proc/self/ns/mnt", 0) else { return };
    let result = child::tries(|| {
        call(nr::UMOUNT, &[c"/".as_ptr() as usize, MNT_DETACH])?;
        call(nr::SETNS, &[namespace.0, CLONE_NEWNS])?;
        let now = stat("/")?;
        let passwd = stat("/etc/passwd");
        tried(kind, "/etc/passwd below the root", "stat", &passwd, passwd.as_ref().ok().map(|stat| stat.identity));
        let operation = if now.identity == was.identity { "setns to the same" } else { "setns to another" };
        line(kind, "/ below the root", operation, "ok", Some(now.identity));
        Ok(())
    });
    tried(kind, "/", "umount and setns", &result, None);
}
