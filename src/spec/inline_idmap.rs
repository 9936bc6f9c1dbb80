//! `idmap=uids=0-1000-10#10-5000-1;gids=@0-0-10`: the mappings of a mount among its options, as crun writes them (crun(1)).
//!
//! Each triplet is an id of the file system, the one on the host that it appears as, and how many. After an `@` the second
//! is one of the container's, and stands for what its user namespace makes of it.

use super::mappings::{self, Mappings};
use super::plan::IdMapping;
use super::{SpecError, check};

/// `text` is what follows `idmap=`; `container` are the mappings of the container's own user namespace.
pub(super) fn read(field: &str, text: &str, container: &Mappings) -> Result<Mappings, SpecError> {
    let mut read = Mappings::default();
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (list, own, triplets) = match part.split_once('=') {
            Some(("uids", triplets)) => (&mut read.uid, &container.uid, triplets),
            Some(("gids", triplets)) => (&mut read.gid, &container.gid, triplets),
            _ => return Err(invalid(field, part, "is neither uids= nor gids=")),
        };
        for triplet in triplets.split('#').filter(|triplet| !triplet.is_empty()) {
            let (relative, numbers) = match triplet.strip_prefix('@') {
                Some(numbers) => (true, numbers),
                None => (false, triplet),
            };
            let mapping =
                parse(numbers).ok_or_else(|| invalid(field, triplet, "is not three numbers, as in 0-1000-10"))?;
            match relative {
                false => list.push(mapping),
                true => {
                    list.extend(outside(mapping, own).ok_or_else(|| {
                        invalid(field, triplet, "names ids that linux.uidMappings or gidMappings lack")
                    })?)
                }
            }
        }
    }
    mappings::check(&format!("{field} (uids)"), &read.uid)?;
    mappings::check(&format!("{field} (gids)"), &read.gid)?;
    match read.uid.is_empty() || read.gid.is_empty() {
        true => Err(invalid(field, text, "needs both uids= and gids=")),
        false => Ok(read),
    }
}

fn parse(numbers: &str) -> Option<IdMapping> {
    let mut numbers = numbers.split('-').map(|number| number.parse::<u32>().ok());
    let mapping = IdMapping { container: numbers.next()??, host: numbers.next()??, size: numbers.next()?? };
    numbers.next().is_none().then_some(mapping)
}

/// The same with ids of the host, in pieces where the container's mappings are; None: not all of them are mapped.
fn outside(mapping: IdMapping, own: &[IdMapping]) -> Option<Vec<IdMapping>> {
    let mut pieces = Vec::new();
    let mut done = 0;
    while done < mapping.size {
        let id = mapping.host.checked_add(done)?;
        let range = own.iter().find(|range| id >= range.container && id - range.container < range.size)?;
        let skipped = id - range.container;
        let size = (range.size - skipped).min(mapping.size - done);
        pieces.push(IdMapping {
            container: mapping.container.checked_add(done)?,
            host: range.host.checked_add(skipped)?,
            size,
        });
        done += size;
    }
    Some(pieces)
}

fn invalid(field: &str, what: &str, problem: &str) -> SpecError {
    SpecError::invalid(field, format!("{} {problem}", check::quote(what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(container: u32, host: u32, size: u32) -> IdMapping {
        IdMapping { container, host, size }
    }

    fn container() -> Mappings {
        let uid = vec![mapping(0, 0, 1), mapping(1, 2, 1000)];
        Mappings { uid, gid: vec![mapping(0, 100_000, 10), mapping(10, 7, 10)] }
    }

    #[test]
    fn triplets_of_users_and_groups_are_read() {
        let read = read("f", "uids=0-1-10#10-11-10;gids=0-100-10", &Mappings::default()).unwrap();
        assert_eq!(read.uid, [mapping(0, 1, 10), mapping(10, 11, 10)]);
        assert_eq!(read.gid, [mapping(0, 100, 10)]);
    }

    /// The first is the example of crun's manual.
    #[test]
    fn what_is_relative_goes_through_the_containers_mappings() {
        let read = read("f", "uids=@1-3-10;gids=@5-5-10#100-100-1", &container()).unwrap();
        assert_eq!(read.uid, [mapping(1, 4, 10)]);
        assert_eq!(read.gid, [mapping(5, 100_005, 5), mapping(10, 7, 5), mapping(100, 100, 1)]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in [
            "",
            "uids=0-1-10",
            "gids=0-1-10",
            "uids=;gids=",
            "pids=0-0-1",
            "uids=0-1;gids=0-1-1",
            "uids=0-1-1-1;gids=0-0-1",
            "uids=a-1-1;gids=0-0-1",
            "uids=0--1-1;gids=0-0-1",
            "uids=0-0-0;gids=0-0-1",
            "uids=@0-995-10;gids=0-0-1",
            "uids=@0-5000-1;gids=0-0-1",
            "uids=0-4294967295-2;gids=0-0-1",
            "uids=0-0-5#4-9-5;gids=0-0-1",
            "0-0-1",
        ] {
            assert!(read("f", text, &container()).is_err(), "{text}");
        }
        assert!(read("f", "uids=@0-0-1;gids=@0-0-1", &Mappings::default()).is_err());
    }
}
