//! The effects of delete and of healing: kill, wait, remove. All of them may be done twice, or on what is already gone.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::hooks::{Given, Ledger};
use super::{HostError, Trying, probe, resctrl};
use crate::cgroup;
use crate::cgroup::systemd::{Bus, Systemd};
use crate::engine::heal::Wreck;
use crate::engine::{Effects, Pace};
use crate::model::record::{Boot, CgroupRecord, HookKind, PidNamespace, ProcessRef, ScopeRecord, Snapshot};
use crate::model::{Effect, Event};
use crate::store::Folder;
use crate::sys::procfs::Standing;
use crate::sys::{pidfd, procfs};

/// How long a killed process may take to end. Never slept through: a pidfd says when.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// How long the kernel may take to let go of the cgroup of what has been seen to end: the last steps of an exit close what was
/// open, and on a small machine under load they were seen to take more than 5 s.
const LAST_STEPS: Duration = Duration::from_secs(20);

/// Until when a cgroup is waited for that nothing lives in any more.
pub fn last_steps() -> Instant {
    Instant::now() + LAST_STEPS
}

pub fn deadline() -> Instant {
    Instant::now() + DEADLINE
}

/// The hooks of what is to be taken down, and what its poststop hooks are given.
pub struct Hooks {
    pub ledger: Ledger,
    pub state: Vec<u8>,
    pub bundle: PathBuf,
}

/// What is to be taken down, copied out of whatever was found of it.
pub struct Destruction {
    boot: Option<Boot>,
    supervisor: Option<ProcessRef>,
    pid_namespace: PidNamespace,
    inits: Vec<ProcessRef>,
    cgroups: Vec<CgroupRecord>,
    /// Cgroups that a creation was about to make: perhaps it did, perhaps they are somebody else's.
    intended: Vec<PathBuf>,
    /// Deepest first.
    resctrl: Vec<PathBuf>,
    hooks: Option<Hooks>,
    /// Where an update that was cut short has left its way back.
    folder: Option<Folder>,
    /// What systemd calls the container.
    scope: Option<ScopeRecord>,
    warnings: Vec<String>,
}

impl Destruction {
    /// Of a sandbox with a snapshot.
    pub fn of(snapshot: &Snapshot) -> Destruction {
        let containers = snapshot.containers.values();
        let mut cgroups: Vec<_> = containers.clone().map(|container| container.cgroup.clone()).collect();
        cgroups.push(snapshot.sandbox.supervisor_cgroup.clone());
        Destruction {
            boot: Some(snapshot.sandbox.boot.clone()),
            supervisor: Some(snapshot.sandbox.supervisor.clone()),
            pid_namespace: snapshot.sandbox.pid_namespace,
            inits: containers.map(|container| container.init.clone()).collect(),
            cgroups,
            intended: Vec::new(),
            resctrl: Vec::new(),
            hooks: None,
            folder: None,
            scope: None,
            warnings: Vec::new(),
        }
    }

    /// Of whatever a crash left. Without a snapshot nothing has outlived its creator but the cgroups that the intent
    /// names; every process dies with its creator, so that none is killed here.
    pub fn of_wreck(wreck: &Wreck<'_>) -> Destruction {
        if let Some(snapshot) = wreck.snapshot {
            let updating = wreck.intent.is_some_and(|intent| intent.event == Event::UpdateRequested);
            let folder = if updating { wreck.folder.try_clone().ok() } else { None };
            // One that cannot be read is one that systemd collects by itself.
            let scope = wreck.folder.read_scope().ok().flatten();
            return Destruction { folder, scope, ..Destruction::of(snapshot) };
        }
        Destruction {
            boot: None,
            supervisor: None,
            pid_namespace: PidNamespace::Foreign,
            inits: Vec::new(),
            cgroups: Vec::new(),
            intended: wreck.intent.map(|intent| intent.cgroups.clone()).unwrap_or_default(),
            resctrl: Vec::new(),
            hooks: None,
            folder: None,
            scope: None,
            warnings: Vec::new(),
        }
    }

    /// Groups of the resctrl file system, deepest first.
    pub fn with_resctrl(mut self, groups: Vec<PathBuf>) -> Destruction {
        self.resctrl = groups;
        self
    }

    /// Its poststop hooks run once everything is dead; a failure is a warning.
    pub fn with_hooks(mut self, hooks: Hooks) -> Destruction {
        self.hooks = Some(hooks);
        self
    }

    /// Something that the user must know once it is done.
    pub fn with_warning(mut self, text: String) -> Destruction {
        self.warnings.push(text);
        self
    }

    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn kill_sandbox(&mut self) -> Result<(), HostError> {
        // What a dead command's hooks still prepare is about to be gone.
        if let Some(hooks) = &self.hooks {
            self.warnings.extend(hooks.ledger.settle()?);
        }
        let Some(boot) = &self.boot else { return Ok(()) };
        // Before its end: who lives in the cgroups now shows whose they are, and a supervisor waits in the kernel for
        // all that is in its PID namespace.
        let ended = self.end_cgroups_of_containers(boot);
        if let Some(supervisor) = &self.supervisor {
            kill_process(supervisor, boot)?;
        }
        ended?;
        self.inits.iter().try_for_each(|init| kill_process(init, boot))?;
        // Where the end of a supervisor ends nobody else, what it left in its own cgroup has to be ended, too.
        if self.pid_namespace == PidNamespace::Foreign && is_of_this_boot(boot)? {
            self.cgroups.iter().try_for_each(|record| cgroup::kill_and_wait(record, deadline()))?;
        }
        Ok(())
    }

    fn kill_containers(&self) -> Result<(), HostError> {
        let Some(boot) = &self.boot else { return Ok(()) };
        self.end_cgroups_of_containers(boot)?;
        self.inits.iter().try_for_each(|init| kill_process(init, boot))
    }

    fn end_cgroups_of_containers(&self, boot: &Boot) -> Result<(), HostError> {
        if !self.cgroups_are_ours(boot)? {
            return Ok(());
        }
        // First, so that their exit codes do not say what they made of the end of their children.
        for init in &self.inits {
            if let Some(pidfd) = probe::open_if_alive(init, boot)? {
                send_kill(pidfd.as_fd())?;
            }
        }
        Ok(self.of_containers().iter().try_for_each(|record| cgroup::kill_and_wait(record, deadline()))?)
    }

    /// Whether what is in the containers' cgroups belongs to this sandbox. Once it has ended, somebody else may have been
    /// given them: after a reboot, or when nothing was left in them because the kernel has killed everything with a
    /// supervisor that was pid 1.
    fn cgroups_are_ours(&self, boot: &Boot) -> Result<bool, HostError> {
        if !is_of_this_boot(boot)? {
            return Ok(false);
        }
        if self.pid_namespace == PidNamespace::Foreign {
            return Ok(true);
        }
        for init in &self.inits {
            if standing(init, boot)? != Standing::Gone {
                return Ok(true);
            }
        }
        let Some(supervisor) = &self.supervisor else { return Ok(false) };
        match standing(supervisor, boot)? {
            Standing::Gone => Ok(false),
            // Its own cgroup has the name of theirs, and nobody is given one of a pair.
            Standing::Runs if self.cgroups.last().is_some_and(|own| !own.folders.is_empty()) => Ok(true),
            Standing::Runs | Standing::Ending => self.any_in_namespace_of(supervisor),
        }
    }

    /// Whether anything in the containers' cgroups is in the PID namespace of this process: what lives in there keeps pid
    /// 1 from ending, and its cgroup from being given away.
    fn any_in_namespace_of(&self, supervisor: &ProcessRef) -> Result<bool, HostError> {
        let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let Some(wanted) = namespace(supervisor.pid) else { return Ok(false) };
        for record in self.of_containers() {
            if cgroup::processes(record)?.into_iter().any(|pid| namespace(pid).as_ref() == Some(&wanted)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The last record is the supervisor's own.
    fn of_containers(&self) -> &[CgroupRecord] {
        &self.cgroups[..self.cgroups.len().saturating_sub(1)]
    }

    fn remove_cgroups(&mut self) -> Result<(), HostError> {
        self.stop_scope();
        for record in &self.cgroups {
            cgroup::remove(record, last_steps())?;
        }
        for folder in cgroup::remove_emptied(&self.intended, deadline())? {
            self.warnings.push(format!("left the cgroup {folder:?} alone: the processes in it are somebody else's"));
        }
        resctrl::remove(&self.resctrl)
    }

    /// systemd lets go of an empty scope by itself, some time; this waits for it. One with processes in it is by now
    /// somebody else's of the same name.
    fn stop_scope(&mut self) {
        let Some(scope) = &self.scope else { return };
        let empty = |record: &CgroupRecord| cgroup::processes(record).is_ok_and(|pids| pids.is_empty());
        if !self.of_containers().iter().all(empty) {
            return;
        }
        let stopped = systemd_of(scope).and_then(|mut systemd| Ok(systemd.stop(&scope.unit)?));
        if let Err(error) = stopped {
            self.warnings.push(crate::container::one_line(&error));
        }
    }

    /// Takes an update that was cut short back. A value that is refused by now stops nothing: whoever heals goes on, and
    /// says so.
    fn set_limits_back(&mut self) -> Result<(), HostError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        match folder.read_next_limits() {
            Ok(None) => {}
            Ok(Some(next)) => {
                let left = cgroup::set_back(&next.before);
                self.warnings.extend(left.into_iter().map(|text| format!("a limit could not be set back: {text}")));
                if let Some(scope) = &self.scope
                    && let Err(error) = super::update::tell_systemd_again(scope, folder)
                {
                    self.warnings.push(crate::container::one_line(&error));
                }
            }
            Err(error) => {
                let why = crate::container::one_line(&error);
                self.warnings.push(format!("some limits may be those of an update that was cut short: {why}"));
            }
        }
        Ok(folder.drop_limits()?)
    }

    fn run_poststop(&mut self) {
        if let Some(Hooks { ledger, state, bundle }) = &self.hooks {
            let given = Given { state_json: state, bundle };
            self.warnings.extend(ledger.run_all(HookKind::Poststop, given));
        }
    }
}

impl Effects for Destruction {
    type Error = HostError;

    fn pace(&self) -> Pace {
        Pace::with_hooks(self.hooks.is_some())
    }

    fn take_warnings(&mut self) -> Vec<String> {
        Destruction::take_warnings(self)
    }

    fn perform(&mut self, effect: Effect) -> Result<(), HostError> {
        match effect {
            Effect::KillSandbox => self.kill_sandbox(),
            Effect::KillContainer => self.kill_containers(),
            Effect::RemoveCgroups => self.remove_cgroups(),
            Effect::RunPoststopHooks => {
                self.run_poststop();
                Ok(())
            }
            Effect::ApplyLimits => self.set_limits_back(),
            Effect::Thaw => self.each_freezer(cgroup::thaw),
            Effect::Freeze => self.each_freezer(|record| cgroup::freeze(record, deadline())),
            other => Err(super::not_ours(other)),
        }
    }
}

impl Destruction {
    fn each_freezer(&self, act: impl Fn(&CgroupRecord) -> Result<(), cgroup::Error>) -> Result<(), HostError> {
        // The supervisor's own is never frozen.
        for record in self.of_containers().iter().filter(|record| record.freezer.is_some()) {
            if cgroup::exists(record)? {
                act(record)?;
            }
        }
        Ok(())
    }
}

/// The systemd that has this scope.
pub fn systemd_of(scope: &ScopeRecord) -> Result<Systemd, HostError> {
    let bus = Bus::parse(&scope.bus).unwrap_or(Bus::System);
    Ok(Systemd::connect(bus)?)
}

fn is_of_this_boot(boot: &Boot) -> Result<bool, HostError> {
    Ok(procfs::boot_id().trying(|| "read the boot id".into())? == boot.boot_id)
}

fn standing(process: &ProcessRef, boot: &Boot) -> Result<Standing, HostError> {
    procfs::standing(process, boot).trying(|| format!("look at process {}", process.pid))
}

fn kill_process(process: &ProcessRef, boot: &Boot) -> Result<(), HostError> {
    let Some(pidfd) = probe::open_if_alive(process, boot)? else { return Ok(()) };
    send_kill(pidfd.as_fd())?;
    wait_gone(pidfd.as_fd(), process, boot)
}

/// SIGKILL; a process that is already gone is a success.
pub fn send_kill(process: BorrowedFd<'_>) -> Result<(), HostError> {
    match pidfd::send_signal(process, libc::SIGKILL) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.trying(|| "send SIGKILL".into()),
    }
}

/// Kills a process that this process knows by pidfd only; `child`: it is ours to reap, and whatever else of ours ends
/// meanwhile. A supervisor ends when its PID namespace is empty, and an init that a helper cloned for us and had no time to
/// tell of is a child of ours that nobody else reaps.
pub fn kill_and_wait(process: BorrowedFd<'_>, child: bool) -> Result<(), HostError> {
    send_kill(process)?;
    let what = || "wait for a killed process".to_owned();
    let end = Instant::now() + DEADLINE;
    loop {
        let slice = if child { (Instant::now() + Duration::from_millis(20)).min(end) } else { end };
        let exited = pidfd::wait_exit(process, Some(slice)).trying(what)?;
        while child && pidfd::wait_any_child().trying(what)?.is_some() {}
        if exited {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(HostError::Timeout { what: "the end of a killed process".into(), seconds: DEADLINE.as_secs() });
        }
    }
}

/// Waits until it is dead or past the point of doing anything (see the design, "When is a supervisor gone?"); reaps
/// meanwhile whatever happens to be our own child.
fn wait_gone(pidfd: BorrowedFd<'_>, process: &ProcessRef, boot: &Boot) -> Result<(), HostError> {
    let end = Instant::now() + DEADLINE;
    loop {
        let slice = (Instant::now() + Duration::from_millis(20)).min(end);
        let exited = pidfd::wait_exit(pidfd, Some(slice)).trying(|| format!("wait for process {}", process.pid))?;
        let _ = pidfd::wait_child(pidfd);
        // A killed supervisor whose children have an outside parent that does not reap stays in the kernel's exit path:
        // its pidfd never becomes readable, and yet nothing of the sandbox runs any more.
        if exited || !procfs::is_alive(process, boot) {
            return Ok(());
        }
        if Instant::now() >= end {
            let what = format!("the end of the killed process {}", process.pid);
            return Err(HostError::Timeout { what, seconds: DEADLINE.as_secs() });
        }
    }
}
