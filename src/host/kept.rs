//! The configuration that was kept when a container was created: what the bundle says today does not matter.

use oci_spec::runtime::Spec;

use super::destroy::{Destruction, Hooks};
use super::error::Unusable;
use super::hooks::Ledger;
use super::{HostError, resctrl};
use crate::engine::Wreck;
use crate::model::Phase;
use crate::model::record::{ContainerRecord, Snapshot};
use crate::spec::plan::{Plan, RootSwitch};
use crate::spec::{self, Further, Inputs, OciState};
use crate::store::Folder;

const CONFIG: &str = "config.json";

/// An empty file: the container was made with `--no-pivot`, which its configuration does not say.
pub const COVERED: &str = "no-pivot";

/// The configuration that a sandbox was made with.
pub struct Kept {
    /// As it was written.
    pub spec: Spec,
    /// Planned again, as it was then.
    pub plan: Plan,
}

/// An error: it is lost, or is not the one that the snapshot speaks of.
pub fn load(folder: &Folder, snapshot: &Snapshot) -> Result<Kept, HostError> {
    let (spec, _) = spec::parse(&read(folder, snapshot)?)?;
    let bundle = root_container(snapshot).map(|container| container.bundle.clone()).unwrap_or_default();
    let switch = if folder.read_file(COVERED, 0)?.is_some() { RootSwitch::Cover } else { RootSwitch::Pivot };
    let (host, further) = (spec::Host::here(), Further { switch, ..Further::default() });
    let (plan, _) = spec::plan_kept(&Inputs::of(&spec, &bundle, &host).with(&further))?;
    Ok(Kept { spec, plan })
}

/// What was kept, byte for byte: what an exec may do, and which hooks run on the host, stands in it.
fn read(folder: &Folder, snapshot: &Snapshot) -> Result<Vec<u8>, HostError> {
    let unusable = |problem| HostError::Config { folder: folder.path().to_owned(), problem };
    let bytes = folder.read_file(CONFIG, spec::MAX_BYTES)?.ok_or_else(|| unusable(Unusable::Lost))?;
    match root_container(snapshot) {
        Some(container) if spec::digest(&bytes) == container.spec_digest => Ok(bytes),
        Some(_) => Err(unusable(Unusable::Another)),
        None => Err(unusable(Unusable::Nobodys)),
    }
}

/// Whether the configuration is still the one that the container was created with.
pub fn check(folder: &Folder, snapshot: &Snapshot) -> Result<(), HostError> {
    read(folder, snapshot).map(drop)
}

/// What takes a sandbox down, with the poststop hooks of its configuration. Without a readable one there are none, and a
/// warning says so.
pub fn destruction_of(wreck: &Wreck<'_>) -> Destruction {
    let destruction = Destruction::of_wreck(wreck).with_resctrl(resctrl::noted(wreck.folder));
    let Some(snapshot) = wreck.snapshot else { return destruction };
    match hooks_of(wreck.folder, snapshot) {
        Ok(Some(hooks)) => destruction.with_hooks(hooks),
        Ok(None) => destruction,
        Err(error) => {
            let why = crate::sys::told::on_one_line(&error);
            destruction.with_warning(format!("its poststop hooks, if it had any, cannot be run: {why}"))
        }
    }
}

fn hooks_of(folder: &Folder, snapshot: &Snapshot) -> Result<Option<Hooks>, HostError> {
    let Some(ledger) = ledger_of(folder, snapshot)? else { return Ok(None) };
    let state = state_of(snapshot).document(Phase::Stopped, 0).to_string().into_bytes();
    let bundle = root_container(snapshot).map(|container| container.bundle.clone()).unwrap_or_default();
    Ok(Some(Hooks { ledger, state, bundle }))
}

/// The hooks of a sandbox that exists, and how far they have come; None: it has none that the command line runs.
pub fn ledger_of(folder: &Folder, snapshot: &Snapshot) -> Result<Option<Ledger>, HostError> {
    let plans = load(folder, snapshot)?.plan.hooks;
    Ledger::make(folder, &snapshot.sandbox.id, &snapshot.sandbox.boot, &plans)
}

/// What hooks, agents and readers are told of a sandbox that exists.
pub fn state_of(snapshot: &Snapshot) -> OciState {
    match root_container(snapshot) {
        Some(container) => OciState::new(&snapshot.sandbox.id, &container.bundle, &container.annotations),
        None => OciState::of_unborn(snapshot.sandbox.id.as_str()),
    }
}

/// None: no process of the sandbox was known yet.
pub fn root_container(snapshot: &Snapshot) -> Option<&ContainerRecord> {
    snapshot.containers.get(snapshot.sandbox.id.as_str())
}
