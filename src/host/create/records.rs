//! What is recorded of a sandbox and its container, as soon as every process of theirs is known.

use super::birth::Birth;
use crate::host::rootless;
use crate::model::record::{CgroupRecord, ContainerRecord, ProcessRef, SandboxRecord};

pub fn sandbox(birth: &Birth<'_>, supervisor: ProcessRef, supervisor_cgroup: CgroupRecord) -> SandboxRecord {
    SandboxRecord {
        id: birth.id().clone(),
        incarnation: birth.incarnation.clone(),
        supervisor,
        boot: birth.boot.clone(),
        pid_namespace: birth.pid_namespace(),
        supervisor_cgroup,
        created: birth.options.created,
        attached: birth.options.attached,
    }
}

/// Its root is known only once the init has changed into it.
pub fn container(birth: &Birth<'_>, init: ProcessRef, cgroup: CgroupRecord) -> ContainerRecord {
    let (plan, options) = (birth.plan, birth.options);
    ContainerRecord {
        id: options.id.clone(),
        init,
        root: None,
        reaper: options.reaper,
        bundle: options.bundle.clone(),
        rootfs: plan.rootfs.path.clone(),
        spec_digest: options.spec_digest.clone(),
        cgroup,
        created: options.created,
        owner: rootless::caller(),
        annotations: plan.annotations.iter().cloned().collect(),
    }
}
