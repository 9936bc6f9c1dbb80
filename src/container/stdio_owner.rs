//! Whose the standard descriptors are: a program that opens /dev/stdout or /dev/stderr opens what is behind it once more,
//! and that goes by the owner. So what was made for the container becomes its user's, as runc and crun do it.
//!
//! What is given away stays given, and an owner may do more than write: change the mode, open it again when the container
//! is long gone. So each is given where that is what it is there for, and no further:
//!
//! | what | given |
//! |---|---|
//! | a pipe or a socket without a name | always |
//! | a pipe with a name | to users of our own user namespace |
//! | a file that is open for writing | to the same but root, who would take it away from a user that calls by sudo |
//! | a file that is open for reading only, a terminal or any other device of the host's | never |
//!
//! The container's own terminal is its own affair: see [`super::terminal`].

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::fstat;
use nix::sys::statfs::fstatfs;
use serde::{Deserialize, Serialize};

use crate::spec::plan::{FirstProcess, ProcessPlan};
use crate::sys::descriptors::STDIO;
use crate::sys::user_namespace::Mapping;

/// The application's user, as our own user namespace has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    uid: u32,
    users: Users,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Users {
    /// Those of our own user namespace.
    Ours,
    /// Those of one below it: its ids are nobody's out here.
    Mapped,
}

impl Owner {
    /// A user by the number that it has in our user namespace, for a container that shares it.
    pub fn ours(uid: u32) -> Owner {
        Owner { uid, users: Users::Ours }
    }

    /// In a user namespace with these mappings. None: the user has no id out here.
    pub fn mapped(uid: u32, mappings: &[Mapping]) -> Option<Owner> {
        let outside = mappings.iter().find_map(|mapping| mapping.outside_of(uid))?;
        Some(Owner { uid: outside, users: Users::Mapped })
    }

    /// From here on the standard descriptors that `process` is going to have are its user's. The group stays, as with
    /// runc.
    ///
    /// Whatever the kernel refuses (an owner or a group that our user namespace does not map, a read-only file system)
    /// gives the application less and nobody else more: what is open stays open, and only opening it again fails.
    pub fn take(self, process: &ProcessPlan) {
        // What nobody has to trust (`do`) is not to read what others write to the same pipe.
        if process.first == FirstProcess::Keeper {
            return;
        }
        for standard in STDIO {
            // A terminal takes the place of the others.
            let stays = !process.terminal || process.kept_stdio.contains(&standard.as_raw_fd());
            if stays && kind_of(standard).is_some_and(|kind| self.gets(kind)) {
                let _ = nix::unistd::fchown(standard.as_raw_fd(), Some(self.uid.into()), None);
            }
        }
    }

    fn gets(self, kind: Kind) -> bool {
        match kind {
            Kind::Nameless => true,
            Kind::NamedPipe => self.users == Users::Ours,
            Kind::File { for_writing: true } => self.users == Users::Ours && self.uid != 0,
            Kind::File { for_writing: false } => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nameless,
    NamedPipe,
    File { for_writing: bool },
}

/// None: a device, or nothing at all.
fn kind_of(standard: BorrowedFd<'_>) -> Option<Kind> {
    const PIPEFS_MAGIC: i64 = 0x5049_5045;
    let flags = OFlag::from_bits_retain(fcntl(standard.as_raw_fd(), FcntlArg::F_GETFL).ok()?);
    if flags.contains(OFlag::O_PATH) {
        return None;
    }
    match fstat(standard.as_raw_fd()).ok()?.st_mode & libc::S_IFMT {
        libc::S_IFSOCK => Some(Kind::Nameless),
        libc::S_IFIFO if fstatfs(standard.as_fd()).ok()?.filesystem_type().0 as i64 == PIPEFS_MAGIC => {
            Some(Kind::Nameless)
        }
        libc::S_IFIFO => Some(Kind::NamedPipe),
        libc::S_IFREG => Some(Kind::File { for_writing: flags & OFlag::O_ACCMODE != OFlag::O_RDONLY }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(inside: u32, outside: u32, length: u32) -> Mapping {
        Mapping { inside, outside, length }
    }

    #[test]
    fn a_user_is_who_the_mappings_say_or_nobody() {
        let mappings = [mapping(0, 100_000, 1000), mapping(1000, 5, 1), mapping(u32::MAX - 2, u32::MAX - 1, 2)];
        let outside = |uid| Owner::mapped(uid, &mappings).map(|owner| owner.uid);
        assert_eq!(outside(0), Some(100_000));
        assert_eq!(outside(999), Some(100_999));
        assert_eq!(outside(1000), Some(5));
        assert_eq!(outside(1001), None);
        assert_eq!(outside(u32::MAX - 1), Some(u32::MAX));
    }

    #[test]
    fn what_others_find_by_name_is_given_to_nobody_in_another_user_namespace_and_what_is_read_to_nobody_at_all() {
        let (ours, mapped) = (Owner::ours(1000), Owner::mapped(0, &[mapping(0, 100_000, 1)]).unwrap());
        for (kind, expected) in [
            (Kind::Nameless, (true, true)),
            (Kind::NamedPipe, (true, false)),
            (Kind::File { for_writing: true }, (true, false)),
            (Kind::File { for_writing: false }, (false, false)),
        ] {
            assert_eq!((ours.gets(kind), mapped.gets(kind)), expected, "{kind:?}");
        }
        assert!(!Owner::ours(0).gets(Kind::File { for_writing: true }), "of whoever calls by sudo");
    }

    #[test]
    fn what_a_descriptor_is_does_not_go_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (read, _write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        assert_eq!(kind_of(read.as_fd()), Some(Kind::Nameless));
        nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let both = std::fs::File::options().read(true).write(true).open(dir.path().join("fifo")).unwrap();
        assert_eq!(kind_of(both.as_fd()), Some(Kind::NamedPipe));
        let written = std::fs::File::create(dir.path().join("file")).unwrap();
        assert_eq!(kind_of(written.as_fd()), Some(Kind::File { for_writing: true }));
        let read = std::fs::File::open(dir.path().join("file")).unwrap();
        assert_eq!(kind_of(read.as_fd()), Some(Kind::File { for_writing: false }));
        assert_eq!(kind_of(std::fs::File::open("/dev/null").unwrap().as_fd()), None);
        assert_eq!(kind_of(std::fs::File::open(dir.path()).unwrap().as_fd()), None);
    }
}
