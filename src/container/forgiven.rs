//! Every errno that a step towards a container's isolation passes over, with the reason. There is no other: whatever the
//! kernel answers beyond these is an error, and nothing runs. "I could not look" is not "it is not there".
//!
//! Not in here: steps that, where one way fails, go another that gives the container less or the same (a device that is
//! bound because it cannot be made, a sealed copy of the binary because it cannot be bound), and cleaning up.

use std::io;

/// One answer of the kernel to one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgiven {
    /// What is being tried, as docs/forgiven.md lists it.
    pub step: &'static str,
    /// The one answer that is passed over.
    pub errno: i32,
    /// Why nothing is lost by it.
    pub because: &'static str,
    /// What holds it: a file of this repository, and the name of a test in it.
    pub test: &'static str,
}

impl Forgiven {
    /// Whether `error` is this answer. Whatever else the kernel says stays an error.
    pub fn covers(&self, error: &io::Error) -> bool {
        error.raw_os_error() == Some(self.errno)
    }
}

pub(crate) const NO_KEYRINGS: Forgiven = Forgiven {
    step: "join a new session keyring",
    errno: libc::ENOSYS,
    because: "the kernel has no keyrings, so there is none to inherit; add_key and request_key must say so, too",
    test: "tests/kernel/masks.rs: a_filter_that_forbids_keyrings_is_an_error_and_a_kernel_without_them_is_none",
};

pub(crate) const MASK_BELOW_A_FILE: Forgiven = Forgiven {
    step: "find a masked or read-only path",
    errno: libc::ENOTDIR,
    because: "what has a file for a parent does not exist",
    test: "tests/kernel/mounts.rs: masked_and_read_only_paths_may_be_files_folders_and_symlinks",
};

pub(crate) const NAME_IS_TAKEN: Forgiven = Forgiven {
    step: "make a device node or a symlink in /dev",
    errno: libc::EEXIST,
    because: "what the image or a mount has brought is the container's; it is neither followed nor changed",
    test: "src/container/node.rs: whatever_has_the_name_already_is_left_alone",
};

pub(crate) const NO_HOST_DEVICE: Forgiven = Forgiven {
    step: "lock a device of the host's before it is bound into a user namespace",
    errno: libc::ENOENT,
    because: "there is none of that name: then the creator has made one for the container, or that is an error",
    test: "tests/kernel/mounts.rs: in_a_user_namespace_devices_are_the_hosts_or_else_the_containers_own",
};

pub(crate) const GROUPS_ARE_DENIED: Forgiven = Forgiven {
    step: "give up the caller's groups",
    errno: libc::EPERM,
    because: "the user namespace says that nobody in it may set groups (setgroups: deny), and the application has none \
              to set; in such a namespace they only ever take rights away",
    test: "tests/kernel/user_namespace.rs: an_ordinary_user_runs_what_spec_rootless_writes",
};

pub(crate) const NO_SUCH_CAPABILITY: Forgiven = Forgiven {
    step: "look for a capability in the bounding set, to drop it",
    errno: libc::EINVAL,
    because: "the kernel has no capability of this number, and none above it",
    test: "src/sys/privilege.rs: the_bounding_set_holds_what_is_kept_and_nothing_above_what_has_a_name",
};

pub(crate) const NO_SETGROUPS_FILE: Forgiven = Forgiven {
    step: "ask whether a user namespace lets its processes set their groups",
    errno: libc::ENOENT,
    because: "a kernel without the file has no such rule: then a refusal to set them is an error",
    test: "src/container/identity.rs: whether_groups_may_be_set_is_known_or_an_error",
};

pub(crate) const NO_SUCH_NAMESPACE: Forgiven = Forgiven {
    step: "compare our namespaces with a container's",
    errno: libc::ENOENT,
    because: "the kernel has no namespaces of that kind, so there is nothing to enter",
    test: "src/host/launch/namespaces.rs: a_kind_that_the_kernel_lacks_differs_in_nobody_and_one_that_cannot_be_read_is_an_error",
};

pub(crate) const MOUNT_IS_GONE: Forgiven = Forgiven {
    step: "take the host's proc or sysfs away below a root that covers it",
    errno: libc::ENOENT,
    because: "it went with the one that it was mounted on: it must not be listed any more, or that is an error",
    test: "tests/kernel/masks.rs: a_covered_root_with_a_proc_that_lies_below_another_mount_is_refused",
};

pub(crate) const LOCKED_ATTRIBUTE: Forgiven = Forgiven {
    step: "take nosuid, nodev, noexec or read-only off a bind mount",
    errno: libc::EPERM,
    because: "a user namespace has locked it (mount_namespaces(7)): it stays on, and the container may do less",
    test: "tests/kernel/mounts.rs: what_a_user_namespace_has_locked_stays_on_a_bind_mount",
};

pub(crate) const NO_LABEL_FOLDER: Forgiven = Forgiven {
    step: "write the AppArmor profile to attr/apparmor/exec",
    errno: libc::ENOENT,
    because: "before Linux 5.8 the file is attr/exec, and is written instead",
    test: "src/container/identity.rs: a_profile_goes_to_the_file_that_is_apparmors_alone_or_else_is_an_error",
};

pub(crate) const ZERO_IS_NOT_MAPPED: Forgiven = Forgiven {
    step: "become root of the user namespace",
    errno: libc::EINVAL,
    because: "0 is not mapped there: whoever makes or joins it has all capabilities in it as who it is",
    test: "tests/life/do_.rs: the_command_is_nobody_and_can_become_nobody_else",
};

pub(crate) const NO_MAPPED_IDS: Forgiven = Forgiven {
    step: "map the ids of a folder that `do` shows for reading",
    errno: libc::EINVAL,
    because: "its file system maps none: its files belong to whom they belong on the host, and others may read them or not",
    test: "tests/life/do_.rs: shares_are_for_reading_unless_they_say_so_and_what_is_made_there_is_the_callers",
};

/// The whole list, as docs/forgiven.md prints it.
pub const ALL: [Forgiven; 13] = [
    NO_KEYRINGS,
    MASK_BELOW_A_FILE,
    NAME_IS_TAKEN,
    NO_HOST_DEVICE,
    GROUPS_ARE_DENIED,
    NO_SETGROUPS_FILE,
    NO_SUCH_CAPABILITY,
    NO_SUCH_NAMESPACE,
    MOUNT_IS_GONE,
    LOCKED_ATTRIBUTE,
    NO_LABEL_FOLDER,
    ZERO_IS_NOT_MAPPED,
    NO_MAPPED_IDS,
];
