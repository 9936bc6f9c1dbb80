//! Which ids of the machine are ours to name (user_namespaces(7)).

use std::io;

/// One line of a process's uid_map or gid_map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// The first id inside.
    pub inside: u32,
    /// The id, in the reader's namespace, that it is.
    pub outside: u32,
    /// How many there are from there on.
    pub length: u32,
}

/// What the machine's first user namespace maps: every id to itself.
const INITIAL: Mapping = Mapping { inside: 0, outside: 0, length: u32::MAX };

/// The uids of a process's user namespace. `process` as in /proc: a pid, or "self".
pub fn uids_of(process: &str) -> io::Result<Vec<Mapping>> {
    mappings(&format!("/proc/{process}/uid_map"))
}

/// The gids of this process's user namespace.
pub fn own_gids() -> io::Result<Vec<Mapping>> {
    mappings("/proc/self/gid_map")
}

/// Whether all ids of the machine are ours to name.
pub fn is_initial() -> io::Result<bool> {
    Ok(uids_of("self")? == [INITIAL])
}

/// Whether some ids of the machine are not ours to name. Where /proc does not say, nothing says that they are not.
pub fn is_ours_a_further_one() -> bool {
    is_initial().is_ok_and(|initial| !initial)
}

/// Root, and of the user namespace that the machine was booted with.
pub fn is_root_of_machine() -> bool {
    nix::unistd::geteuid().is_root() && is_initial().unwrap_or(false)
}

/// Whether the uid stands for all those that our user namespace does not have. Nothing is read where it cannot.
pub fn is_unmapped_uid(uid: u32) -> bool {
    const OVERFLOW: u32 = 65_534;
    let overflow = || {
        let text = super::text::read("/proc/sys/kernel/overflowuid").unwrap_or_default();
        text.trim().parse().unwrap_or(OVERFLOW)
    };
    uid != 0 && is_ours_a_further_one() && uid == overflow()
}

fn mappings(path: &str) -> io::Result<Vec<Mapping>> {
    parse(&super::text::read(path)?).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{path} is not as user_namespaces(7) has it"))
    })
}

/// None: not three numbers on each line. A namespace whose mappings are not written yet has no lines.
fn parse(text: &str) -> Option<Vec<Mapping>> {
    let mapping = |line: &str| {
        let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
        Some(Mapping { inside: numbers.next()??, outside: numbers.next()??, length: numbers.next()?? })
    };
    text.lines().map(mapping).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse("         0          0 4294967295\n"), Some(vec![INITIAL]));
        let two = parse("         0       1000          1\n         1     100000      65536\n").unwrap();
        assert_eq!(two[1], Mapping { inside: 1, outside: 100_000, length: 65_536 });
        assert_eq!(parse(""), Some(Vec::new()));
        assert_eq!(parse("0 0\n"), None);
    }
}
