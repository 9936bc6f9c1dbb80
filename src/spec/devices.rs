//! Device nodes: those that every container has, and those of the specification.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType};

use super::plan::DevicePlan;
use super::{SpecError, check};

/// The kernel's largest numbers in a dev_t.
const MAX_MAJOR: i64 = (1 << 12) - 1;
const MAX_MINOR: i64 = (1 << 20) - 1;

/// The runtime makes these itself, in a way of its own.
const RESERVED: [&str; 2] = ["/dev/ptmx", "/dev/console"];

/// Defaults first; a device of the specification replaces an earlier one of the same path.
pub(super) fn plan(linux: &Linux, warnings: &mut Vec<String>) -> Result<Vec<DevicePlan>, SpecError> {
    let mut planned = defaults();
    let mut places: HashMap<PathBuf, usize> =
        planned.iter().enumerate().map(|(place, device)| (device.path.clone(), place)).collect();
    for (index, device) in linux.devices().iter().flatten().enumerate() {
        let field = format!("linux.devices[{index}]");
        let device = plan_one(&field, device)?;
        if RESERVED.iter().any(|path| device.path == Path::new(path)) {
            warnings.push(format!("{field}.path: {:?} is made by the runtime; ignored", device.path));
            continue;
        }
        match places.entry(device.path.clone()) {
            Entry::Occupied(earlier) => planned[*earlier.get()] = device,
            Entry::Vacant(new) => {
                new.insert(planned.len());
                planned.push(device);
            }
        }
    }
    Ok(planned)
}

/// runtime-spec, config-linux.md, "Default Devices".
fn defaults() -> Vec<DevicePlan> {
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
        .into_iter()
        .map(|(name, major, minor)| DevicePlan {
            path: PathBuf::from("/dev").join(name),
            file_type: libc::S_IFCHR,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
        .collect()
}

fn plan_one(field: &str, device: &LinuxDevice) -> Result<DevicePlan, SpecError> {
    let path = check::absolute(&format!("{field}.path"), device.path())?;
    if path == Path::new("/") || path.components().any(|part| part.as_os_str() == "..") {
        return Err(SpecError::invalid(format!("{field}.path"), format!("{path:?} cannot be a device")));
    }
    let file_type = match device.typ() {
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => {
            return Err(SpecError::invalid(format!("{field}.type"), "\"a\" is only for rules; use b, c, u or p"));
        }
    };
    let (major, minor) = match file_type {
        libc::S_IFIFO => (0, 0),
        _ => (
            number(&format!("{field}.major"), device.major(), MAX_MAJOR)?,
            number(&format!("{field}.minor"), device.minor(), MAX_MINOR)?,
        ),
    };
    Ok(DevicePlan {
        path,
        file_type,
        major,
        minor,
        mode: mode(&format!("{field}.fileMode"), device.file_mode())?,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

fn number(field: &str, value: i64, most: i64) -> Result<u64, SpecError> {
    match u64::try_from(value) {
        Ok(number) if value <= most => Ok(number),
        _ => Err(SpecError::invalid(field, format!("{value} is not in 0..={most}"))),
    }
}

/// Some callers pass the whole st_mode; the bits of the file type are known already.
fn mode(field: &str, given: Option<u32>) -> Result<u32, SpecError> {
    let mode = given.unwrap_or(0o666) & !libc::S_IFMT;
    match mode & !0o7777 {
        0 => Ok(mode),
        _ => Err(SpecError::invalid(field, format!("{mode:#o} holds more than permission bits"))),
    }
}
