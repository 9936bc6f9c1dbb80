//! What the command sees: the root as it is, for reading; empty folders over what is private; a few writable ones; and,
//! put back into them, the current folder and what is shared.
//!
//! Paths are those inside, which for the host's own root are the host's. Nothing here touches anything: it looks, and says
//! which mounts to make, in order.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::arguments::Network;
use super::covers::{self, Cover, Covers, is_below};
use super::ids::Ids;
use super::pinned::pin;
use super::shares::{self, Access, Share};
use super::{Failure, sockets};
use crate::spec::Identity;
use crate::sys::mountinfo;

pub(super) struct Wanted<'a> {
    /// Absolute, without symbolic links.
    pub(super) rootfs: &'a Path,
    pub(super) shares: &'a [String],
    /// Where sandboxes are recorded.
    pub(super) state: &'a Path,
    pub(super) network: Network,
    pub(super) writable: bool,
    pub(super) memory: u64,
    pub(super) ids: Ids,
}

pub(super) struct View {
    pub(super) rootfs: String,
    pub(super) cwd: PathBuf,
    pub(super) home: String,
    pub(super) mounts: Vec<Value>,
    /// Beside those that every container has.
    pub(super) masked: Vec<PathBuf>,
    /// What Landlock is to leave writable.
    pub(super) landlock: Vec<String>,
    /// Destinations of mounts whose ids are only mapped where that can be.
    pub(super) for_reading: Vec<String>,
    /// By the place inside.
    pub(super) identities: Vec<(PathBuf, Identity)>,
    pub(super) shares_for_writing: bool,
}

const SECRET_FILES: [&str; 6] =
    ["/etc/gshadow", "/etc/gshadow-", "/etc/krb5.keytab", "/etc/security/opasswd", "/etc/shadow", "/etc/shadow-"];

/// Devices, and file systems in memory, that are in every container.
const ALWAYS_WRITABLE: [&str; 10] = [
    "/dev/full",
    "/dev/mqueue",
    "/dev/null",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/random",
    "/dev/shm",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
];

impl View {
    pub(super) fn of(wanted: &Wanted<'_>) -> Result<View, Failure> {
        let host = wanted.rootfs == Path::new("/");
        let mut shares = wanted.shares.iter().map(|text| shares::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let homes = if host { covers::homes_of_caller() } else { covers::homes_elsewhere(wanted.ids) };
        let mut covers = if host { covers::on_the_host(&homes) } else { covers::elsewhere(wanted.rootfs, &homes) };
        let (cwd, identity) = if host { current_folder()? } else { (PathBuf::from("/"), None) };
        let mut places = Vec::new();
        if host && wanted.writable {
            places.extend(other_file_systems(&covers));
        }
        let shown = shows_cwd(&cwd, &covers, &homes, wanted);
        if let Some(closed) = &shown.closed {
            covers.entry(closed.clone()).or_insert(Cover::Empty);
        }
        if shown.put_back && !shares.iter().any(|share| cwd.starts_with(&share.at)) {
            places.push(Share { source: cwd.clone(), at: cwd.clone(), access: Access::Read, identity });
        }
        for share in &shares {
            if let Some(closed) = closed_above(&share.at, &covers, wanted) {
                covers.entry(closed).or_insert(Cover::Empty);
            }
        }
        if host && wanted.network == Network::Host {
            shares.extend(resolver(&covers));
        }
        check_places(&shares, &covers, wanted)?;
        // What is put back by itself may not bring a home along: unlike what is shared, which is meant.
        covers.retain(|path, _| path.is_dir() || !places.iter().any(|place| path.starts_with(&place.at)));
        let home =
            homes.iter().find(|home| covers.contains_key(*home) || covers.keys().any(|cover| home.starts_with(cover)));
        let home = home.map_or("/tmp", |home| home.to_str().unwrap_or("/tmp")).to_owned();
        Ok(View {
            rootfs: text(wanted.rootfs)?,
            cwd,
            home,
            mounts: mounts(&covers, &places, &shares, wanted)?,
            masked: masked(&covers, &places, &shares, wanted),
            landlock: landlock(&covers, &shares, wanted)?,
            identities: places
                .iter()
                .chain(&shares)
                .filter_map(|place| Some((place.at.clone(), place.identity?)))
                .collect(),
            shares_for_writing: shares.iter().any(|share| share.access == Access::Write),
            for_reading: places
                .iter()
                .chain(&shares)
                .filter(|place| place.access == Access::Read)
                .map(|place| text(&place.at))
                .collect::<Result<_, _>>()?,
        })
    }
}

fn current_folder() -> Result<(PathBuf, Option<Identity>), Failure> {
    let found = std::env::current_dir().and_then(|cwd| Ok((cwd, pin(Path::new("."))?.1)));
    let (cwd, identity) =
        found.map_err(|error| Failure::new(format!("do: the current folder cannot be told, is it gone? ({error})")))?;
    // One that was somebody else's to enter, as after su: there is no way back to it.
    if std::fs::metadata(&cwd).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied) {
        return Ok((PathBuf::from("/"), None));
    }
    Ok((cwd, Some(identity)))
}

/// What becomes of the current folder.
struct Shown {
    put_back: bool,
    /// A folder on the way to it that nobody but the host's root may enter: an empty one takes its place.
    closed: Option<PathBuf>,
}

/// It is there anyway, unless something covers it. A home or another place that is private as a whole stays covered.
fn shows_cwd(cwd: &Path, covers: &Covers, homes: &[PathBuf], wanted: &Wanted<'_>) -> Shown {
    let own = covers.contains_key(cwd) || homes.iter().any(|home| home == cwd);
    let kernels = ["/proc", "/sys", "/dev"].iter().any(|folder| cwd.starts_with(folder));
    if own || kernels || cwd == Path::new("/") {
        return Shown { put_back: false, closed: None };
    }
    let closed = closed_above(cwd, covers, wanted);
    let itself = !wanted.writable && matches!(wanted.ids, Ids::Range { .. }) && !is_open(cwd);
    Shown { put_back: is_below(cwd, covers) || closed.is_some() || itself, closed }
}

/// For ids that are nobody on the host: the topmost folder above `path` that others may not enter.
fn closed_above(path: &Path, covers: &Covers, wanted: &Wanted<'_>) -> Option<PathBuf> {
    let host = wanted.rootfs == Path::new("/");
    if !host || wanted.writable || !matches!(wanted.ids, Ids::Range { .. }) || is_below(path, covers) {
        return None;
    }
    let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|above| *above != Path::new("/")).collect();
    above.reverse();
    above.into_iter().find(|folder| !is_open(folder)).map(Path::to_owned)
}

/// One that does not exist closes nothing.
fn is_open(folder: &Path) -> bool {
    std::fs::metadata(folder).is_ok_and(|found| found.mode() & 0o001 != 0) || !folder.exists()
}

/// With the caller's network its name servers, if what /etc/resolv.conf leads to would be covered.
fn resolver(covers: &Covers) -> Option<Share> {
    let file = std::fs::canonicalize("/etc/resolv.conf").ok()?;
    is_below(&file, covers).then(|| Share { source: file.clone(), at: file, access: Access::Read, identity: None })
}

/// An overlay shows one file system: the others come beside it, for reading.
fn other_file_systems(covers: &Covers) -> Vec<Share> {
    // Without them nothing but less is shown.
    let mut points: Vec<PathBuf> = mountinfo::ours().unwrap_or_default().into_iter().map(|mount| mount.at).collect();
    points.sort();
    points.dedup();
    let mut shown: Vec<Share> = Vec::new();
    for point in points.into_iter().filter(|point| point != Path::new("/")) {
        let kernels = ["/proc", "/sys", "/dev"].iter().any(|folder| point.starts_with(folder));
        let covered = covers.contains_key(&point) || is_below(&point, covers);
        let below_another = shown.iter().any(|share| point.starts_with(&share.at));
        if !kernels && !covered && !below_another && std::fs::symlink_metadata(&point).is_ok() {
            shown.push(Share { source: point.clone(), at: point, access: Access::Read, identity: None });
        }
    }
    shown
}

/// In a read-only root no place can be made.
fn check_places(shares: &[Share], covers: &Covers, wanted: &Wanted<'_>) -> Result<(), Failure> {
    for Share { source, at, .. } in shares {
        if wanted.writable || is_below(at, covers) || covers.contains_key(at) || at.starts_with("/dev") {
            continue;
        }
        let inside = wanted.rootfs.join(at.strip_prefix("/").unwrap_or(at));
        let same_kind = std::fs::metadata(&inside).is_ok_and(|found| found.is_dir() == source.is_dir());
        if !same_kind {
            return Err(Failure::new(format!(
                "--share: there is no place for {source:?} at {at:?}, and none can be made in a read-only root: put it below \
                 a folder such as /mnt"
            )));
        }
    }
    for needed in ["proc", "dev"] {
        if !wanted.writable && !wanted.rootfs.join(needed).is_dir() {
            let rootfs = wanted.rootfs;
            return Err(Failure::new(format!(
                "--rootfs {rootfs:?}: a root needs a folder /{needed}, and this has none"
            )));
        }
    }
    Ok(())
}

fn mounts(covers: &Covers, places: &[Share], shares: &[Share], wanted: &Wanted<'_>) -> Result<Vec<Value>, Failure> {
    let mount = |at: &str, kind: &str, options: &[&str]| json!({ "destination": at, "type": kind, "source": kind, "options": options });
    let size = format!("size={}", wanted.memory / 4);
    let terminals: &[&str] = match wanted.ids {
        Ids::Range { .. } => &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        Ids::Caller { .. } => &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
    };
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "noexec", "ro", "mode=755", "size=64k"]),
        mount("/dev/pts", "devpts", terminals),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", &size, "nr_inodes=64k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    if wanted.writable || wanted.rootfs.join("sys").is_dir() {
        mounts.push(match wanted.network {
            Network::None => mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            // It shows a network namespace, and only whose that is may make one.
            Network::Host => json!({ "destination": "/sys", "type": "none", "source": "/sys", "options":
                ["rbind", "rprivate", "rnosuid", "rnoexec", "rnodev", "rro"] }),
        });
    }
    let empty: &[&str] = match wanted.writable {
        true => &["nosuid", "nodev", "mode=755", &size, "nr_inodes=64k"],
        false => &["nosuid", "nodev", "ro", "mode=755", "size=1m", "nr_inodes=1k"],
    };
    // From the top down, so that what is private stays covered below what is put back; what is shared comes last.
    let mut layers = Vec::new();
    for (path, cover) in covers {
        let at = text(path)?;
        let layer = match cover {
            Cover::Empty => mount(&at, "tmpfs", empty),
            Cover::Writable(mode) => {
                mount(&at, "tmpfs", &["nosuid", "nodev", &format!("mode={mode}"), &size, "nr_inodes=256k"])
            }
        };
        layers.push((path, layer));
    }
    for place in places {
        layers.push((&place.at, bind(place, wanted.ids)?));
    }
    layers.sort_by_key(|(path, _)| *path);
    mounts.extend(layers.into_iter().map(|(_, layer)| layer));
    for share in shares {
        mounts.push(bind(share, wanted.ids)?);
    }
    Ok(mounts)
}

fn bind(place: &Share, ids: Ids) -> Result<Value, Failure> {
    let mut options = vec!["rbind", "rprivate", "nosuid", "nodev", "rnosuid", "rnodev"];
    if place.access == Access::Read {
        options.extend(["ro", "rro"]);
    }
    if matches!(ids, Ids::Range { .. }) {
        options.push("idmap");
    }
    Ok(json!({ "destination": text(&place.at)?, "type": "none", "source": text(&place.source)?, "options": options }))
}

/// Files, and folders that nothing is to be put back into.
fn masked(covers: &Covers, places: &[Share], shares: &[Share], wanted: &Wanted<'_>) -> Vec<PathBuf> {
    let mut masked: Vec<PathBuf> = SECRET_FILES.iter().map(PathBuf::from).collect();
    if wanted.network == Network::Host {
        let of_the_kernel = ["/sys/fs/cgroup", "/sys/kernel/debug", "/sys/kernel/security", "/sys/kernel/tracing"];
        masked.extend(of_the_kernel.map(PathBuf::from));
    }
    let shared = |path: &Path| shares.iter().any(|share| path.starts_with(&share.at));
    if wanted.rootfs == Path::new("/") {
        masked.push(std::path::absolute(wanted.state).unwrap_or_else(|_| wanted.state.to_owned()));
        // In the current folder they are as dangerous as elsewhere; what is shared is shared.
        let put_back = |path: &Path| places.iter().any(|place| path.starts_with(&place.at));
        masked.extend(sockets::with_a_path(|path| shared(path) || is_below(path, covers) && !put_back(path)));
    }
    masked
}

fn landlock(covers: &Covers, shares: &[Share], wanted: &Wanted<'_>) -> Result<Vec<String>, Failure> {
    if wanted.writable {
        return Ok(vec!["/".to_owned()]);
    }
    let writable = covers.iter().filter(|(_, cover)| **cover != Cover::Empty).map(|(path, _)| path);
    let shared = shares.iter().filter(|share| share.access == Access::Write).map(|share| &share.at);
    let mut all: Vec<String> = writable.chain(shared).map(|path| text(path)).collect::<Result<_, _>>()?;
    all.extend(ALWAYS_WRITABLE.iter().map(|path| (*path).to_owned()));
    Ok(all)
}

fn text(path: &Path) -> Result<String, Failure> {
    let no_text = || Failure::new(format!("do: {path:?} is not UTF-8, which a configuration cannot hold"));
    path.to_str().map(str::to_owned).ok_or_else(no_text)
}
