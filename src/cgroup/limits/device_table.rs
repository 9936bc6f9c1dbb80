//! Many device rules as a table: what may be done to a device is the same for whole ranges of numbers, and a range is found by
//! halving. One rule after the other would be a program that the kernel looks at for seconds, and refuses from some thousands
//! of rules on (8,192 jumps in a row).

use std::collections::{BTreeMap, BTreeSet};

use super::devices::{Access, Kind, Rule, Verdict};

/// Which of the eight combinations of access (BPF_DEVCG_ACC_*) are allowed: a bit each.
pub(super) type Allowed = u8;

pub(super) const ALL: Allowed = 0xff;

/// From this number on, to the next range. The first begins at 0, and neighbours differ.
pub(super) type Ranges<T> = Vec<(u32, T)>;

/// By major number, then by minor number.
pub(super) type Table = Ranges<Ranges<Allowed>>;

/// Of the devices of one kind, with the rules in their order.
pub(super) fn of(rules: &[Rule], kind: Kind) -> Table {
    let matching: Vec<&Rule> = rules.iter().filter(|rule| rule.kind == Kind::Any || rule.kind == kind).collect();
    let mut by_major: BTreeMap<u32, Vec<(usize, &Rule)>> = BTreeMap::new();
    let mut any_major = Vec::new();
    for (place, rule) in matching.into_iter().enumerate() {
        match rule.major {
            Some(major) => by_major.entry(major).or_default().push((place, rule)),
            None => any_major.push((place, rule)),
        }
    }
    let others = minors(&any_major);
    ranges(
        others,
        by_major.into_iter().map(|(major, mut rules)| {
            rules.extend(&any_major);
            rules.sort_by_key(|(place, _)| *place);
            (major, minors(&rules))
        }),
    )
}

fn minors(rules: &[(usize, &Rule)]) -> Ranges<Allowed> {
    let any_minor: Vec<(usize, &Rule)> = rules.iter().copied().filter(|(_, rule)| rule.minor.is_none()).collect();
    let mut by_minor: BTreeMap<u32, Vec<(usize, &Rule)>> = BTreeMap::new();
    for (place, rule) in rules {
        if let Some(minor) = rule.minor {
            by_minor.entry(minor).or_default().push((*place, *rule));
        }
    }
    let others = allowed(&any_minor);
    ranges(
        others,
        by_minor.into_iter().map(|(minor, mut rules)| {
            rules.extend(&any_minor);
            rules.sort_by_key(|(place, _)| *place);
            (minor, allowed(&rules))
        }),
    )
}

/// Single numbers, in their order, and what all others have.
fn ranges<T: Clone + PartialEq>(others: T, single: impl Iterator<Item = (u32, T)>) -> Ranges<T> {
    let mut found: Ranges<T> = vec![(0, others.clone())];
    let mut push = |from: u32, value: T| {
        if found.last().is_some_and(|(start, _)| *start == from) {
            found.pop();
        }
        if found.last().is_none_or(|(_, last)| *last != value) {
            found.push((from, value));
        }
    };
    for (number, value) in single {
        push(number, value);
        push(number + 1, others.clone());
    }
    found
}

/// The last that matches decides. Nobody: denied.
fn allowed(rules: &[(usize, &Rule)]) -> Allowed {
    let mut open: BTreeSet<u8> = (0..8).collect();
    let mut allowed = 0;
    for (_, rule) in rules.iter().rev() {
        let of = bits(rule.access);
        // To be allowed, all that is asked must be in the rule; to be denied, any of it.
        let decides = |asked: &u8| match rule.verdict {
            Verdict::Allow => asked & !of == 0,
            Verdict::Deny => asked & of != 0 || of == 7,
        };
        let decided: Vec<u8> = open.iter().copied().filter(decides).collect();
        for asked in decided {
            open.remove(&asked);
            if rule.verdict == Verdict::Allow {
                allowed |= 1 << asked;
            }
        }
        if open.is_empty() {
            break;
        }
    }
    allowed
}

pub(super) fn bits(access: Access) -> u8 {
    u8::from(access.mknod) | u8::from(access.read) << 1 | u8::from(access.write) << 2
}
