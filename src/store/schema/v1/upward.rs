//! From version 1 upward to the model's types, and field by field back again. FROZEN with the shapes. Those that changed
//! later (the container's record, and what it is in) go upward by way of `v2`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::*;
use crate::model::record::*;

/// A struct of the model whose fields have the same names here and convert one by one, both ways.
macro_rules! same_fields {
    ($($frozen:ident = $model:ident { $($field:ident),* })*) => {$(
        impl From<$frozen> for $model {
            fn from(frozen: $frozen) -> $model {
                $model { $($field: Up::up(frozen.$field)),* }
            }
        }

        impl From<&$model> for $frozen {
            fn from(model: &$model) -> $frozen {
                $frozen { $($field: Up::down(&model.$field)),* }
            }
        }

        impl Up<$model> for $frozen {
            fn up(self) -> $model { self.into() }
            fn down(model: &$model) -> $frozen { model.into() }
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

/// A field of a frozen shape, and the model's type it becomes.
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
    (names: $($frozen:ty => $model:ty),*) => {$(
        impl Up<$model> for $frozen {
            fn up(self) -> $model { self.into() }
            fn down(model: &$model) -> $frozen { (*model).into() }
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

impl<Model, Frozen: Up<Model>> Up<Option<Model>> for Option<Frozen> {
    fn up(self) -> Option<Model> {
        self.map(Up::up)
    }
    fn down(model: &Option<Model>) -> Option<Frozen> {
        model.as_ref().map(Up::down)
    }
}

impl<Model, Frozen: Up<Model>> Up<Vec<Model>> for Vec<Frozen> {
    fn up(self) -> Vec<Model> {
        self.into_iter().map(Up::up).collect()
    }
    fn down(model: &Vec<Model>) -> Vec<Frozen> {
        model.iter().map(Up::down).collect()
    }
}

impl<Model, Frozen: Up<Model>> Up<BTreeMap<String, Model>> for BTreeMap<String, Frozen> {
    fn up(self) -> BTreeMap<String, Model> {
        self.into_iter().map(|(id, frozen)| (id, frozen.up())).collect()
    }
    fn down(model: &BTreeMap<String, Model>) -> BTreeMap<String, Frozen> {
        model.iter().map(|(id, model)| (id.clone(), Up::down(model))).collect()
    }
}

impl From<IntentV1> for Intent {
    fn from(frozen: IntentV1) -> Intent {
        let sandbox = frozen.sandbox.0;
        Intent {
            seq: frozen.seq,
            container: frozen.container.map_or_else(|| sandbox.clone(), |id| id.0),
            sandbox,
            machine: frozen.machine.into(),
            from: frozen.from.into(),
            event: frozen.event.into(),
            to: frozen.to.into(),
            holder: frozen.holder.into(),
            boot: frozen.boot.into(),
            at: frozen.at,
            cgroups: frozen.cgroups.up(),
        }
    }
}

impl From<JournalEntryV1> for JournalEntry {
    fn from(frozen: JournalEntryV1) -> JournalEntry {
        JournalEntry {
            sandbox: frozen.sandbox.0,
            incarnation: frozen.incarnation,
            container: frozen.container.0,
            machine: frozen.machine.into(),
            seq: frozen.seq,
            from: frozen.from.into(),
            event: frozen.event.into(),
            to: frozen.to.into(),
            began: frozen.began,
            ended: frozen.ended,
            exit: frozen.exit.up(),
            by: frozen.by.into(),
            signal: frozen.signal.map(|asked| SignalAsked {
                number: asked.number,
                uid: asked.uid,
                caller: asked.caller,
                program: asked.program,
            }),
        }
    }
}
