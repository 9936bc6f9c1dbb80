//! What must be done to the machine for a transition, as data. Each effect is idempotent and names its undo.
//!
//! One enum a room: whoever performs the effects of a room matches every one of them, so that an effect that nobody
//! performs does not compile. An undo is an effect of a type of its own: what takes a creation back is of the room that
//! ends things, and what ends things cannot be taken back at all.
//!
//! | room | what it is about |
//! |---|---|
//! | [`Make`] | what did not exist |
//! | [`Renew`] | what lost its supervisor and runs on |
//! | [`Change`] | what exists, and goes on |
//! | [`End`] | what is to be gone |
//!
//! To claim an id and to give it back are no effects of a machine but the engine's own: [`IdStep`].

use std::convert::Infallible;
use std::fmt;

/// The effects of one room.
pub trait Effect: Copy + Eq + fmt::Debug + fmt::Display + 'static {
    /// Of the room that takes these effects back.
    type Back: Effect;

    /// What takes it back.
    fn undo(self) -> Undo<Self::Back>;

    /// As the printed table has it.
    fn name(self) -> &'static str;

    /// Those of a row; of a row that is about another room there are none.
    fn of(work: Work) -> &'static [Self];
}

/// How an effect is taken back when a later one of the same transition fails, or its process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo<B> {
    /// By doing this.
    By(B),
    /// Cannot be taken back: recovery completes the transition instead.
    Irreversible,
    /// Leaves nothing behind that would have to be taken back.
    Nothing,
}

/// A sandbox or a container comes into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Make {
    /// The container's and the supervisor's, with their limits.
    Cgroups,
    /// Exec the supervisor as pid 1 of a new PID namespace. It dies with its creator until the record is published.
    Supervisor,
    /// Clone the container's init; it sets itself up and waits for the start message.
    Init,
    /// Hand the init to the supervisor, which then no longer depends on its creator.
    Adopt,
}

/// What runs on without a supervisor is given another one, which dies with its maker until it is on record and has been
/// given the init. Nothing of the container itself is touched: there is nothing to take back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Renew {
    /// Exec another one, in the PID namespace of its maker.
    Supervisor,
    /// Hand it an init that runs already.
    Adopt,
}

/// What exists becomes something else, and goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// The supervisor sends the start message; the init executes the application.
    Release,
    /// Every process of it stands still once this is done.
    Freeze,
    /// They go on.
    Thaw,
    /// Those that were asked for.
    SetLimits,
    /// Those that held before an update that was cut short. Only ever an undo.
    SetLimitsBack,
}

/// It ends, and what it leaves is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// SIGKILL every process of one container, frozen or not, and wait.
    KillContainer,
    /// SIGKILL the supervisor and wait: the kernel kills everything in the sandbox.
    KillSandbox,
    /// Whatever is in there is ended first.
    RemoveCgroups,
    /// Run the poststop hooks.
    Poststop,
}

/// What a transition does about the id; the engine's own, in the place that it has in every row: a claim comes before all
/// effects, and its return after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdStep {
    /// Nothing.
    Keeps,
    /// Rename a prepared folder to its name.
    Claims,
    /// Rename the folder away, then remove it: the id is free at the rename.
    GivesBack,
}

/// Everything that a row orders, in order: of one room. A failure takes back what was done already, last first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Only whether it may happen is asked, or it has happened already.
    Nothing,
    /// Something is made.
    Make(&'static [Make]),
    /// It gets another supervisor.
    Renew(&'static [Renew]),
    /// It goes on, changed.
    Change(&'static [Change]),
    /// It ends.
    End(&'static [End]),
}

impl Effect for Make {
    type Back = End;

    fn undo(self) -> Undo<End> {
        match self {
            Make::Cgroups => Undo::By(End::RemoveCgroups),
            Make::Supervisor => Undo::By(End::KillSandbox),
            Make::Init | Make::Adopt => Undo::By(End::KillContainer),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Make::Cgroups => "make-cgroups",
            Make::Supervisor => "spawn-supervisor",
            Make::Init => "launch-init",
            Make::Adopt => "adopt-init",
        }
    }

    fn of(work: Work) -> &'static [Make] {
        match work {
            Work::Make(effects) => effects,
            Work::Nothing | Work::Renew(_) | Work::Change(_) | Work::End(_) => &[],
        }
    }
}

impl Effect for Renew {
    type Back = Infallible;

    fn undo(self) -> Undo<Infallible> {
        match self {
            Renew::Supervisor | Renew::Adopt => Undo::Nothing,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Renew::Supervisor => "renew-supervisor",
            Renew::Adopt => "adopt-init",
        }
    }

    fn of(work: Work) -> &'static [Renew] {
        match work {
            Work::Renew(effects) => effects,
            Work::Nothing | Work::Make(_) | Work::Change(_) | Work::End(_) => &[],
        }
    }
}

impl Effect for Change {
    type Back = Change;

    fn undo(self) -> Undo<Change> {
        match self {
            Change::Freeze => Undo::By(Change::Thaw),
            Change::Thaw => Undo::By(Change::Freeze),
            Change::SetLimits => Undo::By(Change::SetLimitsBack),
            Change::Release | Change::SetLimitsBack => Undo::Irreversible,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Change::Release => "release-init",
            Change::Freeze => "freeze",
            Change::Thaw => "thaw",
            Change::SetLimits => "apply-limits",
            Change::SetLimitsBack => "set-limits-back",
        }
    }

    fn of(work: Work) -> &'static [Change] {
        match work {
            Work::Change(effects) => effects,
            Work::Nothing | Work::Make(_) | Work::Renew(_) | Work::End(_) => &[],
        }
    }
}

impl Effect for End {
    type Back = Infallible;

    fn undo(self) -> Undo<Infallible> {
        match self {
            End::KillContainer | End::KillSandbox | End::RemoveCgroups | End::Poststop => Undo::Irreversible,
        }
    }

    fn name(self) -> &'static str {
        match self {
            End::KillContainer => "kill-container",
            End::KillSandbox => "kill-sandbox",
            End::RemoveCgroups => "remove-cgroups",
            End::Poststop => "run-poststop-hooks",
        }
    }

    fn of(work: Work) -> &'static [End] {
        match work {
            Work::End(effects) => effects,
            Work::Nothing | Work::Make(_) | Work::Renew(_) | Work::Change(_) => &[],
        }
    }
}

/// The room of what cannot be taken back: there is nothing in it.
impl Effect for Infallible {
    type Back = Infallible;

    fn undo(self) -> Undo<Infallible> {
        match self {}
    }

    fn name(self) -> &'static str {
        match self {}
    }

    fn of(_: Work) -> &'static [Infallible] {
        &[]
    }
}

macro_rules! shown_by_name {
    ($($effects:ty),*) => {$(
        impl fmt::Display for $effects {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    )*};
}

shown_by_name!(Make, Renew, Change, End);
