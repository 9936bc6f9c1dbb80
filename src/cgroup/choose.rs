//! `exec --cgroup`: which cgroup below the container's own a process joins, in which hierarchies.

use std::path::{Component, Path, PathBuf};

use super::hierarchies::{Hierarchies, Version};
use super::{Error, Result};
use crate::model::record::CgroupRecord;

/// The folders to join. `asked` is one path for every hierarchy, or any number of `controller[,controller]:path`, where
/// the hierarchies that are not named stay with the container's own. Every folder is there, and none is above or beside
/// the container's.
pub fn choose(record: &CgroupRecord, asked: &[String]) -> Result<Vec<PathBuf>> {
    let hierarchies = Hierarchies::read()?;
    let mut folders = pick(record, asked, |folder| controllers(&hierarchies, folder))?;
    let beside = hierarchies.all().iter().filter(|hierarchy| hierarchy.version == Version::Beside);
    for (folder, own) in folders.iter_mut().zip(&record.folders) {
        // Who makes cgroups below its own on v1 does not see the v2 hierarchy beside them.
        if beside.clone().any(|hierarchy| folder.starts_with(&hierarchy.mount)) && !folder.exists() {
            folder.clone_from(own);
        }
        let procs = folder.join("cgroup.procs");
        std::fs::metadata(&procs).map_err(|source| Error::NoSuchCgroup { procs, source })?;
    }
    Ok(folders)
}

fn controllers(hierarchies: &Hierarchies, folder: &Path) -> Vec<String> {
    let its = hierarchies.all().iter().filter(|hierarchy| folder.starts_with(&hierarchy.mount));
    its.max_by_key(|hierarchy| hierarchy.mount.components().count()).map_or_else(Vec::new, |h| h.controllers.clone())
}

fn pick(record: &CgroupRecord, asked: &[String], controllers: impl Fn(&Path) -> Vec<String>) -> Result<Vec<PathBuf>> {
    let mut folders = record.folders.clone();
    if let [everywhere] = asked
        && !everywhere.contains(':')
    {
        return folders.iter().map(|folder| below(folder, everywhere)).collect();
    }
    for part in asked {
        let bad = |why| Error::BadChoice { asked: part.clone(), why };
        let Some((names, path)) = part.split_once(':') else {
            return Err(bad("beside others it needs a controller: CONTROLLER:PATH"));
        };
        if path.contains(':') {
            return Err(bad("it is PATH or CONTROLLER[,CONTROLLER]:PATH"));
        }
        for name in names.split(',') {
            let at = record.folders.iter().position(|folder| controllers(folder).iter().any(|has| has == name));
            let at = at.ok_or_else(|| Error::UnknownController { name: name.to_owned() })?;
            folders[at] = below(&record.folders[at], path)?;
        }
    }
    Ok(folders)
}

/// `path` below `folder`; a `..` may not lead out of it.
fn below(folder: &Path, path: &str) -> Result<PathBuf> {
    let mut names: Vec<&std::ffi::OsStr> = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::ParentDir if names.pop().is_none() => return Err(Error::NotBelow { path: path.to_owned() }),
            _ => {}
        }
    }
    Ok(names.iter().fold(folder.to_owned(), |folder, name| folder.join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick_of(asked: &[&str]) -> Result<Vec<PathBuf>> {
        let folders = vec!["/cg/cpu,cpuacct/x".into(), "/cg/memory/x".into()];
        let record = CgroupRecord { folders, ..CgroupRecord::default() };
        let asked: Vec<String> = asked.iter().map(|part| (*part).to_owned()).collect();
        pick(&record, &asked, |folder| {
            let names = folder.iter().nth(2).unwrap_or_default().to_string_lossy().into_owned();
            names.split(',').map(str::to_owned).collect()
        })
    }

    fn paths(of: &[&str]) -> Vec<PathBuf> {
        of.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn one_path_counts_everywhere_and_a_named_controller_moves_only_its_own_hierarchy() {
        assert_eq!(pick_of(&["/"]).unwrap(), paths(&["/cg/cpu,cpuacct/x", "/cg/memory/x"]));
        assert_eq!(pick_of(&["a/b"]).unwrap(), paths(&["/cg/cpu,cpuacct/x/a/b", "/cg/memory/x/a/b"]));
        assert_eq!(pick_of(&["memory:/m"]).unwrap(), paths(&["/cg/cpu,cpuacct/x", "/cg/memory/x/m"]));
        let both = pick_of(&["memory:m", "cpu,cpuacct:c"]).unwrap();
        assert_eq!(both, paths(&["/cg/cpu,cpuacct/x/c", "/cg/memory/x/m"]));
    }

    #[test]
    fn nothing_leads_out_of_the_containers_own_cgroup() {
        for path in ["..", "a/../..", "/..", "memory:../x", "memory:a/../../x2"] {
            assert!(matches!(pick_of(&[path]), Err(Error::NotBelow { .. })), "{path} was accepted");
        }
        assert_eq!(pick_of(&["memory:a/../b"]).unwrap()[1], Path::new("/cg/memory/x/b"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(matches!(pick_of(&["what:/"]), Err(Error::UnknownController { .. })));
        assert!(matches!(pick_of(&["a", "memory:b"]), Err(Error::BadChoice { .. })));
        assert!(matches!(pick_of(&["memory:a:b"]), Err(Error::BadChoice { .. })));
    }
}
