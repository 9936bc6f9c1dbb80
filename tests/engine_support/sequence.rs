//! Bytes as a sequence of operations: what a fuzzer and a property test feed in.
//!
//! The first byte says whose PID namespaces the sandboxes are in. Three bytes a step: whom, what, and what goes wrong. Without the top bit of the first, the sandbox is healed and compared
//! afterwards; with it, whatever is wrong meets the next step as it is.

use sandkeep::model::record::PidNamespace;
use sandkeep::model::{Event, Id};

use super::machine::Fault;
use super::world::{Mishap, Trouble, World};

const IDS: [&str; 2] = ["a", "a.b"];
const MOST: usize = 24;

const REQUESTS: [Event; 9] = [
    Event::CreateRequested,
    Event::StartRequested,
    Event::PauseRequested,
    Event::ResumeRequested,
    Event::DeleteRequested,
    Event::ForceDeleteRequested,
    Event::SignalRequested,
    Event::ExecRequested,
    Event::UpdateRequested,
];

const MISHAPS: [Mishap; 4] =
    [Mishap::InitExits, Mishap::InitExitsUnrecorded, Mishap::ExitIsRecorded, Mishap::SupervisorDies];

pub fn run(bytes: &[u8]) {
    let (first, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    let namespace = if first % 2 == 0 { PidNamespace::Own } else { PidNamespace::Foreign };
    let mut world = World::new(namespace);
    for step in bytes.chunks_exact(3).take(MOST) {
        let id = Id::parse(IDS[step[0] as usize % IDS.len()]).expect("an id");
        let trouble = trouble(step[2]);
        match step[1] as usize % (REQUESTS.len() + MISHAPS.len() + 1) {
            what if what < REQUESTS.len() => drop(world.ask(&id, REQUESTS[what], trouble)),
            what if what < REQUESTS.len() + MISHAPS.len() => world.suffer(&id, MISHAPS[what - REQUESTS.len()]),
            _ => drop(world.settle(&id, trouble)),
        }
        if step[0] < 128 {
            world.settle(&id, Trouble::None);
        }
    }
    world.end();
}

/// One step in two goes well.
fn trouble(byte: u8) -> Trouble {
    let at = (byte >> 4) as usize % 8;
    match byte & 15 {
        0 => Trouble::At(at, Fault::Refuses),
        1 => Trouble::At(at, Fault::FailsDone),
        2 | 3 => Trouble::At(at, Fault::CrashBefore),
        4 | 5 => Trouble::At(at, Fault::CrashAfter),
        6 => Trouble::Committed,
        7 => Trouble::Published,
        8 => Trouble::Retired,
        _ => Trouble::None,
    }
}
