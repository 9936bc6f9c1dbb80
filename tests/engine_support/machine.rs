//! A tiny kernel: supervisors, inits and cgroups, and what happens to them when somebody dies.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};

use sandkeep::model::exits::{self, ExitRecord};
use sandkeep::model::record::{Exit, PidNamespace};
use sandkeep::model::{Effect, End};

#[derive(Default)]
pub struct Machine {
    pub supervisors: BTreeMap<i32, Supervisor>,
    pub inits: BTreeMap<i32, Init>,
    pub cgroups: BTreeMap<PathBuf, Cgroup>,
    /// How often each sandbox's poststop hooks ran, by the pid of its supervisor.
    pub poststop: BTreeMap<i32, usize>,
    pub script: Script,
    /// The effect being performed is not going to be completed.
    pub halfway: bool,
    last_pid: i32,
}

pub struct Supervisor {
    pub alive: bool,
    /// Dies with its creator until then.
    pub adopted: bool,
    /// Of which PID namespace it is pid 1, if any.
    pub namespace: PidNamespace,
    exits: File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Waiting,
    Running,
    Dead,
}

pub struct Init {
    pub life: Life,
    pub supervisor: i32,
    pub cgroup: PathBuf,
}

#[derive(Default)]
pub struct Cgroup {
    pub frozen: bool,
    /// What the kernel holds: the seq of the update that wrote it.
    pub limits: u64,
    /// What is on disk: the seq of the last update that was complete.
    pub kept: u64,
}

/// What goes wrong, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The effect does nothing and says why.
    Refuses,
    /// The effect happens, and then fails.
    FailsDone,
    CrashBefore,
    /// Of an update: the cgroup is written, and nothing says that it is complete.
    CrashHalfway,
    CrashAfter,
}

/// The faults to come, and what has been performed since the script was written.
#[derive(Default)]
pub struct Script {
    /// (how many effects come before, what then)
    pub faults: Vec<(usize, Fault)>,
    pub performed: usize,
    /// The files of the sandbox's folder when the last effect was performed.
    pub folder: Option<PathBuf>,
    pub files: BTreeMap<String, Vec<u8>>,
}

/// The process that was at work died here. Unwinding runs no code of the engine but what releases its locks.
pub struct Crashed;

#[derive(Debug)]
pub struct Failed {
    effect: &'static str,
    /// Whether it happened all the same: nobody can tell.
    pub unknown: bool,
}

impl Failed {
    /// It did not happen.
    pub fn to(effect: impl Effect) -> Failed {
        Failed { effect: effect.name(), unknown: false }
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} failed", self.effect)
    }
}

impl std::error::Error for Failed {}

impl Machine {
    /// One effect, with whatever the script has for it.
    pub fn perform(
        &mut self,
        effect: impl Effect,
        work: impl FnOnce(&mut Machine) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        if let Some(folder) = &self.script.folder {
            self.script.files = files_of(folder);
        }
        let at = self.script.performed;
        self.script.performed += 1;
        match self.script.faults.iter().find(|(before, _)| *before == at).map(|(_, fault)| *fault) {
            None => work(self),
            Some(Fault::Refuses) => Err(Failed::to(effect)),
            Some(Fault::FailsDone) => work(self).and(Err(Failed { effect: effect.name(), unknown: true })),
            Some(Fault::CrashBefore) => resume_unwind(Box::new(Crashed)),
            Some(fault @ (Fault::CrashHalfway | Fault::CrashAfter)) => {
                self.halfway = fault == Fault::CrashHalfway;
                let _ = work(self);
                self.halfway = false;
                resume_unwind(Box::new(Crashed))
            }
        }
    }

    pub fn pid(&mut self) -> i32 {
        self.last_pid += 1;
        self.last_pid
    }

    pub fn spawn_supervisor(&mut self, exits: OwnedFd, namespace: PidNamespace) -> i32 {
        let pid = self.pid();
        self.supervisors.insert(pid, Supervisor { alive: true, adopted: false, namespace, exits: exits.into() });
        pid
    }

    /// An init that has lost its supervisor is kept by this one.
    pub fn hand_over(&mut self, init: i32, supervisor: i32) {
        if let (Some(init), Some(keeper)) = (self.inits.get_mut(&init), self.supervisors.get_mut(&supervisor)) {
            init.supervisor = supervisor;
            keeper.adopted = true;
        }
    }

    pub fn launch(&mut self, supervisor: i32, cgroup: &Path) -> i32 {
        assert!(self.supervisor_alive(supervisor), "an init is launched into a namespace that has a pid 1");
        let pid = self.pid();
        self.inits.insert(pid, Init { life: Life::Waiting, supervisor, cgroup: cgroup.to_owned() });
        pid
    }

    pub fn supervisor_alive(&self, pid: i32) -> bool {
        self.supervisors.get(&pid).is_some_and(|supervisor| supervisor.alive)
    }

    pub fn kill_init(&mut self, pid: i32) {
        if let Some(init) = self.inits.get_mut(&pid) {
            init.life = Life::Dead;
        }
    }

    /// Where it is pid 1 of its namespace, everything in there dies, and nobody writes down how. Elsewhere those die that
    /// wait for its start message.
    pub fn kill_supervisor(&mut self, pid: i32) {
        let Some(supervisor) = self.supervisors.get_mut(&pid) else { return };
        supervisor.alive = false;
        let namespace = supervisor.namespace;
        let ends = |init: &Init| namespace == PidNamespace::Own || init.life == Life::Waiting;
        for init in self.inits.values_mut().filter(|init| init.supervisor == pid && ends(init)) {
            init.life = Life::Dead;
        }
    }

    pub fn kill_cgroup(&mut self, cgroup: &Path) {
        for init in self.inits.values_mut().filter(|init| init.cgroup == cgroup) {
            init.life = Life::Dead;
        }
    }

    /// What depends on the process that made it goes with it.
    pub fn creator_died(&mut self) {
        let orphans: Vec<i32> =
            self.supervisors.iter().filter(|(_, supervisor)| !supervisor.adopted).map(|(pid, _)| *pid).collect();
        for pid in orphans {
            self.kill_supervisor(pid);
        }
    }

    /// rmdir(2): a cgroup with a living process stays.
    pub fn remove_cgroup(&mut self, cgroup: &Path) -> Result<(), Failed> {
        if self.inits.values().any(|init| init.life != Life::Dead && init.cgroup == cgroup) {
            return Err(Failed::to(End::RemoveCgroups));
        }
        self.cgroups.remove(cgroup);
        Ok(())
    }

    /// The supervisor writes down how its container ended, and leaves.
    pub fn record_exit(&mut self, supervisor: i32, container: &str, exit: Exit) {
        let Some(keeper) = self.supervisors.get_mut(&supervisor).filter(|keeper| keeper.alive) else { return };
        let record = exits::encode(&ExitRecord { container: container.to_owned(), exit });
        keeper.exits.write_all(&record).expect("the exits file is writable");
        keeper.alive = false;
    }
}

/// Everything in a folder, by name; nothing when it is gone.
pub fn files_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, std::fs::read(entry.path()).ok()?)))
        .collect()
}
