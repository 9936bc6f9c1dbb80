//! The model's types to bytes, in the version that is written.

use serde::Serialize;

use super::v1::*;
use super::{Change, Pending, Records, VERSION};
use crate::model::record::*;

pub fn encode_snapshot(snapshot: &Snapshot) -> Vec<u8> {
    to_json(&SnapshotV1::from(snapshot))
}

pub fn encode_intent(intent: &Intent) -> Vec<u8> {
    to_json(&IntentV1::from(intent))
}

pub fn encode_journal_entry(entry: &JournalEntry) -> Vec<u8> {
    to_json(&JournalEntryV1::from(entry))
}

pub fn encode_records(records: &Records) -> Vec<u8> {
    to_json(&RecordsV1 { version: VERSION, sandbox: (&records.sandbox).into(), containers: by_id(&records.containers) })
}

pub fn encode_state(state: &State) -> Vec<u8> {
    to_json(&StoredStateV1 { version: VERSION, state: state.into() })
}

pub fn encode_pending(pending: &Pending) -> Vec<u8> {
    let change = match &pending.change {
        Change::Put(snapshot) => ChangeV1::Put(Box::new((&**snapshot).into())),
        Change::PutState(state) => ChangeV1::PutState(Box::new((&**state).into())),
        Change::Delete => ChangeV1::Delete,
    };
    to_json(&PendingV1 {
        version: VERSION,
        id: IdV1(pending.id.clone()),
        incarnation: pending.incarnation.clone(),
        change,
        journal: pending.journal.iter().map(JournalEntryV1::from).collect(),
    })
}

impl From<&Snapshot> for SnapshotV1 {
    fn from(snapshot: &Snapshot) -> SnapshotV1 {
        SnapshotV1 {
            version: VERSION,
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
            version: VERSION,
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
            version: VERSION,
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
        }
    }
}

fn by_id(
    records: &std::collections::BTreeMap<String, ContainerRecord>,
) -> std::collections::BTreeMap<String, ContainerRecordV1> {
    records.iter().map(|(id, record)| (id.clone(), record.into())).collect()
}

fn to_json(shape: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(shape).expect("the shapes hold only numbers, strings, lists and maps by string")
}
