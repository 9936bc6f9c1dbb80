//! The model's types to bytes, in the version that is written.

use serde::Serialize;

use super::parts::{Change, Pending, Records};
use super::seal;
use super::v1::{
    ExitV1, HookRecordV1, IdV1, IntentV1, JournalEntryV1, LimitsV1, PathV1, ScopeV1, SignalAskedV1, StoredStateV1,
};
use super::v2::{ChangeV2, ContainerRecordV2, PendingV2, RecordsV2, SnapshotV2, WholeV2};
use super::version::{UNCHANGED, VERSION};
use crate::model::record::*;

/// With its checksum in front.
pub fn encode_snapshot(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = to_json(&SnapshotV2::from(snapshot));
    seal::set(&mut bytes);
    bytes
}

/// Without the checksum, which the block in the lock file has.
pub fn encode_intent(intent: &Intent) -> Vec<u8> {
    to_json(&IntentV1::from(intent))
}

/// One value of the database.
pub fn encode_journal_entry(entry: &JournalEntry) -> Vec<u8> {
    to_json(&JournalEntryV1::from(entry))
}

/// The immutable half of a snapshot.
pub fn encode_records(records: &Records) -> Vec<u8> {
    to_json(&RecordsV2 { version: VERSION, sandbox: (&records.sandbox).into(), containers: by_id(&records.containers) })
}

/// The half that every commit replaces.
pub fn encode_state(state: &State) -> Vec<u8> {
    to_json(&StoredStateV1 { version: UNCHANGED, state: state.into() })
}

/// One frame's payload.
pub fn encode_pending(pending: &Pending) -> Vec<u8> {
    let change = match &pending.change {
        Change::Put(snapshot) => ChangeV2::Put(Box::new((&**snapshot).into())),
        Change::PutState(state) => ChangeV2::PutState(Box::new((&**state).into())),
        Change::Delete => ChangeV2::Delete,
    };
    to_json(&PendingV2 {
        version: VERSION,
        id: IdV1(pending.id.clone()),
        incarnation: pending.incarnation.clone(),
        change,
        journal: pending.journal.iter().map(JournalEntryV1::from).collect(),
    })
}

/// One frame's payload.
pub fn encode_hook_record(record: &HookRecord) -> Vec<u8> {
    to_json(&HookRecordV1::from(record))
}

/// What a file of its own holds.
pub fn encode_limits(limits: &Limits) -> Vec<u8> {
    to_json(&LimitsV1::from(limits))
}

/// What a file of its own holds.
pub fn encode_scope(scope: &ScopeRecord) -> Vec<u8> {
    to_json(&ScopeV1::from(scope))
}

impl From<&Snapshot> for SnapshotV2 {
    fn from(snapshot: &Snapshot) -> SnapshotV2 {
        let WholeV2 { sandbox, containers, state } = snapshot.into();
        SnapshotV2 { crc32: seal::OPEN.to_owned(), version: VERSION, sandbox, containers, state }
    }
}

impl From<&Snapshot> for WholeV2 {
    fn from(snapshot: &Snapshot) -> WholeV2 {
        WholeV2 {
            sandbox: (&snapshot.sandbox).into(),
            containers: by_id(&snapshot.containers),
            state: (&snapshot.state).into(),
        }
    }
}

impl From<&Intent> for IntentV1 {
    fn from(intent: &Intent) -> IntentV1 {
        // Written only where it says something: two ids of 1,024 bytes would fill half of the preallocated block.
        let container = (intent.container != intent.sandbox).then(|| IdV1(intent.container.clone()));
        IntentV1 {
            version: UNCHANGED,
            seq: intent.seq,
            sandbox: IdV1(intent.sandbox.clone()),
            container,
            machine: intent.machine.into(),
            from: intent.from.into(),
            event: intent.event.into(),
            to: intent.to.into(),
            holder: (&intent.holder).into(),
            boot: (&intent.boot).into(),
            at: intent.at,
            cgroups: intent.cgroups.iter().map(PathV1::from).collect(),
        }
    }
}

impl From<&JournalEntry> for JournalEntryV1 {
    fn from(entry: &JournalEntry) -> JournalEntryV1 {
        JournalEntryV1 {
            version: UNCHANGED,
            sandbox: IdV1(entry.sandbox.clone()),
            incarnation: entry.incarnation.clone(),
            container: IdV1(entry.container.clone()),
            machine: entry.machine.into(),
            seq: entry.seq,
            from: entry.from.into(),
            event: entry.event.into(),
            to: entry.to.into(),
            began: entry.began,
            ended: entry.ended,
            exit: entry.exit.as_ref().map(ExitV1::from),
            by: entry.by.into(),
            signal: entry.signal.as_ref().map(|asked| SignalAskedV1 {
                number: asked.number,
                uid: asked.uid,
                caller: asked.caller,
                program: asked.program.clone(),
            }),
        }
    }
}

fn by_id(
    records: &std::collections::BTreeMap<String, ContainerRecord>,
) -> std::collections::BTreeMap<String, ContainerRecordV2> {
    records.iter().map(|(id, record)| (id.clone(), record.into())).collect()
}

fn to_json(shape: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(shape).expect("the shapes hold only numbers, strings, lists and maps by string")
}
