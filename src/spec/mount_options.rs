//! The words of a mount's `options`: one table says what each of them is for the kernel.
//!
//! What is a property of one mount becomes MOUNT_ATTR_* bits (mount_setattr(2)); what is a property of the file system
//! itself becomes an option for fsconfig(2); what is in neither list is data for the file system.

use libc::{MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE};

/// What the options of one mount add up to; later words win over earlier ones.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) attrs_set: u64,
    pub(super) attrs_clear: u64,
    pub(super) recursive_set: u64,
    pub(super) recursive_clear: u64,
    pub(super) propagation: Vec<u64>,
    pub(super) bind: Option<Reach>,
    pub(super) idmap: Option<Reach>,
    /// What stands behind `idmap=` or `ridmap=`.
    pub(super) mappings: Option<String>,
    pub(super) remount: bool,
    pub(super) copy_up: bool,
    pub(super) copy_symlink: bool,
    pub(super) source_nofollow: bool,
    pub(super) destination_nofollow: bool,
    /// Flags of the file system: bare fsconfig keys.
    pub(super) superblock: Vec<String>,
    /// All that is not in the table.
    pub(super) data: Vec<(String, Option<String>)>,
}

/// One mount, or it and all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    One,
    Tree,
}

#[derive(Debug, Clone, Copy)]
enum Meaning {
    Set(u64),
    Clear(u64),
    /// One of the three ways to keep access times, which exclude each other.
    AccessTime(u64),
    SetTree(u64),
    ClearTree(u64),
    AccessTimeTree(u64),
    Propagate(u64),
    Bind(Reach),
    Idmap(Reach),
    Remount,
    CopyUp,
    CopySymlink,
    SourceNofollow,
    DestinationNofollow,
    Superblock,
    /// What the kernel does anyway.
    Default,
}

use Meaning::*;

const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
const NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
const NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;
const RELATIME: u64 = libc::MOUNT_ATTR_RELATIME;
const NOATIME: u64 = libc::MOUNT_ATTR_NOATIME;
const STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
/// All three ways: mount_setattr wants the whole field cleared when one of them is set.
const ATIME: u64 = libc::MOUNT_ATTR__ATIME;

/// Sorted, so that `features` can print it.
static TABLE: &[(&str, Meaning)] = &[
    ("acl", Superblock),
    ("async", Superblock),
    ("atime", AccessTime(RELATIME)),
    ("bind", Bind(Reach::One)),
    ("copy-symlink", CopySymlink),
    ("defaults", Default),
    ("dest-nofollow", DestinationNofollow),
    ("dev", Clear(NODEV)),
    ("diratime", Clear(NODIRATIME)),
    ("dirsync", Superblock),
    ("exec", Clear(NOEXEC)),
    ("idmap", Idmap(Reach::One)),
    ("iversion", Superblock),
    ("lazytime", Superblock),
    ("loud", Default),
    ("mand", Superblock),
    ("noacl", Superblock),
    ("noatime", AccessTime(NOATIME)),
    ("nodev", Set(NODEV)),
    ("nodiratime", Set(NODIRATIME)),
    ("noexec", Set(NOEXEC)),
    ("noiversion", Default),
    ("nolazytime", Superblock),
    ("nomand", Superblock),
    ("norelatime", AccessTime(RELATIME)),
    ("nostrictatime", AccessTime(RELATIME)),
    ("nosuid", Set(NOSUID)),
    ("nosymfollow", Set(NOSYMFOLLOW)),
    ("private", Propagate(MS_PRIVATE)),
    ("ratime", AccessTimeTree(RELATIME)),
    ("rbind", Bind(Reach::Tree)),
    ("rdev", ClearTree(NODEV)),
    ("rdiratime", ClearTree(NODIRATIME)),
    ("relatime", AccessTime(RELATIME)),
    ("remount", Remount),
    ("rexec", ClearTree(NOEXEC)),
    ("ridmap", Idmap(Reach::Tree)),
    ("rnoatime", AccessTimeTree(NOATIME)),
    ("rnodev", SetTree(NODEV)),
    ("rnodiratime", SetTree(NODIRATIME)),
    ("rnoexec", SetTree(NOEXEC)),
    ("rnorelatime", AccessTimeTree(RELATIME)),
    ("rnostrictatime", AccessTimeTree(RELATIME)),
    ("rnosuid", SetTree(NOSUID)),
    ("rnosymfollow", SetTree(NOSYMFOLLOW)),
    ("ro", Set(RDONLY)),
    ("rprivate", Propagate(MS_PRIVATE | MS_REC)),
    ("rrelatime", AccessTimeTree(RELATIME)),
    ("rro", SetTree(RDONLY)),
    ("rrw", ClearTree(RDONLY)),
    ("rshared", Propagate(MS_SHARED | MS_REC)),
    ("rslave", Propagate(MS_SLAVE | MS_REC)),
    ("rstrictatime", AccessTimeTree(STRICTATIME)),
    ("rsuid", ClearTree(NOSUID)),
    ("rsymfollow", ClearTree(NOSYMFOLLOW)),
    ("runbindable", Propagate(MS_UNBINDABLE | MS_REC)),
    ("rw", Clear(RDONLY)),
    ("shared", Propagate(MS_SHARED)),
    ("silent", Default),
    ("slave", Propagate(MS_SLAVE)),
    ("src-nofollow", SourceNofollow),
    ("strictatime", AccessTime(STRICTATIME)),
    ("suid", Clear(NOSUID)),
    ("symfollow", Clear(NOSYMFOLLOW)),
    ("sync", Superblock),
    ("tmpcopyup", CopyUp),
    ("unbindable", Propagate(MS_UNBINDABLE)),
];

/// Every word that is supported, in alphabetical order.
pub(super) fn supported() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(word, _)| *word)
}

pub(super) fn read(words: &[String]) -> Options {
    let mut options = Options::default();
    for word in words {
        match TABLE.binary_search_by_key(&word.as_str(), |(name, _)| name) {
            Ok(at) => options.add(word, TABLE[at].1),
            Err(_) if word.is_empty() => {}
            Err(_) => match word.split_once('=') {
                Some((key @ ("idmap" | "ridmap"), mappings)) => {
                    options.add(key, Idmap(if key == "idmap" { Reach::One } else { Reach::Tree }));
                    options.mappings = Some(mappings.to_owned());
                }
                Some((key, value)) => options.data.push((key.to_owned(), Some(value.to_owned()))),
                None => options.data.push((word.clone(), None)),
            },
        }
    }
    options
}

/// `rootfsPropagation`: one word of the propagation family.
pub(super) fn propagation(word: &str) -> Option<u64> {
    match TABLE.iter().find(|(name, _)| *name == word) {
        Some((_, Propagate(flags))) => Some(*flags),
        _ => None,
    }
}

impl Options {
    fn add(&mut self, word: &str, meaning: Meaning) {
        match meaning {
            Set(bits) => change(&mut self.attrs_set, &mut self.attrs_clear, bits, 0),
            Clear(bits) => change(&mut self.attrs_set, &mut self.attrs_clear, 0, bits),
            AccessTime(bits) => change(&mut self.attrs_set, &mut self.attrs_clear, bits, ATIME),
            SetTree(bits) => change(&mut self.recursive_set, &mut self.recursive_clear, bits, 0),
            ClearTree(bits) => change(&mut self.recursive_set, &mut self.recursive_clear, 0, bits),
            AccessTimeTree(bits) => change(&mut self.recursive_set, &mut self.recursive_clear, bits, ATIME),
            Propagate(flags) => self.propagation.push(flags),
            Bind(reach) => self.bind = Some(widest(self.bind, reach)),
            Idmap(reach) => self.idmap = Some(widest(self.idmap, reach)),
            Remount => self.remount = true,
            CopyUp => self.copy_up = true,
            CopySymlink => self.copy_symlink = true,
            SourceNofollow => self.source_nofollow = true,
            DestinationNofollow => self.destination_nofollow = true,
            Superblock => self.superblock.push(word.to_owned()),
            Default => {}
        }
    }
}

/// A bit is to be set, to be cleared, or left alone; never the first two, save for the access time field, which is
/// cleared whenever one of its values is set.
fn change(set: &mut u64, clear: &mut u64, set_bits: u64, clear_bits: u64) {
    *set = (*set & !clear_bits) | set_bits;
    *clear = (*clear & !(set_bits & !ATIME)) | clear_bits;
}

fn widest(earlier: Option<Reach>, now: Reach) -> Reach {
    if earlier == Some(Reach::Tree) { Reach::Tree } else { now }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Options {
        read(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_table_is_sorted_and_holds_each_word_once() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn the_last_word_about_a_bit_wins() {
        let options = words("ro,nosuid,rw");
        assert_eq!((options.attrs_set, options.attrs_clear), (NOSUID, RDONLY));
        let options = words("rw,ro");
        assert_eq!((options.attrs_set, options.attrs_clear), (RDONLY, 0));
    }

    #[test]
    fn access_time_clears_its_whole_field_and_sets_one_value() {
        let options = words("noatime,strictatime");
        assert_eq!((options.attrs_set, options.attrs_clear), (STRICTATIME, ATIME));
        let options = words("noatime,relatime");
        assert_eq!((options.attrs_set, options.attrs_clear), (0, ATIME));
        let options = words("rnoatime");
        assert_eq!((options.recursive_set, options.recursive_clear), (NOATIME, ATIME));
    }

    #[test]
    fn what_is_not_in_the_table_is_data() {
        let options = words("nosuid,mode=755,newinstance,context=\"a:b\",,sync");
        assert_eq!(options.superblock, ["sync"]);
        assert_eq!(
            options.data,
            [
                ("mode".to_owned(), Some("755".to_owned())),
                ("newinstance".to_owned(), None),
                ("context".to_owned(), Some("\"a:b\"".to_owned())),
            ]
        );
    }

    #[test]
    fn every_recursive_word_has_a_plain_one() {
        for (word, meaning) in TABLE {
            if let SetTree(_) | ClearTree(_) | AccessTimeTree(_) = meaning {
                assert!(TABLE.iter().any(|(plain, _)| *plain == &word[1..]), "{word}");
            }
        }
    }
}
