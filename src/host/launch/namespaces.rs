//! Namespaces: those that a plan joins, and those in which a container differs from us.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::sched::CloneFlags;

use crate::container::forgiven;
use crate::container::helper::flag;
use crate::container::letter::Joined;
use crate::host::{HostError, Trying};
use crate::spec::plan::{NamespaceKind, Plan};

/// Namespaces joined by path, the user namespace first: it decides what we may do to the others.
pub fn open_joined(plan: &Plan) -> Result<Vec<Joined>, HostError> {
    let mut opened = Vec::new();
    for namespace in &plan.namespaces {
        if let Some(path) = &namespace.path {
            let file =
                File::open(path).trying(|| format!("open the {} namespace {path:?} to join it", namespace.kind))?;
            opened.push(Joined { kind: namespace.kind, namespace: file.into() });
        }
    }
    opened.sort_by_key(|joined| joined.kind != NamespaceKind::User);
    Ok(opened)
}

/// The namespaces of a container that an exec enters: all that it does not share with us, but the PID namespace.
pub fn differing(pid: i32) -> Result<CloneFlags, HostError> {
    const NAMES: [(&str, NamespaceKind); 7] = [
        ("user", NamespaceKind::User),
        ("mnt", NamespaceKind::Mount),
        ("net", NamespaceKind::Network),
        ("ipc", NamespaceKind::Ipc),
        ("uts", NamespaceKind::Uts),
        ("cgroup", NamespaceKind::Cgroup),
        ("time", NamespaceKind::Time),
    ];
    let of = |process: &str| {
        let path = Path::new("/proc").join(process).join("ns");
        File::open(&path).trying(|| format!("open {path:?}"))
    };
    let (ours, theirs) = (of("self")?, of(&pid.to_string())?);
    let mut flags = CloneFlags::empty();
    for (name, kind) in NAMES {
        if identity(&ours, name)? != identity(&theirs, name)? {
            flags |= flag(kind);
        }
    }
    Ok(flags)
}

/// What the kernel calls a namespace, in a process's folder of them. None: it has none of that kind.
fn identity(folder: &File, name: &str) -> Result<Option<OsString>, HostError> {
    match nix::fcntl::readlinkat(Some(folder.as_raw_fd()), name).map_err(io::Error::from) {
        Err(error) if forgiven::NO_SUCH_NAMESPACE.covers(&error) => Ok(None),
        other => other.trying(|| format!("read the {name} namespace of a process")).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_the_kernel_lacks_differs_in_nobody_and_one_that_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("net:[1]", folder.path().join("net")).unwrap();
        std::fs::write(folder.path().join("user"), "").unwrap();
        let opened = File::open(folder.path()).unwrap();
        assert_eq!(identity(&opened, "net").unwrap().unwrap(), "net:[1]");
        assert_eq!(identity(&opened, "time").unwrap(), None);
        assert!(identity(&opened, "user").is_err());
        assert!(identity(&File::open(folder.path().join("user")).unwrap(), "net").is_err());
        let ours = std::process::id() as i32;
        assert_eq!(differing(ours).unwrap(), CloneFlags::empty());
        assert!(differing(0).is_err(), "there is no such process");
    }
}
