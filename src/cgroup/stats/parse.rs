//! The formats of cgroup files. Total: what cannot be read as a number is not there.

use std::collections::BTreeMap;
use std::path::Path;

use super::shape::BlkioEntry;
use crate::cgroup::files;

/// The files of one cgroup folder.
pub(super) struct Files<'a>(pub &'a Path);

impl Files<'_> {
    pub fn text(&self, name: &str) -> Option<String> {
        files::read(&self.0.join(name)).ok()
    }

    /// `max` is the largest number.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.text(name)?.trim() {
            "max" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    }

    /// Lines of a word and a number.
    pub fn map(&self, name: &str) -> BTreeMap<String, u64> {
        let text = self.text(name).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(k, v)| Some((k.to_owned(), v.parse().ok()?)))
            .collect()
    }

    /// The sizes of huge pages that this kernel counts: the middles of the names that end like this.
    pub fn page_sizes(&self, end: &str) -> Vec<String> {
        let names = std::fs::read_dir(self.0).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let mut sizes: Vec<String> =
            names.filter_map(|name| Some(name.strip_prefix("hugetlb.")?.strip_suffix(end)?.to_owned())).collect();
        sizes.retain(|size| !size.contains('.'));
        sizes.sort();
        sizes
    }
}

/// `0-2,5` (cpuset(7), "List format").
pub(super) fn list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

pub(super) fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// v1: `8:0 Read 5`, `8:0 5`; the line of all devices together is left out.
pub(super) fn blkio(text: &str) -> Vec<BlkioEntry> {
    text.lines()
        .filter_map(|line| {
            let (device, rest) = line.split_once(' ')?;
            let (major, minor) = device.split_once(':')?;
            let (op, value) = rest.rsplit_once(' ').unwrap_or(("", rest));
            let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
            Some(BlkioEntry { major, minor, op: op.to_owned(), value: value.parse().ok()? })
        })
        .collect()
}

/// v2's `io.stat`: (bytes, operations), in v1's words.
pub(super) fn io_stat(text: &str) -> (Vec<BlkioEntry>, Vec<BlkioEntry>) {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                _ => continue,
            };
            let Ok(value) = value.parse() else { continue };
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
    (bytes, operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_written_out() {
        assert_eq!(list("0-2,5\n"), [0, 1, 2, 5]);
        assert!(list("\n").is_empty());
        assert!(list("3-1,x,7-").is_empty(), "nonsense is nothing");
    }

    #[test]
    fn entries_of_devices_name_what_was_done_where_the_kernel_does() {
        let entry = |op: &str, value| BlkioEntry { major: 8, minor: 16, op: op.to_owned(), value };
        assert_eq!(blkio("8:16 Read 5\n8:16 Total 7\nTotal 7\n"), [entry("Read", 5), entry("Total", 7)]);
        assert_eq!(blkio("8:16 9\n"), [entry("", 9)]);
        let text = "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n(unknown) rbytes=5\n";
        assert_eq!(io_stat(text).0, [entry("Read", 1), entry("Write", 2)]);
        assert_eq!(io_stat(text).1, [entry("Read", 3), entry("Write", 4)]);
    }
}
