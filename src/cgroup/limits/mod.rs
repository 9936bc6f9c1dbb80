//! `linux.resources` onto cgroups. First pure: resources become a list of [`Setting`]s, a value for a file each, with the
//! name of the field it came from; then [`write_all`] writes them.
//!
//! v1 is written here and not by libcgroups, which takes 3 ms before its first write and is wrong in places
//! (docs/cgroups.md says where). On v2 libcgroups writes what it gets right; [`v2`] checks first and does the rest.

mod device_program;
mod devices;
mod v1;
mod v2;

use std::io;
use std::path::Path;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};

use super::files;
use super::hierarchies::Version;
use super::layout::Folder;
use super::{Error, Result};

/// One value for one file of one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    controller: &'static str,
    /// As in the spec, e.g. `memory.limit`.
    field: String,
    /// The first of these that exists is written.
    files: Vec<String>,
    value: String,
    need: Need,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Must,
    /// A refinement that older kernels do not have.
    IfThere,
}

impl Setting {
    fn new(controller: &'static str, field: &str, file: &str, value: impl ToString) -> Setting {
        Setting {
            controller,
            field: field.to_owned(),
            files: vec![file.to_owned()],
            value: value.to_string(),
            need: Need::Must,
        }
    }
}

/// Everything but the device rules.
pub(super) fn apply(folders: &[&Folder], resources: &LinuxResources) -> Result<()> {
    match folders.iter().find(|folder| folder.version == Version::V2) {
        Some(folder) => v2::apply(folder, resources),
        None => v1::apply(folders, resources),
    }
}

/// Denies every device but the usual ones and what `rules` allow, in their order.
pub(super) fn restrict_devices(folders: &[&Folder], rules: Option<&[LinuxDeviceCgroup]>) -> Result<()> {
    let rules = devices::Rule::list(rules.unwrap_or_default())?;
    for folder in folders {
        match folder.version {
            Version::V1 if folder.has("devices") => devices::write(&folder.path, &rules)?,
            Version::V1 => {}
            Version::V2 => device_program::attach(&folder.path, &rules)?,
        }
    }
    Ok(())
}

/// Writes all of them. Some values are only valid once another has changed (a limit above the old limit with swap, a
/// burst above the old quota): what the kernel calls invalid is tried again after the others, as long as that helps.
fn write_all<'a>(settings: &'a [Setting], folder_of: impl Fn(&str) -> Option<&'a Path>) -> Result<()> {
    let mut waiting: Vec<&Setting> = settings.iter().collect();
    loop {
        let before = waiting.len();
        let mut first_error = None;
        let mut again = Vec::new();
        for setting in waiting {
            let missing =
                || Error::NoController { controller: setting.controller.to_owned(), field: setting.field.clone() };
            let folder = folder_of(setting.controller).ok_or_else(missing)?;
            match write_one(setting, folder) {
                Ok(()) => {}
                Err(error) if is_invalid(&error) => {
                    again.push(setting);
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match first_error {
            None => return Ok(()),
            Some(error) if again.len() == before => return Err(error),
            Some(_) => waiting = again,
        }
    }
}

fn write_one(setting: &Setting, folder: &Path) -> Result<()> {
    for file in &setting.files {
        let path = folder.join(file);
        match files::write(&path, &setting.value) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                let (field, value) = (setting.field.clone(), setting.value.clone());
                return Err(Error::Limit { field, value, file: path, source });
            }
        }
    }
    match setting.need {
        Need::IfThere => Ok(()),
        Need::Must => Err(Error::NoFile {
            field: setting.field.clone(),
            file: setting.files.join(" or "),
            folder: folder.to_owned(),
        }),
    }
}

fn is_invalid(error: &Error) -> bool {
    matches!(error, Error::Limit { source, .. } if source.raw_os_error() == Some(libc::EINVAL))
}

fn bad<T>(field: &str, value: impl ToString, why: &'static str) -> Result<T> {
    Err(Error::BadLimit { field: field.to_owned(), value: value.to_string(), why })
}
