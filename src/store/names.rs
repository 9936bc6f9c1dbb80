//! What the folders below `sandboxes` are called: those of sandboxes, and those of what is not one yet or any more.

use std::io;

use sha2::{Digest, Sha256};

use crate::sys::{procfs, random};

/// The longest id, in bytes, that is itself the name of its folder.
const MAX_PLAIN: usize = 200;
/// How much of a longer id its folder's name begins with.
const PREFIX: usize = 180;

// `~` is in no id, so that no sandbox can be taken for a leftover, whatever it is called.
const NEW: &str = ".new-~";
/// Not yet locked: followed by the pid and the start time of its maker.
const MAKING: &str = ".mk-~";
const GONE: &str = ".gone-~";

/// The name of a sandbox's folder, and of files that belong to a container: the id itself up to 200 bytes, else 180
/// bytes of it, `-`, and the SHA-256 of the whole in hex. That is 245 bytes, longer than any name that is itself an
/// id, so the two kinds cannot collide; it leaves room for a suffix of 10.
pub fn name_of(id: &str) -> String {
    if id.len() <= MAX_PLAIN {
        return id.to_owned();
    }
    let digest: String = Sha256::digest(id).iter().map(|byte| format!("{byte:02x}")).collect();
    // Ids are ASCII; anything else is cut at a character.
    let prefix = id.char_indices().take_while(|(at, c)| at + c.len_utf8() <= PREFIX).map(|(_, c)| c);
    format!("{}-{digest}", prefix.collect::<String>())
}

/// The names of a folder that is being made: while it is not locked yet, and from then on.
pub(super) fn of_new() -> io::Result<(String, String)> {
    let random = random::hex::<8>()?;
    let pid = std::process::id();
    let start = start_time(pid as i32).unwrap_or_default();
    Ok((format!("{MAKING}{pid}.{start}.{random}"), format!("{NEW}{random}")))
}

/// The name of a folder that is being removed.
pub(super) fn of_gone() -> io::Result<String> {
    Ok(format!("{GONE}{}", random::hex::<8>()?))
}

/// A sandbox, whatever has become of it.
pub(super) fn is_sandbox(name: &str) -> bool {
    !is_leftover(name) && !name.starts_with(MAKING)
}

/// One being made, or being removed.
pub(super) fn is_leftover(name: &str) -> bool {
    name.starts_with(NEW) || name.starts_with(GONE)
}

/// A preparation whose process, named by pid and start time, is dead.
pub(super) fn is_abandoned_making(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(MAKING) else { return false };
    let mut parts = rest.split('.');
    let maker = parts.next().and_then(|pid| pid.parse::<i32>().ok());
    let start = parts.next().and_then(|start| start.parse::<u64>().ok());
    match (maker, start) {
        (Some(pid), Some(start)) => start_time(pid) != Some(start),
        _ => true,
    }
}

/// None for a process that is dead, or past doing anything.
fn start_time(pid: i32) -> Option<u64> {
    procfs::stat(pid).ok().flatten().filter(|stat| !stat.is_gone()).map(|stat| stat.start_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_id_has_a_short_name_that_is_no_id() {
        let long = name_of(&"x".repeat(1000));
        assert_eq!(long.len(), 245);
        assert_ne!(name_of(&long), long);
        assert_eq!(name_of(&"x".repeat(200)), "x".repeat(200));
    }

    #[test]
    fn what_is_being_made_is_left_alone_while_its_maker_lives() {
        let (making, new) = of_new().unwrap();
        assert!(!is_sandbox(&making) && !is_leftover(&making) && !is_abandoned_making(&making));
        assert!(!is_sandbox(&new) && is_leftover(&new) && is_leftover(&of_gone().unwrap()));
        assert!(is_abandoned_making(".mk-~1.0.0123456789abcdef") && is_abandoned_making(".mk-~nonsense"));
        assert!(is_sandbox(".new-1") && is_sandbox(".gone-1"));
    }
}
