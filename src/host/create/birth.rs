//! What every stage of a birth goes by, and none of them changes.

use std::os::fd::OwnedFd;

use super::options::Options;
use crate::engine::Pace;
use crate::host::HostError;
use crate::host::hooks::{Given, Ledger};
use crate::host::protect::Binary;
use crate::model::record::{Boot, HookKind, PidNamespace};
use crate::model::{Id, Phase};
use crate::spec::OciState;
use crate::spec::plan::{NamespaceKind, Plan};

pub struct Birth<'a> {
    pub plan: &'a Plan,
    pub options: &'a Options,
    /// What the supervisor and the helper are executed from.
    pub binary: Binary,
    /// The sandbox's own.
    pub folder: OwnedFd,
    pub boot: Boot,
    pub incarnation: String,
    /// None: it has no hooks that are recorded.
    pub ledger: Option<Ledger>,
    /// What the user must know of what went wrong and stops nobody.
    pub warnings: Vec<String>,
}

impl Birth<'_> {
    pub fn id(&self) -> &Id {
        &self.options.id
    }

    pub fn pid_namespace(&self) -> PidNamespace {
        if self.plan.makes(NamespaceKind::Pid) { PidNamespace::Own } else { PidNamespace::Foreign }
    }

    /// Whether hooks run before it is there.
    pub fn pace(&self) -> Pace {
        let hooks = &self.plan.hooks;
        let any = [&hooks.prestart, &hooks.create_runtime, &hooks.create_container];
        Pace::with_hooks(any.iter().any(|hooks| !hooks.is_empty()))
    }

    /// What hooks read on their standard input.
    pub fn state(&self, phase: Phase, pid: i32) -> Vec<u8> {
        oci_state(self.plan, self.options).document(phase, pid).to_string().into_bytes()
    }

    /// Hooks that run once the mounts are there.
    pub fn run_hooks_of_runtime(&self, init: i32) -> Result<(), HostError> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let state = self.state(Phase::Creating, init);
        let given = Given { state_json: &state, bundle: &self.options.bundle };
        ledger.run(HookKind::Prestart, given)?;
        ledger.run(HookKind::CreateRuntime, given)
    }

    /// Of a birth that failed when the container was there already.
    pub fn run_poststop(&mut self) {
        let Some(ledger) = &self.ledger else { return };
        let state = self.state(Phase::Stopped, 0);
        let given = Given { state_json: &state, bundle: &self.options.bundle };
        self.warnings.extend(ledger.run_all(HookKind::Poststop, given));
    }
}

/// What hooks and agents are told of the container.
pub fn oci_state(plan: &Plan, options: &Options) -> OciState {
    OciState::new(&options.id, &options.bundle, plan.annotations.iter().map(|(key, value)| (key, value)))
}
