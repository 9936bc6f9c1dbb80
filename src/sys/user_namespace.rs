//! Which ids of the machine are ours to name (user_namespaces(7)).

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

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

impl Mapping {
    /// The id outside that `inside` is; None: it is none of these.
    pub fn outside_of(&self, inside: u32) -> Option<u32> {
        inside.checked_sub(self.inside).filter(|offset| *offset < self.length)?.checked_add(self.outside)
    }

    /// The id inside that `outside` is; None: it is none of these.
    pub fn inside_of(&self, outside: u32) -> Option<u32> {
        outside.checked_sub(self.outside).filter(|offset| *offset < self.length)?.checked_add(self.inside)
    }
}

/// What the machine's first user namespace maps: every id to itself.
const INITIAL: Mapping = Mapping { inside: 0, outside: 0, length: u32::MAX };

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// uid_map.
    Uid,
    /// gid_map.
    Gid,
}

impl Kind {
    /// "uid" or "gid".
    pub fn name(self) -> &'static str {
        match self {
            Kind::Uid => "uid",
            Kind::Gid => "gid",
        }
    }

    /// The file of a process. `process` as in /proc: a pid, or "self".
    pub fn map_of(self, process: impl Display) -> PathBuf {
        format!("/proc/{process}/{}_map", self.name()).into()
    }
}

/// What the user namespace of this process maps.
pub fn ours(kind: Kind) -> io::Result<Vec<Mapping>> {
    mappings(&kind.map_of("self"))
}

/// What the user namespace of a process maps.
pub fn of_process(pid: i32, kind: Kind) -> io::Result<Vec<Mapping>> {
    mappings(&kind.map_of(pid))
}

/// Whether all ids of the machine are ours to name.
pub fn is_initial() -> io::Result<bool> {
    Ok(ours(Kind::Uid)? == [INITIAL])
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

fn mappings(path: &Path) -> io::Result<Vec<Mapping>> {
    parse(&super::text::read(path)?).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{path:?} is not as user_namespaces(7) has it"))
    })
}

/// What is written in a uid_map or gid_map. None: not three numbers on each line. A namespace whose mappings are not written yet has no lines.
pub fn parse(text: &str) -> Option<Vec<Mapping>> {
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

    #[test]
    fn an_id_is_found_in_both_directions_and_no_range_goes_on_behind_its_end() {
        let mapping = Mapping { inside: 10, outside: 100_000, length: 5 };
        let outside: Vec<_> = [9, 10, 14, 15].map(|id| mapping.outside_of(id)).into();
        assert_eq!(outside, [None, Some(100_000), Some(100_004), None]);
        let inside: Vec<_> = [99_999, 100_000, 100_004, 100_005].map(|id| mapping.inside_of(id)).into();
        assert_eq!(inside, [None, Some(10), Some(14), None]);
        assert_eq!(INITIAL.outside_of(u32::MAX), None);
    }
}
