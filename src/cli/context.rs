//! What every command starts with: where the root is, how cgroups are made, where errors go.

use std::path::PathBuf;

use super::failure::Failure;
use super::log::{Level, Log};
use super::{CgroupManager, Global};
use crate::cgroup::Driver;
use crate::store::Root;
use crate::sys::procfs;

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
            _ => !nix::unistd::geteuid().is_root() || procfs::in_user_namespace(),
        };
        Context {
            root: global.root.clone().unwrap_or_else(|| default_root(rootless)),
            driver,
            log: Log { file: global.log.clone(), format: global.log_format, level },
        }
    }

    /// For commands that make a sandbox.
    pub fn open_or_make_root(&self) -> Result<Root, Failure> {
        Ok(Root::open_or_make(&self.root)?)
    }

    /// For commands that put in order what they find: makes the parts that are missing of one that is there.
    pub fn open_root_to_mend(&self) -> Result<Option<Root>, Failure> {
        Ok(Root::open_to_mend(&self.root)?)
    }

    /// For commands about sandboxes that exist: None when nothing was ever made here.
    pub fn open_root(&self) -> Result<Option<Root>, Failure> {
        Ok(Root::open(&self.root)?)
    }
}

/// Engines call with an almost empty environment, so the uid must be enough.
fn default_root(rootless: bool) -> PathBuf {
    if !rootless {
        return PathBuf::from("/run/sandkeep");
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("sandkeep"),
        None => PathBuf::from(format!("/run/user/{}/sandkeep", outer_uid())),
    }
}

/// The uid that our own has in the parent user namespace (user_namespaces(7)).
fn outer_uid() -> u32 {
    let ours = nix::unistd::geteuid().as_raw();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    for line in map.lines() {
        let numbers: Vec<u32> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        if let [inside, outside, length] = numbers[..]
            && ours >= inside
            && ours - inside < length
        {
            return outside + (ours - inside);
        }
    }
    ours
}
