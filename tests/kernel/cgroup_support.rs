//! A container's cgroups for a test: unlike any other's, and gone when the test ends, however it ends.
#![allow(unsafe_code)] // pre_exec: the closure makes system calls only.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fs2::FileExt;
use oci_spec::runtime::LinuxResources;
use sandkeep::cgroup::{self, Hierarchies, Joiner, Layout, Setup};
use sandkeep::model::Id;
use sandkeep::spec::plan::CgroupPlan;

/// Which hierarchies a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Those that sandkeep uses on this machine.
    Controllers,
    /// The v2 hierarchy that a hybrid machine has beside them.
    V2,
}

impl Kind {
    pub fn here() -> Vec<Kind> {
        let Some(first) = Kind::with_controllers() else { return Vec::new() };
        match Hierarchies::read().unwrap().setup() {
            Setup::Hybrid => vec![first, Kind::V2],
            Setup::V1 => vec![first],
            Setup::V2 => vec![Kind::V2],
        }
    }

    pub fn with_controllers() -> Option<Kind> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root to make cgroups");
            return None;
        }
        match Hierarchies::read() {
            Ok(_) => Some(Kind::Controllers),
            Err(error) => {
                eprintln!("skipped: {error}");
                None
            }
        }
    }

    fn hierarchies(self) -> Hierarchies {
        match self {
            Kind::Controllers => Hierarchies::read().unwrap(),
            Kind::V2 => {
                let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
                let v2: String =
                    mounts.lines().filter(|l| l.contains(" - cgroup2 ")).map(|l| format!("{l}\n")).collect();
                Hierarchies::parse(&v2, std::fs::read_to_string("/proc/self/cgroup").unwrap()).unwrap()
            }
        }
    }
}

pub struct Container {
    pub hierarchies: Hierarchies,
    pub layout: Layout,
    pub resources: LinuxResources,
    /// Folders above its own that the test alone has: they go with it.
    pub parents: Vec<PathBuf>,
    /// Nobody takes a controller of the v2 mount away meanwhile.
    uses_v2: Option<File>,
}

impl Container {
    pub fn new(kind: Kind, name: &str, path: Option<&str>, resources: &str) -> Container {
        let hierarchies = kind.hierarchies();
        let id = Id::parse(&format!("{name}-{kind:?}-{}", std::process::id())).unwrap();
        let plan = CgroupPlan { path: path.map(str::to_owned), resources: None };
        let layout = Layout::of_container(&hierarchies, &plan, &id).unwrap();
        let uses_v2 = File::open(V2_BESIDE_V1).ok().inspect(|mount| FileExt::lock_shared(mount).unwrap());
        let resources = serde_json::from_str(resources).unwrap();
        Container { hierarchies, layout, resources, parents: Vec::new(), uses_v2 }
    }

    /// Other limits, as `update` sets them.
    pub fn limit(&self, resources: &LinuxResources) -> cgroup::Result<()> {
        cgroup::Change::prepare(&self.hierarchies, &self.layout.record(), resources)?.apply()
    }

    pub fn make(&self) -> Arc<Joiner> {
        Arc::new(self.layout.make(Some(&self.resources)).unwrap())
    }

    /// Runs the shell in the cgroups; in a session of its own, so that no shell of ours is in its way.
    pub fn spawn(&self, joiner: &Arc<Joiner>, script: &str) -> Child {
        let mut command = self.command(script);
        let joiner = Arc::clone(joiner);
        // SAFETY: the child has one thread; joining writes files and takes no lock of ours.
        unsafe { command.pre_exec(move || joiner.join_self()) };
        command.spawn().unwrap()
    }

    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        for record in [self.layout.record(), Layout::of_supervisor(&self.layout).record()] {
            let _ = cgroup::kill_and_wait(&record, soon());
            let _ = cgroup::remove(&record, soon());
        }
        for folder in &self.parents {
            let _ = std::fs::remove_dir(folder);
        }
        if let Some(mount) = self.uses_v2.take() {
            leave_v2_as_it_was(&mount);
        }
    }
}

const V2_BESIDE_V1: &str = "/sys/fs/cgroup/unified";

/// Beside v1, a controller that was enabled on the v2 mount cannot be mounted as v1 any more, which crun wants to do. The
/// last test to leave takes it away. The folder that all share stays: others may be about to make theirs in it.
fn leave_v2_as_it_was(mount: &File) {
    // From shared to exclusive: refused while any other test has it.
    if FileExt::try_lock_exclusive(mount).is_ok() {
        for folder in [Path::new(V2_BESIDE_V1).join("sandkeep"), V2_BESIDE_V1.into()] {
            let _ = std::fs::write(folder.join("cgroup.subtree_control"), "-hugetlb");
        }
    }
}

pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// Looks until it is so; what a test waits for here has no descriptor to wait on.
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = soon();
    while !so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
