//! From version 1 upward to the model's types, and field by field back again. FIXED with the shapes. Those that changed
//! later (the container's record, and what it is in) go upward by way of `v2`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::*;
use crate::model::record::*;

/// A struct of the model whose fields have the same names here and convert one by one, both ways.
macro_rules! same_fields {
    ($($fixed:ident = $model:ident { $($field:ident),* })*) => {$(
        impl From<$fixed> for $model {
            fn from(fixed: $fixed) -> $model {
                $model { $($field: Up::up(fixed.$field)),* }
            }
        }

        impl From<&$model> for $fixed {
            fn from(model: &$model) -> $fixed {
                $fixed { $($field: Up::down(&model.$field)),* }
            }
        }

        impl Up<$model> for $fixed {
            fn up(self) -> $model { self.into() }
            fn down(model: &$model) -> $fixed { model.into() }
        }
    )*};
}

same_fields! {
    SandboxRecordV1 = SandboxRecord {
        id, incarnation, supervisor, boot, pid_namespace, supervisor_cgroup, created, attached
    }
    StateV1 = State { seq, sandbox, containers }
    ContainerStateV1 = ContainerState { phase, since, exit }
    ExitV1 = Exit { code, signal, at, inferred }
    ProcessRefV1 = ProcessRef { pid, start_time, pidfd_inode }
    BootV1 = Boot { boot_id, time_namespace }
    CgroupRecordV1 = CgroupRecord { folders, freezer, path }
}

/// A field of a fixed shape, and the model's type it becomes.
trait Up<Model> {
    fn up(self) -> Model;
    fn down(model: &Model) -> Self;
}

macro_rules! up {
    (same: $($kind:ty),*) => {$(
        impl Up<$kind> for $kind {
            fn up(self) -> $kind { self }
            fn down(model: &$kind) -> $kind { model.clone() }
        }
    )*};
    (names: $($fixed:ty => $model:ty),*) => {$(
        impl Up<$model> for $fixed {
            fn up(self) -> $model { self.into() }
            fn down(model: &$model) -> $fixed { (*model).into() }
        }
    )*};
}

up!(same: bool, u8, i32, u32, i64, u64, String);
up!(names: PhaseV1 => Phase, ReaperV1 => Reaper, PidNamespaceV1 => PidNamespace);

impl Up<Id> for IdV1 {
    fn up(self) -> Id {
        self.0
    }
    fn down(id: &Id) -> IdV1 {
        IdV1(id.clone())
    }
}

impl Up<PathBuf> for PathV1 {
    fn up(self) -> PathBuf {
        match self {
            PathV1::Text(text) => text.into(),
            PathV1::Bytes { bytes } => OsString::from_vec(bytes).into(),
        }
    }
    fn down(path: &PathBuf) -> PathV1 {
        match path.to_str() {
            Some(text) => PathV1::Text(text.to_owned()),
            None => PathV1::Bytes { bytes: path.as_os_str().as_bytes().to_vec() },
        }
    }
}

impl From<PathV1> for PathBuf {
    fn from(path: PathV1) -> PathBuf {
        path.up()
    }
}

impl From<&PathBuf> for PathV1 {
    fn from(path: &PathBuf) -> PathV1 {
        Up::down(path)
    }
}

impl<Model, Fixed: Up<Model>> Up<Option<Model>> for Option<Fixed> {
    fn up(self) -> Option<Model> {
        self.map(Up::up)
    }
    fn down(model: &Option<Model>) -> Option<Fixed> {
        model.as_ref().map(Up::down)
    }
}

impl<Model, Fixed: Up<Model>> Up<Vec<Model>> for Vec<Fixed> {
    fn up(self) -> Vec<Model> {
        self.into_iter().map(Up::up).collect()
    }
    fn down(model: &Vec<Model>) -> Vec<Fixed> {
        model.iter().map(Up::down).collect()
    }
}

impl<Model, Fixed: Up<Model>> Up<BTreeMap<String, Model>> for BTreeMap<String, Fixed> {
    fn up(self) -> BTreeMap<String, Model> {
        self.into_iter().map(|(id, fixed)| (id, fixed.up())).collect()
    }
    fn down(model: &BTreeMap<String, Model>) -> BTreeMap<String, Fixed> {
        model.iter().map(|(id, model)| (id.clone(), Up::down(model))).collect()
    }
}

impl From<IntentV1> for Intent {
    fn from(fixed: IntentV1) -> Intent {
        let sandbox = fixed.sandbox.0;
        Intent {
            seq: fixed.seq,
            container: fixed.container.map_or_else(|| sandbox.clone(), |id| id.0),
            sandbox,
            machine: fixed.machine.into(),
            from: fixed.from.into(),
            event: fixed.event.into(),
            to: fixed.to.into(),
            holder: fixed.holder.into(),
            boot: fixed.boot.into(),
            at: fixed.at,
            cgroups: fixed.cgroups.up(),
        }
    }
}

impl From<JournalEntryV1> for JournalEntry {
    fn from(fixed: JournalEntryV1) -> JournalEntry {
        JournalEntry {
            sandbox: fixed.sandbox.0,
            incarnation: fixed.incarnation,
            container: fixed.container.0,
            machine: fixed.machine.into(),
            seq: fixed.seq,
            from: fixed.from.into(),
            event: fixed.event.into(),
            to: fixed.to.into(),
            began: fixed.began,
            ended: fixed.ended,
            exit: fixed.exit.up(),
            by: fixed.by.into(),
            signal: fixed.signal.map(|asked| SignalAsked {
                number: asked.number,
                uid: asked.uid,
                caller: asked.caller,
                program: asked.program,
            }),
        }
    }
}
