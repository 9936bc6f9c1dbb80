//! `linux.resources` onto cgroups. First pure: resources become a list of `Setting`s, a value for a file each, with the
//! name of the field it came from; then they are found their files (`resolve`) and written.
//!
//! Written here and not by libcgroups, which takes 3 ms before its first write on v1, is wrong in places, and takes
//! nothing back when the kernel refuses a value half-way (docs/cgroups.md says where).

mod both;
mod change;
mod device_program;
mod device_table;
mod devices;
mod entangled;
mod previous;
mod realtime;
mod setting;
mod supervisor;
mod v1;
mod v2;
mod write;

use std::path::Path;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxMemory, LinuxResources};

use self::setting::{Need, Setting};
use self::write::{Write, write_all};
use super::files;
use super::hierarchies::Version;
use super::layout::CgroupFolder;
use super::{Error, Result};

pub use change::{Change, set_back};
pub(super) use realtime::make_room;
pub(super) use supervisor::bound_supervisor;
pub(super) use v2::weight_of_shares;

/// Everything but the device rules, on cgroups that were just made: a failure leaves some of it written.
pub(super) fn apply(folders: &[&CgroupFolder], resources: &LinuxResources) -> Result<()> {
    write_all(&entangled::in_order(writes(folders, resources)?))
}

/// Denies every device but the usual ones and what `rules` allow, in their order.
pub(super) fn restrict_devices(folders: &[&CgroupFolder], rules: Option<&[LinuxDeviceCgroup]>) -> Result<()> {
    let rules = devices::Rule::list(rules.unwrap_or_default())?;
    for folder in folders {
        match folder.version {
            Version::V1 if folder.has("devices") => devices::write(&folder.path, &rules)?,
            Version::V1 | Version::Beside => {}
            Version::V2 => device_program::attach(&folder.path, &rules)?,
        }
    }
    Ok(())
}

fn writes(folders: &[&CgroupFolder], resources: &LinuxResources) -> Result<Vec<Write>> {
    match folders.iter().find(|folder| folder.version == Version::V2) {
        Some(folder) => writes_v2(folder, resources),
        None => writes_v1(folders, resources),
    }
}

fn writes_v1(folders: &[&CgroupFolder], resources: &LinuxResources) -> Result<Vec<Write>> {
    let of = |controller: &str| folders.iter().find(|folder| folder.has(controller)).map(|f| f.path.as_path());
    if let (Some(memory), Some(folder)) = (resources.memory(), of("memory")) {
        check_before_update(memory, &folder.join("memory.usage_in_bytes"))?;
    }
    resolve(v1::settings(resources)?, of)
}

fn writes_v2(folder: &CgroupFolder, resources: &LinuxResources) -> Result<Vec<Write>> {
    let read = |file: &str| files::read(&folder.path.join(file)).ok();
    let settings = v2::settings(resources, &v2::Now { read: &read })?;
    if settings.is_empty() {
        return Ok(Vec::new());
    }
    let controllers = folder.path.join("cgroup.controllers");
    let controllers = files::read(&controllers).map_err(|source| Error::Read { path: controllers, source })?;
    let available = |controller: &str| controllers.split_whitespace().any(|name| name == controller);
    let writes = resolve(settings, |controller| available(controller).then_some(folder.path.as_path()))?;
    if let Some(memory) = resources.memory() {
        check_before_update(memory, &folder.path.join("memory.current"))?;
    }
    Ok(writes)
}

/// `checkBeforeUpdate`: refuse a limit below what is in use, instead of reclaiming or killing.
fn check_before_update(memory: &LinuxMemory, usage: &Path) -> Result<()> {
    let (Some(true), Some(limit @ 1..)) = (memory.check_before_update(), memory.limit()) else { return Ok(()) };
    let text = files::read(usage).map_err(|source| Error::Read { path: usage.to_owned(), source })?;
    match text.trim().parse() {
        Ok(usage) if usage > limit => Err(Error::InUse { limit, usage }),
        _ => Ok(()),
    }
}

fn resolve<'a>(settings: Vec<Setting>, folder_of: impl Fn(&str) -> Option<&'a Path>) -> Result<Vec<Write>> {
    let mut writes = Vec::with_capacity(settings.len());
    for setting in settings {
        let Some(folder) = folder_of(&setting.controller) else {
            return Err(Error::NoController { controller: setting.controller.into_owned(), field: setting.field });
        };
        match setting.files.iter().map(|file| folder.join(file)).find(|file| file.exists()) {
            Some(file) => writes.push(Write { field: setting.field, file, value: setting.value }),
            None if setting.need == Need::IfThere => {}
            None => {
                let file = setting.files.join(" or ");
                return Err(Error::NoFile { field: setting.field, file, folder: folder.to_owned() });
            }
        }
    }
    Ok(writes)
}
