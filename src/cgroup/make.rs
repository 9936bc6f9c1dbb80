//! Making the cgroups of a layout, with their limits, before any process is in them.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

use super::files;
use super::freeze;
use super::hierarchies::Version;
use super::join::Joiner;
use super::layout::{self, CgroupFolder, Layout, Role};
use super::limits;
use super::tree;
use super::{Error, Result};
use crate::sys::user_namespace;

/// The kernel's own list of files that a delegate may write to, and what it has always been at least.
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";
const DELEGATED: &str = "cgroup.procs\ncgroup.threads\ncgroup.subtree_control\n";

impl Layout {
    /// Makes every folder, sets the limits, and opens what joining needs. A container's devices are restricted to the
    /// usual few and what `resources` adds, even without `resources`; a supervisor without any is bounded all the same.
    ///
    /// A folder that is there already is taken if no process is in it or below it. A failure removes what was made.
    ///
    /// Whoever has no privilege (rootless) gets the folders that it may make; a limit that needs another is an error.
    pub fn make(&self, resources: Option<&LinuxResources>) -> Result<Joiner> {
        let mut made = Made::default();
        let mut folders = Vec::with_capacity(self.folders.len());
        let new_parents: Vec<PathBuf> = self.folders.iter().flat_map(missing_parents).collect();
        for folder in &self.folders {
            match make_folder(folder, self.role, &mut made) {
                Ok(()) => folders.push(folder),
                // Nothing depends on that one.
                Err(Error::Make { source, .. }) if is_refused(&source) && folder.version == Version::Beside => {}
                Err(Error::Make { source, .. }) if is_refused(&source) && !user_namespace::is_root_of_machine() => {}
                Err(error) => return Err(error),
            }
        }
        match (self.role, resources) {
            _ if self.folders.is_empty() => {}
            (Role::Container | Role::Scope, resources) => {
                make_room_for_realtime(&folders, resources, new_parents);
                limits::apply(&folders, resources.unwrap_or(&LinuxResources::default()))?;
                if user_namespace::is_root_of_machine() {
                    limits::restrict_devices(&folders, resources.and_then(|r| r.devices().as_deref()))?;
                }
            }
            (Role::Supervisor, Some(resources)) => limits::apply(&folders, resources)?,
            (Role::Supervisor, None) => limits::bound_supervisor(&folders)?,
        }
        let joiner = Joiner::of(folders.iter().map(|folder| folder.path.as_path()))?;
        made.keep();
        Ok(joiner)
    }

    /// Refuses, before anybody has written down that these cgroups are his: a folder with processes in it or below it is
    /// somebody else's, and in one that is frozen, or is below one, whoever joined would stop.
    pub fn check_free(&self) -> Result<()> {
        for folder in &self.folders {
            refuse_populated(&folder.path)?;
            match folder.freezes().then(|| freeze::frozen_above(&folder.path)).transpose()?.flatten() {
                Some(frozen) if frozen == folder.path => return Err(Error::Frozen { folder: frozen }),
                Some(folder) => return Err(Error::FrozenAbove { folder }),
                None => {}
            }
        }
        Ok(())
    }

    /// Gives the container's own part of the cgroup to `uid`, so that it can divide up what it has (cgroup-v2.rst,
    /// "Delegation"). Only v2 can be delegated safely; elsewhere nothing is changed.
    pub fn delegate(&self, uid: u32) -> Result<()> {
        for folder in self.folders.iter().filter(|folder| folder.version == Version::V2) {
            let list = files::read(Path::new(DELEGATE)).unwrap_or_else(|_| DELEGATED.to_owned());
            let names = std::iter::once("").chain(list.lines().filter(|name| !name.is_empty() && !name.contains('/')));
            for path in names.map(|name| folder.path.join(name)) {
                match std::os::unix::fs::chown(&path, Some(uid), None) {
                    // Files of controllers that are not enabled here.
                    Err(error) if files::is_gone(&error) => {}
                    other => other.map_err(|source| Error::Delegate { path, uid, source })?,
                }
            }
        }
        Ok(())
    }
}

/// What is about to be made above it: that is ours.
fn missing_parents(folder: &CgroupFolder) -> impl Iterator<Item = PathBuf> {
    let parents = folder.path.ancestors().skip(1).take_while(|parent| *parent != folder.mount);
    parents.take_while(|parent| !parent.exists()).map(Path::to_owned).collect::<Vec<_>>().into_iter()
}

fn make_room_for_realtime(folders: &[&CgroupFolder], resources: Option<&LinuxResources>, mut ours: Vec<PathBuf>) {
    let Some(cpu) = resources.and_then(|resources| resources.cpu().as_ref()) else { return };
    for folder in folders.iter().filter(|folder| folder.version == Version::V1 && folder.has("cpu")) {
        ours.push(folder.mount.join(layout::TOP));
        limits::make_room(&folder.path, &folder.mount, cpu, &ours);
    }
}

/// The leaves made so far; removed again when dropped, unless kept.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// How often parents that vanish are made again.
const ATTEMPTS: u32 = 100;

fn make_folder(folder: &CgroupFolder, role: Role, made: &mut Made) -> Result<()> {
    let failed = |source| Error::Make { folder: folder.path.clone(), source };
    let mut attempts = 0;
    let made_leaf = loop {
        match make_leaf(folder, role) {
            // Parents belong to nobody: who finds them empty may remove them while we are at it.
            Err(error) if files::is_gone(&error) && attempts < ATTEMPTS => attempts += 1,
            other => break other,
        }
    };
    match made_leaf {
        Ok(()) => made.0.push(folder.path.clone()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && role == Role::Scope => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => take_over(&folder.path)?,
        Err(error) => return Err(failed(error)),
    }
    if folder.has("cpuset") {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            inherit_cpuset(&folder.path, &folder.mount, file).map_err(failed)?;
        }
    }
    Ok(())
}

fn make_leaf(folder: &CgroupFolder, role: Role) -> io::Result<()> {
    let parent = folder.path.parent().unwrap_or(&folder.mount);
    // systemd alone decides which controllers are passed on in its part of the tree.
    if folder.version == Version::V2 && role != Role::Scope {
        make_parents(parent, &folder.mount)?;
        enable_controllers(parent, &folder.mount)?;
    }
    match mkdir(&folder.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_parents(parent, &folder.mount)?;
            mkdir(&folder.path)
        }
        result => result,
    }
}

/// A folder that was there: left over by a crash, or prepared by a caller. With processes it is somebody else's.
fn take_over(folder: &Path) -> Result<()> {
    refuse_populated(folder)?;
    // Left frozen, it would freeze whoever joins it.
    freeze::thaw_folder(folder)
}

fn refuse_populated(folder: &Path) -> Result<()> {
    let listed = tree::processes_below(folder).map_err(|source| Error::Read { path: folder.to_owned(), source })?;
    match listed.count() {
        0 => Ok(()),
        count => Err(Error::NotEmpty { folder: folder.to_owned(), count }),
    }
}

fn mkdir(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(folder)
}

/// Everything between the mount and `folder`, and `folder`. Another process may be making the same.
fn make_parents(folder: &Path, mount: &Path) -> io::Result<()> {
    if folder == mount || folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_parents(parent, mount)?;
    }
    match mkdir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// On v1 a cpuset with no cpus or no mems takes no process (ENOSPC); a new one has none. Returns what it has now.
fn inherit_cpuset(folder: &Path, mount: &Path, file: &str) -> io::Result<String> {
    let path = folder.join(file);
    let value = files::read(&path)?;
    let (false, Some(parent)) = (folder == mount || !value.trim().is_empty(), folder.parent()) else {
        return Ok(value);
    };
    let value = inherit_cpuset(parent, mount, file)?;
    files::write(&path, value.trim())?;
    Ok(value)
}

/// On v2 a controller works in a folder only if every folder above it passes it on. Best effort: a folder above us with
/// processes of its own refuses (EBUSY), and then a limit that needs the controller says that it is missing.
fn enable_controllers(parent: &Path, mount: &Path) -> io::Result<()> {
    let Ok(below) = parent.strip_prefix(mount) else { return Ok(()) };
    let mut folder = mount.to_owned();
    for name in std::iter::once(None).chain(below.components().map(Some)) {
        folder.extend(name);
        let available = files::read(&folder.join("cgroup.controllers"))?;
        let control = folder.join("cgroup.subtree_control");
        let enabled = files::read(&control)?;
        for controller in available.split_whitespace() {
            if !enabled.split_whitespace().any(|name| name == controller) {
                let _ = files::write(&control, &format!("+{controller}"));
            }
        }
    }
    Ok(())
}

fn is_refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}
