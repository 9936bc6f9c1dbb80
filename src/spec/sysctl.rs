//! Kernel parameters: only those that belong to a namespace the container does not share with the host.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use oci_spec::runtime::Linux;

use super::plan::{NamespaceKind, NamespacePlan};
use super::{SpecError, check, namespaces};

/// (name as a path below /proc/sys, value), sorted by name. Each thing is said once: `domainname` is the property of that
/// name.
pub(super) fn plan(
    linux: &Linux,
    planned: &[NamespacePlan],
    domainname: Option<&str>,
) -> Result<Vec<(String, String)>, SpecError> {
    let mut sysctls = Vec::new();
    for (name, value) in linux.sysctl().iter().flatten() {
        let field = format!("linux.sysctl[{}]", check::quote(name));
        check::text(&field, value)?;
        let path = path_of(&field, name)?;
        let kind = namespace_of(&field, &path)?;
        if path == "kernel/domainname" && domainname.is_some() {
            return Err(SpecError::invalid(field, "the property domainname is given as well: leave one of them out"));
        }
        let Some(namespace) = namespaces::find(planned, kind) else {
            let problem = format!("needs a {} namespace: the host's would be changed", kind.name());
            return Err(SpecError::invalid(field, problem));
        };
        if namespace.path.as_deref().is_some_and(|path| is_the_hosts(kind, path)) {
            let problem = format!("the {} namespace is the host's own", kind.name());
            return Err(SpecError::invalid(field, problem));
        }
        sysctls.push((path, value.clone()));
    }
    sysctls.sort();
    match sysctls.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(SpecError::invalid("linux.sysctl", format!("{:?} is given twice", pair[0].0))),
        None => Ok(sysctls),
    }
}

/// sysctl(8)'s two spellings: whichever of `.` and `/` comes first separates, the other one is part of a name.
fn path_of(field: &str, name: &str) -> Result<String, SpecError> {
    let dots = name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'.');
    let path: String = name
        .chars()
        .map(|c| match c {
            '.' if dots => '/',
            '/' if dots => '.',
            other => other,
        })
        .collect();
    let odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.chars().any(char::is_control);
    match path.split('/').any(odd) {
        true => Err(SpecError::invalid(field, "is not the name of a kernel parameter")),
        false => Ok(path),
    }
}

fn namespace_of(field: &str, path: &str) -> Result<NamespaceKind, SpecError> {
    const IPC: [&str; 8] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    ];
    if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        Ok(NamespaceKind::Ipc)
    } else if path.starts_with("net/") {
        Ok(NamespaceKind::Network)
    } else if path.starts_with("user/max_") {
        Ok(NamespaceKind::User)
    } else if path == "kernel/domainname" {
        Ok(NamespaceKind::Uts)
    } else if path == "kernel/hostname" {
        Err(SpecError::invalid(field, "use the property hostname instead"))
    } else {
        Err(SpecError::invalid(field, "is not a parameter of a namespace: the host's would be changed"))
    }
}

/// Best effort: what cannot be looked at is found out when it is joined.
fn is_the_hosts(kind: NamespaceKind, path: &Path) -> bool {
    let own = match kind {
        NamespaceKind::Network => "/proc/self/ns/net",
        NamespaceKind::Ipc => "/proc/self/ns/ipc",
        NamespaceKind::User => "/proc/self/ns/user",
        _ => "/proc/self/ns/uts",
    };
    match (fs::metadata(own), fs::metadata(path)) {
        (Ok(own), Ok(joined)) => (own.dev(), own.ino()) == (joined.dev(), joined.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_name_the_same_file() {
        assert_eq!(path_of("f", "net.ipv4.conf.eth0/100.forwarding").unwrap(), "net/ipv4/conf/eth0.100/forwarding");
        assert_eq!(path_of("f", "net/ipv4/conf/eth0.100/forwarding").unwrap(), "net/ipv4/conf/eth0.100/forwarding");
    }

    #[test]
    fn no_spelling_leaves_the_folder_of_its_namespace() {
        for name in ["net/../kernel/core_pattern", "net.//.kernel", "net/./x", "net//x", "", "net/", "net/a\nb"] {
            assert!(path_of("f", name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn limits_of_a_user_namespace_are_its_own() {
        assert_eq!(namespace_of("f", "user/max_user_namespaces").unwrap(), NamespaceKind::User);
        assert!(namespace_of("f", "user").is_err());
    }

    #[test]
    fn parameters_of_the_whole_machine_are_refused() {
        for path in ["kernel/core_pattern", "vm/overcommit_memory", "kernel/msg", "fs/mqueue", "net"] {
            assert!(namespace_of("f", path).is_err(), "{path}");
        }
    }
}
