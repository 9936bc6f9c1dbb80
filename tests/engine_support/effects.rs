//! The engine's two traits on the simulated machine. What heals and deletes knows only what is on disk, like the real
//! one: a process or a cgroup that no record names is found by nobody.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

use sandkeep::engine::{
    Advanced, Born, Depth, Effects, Facts, Known, Left, Mend, OnRecord, Pace, Performer, Poststop, Probe, Stage,
    Undone, Wreck,
};
use sandkeep::model::effect::Undo;
use sandkeep::model::record::{
    Boot, CgroupRecord, ContainerRecord, PidNamespace, ProcessRef, Reaper, SandboxRecord, Snapshot,
};
use sandkeep::model::{Change, Effect, End, Id, Make, Renew};
use sandkeep::store::Folder;

use super::machine::{Cgroup, Failed, Life, Machine};

pub type Shared = Rc<RefCell<Machine>>;

/// A birth, with so many steps behind it.
pub struct Birth<const STEPS: usize>(Creation);

/// What there is of it by then.
struct Creation {
    machine: Shared,
    id: Id,
    incarnation: String,
    namespace: PidNamespace,
    exits: Option<OwnedFd>,
    supervisor: Option<i32>,
    init: Option<i32>,
}

/// One that failed, with so many steps behind it, the failed one included.
pub struct Rest {
    creation: Creation,
    steps: usize,
}

const STEPS: [Make; 4] = [Make::Cgroups, Make::Supervisor, Make::Init, Make::Adopt];

impl Birth<0> {
    pub fn new(machine: &Shared, id: &Id, incarnation: String, namespace: PidNamespace, exits: OwnedFd) -> Birth<0> {
        Birth(Creation {
            machine: machine.clone(),
            id: id.clone(),
            incarnation,
            namespace,
            exits: Some(exits),
            supervisor: None,
            init: None,
        })
    }
}

macro_rules! stages {
    ($($steps:literal to $next:literal),*) => {$(
        impl Stage for Birth<$steps> {
            const STEP: Make = STEPS[$steps];
            type Next = Birth<$next>;
            type Left = Rest;

            fn advance(self) -> Advanced<Birth<$next>, Rest> {
                let Birth(mut creation) = self;
                match creation.make(Self::STEP) {
                    Ok(()) => Ok(Birth(creation)),
                    Err(failed) => Err((Rest { creation, steps: $next }, failed)),
                }
            }
        }
    )*};
}

stages!(0 to 1, 1 to 2, 2 to 3, 3 to 4);

impl<const STEPS: usize> From<Birth<STEPS>> for Rest {
    fn from(Birth(creation): Birth<STEPS>) -> Rest {
        Rest { creation, steps: STEPS }
    }
}

impl Left for Rest {
    type Error = Failed;

    fn take_back(mut self, poststop: Poststop) -> Undone<Failed> {
        let mut outcome = Ok(());
        for step in STEPS[..self.steps].iter().rev() {
            if let Undo::By(back) = step.undo() {
                outcome = outcome.and(self.creation.end(back));
            }
        }
        if poststop == Poststop::Owed {
            outcome = outcome.and_then(|()| self.creation.end(End::Poststop));
        }
        Undone { outcome, warnings: Vec::new() }
    }
}

impl Creation {
    fn make(&mut self, effect: Make) -> Result<(), Failed> {
        let machine = self.machine.clone();
        machine.borrow_mut().perform(effect, |machine| {
            let [container, keeper] = cgroups_of(&self.id);
            match effect {
                Make::Cgroups => {
                    for cgroup in [container, keeper] {
                        let taken = machine.cgroups.insert(cgroup, Cgroup::default());
                        assert!(taken.is_none(), "the cgroup of an earlier {} was left behind", self.id);
                    }
                }
                Make::Supervisor => {
                    let exits = self.exits.take().ok_or(Failed::to(effect))?;
                    self.supervisor = Some(machine.spawn_supervisor(exits, self.namespace));
                }
                Make::Init => {
                    let supervisor = self.supervisor.ok_or(Failed::to(effect))?;
                    self.init = Some(machine.launch(supervisor, &container));
                }
                Make::Adopt => {
                    let supervisor = self.supervisor.ok_or(Failed::to(effect))?;
                    machine.supervisors.get_mut(&supervisor).ok_or(Failed::to(effect))?.adopted = true;
                }
            }
            Ok(())
        })
    }

    fn end(&mut self, effect: End) -> Result<(), Failed> {
        let machine = self.machine.clone();
        machine.borrow_mut().perform(effect, |machine| {
            let [container, keeper] = cgroups_of(&self.id);
            match effect {
                End::KillContainer => self.init.iter().for_each(|init| machine.kill_init(*init)),
                End::KillSandbox => self.supervisor.iter().for_each(|pid| machine.kill_supervisor(*pid)),
                End::RemoveCgroups => {
                    machine.remove_cgroup(&container)?;
                    machine.remove_cgroup(&keeper)?;
                }
                End::Poststop => {
                    let supervisor = self.supervisor.unwrap_or_default();
                    assert!(!machine.supervisor_alive(supervisor), "poststop hooks run after the end");
                    *machine.poststop.entry(supervisor).or_default() += 1;
                }
            }
            Ok(())
        })
    }

    fn sandbox(&self) -> SandboxRecord {
        let [_, keeper] = cgroups_of(&self.id);
        SandboxRecord {
            id: self.id.clone(),
            incarnation: self.incarnation.clone(),
            supervisor: process(self.supervisor.expect("it was spawned")),
            boot: Boot { boot_id: "00000000-0000-0000-0000-000000000000".to_owned(), time_namespace: 1 },
            pid_namespace: self.namespace,
            supervisor_cgroup: record(keeper, None),
            created: 1,
            attached: false,
        }
    }

    fn container(&self) -> ContainerRecord {
        let [container, _] = cgroups_of(&self.id);
        ContainerRecord {
            id: self.id.clone(),
            init: process(self.init.expect("it was launched")),
            root: None,
            reaper: Reaper::Supervisor,
            bundle: "/bundle".into(),
            rootfs: "/bundle/rootfs".into(),
            spec_digest: "0".repeat(64),
            cgroup: record(container.clone(), Some(container)),
            created: 1,
            owner: 0,
            annotations: BTreeMap::new(),
        }
    }
}

impl OnRecord for Birth<3> {
    fn records(&self) -> (SandboxRecord, ContainerRecord) {
        (self.0.sandbox(), self.0.container())
    }

    fn pace(&self) -> Pace {
        Pace::Quick
    }
}

impl Born for Birth<4> {
    fn container(&self) -> ContainerRecord {
        self.0.container()
    }
}

/// The effects of everything that happens to a sandbox that exists, deletion and healing included.
pub struct Control {
    machine: Shared,
    supervisor: Option<i32>,
    init: Option<i32>,
    namespace: PidNamespace,
    cgroups: Vec<PathBuf>,
    freezer: Option<PathBuf>,
    /// Of the transition that these effects are of.
    seq: u64,
}

impl Control {
    pub fn of(machine: &Shared, wreck: &Wreck<'_>) -> Control {
        let Some(snapshot) = wreck.snapshot else {
            let cgroups = wreck.intent.map(|intent| intent.cgroups.clone()).unwrap_or_default();
            let (supervisor, init, freezer) = Default::default();
            let namespace = PidNamespace::Foreign;
            return Control { machine: machine.clone(), supervisor, init, namespace, cgroups, freezer, seq: 0 };
        };
        let container = &snapshot.containers[snapshot.sandbox.id.as_str()];
        let folders = container.cgroup.folders.iter().chain(&snapshot.sandbox.supervisor_cgroup.folders);
        Control {
            machine: machine.clone(),
            supervisor: Some(snapshot.sandbox.supervisor.pid),
            init: Some(container.init.pid),
            namespace: snapshot.sandbox.pid_namespace,
            cgroups: folders.cloned().collect(),
            freezer: container.cgroup.freezer.clone(),
            seq: snapshot.state.seq + 1,
        }
    }
}

impl Performer for Control {
    type Error = Failed;

    fn outcome_unknown(&self, error: &Failed) -> bool {
        error.unknown
    }
}

impl Effects<Change> for Control {
    fn perform(&mut self, effect: Change) -> Result<(), Failed> {
        let machine = self.machine.clone();
        machine.borrow_mut().perform(effect, |machine| {
            let halfway = machine.halfway;
            let reachable = self.supervisor.is_some_and(|pid| machine.supervisor_alive(pid));
            let cgroup = self.freezer.as_ref().and_then(|freezer| machine.cgroups.get_mut(freezer));
            let cgroup = cgroup.ok_or(Failed::to(effect));
            match effect {
                Change::Release => {
                    let init = self.init.and_then(|init| machine.inits.get_mut(&init)).ok_or(Failed::to(effect))?;
                    if !reachable || init.life != Life::Waiting {
                        return Err(Failed::to(effect));
                    }
                    init.life = Life::Running;
                }
                Change::Freeze => cgroup?.frozen = true,
                Change::Thaw => cgroup?.frozen = false,
                Change::SetLimits => {
                    let cgroup = cgroup?;
                    cgroup.limits = self.seq;
                    cgroup.kept = if halfway { cgroup.kept } else { self.seq };
                }
                Change::SetLimitsBack => {
                    let cgroup = cgroup?;
                    cgroup.limits = cgroup.kept;
                }
            }
            Ok(())
        })
    }
}

impl Effects<End> for Control {
    fn perform(&mut self, effect: End) -> Result<(), Failed> {
        let machine = self.machine.clone();
        machine.borrow_mut().perform(effect, |machine| {
            match effect {
                End::KillContainer => {
                    self.init.iter().for_each(|init| machine.kill_init(*init));
                    if let Some(cgroup) = self.freezer.as_ref().and_then(|freezer| machine.cgroups.get_mut(freezer)) {
                        cgroup.frozen = false;
                    }
                }
                End::KillSandbox => match self.supervisor {
                    Some(pid) => {
                        machine.kill_supervisor(pid);
                        if self.namespace == PidNamespace::Foreign {
                            self.init.iter().for_each(|init| machine.kill_init(*init));
                        }
                    }
                    None => self.cgroups.iter().for_each(|cgroup| machine.kill_cgroup(cgroup)),
                },
                End::Poststop => {
                    let supervisor = self.supervisor.unwrap_or_default();
                    assert!(!machine.supervisor_alive(supervisor), "poststop hooks run after the end");
                    *machine.poststop.entry(supervisor).or_default() += 1;
                }
                End::RemoveCgroups => {
                    for cgroup in &self.cgroups {
                        machine.remove_cgroup(cgroup)?;
                    }
                }
            }
            Ok(())
        })
    }
}

/// What heals knows no more than what is on disk.
pub struct Mender(pub Shared);

impl Mend for Mender {
    type Error = Failed;
    type Changes<'w> = Control;
    type Ends<'w> = Control;

    fn changes<'w>(&self, folder: &'w Folder, snapshot: &'w Snapshot) -> Control {
        self.ends(Wreck { folder, snapshot: Some(snapshot), intent: None })
    }

    fn ends<'w>(&self, wreck: Wreck<'w>) -> Control {
        Control::of(&self.0, &wreck)
    }
}

/// The effects of giving a sandbox another supervisor.
pub struct Renewal {
    machine: Shared,
    exits: Option<OwnedFd>,
    sandbox: SandboxRecord,
    container: ContainerRecord,
    renewed: Option<i32>,
}

impl Renewal {
    pub fn of(machine: &Shared, folder: &Folder, snapshot: &Snapshot) -> Renewal {
        let container = snapshot.containers[snapshot.sandbox.id.as_str()].clone();
        let exits = folder.reopen_exits().expect("exits can be opened");
        Renewal {
            machine: machine.clone(),
            exits: Some(exits),
            sandbox: snapshot.sandbox.clone(),
            container,
            renewed: None,
        }
    }
}

impl Performer for Renewal {
    type Error = Failed;
}

impl Effects<Renew> for Renewal {
    fn perform(&mut self, effect: Renew) -> Result<(), Failed> {
        let machine = self.machine.clone();
        machine.borrow_mut().perform(effect, |machine| {
            match effect {
                Renew::Supervisor => {
                    assert!(!machine.supervisor_alive(self.sandbox.supervisor.pid), "it has a supervisor");
                    let exits = self.exits.take().ok_or(Failed::to(effect))?;
                    self.renewed = Some(machine.spawn_supervisor(exits, PidNamespace::Foreign));
                }
                Renew::Adopt => {
                    machine.hand_over(self.container.init.pid, self.renewed.ok_or(Failed::to(effect))?);
                }
            }
            Ok(())
        })
    }
}

impl Known for Renewal {
    fn records(&self) -> Option<(SandboxRecord, ContainerRecord)> {
        let supervisor = process(self.renewed?);
        Some((SandboxRecord { supervisor, ..self.sandbox.clone() }, self.container.clone()))
    }
}

pub struct Prober(pub Shared);

impl Probe for Prober {
    fn facts(&self, folder: &Folder, snapshot: &Snapshot, depth: Depth) -> Facts {
        let machine = self.0.borrow();
        let id = snapshot.sandbox.id.to_string();
        let container = &snapshot.containers[&id];
        let init = &machine.inits[&container.init.pid];
        let supervisor_alive = machine.supervisor_alive(snapshot.sandbox.supervisor.pid);
        let mut facts = Facts { supervisor_alive, ..Facts::default() };
        facts.inits.insert(id.clone(), init.life != Life::Dead);
        facts.exits = folder.read_exits().expect("exits can be read");
        if depth != Depth::Shallow {
            facts.frozen.insert(id.clone(), machine.cgroups.get(&init.cgroup).is_some_and(|cgroup| cgroup.frozen));
        }
        if depth == Depth::Deep {
            facts.limited.insert(id.clone(), machine.cgroups.get(&init.cgroup).map_or(0, |cgroup| cgroup.kept));
            let tells = supervisor_alive || snapshot.sandbox.pid_namespace == PidNamespace::Foreign;
            facts.released = tells.then(|| BTreeMap::from([(id, init.life == Life::Running)]));
        }
        facts
    }
}

/// The container's and the supervisor's.
pub fn cgroups_of(id: &Id) -> [PathBuf; 2] {
    [format!("/sim/{id}").into(), format!("/sim/{id}@supervisor").into()]
}

fn process(pid: i32) -> ProcessRef {
    ProcessRef { pid, start_time: pid as u64, pidfd_inode: None }
}

fn record(folder: PathBuf, freezer: Option<PathBuf>) -> CgroupRecord {
    let path = folder.display().to_string();
    CgroupRecord { folders: vec![folder], freezer, path }
}
