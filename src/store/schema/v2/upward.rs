//! From version 1 to version 2, from version 2 upward to the model's types, and back again.

use std::collections::BTreeMap;

use super::super::parts::{Change, Pending, Records};
use super::super::v1::{ChangeV1, ContainerRecordV1, PendingV1, RecordsV1, SnapshotV1};
use super::super::version::VERSION;
use super::*;
use crate::model::record::{ContainerRecord, JournalEntry, RootIdentity, Snapshot};

impl From<ContainerRecordV1> for ContainerRecordV2 {
    fn from(old: ContainerRecordV1) -> ContainerRecordV2 {
        let ContainerRecordV1 { id, init, reaper, bundle, rootfs, spec_digest, cgroup, created, owner, annotations } =
            old;
        ContainerRecordV2 {
            id,
            init,
            root: None,
            reaper,
            bundle,
            rootfs,
            spec_digest,
            cgroup,
            created,
            owner,
            annotations,
        }
    }
}

impl From<SnapshotV1> for WholeV2 {
    fn from(old: SnapshotV1) -> WholeV2 {
        WholeV2 { sandbox: old.sandbox, containers: each(old.containers), state: old.state }
    }
}

impl From<RecordsV1> for RecordsV2 {
    fn from(old: RecordsV1) -> RecordsV2 {
        RecordsV2 { version: VERSION, sandbox: old.sandbox, containers: each(old.containers) }
    }
}

impl From<PendingV1> for PendingV2 {
    fn from(PendingV1 { version: _, id, incarnation, change, journal }: PendingV1) -> PendingV2 {
        let change = match change {
            ChangeV1::Put(snapshot) => ChangeV2::Put(Box::new((*snapshot).into())),
            ChangeV1::PutState(state) => ChangeV2::PutState(state),
            ChangeV1::Delete => ChangeV2::Delete,
        };
        PendingV2 { version: VERSION, id, incarnation, change, journal }
    }
}

impl From<SnapshotV2> for WholeV2 {
    fn from(snapshot: SnapshotV2) -> WholeV2 {
        WholeV2 { sandbox: snapshot.sandbox, containers: snapshot.containers, state: snapshot.state }
    }
}

impl From<WholeV2> for Snapshot {
    fn from(fixed: WholeV2) -> Snapshot {
        Snapshot { sandbox: fixed.sandbox.into(), containers: each(fixed.containers), state: fixed.state.into() }
    }
}

impl From<RecordsV2> for Records {
    fn from(fixed: RecordsV2) -> Records {
        Records { sandbox: fixed.sandbox.into(), containers: each(fixed.containers) }
    }
}

impl From<PendingV2> for Pending {
    fn from(fixed: PendingV2) -> Pending {
        let change = match fixed.change {
            ChangeV2::Put(whole) => Change::Put(Box::new((*whole).into())),
            ChangeV2::PutState(state) => Change::PutState(Box::new((*state).into())),
            ChangeV2::Delete => Change::Delete,
        };
        let journal = fixed.journal.into_iter().map(JournalEntry::from).collect();
        Pending { id: fixed.id.0, incarnation: fixed.incarnation, change, journal }
    }
}

impl From<ContainerRecordV2> for ContainerRecord {
    fn from(fixed: ContainerRecordV2) -> ContainerRecord {
        ContainerRecord {
            id: fixed.id.0,
            init: fixed.init.into(),
            root: fixed.root.map(RootIdentity::from),
            reaper: fixed.reaper.into(),
            bundle: fixed.bundle.into(),
            rootfs: fixed.rootfs.into(),
            spec_digest: fixed.spec_digest,
            cgroup: fixed.cgroup.into(),
            created: fixed.created,
            owner: fixed.owner,
            annotations: fixed.annotations,
        }
    }
}

impl From<&ContainerRecord> for ContainerRecordV2 {
    fn from(record: &ContainerRecord) -> ContainerRecordV2 {
        ContainerRecordV2 {
            id: IdV1(record.id.clone()),
            init: (&record.init).into(),
            root: record.root.map(RootIdentityV2::from),
            reaper: record.reaper.into(),
            bundle: (&record.bundle).into(),
            rootfs: (&record.rootfs).into(),
            spec_digest: record.spec_digest.clone(),
            cgroup: (&record.cgroup).into(),
            created: record.created,
            owner: record.owner,
            annotations: record.annotations.clone(),
        }
    }
}

impl From<RootIdentityV2> for RootIdentity {
    fn from(RootIdentityV2 { mount_id, device, inode }: RootIdentityV2) -> RootIdentity {
        RootIdentity { mount_id, device, inode }
    }
}

impl From<RootIdentity> for RootIdentityV2 {
    fn from(RootIdentity { mount_id, device, inode }: RootIdentity) -> RootIdentityV2 {
        RootIdentityV2 { mount_id, device, inode }
    }
}

fn each<Old, New: From<Old>>(records: BTreeMap<String, Old>) -> BTreeMap<String, New> {
    records.into_iter().map(|(id, record)| (id, record.into())).collect()
}
