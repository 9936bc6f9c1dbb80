//! Where everything of one container goes. Pure: nothing is made here, so that an intent can name it all beforehand.

use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::hierarchies::{Hierarchies, Hierarchy, Version};
use super::{Error, Result};
use crate::model::Id;
use crate::model::record::CgroupRecord;
use crate::spec::plan::CgroupPlan;

/// The folder, in every hierarchy, below which containers go that do not say where. Shared, and never removed.
pub(super) const TOP: &str = "sandkeep";

/// The longest name of a folder (NAME_MAX), and of one made of an id.
const LONGEST_NAME: usize = 255;
const LONGEST_FROM_ID: usize = 200;

/// Of a folder's path: the names of its files, and what the kernel wants (PATH_MAX), fit behind it.
const LONGEST_PATH: usize = 4096 - 256;

/// `@` cannot be in an id: no container can be given the cgroup of another's supervisor, or one of a shortened name.
const SUPERVISOR: &str = "@supervisor";

/// The container whose cgroup, or whose supervisor's, has this name.
pub fn container_of(name: &str) -> &str {
    name.strip_suffix(SUPERVISOR).unwrap_or(name)
}

/// What a supervisor must not share with its container on v1: what charges, freezes or stops it. Elsewhere it stays
/// where its creator is.
const MATTERS_TO_SUPERVISOR: [&str; 4] = ["memory", "freezer", "pids", "cpu"];

/// One folder a hierarchy, the same name in each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub(super) role: Role,
    pub(super) folders: Vec<CgroupFolder>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Its devices are restricted, whatever the spec says.
    Container,
    /// The same, and systemd has made it: somebody is in it who holds it for us.
    Scope,
    Supervisor,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CgroupFolder {
    pub version: Version,
    /// v1 only.
    pub controllers: Vec<String>,
    pub mount: PathBuf,
    /// Absolute, below `mount`.
    pub path: PathBuf,
}

impl Layout {
    /// `cgroupsPath` absolute: below each mount. Relative: below the caller's own cgroup. None or empty:
    /// `/sandkeep/<id>`, where an id over 200 bytes is shortened and told apart by its hash.
    pub fn of_container(hierarchies: &Hierarchies, plan: &CgroupPlan, id: &Id) -> Result<Layout> {
        let asked = match plan.path.as_deref() {
            None | Some("") => Asked::FromTop(Path::new(TOP).join(shorten(id.as_str(), LONGEST_FROM_ID))),
            Some(path) => Asked::parse(path)?,
        };
        let folders = Layout::folders(hierarchies, |hierarchy| match &asked {
            Asked::FromTop(path) => hierarchy.mount.join(path),
            Asked::FromOwn(path) => hierarchy.mount.join(&hierarchy.own).join(path),
        });
        if folders.iter().any(|folder| folder.path.as_os_str().len() > LONGEST_PATH) {
            let path = plan.path.iter().flat_map(|path| path.chars()).take(256).collect();
            return Err(Error::BadPath { path, why: "the whole path would be too long for its files to be opened" });
        }
        Ok(Layout { role: Role::Container, folders })
    }

    /// Where systemd puts a scope: at `path` below each mount, the same in every hierarchy.
    pub fn of_scope(hierarchies: &Hierarchies, path: &Path) -> Layout {
        Layout { role: Role::Scope, folders: Layout::folders(hierarchies, |hierarchy| hierarchy.mount.join(path)) }
    }

    /// No cgroup at all: processes stay where their creator is, and limits are ignored.
    pub fn disabled() -> Layout {
        Layout { role: Role::Container, folders: Vec::new() }
    }

    fn folders(hierarchies: &Hierarchies, path: impl Fn(&Hierarchy) -> PathBuf) -> Vec<CgroupFolder> {
        let folder = |hierarchy: &Hierarchy| CgroupFolder {
            version: hierarchy.version,
            controllers: hierarchy.controllers.clone(),
            mount: hierarchy.mount.clone(),
            path: path(hierarchy),
        };
        hierarchies.all().iter().map(folder).collect()
    }

    /// Beside the container's: never charged, frozen or killed with it. Beside a scope there is no place that is ours:
    /// there the supervisor stays with its creator.
    pub fn of_supervisor(container: &Layout) -> Layout {
        if container.role == Role::Scope {
            return Layout { role: Role::Supervisor, folders: Vec::new() };
        }
        let folders = container
            .folders
            .iter()
            .filter(|folder| {
                folder.version == Version::V2
                    || folder.controllers.iter().any(|name| MATTERS_TO_SUPERVISOR.contains(&name.as_str()))
            })
            .map(|folder| {
                let name = folder.path.file_name().unwrap_or_default().to_string_lossy();
                let name = shorten(&name, LONGEST_NAME - SUPERVISOR.len()) + SUPERVISOR;
                CgroupFolder { path: folder.path.with_file_name(name), ..folder.clone() }
            })
            .collect();
        Layout { role: Role::Supervisor, folders }
    }

    /// Of a container that exists. A folder that is in no hierarchy any more (unmounted meanwhile) is left out.
    pub(super) fn of_record(hierarchies: &Hierarchies, record: &CgroupRecord) -> Layout {
        let folder = |path: &PathBuf| {
            let within = hierarchies.all().iter().filter(|hierarchy| path.starts_with(&hierarchy.mount));
            let hierarchy = within.max_by_key(|hierarchy| hierarchy.mount.components().count())?;
            Some(CgroupFolder {
                version: hierarchy.version,
                controllers: hierarchy.controllers.clone(),
                mount: hierarchy.mount.clone(),
                path: path.clone(),
            })
        };
        Layout { role: Role::Container, folders: record.folders.iter().filter_map(folder).collect() }
    }

    /// What to remember, and to undo if making it is cut short. Known before anything is made. Only leaves are named:
    /// parents are shared.
    pub fn record(&self) -> CgroupRecord {
        let mut folders: Vec<PathBuf> = self.folders.iter().map(|folder| folder.path.clone()).collect();
        folders.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        let freezer = self.folders.iter().find(|folder| folder.freezes());
        let named = freezer.or(self.folders.first());
        CgroupRecord {
            folders,
            freezer: freezer.map(|folder| folder.path.clone()),
            path: named.map(CgroupFolder::path_in_hierarchy).unwrap_or_default(),
        }
    }
}

impl Layout {
    /// As a container sees its own cgroups: (name below /sys/fs/cgroup, host folder); on pure v2 the one name is empty.
    pub fn view(&self) -> Vec<(String, PathBuf)> {
        let name = |folder: &CgroupFolder| match folder.version {
            Version::V1 => Some(folder.mount.file_name().unwrap_or_default().to_string_lossy().into_owned()),
            Version::V2 => Some(String::new()),
            Version::Beside => None,
        };
        self.folders.iter().filter_map(|folder| Some((name(folder)?, folder.path.clone()))).collect()
    }
}

impl CgroupFolder {
    pub(super) fn freezes(&self) -> bool {
        self.version == Version::V2 || self.has("freezer")
    }

    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    fn path_in_hierarchy(&self) -> String {
        let below = self.path.strip_prefix(&self.mount).unwrap_or(&self.path);
        format!("/{}", below.display())
    }
}

/// A `cgroupsPath` that passed the checks; both relative, plain names only.
enum Asked {
    FromTop(PathBuf),
    FromOwn(PathBuf),
}

impl Asked {
    fn parse(text: &str) -> Result<Asked> {
        let bad = |why| Err(Error::BadPath { path: text.chars().take(256).collect(), why });
        if text.contains(['\0', '\n']) {
            return bad("it holds a NUL or a line break");
        }
        let mut names = PathBuf::new();
        for part in Path::new(text).components() {
            match part {
                Component::Normal(name) if name.len() > LONGEST_NAME => return bad("a name in it is over 255 bytes"),
                Component::Normal(name) => names.push(name),
                Component::ParentDir => return bad("it holds `..`"),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        if names.as_os_str().is_empty() {
            return bad("it names no cgroup of its own");
        }
        Ok(if text.starts_with('/') { Asked::FromTop(names) } else { Asked::FromOwn(names) })
    }
}

/// At most `longest` bytes: a name that is longer keeps its beginning and gets a hash of the whole.
fn shorten(name: &str, longest: usize) -> String {
    const HASH: usize = 16;
    if name.len() <= longest {
        return name.to_owned();
    }
    let hash: String = Sha256::digest(name)[..HASH].iter().map(|byte| format!("{byte:02x}")).collect();
    let keep = (0..=longest - 1 - hash.len()).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    format!("{}@{hash}", &name[..keep])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hybrid() -> Hierarchies {
        let mounts = "1 1 0:1 / /cg/cpu rw - cgroup cgroup rw,cpu\n1 1 0:2 / /cg/blkio rw - cgroup cgroup rw,blkio\n\
                      1 1 0:3 / /cg/freezer rw - cgroup cgroup rw,freezer\n";
        Hierarchies::parse(mounts, "3:freezer:/me\n2:blkio:/\n1:cpu:/\n").unwrap()
    }

    fn v2() -> Hierarchies {
        Hierarchies::parse("1 1 0:1 / /cg rw - cgroup2 cgroup2 rw\n", "0::/me\n").unwrap()
    }

    fn layout(hierarchies: &Hierarchies, path: Option<&str>, id: &str) -> Result<Layout> {
        let plan = CgroupPlan { path: path.map(str::to_owned), resources: None };
        Layout::of_container(hierarchies, &plan, &Id::parse(id).unwrap())
    }

    #[test]
    fn without_a_path_a_container_goes_below_sandkeep_by_its_id() {
        let record = layout(&hybrid(), None, "web").unwrap().record();
        assert_eq!(record.path, "/sandkeep/web");
        assert_eq!(record.freezer.as_deref(), Some(Path::new("/cg/freezer/sandkeep/web")));
        assert_eq!(record.folders.len(), 3);
        assert_eq!(layout(&v2(), Some(""), "web").unwrap().record().folders, [Path::new("/cg/sandkeep/web")]);
    }

    #[test]
    fn an_absolute_path_starts_at_the_mount_and_a_relative_one_at_the_callers_own() {
        assert_eq!(layout(&v2(), Some("/a/b"), "x").unwrap().record().path, "/a/b");
        assert_eq!(layout(&v2(), Some("a/./b"), "x").unwrap().record().path, "/me/a/b");
        let record = layout(&hybrid(), Some("a"), "x").unwrap().record();
        assert_eq!(record.folders[0], Path::new("/cg/freezer/me/a"), "deepest first");
    }

    #[test]
    fn paths_that_leave_or_name_nothing_are_refused() {
        let too_long = "/n".repeat(2000);
        for path in ["..", "/a/../b", "/", "///", ".", "a\nb", &"x".repeat(256), &too_long] {
            assert!(matches!(layout(&v2(), Some(path), "x"), Err(Error::BadPath { .. })), "{path:?} was accepted");
        }
    }

    #[test]
    fn long_ids_are_shortened_and_stay_apart() {
        let name = |id: &str| layout(&v2(), None, id).unwrap().record().folders[0].file_name().unwrap().to_owned();
        let (a, b) = ("x".repeat(999) + "a", "x".repeat(999) + "b");
        assert!(name(&a).len() <= 200);
        assert_ne!(name(&a), name(&b));
        assert_eq!(name(&"y".repeat(200)).len(), 200);
    }

    #[test]
    fn the_supervisor_is_beside_its_container_and_only_where_that_matters() {
        let container = layout(&hybrid(), None, "web").unwrap();
        let record = Layout::of_supervisor(&container).record();
        assert_eq!(record.folders.len(), 2, "not in blkio");
        assert!(record.folders.contains(&PathBuf::from("/cg/cpu/sandkeep/web@supervisor")));
        let long = "/p/".to_owned() + &"n".repeat(255);
        let supervisor = Layout::of_supervisor(&layout(&v2(), Some(&long), "x").unwrap()).record();
        assert!(supervisor.folders[0].file_name().unwrap().len() <= 255);
    }

    #[test]
    fn disabled_means_no_folder_and_a_scope_is_below_systemds_own_cgroup_with_its_supervisor_elsewhere() {
        assert_eq!(Layout::disabled().record(), CgroupRecord::default());
        let layout = Layout::of_scope(&hybrid(), Path::new("ns/a.slice/a-b.slice/p-x.scope"));
        assert_eq!(layout.record().path, "/ns/a.slice/a-b.slice/p-x.scope");
        assert_eq!(layout.record().folders.len(), 3);
        assert_eq!(Layout::of_supervisor(&layout).record(), CgroupRecord::default());
    }
}
