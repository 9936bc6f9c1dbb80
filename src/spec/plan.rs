//! What a container will be, as plain data: built and validated from `config.json` before anything is touched, then
//! applied by `container` and `cgroup` in the order written here. Nothing in here holds a file descriptor: what applies it
//! inside the container is another program, which is sent it (`container::letter`).

use std::ffi::OsString;
use std::path::PathBuf;

use crate::sys::user_namespace::Mapping;
use caps::Capability;
use oci_spec::runtime::{LinuxResources, LinuxSeccomp};
use serde::{Deserialize, Serialize};

/// A whole container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Those that are not the caller's own, in the order of the specification.
    pub namespaces: Vec<NamespacePlan>,
    /// Interfaces that move from the host into the network namespace, by name.
    pub net_devices: Vec<NetDevicePlan>,
    /// Empty unless there is a user namespace of its own.
    pub uid_mappings: Vec<IdMapping>,
    /// Empty unless there is a user namespace of its own.
    pub gid_mappings: Vec<IdMapping>,
    /// (clock, seconds, nanoseconds) for a new time namespace; clock is `monotonic` or `boottime`.
    pub time_offsets: Vec<(String, i64, u32)>,
    /// Where its root comes from, and how it becomes the root.
    pub rootfs: RootfsPlan,
    /// In the order of the spec. Bind mounts are opened by the CLI and donated in this order.
    pub mounts: Vec<MountPlan>,
    /// Defaults (null, zero, full, random, urandom, tty) first, then the spec's.
    pub devices: Vec<DevicePlan>,
    /// Absolute in the container.
    #[serde(with = "crate::sys::carried")]
    pub masked_paths: Vec<PathBuf>,
    /// Absolute, of the container: read-only with all below them.
    #[serde(with = "crate::sys::carried")]
    pub readonly_paths: Vec<PathBuf>,
    /// For a UTS namespace of its own; up to 64 bytes (sethostname(2)).
    pub hostname: Option<String>,
    /// For a UTS namespace of its own; up to 64 bytes (setdomainname(2)).
    pub domainname: Option<String>,
    /// (name as a path below /proc/sys with slashes, value)
    pub sysctls: Vec<(String, String)>,
    /// Not sent: the creator applies it.
    #[serde(skip)]
    pub cgroup: CgroupPlan,
    /// A group of resctrl; None: the creator's own.
    pub intel_rdt: Option<IntelRdtPlan>,
    /// None: a container that is only made, never started (a spec without `process` can be created).
    pub process: Option<ProcessPlan>,
    /// Not sent: the creator compiles it.
    #[serde(skip)]
    pub seccomp: Option<LinuxSeccomp>,
    /// What the caller has run at which moment of its life.
    pub hooks: HooksPlan,
    /// As written, in the order of their names; what they ask of a runtime is in the other fields already.
    pub annotations: Vec<(String, String)>,
}

impl Plan {
    /// The namespace of this kind that is not the caller's, new or joined.
    pub fn namespace(&self, kind: NamespaceKind) -> Option<&NamespacePlan> {
        self.namespaces.iter().find(|namespace| namespace.kind == kind)
    }

    /// Whether the container has a namespace of this kind that is not the caller's.
    pub fn has(&self, kind: NamespaceKind) -> bool {
        self.namespace(kind).is_some()
    }

    /// Whether that is a new one, which is made with the container.
    pub fn makes(&self, kind: NamespaceKind) -> bool {
        self.namespace(kind).is_some_and(|namespace| namespace.path.is_none())
    }

    /// Whether any process of the container can have this capability: a later one has it from the bounding set, if at all.
    pub fn may_have(&self, capability: Capability) -> bool {
        let sets = self.process.as_ref().map(|process| process.capabilities).unwrap_or_default();
        let any = sets.bounding | sets.effective | sets.permitted | sets.inheritable | sets.ambient;
        any & (1 << capability.index()) != 0
    }
}

/// The kinds of namespaces(7).
#[allow(missing_docs)] // As `linux.namespaces` calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NamespaceKind {
    User,
    Pid,
    Network,
    Ipc,
    Uts,
    Mount,
    Cgroup,
    Time,
}

impl NamespaceKind {
    /// As config.json names it.
    pub fn name(self) -> &'static str {
        match self {
            NamespaceKind::User => "user",
            NamespaceKind::Pid => "pid",
            NamespaceKind::Network => "network",
            NamespaceKind::Ipc => "ipc",
            NamespaceKind::Uts => "uts",
            NamespaceKind::Mount => "mount",
            NamespaceKind::Cgroup => "cgroup",
            NamespaceKind::Time => "time",
        }
    }
}

impl std::fmt::Display for NamespaceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A namespace that is not the caller's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespacePlan {
    /// Each is there once at most.
    pub kind: NamespaceKind,
    /// None: a new one. Some: joined by this absolute path.
    #[serde(with = "crate::sys::carried")]
    pub path: Option<PathBuf>,
}

/// A range of ids: `size` of them, from `container` inside and from `host` in the caller's user namespace.
#[allow(missing_docs)] // The type says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    pub container: u32,
    pub host: u32,
    pub size: u32,
}

impl From<&IdMapping> for Mapping {
    fn from(mapping: &IdMapping) -> Mapping {
        Mapping { inside: mapping.container, outside: mapping.host, length: mapping.size }
    }
}

/// The root file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RootfsPlan {
    /// Absolute, not resolved.
    #[serde(with = "crate::sys::carried")]
    pub path: PathBuf,
    /// As of a [`MountPlan`].
    pub identity: Option<(u64, u64)>,
    /// The root mount is read-only for the container, but not what is mounted on it.
    pub readonly: bool,
    /// MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE, with or without MS_REC; None: MS_SLAVE | MS_REC (runc's).
    pub propagation: Option<u64>,
    /// For `do`: MOUNT_ATTR_* bits of it and of all that is mounted below it; 0 leaves them as they are.
    pub recursive_set: u64,
    /// For `do --writable`: its files belong to the container's ids, and a writable overlay in memory covers it.
    pub idmap: Option<IdmapPlan>,
    /// What is written stays in memory.
    pub overlay: bool,
    /// By pivot_root(2), or by covering.
    pub switch: RootSwitch,
}

/// How the host's root makes way for the container's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RootSwitch {
    /// It is gone from the container's mount namespace.
    #[default]
    Pivot,
    /// `--no-pivot`: it is covered.
    Cover,
}

/// One mount. `attrs` are MOUNT_ATTR_* bits as mount_setattr(2) takes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPlan {
    /// Absolute in the container; resolved inside the rootfs when applied.
    #[serde(with = "crate::sys::carried")]
    pub destination: PathBuf,
    /// What is mounted there.
    pub kind: MountKind,
    /// MOUNT_ATTR_* bits that the mount gets.
    pub attrs_set: u64,
    /// MOUNT_ATTR_* bits that are taken off it, unless a user namespace has locked them.
    pub attrs_clear: u64,
    /// `rro`, `rnosuid`, …: for the whole tree.
    pub recursive_set: u64,
    /// `rrw`, `rsuid`, …: off the whole tree.
    pub recursive_clear: u64,
    /// MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE, each with or without MS_REC, in the order given.
    pub propagation: Vec<u64>,
    /// `tmpcopyup`: what lies at the destination is copied into the new tmpfs.
    pub copy_up: bool,
    /// `copy-symlink` (crun): a source that is a symlink is made anew at the destination, and nothing is mounted.
    pub copy_symlink: bool,
    /// `idmap`/`ridmap` or mappings of the mount.
    pub idmap: Option<IdmapPlan>,
    /// `nosymfollow` is in attrs; `src-nofollow`, `dest-nofollow` (crun) are here.
    pub source_nofollow: bool,
    /// st_dev and st_ino that the source of a bind has to have: it was chosen before its name was looked up for this.
    pub identity: Option<(u64, u64)>,
    /// A symlink as the last name of the destination is mounted on, not followed.
    pub destination_nofollow: bool,
}

/// An idmapped mount (mount_setattr(2)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdmapPlan {
    /// The whole tree, or the one mount.
    pub recursive: bool,
    /// Empty: the container's own user namespace.
    pub uid_mappings: Vec<IdMapping>,
    /// Empty: the container's own user namespace.
    pub gid_mappings: Vec<IdMapping>,
    /// What then.
    pub unsupported: Unsupported,
}

/// What becomes of a mount whose file system maps no ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unsupported {
    /// An error that names the file system.
    Refused,
    /// Its files belong to whom they belong on the host.
    LeftAsItIs,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// source is absolute on the host.
    Bind {
        /// Absolute on the host.
        #[serde(with = "crate::sys::carried")]
        source: PathBuf,
        /// With all that is mounted below it.
        recursive: bool,
    },
    /// A new file system; options are what is not a flag, as fsconfig(2) takes them: (key, value) or a bare key.
    #[allow(missing_docs)]
    Filesystem { fstype: String, source: String, options: Vec<(String, Option<String>)> },
    /// `remount`: the attributes of what is mounted at the destination already.
    Remount,
    /// The container's own cgroup: a v2 mount, or a tmpfs of v1 hierarchies, whichever the host has.
    Cgroup,
}

/// A node in the container's /dev, or elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicePlan {
    /// Absolute in the container.
    #[serde(with = "crate::sys::carried")]
    pub path: PathBuf,
    /// S_IFCHR, S_IFBLK or S_IFIFO.
    pub file_type: u32,
    /// 0 of a fifo.
    pub major: u64,
    /// 0 of a fifo.
    pub minor: u64,
    /// Permission bits.
    pub mode: u32,
    /// Of its owner, as the container has it.
    pub uid: u32,
    /// Of its group, as the container has it.
    pub gid: u32,
}

/// The application, or what `exec` runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProcessPlan {
    /// Never empty. Bytes without a NUL, as the kernel has them: what is typed need not be text.
    #[serde(with = "crate::sys::carried")]
    pub args: Vec<OsString>,
    /// `NAME=value`
    #[serde(with = "crate::sys::carried")]
    pub env: Vec<OsString>,
    /// Absolute.
    #[serde(with = "crate::sys::carried")]
    pub cwd: PathBuf,
    /// Who is process 1.
    pub first: FirstProcess,
    /// It gets a terminal of its own as its controlling one, and as those of 0 to 2 that are not kept.
    pub terminal: bool,
    /// Those of the descriptors 0 to 2 that a terminal does not replace: they are no terminals of the caller's.
    pub kept_stdio: Vec<i32>,
    /// (rows, columns)
    pub console_size: Option<(u16, u16)>,
    /// In the container's user namespace.
    pub uid: u32,
    /// In the container's user namespace.
    pub gid: u32,
    /// The supplementary groups, as `original_groups` has it.
    pub additional_gids: Vec<u32>,
    /// Whether the caller's groups are kept instead.
    pub original_groups: OriginalGroups,
    /// None leaves that of whoever makes the process.
    pub umask: Option<u32>,
    /// What it begins with.
    pub capabilities: CapabilitySets,
    /// (RLIMIT_* number, soft, hard)
    pub rlimits: Vec<(u32, u64, u64)>,
    /// PR_SET_NO_NEW_PRIVS (prctl(2)).
    pub no_new_privileges: bool,
    /// SECBIT_* bits (capabilities(7)); 0 leaves them as they are.
    pub securebits: u32,
    /// A second wall in front of what it writes; None: none.
    pub landlock: Option<LandlockPlan>,
    /// -1000 to 1000 (proc_pid_oom_score_adj(5)); None: the creator's.
    pub oom_score_adj: Option<i32>,
    /// Of the next execve(2); None: as the kernel has it.
    pub apparmor_profile: Option<String>,
    /// Of the next execve(2); None: as the kernel has it.
    pub selinux_label: Option<String>,
    /// (class << 13) | level, as ioprio_set(2) takes it.
    pub io_priority: Option<u16>,
    /// None: the creator's.
    pub scheduler: Option<SchedulerPlan>,
    /// As personality(2) takes it; None: the creator's.
    pub personality: Option<u64>,
    /// On which CPUs, before and after the application runs.
    pub affinity: AffinityPlan,
    /// None: the creator's.
    pub memory_policy: Option<MemoryPolicyPlan>,
}

/// Who is the first process of the container, which the kernel treats unlike all others (pid_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FirstProcess {
    /// The application itself.
    Application,
    /// One that reaps, hands signals on, and ends with the application.
    Keeper,
}

/// What becomes of the groups that the caller has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OriginalGroups {
    /// The process has its additional groups and no others.
    Dropped,
    /// It has the caller's, in place of its own: what only they may open stays open to it.
    Kept,
}

/// What landlock(7) still lets the process do, where the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LandlockPlan {
    /// It writes at and below these only, absolute in the container, and to files that are open as its stdio.
    pub writable: Vec<PathBuf>,
    /// Which sockets without a path it may connect to.
    pub abstract_sockets: AbstractSockets,
}

/// Sockets without a file belong to a network namespace, whoever else is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbstractSockets {
    /// Whatever its network namespace has.
    All,
    /// Only those that it and its children have made.
    Own,
}

/// CPUs as bit masks, lowest word first; an empty one changes nothing. For processes that join a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AffinityPlan {
    /// Until it is in the container's cgroup.
    pub initial: Vec<u64>,
    /// From then on.
    pub last: Vec<u64>,
}

/// What set_mempolicy(2) takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPolicyPlan {
    /// MPOL_* with MPOL_F_* bits.
    pub mode: u32,
    /// Nodes as a bit mask, lowest word first.
    pub nodes: Vec<u64>,
}

/// A group of the resctrl file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntelRdtPlan {
    /// None: one of its own, named after the container.
    pub group: Option<String>,
    /// Lines of its `schemata` file.
    pub schemata: Vec<String>,
    /// A monitoring group of its own is made below it.
    pub monitoring: bool,
}

/// An interface of the host that the container gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetDevicePlan {
    /// On the host.
    pub host_name: String,
    /// In the container.
    pub name: String,
}

/// What sched_setattr(2) is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulerPlan {
    /// SCHED_* number.
    pub policy: u32,
    /// -20 to 19, for SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// 1 to 99, for SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// SCHED_FLAG_* bits.
    pub flags: u64,
    /// Nanoseconds, for SCHED_DEADLINE.
    pub runtime: u64,
    /// Nanoseconds, for SCHED_DEADLINE.
    pub deadline: u64,
    /// Nanoseconds, for SCHED_DEADLINE.
    pub period: u64,
}

/// Bit n is the capability with number n (capabilities(7)).
#[allow(missing_docs)] // As capabilities(7) calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CapabilitySets {
    pub bounding: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub permitted: u64,
    pub ambient: u64,
}

/// The cgroup of a container.
#[derive(Debug, Clone, Default)]
pub struct CgroupPlan {
    /// `linux.cgroupsPath`, as written.
    pub path: Option<String>,
    /// `linux.resources`; None, or a value that is not given: no limit.
    pub resources: Option<LinuxResources>,
}

/// Hooks by their moment (runtime-spec, config.md, POSIX-platform Hooks); each list in its order.
#[allow(missing_docs)] // Named by their moments.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HooksPlan {
    pub prestart: Vec<HookPlan>,
    pub create_runtime: Vec<HookPlan>,
    pub create_container: Vec<HookPlan>,
    pub start_container: Vec<HookPlan>,
    pub poststart: Vec<HookPlan>,
    pub poststop: Vec<HookPlan>,
}

impl HooksPlan {
    /// Whether there are hooks of the runtime that run between the container's mounts and its pivot_root.
    pub fn wait_for_mounts(&self) -> bool {
        !self.prestart.is_empty() || !self.create_runtime.is_empty()
    }

    /// Whether there are hooks that look for the rootfs, and what is mounted in it, where the configuration says it is.
    pub fn look_at_rootfs(&self) -> bool {
        self.wait_for_mounts() || !self.create_container.is_empty()
    }
}

/// One program that is run at a moment of a container's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookPlan {
    /// Absolute.
    #[serde(with = "crate::sys::carried")]
    pub path: PathBuf,
    /// argv; the path if the spec gives none.
    pub args: Vec<String>,
    /// None: that of whoever runs it.
    #[serde(with = "crate::sys::carried")]
    pub env: Option<Vec<OsString>>,
    /// Seconds, above 0.
    pub timeout: Option<u32>,
}
