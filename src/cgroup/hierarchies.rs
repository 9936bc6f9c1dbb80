//! Which cgroup hierarchies are mounted where, and where in them this process is: read once, from two files of /proc.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Error, Result};
use crate::sys::mountinfo::split_once;
use crate::sys::procfs::unescape;

/// How the machine offers its controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Every controller on v1, and no v2 hierarchy mounted.
    V1,
    /// Controllers on v1, with a v2 hierarchy mounted beside them.
    Hybrid,
    /// v2 alone.
    V2,
}

/// How one hierarchy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// With the controllers that are bound to it.
    V1,
    /// As the machine's only one.
    V2,
    /// v2 on a hybrid machine: containers have a folder there, since others tell them apart by it, and nothing else.
    Beside,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Which files it has.
    pub version: Version,
    /// v1: the controllers bound to it, or `name=…`. v2: empty (what is available differs from folder to folder).
    pub controllers: Vec<String>,
    /// Absolute.
    pub mount: PathBuf,
    /// Where this process is, relative to `mount`; empty at its top.
    pub own: PathBuf,
}

/// The hierarchies that containers are placed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchies {
    setup: Setup,
    all: Vec<Hierarchy>,
}

impl Hierarchies {
    /// Those that this process sees mounted, and where in them it is itself. Reads two files of /proc; nothing is kept.
    pub fn read() -> Result<Hierarchies> {
        let read = |path| std::fs::read(path).map_err(|source| Error::ReadHierarchies { path, source });
        Hierarchies::parse(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
    }

    /// From the text of /proc/PID/mountinfo and /proc/PID/cgroup (proc(5), cgroups(7)).
    pub fn parse(mountinfo: impl AsRef<[u8]>, cgroup: impl AsRef<[u8]>) -> Result<Hierarchies> {
        let is_end = |byte: &u8| *byte == b'\n';
        let mounts: Vec<Mount> = mountinfo.as_ref().split(is_end).filter_map(Mount::parse).collect();
        let mut v1 = Vec::new();
        let mut v2 = None;
        for line in cgroup.as_ref().split(is_end) {
            let mut fields = line.splitn(3, |byte| *byte == b':').skip(1);
            let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
            let names = String::from_utf8_lossy(names);
            let found = mounts.iter().find(|mount| match names.split(',').next() {
                Some("") | None => mount.version == Version::V2,
                Some(first) => mount.version == Version::V1 && mount.options.split(',').any(|option| option == first),
            });
            let Some(mount) = found else { continue };
            let controllers = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            let hierarchy = Hierarchy {
                version: mount.version,
                controllers,
                mount: mount.point.clone(),
                own: mount.relative(path),
            };
            match mount.version {
                Version::V1 => v1.push(hierarchy),
                Version::V2 | Version::Beside => v2 = Some(hierarchy),
            }
        }
        let controllers_on_v1 = v1.iter().flat_map(|h| &h.controllers).any(|name| !name.starts_with("name="));
        match (controllers_on_v1, v2) {
            (true, Some(v2)) => {
                v1.push(Hierarchy { version: Version::Beside, ..v2 });
                Ok(Hierarchies { setup: Setup::Hybrid, all: v1 })
            }
            (true, None) => Ok(Hierarchies { setup: Setup::V1, all: v1 }),
            (false, Some(v2)) => Ok(Hierarchies { setup: Setup::V2, all: vec![v2] }),
            (false, None) => Err(Error::NoHierarchy),
        }
    }

    /// How the machine offers its controllers.
    pub fn setup(&self) -> Setup {
        self.setup
    }

    /// In the order of /proc/self/cgroup; a v2 hierarchy beside v1's comes last.
    pub fn all(&self) -> &[Hierarchy] {
        &self.all
    }
}

/// What a line of mountinfo says of a cgroup mount.
struct Mount {
    version: Version,
    /// What part of the hierarchy is mounted.
    root: PathBuf,
    point: PathBuf,
    /// Of the super block: on v1 these name the controllers.
    options: String,
}

impl Mount {
    /// None for a mount that is no cgroup.
    fn parse(line: &[u8]) -> Option<Mount> {
        let (mount, superblock) = split_once(line, b" - ")?;
        let mut superblock = superblock.split(|byte| *byte == b' ');
        let version = match superblock.next()? {
            b"cgroup" => Version::V1,
            b"cgroup2" => Version::V2,
            _ => return None,
        };
        let options = String::from_utf8_lossy(superblock.nth(1).unwrap_or_default()).into_owned();
        let mut fields = mount.split(|byte| *byte == b' ').skip(3);
        Some(Mount { version, root: unescape(fields.next()?), point: unescape(fields.next()?), options })
    }

    /// A path of /proc/PID/cgroup below this mount. In a cgroup namespace or a container the two may not share a
    /// beginning: then all we can reach is the top of the mount.
    fn relative(&self, path: &[u8]) -> PathBuf {
        let below = Path::new(OsStr::from_bytes(path)).strip_prefix(&self.root).unwrap_or(Path::new(""));
        if below.components().any(|part| part.as_os_str() == "..") { PathBuf::new() } else { below.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1_MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
";
    const V2_MOUNT: &str = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn controllers_on_v1_with_v2_beside_them_are_hybrid_and_v2_comes_last() {
        let own = "9:name=systemd:/\n4:memory:/a/b\n1:cpu,cpuacct:/\n0::/x\n";
        let found = Hierarchies::parse(format!("{V1_MOUNTS}{V2_MOUNT}"), own).unwrap();
        assert_eq!(found.setup(), Setup::Hybrid);
        assert_eq!(found.all().len(), 4);
        assert!(found.all()[..3].iter().all(|h| h.version == Version::V1));
        assert_eq!((found.all()[3].version, found.all()[3].own.as_path()), (Version::Beside, Path::new("x")));
        let memory = found.all().iter().find(|h| h.controllers == ["memory"]).unwrap();
        assert_eq!(memory.own, Path::new("a/b"));
        let cpu = found.all().iter().find(|h| h.controllers == ["cpu", "cpuacct"]).unwrap();
        assert_eq!(cpu.mount, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
    }

    #[test]
    fn only_v2_mounted_is_v2_even_with_a_named_v1_hierarchy() {
        let mounts = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                      41 31 0:38 / /sys/fs/cgroup rw shared:3 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Hierarchies::parse(mounts, "1:name=systemd:/\n0::/user.slice/x\n").unwrap();
        assert_eq!(found.setup(), Setup::V2);
        assert_eq!(found.all()[0].own, Path::new("user.slice/x"));
    }

    #[test]
    fn only_v1_mounted_is_v1_and_nothing_mounted_is_an_error() {
        assert_eq!(Hierarchies::parse(V1_MOUNTS, "4:memory:/\n0::/\n").unwrap().setup(), Setup::V1);
        assert!(matches!(Hierarchies::parse("", "0::/\n"), Err(Error::NoHierarchy)));
        assert!(matches!(Hierarchies::parse("garbage\n - \n", ":::\n\n"), Err(Error::NoHierarchy)));
    }

    #[test]
    fn the_own_path_is_cut_at_the_part_of_the_hierarchy_that_is_mounted() {
        let mount = "41 31 0:38 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(Hierarchies::parse(mount, "0::/docker/abc/init\n").unwrap().all()[0].own, Path::new("init"));
        assert_eq!(Hierarchies::parse(mount, "0::/elsewhere\n").unwrap().all()[0].own, Path::new(""));
        let above = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(Hierarchies::parse(above, "0::/../other\n").unwrap().all()[0].own, Path::new(""));
    }

    #[test]
    fn a_mount_point_with_a_space_is_unescaped() {
        let mount = r"41 31 0:38 / /sys/fs/c\040g rw - cgroup2 cgroup2 rw";
        assert_eq!(Hierarchies::parse(mount, "0::/").unwrap().all()[0].mount, Path::new("/sys/fs/c g"));
    }

    #[test]
    fn names_that_are_no_text_are_what_they_are_and_hide_nothing() {
        let mounts =
            [b"7 1 0:9 / /\xff rw - fuse.\xfe x rw\n41 31 0:38 /\xfd /cg rw - cgroup2 ".as_slice(), b"cgroup2 rw\n"];
        let found = Hierarchies::parse(mounts.concat(), b"0::/\xfd/\xfc\n").unwrap();
        assert_eq!(found.all()[0].own.as_os_str(), OsStr::from_bytes(b"\xfc"));
    }
}
