//! Who manages cgroups, and what that can do: asked before anything is made.

#![allow(clippy::disallowed_macros)] // Truth values only.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::hierarchies::{Hierarchies, Version};
use super::layout::TOP;

/// Who manages cgroups: `--cgroup-manager`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// We do, in the file system.
    Cgroupfs,
    /// systemd is asked, over D-Bus, for a scope.
    Systemd,
    /// Nobody: processes stay where their creator is, and limits are ignored.
    Disabled,
}

/// `linux.cgroup` of the features document (runtime-spec, features-linux.md).
pub fn features() -> serde_json::Value {
    serde_json::json!({ "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true })
}

/// Whether this caller can make a container's cgroup that has this controller, for limits that nobody insists on. What systemd can is its business.
pub fn can_limit(driver: Driver, controller: &str) -> bool {
    let Ok(hierarchies) = Hierarchies::read() else { return false };
    match driver {
        Driver::Disabled => false,
        Driver::Systemd => nix::unistd::geteuid().is_root(),
        Driver::Cgroupfs => hierarchies.all().iter().any(|hierarchy| {
            let has = match hierarchy.version {
                Version::V1 => hierarchy.controllers.iter().any(|name| name == controller),
                Version::V2 => has_v2(&hierarchy.mount, controller),
                Version::Beside => false,
            };
            let top = hierarchy.mount.join(TOP);
            let place = if top.is_dir() { &top } else { &hierarchy.mount };
            has && access(place, AccessFlags::W_OK).is_ok()
        }),
    }
}

fn has_v2(mount: &Path, controller: &str) -> bool {
    let text = crate::sys::text::read(mount.join("cgroup.controllers")).unwrap_or_default();
    text.split_whitespace().any(|name| name == controller)
}
