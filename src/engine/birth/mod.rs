//! Bringing a sandbox into being: from an id nobody has to `Booted`, by stages of which each is a type that consumes the one
//! before (`host::create` has them).
//!
//! Once the claim has happened, recovery finds the sandbox; before it, the sandbox does not exist. Until the end, a crash of
//! this process means that the sandbox never was: its supervisor and init die with us, and recovery removes the rest by the
//! intent. Once the container is there, which is when `state` shows it, poststop hooks are owed to it.

mod run;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use self::run::Run;
use super::{EngineError, Held, Pace};
use crate::model::record::{ContainerRecord, SandboxRecord};
use crate::model::{Id, Machine, Make, table};
use crate::store::{Folder, Guard, Root};

/// What a birth starts from: a prepared folder that has no name yet.
pub struct NewSandbox {
    pub id: Id,
    pub folder: Folder,
    /// The folder's lock, held since it was made.
    pub guard: Guard,
    /// The cgroups that will be made; named in the intent, so that a crash cannot leak them.
    pub cgroups: Vec<PathBuf>,
}

/// What has come to be so far, and the one step that leads on from it.
pub trait Stage: Sized {
    /// The effect of the table's row.
    const STEP: Make;
    type Next;
    type Left: Left;

    /// A step that fails gives back all that is there by then, what it has made itself by halves included.
    fn advance(self) -> Advanced<Self::Next, Self::Left>;
}

/// What comes next; or what is left, and why nothing does.
pub type Advanced<N, L> = Result<N, (L, <L as Left>::Error)>;

type Outcome<T, L> = Result<T, Unborn<<L as Left>::Error>>;

/// A stage at which every process is known.
pub trait OnRecord: Stage + Into<<Self as Stage>::Left> {
    /// Published at once: hooks ask for the state, and recovery for the pids.
    fn records(&self) -> (SandboxRecord, ContainerRecord);

    /// Whether somebody else's programs run before the next: then the store is opened only afterwards, since a slow hook must
    /// not keep other sandboxes from it.
    fn pace(&self) -> Pace;
}

/// The last one.
pub trait Born {
    /// With what was not known of it when its processes were.
    fn container(&self) -> ContainerRecord;
}

/// What is to be taken back of a birth that failed.
pub trait Left {
    type Error: std::error::Error + 'static;

    /// Last first. What cannot be taken back stops nothing else from it.
    fn take_back(self, poststop: Poststop) -> Undone<Self::Error>;
}

/// Whether the container had come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poststop {
    /// Its poststop hooks run once everything else is taken back.
    Owed,
    NotOwed,
}

pub struct Undone<E> {
    pub outcome: Result<(), E>,
    /// What the user must be told all the same.
    pub warnings: Vec<String>,
}

/// Why there is no container, and what went wrong besides.
#[derive(Debug)]
pub struct Unborn<E: std::error::Error + 'static> {
    pub why: EngineError<E>,
    pub warnings: Vec<String>,
}

impl<E: std::error::Error + 'static, W: Into<EngineError<E>>> From<W> for Unborn<E> {
    fn from(why: W) -> Unborn<E> {
        Unborn { why: why.into(), warnings: Vec::new() }
    }
}

/// Claims the id and walks the stages. On an error everything made so far has been taken back.
///
/// The steps are those of the table's row, in its order, or this does not compile. Neither does any way around a stage:
///
/// ```compile_fail,E0277
/// use sandkeep::engine::Stage;
/// use sandkeep::host::create::{Launched, Prepared};
/// /// The init before its supervisor.
/// fn launch<'a>(prepared: Prepared<'a>) where Prepared<'a>: Stage<Next = Launched<'a>> {}
/// fn any(prepared: Prepared<'_>) {
///     launch(prepared);
/// }
/// ```
/// ```compile_fail,E0382
/// use sandkeep::engine::Stage;
/// /// A stage used twice.
/// fn twice<S: Stage>(stage: S) {
///     let _ = stage.advance();
///     let _ = stage.advance();
/// }
/// ```
/// ```compile_fail,E0277
/// use sandkeep::engine::Born;
/// use sandkeep::host::create::Launched;
/// /// What nobody has adopted is not born.
/// fn born(of: impl Born) {}
/// fn any(launched: Launched<'_>) {
///     born(launched);
/// }
/// ```
/// ```compile_fail,E0080
/// use sandkeep::engine::is_row_of_launch;
/// use sandkeep::host::create::{Grouped, Launched, Prepared, Spawned};
/// /// Another order than the table's.
/// const _: () = assert!(is_row_of_launch::<Prepared, Spawned, Grouped, Launched>());
/// ```
pub fn bear<'a, P, G, S, L, A, X>(root: &'a Root, new: NewSandbox, prepared: P) -> Outcome<(Held<'a>, A), X>
where
    X: Left,
    P: Stage<Next = G, Left = X>,
    G: Stage<Next = S, Left = X>,
    S: Stage<Next = L, Left = X>,
    L: OnRecord + Stage<Next = A, Left = X>,
    A: Born + Into<X>,
{
    const { assert!(is_row_of_launch::<P, G, S, L>(), "the stages are not the row of the table") };
    let run = Run::claim(root, new)?;
    let (run, grouped) = run.step(prepared)?;
    let (run, spawned) = run.step(grouped)?;
    let (run, launched) = run.step(spawned)?;
    let (run, snapshot, launched) = run.publish(launched)?;
    let (run, adopted) = run.step(launched)?;
    run.complete(snapshot, adopted)
}

/// Whether these are the steps that the table orders, each in its place.
pub const fn is_row_of_launch<P: Stage, G: Stage, S: Stage, L: Stage>() -> bool {
    let (ordered, steps) = (table::launch(Machine::Sandbox), [P::STEP, G::STEP, S::STEP, L::STEP]);
    let mut same = ordered.len() == steps.len();
    let mut at = 0;
    while same && at < steps.len() {
        same = ordered[at] as u8 == steps[at] as u8;
        at += 1;
    }
    same
}
