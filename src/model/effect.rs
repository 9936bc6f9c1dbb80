//! What must be done to the machine for a transition, as data. Each effect is idempotent and names its undo.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Claim the id: rename a prepared folder to its name.
    ClaimId,
    MakeCgroups,
    /// Exec the supervisor as pid 1 of a new PID namespace. It dies with its creator until the record is published.
    SpawnSupervisor,
    /// Clone the container's init; it sets itself up and waits for the start message.
    LaunchInit,
    /// Hand the init to the supervisor, which then no longer depends on its creator.
    AdoptInit,
    /// Exec another supervisor for what runs on without one. It dies with its maker until it is on record and has been
    /// given the init.
    RenewSupervisor,
    /// The supervisor sends the start message; the init executes the application.
    ReleaseInit,
    Freeze,
    Thaw,
    SendSignal,
    LaunchExec,
    ApplyLimits,
    /// SIGKILL the supervisor and wait: the kernel kills everything in the sandbox.
    KillSandbox,
    /// SIGKILL every process of one container and wait.
    KillContainer,
    RunPoststopHooks,
    RemoveCgroups,
    /// Rename the folder away, then remove it: the id is free at the rename.
    ReleaseId,
}

/// How an effect is taken back when a later one of the same transition fails, or its process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Undo {
    By(Effect),
    /// Cannot be taken back: recovery completes the transition instead.
    Irreversible,
    /// Leaves nothing behind that would have to be taken back.
    Nothing,
}

impl Effect {
    pub const ALL: [Effect; 17] = [
        Effect::ClaimId,
        Effect::MakeCgroups,
        Effect::SpawnSupervisor,
        Effect::LaunchInit,
        Effect::AdoptInit,
        Effect::RenewSupervisor,
        Effect::ReleaseInit,
        Effect::Freeze,
        Effect::Thaw,
        Effect::SendSignal,
        Effect::LaunchExec,
        Effect::ApplyLimits,
        Effect::KillSandbox,
        Effect::KillContainer,
        Effect::RunPoststopHooks,
        Effect::RemoveCgroups,
        Effect::ReleaseId,
    ];

    pub fn undo(self) -> Undo {
        match self {
            Effect::ClaimId => Undo::By(Effect::ReleaseId),
            Effect::MakeCgroups => Undo::By(Effect::RemoveCgroups),
            Effect::SpawnSupervisor => Undo::By(Effect::KillSandbox),
            Effect::LaunchInit | Effect::AdoptInit => Undo::By(Effect::KillContainer),
            Effect::Freeze => Undo::By(Effect::Thaw),
            Effect::Thaw => Undo::By(Effect::Freeze),
            Effect::ApplyLimits => Undo::By(Effect::ApplyLimits),
            Effect::LaunchExec | Effect::RenewSupervisor => Undo::Nothing,
            Effect::ReleaseInit
            | Effect::SendSignal
            | Effect::KillSandbox
            | Effect::KillContainer
            | Effect::RunPoststopHooks
            | Effect::RemoveCgroups
            | Effect::ReleaseId => Undo::Irreversible,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Effect::ClaimId => "claim-id",
            Effect::MakeCgroups => "make-cgroups",
            Effect::SpawnSupervisor => "spawn-supervisor",
            Effect::LaunchInit => "launch-init",
            Effect::AdoptInit => "adopt-init",
            Effect::RenewSupervisor => "renew-supervisor",
            Effect::ReleaseInit => "release-init",
            Effect::Freeze => "freeze",
            Effect::Thaw => "thaw",
            Effect::SendSignal => "send-signal",
            Effect::LaunchExec => "launch-exec",
            Effect::ApplyLimits => "apply-limits",
            Effect::KillSandbox => "kill-sandbox",
            Effect::KillContainer => "kill-container",
            Effect::RunPoststopHooks => "run-poststop-hooks",
            Effect::RemoveCgroups => "remove-cgroups",
            Effect::ReleaseId => "release-id",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
