//! What a container needs of the host, opened here with the caller's privileges and donated as descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::container::{forgiven, seccomp, source, sysfs};
use crate::host::{HostError, Trying};
use crate::spec::plan::{IdMapping, IdmapPlan, MountKind, MountPlan, NamespaceKind, Plan, Unsupported};
use crate::store::Root;
use crate::sys::mount::{self, Attributes, Extent};
use crate::sys::mountinfo;

/// The seccomp profile as a program: compiled once for all containers of this root that have the same.
pub fn seccomp(plan: &Plan, root: &Root) -> Result<Option<seccomp::Program>, HostError> {
    let Some(profile) = &plan.seccomp else { return Ok(None) };
    let name = seccomp::fingerprint(profile);
    let kept = name.as_ref().and_then(|name| root.cached(name)).and_then(|bytes| seccomp::Program::from_bytes(&bytes));
    if kept.is_some() {
        return Ok(kept);
    }
    let program = seccomp::compile(profile)?;
    if let Some(name) = name {
        // Without it the next one compiles again, that is all.
        let _ = root.cache(&name, &program.to_bytes());
    }
    Ok(Some(program))
}

/// The rootfs and everything below it, as a detached tree whose mounts never reach the host.
pub fn rootfs(plan: &Plan) -> Result<OwnedFd, HostError> {
    let rootfs = &plan.rootfs;
    let what = || format!("open the rootfs {:?}", rootfs.path);
    let tree = source::detached(&rootfs.path, Extent::Tree, 0).trying(what)?;
    check_identity(tree.as_fd(), rootfs.identity, &rootfs.path)?;
    // A slave gets what the host mounts later, with the host's own flags: a tree that has others is better private.
    let private = rootfs.propagation.is_some_and(|flags| flags & libc::MS_PRIVATE != 0);
    let propagation = if private { libc::MS_PRIVATE } else { libc::MS_SLAVE };
    let attributes = Attributes { set: rootfs.recursive_set, clear: 0, propagation };
    mount::set_attributes(tree.as_fd(), Extent::Tree, attributes, None).trying(what)?;
    if let Some(idmap) = &rootfs.idmap {
        let mapped = Mapped { destination: Path::new("/"), source: &rootfs.path, tree: tree.as_fd() };
        Idmaps { plan, made: Vec::new() }.apply(idmap, &mapped)?;
    }
    Ok(tree)
}

/// One detached tree per bind mount, in the order of the spec; None for other mounts, but for a sysfs that the container may
/// turn out to get no other than the host's of.
pub fn binds(plan: &Plan) -> Result<Vec<Option<OwnedFd>>, HostError> {
    let mut idmaps = Idmaps { plan, made: Vec::new() };
    plan.mounts.iter().map(|mount| bind(mount, &mut idmaps)).collect()
}

/// One that is not the configuration's.
pub fn further_bind(plan: &Plan, mount: &MountPlan) -> Result<Option<OwnedFd>, HostError> {
    bind(mount, &mut Idmaps { plan, made: Vec::new() })
}

fn bind(plan: &MountPlan, idmaps: &mut Idmaps<'_>) -> Result<Option<OwnedFd>, HostError> {
    let (source, recursive) = match &plan.kind {
        MountKind::Bind { source, recursive } => (source, recursive),
        MountKind::Filesystem { fstype, .. } if fstype == "sysfs" => return Ok(sysfs::of_host(idmaps.plan, plan)?),
        _ => return Ok(None),
    };
    let what = || format!("open the source {source:?} of the bind mount at {:?}", plan.destination);
    let extent = if *recursive { Extent::Tree } else { Extent::One };
    let follow = if plan.source_nofollow { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    let tree = source::detached(source, extent, follow).trying(what)?;
    check_identity(tree.as_fd(), plan.identity, source)?;
    // Left shared, what the container mounts below it would appear on the host (measured).
    let shared = plan.propagation.iter().any(|flags| flags & libc::MS_SHARED != 0);
    if !shared {
        let attributes = Attributes { propagation: libc::MS_SLAVE, ..Attributes::default() };
        mount::set_attributes(tree.as_fd(), Extent::Tree, attributes, None).trying(what)?;
    }
    if plan.attrs_set != 0 || plan.attrs_clear != 0 {
        set_unlocked(tree.as_fd(), plan.attrs_set, plan.attrs_clear)
            .trying(|| format!("set the attributes of the bind mount at {:?}", plan.destination))?;
    }
    if let Some(idmap) = &plan.idmap {
        idmaps.apply(idmap, &Mapped { destination: &plan.destination, source, tree: tree.as_fd() })?;
    }
    Ok(Some(tree))
}

fn check_identity(tree: BorrowedFd<'_>, wanted: Option<(u64, u64)>, path: &Path) -> Result<(), HostError> {
    let Some(wanted) = wanted else { return Ok(()) };
    let found = nix::sys::stat::fstat(tree.as_raw_fd()).trying(|| format!("look at {path:?}"))?;
    if (found.st_dev, found.st_ino) == wanted {
        return Ok(());
    }
    Err(HostError::Replaced { path: path.to_owned() })
}

/// A mount that came into a user namespace from outside has its nosuid, nodev, noexec, read-only and access time locked
/// (mount_namespaces(7)): what may not be taken off stays on, what is to be added is added.
fn set_unlocked(tree: BorrowedFd<'_>, set: u64, clear: u64) -> io::Result<()> {
    let change = |set, clear| {
        let attributes = Attributes { set, clear, propagation: 0 };
        mount::set_attributes(tree, Extent::One, attributes, None)
    };
    match change(set, clear) {
        Err(error) if forgiven::LOCKED_ATTRIBUTE.covers(&error) => {
            const LOCKABLE: [u64; 5] = [
                libc::MOUNT_ATTR_RDONLY,
                libc::MOUNT_ATTR_NOSUID,
                libc::MOUNT_ATTR_NODEV,
                libc::MOUNT_ATTR_NOEXEC,
                libc::MOUNT_ATTR_NOSYMFOLLOW,
            ];
            change(set & !libc::MOUNT_ATTR__ATIME & !libc::MOUNT_ATTR_NODIRATIME, 0).map_err(|_| error)?;
            for bit in LOCKABLE.into_iter().filter(|bit| clear & bit != 0) {
                match change(0, bit) {
                    Err(error) if forgiven::LOCKED_ATTRIBUTE.covers(&error) => {}
                    other => other?,
                }
            }
            Ok(())
        }
        other => other,
    }
}

/// The user namespaces of idmapped mounts: one for all mounts with the same mappings.
struct Idmaps<'a> {
    plan: &'a Plan,
    made: Vec<(Mappings, OwnedFd)>,
}

type Mappings = (Vec<IdMapping>, Vec<IdMapping>);

/// What is to have other ids.
struct Mapped<'a> {
    destination: &'a Path,
    source: &'a Path,
    tree: BorrowedFd<'a>,
}

impl Idmaps<'_> {
    fn apply(&mut self, idmap: &IdmapPlan, mapped: &Mapped<'_>) -> Result<(), HostError> {
        let Mapped { destination, source, tree } = *mapped;
        let namespace = self.namespace(idmap)?;
        let attributes = Attributes { set: libc::MOUNT_ATTR_IDMAP, ..Attributes::default() };
        let extent = if idmap.recursive { Extent::Tree } else { Extent::One };
        match mount::set_attributes(tree, extent, attributes, Some(namespace)) {
            Err(error)
                if idmap.unsupported == Unsupported::LeftAsItIs && forgiven::NO_MAPPED_IDS.covers(&error) =>
            {
                Ok(())
            }
            outcome => outcome.trying(|| {
                format!(
                    "map the ids of the mount at {destination:?}: {} of {source:?} has to support idmapped mounts, in this \
                     kernel and for this user",
                    filesystem_of(tree)
                )
            }),
        }
    }

    fn namespace(&mut self, idmap: &IdmapPlan) -> Result<BorrowedFd<'_>, HostError> {
        let own = idmap.uid_mappings.is_empty();
        let mappings = if own {
            (self.plan.uid_mappings.clone(), self.plan.gid_mappings.clone())
        } else {
            (idmap.uid_mappings.clone(), idmap.gid_mappings.clone())
        };
        let at = match self.made.iter().position(|(made, _)| *made == mappings) {
            Some(at) => at,
            None => {
                let joined = self.plan.namespace(NamespaceKind::User);
                let namespace = match joined.and_then(|namespace| namespace.path.as_ref()).filter(|_| own) {
                    Some(path) => std::fs::File::open(path)
                        .trying(|| format!("open the user namespace {path:?} for an idmapped mount"))?
                        .into(),
                    None => super::idmap::namespace_for(&mappings.0, &mappings.1)?,
                };
                self.made.push((mappings, namespace));
                self.made.len() - 1
            }
        };
        Ok(self.made[at].1.as_fd())
    }
}

/// "the file system (tmpfs)", by the device that /proc/self/mountinfo names.
fn filesystem_of(tree: BorrowedFd<'_>) -> String {
    let name = nix::sys::stat::fstat(tree.as_raw_fd()).ok().and_then(|stat| {
        mountinfo::ours().ok()?.into_iter().find(|mount| mount.device == stat.st_dev).map(|mount| mount.fstype)
    });
    name.map_or("the file system".to_owned(), |name| format!("the file system ({name})"))
}
