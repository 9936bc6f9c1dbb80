//! What every command starts with: where the root is, how cgroups are made, where errors go.

use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::global::{CgroupManager, Global};
use super::log::{Level, Log};
use crate::cgroup::Driver;
use crate::host::look::{self, Seen};
use crate::model::Id;
use crate::store::Root;
use crate::sys::told;
use crate::sys::user_namespace::{self, Kind};

pub struct Context {
    pub root: PathBuf,
    pub driver: Driver,
    pub log: Log,
}

impl Context {
    pub(super) fn new(global: &Global) -> Context {
        let level = if global.debug { Level::Debug } else { global.log_level };
        let driver = match (global.systemd_cgroup, global.cgroup_manager) {
            (true, _) | (_, CgroupManager::Systemd) => Driver::Systemd,
            (_, CgroupManager::Disabled) => Driver::Disabled,
            (_, CgroupManager::Cgroupfs) => Driver::Cgroupfs,
        };
        let rootless = match global.rootless.as_str() {
            "true" => true,
            "false" => false,
            _ => !nix::unistd::geteuid().is_root() || user_namespace::is_ours_a_further_one(),
        };
        Context {
            root: global.root.clone().unwrap_or_else(|| default_root(rootless)),
            driver,
            log: Log { file: global.log.clone(), format: global.log_format, level },
        }
    }

    /// For commands that make a sandbox.
    pub fn open_or_make_root(&self) -> Result<Root, Failure> {
        if self.root == in_temporary_folder() {
            make_private(&self.root)?;
        }
        Ok(Root::open_or_make(&self.root)?)
    }

    /// For commands that put in order what they find: makes the parts that are missing of one that is there.
    pub fn open_root_to_mend(&self) -> Result<Option<Root>, Failure> {
        Ok(Root::open_to_mend(&self.root)?)
    }

    /// For commands about sandboxes that exist: None when nothing was ever made here.
    pub fn open_root(&self) -> Result<Option<Root>, Failure> {
        if self.root == in_temporary_folder() && std::fs::symlink_metadata(&self.root).is_ok() {
            check_private(&self.root)?;
        }
        Ok(Root::open(&self.root)?)
    }

    /// The same where a certain one is meant.
    pub fn root_of(&self, id: &Id) -> Result<Root, Failure> {
        self.open_root()?.ok_or_else(|| Failure::does_not_exist(id))
    }

    /// The sandbox with this id, as readers see it.
    pub fn see(&self, id: &str) -> Result<(Root, Id, Seen), Failure> {
        let id = Id::parse(id)?;
        let root = self.root_of(&id)?;
        let seen = look::one(&root, &id)?;
        Ok((root, id, seen))
    }
}

/// Callers call with an almost empty environment, so the uid must be enough. A folder of somebody else's is none of ours:
/// su leaves the old user's name of it in the environment. Where there is no session (cron, CI) there is none at all.
fn default_root(rootless: bool) -> PathBuf {
    if !rootless {
        return PathBuf::from("/run/sandkeep");
    }
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let usual = PathBuf::from(format!("/run/user/{}", outer_uid()));
    match named.into_iter().chain([usual]).find(|folder| is_ours(folder)) {
        Some(folder) => folder.join("sandkeep"),
        None => in_temporary_folder(),
    }
}

fn is_ours(folder: &Path) -> bool {
    std::fs::metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw())
}

/// The same for every command of a user, whatever TMPDIR says.
fn in_temporary_folder() -> PathBuf {
    PathBuf::from(format!("/tmp/sandkeep-{}", outer_uid()))
}

fn make_private(folder: &Path) -> Result<(), Failure> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => check_private(folder),
        Err(error) => {
            Err(Failure::new(format!("cannot make the state folder {folder:?}: {}", told::on_one_line(&error))))
        }
        Ok(()) => Ok(()),
    }
}

/// Anybody may make something in the temporary folder: what lies there is ours if only we can have made and filled it.
fn check_private(folder: &Path) -> Result<(), Failure> {
    let found = std::fs::symlink_metadata(folder).map_err(|error| {
        Failure::new(format!("cannot look at the state folder {folder:?}: {}", told::on_one_line(&error)))
    })?;
    let private = found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o077 == 0;
    match private {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "the state folder {folder:?} is not a folder of this user's alone (mode 0700): give another one with --root"
        ))),
    }
}

/// The uid that our own has in the parent user namespace (user_namespaces(7)).
fn outer_uid() -> u32 {
    let ours = nix::unistd::geteuid().as_raw();
    let mappings = user_namespace::ours(Kind::Uid).unwrap_or_default();
    mappings.iter().find_map(|mapping| mapping.outside_of(ours)).unwrap_or(ours)
}
