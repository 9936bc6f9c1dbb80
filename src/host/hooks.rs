//! Hooks that the command line runs: each of them once, whoever dies meanwhile.
//!
//! A hook is forked, then recorded with its pid, then executed; its end is recorded too. So it has either not begun, and
//! whoever completes the work of a dead command runs it; or it has, and is never run again:
//!
//! | recorded | what it means to whoever comes next |
//! |---|---|
//! | nothing | it has not begun: it is still to be run, where its time has not passed |
//! | begun | it may have run: it is not run again, and that is told. If it still runs, it is waited for (poststop) or ended (all others: what they prepare is undone) |
//! | ended | it is done |
//!
//! Poststart hooks run without the sandbox's lock, so that one which hangs keeps nobody away. They are claimed in the
//! name of the process that runs them: `recover` goes on with them only when that process is dead.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{HostError, Trying, probe};
use crate::container::hooks::{self, Call, Environment};
use crate::model::Id;
use crate::model::record::{Boot, HookEnd, HookKind, HookRecord, HookStep, ProcessRef};
use crate::spec::plan::{HookPlan, HooksPlan};
use crate::store::{Folder, HookLog};
use crate::sys::patience;
use crate::sys::told;
use crate::sys::{pidfd, procfs};

/// The hooks of one container, and how far they have come.
pub struct Ledger {
    log: HookLog,
    container: Id,
    boot: Boot,
    plans: HooksPlan,
}

/// What hooks of one kind are given.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// On their standard input.
    pub state_json: &'a [u8],
    /// They run in this folder, or, when it is gone, in `/`.
    pub bundle: &'a Path,
}

impl Ledger {
    /// For a container that is being made, or was made by a sandkeep that kept no record. None: it has no such hooks.
    pub fn make(folder: &Folder, container: &Id, boot: &Boot, plans: &HooksPlan) -> Result<Option<Ledger>, HostError> {
        let count = [&plans.prestart, &plans.create_runtime, &plans.poststart, &plans.poststop];
        let count: usize = count.iter().map(|hooks| hooks.len()).sum();
        if count == 0 {
            return Ok(None);
        }
        let log = folder.make_hook_log(count, container.as_str().len())?;
        Ok(Some(Ledger { log, container: container.clone(), boot: boot.clone(), plans: plans.clone() }))
    }

    /// Runs those that have not begun, in order, and stops at the first that fails.
    pub fn run(&self, kind: HookKind, given: Given<'_>) -> Result<(), HostError> {
        let records = self.log.records()?;
        for (index, hook) in (0..).zip(self.of(kind)) {
            match self.last(&records, kind, index).map(|record| &record.step) {
                None => self.execute(kind, index, hook, given, |pid| self.begins(kind, index, pid))?,
                Some(HookStep::Ended(HookEnd::Failed)) => {
                    return Err(HostError::HookHadFailed { kind: kind.name(), path: hook.path.clone() });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Runs those that have not begun, whatever becomes of each (runtime-spec, "Lifecycle"); what went wrong is told.
    pub fn run_all(&self, kind: HookKind, given: Given<'_>) -> Vec<String> {
        let records = match self.log.records() {
            Ok(records) => records,
            Err(error) => {
                return vec![format!("its {} hooks were not run: {}", kind.name(), told::on_one_line(&error))];
            }
        };
        let mut told = Vec::new();
        for (index, hook) in (0..).zip(self.of(kind)) {
            if self.last(&records, kind, index).is_some() {
                continue;
            }
            let mut unrecorded = None;
            let outcome = self.execute(kind, index, hook, given, |pid| {
                // Not to be run at all is worse than to be run again, should we die as well.
                unrecorded = self.begins(kind, index, pid).err();
                Ok(())
            });
            told.extend(unrecorded.into_iter().chain(outcome.err()).map(|error| told::on_one_line(&error)));
        }
        told
    }

    fn execute(
        &self,
        kind: HookKind,
        index: u32,
        hook: &HookPlan,
        given: Given<'_>,
        begins: impl FnOnce(i32) -> Result<(), HostError>,
    ) -> Result<(), HostError> {
        let folder = if given.bundle.is_dir() { given.bundle } else { Path::new("/") };
        let (kind_name, env) = (kind.name(), Environment::Ours);
        let call = Call { kind: kind_name, state_json: given.state_json, folder: Some(folder), env };
        let outcome = hooks::run_one(hook, call, begins);
        let end = if outcome.is_ok() { HookEnd::Well } else { HookEnd::Failed };
        // If not, recovery says that nobody saw its end.
        let _ = self.note(kind, index, HookStep::Ended(end));
        outcome
    }

    /// After this returns, nobody runs it again.
    fn begins(&self, kind: HookKind, index: u32, pid: i32) -> Result<(), HostError> {
        self.note(kind, index, HookStep::Begun(look_at(pid)?))
    }

    /// This process will run the poststart hooks. Recorded before the application is told to begin.
    pub fn claim_poststart(&self) -> Result<(), HostError> {
        self.note(HookKind::Poststart, 0, HookStep::Claimed(look_at(std::process::id() as i32)?))
    }

    /// Whether poststart hooks are to be gone on with: somebody had claimed them, is dead, and has not come to their end,
    /// or not to ending the container after one that failed.
    pub fn poststart_is_due(&self) -> Result<bool, HostError> {
        let records = self.log.records()?;
        let Some(claimant) = self.claimant(&records) else { return Ok(false) };
        if procfs::is_alive(claimant, &self.boot) {
            return Ok(false);
        }
        let done = |index| {
            let last = self.last(&records, HookKind::Poststart, index).map(|record| &record.step);
            matches!(last, Some(HookStep::Ended(HookEnd::Well | HookEnd::Unseen)))
        };
        Ok(!(0..self.of(HookKind::Poststart).len() as u32).all(done))
    }

    /// Whether one of them failed, and whoever was to destroy the container then is dead.
    pub fn poststart_has_failed(&self) -> Result<bool, HostError> {
        let records = self.log.records()?;
        let failed = |index| {
            let last = self.last(&records, HookKind::Poststart, index).map(|record| &record.step);
            matches!(last, Some(HookStep::Ended(HookEnd::Failed)))
        };
        let is_alone = self.claimant(&records).is_some_and(|claimant| !procfs::is_alive(claimant, &self.boot));
        Ok(is_alone && (0..self.of(HookKind::Poststart).len() as u32).any(failed))
    }

    /// Hooks that had begun when the process that waited for them died: ended, and told. Those of `poststart` may have
    /// somebody who lives and waits for them.
    pub fn settle(&self) -> Result<Vec<String>, HostError> {
        let records = self.log.records()?;
        let poststart_is_watched =
            self.claimant(&records).is_some_and(|claimant| procfs::is_alive(claimant, &self.boot));
        let mut told = Vec::new();
        for kind in [HookKind::Prestart, HookKind::CreateRuntime, HookKind::Poststart, HookKind::Poststop] {
            for (index, hook) in (0..).zip(self.of(kind)) {
                let last = self.last(&records, kind, index);
                let Some(HookRecord { step: HookStep::Begun(process), at: since, .. }) = last else { continue };
                if kind == HookKind::Poststart && poststart_is_watched {
                    continue;
                }
                let patience = match (kind, hook.timeout) {
                    (HookKind::Poststop, Some(seconds)) => left_of(Duration::from_secs(seconds.into()), *since),
                    (HookKind::Poststop, None) => patience::AN_OLD_HOOK,
                    _ => Duration::ZERO,
                };
                let what = match self.end(process, patience)? {
                    Orphan::Killed => "; what still ran of it was killed",
                    Orphan::Gone => "",
                };
                let (kind_name, path) = (kind.name(), &hook.path);
                told.push(format!(
                    "the {kind_name} hook {path:?} had begun when the command that waited for it died: how it ended is \
                     unknown, and it is not run again{what}"
                ));
                self.note(kind, index, HookStep::Ended(HookEnd::Unseen))?;
            }
        }
        Ok(told)
    }

    fn end(&self, process: &ProcessRef, patience: Duration) -> Result<Orphan, HostError> {
        let Some(handle) = probe::open_if_alive(process, &self.boot)? else { return Ok(Orphan::Gone) };
        let what = || format!("wait for the hook that runs as process {}", process.pid);
        if pidfd::wait_exit(handle.as_fd(), Some(Instant::now() + patience)).trying(what)? {
            return Ok(Orphan::Gone);
        }
        // It lived a moment ago, so that the number is its group's.
        let _ = killpg(Pid::from_raw(process.pid), Signal::SIGKILL);
        pidfd::wait_exit(handle.as_fd(), Some(Instant::now() + patience::A_KILLED_PROCESS)).trying(what)?;
        Ok(Orphan::Killed)
    }

    fn of(&self, kind: HookKind) -> &[HookPlan] {
        match kind {
            HookKind::Prestart => &self.plans.prestart,
            HookKind::CreateRuntime => &self.plans.create_runtime,
            HookKind::Poststart => &self.plans.poststart,
            HookKind::Poststop => &self.plans.poststop,
        }
    }

    /// The last that was recorded of a hook; None: it has not begun.
    fn last<'r>(&self, records: &'r [HookRecord], kind: HookKind, index: u32) -> Option<&'r HookRecord> {
        let mine = |record: &&HookRecord| {
            record.container == self.container
                && (record.kind, record.index) == (kind, index)
                && !matches!(record.step, HookStep::Claimed(_))
        };
        records.iter().rfind(mine)
    }

    fn claimant<'r>(&self, records: &'r [HookRecord]) -> Option<&'r ProcessRef> {
        records.iter().rev().filter(|record| record.container == self.container).find_map(|record| match &record.step {
            HookStep::Claimed(process) => Some(process),
            _ => None,
        })
    }

    fn note(&self, kind: HookKind, index: u32, step: HookStep) -> Result<(), HostError> {
        let container = self.container.clone();
        Ok(self.log.append(&HookRecord { container, kind, index, step, at: crate::engine::now() })?)
    }
}

fn look_at(pid: i32) -> Result<ProcessRef, HostError> {
    let what = || format!("look at process {pid} in /proc");
    procfs::process_ref(pid).and_then(|found| found.ok_or(io::ErrorKind::NotFound.into())).trying(what)
}

fn left_of(timeout: Duration, since: i64) -> Duration {
    let passed = crate::engine::now().saturating_sub(since).max(0);
    timeout.saturating_sub(Duration::from_nanos(passed.unsigned_abs()))
}

/// What became of a hook whose command had died.
enum Orphan {
    Gone,
    Killed,
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;
    use crate::store::Root;

    fn shell(script: &str) -> HookPlan {
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        HookPlan { path: "/bin/sh".into(), args, env: Some(vec!["PATH=/usr/bin:/bin".into()]), timeout: None }
    }

    struct Sandbox {
        dir: tempfile::TempDir,
        folder: Folder,
        plans: HooksPlan,
    }

    impl Sandbox {
        /// Whose hooks of every kind add their numbers to a file.
        fn new(scripts: &[&str]) -> Sandbox {
            let dir = tempfile::tempdir().unwrap();
            let (folder, _guard) = Root::open_or_make(&dir.path().join("root")).unwrap().prepare().unwrap();
            let said = dir.path().join("said");
            let hooks: Vec<HookPlan> =
                scripts.iter().map(|script| shell(&format!("exec >> {said:?}; {script}"))).collect();
            let plans = HooksPlan {
                create_runtime: hooks.clone(),
                poststart: hooks.clone(),
                poststop: hooks,
                ..HooksPlan::default()
            };
            Sandbox { dir, folder, plans }
        }

        /// As each command opens it anew.
        fn ledger(&self) -> Ledger {
            let id = Id::parse("web").unwrap();
            Ledger::make(&self.folder, &id, &procfs::boot().unwrap(), &self.plans).unwrap().expect("it has hooks")
        }

        fn given(&self) -> Given<'_> {
            Given { state_json: b"{}", bundle: self.dir.path() }
        }

        fn said(&self) -> String {
            std::fs::read_to_string(self.dir.path().join("said")).unwrap_or_default()
        }
    }

    /// Somebody who is dead.
    fn dead() -> ProcessRef {
        ProcessRef { pid: i32::MAX, start_time: 1, pidfd_inode: None }
    }

    #[test]
    fn a_hook_runs_once_however_often_it_is_asked_for() {
        let sandbox = Sandbox::new(&["echo 1", "echo 2"]);
        for _ in 0..3 {
            assert_eq!(sandbox.ledger().run_all(HookKind::Poststop, sandbox.given()), Vec::<String>::new());
        }
        assert_eq!(sandbox.said(), "1\n2\n");
        // Each kind counts for itself.
        sandbox.ledger().run(HookKind::CreateRuntime, sandbox.given()).unwrap();
        assert_eq!(sandbox.said(), "1\n2\n1\n2\n");
    }

    #[test]
    fn one_that_has_begun_is_not_run_again_is_told_once_and_those_after_it_run() {
        let sandbox = Sandbox::new(&["echo 1", "echo 2", "echo 3"]);
        let ledger = sandbox.ledger();
        ledger.note(HookKind::Poststop, 0, HookStep::Begun(dead())).unwrap();
        ledger.note(HookKind::Poststop, 0, HookStep::Ended(HookEnd::Well)).unwrap();
        ledger.note(HookKind::Poststop, 1, HookStep::Begun(dead())).unwrap();
        let told = sandbox.ledger().settle().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("poststop") && told[0].contains("not run again"), "{told:?}");
        assert_eq!(sandbox.ledger().settle().unwrap(), Vec::<String>::new());
        sandbox.ledger().run_all(HookKind::Poststop, sandbox.given());
        assert_eq!(sandbox.said(), "3\n");
    }

    #[test]
    fn the_first_that_fails_is_the_last_and_stays_a_failure() {
        let sandbox = Sandbox::new(&["echo 1", "exit 4", "echo 3"]);
        let ledger = sandbox.ledger();
        let error = ledger.run(HookKind::CreateRuntime, sandbox.given()).unwrap_err();
        assert!(told::on_one_line(&error).contains("exit code 4"));
        assert!(sandbox.ledger().run(HookKind::CreateRuntime, sandbox.given()).is_err());
        assert_eq!(sandbox.said(), "1\n");
        // Of those that all run, the others are not kept from it.
        assert_eq!(ledger.run_all(HookKind::Poststop, sandbox.given()).len(), 1);
        assert_eq!(sandbox.said(), "1\n1\n3\n");
    }

    #[test]
    fn poststart_hooks_are_due_only_when_whoever_claimed_them_is_dead() {
        let sandbox = Sandbox::new(&["echo 1", "echo 2"]);
        let ledger = sandbox.ledger();
        assert!(!ledger.poststart_is_due().unwrap(), "nobody has started it");
        ledger.claim_poststart().unwrap();
        assert!(!ledger.poststart_is_due().unwrap(), "we live");
        ledger.note(HookKind::Poststart, 0, HookStep::Begun(dead())).unwrap();
        assert_eq!(ledger.settle().unwrap(), Vec::<String>::new(), "we wait for it");
        ledger.note(HookKind::Poststart, 0, HookStep::Claimed(dead())).unwrap();
        assert!(ledger.poststart_is_due().unwrap());
        assert_eq!(ledger.settle().unwrap().len(), 1);
        assert!(ledger.poststart_is_due().unwrap(), "the second has not run");
        ledger.run(HookKind::Poststart, sandbox.given()).unwrap();
        assert!(!ledger.poststart_is_due().unwrap());
        assert_eq!(sandbox.said(), "2\n");
    }

    #[test]
    fn what_still_runs_of_a_dead_create_is_ended() {
        let sandbox = Sandbox::new(&["true"]);
        let mut orphan = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let ledger = sandbox.ledger();
        ledger.note(HookKind::CreateRuntime, 0, HookStep::Begun(look_at(orphan.id() as i32).unwrap())).unwrap();
        let told = ledger.settle().unwrap();
        assert!(told[0].contains("what still ran of it was killed"), "{told:?}");
        assert!(!orphan.wait().unwrap().success());
    }
}
