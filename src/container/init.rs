//! The init of a new container: applies its plan from top to bottom, then waits to be started.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::channel::{self, Order, Report};
use super::devices::Nodes;
use super::hooks::{Call, Environment};
use super::mounts::{CgroupView, Sources};
use super::pivot::{self, Covers};
use super::root::Rootfs;
use super::sysfs::Hosts;
use super::terminal::Terminal;
use super::verify::{self, Provenance};
use super::{Moment, SetupError, Step, devices, entry, forgiven, identity, masks, mounts, stdio, terminal};
use crate::model::Phase;
use crate::spec;
use crate::spec::plan::{FirstProcess, NamespaceKind, Plan, ProcessPlan, RootSwitch};
use crate::sys::mount::{self, Attributes, Extent, set_propagation};
use crate::sys::place::Place;
use crate::sys::{clone, descriptor_limit, descriptors, process, signals};

/// The plan, and what the creator opened for it with the host's privileges.
#[derive(Serialize, Deserialize)]
pub struct Donations {
    /// Everything that is to be done in here.
    pub plan: Plan,
    /// The init's end of the conversation.
    #[serde(with = "crate::sys::carried")]
    pub channel: OwnedFd,
    /// The rootfs, as a detached tree.
    #[serde(with = "crate::sys::carried")]
    pub rootfs: OwnedFd,
    /// One per mount of the plan, in the order of the spec: see `mounts::Sources`.
    #[serde(with = "crate::sys::carried")]
    pub binds: Vec<Option<OwnedFd>>,
    /// One per device of the plan, or none at all: see `devices::lacking`.
    #[serde(with = "crate::sys::carried")]
    pub nodes: Vec<Option<OwnedFd>>,
    /// What it is shown of cgroups, where it mounts them.
    pub cgroups: Vec<CgroupView>,
    /// None: the container has no filter.
    pub seccomp: Option<super::seccomp::Program>,
    /// LISTEN_FDS and --preserve-fds: this many descriptors from 3 on belong to the application.
    pub preserved_fds: u32,
    /// Of the new session keyring (keyctl(2)); None: it keeps the caller's.
    pub session_keyring: Option<CString>,
    /// What sd_listen_fds(3) looks for, if anybody has activated us.
    pub listen: Option<Listen>,
    /// Moved into our network namespace before the order to mount.
    pub net_devices: Vec<super::net::NetDevice>,
    /// The soft limit of descriptors that hooks and the application have, if this process has more.
    pub descriptor_limit: Option<u64>,
    /// The state that startContainer and createContainer hooks read, as JSON, but for the status and the pid.
    pub hook_state: Vec<u8>,
}

/// Socket activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// LISTEN_FDS: so many of the preserved descriptors are sockets.
    pub count: u32,
    /// LISTEN_FDNAMES
    #[serde(with = "crate::sys::carried")]
    pub names: Option<OsString>,
}

impl Donations {
    /// Those that have to be open when the letter is read, the application's apart.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let mut all = vec![self.channel.as_raw_fd(), self.rootfs.as_raw_fd()];
        all.extend(self.binds.iter().chain(&self.nodes).flatten().map(|fd| fd.as_raw_fd()));
        all
    }
}

/// Runs in the cloned process and never returns.
pub fn run(donations: &mut Donations) -> ! {
    let error = match prepare(donations) {
        Ok(never) => match never {},
        Err(SetupError::CreatorGone) => clone::exit_now(1),
        Err(error) => error,
    };
    let _ = channel::report(donations.channel.as_fd(), &Report::Failed(error.told()));
    clone::exit_now(1)
}

fn prepare(donations: &mut Donations) -> Result<std::convert::Infallible, SetupError> {
    keep_only(donations)?;
    let binds = std::mem::take(&mut donations.binds);
    let (donations, plan) = (&*donations, &donations.plan);
    donations.descriptor_limit.into_iter().for_each(descriptor_limit::remember);
    let channel = donations.channel.as_fd();
    // Nobody in the container may look into us before we are the application (CVE-2016-9962).
    nix::sys::prctl::set_dumpable(false).step(|| "become non-dumpable".into())?;
    signals::reset().step(|| "reset signals".into())?;
    nix::unistd::setsid().step(|| "start a session".into())?;
    if plan.has(NamespaceKind::User) {
        if plan.makes(NamespaceKind::User) {
            // Mappings are written by the creator; until then we are nobody.
            say(channel, &Report::Unmapped)?;
            hear(channel, Order::Mapped)?;
        }
        become_root_of_namespace()?;
    }
    if plan.makes(NamespaceKind::Cgroup) {
        // Only now: the namespace's root is the cgroup that we have joined.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP).step(|| "make a cgroup namespace".into())?;
    }
    if plan.makes(NamespaceKind::Network) {
        process::raise_loopback().step(|| "bring up the loopback interface".into())?;
    }
    if let Some(name) = &plan.hostname {
        nix::unistd::sethostname(name).step(|| format!("set the hostname {name:?}"))?;
    }
    if let Some(name) = &plan.domainname {
        process::set_domainname(name).step(|| format!("set the domainname {name:?}"))?;
    }
    say(channel, &Report::Namespaces)?;
    hear(channel, Order::Mount)?;

    super::net::set_up_all(&donations.net_devices)?;
    if let Some(name) = &donations.session_keyring {
        identity::new_keyring(name)?;
    }
    let groups = identity::Groups::of_ourselves()?;
    let Entered { root, terminal } = enter_rootfs(plan, donations, binds)?;

    let Some(mut application) = plan.process.clone() else {
        say(channel, &Report::Ready(Some(root)))?;
        hear(channel, Order::Start)?;
        return Err(SetupError::Refused("the configuration has no process to start".into()));
    };
    descriptors::close_on_exec_from(3 + donations.preserved_fds as i32).step(|| "close descriptors at exec".into())?;
    application.env.extend(donations.listen.iter().flat_map(listen_environment));
    let to_come = if plan.hooks.start_container.is_empty() { ToCome::Program } else { ToCome::HooksAndProgram };
    let entry = finish_process(&application, donations.seccomp.as_ref(), terminal.as_ref(), groups, channel, to_come)?;
    say(channel, &Report::Ready(Some(root)))?;
    hear(channel, Order::Start)?;
    if !plan.hooks.start_container.is_empty() {
        let state = hook_state(donations, Phase::Booted)?;
        let env = Environment::Of(entry.env());
        let call = Call { kind: "startContainer", state_json: &state, folder: None, env };
        super::hooks::run(&plan.hooks.start_container, call)?;
    }
    go_back_to_own_limit()?;
    Err(match application.first {
        FirstProcess::Application => entry.execute(),
        FirstProcess::Keeper => super::keeper::execute(&entry),
    })
}

/// What the configuration gives to the application: there is no user's home yet.
fn environment(variables: &[OsString]) -> Vec<CString> {
    variables.iter().filter_map(|variable| CString::new(variable.as_bytes()).ok()).collect()
}

/// The pid is the one that the application sees of itself.
fn listen_environment(listen: &Listen) -> Vec<OsString> {
    let names = listen.names.iter().map(|names| {
        let mut variable = OsString::from("LISTEN_FDNAMES=");
        variable.push(names);
        variable
    });
    let pid = format!("LISTEN_PID={}", std::process::id());
    [format!("LISTEN_FDS={}", listen.count), pid].into_iter().map(OsString::from).chain(names).collect()
}

/// These hooks run in here, where our pid is what the container's PID namespace says.
fn hook_state(donations: &Donations, phase: Phase) -> Result<Vec<u8>, SetupError> {
    let state = spec::restated(&donations.hook_state, phase, std::process::id() as i32);
    state.map_err(std::io::Error::from).step(|| "read the state for hooks".into())
}

/// Closes what the helper had open for itself.
fn keep_only(donations: &Donations) -> Result<(), SetupError> {
    let mut keep = donations.descriptors();
    keep.extend(3..3 + donations.preserved_fds as i32);
    descriptors::close_others(&keep).step(|| "close the helper's descriptors".into())
}

pub(super) fn become_root_of_namespace() -> Result<(), SetupError> {
    use nix::unistd::{Gid, Uid, setresgid, setresuid};
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    let or_stay = |outcome: nix::Result<()>| match outcome.map_err(std::io::Error::from) {
        Err(error) if forgiven::ZERO_IS_NOT_MAPPED.covers(&error) => Ok(()),
        outcome => outcome,
    };
    or_stay(setresgid(gid, gid, gid)).step(|| "become root of the user namespace".into())?;
    or_stay(setresuid(uid, uid, uid)).step(|| "become root of the user namespace".into())?;
    // The change of user has made us non-dumpable again, and /proc/self ours to nobody: fine until execve.
    Ok(())
}

/// What the container has once its root is /.
struct Entered {
    root: Place,
    terminal: Option<Terminal>,
}

/// Everything that happens in the new mount namespace, up to and with pivot_root.
fn enter_rootfs(plan: &Plan, donations: &Donations, binds: Vec<Option<OwnedFd>>) -> Result<Entered, SetupError> {
    let own_mounts = plan.makes(NamespaceKind::Mount);
    let propagation = plan.rootfs.propagation.unwrap_or(0);
    let host = std::fs::File::open("/").step(|| "open /".into())?;
    let seen = verify::Host::open()?;
    if own_mounts {
        // What follows must not appear on the host, whatever the spec asks for in the end.
        let quiet = if propagation & libc::MS_PRIVATE != 0 { libc::MS_PRIVATE } else { libc::MS_SLAVE };
        set_propagation(host.as_fd(), quiet | libc::MS_REC).step(|| "detach the mounts from the host's".into())?;
    }
    let tree = donations.rootfs.as_fd();
    let what = || format!("attach the rootfs {:?}", plan.rootfs.path);
    if plan.hooks.look_at_rootfs() {
        mount::attach(tree, std::fs::File::open(&plan.rootfs.path).step(what)?.as_fd()).step(what)?;
    } else if !plan.rootfs.overlay {
        // No path leads to it: whatever has become of the one it came from.
        mount::attach(tree, host.as_fd()).step(what)?;
    }
    let overlay = if plan.rootfs.overlay { Some(super::overlay::cover(tree)?) } else { None };
    let tree = overlay.as_ref().map_or(tree, |overlay| overlay.as_fd());
    let root = Rootfs(tree);

    let in_user_namespace = plan.has(NamespaceKind::User);
    let hosts_sysfs = if in_user_namespace && own_mounts { Hosts::Locked } else { Hosts::AsOpened };
    let sources = Sources { binds: &binds, cgroups: &donations.cgroups, hosts_sysfs };
    let mut provenance = Provenance::default();
    let unfinished = mounts::attach_all(&root, &plan.mounts, &sources, &mut provenance)?;
    let nodes = if in_user_namespace { Nodes::Bound(&donations.nodes) } else { Nodes::Made };
    let bound_dev = has_own_dev(plan);
    if !bound_dev {
        devices::make_all(&root, &plan.devices, nodes)?;
        devices::link_all(&root)?;
    }
    let before_hooks = if plan.hooks.look_at_rootfs() { seen.mounts()? } else { Vec::new() };
    say(donations.channel.as_fd(), &Report::Mounted)?;
    if plan.hooks.wait_for_mounts() {
        // Those of the runtime may mount something more into the rootfs, by way of our mount namespace.
        hear(donations.channel.as_fd(), Order::HooksRan)?;
    }
    let terminal = match &plan.process {
        Some(process) if process.terminal => {
            let (master, terminal) = terminal::open(&root, process.console_size)?;
            if !bound_dev {
                terminal.bind_console(&root, &mut provenance)?;
            }
            say(donations.channel.as_fd(), &Report::Terminal(master))?;
            Some(terminal)
        }
        _ => None,
    };
    unfinished.finish()?;
    drop(binds);
    if !plan.hooks.create_container.is_empty() {
        nix::unistd::fchdir(tree.as_raw_fd()).step(|| format!("enter {:?}", plan.rootfs.path))?;
        let state = hook_state(donations, Phase::Creating)?;
        let env = plan.process.as_ref().map_or(Vec::new(), |process| environment(&process.env));
        let env = Environment::Of(&env);
        let call = Call { kind: "createContainer", state_json: &state, folder: None, env };
        super::hooks::run(&plan.hooks.create_container, call)?;
    }
    if plan.hooks.look_at_rootfs() {
        provenance.gives_new(&before_hooks, &seen.mounts()?);
    }
    for (name, value) in &plan.sysctls {
        // While /proc is the host's: the container's could redirect the write (CVE-2025-52881).
        std::fs::write(Path::new("/proc/sys").join(name), value)
            .step(|| format!("set the sysctl {} to {value:?}", name.replace('/', ".")))?;
    }
    if terminal.is_none() {
        stdio::make_own(&root, stdio::Otherwise::HostsReadOnly)?;
    }
    let rest = masks::make_readonly(&root, &plan.readonly_paths)?;
    masks::mask_all(&root, &plan.masked_paths)?;
    if let Some(process) = &plan.process {
        // As with runc. Where it cannot be made, entering it says so.
        let _ = root.folder(&process.cwd);
    }
    if plan.rootfs.readonly || rest == masks::Rest::Root {
        let attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
        mount::set_attributes(tree, Extent::One, attributes, None).step(|| "make the root read-only".into())?;
    }
    let switched = match plan.rootfs.switch {
        RootSwitch::Pivot => pivot::pivot(tree),
        RootSwitch::Cover if !own_mounts => {
            return Err(SetupError::Refused("--no-pivot needs a mount namespace of the container's own".into()));
        }
        RootSwitch::Cover if plan.hooks.create_container.is_empty() => pivot::cover(tree, Covers::Root),
        RootSwitch::Cover => pivot::cover(tree, Covers::Elsewhere),
    };
    switched.step(|| format!("make {:?} the root", plan.rootfs.path))?;
    // Unless the spec says something, every mount stays what it is: a volume that is shared with the host, too.
    if own_mounts && propagation != 0 {
        let top = std::fs::File::open("/").step(|| "open the new root".into())?;
        set_propagation(top.as_fd(), propagation).step(|| "set rootfsPropagation".into())?;
    }
    let place = verify::root()?;
    if own_mounts {
        verify::mounts(&seen, plan, &provenance, place)?;
    }
    say(donations.channel.as_fd(), &Report::Entered)?;
    Ok(Entered { root: place, terminal })
}

/// A bind mount over /dev brings its own nodes, which are not ours to touch.
fn has_own_dev(plan: &Plan) -> bool {
    use crate::spec::plan::MountKind;
    plan.mounts.iter().any(|m| m.destination == Path::new("/dev") && matches!(m.kind, MountKind::Bind { .. }))
}

/// What there is to run yet. Running hooks takes descriptors, and the limit that they and the application have may be too low
/// for that: it is then set after them, under the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToCome {
    Program,
    HooksAndProgram,
}

const HOOKS_TAKE: u64 = 64;

fn go_back_to_own_limit() -> Result<(), SetupError> {
    descriptor_limit::go_back().step(|| "set the limit of open files back".into())
}

/// From a set-up container to a process that only needs execve. From the filter on as few system calls as possible, since
/// each must be in the profile: all descriptors are closed at exec by now.
pub(super) fn finish_process(
    plan: &ProcessPlan,
    seccomp: Option<&super::seccomp::Program>,
    terminal: Option<&Terminal>,
    groups: identity::Groups,
    channel: BorrowedFd<'_>,
    to_come: ToCome,
) -> Result<entry::Entry, SetupError> {
    if let Some(terminal) = terminal {
        terminal.chown(plan.uid);
        terminal.become_stdio(&plan.kept_stdio)?;
    }
    let limited = plan.rlimits.iter().any(|(resource, ..)| *resource == libc::RLIMIT_NOFILE);
    let scarce = descriptor_limit::called_with().is_some_and(|limit| limit < HOOKS_TAKE);
    if limited || to_come == ToCome::Program || !scarce {
        go_back_to_own_limit()?;
    }
    identity::apply_limits(plan)?;
    identity::set_umask(plan);
    let cwd = identity::enter_early(&plan.cwd)?;
    super::load_seccomp(Moment::Privileged, plan, seccomp, channel)?;
    identity::become_user(plan, groups, cwd)?;
    if plan.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().step(|| "set no_new_privs".into())?;
    }
    if let Some(rules) = &plan.landlock {
        super::landlock::restrict(rules)?;
    }
    let entry = entry::find(plan)?;
    super::load_seccomp(Moment::Last, plan, seccomp, channel)?;
    Ok(entry)
}

fn say(channel: BorrowedFd<'_>, report: &Report) -> Result<(), SetupError> {
    channel::report(channel, report).map_err(|_| SetupError::CreatorGone)
}

fn hear(channel: BorrowedFd<'_>, expected: Order) -> Result<(), SetupError> {
    match channel::next_order(channel) {
        Ok(order) if order == expected => Ok(()),
        Ok(_) => Err(SetupError::CreatorGone),
        // Nothing but a filter does that to a read(2) of a socket.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOSYS)) => {
            Err(error).step(|| "hear that it is to go on (does the seccomp profile deny read?)".into())
        }
        Err(_) => Err(SetupError::CreatorGone),
    }
}
