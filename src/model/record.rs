//! What is remembered of a sandbox. Records are written once and never change; what changes is in [`State`].
//! How these lie on disk is the business of `store::schema`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Event, Id, Machine, Phase};

/// Nanoseconds since the Unix epoch, UTC.
pub type Nanos = i64;

/// A process, told apart from every other that ever has its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessRef {
    /// In the host's PID namespace, as seen by the creator.
    pub pid: i32,
    /// Field 22 of /proc/PID/stat: clock ticks since boot, as the reader's time namespace shows it (proc(5)).
    pub start_time: u64,
    /// Inode of its pidfd on kernels whose pidfs gives every process its own (6.9 and later).
    pub pidfd_inode: Option<u64>,
}

/// Where and when the start times of a record were read; they mean nothing on another boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// /proc/sys/kernel/random/boot_id
    pub boot_id: String,
    /// Inode of /proc/self/ns/time of the reader.
    pub time_namespace: u64,
}

/// Who waits for the container's init with waitpid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaper {
    /// The supervisor: it knows the exit status on every kernel.
    Supervisor,
    /// Whoever reaps for the caller (conmon, containerd-shim), who asked for a pid file; or a foreground run.
    Caller,
}

/// Which PID namespace the supervisor is pid 1 of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PidNamespace {
    /// One of its own: killing the supervisor makes the kernel kill everything in the sandbox.
    Own,
    /// The container runs in the host's PID namespace, or in a foreign one joined by path: the supervisor stays in the
    /// caller's, and the sandbox is destroyed by cgroup.
    Foreign,
}

/// Where the cgroups of a container or a supervisor are: absolute host paths of the folders, one a hierarchy.
/// Empty with `--cgroup-manager disabled`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CgroupRecord {
    /// Folders to remove when it goes, deepest first; all were made by us.
    pub folders: Vec<PathBuf>,
    /// What freezes it: the v1 freezer folder or the v2 folder.
    pub freezer: Option<PathBuf>,
    /// The cgroup path as a hierarchy sees it, e.g. `/sandkeep/web`.
    pub path: String,
}

/// What a file of a cgroup says, in the form in which it can be written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileValue {
    /// Absolute.
    pub file: PathBuf,
    /// The whole of what is written.
    pub value: String,
}

/// The limits of a container after an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Of the transition that set them.
    pub seq: u64,
    /// All that have been asked for so far: the `linux.resources` that a later update starts from.
    pub resources: serde_json::Value,
    /// What the files of the cgroup said before, in the order in which they were written.
    pub before: Vec<FileValue>,
}

/// The unit of systemd that a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeRecord {
    /// `libpod-web.scope`
    pub unit: String,
    /// Whose systemd: `system` or `user`.
    pub bus: String,
}

/// Written once, as soon as every process of it is known, and never changed but for `supervisor`: one that died is
/// replaced where its container runs on without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxRecord {
    /// That of its root container, too.
    pub id: Id,
    /// Random, 32 hex digits: tells two sandboxes of the same id apart.
    pub incarnation: String,
    /// Pid 1 of the sandbox, or a process beside it: see `pid_namespace`.
    pub supervisor: ProcessRef,
    /// When and where the start times in these records were read.
    pub boot: Boot,
    /// Whether the kernel ends everything with the supervisor.
    pub pid_namespace: PidNamespace,
    /// The supervisor's own cgroup.
    pub supervisor_cgroup: CgroupRecord,
    /// When the birth began.
    pub created: Nanos,
    /// The sandbox dies with its creator (a foreground run).
    pub attached: bool,
}

/// The `/` of a container, as its init reported it once it had changed into it: whoever enters later compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootIdentity {
    /// statx(2), STATX_MNT_ID.
    pub mount_id: u64,
    /// st_dev and st_ino.
    pub device: u64,
    /// st_ino.
    pub inode: u64,
}

/// Immutable; written once, when the init is ready. Before, hooks see one without a `root`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRecord {
    /// The sandbox's, of its root container.
    pub id: Id,
    /// The application, once it runs.
    pub init: ProcessRef,
    /// None: it was made by a sandkeep that did not ask, or it has no mount namespace of its own.
    pub root: Option<RootIdentity>,
    /// Who learns its exit status.
    pub reaper: Reaper,
    /// Absolute.
    pub bundle: PathBuf,
    /// Absolute.
    pub rootfs: PathBuf,
    /// SHA-256 of the config.json that was kept at create, in hex.
    pub spec_digest: String,
    /// What its own cgroups are.
    pub cgroup: CgroupRecord,
    /// When the birth began.
    pub created: Nanos,
    /// uid of whoever created it.
    pub owner: u32,
    /// As the configuration has them.
    pub annotations: BTreeMap<String, String>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The exit code, or 128 + the signal's number.
    pub code: u8,
    /// The signal that ended it.
    pub signal: Option<u8>,
    /// When the end was seen.
    pub at: Nanos,
    /// Nobody could record the status. The supervisor died first: 137 was assumed. Nobody could tell it: 255 was.
    pub inferred: bool,
}

impl Exit {
    /// Nobody could tell the supervisor how it ended. (An end that is inferred from the supervisor's own is no riddle:
    /// the kernel kills what is left of its PID namespace.)
    pub fn is_unknown(&self) -> bool {
        self.inferred && self.signal.is_none()
    }
}

/// What changes of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerState {
    /// By the table.
    pub phase: Phase,
    /// When it came to this phase.
    pub since: Nanos,
    /// Once it has ended.
    pub exit: Option<Exit>,
}

/// What changes of a sandbox: the whole of it, at one point in its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Grows by one with every committed transition.
    pub seq: u64,
    /// The sandbox's phase is that of its root container.
    pub sandbox: ContainerState,
    /// The further containers of the pod, by id.
    pub containers: BTreeMap<String, ContainerState>,
}

/// What `sandbox.json` holds and readers see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What never changes of it.
    pub sandbox: SandboxRecord,
    /// By id; the root container's is the sandbox's id.
    pub containers: BTreeMap<String, ContainerRecord>,
    /// What does.
    pub state: State,
}

/// Written before the first effect of a transition, cleared after its outcome is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The seq that the state will have.
    pub seq: u64,
    /// The sandbox, and the container the event is about.
    pub sandbox: Id,
    /// The root container has the id of the sandbox.
    pub container: Id,
    /// Whose rows of the table are meant.
    pub machine: Machine,
    /// What it was.
    pub from: Phase,
    /// What was asked or seen.
    pub event: Event,
    /// What it will be.
    pub to: Phase,
    /// Who holds the lock.
    pub holder: ProcessRef,
    /// When and where the start time of `holder` was read.
    pub boot: Boot,
    /// When it was written.
    pub at: Nanos,
    /// Folders of cgroups that create is about to make (so that its crash can be undone), deepest first.
    pub cgroups: Vec<PathBuf>,
}

/// One line of history: a transition that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// As its record had it.
    pub sandbox: Id,
    /// Of that sandbox: a later one of the same id has another.
    pub incarnation: String,
    /// The root container has the id of the sandbox.
    pub container: Id,
    /// Whose rows of the table are meant.
    pub machine: Machine,
    /// One more than that of the transition before.
    pub seq: u64,
    /// What it was.
    pub from: Phase,
    /// What was asked or seen.
    pub event: Event,
    /// What it has been from then on.
    pub to: Phase,
    /// When its intent was written.
    pub began: Nanos,
    /// When its effects were done.
    pub ended: Nanos,
    /// Of an end, or of a deletion that killed what lived.
    pub exit: Option<Exit>,
    /// Who did it: the command itself, or the healing of one that died.
    pub by: Actor,
    /// Of a signal, or of a deletion that killed: which, and for whom.
    pub signal: Option<SignalAsked>,
}

impl JournalEntry {
    /// An end that the supervisor saw, whoever has put it in the journal since.
    pub fn was_seen_by_supervisor(&self) -> bool {
        self.event == Event::InitExited && self.exit.is_some_and(|exit| !exit.inferred)
    }
}

/// Who asked for which signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalAsked {
    /// As kill(2) has it.
    pub number: u8,
    /// The user of the command.
    pub uid: u32,
    /// The process that called it, and its name then.
    pub caller: i32,
    /// Its name, as the kernel has it (proc_pid_comm(5)).
    pub program: String,
}

/// Who has done a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The command that was asked for it.
    Command,
    /// A later one, in the place of one that died; or whoever saw what nobody asked for.
    Recovery,
}

/// A hook that a command runs on the host's side. Those that run inside the container are not recorded: its init runs
/// them, once in its life.
#[allow(missing_docs)] // As the specification calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    Prestart,
    CreateRuntime,
    Poststart,
    Poststop,
}

impl HookKind {
    /// As in the specification.
    pub fn name(self) -> &'static str {
        match self {
            HookKind::Prestart => "prestart",
            HookKind::CreateRuntime => "createRuntime",
            HookKind::Poststart => "poststart",
            HookKind::Poststop => "poststop",
        }
    }
}

/// How far a hook has come. A hook of which anything but `Claimed` is recorded is never begun again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookStep {
    /// Of the poststart hooks as a whole: this process runs them once the application does.
    Claimed(ProcessRef),
    /// It is executed next, as this process, which leads a process group of its own.
    Begun(ProcessRef),
    /// It has ended, or nobody will ever know.
    Ended(HookEnd),
}

/// How a hook has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookEnd {
    /// With exit code 0.
    Well,
    /// With another, by a signal, or not in time.
    Failed,
    /// The process that was waiting for it died first.
    Unseen,
}

/// One line of the record of hooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRecord {
    /// Of which container.
    pub container: Id,
    /// Which list of hooks.
    pub kind: HookKind,
    /// Its place in the list of its kind, from 0.
    pub index: u32,
    /// How far it has come.
    pub step: HookStep,
    /// When that was.
    pub at: Nanos,
}
