//! The container's group in the kernel's resctrl file system: made before its init, removed with its cgroups.
//!
//! What will be made is written into the sandbox's folder first, so that whoever takes the sandbox down, after whatever
//! crash, removes what we made and nothing else.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{HostError, ResctrlError, Trying};
use crate::model::Id;
use crate::spec::plan::IntelRdtPlan;
use crate::store::{Folder, name_of};
use crate::sys::mountinfo::{self, Mount};

/// In the sandbox's folder: the folders to remove, one a line, deepest first.
const MADE: &str = "resctrl";

/// The group of one container.
pub struct Group {
    path: PathBuf,
    monitoring: Option<PathBuf>,
    schemata: Vec<String>,
    /// It is somebody else's, and only joined.
    there: bool,
    /// What is to be removed again, deepest first.
    pub made: Vec<PathBuf>,
}

impl Group {
    /// Nothing is made yet but the note of what will be.
    pub fn prepare(plan: Option<&IntelRdtPlan>, id: &Id, folder: &Folder) -> Result<Option<Group>, HostError> {
        let Some(plan) = plan else { return Ok(None) };
        let mounts = mountinfo::ours().trying(|| "read /proc/self/mountinfo".into())?;
        let top = mounted_at(mounts).ok_or(ResctrlError::NotMounted)?;
        Group::at(&top, plan, id, folder).map(Some)
    }

    fn at(top: &Path, plan: &IntelRdtPlan, id: &Id, folder: &Folder) -> Result<Group, HostError> {
        let own = name_of(id.as_str());
        let path = top.join(plan.group.as_ref().unwrap_or(&own));
        let there = path.try_exists().trying(|| format!("linux.intelRdt: look for the group {path:?}"))?;
        if !there && plan.group.is_some() && plan.schemata.is_empty() {
            return Err(ResctrlError::NoSuchGroup(path).into());
        }
        if there && plan.group.is_none() {
            return Err(ResctrlError::SomebodyElses(path).into());
        }
        let monitoring = plan.monitoring.then(|| path.join("mon_groups").join(&own));
        let made: Vec<PathBuf> = monitoring.iter().chain((!there).then_some(&path)).cloned().collect();
        let lines: String = made.iter().map(|folder| format!("{}\n", folder.display())).collect();
        if !lines.is_empty() {
            folder.write_file(MADE, lines.as_bytes())?;
        }
        Ok(Group { path, monitoring, schemata: plan.schemata.clone(), there, made })
    }

    /// With its shares.
    pub fn make(&self) -> Result<(), HostError> {
        if !self.there {
            std::fs::create_dir(&self.path).trying(|| format!("linux.intelRdt: make the group {:?}", self.path))?;
        }
        if let Some(monitoring) = &self.monitoring {
            std::fs::create_dir(monitoring).trying(|| format!("linux.intelRdt: make the group {monitoring:?}"))?;
        }
        if !self.schemata.is_empty() {
            let text = self.schemata.join("\n") + "\n";
            std::fs::write(self.path.join("schemata"), text)
                .trying(|| format!("linux.intelRdt: write {:?} to the schemata of {:?}", self.schemata, self.path))?;
        }
        Ok(())
    }

    /// What the process forks from now on is in the group as well.
    pub fn join(&self, pid: i32) -> Result<(), HostError> {
        for group in [Some(&self.path), self.monitoring.as_ref()].into_iter().flatten() {
            let tasks = group.join("tasks");
            std::fs::write(&tasks, pid.to_string()).trying(|| format!("linux.intelRdt: write {pid} to {tasks:?}"))?;
        }
        Ok(())
    }
}

/// What a creation in this folder has made, or was about to make.
pub fn noted(folder: &Folder) -> Vec<PathBuf> {
    let noted = folder.read_file(MADE, 64 << 10).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&noted).lines().map(PathBuf::from).collect()
}

/// May be done twice.
pub fn remove(groups: &[PathBuf]) -> Result<(), HostError> {
    for group in groups {
        match std::fs::remove_dir(group) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).trying(|| format!("remove the resctrl group {group:?}"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn mounted_at(mounts: Vec<Mount>) -> Option<PathBuf> {
    mounts.into_iter().find(|mount| mount.fstype == "resctrl").map(|mount| mount.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Root;

    fn plan(group: Option<&str>, schemata: &[&str], monitoring: bool) -> IntelRdtPlan {
        let schemata = schemata.iter().map(|line| (*line).to_owned()).collect();
        IntelRdtPlan { group: group.map(str::to_owned), schemata, monitoring }
    }

    /// A folder like resctrl's, and one like a sandbox's.
    fn folders() -> (tempfile::TempDir, PathBuf, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("resctrl");
        std::fs::create_dir(&top).unwrap();
        let (folder, _guard) = Root::open_or_make(&dir.path().join("root")).unwrap().prepare().unwrap();
        (dir, top, folder)
    }

    fn web() -> Id {
        Id::parse("web").unwrap()
    }

    #[test]
    fn a_group_is_named_after_the_container_gets_its_shares_and_goes_again() {
        let (_dir, top, folder) = folders();
        let group = Group::at(&top, &plan(None, &["L3:0=ff", "MB:0=50"], false), &web(), &folder).unwrap();
        assert!(!top.join("web").exists());
        group.make().unwrap();
        assert_eq!(std::fs::read_to_string(top.join("web/schemata")).unwrap(), "L3:0=ff\nMB:0=50\n");
        group.join(7).unwrap();
        assert_eq!(std::fs::read_to_string(top.join("web/tasks")).unwrap(), "7");
        // The kernel's files do not keep a group from being removed; here they would.
        for file in ["schemata", "tasks"] {
            std::fs::remove_file(top.join("web").join(file)).unwrap();
        }
        assert_eq!(noted(&folder), group.made);
        remove(&group.made).unwrap();
        remove(&group.made).unwrap();
        assert!(!top.join("web").exists());
    }

    #[test]
    fn a_group_that_was_there_stays() {
        let (_dir, top, folder) = folders();
        std::fs::create_dir(top.join("shared")).unwrap();
        let group = Group::at(&top, &plan(Some("shared"), &[], false), &web(), &folder).unwrap();
        group.make().unwrap();
        group.join(7).unwrap();
        remove(&noted(&folder)).unwrap();
        assert!(top.join("shared/tasks").exists());
        assert!(Group::at(&top, &plan(Some("none"), &[], false), &web(), &folder).is_err());
    }

    #[test]
    fn monitoring_has_a_group_of_its_own_inside() {
        let (_dir, top, folder) = folders();
        std::fs::create_dir_all(top.join("shared/mon_groups")).unwrap();
        Group::at(&top, &plan(Some("shared"), &[], true), &web(), &folder).unwrap().make().unwrap();
        assert!(top.join("shared/mon_groups/web").exists());
        remove(&noted(&folder)).unwrap();
        assert!(top.join("shared/mon_groups").exists() && !top.join("shared/mon_groups/web").exists());
    }

    #[test]
    fn the_mount_is_found() {
        let table =
            "22 28 0:20 / /proc rw - proc proc rw\n40 28 0:35 / /sys/fs/resctrl rw,relatime - resctrl resctrl rw\n";
        let mounted_at = |table: &str| mounted_at(mountinfo::parse(table.as_bytes()).unwrap());
        assert_eq!(mounted_at(table), Some("/sys/fs/resctrl".into()));
        assert_eq!(mounted_at("22 28 0:20 / /proc rw - proc resctrl rw\n"), None);
    }
}
