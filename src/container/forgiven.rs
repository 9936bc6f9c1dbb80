//! Every errno that a step towards a container's isolation passes over, with the reason. There is no other: whatever the
//! kernel answers beyond these is an error, and nothing runs. "I could not look" is not "it is not there".
//!
//! Not in here: steps that, where one way fails, go another that gives the container less or the same (a device that is
//! bound because it cannot be made, a sealed copy of the binary because it cannot be bound), and cleaning up.

use std::io;

/// One answer of the kernel to one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgiven {
    pub step: &'static str,
    pub errno: i32,
    pub because: &'static str,
}

impl Forgiven {
    pub fn covers(&self, error: &io::Error) -> bool {
        error.raw_os_error() == Some(self.errno)
    }
}

pub const NO_KEYRINGS: Forgiven = Forgiven {
    step: "join a new session keyring",
    errno: libc::ENOSYS,
    because: "the kernel has no keyrings: there is none to inherit. A filter that answers so hides them from whoever it \
              is inherited by, the container before all",
};

pub const MASK_BELOW_A_FILE: Forgiven = Forgiven {
    step: "find a masked or read-only path",
    errno: libc::ENOTDIR,
    because: "what has a file for a parent does not exist",
};

pub const NAME_IS_TAKEN: Forgiven = Forgiven {
    step: "make a device node or a symlink in /dev",
    errno: libc::EEXIST,
    because: "what the image or a mount has brought is the container's; it is neither followed nor changed",
};

pub const GROUPS_ARE_DENIED: Forgiven = Forgiven {
    step: "give up the caller's groups",
    errno: libc::EPERM,
    because: "the user namespace says that nobody in it may set groups (setgroups: deny), and the application has none \
              to set; in such a namespace they only ever take rights away",
};

pub const NO_SUCH_CAPABILITY: Forgiven = Forgiven {
    step: "look for a capability in the bounding set, to drop it",
    errno: libc::EINVAL,
    because: "the kernel has no capability of this number, and none above it",
};

pub const NO_SETGROUPS_FILE: Forgiven = Forgiven {
    step: "ask whether a user namespace lets its processes set their groups",
    errno: libc::ENOENT,
    because: "a kernel without the file has no such rule: then a refusal to set them is an error",
};

pub const NO_SUCH_NAMESPACE: Forgiven = Forgiven {
    step: "compare our namespaces with a container's",
    errno: libc::ENOENT,
    because: "the kernel has no namespaces of that kind, so there is nothing to enter",
};

pub const LOCKED_ATTRIBUTE: Forgiven = Forgiven {
    step: "take nosuid, nodev, noexec or read-only off a bind mount",
    errno: libc::EPERM,
    because: "a user namespace has locked it (mount_namespaces(7)): it stays on, and the container may do less",
};

pub const NO_LABEL_FOLDER: Forgiven = Forgiven {
    step: "write the AppArmor profile to attr/apparmor/exec",
    errno: libc::ENOENT,
    because: "before Linux 5.8 the file is attr/exec, and is written instead",
};

pub const MOUNTS_OF_SOMEBODY_ELSE: Forgiven = Forgiven {
    step: "open the host's null device through a read-only mount for an exec into a container that has none",
    errno: libc::EPERM,
    because: "an ordinary user may not clone the host's mounts, and needs no container to reach what it hands over",
};

/// The whole list, as docs/mounts.md prints it.
pub const ALL: [Forgiven; 10] = [
    NO_KEYRINGS,
    MASK_BELOW_A_FILE,
    NAME_IS_TAKEN,
    GROUPS_ARE_DENIED,
    NO_SETGROUPS_FILE,
    NO_SUCH_CAPABILITY,
    NO_SUCH_NAMESPACE,
    LOCKED_ATTRIBUTE,
    NO_LABEL_FOLDER,
    MOUNTS_OF_SOMEBODY_ELSE,
];
