//! A new file system, by the call that takes its options.
//!
//! fsconfig(2) takes an option at a time, of at most 255 bytes; mount(2) takes all of them at once, in less than a page. So an
//! overlay of many layers is given them one by one where the kernel can (6.7), and what else is longer goes by mount(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};

use super::root::Rootfs;
use crate::sys::mount::{self, Attributes, Extent};
use crate::sys::open;

/// Of one option, and of a source, by fsconfig(2).
const LONGEST: usize = 255;
/// Of all options together, with the commas between them, by mount(2).
const PAGE: usize = 4095;

type Options = [(String, Option<String>)];

/// Detached. `root` is a tree of ours on which nothing lies: what mount(2) makes has to be somewhere for a moment.
pub fn new(root: &Rootfs<'_>, fstype: &str, source: &str, options: &Options, attributes: u64) -> io::Result<OwnedFd> {
    if fits(source, options) {
        return mount::new_filesystem(fstype, source, options, attributes);
    }
    if let Some(layers) = one_by_one(fstype, options).filter(|layers| fits(source, layers))
        && mount::takes_option("overlay", "lowerdir+", "/")?
    {
        return mount::new_filesystem(fstype, source, &layers, attributes);
    }
    let page = Page::of(options);
    match (page.data.len(), source.len()) {
        (..=PAGE, ..=PAGE) => by_page(root, fstype, source, &page, attributes),
        (length, ..=PAGE) => {
            let text = format!(
                "its options are {length} bytes long; the kernel takes at most {LONGEST} bytes of each, or {PAGE} of all \
                 together: give shorter paths, or fewer"
            );
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
        (_, length) => {
            let text = format!("its source is {length} bytes long, and the kernel takes at most {PAGE}");
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
    }
}

fn fits(source: &str, options: &Options) -> bool {
    let short = |value: &Option<String>| value.as_ref().is_none_or(|value| value.len() <= LONGEST);
    source.len() <= LONGEST && options.iter().all(|(_, value)| short(value))
}

/// An overlay's `lowerdir` as one option a layer, and those behind `::`, which are for data alone, as such. None: it is no
/// overlay, or its text is not that plain.
fn one_by_one(fstype: &str, options: &Options) -> Option<Vec<(String, Option<String>)>> {
    let is_lower = |key: &str| key == "lowerdir";
    if fstype != "overlay" || options.iter().filter(|(key, _)| is_lower(key)).count() != 1 {
        return None;
    }
    let mut single = Vec::new();
    for (key, value) in options {
        match value {
            Some(value) if is_lower(key) => {
                single.extend(layers(value)?.into_iter().map(|(key, layer)| (key.to_owned(), Some(layer.to_owned()))));
            }
            _ => single.push((key.clone(), value.clone())),
        }
    }
    Some(single)
}

fn layers(text: &str) -> Option<Vec<(&'static str, &str)>> {
    // With a backslash before it a colon is one of a name.
    if text.contains('\\') {
        return None;
    }
    let mut found = Vec::new();
    for (number, lower) in text.split("::").enumerate() {
        let data = number > 0;
        if lower.is_empty() || data && lower.contains(':') {
            return None;
        }
        for layer in lower.split(':') {
            if layer.is_empty() {
                return None;
            }
            found.push((if data { "datadir+" } else { "lowerdir+" }, layer));
        }
    }
    Some(found)
}

/// Options as mount(2) takes them: what is a flag there is no text.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    flags: u64,
    data: String,
}

impl Page {
    fn of(options: &Options) -> Page {
        const FLAGS: [(&str, u64); 4] = [
            ("ro", libc::MS_RDONLY),
            ("sync", libc::MS_SYNCHRONOUS),
            ("dirsync", libc::MS_DIRSYNC),
            ("lazytime", libc::MS_LAZYTIME),
        ];
        let mut page = Page { flags: 0, data: String::new() };
        for (key, value) in options {
            let flag = FLAGS.iter().find(|(name, _)| name == key).filter(|_| value.is_none());
            if let Some((_, flag)) = flag {
                page.flags |= flag;
                continue;
            }
            let comma = if page.data.is_empty() { "" } else { "," };
            page.data += &match value {
                // Categories of a label are divided by commas, too.
                Some(label) if key.ends_with("context") => format!("{comma}{key}=\"{label}\""),
                Some(value) => format!("{comma}{key}={value}"),
                None => format!("{comma}{key}"),
            };
        }
        page
    }
}

/// In a tmpfs that lies on `root` while this runs: by what is found under that, nobody sees it.
fn by_page(root: &Rootfs<'_>, fstype: &str, source: &str, page: &Page, attributes: u64) -> io::Result<OwnedFd> {
    let scratch = mount::new_filesystem("tmpfs", "tmpfs", &[("mode".to_owned(), Some("700".to_owned()))], 0)?;
    mount::attach(scratch.as_fd(), root.0)?;
    let make = || -> io::Result<OwnedFd> {
        let name = Path::new("new");
        let find = || open::at(scratch.as_fd(), name, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW, 0);
        mkdirat(Some(scratch.as_raw_fd()), name, Mode::S_IRWXU)?;
        mount::by_page(find()?.as_fd(), fstype, source, page.flags, &page.data)?;
        let tree = mount::clone_tree(find()?.as_fd(), c"", Extent::One, 0)?;
        // A flag of the file system is no attribute of the mount.
        let clear = libc::MOUNT_ATTR_RDONLY & !attributes;
        mount::set_attributes(tree.as_fd(), Extent::One, Attributes { set: attributes, clear, propagation: 0 }, None)?;
        Ok(tree)
    };
    let made = make();
    mount::detach(scratch.as_fd())?;
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
        let value = |value: &str| Some(value.to_owned()).filter(|value| !value.is_empty());
        list.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect()
    }

    #[test]
    fn the_layers_of_an_overlay_become_options_of_their_own() {
        let given = options(&[("upperdir", "/u"), ("lowerdir", "/a:/b::/c::/d"), ("userxattr", "")]);
        let expected = options(&[
            ("upperdir", "/u"),
            ("lowerdir+", "/a"),
            ("lowerdir+", "/b"),
            ("datadir+", "/c"),
            ("datadir+", "/d"),
            ("userxattr", ""),
        ]);
        assert_eq!(one_by_one("overlay", &given), Some(expected));
        assert_eq!(one_by_one("tmpfs", &given), None);
        for odd in ["/a:", ":/a", "/a::", "/a\\:b:/c", "/a:::/b", "/a::/b:/c", ""] {
            assert_eq!(layers(odd), None, "{odd}");
        }
    }

    #[test]
    fn flags_are_no_text_and_labels_are_quoted() {
        let page = Page::of(&options(&[("ro", ""), ("size", "1k"), ("context", "u:r:t:s0:c1,c2"), ("lazytime", "")]));
        let data = "size=1k,context=\"u:r:t:s0:c1,c2\"".to_owned();
        assert_eq!(page, Page { flags: libc::MS_RDONLY | libc::MS_LAZYTIME, data });
    }

    #[test]
    fn as_long_as_every_option_is_short_each_is_given_by_itself() {
        let long = "x".repeat(LONGEST);
        assert!(fits(&long, &options(&[("a", &long), ("b", &long)])));
        assert!(!fits(&format!("{long}x"), &[]));
        assert!(!fits("", &options(&[("a", &format!("{long}x"))])));
    }
}
