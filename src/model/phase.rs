//! Where a sandbox or a container is in its life.

use std::fmt;

/// Which of the two machines a row of the table speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Machine {
    /// The supervisor and its root container, which live and die together.
    Sandbox,
    /// A further container of the pod.
    Container,
}

impl Machine {
    /// Both.
    pub const ALL: [Machine; 2] = [Machine::Sandbox, Machine::Container];

    /// As the table prints it and the journal has it.
    pub fn name(self) -> &'static str {
        match self {
            Machine::Sandbox => "sandbox",
            Machine::Container => "container",
        }
    }
}

/// A phase of the life of a sandbox or a container. `Absent` is both before and after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// No such thing: never created, or deleted.
    Absent,
    /// The id is claimed; a process is still making it.
    Creating,
    /// Everything is made; the container's init waits for start. OCI calls it `created`.
    Booted,
    /// The application was executed.
    Running,
    /// Every process of it is frozen.
    Paused,
    /// The init is dead and its exit status is recorded, or was inferred.
    Stopped,
}

impl Phase {
    /// Each of them once.
    pub const ALL: [Phase; 6] =
        [Phase::Absent, Phase::Creating, Phase::Booted, Phase::Running, Phase::Paused, Phase::Stopped];

    /// The name in the table, the journal and the records.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Absent => "absent",
            Phase::Creating => "creating",
            Phase::Booted => "booted",
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Stopped => "stopped",
        }
    }

    /// The status that the OCI runtime specification knows, as `state` prints it.
    pub fn oci_status(self) -> &'static str {
        match self {
            Phase::Booted => "created",
            other => other.name(),
        }
    }

    /// Whether a process of it is expected to be alive.
    pub fn is_alive(self) -> bool {
        match self {
            Phase::Booted | Phase::Running | Phase::Paused => true,
            Phase::Absent | Phase::Creating | Phase::Stopped => false,
        }
    }

    /// Whether its application has begun and not ended.
    pub fn has_application(self) -> bool {
        match self {
            Phase::Running | Phase::Paused => true,
            Phase::Absent | Phase::Creating | Phase::Booted | Phase::Stopped => false,
        }
    }

    /// The phase of this [`Phase::name`].
    pub fn parse(name: &str) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
