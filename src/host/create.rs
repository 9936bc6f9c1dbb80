//! The effects of create: cgroups, supervisor, init, adoption.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::agent::Agent;
use super::attend::Attendant;
use super::cgroups::Cgroups;
use super::console::{Console, PidfdOf, PidfdSocket};
use super::hooks::{Given, Ledger};
use super::launch::{self, Inside, Launched};
use super::net_devices::{self, Moved};
use super::notify::{self, Notices};
use super::protect::Binary;
use super::supervisor::{self, Donation, Supervisor};
use super::verify::{self, Promise};
use super::{HostError, Trying, descriptors, donate, idmap, kept, kill};
use crate::cgroup::{self, Driver};
use crate::container::channel::Order;
use crate::container::net::NetDevice;
use crate::container::{devices, init, seccomp};
use crate::control::{Client, Create, Request};
use crate::engine::{Effects, Known, Pace, Performer};
use crate::model::record::{
    Boot, ContainerRecord, HookKind, Nanos, PidNamespace, ProcessRef, Reaper, RootIdentity, SandboxRecord,
};
use crate::model::{End, Id, Make, Phase};
use crate::spec::OciState;
use crate::spec::plan::{MountPlan, NamespaceKind, Plan, RootSwitch};
use crate::store::Folder;
use crate::sys::pidfd::{self, Ended};
use crate::sys::{descriptor_limit, procfs};

/// How long the supervisor may take for one call.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// What the caller asked for, beside the plan.
pub struct Options {
    pub id: Id,
    pub bundle: PathBuf,
    pub spec_bytes: Vec<u8>,
    pub spec_digest: String,
    pub reaper: Reaper,
    /// The sandbox dies with this process.
    pub attached: bool,
    pub cgroup_driver: Driver,
    pub preserve_fds: u32,
    /// Who gets the pidfd of the init.
    pub pidfd_socket: Option<PidfdSocket>,
    /// Some of them are from socket activation.
    pub listen: Option<init::Listen>,
    /// NOTIFY_SOCKET of the caller, whom the container tells when it is ready.
    pub service_manager: Option<OsString>,
    pub new_keyring: bool,
    pub created: Nanos,
    /// The log file of the command, for the supervisor's errors.
    pub log: Option<std::fs::File>,
    /// Everything the supervisor does goes there too.
    pub debug: bool,
}

/// Where the master of the container's terminal goes.
pub enum TerminalTo {
    Nowhere,
    Socket(Console),
    /// Kept here, for a foreground run.
    Us(Option<OwnedFd>),
}

impl TerminalTo {
    pub fn into_master(self) -> Option<OwnedFd> {
        match self {
            TerminalTo::Us(master) => master,
            _ => None,
        }
    }
}

/// A sandbox on its way into being.
pub struct Creation<'a> {
    /// What the supervisor and the helper are executed from.
    binary: Binary,
    plan: &'a Plan,
    options: &'a Options,
    terminal: TerminalTo,
    folder: OwnedFd,
    /// Until the supervisor has it: nobody is to knock at a door behind which nobody is.
    controller: Option<OwnedFd>,
    exits: OwnedFd,
    spec: OwnedFd,
    rootfs: Option<OwnedFd>,
    binds: Vec<Option<OwnedFd>>,
    nodes: Vec<Option<OwnedFd>>,
    seccomp: Option<seccomp::Program>,
    agent: Option<Agent>,
    cgroups: Cgroups<'a>,
    supervisor: Option<Supervisor>,
    launched: Option<Launched>,
    boot: Boot,
    refs: Option<(ProcessRef, ProcessRef)>,
    /// What the init says of its root, once it has changed into it.
    root: Option<RootIdentity>,
    client: Option<Client>,
    ledger: Option<Ledger>,
    /// With its mount, until the init is launched.
    notices: Option<Notices>,
    notices_mount: Option<(MountPlan, Option<OwnedFd>)>,
    net_devices: Vec<NetDevice>,
    moved: Option<Moved>,
    warnings: Vec<String>,
}

impl<'a> Creation<'a> {
    /// Opens everything of the host that the sandbox needs and fills its folder. Nothing outside the folder is changed,
    /// so that most bad input ends here.
    pub fn prepare(
        plan: &'a Plan,
        options: &'a Options,
        folder: &Folder,
        terminal: TerminalTo,
    ) -> Result<Creation<'a>, HostError> {
        let cgroups = Cgroups::prepare(plan, &options.id, options.cgroup_driver, folder)?;
        descriptors::raise_for_mounts(plan)?;
        let rootfs = donate::rootfs(plan)?;
        let binds = donate::binds(plan)?;
        let nodes = devices::lacking(plan)?;
        let seccomp = donate::seccomp(plan, folder.root())?;
        let notify = seccomp.as_ref().is_some_and(|program| program.notify);
        let agent = Agent::of(plan.seccomp.as_ref(), notify, hook_state(plan, options, Phase::Creating, 0))?;
        folder.write_file("config.json", &options.spec_bytes)?;
        if plan.rootfs.switch == RootSwitch::Cover {
            folder.write_file(kept::COVERED, b"")?;
        }
        let mut warnings = Vec::new();
        let notices = notices_of(options, folder, &mut warnings);
        let notices_mount = match notices.as_ref().map(Notices::mount) {
            Some(mount) => Some((mount.clone(), donate::further_bind(plan, &mount)?)),
            None => None,
        };
        let spec = folder.open_file("config.json")?;
        let what = || "prepare the sandbox's folder".to_owned();
        let boot = procfs::boot().trying(|| "read the boot id".into())?;
        Ok(Creation {
            binary: Binary::protected().trying(|| "protect our own binary".into())?,
            ledger: Ledger::make(folder, &options.id, &boot, &plan.hooks)?,
            net_devices: net_devices::look_at(&plan.net_devices)?,
            notices,
            notices_mount,
            moved: None,
            warnings,
            plan,
            options,
            terminal,
            controller: Some(crate::control::listen(folder.dir()).trying(|| "bind the control socket".into())?),
            exits: folder.make_exits()?,
            spec,
            folder: folder.dir().try_clone_to_owned().trying(what)?,
            rootfs: Some(rootfs),
            binds,
            nodes,
            seccomp,
            agent,
            cgroups,
            supervisor: None,
            launched: None,
            boot,
            refs: None,
            root: None,
            client: None,
        })
    }

    /// The folders that `Make::Cgroups` will make.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        self.cgroups.folders()
    }

    /// The container's init; known once the creation has succeeded.
    pub fn init(&self) -> Option<&Launched> {
        self.launched.as_ref()
    }

    pub fn supervisor(&self) -> Option<&Supervisor> {
        self.supervisor.as_ref()
    }

    /// 128 + signal, if the init, our child, was ended by one: the application may have run by then, even if the
    /// supervisor did not live to say so. When that is gone, the kernel is about to end the init.
    pub fn killed_with_supervisor(&self) -> Option<u8> {
        let (init, supervisor) = (self.launched.as_ref()?, self.supervisor.as_ref()?);
        let gone = procfs::stat(supervisor.pid).ok()?.is_none_or(|stat| stat.is_gone());
        let patience = if gone { kill::DEADLINE } else { Duration::ZERO };
        pidfd::wait_exit(init.pidfd.as_fd(), Some(Instant::now() + patience)).ok()?;
        let status = pidfd::wait_child(init.pidfd.as_fd()).ok()??;
        Ended::of(status).signal.map(|signal| 128 + signal)
    }

    /// The connection to the supervisor, for whatever comes next.
    pub fn take_client(&mut self) -> Option<Client> {
        self.client.take()
    }

    /// Of a container whose notices nobody else passes on.
    pub fn take_notices(&mut self) -> Option<Notices> {
        self.notices.take()
    }

    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        match &mut self.terminal {
            TerminalTo::Us(master) => master.take(),
            _ => None,
        }
    }

    fn pid_namespace(&self) -> PidNamespace {
        if self.plan.makes(NamespaceKind::Pid) { PidNamespace::Own } else { PidNamespace::Foreign }
    }

    fn spawn_supervisor(&mut self) -> Result<(), HostError> {
        let (_, joiner) = self.cgroups.joiners().ok_or_else(out_of_order)?;
        let controller = self.controller.take().ok_or_else(out_of_order)?;
        let donation = Donation {
            binary: &self.binary,
            id: &self.options.id,
            bundle: &self.options.bundle,
            spec: self.spec.as_fd(),
            controller: controller.as_fd(),
            exits: self.exits.as_fd(),
            notices: self.notices.as_ref().filter(|_| !self.options.attached).map(Notices::as_fds),
            joiner,
            log: self.options.log.as_ref().map(|log| log.as_fd()),
            debug_log: self.options.log.as_ref().filter(|_| self.options.debug).map(|log| log.as_fd()),
            pid_namespace: self.pid_namespace(),
            attached: self.options.attached,
        };
        self.supervisor = Some(supervisor::spawn(&donation)?);
        if !self.options.attached {
            self.notices = None;
        }
        Ok(())
    }

    fn launch_init(&mut self) -> Result<(), HostError> {
        let rootfs = self.rootfs.take().ok_or_else(out_of_order)?;
        let (mut binds, nodes) = (std::mem::take(&mut self.binds), std::mem::take(&mut self.nodes));
        let seccomp = self.seccomp.take();
        let mut plan = self.plan.clone();
        if let Some((mount, bind)) = self.notices_mount.take() {
            plan.mounts.push(mount);
            binds.push(bind);
            notify::tell_where(&mut plan);
        }
        let hook_state = hook_state(self.plan, self.options, Phase::Creating, 0).to_string().into_bytes();
        let cgroups = self.cgroups.in_sight();
        let supervisor = self.supervisor.as_ref().ok_or_else(out_of_order)?;
        let (joiner, _) = self.cgroups.joiners().ok_or_else(out_of_order)?;
        let inside = match self.pid_namespace() {
            PidNamespace::Own => Inside::NamespaceOf(supervisor.pidfd.as_fd()),
            PidNamespace::Foreign => Inside::Ours,
        };
        let donate = |channel| init::Donations {
            plan,
            channel,
            rootfs,
            binds,
            nodes,
            cgroups,
            seccomp,
            preserved_fds: self.options.preserve_fds,
            listen: self.options.listen.clone(),
            net_devices: self.net_devices.clone(),
            descriptor_limit: descriptor_limit::called_with(),
            session_keyring: if self.options.new_keyring {
                launch::keyring_name(self.options.id.as_str())
            } else {
                None
            },
            hook_state,
        };
        let launched = launch::init(self.plan, donate, inside, joiner, self.options.reaper, &self.binary)?;
        self.cgroups.are_held();
        // From here on it is ours to kill, whatever fails.
        let launched = self.launched.insert(launched);
        if self.plan.makes(NamespaceKind::User) {
            launched.expect_made()?;
            idmap::write(launched.pid, self.plan)?;
            launched.order(Order::Go)?;
        }
        launched.expect_made()?;
        self.cgroups.adopt(launched.pid)?;
        self.moved = Moved::into(launched.pid, &self.net_devices)?;
        let reference = |pid: i32| {
            procfs::process_ref(pid).trying(|| format!("look at process {pid}"))?.ok_or_else(|| HostError::Supervisor {
                text: format!("process {pid} died while it was being launched"),
            })
        };
        self.refs = Some((reference(supervisor.pid)?, reference(launched.pid)?));
        Ok(())
    }

    /// Hooks of the runtime, the init's own setup, and the supervisor's promise to keep it.
    fn adopt_init(&mut self) -> Result<(), HostError> {
        let plan = self.plan;
        let launched = self.launched.as_ref().ok_or_else(out_of_order)?;
        launched.order(Order::Go)?;
        if plan.hooks.wait_for_mounts() {
            launched.expect_made()?;
            let state = hook_state(plan, self.options, Phase::Creating, launched.pid).to_string().into_bytes();
            if let Some(ledger) = &self.ledger {
                let given = Given { state_json: &state, bundle: &self.options.bundle };
                ledger.run(HookKind::Prestart, given)?;
                ledger.run(HookKind::CreateRuntime, given)?;
            }
            launched.order(Order::Go)?;
        }
        if let Some(agent) = &mut self.agent {
            agent.set_init(launched.pid);
        }
        let patience = plan.hooks.create_container.is_empty().then_some(launch::STEP_DEADLINE);
        let attendant = &mut Attendant::new(&mut self.terminal, self.agent.as_ref());
        let ready = launched.expect_ready(patience, attendant).map_err(|error| cause_by_filter(error, plan));
        self.root = ready?.map(RootIdentity::from);
        if let Some(process) = &plan.process {
            let our_users = !plan.has(NamespaceKind::User);
            let (filtered, preserved_fds) = (plan.seccomp.is_some(), self.options.preserve_fds);
            verify::ready(launched.pid, &Promise { process, filtered, preserved_fds, our_users })?;
        }
        self.supervisor.as_ref().ok_or_else(out_of_order)?.wait_until_ready()?;
        let deadline = Some(Instant::now() + CALL_DEADLINE);
        let mut client = Client::connect(self.folder.as_fd(), deadline)?;
        let request = Request::Create(Create {
            cid: self.options.id.clone(),
            root: true,
            reaper: self.options.reaper,
            pid: pid_inside(launched.pid)?,
            host_pid: launched.pid,
            detach: !self.options.attached,
        });
        client.call(&request, &[launched.pidfd.as_fd(), launched.channel.as_fd()], deadline)?;
        self.client = Some(client);
        match &self.options.pidfd_socket {
            Some(socket) => socket.send(PidfdOf::Init, launched.pidfd.as_fd()),
            None => Ok(()),
        }
    }

    /// Of a creation that failed when the container was there already.
    fn run_poststop(&mut self) {
        let state = hook_state(self.plan, self.options, Phase::Stopped, 0).to_string().into_bytes();
        if let Some(ledger) = &self.ledger {
            let given = Given { state_json: &state, bundle: &self.options.bundle };
            self.warnings.extend(ledger.run_all(HookKind::Poststop, given));
        }
    }

    /// An init that was killed may be the second victim: pid 1 of its namespace, the supervisor, says what was first.
    fn cause_of(&self, error: HostError) -> HostError {
        if error.signal().is_some() {
            return error;
        }
        match self.supervisor.as_ref().map(Supervisor::last_words) {
            Some(Some(text)) => HostError::Supervisor { text },
            _ => error,
        }
    }

    fn kill_container(&mut self) -> Result<(), HostError> {
        // While there is a network namespace that they can be taken from.
        if let Some(Err(error)) = self.moved.take().map(Moved::bring_back) {
            self.warnings.push(crate::container::one_line(&error));
        }
        self.end_cgroup()?;
        let Some(launched) = self.launched.take() else { return Ok(()) };
        kill::and_wait(launched.pidfd.as_fd(), self.options.reaper == Reaper::Caller)
    }

    fn kill_sandbox(&mut self) -> Result<(), HostError> {
        // A helper that was about to clone the init is in nobody's PID namespace but ours.
        self.end_cgroup()?;
        match self.supervisor.take() {
            Some(supervisor) => kill::and_wait(supervisor.pidfd.as_fd(), true),
            None => Ok(()),
        }
    }

    /// Before the processes in it are waited for: there may be some that cannot end by themselves.
    fn end_cgroup(&self) -> Result<(), HostError> {
        match self.cgroups.made_for_container() {
            Some(container) => Ok(cgroup::kill_and_wait(container, kill::deadline())?),
            None => Ok(()),
        }
    }
}

impl Effects<Make> for Creation<'_> {
    fn perform(&mut self, effect: Make) -> Result<(), HostError> {
        match effect {
            Make::Cgroups => self.cgroups.make(),
            Make::Supervisor => self.spawn_supervisor(),
            Make::Init => self.launch_init().map_err(|error| self.cause_of(error)),
            Make::Adopt => self.adopt_init().map_err(|error| self.cause_of(error)),
        }
    }
}

impl Effects<End> for Creation<'_> {
    fn perform(&mut self, effect: End) -> Result<(), HostError> {
        match effect {
            End::KillContainer => self.kill_container(),
            End::KillSandbox => self.kill_sandbox(),
            End::RemoveCgroups => self.cgroups.remove(),
            End::Poststop => {
                self.run_poststop();
                Ok(())
            }
        }
    }
}

impl Performer for Creation<'_> {
    type Error = HostError;

    fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn pace(&self) -> Pace {
        let hooks = &self.plan.hooks;
        let any =
            [&hooks.prestart, &hooks.create_runtime, &hooks.create_container].iter().any(|hooks| !hooks.is_empty());
        Pace::with_hooks(any)
    }
}

impl Known for Creation<'_> {
    fn records(&self) -> Option<(SandboxRecord, ContainerRecord)> {
        let (supervisor, init) = self.refs.clone()?;
        let options = self.options;
        let sandbox = SandboxRecord {
            id: options.id.clone(),
            incarnation: incarnation()?,
            supervisor,
            boot: self.boot.clone(),
            pid_namespace: self.pid_namespace(),
            supervisor_cgroup: self.cgroups.of_supervisor(),
            created: options.created,
            attached: options.attached,
        };
        let container = ContainerRecord {
            id: options.id.clone(),
            init,
            root: self.root,
            reaper: options.reaper,
            bundle: options.bundle.clone(),
            rootfs: self.plan.rootfs.path.clone(),
            spec_digest: options.spec_digest.clone(),
            cgroup: self.cgroups.of_container(),
            created: options.created,
            owner: super::rootless::caller(),
            annotations: self.plan.annotations.iter().cloned().collect(),
        };
        Some((sandbox, container))
    }
}

/// An init that is under its filter, and may not write, cannot say what stopped it.
fn cause_by_filter(error: HostError, plan: &Plan) -> HostError {
    match error {
        HostError::Died { who, .. } if plan.seccomp.is_some() => {
            HostError::Died { who, silent: ", or may say nothing (does the seccomp profile deny write?)" }
        }
        error => error,
    }
}

/// A manager that cannot be reached keeps nobody from running: whoever started us may have been given a name that was
/// somebody else's, and long ago.
fn notices_of(options: &Options, folder: &Folder, warnings: &mut Vec<String>) -> Option<Notices> {
    let made = options.service_manager.as_ref().map(|manager| Notices::make(folder, manager))?;
    made.map_err(|error| {
        warnings.push(format!("the container cannot say when it is ready: {}", crate::container::one_line(&error)))
    })
    .ok()
}

/// What hooks read on their standard input (runtime-spec, "State").
fn hook_state(plan: &Plan, options: &Options, phase: Phase, pid: i32) -> serde_json::Value {
    let annotations = plan.annotations.iter().map(|(key, value)| (key, value));
    OciState::new(&options.id, &options.bundle, annotations).document(phase, pid)
}

/// 32 random hex digits.
fn incarnation() -> Option<String> {
    let mut bytes = [0u8; 16];
    let mut random = std::fs::File::open("/dev/urandom").ok()?;
    std::io::Read::read_exact(&mut random, &mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The process's pid in the sandbox's PID namespace, one level below ours: the second number of NSpid (proc(5)).
pub fn pid_inside(host_pid: i32) -> Result<i32, HostError> {
    let path = format!("/proc/{host_pid}/status");
    let status = match crate::sys::text::read(&path) {
        // Callers take "no such file" for a program that is missing.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {
            return Err(launch::died("the container's process"));
        }
        other => other.trying(|| format!("read {path}"))?,
    };
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let pids: Vec<i32> = line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    Ok(pids.get(1).or(pids.first()).copied().unwrap_or(host_pid))
}

fn out_of_order() -> HostError {
    HostError::Supervisor { text: "an effect was performed before the one it needs".into() }
}
