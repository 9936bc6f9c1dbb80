//! Bringing a sandbox into being: from an id nobody has to `Booted`, by stages of which each is a type that consumes the one
//! before (`host::create` has them).
//!
//! Once the claim has happened, recovery finds the sandbox; before it, the sandbox does not exist. Until the end, a crash of
//! this process means that the sandbox never was: its supervisor and init die with us, and recovery removes the rest by the
//! intent. Once the container is there, which is when `state` shows it, poststop hooks are owed to it.

mod run;
mod stage;
#[cfg(test)]
mod tests;

pub use self::stage::{Advanced, Born, Left, NewSandbox, OnRecord, Poststop, Stage, Unborn, Undone};

use self::run::Run;
use self::stage::Attempt;
use super::Held;
use crate::model::{Machine, table};
use crate::store::Root;

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
pub fn bear<'a, P, G, S, L, A, X>(root: &'a Root, new: NewSandbox, prepared: P) -> Attempt<(Held<'a>, A), X>
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
