//! Who the command is: root's is nobody that the host knows, an ordinary user's is the user.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use caps::{CapSet, Capability};
use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::host::rootless;
use crate::sys::user_namespace::{self, Kind, Mapping};
use std::io;

/// Where no distribution gives ids away: what systemd's list of uids calls unused. Each range is 65,536 ids long.
const FIRST: u32 = 0x7000_0000;
const RANGES: u32 = 4094;
const LENGTH: u32 = 65_536;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    /// 0 to 65,535 inside are ids of the host's that belong to nobody.
    Range { first: u32 },
    /// The caller's own alone.
    Caller { uid: u32, gid: u32 },
}

impl Ids {
    /// Root maps a range, if it may: in another container it may lack the right, or the ids.
    pub(super) fn of_caller() -> Ids {
        let first = FIRST + std::process::id() % RANGES * LENGTH;
        let may = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
        let has_range = || {
            let holds = |own: io::Result<Vec<Mapping>>| own.is_ok_and(|own| holds(&own, first));
            holds(user_namespace::ours(Kind::Uid)) && holds(user_namespace::ours(Kind::Gid))
        };
        if geteuid().is_root() && may(Capability::CAP_SETUID) && may(Capability::CAP_SETGID) && has_range() {
            return Ids::Range { first };
        }
        // In the namespace that we make for an ordinary user, that user.
        Ids::Caller { uid: rootless::caller(), gid: rootless::caller_group() }
    }

    pub(super) fn uid(self) -> u32 {
        match self {
            Ids::Range { .. } => 0,
            Ids::Caller { uid, .. } => uid,
        }
    }

    pub(super) fn gid(self) -> u32 {
        match self {
            Ids::Range { .. } => 0,
            Ids::Caller { gid, .. } => gid,
        }
    }

    pub(super) fn uid_mappings(self) -> Value {
        self.mappings(self.uid())
    }

    pub(super) fn gid_mappings(self) -> Value {
        self.mappings(self.gid())
    }

    fn mappings(self, own: u32) -> Value {
        match self {
            Ids::Range { first } => json!([{ "containerID": 0, "hostID": first, "size": LENGTH }]),
            Ids::Caller { .. } => json!([{ "containerID": own, "hostID": own, "size": 1 }]),
        }
    }
}

/// Whether a whole range is mapped in one line of a uid_map.
fn holds(mappings: &[Mapping], first: u32) -> bool {
    let last = first + LENGTH - 1;
    mappings.iter().any(|mapping| mapping.outside_of(first).is_some() && mapping.outside_of(last).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_is_below_what_a_signed_number_holds_and_mapped_on_a_machine() {
        let last = FIRST + (RANGES - 1) * LENGTH;
        assert!(u64::from(last) + u64::from(LENGTH) < 1 << 31);
        let all = Mapping { inside: 0, outside: 0, length: u32::MAX };
        let few =
            [Mapping { inside: 0, outside: 1000, length: 1 }, Mapping { inside: 1, outside: 100_000, length: 65_536 }];
        assert!(holds(&[all], last));
        assert!(!holds(&few, FIRST));
    }
}
