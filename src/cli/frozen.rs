//! The configuration that was frozen when a container was created: what the bundle says today does not matter.

use super::failure::Failure;
use crate::host::destroy::Destruction;
use crate::model::record::Snapshot;
use crate::spec::{self, plan::Plan};
use crate::store::Folder;

/// A config.json can hold many mounts and a long seccomp profile; nothing we froze is larger than what we accepted.
const LARGEST: usize = 4 << 20;

pub struct Frozen {
    pub spec: oci_spec::runtime::Spec,
    pub plan: Plan,
}

pub fn load(folder: &Folder, snapshot: &Snapshot) -> Result<Frozen, Failure> {
    let bytes = folder.read_file("config.json", LARGEST)?;
    let bytes = bytes.ok_or_else(|| Failure::new(format!("{:?} has lost its config.json", folder.path())))?;
    let spec = spec::parse(&bytes)?;
    let root = snapshot.containers.get(snapshot.sandbox.id.as_str());
    let bundle = root.map(|container| container.bundle.clone()).unwrap_or_default();
    let plan = spec::plan_frozen(&spec, &bundle)?;
    Ok(Frozen { spec, plan })
}

/// The poststop hooks of a sandbox. Without a readable configuration there are none left to run.
pub fn with_poststop(destruction: Destruction, folder: &Folder, snapshot: &Snapshot) -> Destruction {
    match load(folder, snapshot) {
        Ok(frozen) if !frozen.plan.hooks.poststop.is_empty() => {
            let state = super::state::document(snapshot, "stopped", 0).to_string();
            destruction.with_poststop(frozen.plan.hooks.poststop, state.into_bytes())
        }
        _ => destruction,
    }
}
