//! v2. libcgroups writes memory, cpu, cpuset, pids, hugetlb and `unified`. We check first that each controller is there, so
//! that the error names the field, and write ourselves what it gets wrong or leaves out: io (its conversion of weights
//! overflows) and rdma.

use libcgroups::common::{CgroupManager, ControllerOpt};
use libcgroups::v2::manager::Manager;
use oci_spec::runtime::LinuxResources;

use super::{Setting, bad, v1, write_all};
use crate::cgroup::files;
use crate::cgroup::layout::Folder;
use crate::cgroup::{Error, Result};

pub(super) fn apply(folder: &Folder, resources: &LinuxResources) -> Result<()> {
    let wanted = wanted(resources)?;
    let weights = if folder.path.join("io.bfq.weight").exists() { Weights::Bfq } else { Weights::Plain };
    let io = io_settings(resources, weights)?;
    if wanted.is_empty() && io.is_empty() && resources.unified().as_ref().is_none_or(|unified| unified.is_empty()) {
        return Ok(());
    }
    let controllers = folder.path.join("cgroup.controllers");
    let controllers = files::read(&controllers).map_err(|source| Error::Read { path: controllers, source })?;
    let available = |controller: &str| controllers.split_whitespace().any(|name| name == controller);
    if let Some((controller, field)) = wanted.into_iter().find(|(controller, _)| !available(controller)) {
        return Err(Error::NoController { controller, field });
    }
    if let Some(memory) = resources.memory() {
        v1::check_before_update(memory, &folder.path.join("memory.current"))?;
    }
    write_all(&io, |controller| available(controller).then_some(folder.path.as_path()))?;
    by_library(folder, resources)
}

fn by_library(folder: &Folder, resources: &LinuxResources) -> Result<()> {
    let failed = |source| Error::Library { folder: folder.path.clone(), source: Box::new(source) };
    let mut rest = resources.clone();
    rest.set_devices(None).set_block_io(None).set_rdma(None).set_network(None);
    let below = folder.path.strip_prefix(&folder.mount).unwrap_or(&folder.path);
    let manager = Manager::new(folder.mount.clone(), below.to_owned()).map_err(failed)?;
    let options =
        ControllerOpt { resources: &rest, disable_oom_killer: false, oom_score_adj: None, freezer_state: None };
    manager.apply(&options).map_err(failed)
}

/// The controllers that the library's part of `resources` needs, with the field that needs each.
fn wanted(resources: &LinuxResources) -> Result<Vec<(String, String)>> {
    for (file, value) in resources.unified().iter().flatten() {
        if file.contains('/') || !file.contains('.') || file.starts_with("cgroup.") {
            return bad("unified", file, "it is no file of a controller, such as memory.high");
        }
        if value.contains('\0') {
            return bad("unified", value, "it holds a NUL");
        }
    }
    let mut rest = resources.clone();
    let unified = rest.unified().clone().unwrap_or_default();
    rest.set_unified(None).set_block_io(None).set_rdma(None);
    let fields = v1::settings(&rest)?.into_iter().filter(|setting| has_v2_file(&setting.field));
    let mut wanted: Vec<_> = fields.map(|setting| (setting.controller.to_owned(), setting.field)).collect();
    for file in unified.keys() {
        let controller = file.split('.').next().unwrap_or_default();
        wanted.push((controller.to_owned(), format!("unified {file}")));
    }
    Ok(wanted)
}

/// Some fields are about v1 only, and are ignored on v2 by everyone.
fn has_v2_file(field: &str) -> bool {
    !matches!(field, "memory.swappiness" | "memory.disableOOMKiller" | "memory.kernelTCP")
}

/// Where the bfq scheduler runs, it takes v1's range of weights; else 10-1000 is stretched to 1-10000, as other runtimes do.
#[derive(Clone, Copy)]
enum Weights {
    Bfq,
    Plain,
}

fn io_settings(resources: &LinuxResources, weights: Weights) -> Result<Vec<Setting>> {
    let mut all = Vec::new();
    v1::rdma_settings(resources, &mut all)?;
    let Some(io) = resources.block_io() else { return Ok(all) };
    if let Some(weight @ 1..) = io.leaf_weight() {
        return bad("blockIO.leafWeight", weight, "cgroup v2 has no leaf weights");
    }
    if let Some(weight @ 1..) = io.weight() {
        let (file, value) = match weights {
            Weights::Bfq => ("io.bfq.weight", weight.to_string()),
            Weights::Plain => ("io.weight", (1 + u64::from(weight.saturating_sub(10)) * 9999 / 990).to_string()),
        };
        all.push(Setting::new("io", "blockIO.weight", file, value));
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(weight @ 1..) = device.weight() {
            let value = format!("{} {weight}", v1::number_of_weighted(device));
            all.push(Setting::new("io", "blockIO.weightDevice", "io.bfq.weight", value));
        }
    }
    for (field, kind, devices) in v1::throttles(io) {
        for device in devices {
            let value = format!("{}:{} {}={}", device.major(), device.minor(), kind.v2(), device.rate());
            all.push(Setting::new("io", field, "io.max", value));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> LinuxResources {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn io_weights_are_stretched_without_overflow_and_throttles_share_a_file() {
        let resources = parse(
            r#"{"blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 9}],
                "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 7}]}}"#,
        );
        let values = |weights| -> Vec<_> {
            io_settings(&resources, weights).unwrap().into_iter().map(|s| (s.files.join("|"), s.value)).collect()
        };
        assert_eq!(values(Weights::Plain)[0], ("io.weight".to_owned(), "4950".to_owned()));
        assert_eq!(values(Weights::Bfq)[0], ("io.bfq.weight".to_owned(), "500".to_owned()));
        assert_eq!(values(Weights::Bfq)[1].1, "8:0 rbps=9");
        assert_eq!(values(Weights::Bfq)[2].1, "8:0 wiops=7");
    }

    #[test]
    fn what_is_needed_is_named_by_controller_and_field() {
        let wanted = |json| wanted(&parse(json)).unwrap();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(wanted(r#"{"memory": {"limit": 5, "swappiness": 60}}"#), [pair("memory", "memory.limit")]);
        assert_eq!(wanted(r#"{"unified": {"memory.high": "5"}}"#), [pair("memory", "unified memory.high")]);
        assert_eq!(wanted(r#"{"network": {"classID": 5}}"#), [pair("net_cls", "network.classID")]);
        assert_eq!(wanted(r#"{"memory": {"kernel": 5}, "devices": [{"allow": false}]}"#), []);
    }

    #[test]
    fn unified_cannot_leave_the_folder_or_move_processes() {
        for file in ["../memory.max", "memory/max", "cgroup.procs", "cgroup.freeze", "memory", ""] {
            assert!(wanted(&parse(&format!(r#"{{"unified": {{"{file}": "1"}}}}"#))).is_err(), "{file:?} was accepted");
        }
    }
}
