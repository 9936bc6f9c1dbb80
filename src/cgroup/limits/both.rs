//! The settings that v1 and v2 have alike.

use oci_spec::runtime::{
    LinuxBlockIo, LinuxHugepageLimit, LinuxPids, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice,
};

use super::setting::{Need, Setting, bad};
use crate::cgroup::Result;

pub(super) fn pids_setting(pids: &LinuxPids) -> Option<Setting> {
    match pids.limit() {
        0 => None,
        limit @ 1.. => Some(Setting::new("pids", "pids.limit", "pids.max", limit)),
        _ => Some(Setting::new("pids", "pids.limit", "pids.max", "max")),
    }
}

pub(super) fn number_of_weighted(device: &LinuxWeightDevice) -> String {
    format!("{}:{}", device.major(), device.minor())
}

#[derive(Clone, Copy)]
pub(super) enum Throttle {
    ReadBytes,
    WriteBytes,
    ReadOperations,
    WriteOperations,
}

impl Throttle {
    pub fn v1(self) -> &'static str {
        match self {
            Throttle::ReadBytes => "read_bps",
            Throttle::WriteBytes => "write_bps",
            Throttle::ReadOperations => "read_iops",
            Throttle::WriteOperations => "write_iops",
        }
    }

    pub fn v2(self) -> &'static str {
        match self {
            Throttle::ReadBytes => "rbps",
            Throttle::WriteBytes => "wbps",
            Throttle::ReadOperations => "riops",
            Throttle::WriteOperations => "wiops",
        }
    }
}

pub(super) fn throttles(io: &LinuxBlockIo) -> [(&'static str, Throttle, &[LinuxThrottleDevice]); 4] {
    [
        ("blockIO.throttleReadBpsDevice", Throttle::ReadBytes, io.throttle_read_bps_device()),
        ("blockIO.throttleWriteBpsDevice", Throttle::WriteBytes, io.throttle_write_bps_device()),
        ("blockIO.throttleReadIOPSDevice", Throttle::ReadOperations, io.throttle_read_iops_device()),
        ("blockIO.throttleWriteIOPSDevice", Throttle::WriteOperations, io.throttle_write_iops_device()),
    ]
    .map(|(field, kind, devices)| (field, kind, devices.as_deref().unwrap_or_default()))
}

/// `files`: how the limit on use and that on reservations are called.
pub(super) fn hugepage_settings(limit: &LinuxHugepageLimit, files: [&str; 2]) -> Result<[Setting; 2]> {
    let size = limit.page_size();
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    if !number.is_some_and(|number| number.starts_with(|c: char| c != '0') && number.parse::<u32>().is_ok()) {
        return bad("hugepageLimits.pageSize", size, "give a size such as 2MB");
    }
    let setting =
        |file: &str| Setting::new("hugetlb", "hugepageLimits", &format!("hugetlb.{size}.{file}"), limit.limit());
    Ok([setting(files[0]), Setting { need: Need::IfThere, ..setting(files[1]) }])
}

pub(super) fn rdma_settings(resources: &LinuxResources, all: &mut Vec<Setting>) -> Result<()> {
    for (device, limit) in resources.rdma().iter().flatten() {
        if device.is_empty() || device.contains(char::is_whitespace) {
            return bad("rdma", device, "it names no device");
        }
        let mut value = device.clone();
        for (key, limit) in [("hca_handle", limit.hca_handles()), ("hca_object", limit.hca_objects())] {
            if let Some(limit) = limit {
                value += &format!(" {key}={limit}");
            }
        }
        all.push(Setting::new("rdma", "rdma", "rdma.max", value));
    }
    Ok(())
}
