//! Empty file systems in memory, over what is private and over what is to be written.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::ids::Ids;
use crate::host::rootless;

/// A new, empty file system in memory over a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    /// Nothing can be written.
    Empty,
    /// With this mode.
    Writable(&'static str),
}

/// What other users, services and sessions keep.
const PRIVATE: [&str; 23] = [
    "/etc/ssh",
    "/etc/ssl/private",
    "/home",
    "/media",
    "/mnt",
    "/root",
    "/run",
    "/srv",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/etcd",
    "/var/lib/incus",
    "/var/lib/kubelet",
    "/var/lib/libvirt",
    "/var/lib/lxc",
    "/var/lib/lxd",
    "/var/lib/machines",
    "/var/lib/rancher",
    "/var/lib/sandkeep",
    "/var/lib/systemd/coredump",
    "/var/mail",
    "/var/spool",
];

const FOR_ALL: [&str; 2] = ["/tmp", "/var/tmp"];
const FOR_EVERYBODY: Cover = Cover::Writable("1777");

/// What belongs to the machine is no home, whatever /etc/passwd says.
const OF_THE_MACHINE: [&str; 12] =
    ["/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sys", "/usr"];

/// $HOME, and the one of /etc/passwd: a folder is no less private for the other one being named.
pub(super) fn homes_of_caller() -> Vec<PathBuf> {
    let named = std::env::var_os("HOME").map(PathBuf::from);
    let passwd = crate::sys::text::read("/etc/passwd").unwrap_or_default();
    let uid = rootless::caller().to_string();
    let listed = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.len() >= 6 && fields[2] == uid).then(|| PathBuf::from(fields[5]))
    });
    let mut homes = Vec::new();
    for home in named.into_iter().chain(listed).filter(|home| home.is_absolute()) {
        // One that does not exist is still where programs will look.
        let home = std::fs::canonicalize(&home).unwrap_or(home);
        if is_no_machines(&home) && !homes.contains(&home) {
            homes.push(home);
        }
    }
    homes
}

fn is_no_machines(home: &Path) -> bool {
    home != Path::new("/") && !OF_THE_MACHINE.iter().any(|folder| home.starts_with(folder)) && home != Path::new("/var")
}

pub(super) fn homes_elsewhere(ids: Ids) -> Vec<PathBuf> {
    if ids.uid() == 0 { vec!["/root".into()] } else { Vec::new() }
}

/// In the order of their paths, so that one within another comes after it.
pub(super) type Covers = BTreeMap<PathBuf, Cover>;

/// Over the host's own root.
pub(super) fn on_the_host(homes: &[PathBuf]) -> Covers {
    let mut covers = Covers::new();
    let root = Path::new("/");
    covers.extend(PRIVATE.iter().filter_map(|path| folder(root, Path::new(path))).map(|path| (path, Cover::Empty)));
    covers.extend(FOR_ALL.iter().filter_map(|path| folder(root, Path::new(path))).map(|path| (path, FOR_EVERYBODY)));
    for home in homes {
        let own = || std::fs::metadata(home).is_ok_and(|found| found.uid() == nix::unistd::geteuid().as_raw());
        let private = covers.contains_key(home) || is_below(home, &covers) || folder(root, home).is_some() && own();
        if private && !FOR_ALL.iter().any(|path| home == Path::new(path)) {
            covers.insert(home.clone(), Cover::Writable("700"));
        }
    }
    cover_runtime_folder(&mut covers);
    // An empty folder holds nothing that would have to be covered.
    let all = covers.clone();
    covers.retain(|path, cover| *cover != Cover::Empty || !is_below(path, &all));
    covers
}

/// Over another one: what is in there is not the host's, and is to be seen.
pub(super) fn elsewhere(rootfs: &Path, homes: &[PathBuf]) -> Covers {
    let found = |path: &Path| folder(rootfs, path);
    let mut covers: Covers =
        FOR_ALL.iter().filter_map(|path| found(Path::new(path))).map(|path| (path, FOR_EVERYBODY)).collect();
    covers.extend(found(Path::new("/mnt")).map(|path| (path, Cover::Empty)));
    covers.extend(found(Path::new("/run")).map(|path| (path, Cover::Writable("755"))));
    covers.extend(homes.iter().filter_map(|path| found(path)).map(|path| (path, Cover::Writable("700"))));
    covers
}

/// Where the user's own services listen: usually below /run.
fn cover_runtime_folder(covers: &mut Covers) {
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let Some(path) = named.and_then(|path| folder(Path::new("/"), &path)) else { return };
    if is_no_machines(&path) {
        covers.entry(path).or_insert(Cover::Empty);
    }
}

/// The folder of that name inside, where a symbolic link may lead to: None if there is none.
fn folder(rootfs: &Path, path: &Path) -> Option<PathBuf> {
    let found = std::fs::canonicalize(rootfs.join(path.strip_prefix("/").ok()?)).ok()?;
    let inside = Path::new("/").join(found.strip_prefix(rootfs).ok()?);
    (found.is_dir() && inside != Path::new("/")).then_some(inside)
}

pub(super) fn is_below(path: &Path, covers: &Covers) -> bool {
    covers.keys().any(|cover| path != cover && path.starts_with(cover))
}
