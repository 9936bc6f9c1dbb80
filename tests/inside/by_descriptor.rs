//! Where somebody else may write, nothing is done by path: between the look and the deed a name can come to mean something
//! else. What runs in a container's tree, or with the host's rights beside it (`container`, `host`), opens first (`O_PATH`,
//! `O_NOFOLLOW`), looks at what it has opened, and acts on that descriptor. This reads the code and holds it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::code::{files, source, without_comments};

/// Forms that follow whatever a path means at that moment, by how they are written.
const BY_PATH: [&str; 31] = [
    ".create(true)",
    ".create_new(true)",
    "DirBuilder",
    "File::create",
    "FchmodatFlags",
    "UnixListener::bind",
    "UtimensatFlags::FollowSymlink",
    "fs::chown",
    "fs::copy",
    "fs::create_dir",
    "fs::hard_link",
    "fs::lchown",
    "fs::remove_dir",
    "fs::remove_file",
    "fs::rename",
    "fs::set_permissions",
    "fs::soft_link",
    "fs::symlink",
    "fs::write",
    "libc::chmod",
    "libc::fchmodat",
    "libc::mkdir",
    "mount::mount",
    "mount::umount2",
    "stat::fchmodat",
    "stat::mknod(",
    "unistd::chown",
    "unistd::chroot",
    "unistd::mkdir",
    "unistd::truncate",
    "unistd::unlink(",
];

/// A node by its name: the name is not the node any more when the call returns. Once, and with the descriptor from then on.
const BY_NAME: [&str; 2] = ["mknodat(", "fchmodat("];

struct Allowed {
    file: &'static str,
    form: &'static str,
    times: usize,
    why: &'static str,
}

const fn allowed(file: &'static str, form: &'static str, times: usize, why: &'static str) -> Allowed {
    Allowed { file, form, times, why }
}

const OWN_PROC: &str = "of ourselves, while /proc is the host's";

#[rustfmt::skip]
const ALLOWED: &[Allowed] = &[
    allowed("container/helper.rs", "fs::write", 1, OWN_PROC),
    allowed("container/identity.rs", "fs::write", 4, OWN_PROC),
    allowed("container/init.rs", "fs::write", 1, "a sysctl, while /proc is the host's: its names are checked by spec/sysctl.rs"),
    allowed("container/join.rs", "unistd::chroot", 1, "to \".\", which is a descriptor's"),
    allowed("container/masks.rs", "mknodat(", 1, "in a tmpfs that nobody has seen yet"),
    allowed("container/node.rs", "mknodat(", 1, "with the wanted mode, and never touched by name again"),
    allowed("container/pivot.rs", "mount::umount2", 2, "of the old root, in which no container has been"),
    allowed("container/pivot.rs", "unistd::chroot", 1, "to \".\", which is a descriptor's"),
    allowed("host/launch/idmap.rs", "fs::write", 2, "/proc/PID of our own child"),
    allowed("host/resctrl.rs", "fs::create_dir", 2, "resctrl, a file system of the kernel that root alone may write"),
    allowed("host/resctrl.rs", "fs::write", 2, "resctrl"),
    allowed("host/resctrl.rs", "fs::remove_dir", 1, "resctrl"),
    allowed("host/rootless.rs", "fs::write", 1, OWN_PROC),
];

#[test]
fn what_somebody_else_may_write_to_is_not_changed_by_path() {
    let mut found = BTreeMap::new();
    for file in both() {
        let code = product_code(&file);
        for form in BY_PATH.iter().chain(&BY_NAME) {
            let times = count(&code, form);
            if times > 0 {
                found.insert((name(&file), *form), times);
            }
        }
    }
    let mut wrong = Vec::new();
    for ((file, form), times) in &found {
        let known = ALLOWED.iter().find(|entry| entry.file == file.as_str() && entry.form == *form);
        match known {
            Some(entry) if entry.times >= *times => {}
            Some(entry) => {
                wrong.push(format!("src/{file}: {form} {times} times; allowed {}: {}", entry.times, entry.why))
            }
            None => wrong.push(format!("src/{file}: {form} acts on a path: open it, look, and act on the descriptor")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Else the list would allow what nobody needs any more.
    let idle: Vec<_> =
        ALLOWED.iter().filter(|entry| !found.contains_key(&(entry.file.to_owned(), entry.form))).collect();
    let idle: Vec<String> = idle.iter().map(|entry| format!("{} {}: {}", entry.file, entry.form, entry.why)).collect();
    assert!(idle.is_empty(), "allowed for nothing:\n{}", idle.join("\n"));
}

/// The forms with a folder's descriptor follow the last name, unless they are told not to.
#[test]
fn an_owner_or_a_time_is_never_given_to_what_a_name_may_lead_to() {
    let mut wrong = Vec::new();
    for file in both() {
        let code = product_code(&file);
        for form in ["fchownat(", "utimensat("] {
            for (at, _) in code.match_indices(form) {
                let statement = &code[at..code[at..].find(';').map_or(code.len(), |end| at + end)];
                if !["AT_EMPTY_PATH", "AT_SYMLINK_NOFOLLOW", "NoFollowSymlink"]
                    .iter()
                    .any(|flag| statement.contains(flag))
                {
                    wrong.push(format!("src/{}: {statement}", name(&file)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_code_finds_what_it_looks_for() {
    assert_eq!(count("std::fs::write(a, b)?; fs::write(c, d)", "fs::write"), 2);
    assert_eq!(count("fs::rename_all()", "fs::rename"), 0);
    assert_eq!(count("fs::create_dir_all(x); fs::create_dir(y)", "fs::create_dir"), 2);
    assert_eq!(count("use std::fs::set_permissions;", "fs::set_permissions"), 1);
    assert_eq!(count("nix::unistd::chown(x); nix::unistd::fchown(y)", "unistd::chown"), 1);
    assert_eq!(without_comments("// fs::write(\nlet x = 1; // fs::write("), "\nlet x = 1;");
}

/// How often a form stands there. `_all` belongs to it; another longer name does not.
fn count(code: &str, form: &str) -> usize {
    let whole = |at: usize| {
        let after = &code[at + form.len()..];
        let after = if form.ends_with("_dir") { after.strip_prefix("_all").unwrap_or(after) } else { after };
        form.ends_with(['(', ')']) || !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    };
    let begins = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') || form.starts_with('.');
    code.match_indices(form).filter(|(at, _)| whole(*at) && begins(*at)).count()
}

fn name(file: &Path) -> String {
    file.strip_prefix(source()).expect("a file of src").display().to_string()
}

fn both() -> impl Iterator<Item = PathBuf> {
    ["container", "host"].into_iter().flat_map(files)
}

/// Without its tests and its comments.
fn product_code(file: &Path) -> String {
    let code = without_comments(&fs::read_to_string(file).unwrap());
    let end = code.find("#[cfg(test)]\nmod tests").unwrap_or(code.len());
    code[..end].to_owned()
}
