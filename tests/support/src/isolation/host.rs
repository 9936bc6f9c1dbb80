//! The host as it looks from outside: what a container must not be able to change.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Everything that is compared, by name; what there is to say of it on one line.
pub struct Host(BTreeMap<String, String>);

/// Values that belong to the machine, and do not change by themselves.
const VALUES: [&str; 15] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/domainname",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/kernel/panic",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/swappiness",
    "/proc/sys/fs/protected_hardlinks",
    "/proc/sys/fs/suid_dumpable",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv4/ip_default_ttl",
    "/sys/kernel/uevent_helper",
    "/sys/fs/cgroup/cgroup.subtree_control",
];

/// Files whose last change counts, too: also what was set to what it had been leaves its time there.
const FILES: [&str; 8] = [
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/hostname",
    "/etc/nsswitch.conf",
    "/etc",
];

/// Folders in which others work all the time.
const FOLDERS: [&str; 9] = ["/", "/root", "/home", "/tmp", "/var/tmp", "/var/lib", "/run", "/dev", "/dev/shm"];

impl Host {
    pub fn look(baits: &[PathBuf], tag: &str) -> Host {
        let mut all = BTreeMap::new();
        let quiet = FILES.iter().map(PathBuf::from).chain(baits.iter().cloned()).chain(nodes());
        for path in quiet {
            let told =
                fs::symlink_metadata(&path).map_or_else(|error| error.kind().to_string(), |found| all_of(&found));
            all.insert(path.display().to_string(), told);
        }
        for path in FOLDERS.iter().map(Path::new).chain([Path::new("/sys/fs/cgroup")]) {
            let told = fs::symlink_metadata(path).map_or_else(|error| error.kind().to_string(), |found| owner(&found));
            all.insert(path.display().to_string(), format!("{told} {:?}", made_by_a_probe(path)));
        }
        for path in VALUES.iter().map(PathBuf::from).chain(of_every_hierarchy()) {
            let value = fs::read_to_string(&path).unwrap_or_default();
            all.insert(format!("{} says", path.display()), value.trim().to_owned());
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        all.insert("mounts".into(), mounts.lines().filter(|line| line.contains(tag)).collect::<Vec<_>>().join("\n"));
        Host(all)
    }

    /// What is not as it was.
    pub fn changes(&self, later: &Host) -> Vec<String> {
        let name_of = |(name, _): (&String, &String)| name.clone();
        let names: HashSet<String> = self.0.iter().chain(&later.0).map(name_of).collect();
        let mut changes: Vec<String> = names
            .iter()
            .filter(|name| self.0.get(*name) != later.0.get(*name))
            .map(|name| format!("{name}: {:?} became {:?}", self.0.get(name), later.0.get(name)))
            .collect();
        changes.sort();
        changes
    }
}

/// The machine's device nodes. Not the terminals in /dev/pts, which come and go.
fn nodes() -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let special = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| !kind.is_dir() && !kind.is_symlink());
    entries.filter(special).map(|entry| entry.path()).collect()
}

fn all_of(found: &fs::Metadata) -> String {
    // Whoever writes to a terminal sets the time of its last change of content.
    let content = if found.is_file() { format!(" {}.{:09}", found.mtime(), found.mtime_nsec()) } else { String::new() };
    let folder = found.is_dir();
    let links = if folder { 0 } else { found.nlink() };
    format!(
        "{} links {links} size {} changed {}.{:09}{content}",
        owner(found),
        found.size(),
        found.ctime(),
        found.ctime_nsec()
    )
}

fn owner(found: &fs::Metadata) -> String {
    format!("{:o} {}:{} {:x}", found.mode(), found.uid(), found.gid(), found.rdev())
}

fn made_by_a_probe(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(".sandkeep-probe")).collect()
}

fn of_every_hierarchy() -> Vec<PathBuf> {
    let tops = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    tops.flat_map(|top| ["release_agent", "notify_on_release"].map(|name| top.path().join(name))).collect()
}

/// Which inodes are the host's: those on its file systems, without what is the container's own.
pub struct Inodes {
    devices: HashSet<(u32, u32)>,
    own: HashSet<(u64, u64)>,
    harmless: HashMap<(u64, u64), PathBuf>,
}

impl Inodes {
    /// To be asked before anything is mounted for a container: its own file systems have other numbers.
    pub fn of_host() -> Inodes {
        let harmless =
            ["null", "zero", "full", "random", "urandom", "tty", "ptmx"].map(|name| Path::new("/dev").join(name));
        let harmless = harmless.into_iter().filter_map(|path| {
            let found = fs::metadata(&path).ok()?;
            Some(((found.dev(), found.ino()), path))
        });
        Inodes { devices: devices(), own: HashSet::new(), harmless: harmless.collect() }
    }

    /// Once it is over: the number of a file system that somebody else has unmounted meanwhile may have become one of the
    /// container's.
    pub fn still_there(&mut self) {
        let now = devices();
        self.devices.retain(|device| now.contains(device));
    }

    /// Everything below is the container's: its rootfs, what is shared with it, its cgroup.
    pub fn own(&mut self, folder: &Path) {
        let mut left = vec![folder.to_owned()];
        while let Some(path) = left.pop() {
            let Ok(found) = fs::symlink_metadata(&path) else { continue };
            self.own.insert((found.dev(), found.ino()));
            if found.is_dir() {
                left.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            }
        }
    }

    pub fn is_hosts(&self, (major, minor, inode): (u32, u32, u64)) -> bool {
        self.devices.contains(&(major, minor)) && !self.own.contains(&(libc::makedev(major, minor), inode))
    }

    /// A device of the host that everybody may open, as its own null device.
    pub fn is_harmless_device(&self, (major, minor, inode): (u32, u32, u64)) -> bool {
        self.harmless.contains_key(&(libc::makedev(major, minor), inode))
    }
}

/// Those of every file system that is mounted.
fn devices() -> HashSet<(u32, u32)> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let device = |line: &str| {
        let (major, minor) = line.split(' ').nth(2)?.split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    mounts.lines().filter_map(device).collect()
}
