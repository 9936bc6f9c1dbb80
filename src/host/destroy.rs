//! The effects of delete and of healing: kill, wait, remove. All of them may be done twice, or on what is already gone.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Instant;

use super::hooks::{Given, Ledger};
use super::kill::{self, deadline};
use super::{HostError, Trying, probe, resctrl};
use crate::cgroup;
use crate::cgroup::systemd::{Bus, Systemd};
use crate::engine::{Effects, Pace, Performer, Wreck};
use crate::model::End;
use crate::model::record::{
    Boot, CgroupRecord, HookKind, PidNamespace, ProcessRef, SandboxRecord, ScopeRecord, Snapshot,
};
use crate::store::Folder;
use crate::sys::patience;
use crate::sys::procfs;
use crate::sys::procfs::Standing;

/// Until when a cgroup is waited for that nothing lives in any more.
pub fn last_steps() -> Instant {
    Instant::now() + patience::LAST_STEPS_OF_AN_EXIT
}

/// The hooks of what is to be taken down, and what its poststop hooks are given.
pub struct Hooks {
    /// What ran already is not run again.
    pub ledger: Ledger,
    /// The OCI state document, as JSON.
    pub state: Vec<u8>,
    /// They run in it.
    pub bundle: PathBuf,
}

/// What is to be taken down, copied out of whatever was found of it.
pub struct Destruction {
    remains: Remains,
    /// Deepest first.
    resctrl: Vec<PathBuf>,
    hooks: Option<Hooks>,
    warnings: Vec<String>,
}

/// What is left of a sandbox.
enum Remains {
    Recorded(Box<Recorded>),
    /// Nothing was on record when its creation was cut short. Every process has died with its creator, and of the cgroups that
    /// it was about to make nobody knows whether it did, or whether they are somebody else's.
    Intended {
        cgroups: Vec<PathBuf>,
    },
}

/// What a snapshot says is there.
struct Recorded {
    boot: Boot,
    supervisor: ProcessRef,
    pid_namespace: PidNamespace,
    inits: Vec<ProcessRef>,
    cgroups: Vec<CgroupRecord>,
    supervisor_cgroup: CgroupRecord,
    /// What systemd calls the container.
    scope: Option<ScopeRecord>,
}

impl Destruction {
    /// Of whatever was found.
    pub fn of_wreck(wreck: &Wreck<'_>) -> Destruction {
        let remains = match wreck.snapshot {
            Some(snapshot) => Remains::Recorded(Box::new(Recorded::of(snapshot, wreck.folder))),
            None => {
                Remains::Intended { cgroups: wreck.intent.map(|intent| intent.cgroups.clone()).unwrap_or_default() }
            }
        };
        Destruction { remains, resctrl: Vec::new(), hooks: None, warnings: Vec::new() }
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

    fn kill_sandbox(&mut self) -> Result<(), HostError> {
        // What a dead command's hooks still prepare is about to be gone.
        if let Some(hooks) = &self.hooks {
            self.warnings.extend(hooks.ledger.settle()?);
        }
        match &self.remains {
            Remains::Recorded(recorded) => recorded.kill_sandbox(),
            Remains::Intended { .. } => Ok(()),
        }
    }

    fn kill_container(&self) -> Result<(), HostError> {
        match &self.remains {
            Remains::Recorded(recorded) => recorded.kill_containers(),
            Remains::Intended { .. } => Ok(()),
        }
    }

    fn remove_cgroups(&mut self) -> Result<(), HostError> {
        match &self.remains {
            Remains::Recorded(recorded) => {
                self.warnings.extend(recorded.stop_scope());
                for record in recorded.cgroups.iter().chain([&recorded.supervisor_cgroup]) {
                    cgroup::remove(record, last_steps())?;
                }
            }
            Remains::Intended { cgroups } => {
                for folder in cgroup::remove_emptied(cgroups, deadline())? {
                    let text = format!("left the cgroup {folder:?} alone: the processes in it are somebody else's");
                    self.warnings.push(text);
                }
            }
        }
        resctrl::remove(&self.resctrl)
    }

    fn run_poststop(&mut self) {
        if let Some(Hooks { ledger, state, bundle }) = &self.hooks {
            let given = Given { state_json: state, bundle };
            self.warnings.extend(ledger.run_all(HookKind::Poststop, given));
        }
    }
}

impl Recorded {
    fn of(snapshot: &Snapshot, folder: &Folder) -> Recorded {
        let SandboxRecord { boot, supervisor, pid_namespace, supervisor_cgroup, .. } = &snapshot.sandbox;
        let containers = snapshot.containers.values();
        Recorded {
            boot: boot.clone(),
            supervisor: supervisor.clone(),
            pid_namespace: *pid_namespace,
            inits: containers.clone().map(|container| container.init.clone()).collect(),
            cgroups: containers.map(|container| container.cgroup.clone()).collect(),
            supervisor_cgroup: supervisor_cgroup.clone(),
            // One that cannot be read is one that systemd collects by itself.
            scope: folder.read_scope().ok().flatten(),
        }
    }

    fn kill_sandbox(&self) -> Result<(), HostError> {
        // Before its end: who lives in the cgroups now shows whose they are, and a supervisor waits in the kernel for
        // all that is in its PID namespace.
        let ended = self.end_cgroups();
        kill::process(&self.supervisor, &self.boot)?;
        ended?;
        self.kill_inits()?;
        // Where the end of a supervisor ends nobody else, what it left in its own cgroup has to be ended, too.
        if self.pid_namespace == PidNamespace::Foreign && is_of_this_boot(&self.boot)? {
            let all = self.cgroups.iter().chain([&self.supervisor_cgroup]);
            all.into_iter().try_for_each(|record| cgroup::kill_and_wait(record, deadline()))?;
        }
        Ok(())
    }

    /// What is frozen is thawed, once it is killed.
    fn kill_containers(&self) -> Result<(), HostError> {
        self.end_cgroups()?;
        self.kill_inits()
    }

    /// One of them may be the child of this process, which ran it in the foreground.
    fn kill_inits(&self) -> Result<(), HostError> {
        self.inits.iter().try_for_each(|init| {
            kill::process(init, &self.boot)?;
            kill::reap(init, &self.boot)
        })
    }

    fn end_cgroups(&self) -> Result<(), HostError> {
        if !self.cgroups_are_ours()? {
            return Ok(());
        }
        // First, so that their exit codes do not say what they made of the end of their children.
        for init in &self.inits {
            if let Some(pidfd) = probe::open_if_alive(init, &self.boot)? {
                kill::send(pidfd.as_fd())?;
            }
        }
        Ok(self.cgroups.iter().try_for_each(|record| cgroup::kill_and_wait(record, deadline()))?)
    }

    /// Whether what is in the containers' cgroups belongs to this sandbox. Once it has ended, somebody else may have been
    /// given them: after a reboot, or when nothing was left in them because the kernel has killed everything with a
    /// supervisor that was pid 1.
    fn cgroups_are_ours(&self) -> Result<bool, HostError> {
        if !is_of_this_boot(&self.boot)? {
            return Ok(false);
        }
        if self.pid_namespace == PidNamespace::Foreign {
            return Ok(true);
        }
        for init in &self.inits {
            if standing(init, &self.boot)? != Standing::Gone {
                return Ok(true);
            }
        }
        match standing(&self.supervisor, &self.boot)? {
            Standing::Gone => Ok(false),
            // Its own cgroup has the name of theirs, and nobody is given one of a pair.
            Standing::Runs if !self.supervisor_cgroup.folders.is_empty() => Ok(true),
            Standing::Runs | Standing::Ending => self.any_in_namespace_of_supervisor(),
        }
    }

    /// Whether anything in the containers' cgroups is in the PID namespace of the supervisor: what lives in there keeps pid
    /// 1 from ending, and its cgroup from being given away.
    fn any_in_namespace_of_supervisor(&self) -> Result<bool, HostError> {
        let Some(wanted) = procfs::pid_namespace(self.supervisor.pid) else { return Ok(false) };
        for record in &self.cgroups {
            if cgroup::processes(record)?.into_iter().any(|pid| procfs::pid_namespace(pid).as_ref() == Some(&wanted)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// systemd lets go of an empty scope by itself, some time; this waits for it. One with processes in it is by now
    /// somebody else's of the same name. What went wrong stops nothing.
    fn stop_scope(&self) -> Option<String> {
        let scope = self.scope.as_ref()?;
        let empty = |record: &CgroupRecord| cgroup::processes(record).is_ok_and(|pids| pids.is_empty());
        if !self.cgroups.iter().all(empty) {
            return None;
        }
        let stopped = systemd_of(scope).and_then(|mut systemd| Ok(systemd.stop(&scope.unit)?));
        stopped.err().map(|error| crate::sys::told::on_one_line(&error))
    }
}

impl Performer for Destruction {
    type Error = HostError;

    fn pace(&self) -> Pace {
        Pace::with_hooks(self.hooks.is_some())
    }

    fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }
}

impl Effects<End> for Destruction {
    fn perform(&mut self, effect: End) -> Result<(), HostError> {
        match effect {
            End::KillContainer => self.kill_container(),
            End::KillSandbox => self.kill_sandbox(),
            End::RemoveCgroups => self.remove_cgroups(),
            End::Poststop => {
                self.run_poststop();
                Ok(())
            }
        }
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
