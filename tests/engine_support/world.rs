//! A root, a simulated machine, and a map of what must be true of every sandbox: operations that succeed, fail half-way
//! or die half-way, and after each healing a comparison of all that is remembered with all that is.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::time::Duration;

use sandkeep::engine::{self, Depth, Effects, EngineError, Held, NewSandbox, Probe, Recorder, Wreck};
use sandkeep::model::pod::Pod;
use sandkeep::model::record::{Exit, PidNamespace};
use sandkeep::model::{ChangeRequest, EndRequest, Event, Id, Phase, Renew};
use sandkeep::store::{Root, name_of};
use tempfile::TempDir;

use super::effects::{Birth, Control, Mender, Prober, Renewal, Shared, cgroups_of};
use super::machine::{Cgroup, Crashed, Failed, Fault, Life, Script};

const PATIENCE: Duration = Duration::from_secs(30);

pub struct World {
    root: Root,
    machine: Shared,
    /// Of all its sandboxes.
    namespace: PidNamespace,
    /// What each may be found to be; more than one while an operation that went wrong has not been healed.
    may_be: BTreeMap<Id, BTreeSet<Phase>>,
    /// Every sandbox that ever was, as (id, incarnation).
    lives: Vec<(Id, String)>,
    /// Those whose creation was cut short.
    abandoned: BTreeSet<String>,
    /// Goes last.
    _dir: TempDir,
}

/// What happens to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// After so many effects.
    At(usize, Fault),
    /// The process dies when the store has the outcome, and nobody else.
    Committed,
    /// It dies when the outcome is published, and the intent is still there.
    Published,
    /// It dies when the id has been given back, and the folder is still there.
    Retired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Went {
    Well,
    Denied,
    Failed,
    Died,
}

/// What happens without anybody having asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// The supervisor wrote down how its container ended, and left.
    InitExits,
    /// It has not done so yet.
    InitExitsUnrecorded,
    /// It does so now.
    ExitIsRecorded,
    SupervisorDies,
}

impl World {
    pub fn new(namespace: PidNamespace) -> World {
        // No disk is waited for: the crashes here are those of processes. Anywhere else it only takes longer.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder for the root");
        let root = Root::open_or_make(dir.path()).expect("a root");
        let (machine, may_be) = Default::default();
        World { root, machine, namespace, may_be, lives: Vec::new(), abandoned: BTreeSet::new(), _dir: dir }
    }

    /// What it may be; exactly one thing when nothing is waiting to be healed.
    pub fn may_be(&self, id: &Id) -> BTreeSet<Phase> {
        self.may_be.get(id).cloned().unwrap_or_else(|| BTreeSet::from([Phase::Absent]))
    }

    /// How many effects were performed by the last operation or healing.
    pub fn performed(&self) -> usize {
        self.machine.borrow().script.performed
    }

    /// A request, as a command makes it: whatever was left over is healed first.
    pub fn ask(&mut self, id: &Id, event: Event, trouble: Trouble) -> Went {
        match event {
            Event::CreateRequested | Event::LaunchRequested => self.create(id, trouble),
            _ => self.change(id, event, trouble),
        }
    }

    fn create(&mut self, id: &Id, trouble: Trouble) -> Went {
        let incarnation = format!("{:032x}", self.lives.len() + 1);
        let seen = Cell::new(None);
        let claimed = Cell::new(false);
        let outcome = self.live(trouble, || {
            if let Some(held) = self.acquire(id)? {
                seen.set(Some(held.snapshot().state.sandbox.phase));
                return Ok(Went::Denied);
            }
            seen.set(Some(Phase::Absent));
            let (folder, guard) = self.root.prepare()?;
            let exits = folder.make_exits()?;
            let birth = Birth::new(&self.machine, id, incarnation.clone(), self.namespace, exits);
            let path = self.root.path().join("sandboxes").join(name_of(id.as_str()));
            self.machine.borrow_mut().script.folder = Some(path);
            let new = NewSandbox { id: id.clone(), folder, guard, cgroups: cgroups_of(id).into() };
            claimed.set(true);
            engine::bear(&self.root, new, birth).map(|_| Went::Well).map_err(|unborn| unborn.why)
        });
        self.resolve(id, seen.get());
        if claimed.get() {
            self.lives.push((id.clone(), incarnation.clone()));
        }
        let went = self.judge(outcome);
        let now = match (went, trouble) {
            (Went::Well, Trouble::Committed) => {
                self.rewind(trouble);
                Phase::Absent
            }
            (Went::Well, _) => {
                self.rewind(trouble);
                Phase::Booted
            }
            (Went::Denied, _) => {
                assert_ne!(seen.get(), Some(Phase::Absent), "{id} was free");
                return went;
            }
            // Until the end, a crash means that the sandbox never was.
            (Went::Failed | Went::Died, _) if claimed.get() => Phase::Absent,
            (Went::Failed | Went::Died, _) => return went,
        };
        if now == Phase::Absent {
            self.abandoned.insert(incarnation);
        }
        self.may_be.insert(id.clone(), BTreeSet::from([now]));
        went
    }

    fn change(&mut self, id: &Id, event: Event, trouble: Trouble) -> Went {
        let seen = Cell::new(None);
        let outcome = self.live(trouble, || {
            let Some(held) = self.acquire(id)? else {
                seen.set(Some(Phase::Absent));
                return Ok(Went::Denied);
            };
            seen.set(Some(held.snapshot().state.sandbox.phase));
            self.machine.borrow_mut().script.folder = Some(held.folder().path());
            let wreck = Wreck { folder: held.folder(), snapshot: Some(held.snapshot()), intent: None };
            let mut control = Control::of(&self.machine, &wreck);
            match request_of(event) {
                Request::Change(request) => self.compare(held.change(id, request, &mut control)?),
                Request::End(request) => held.destroy(id, request, &mut control, None)?,
                Request::Ask => {
                    engine::pod_of(held.snapshot()).step(id.as_str(), id.as_str(), event)?;
                    self.compare(held);
                }
            }
            Ok(Went::Well)
        });
        self.resolve(id, seen.get());
        let went = self.judge(outcome);
        let Some(before) = seen.get() else { return went };
        let after = becomes(before, event);
        let now: BTreeSet<Phase> = match went {
            Went::Denied => {
                assert_eq!(after, None, "{event} of {id}, which is {before}, was denied");
                BTreeSet::from([before])
            }
            Went::Well => {
                let after = after.unwrap_or_else(|| panic!("{event} of {id}, which is {before}, was not denied"));
                match self.rewind(trouble) {
                    Trouble::Committed => BTreeSet::from([before, after]),
                    _ => BTreeSet::from([after]),
                }
            }
            Went::Failed | Went::Died => [Some(before), after].into_iter().flatten().collect(),
        };
        self.may_be.insert(id.clone(), now);
        went
    }

    pub fn suffer(&mut self, id: &Id, mishap: Mishap) {
        let [cgroup, _] = cgroups_of(id);
        let mut machine = self.machine.borrow_mut();
        // The youngest is the one that the id means now.
        let Some((init, life, supervisor)) =
            machine.inits.iter().rev().find(|(_, init)| init.cgroup == cgroup).map(|(p, i)| (*p, i.life, i.supervisor))
        else {
            return;
        };
        let code = (init % 100) as u8;
        let exit = Exit { code, signal: None, at: i64::from(init), inferred: false };
        match mishap {
            Mishap::SupervisorDies => machine.kill_supervisor(supervisor),
            Mishap::ExitIsRecorded if life == Life::Dead => machine.record_exit(supervisor, id.as_str(), exit),
            Mishap::ExitIsRecorded => return,
            _ if life == Life::Dead => return,
            Mishap::InitExitsUnrecorded => machine.kill_init(init),
            Mishap::InitExits => {
                machine.kill_init(init);
                machine.record_exit(supervisor, id.as_str(), exit);
            }
        }
        let runs_on = machine.inits[&init].life != Life::Dead;
        drop(machine);
        if runs_on {
            return;
        }
        let now = self.may_be(id).into_iter().map(|phase| if phase.is_alive() { Phase::Stopped } else { phase });
        let now = now.collect();
        self.may_be.insert(id.clone(), now);
    }

    /// Heals and gives what runs on without a supervisor another one, as `recover` does, and compares everything that is remembered of the sandbox with what is.
    pub fn settle(&mut self, id: &Id, trouble: Trouble) -> Went {
        self.look(id);
        let seen = Cell::new(None);
        let outcome = self.live(trouble, || {
            let held = self.acquire(id)?.map(|held| self.renew(held, trouble)).transpose()?;
            seen.set(Some(held.as_ref().map_or(Phase::Absent, |held| held.snapshot().state.sandbox.phase)));
            for folder in self.root.leftovers()? {
                if folder.try_lock().is_ok_and(|guard| guard.is_some()) {
                    folder.remove()?;
                }
            }
            match held {
                Some(held) => self.compare(held),
                None => self.compare_absent(id),
            }
            Ok(Went::Well)
        });
        self.resolve(id, seen.get());
        if matches!(outcome, Ok(Went::Died)) {
            self.rewind(trouble);
        }
        self.judge(outcome)
    }

    /// Everything is healed, and deleted; then nothing of it may be left.
    pub fn end(&mut self) {
        let ids: BTreeSet<Id> = self.lives.iter().map(|(id, _)| id.clone()).collect();
        for id in &ids {
            assert_eq!(self.settle(id, Trouble::None), Went::Well);
            if self.may_be(id) != BTreeSet::from([Phase::Absent]) {
                assert_eq!(self.ask(id, Event::ForceDeleteRequested, Trouble::None), Went::Well);
                assert_eq!(self.settle(id, Trouble::None), Went::Well);
            }
            assert_eq!(self.may_be(id), BTreeSet::from([Phase::Absent]));
        }
        let machine = self.machine.borrow();
        assert!(machine.cgroups.is_empty(), "left behind: {:?}", machine.cgroups.keys());
        for (pid, supervisor) in &machine.supervisors {
            assert!(!supervisor.alive, "supervisor {pid} was left alive");
        }
        assert!(machine.inits.values().all(|init| init.life == Life::Dead), "an init was left alive");
        assert!(self.root.folders().expect("folders").is_empty());
        assert!(self.root.leftovers().expect("leftovers").is_empty());
    }

    /// Readers take no lock and heal nothing, and yet never call running what is dead.
    fn look(&self, id: &Id) {
        let Some(folder) = self.root.find(id).expect("find") else { return };
        let Some(snapshot) = folder.read_snapshot().expect("a snapshot is always whole") else { return };
        let facts = Prober(self.machine.clone()).facts(&folder, &snapshot, Depth::Shallow);
        let seen = engine::observe(&snapshot, &facts, engine::now()).state.sandbox.phase;
        let kept = facts.supervisor_alive || self.namespace == PidNamespace::Foreign;
        let alive = kept && facts.inits[id.as_str()];
        assert!(alive || !seen.is_alive(), "{id} is dead, and was shown as {seen}");
        if folder.intent_unlocked().expect("the lock is whole").is_none() {
            assert!(self.may_be(id).contains(&seen), "{id} was shown as {seen}, and may be {:?}", self.may_be(id));
        }
    }

    fn renew<'a>(&'a self, held: Held<'a>, trouble: Trouble) -> Result<Held<'a>, EngineError<Failed>> {
        let snapshot = held.snapshot().clone();
        let facts = Prober(self.machine.clone()).facts(held.folder(), &snapshot, Depth::Shallow);
        if !engine::is_orphaned(&snapshot, &facts) {
            return Ok(held);
        }
        self.machine.borrow_mut().script.folder = Some(held.folder().path());
        let mut renewal = Renewal::of(&self.machine, held.folder(), &snapshot);
        let held = held.renew(&mut renewal)?;
        if matches!(trouble, Trouble::Committed | Trouble::Published) {
            drop(held);
            resume_unwind(Box::new(Crashed));
        }
        renewal.perform(Renew::Adopt).map_err(EngineError::Effect)?;
        let supervisor = held.snapshot().sandbox.supervisor.pid;
        assert!(self.machine.borrow().supervisor_alive(supervisor), "the new supervisor is not the one on record");
        Ok(held)
    }

    fn acquire(&self, id: &Id) -> Result<Option<Held<'_>>, EngineError<Failed>> {
        let prober = Prober(self.machine.clone());
        let mender = Mender(self.machine.clone());
        Held::acquire(&self.root, id, PATIENCE, Recorder::new(&self.root), &prober, &mender)
    }

    /// One command: it ends well or badly, or dies.
    fn live(
        &self,
        trouble: Trouble,
        command: impl FnOnce() -> Result<Went, EngineError<Failed>>,
    ) -> Result<Went, EngineError<Failed>> {
        let faults = match trouble {
            Trouble::At(at, fault) => vec![(at, fault)],
            _ => Vec::new(),
        };
        self.machine.borrow_mut().script = Script { faults, ..Script::default() };
        match catch_unwind(AssertUnwindSafe(command)) {
            Ok(outcome) => {
                self.machine.borrow_mut().creator_died();
                outcome
            }
            Err(panic) if panic.is::<Crashed>() => {
                self.machine.borrow_mut().creator_died();
                Ok(Went::Died)
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    fn judge(&self, outcome: Result<Went, EngineError<Failed>>) -> Went {
        match outcome {
            Ok(went) => went,
            Err(EngineError::Denied(_)) => Went::Denied,
            Err(EngineError::Effect(_)) => Went::Failed,
            Err(other) => panic!("nothing was wrong with the disk: {other}"),
        }
    }

    /// What was found is one of the things that may be; from here on it is the only one.
    fn resolve(&mut self, id: &Id, seen: Option<Phase>) {
        let Some(seen) = seen else { return };
        let may_be = self.may_be(id);
        assert!(may_be.contains(&seen), "{id} was found {seen}, and may be {may_be:?}");
        self.may_be.insert(id.clone(), BTreeSet::from([seen]));
    }

    /// Puts back on disk what was there when the process is to have died. Returns what became of that.
    fn rewind(&self, trouble: Trouble) -> Trouble {
        let machine = self.machine.borrow();
        let (Some(folder), files) = (&machine.script.folder, &machine.script.files) else { return Trouble::None };
        let write = |folder: &PathBuf, names: &[&str]| {
            for (name, bytes) in files.iter().filter(|(name, _)| names.contains(&name.as_str())) {
                std::fs::write(folder.join(name), bytes).expect("put back");
            }
        };
        match (trouble, folder.exists()) {
            (Trouble::Committed, true) => write(folder, &["lock", "sandbox.json"]),
            (Trouble::Published, true) => write(folder, &["lock"]),
            (Trouble::Committed | Trouble::Retired, false) => {
                let gone = folder.with_file_name(".gone-~0123456789abcdef");
                let folder = if trouble == Trouble::Retired { &gone } else { folder };
                std::fs::create_dir(folder).expect("make again");
                write(folder, &["lock", "sandbox.json", "exits"]);
            }
            _ => return Trouble::None,
        }
        trouble
    }

    /// What is published, stored, journalled and true of a sandbox that exists is the same.
    fn compare(&self, mut held: Held<'_>) {
        let snapshot = held.snapshot().clone();
        let id = snapshot.sandbox.id.clone();
        let state = &snapshot.state.sandbox;
        assert_eq!(held.folder().intent_unlocked().unwrap(), None);
        assert_eq!(held.folder().read_snapshot().expect("snapshot"), Some(snapshot.clone()));
        let facts = Prober(self.machine.clone()).facts(held.folder(), &snapshot, Depth::Deep);
        {
            let machine = self.machine.borrow();
            let init = &machine.inits[&snapshot.containers[id.as_str()].init.pid];
            let Cgroup { frozen, limits, kept } = machine.cgroups[&init.cgroup];
            assert_eq!(limits, kept, "the limits of {id} are those of an update that nobody knows of");
            let actual = match init.life {
                Life::Dead => Phase::Stopped,
                Life::Waiting => Phase::Booted,
                Life::Running if frozen => Phase::Paused,
                Life::Running => Phase::Running,
            };
            assert_eq!(state.phase, actual, "of {id}");
            assert!(!frozen || actual == Phase::Paused, "{id} is {actual} and still frozen");
        }
        if state.phase == Phase::Stopped {
            let known = engine::observe(&snapshot, &facts, engine::now()).state.sandbox.exit;
            match facts.exits.last() {
                Some(record) => assert_eq!(known, Some(record.exit), "{id} has a recorded end"),
                None => assert!(known.is_none_or(|exit| exit.inferred), "the status of {id} came from nowhere"),
            }
        }
        let recorder = held.recorder();
        let stored = recorder.snapshots().expect("snapshots");
        let stored = stored.iter().find(|stored| stored.sandbox.id == id).expect("the store knows it");
        assert_eq!((&stored.sandbox, &stored.containers), (&snapshot.sandbox, &snapshot.containers));
        assert_eq!(stored.state.sandbox.phase, state.phase, "stored is {:?}", stored.state);
        assert_eq!(stored.state.seq, snapshot.state.seq, "stored is {:?}", stored.state);
        self.compare_history(recorder, &id, Some((&snapshot.sandbox.incarnation, state.phase, snapshot.state.seq)));
    }

    fn compare_absent(&self, id: &Id) {
        assert!(self.root.find(id).expect("find").is_none());
        let machine = self.machine.borrow();
        for cgroup in cgroups_of(id) {
            assert!(!machine.cgroups.contains_key(&cgroup), "{cgroup:?} was left behind");
            let alive = |pid: &i32| machine.inits[pid].cgroup == cgroup && machine.inits[pid].life != Life::Dead;
            assert_eq!(machine.inits.keys().find(|pid| alive(pid)), None, "an init was left alive");
        }
        let mut recorder = Recorder::new(&self.root);
        let stored = recorder.snapshots().expect("snapshots");
        assert!(stored.iter().all(|stored| stored.sandbox.id != *id), "the store remembers {id}, which is gone");
        self.compare_history(&mut recorder, id, None);
    }

    /// The journal of each life replays to what it is now; of one that is over, to its end.
    fn compare_history(&self, recorder: &mut Recorder<'_>, id: &Id, now: Option<(&String, Phase, u64)>) {
        let entries = recorder.history(Some(id)).expect("history");
        for (_, incarnation) in self.lives.iter().filter(|(of, _)| of == id) {
            let life: Vec<_> = entries.iter().filter(|entry| entry.incarnation == *incarnation).collect();
            let pod = Pod::replay(id.as_str(), life.iter().copied()).expect("what was legal is legal again");
            for (before, after) in life.iter().zip(life.iter().skip(1)) {
                assert_eq!((before.seq + 1, before.to), (after.seq, after.from), "{id} has a gap: {life:#?}");
            }
            match now {
                Some((current, phase, seq)) if current == incarnation => {
                    assert_eq!(pod.sandbox, phase, "{id} replays to something else: {life:#?}");
                    assert!(life.last().is_some_and(|entry| entry.seq == seq), "{id} is at {seq}: {life:#?}");
                }
                _ if self.abandoned.contains(incarnation) => {}
                _ => assert_eq!(pod.sandbox, Phase::Absent, "{id} has an end: {life:#?}"),
            }
        }
    }
}

/// How a command makes a request of a sandbox that exists.
enum Request {
    Change(ChangeRequest),
    End(EndRequest),
    /// It only asks whether it may: nothing is written of it.
    Ask,
}

fn request_of(event: Event) -> Request {
    match event {
        Event::StartRequested => Request::Change(ChangeRequest::Start),
        Event::PauseRequested => Request::Change(ChangeRequest::Pause),
        Event::ResumeRequested => Request::Change(ChangeRequest::Resume),
        Event::UpdateRequested => Request::Change(ChangeRequest::Update),
        Event::DeleteRequested => Request::End(EndRequest::Delete),
        Event::ForceDeleteRequested => Request::End(EndRequest::ForceDelete),
        Event::SignalRequested | Event::ExecRequested | Event::ExecWhilePausedRequested => Request::Ask,
        Event::CreateRequested
        | Event::LaunchRequested
        | Event::CreatorGone
        | Event::InitExited
        | Event::SupervisorGone
        | Event::SupervisorLost => unreachable!("no command asks an existing sandbox for {event}"),
    }
}

/// What a request makes of a sandbox; None: it is denied. Written down once more, so that the table is held to it.
fn becomes(phase: Phase, event: Event) -> Option<Phase> {
    use Phase::{Absent, Booted, Paused, Running, Stopped};
    match (event, phase) {
        (Event::StartRequested, Booted) => Some(Running),
        (Event::PauseRequested, Running) => Some(Paused),
        (Event::ResumeRequested, Paused) => Some(Running),
        (Event::DeleteRequested, Booted | Stopped) => Some(Absent),
        (Event::ForceDeleteRequested, Booted | Running | Paused | Stopped) => Some(Absent),
        (Event::ExecRequested, Booted | Running) => Some(phase),
        (
            Event::SignalRequested | Event::ExecWhilePausedRequested | Event::UpdateRequested,
            Booted | Running | Paused,
        ) => Some(phase),
        _ => None,
    }
}
