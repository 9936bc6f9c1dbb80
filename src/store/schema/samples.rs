//! Records to test with.

use std::collections::BTreeMap;

use crate::model::record::*;
use crate::model::{Event, Id, Machine, Phase};

pub fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

pub fn process(pid: i32) -> ProcessRef {
    ProcessRef { pid, start_time: 123_456, pidfd_inode: Some(77) }
}

pub fn boot() -> Boot {
    Boot { boot_id: "c1f4f44c-11e6-4f2c-a6a5-5c4e1ea6f0aa".to_owned(), time_namespace: 4_026_531_834 }
}

pub fn intent(sandbox: &str) -> Intent {
    Intent {
        seq: 3,
        sandbox: id(sandbox),
        container: id(sandbox),
        machine: Machine::Sandbox,
        from: Phase::Creating,
        event: Event::LaunchRequested,
        to: Phase::Booted,
        holder: process(41),
        boot: boot(),
        at: 1_760_000_000_000_000_000,
        cgroups: vec!["/sys/fs/cgroup/sandkeep/web".into()],
    }
}

pub fn snapshot(sandbox: &str) -> Snapshot {
    let cgroup = CgroupRecord {
        folders: vec!["/sys/fs/cgroup/sandkeep/web".into()],
        freezer: Some("/sys/fs/cgroup/sandkeep/web".into()),
        path: "/sandkeep/web".to_owned(),
    };
    let container = ContainerRecord {
        id: id(sandbox),
        init: process(43),
        root: Some(RootIdentity { mount_id: 412, device: 65, inode: 2 }),
        reaper: Reaper::Caller,
        bundle: "/bundle".into(),
        rootfs: "/bundle/rootfs".into(),
        spec_digest: "0".repeat(64),
        cgroup: cgroup.clone(),
        created: 1_760_000_000_000_000_000,
        owner: 0,
        annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
    };
    Snapshot {
        sandbox: SandboxRecord {
            id: id(sandbox),
            incarnation: "5".repeat(32),
            supervisor: process(42),
            boot: boot(),
            pid_namespace: PidNamespace::Own,
            supervisor_cgroup: cgroup,
            created: 1_760_000_000_000_000_000,
            attached: false,
        },
        containers: BTreeMap::from([(sandbox.to_owned(), container)]),
        state: State {
            seq: 2,
            sandbox: ContainerState { phase: Phase::Booted, since: 1_760_000_000_000_000_001, exit: None },
            containers: BTreeMap::new(),
        },
    }
}

pub fn entry(sandbox: &str, seq: u64) -> JournalEntry {
    JournalEntry {
        sandbox: id(sandbox),
        incarnation: "5".repeat(32),
        container: id(sandbox),
        machine: Machine::Sandbox,
        seq,
        from: Phase::Booted,
        event: Event::StartRequested,
        to: Phase::Running,
        began: seq as i64,
        ended: seq as i64 + 1,
        exit: None,
        by: Actor::Command,
        signal: None,
    }
}
