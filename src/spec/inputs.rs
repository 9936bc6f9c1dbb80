//! What a plan is made from. Whatever decides what a container will be comes in here: nothing outside of this folder writes
//! to a [`Plan`] once it is made, so that what was validated is what is applied.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::Host;
use super::plan::{
    FirstProcess, IdMapping, IdmapPlan, MountKind, MountPlan, Plan, ProcessPlan, RootSwitch, Unsupported,
};

/// st_dev and st_ino.
pub type Identity = (u64, u64);

/// All that a plan is made of.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// As it was read, or as `do` has written it.
    pub spec: &'a Spec,
    /// Absolute: relative paths of the specification start there.
    pub bundle: &'a Path,
    /// What the machine is like: asked once.
    pub host: &'a Host,
    /// None: a configuration alone.
    pub further: Option<&'a Further>,
}

impl<'a> Inputs<'a> {
    /// A configuration alone.
    pub fn of(spec: &'a Spec, bundle: &'a Path, host: &'a Host) -> Inputs<'a> {
        Inputs { spec, bundle, host, further: None }
    }

    /// The same, with what the configuration does not say.
    pub fn with(self, further: &'a Further) -> Inputs<'a> {
        Inputs { further: Some(further), ..self }
    }
}

/// What is asked of a container that the runtime specification has no words for, or that is no text.
#[derive(Debug, Clone, Default)]
pub struct Further {
    /// How the container's root becomes its root: `--no-pivot` is an input, never a later change.
    pub switch: RootSwitch,
    /// Of uids and of gids, for a new user namespace; each holds where the configuration gives none.
    pub mappings: Option<(Vec<IdMapping>, Vec<IdMapping>)>,
    /// Of the root file system.
    pub root: FurtherRoot,
    /// Beside those of the configuration. Absolute in the container.
    pub masked_paths: Vec<PathBuf>,
    /// Of bind mounts, by their destination: what their source has to be.
    pub identities: Vec<(PathBuf, Identity)>,
    /// Destinations of mounts whose files belong to whom they belong on the host, where ids cannot be mapped.
    pub mapped_if_possible: Vec<PathBuf>,
    /// Of the application; for `do`, whose arguments are bytes.
    pub process: Option<FurtherProcess>,
}

/// What is asked of the root file system beside the configuration.
#[derive(Debug, Clone, Default)]
pub struct FurtherRoot {
    /// What `root.path` has to be.
    pub identity: Option<Identity>,
    /// MOUNT_ATTR_* bits of it and of all that is mounted below it.
    pub recursive_set: u64,
    /// What lies over it.
    pub cover: RootCover,
}

/// What lies over the root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RootCover {
    /// Nothing.
    #[default]
    None,
    /// Its files belong to the container's ids, and what is written stays in memory.
    Overlay,
}

/// Bytes in place of the text of the configuration.
#[derive(Debug, Clone)]
pub struct FurtherProcess {
    /// Who the container's first process is.
    pub first: FirstProcess,
    /// Not empty.
    pub args: Vec<OsString>,
    /// `NAME=value`
    pub env: Vec<OsString>,
    /// Absolute.
    pub cwd: PathBuf,
    /// Those of the descriptors 0 to 2 that a terminal does not replace.
    pub kept_stdio: Vec<i32>,
}

impl Further {
    pub(super) fn add_to(&self, plan: &mut Plan) {
        plan.rootfs.switch = self.switch;
        if let Some((uids, gids)) = &self.mappings {
            for (list, given) in [(&mut plan.uid_mappings, uids), (&mut plan.gid_mappings, gids)] {
                if list.is_empty() {
                    list.clone_from(given);
                }
            }
        }
        plan.rootfs.identity = self.root.identity;
        plan.rootfs.recursive_set = self.root.recursive_set;
        if self.root.cover == RootCover::Overlay {
            plan.rootfs.overlay = true;
            plan.rootfs.idmap = Some(IdmapPlan {
                recursive: false,
                uid_mappings: Vec::new(),
                gid_mappings: Vec::new(),
                unsupported: Unsupported::Refused,
            });
        }
        plan.masked_paths.extend(self.masked_paths.iter().cloned());
        plan.mounts.iter_mut().for_each(|mount| self.add_to_mount(mount));
        if let (Some(further), Some(process)) = (&self.process, &mut plan.process) {
            further.add_to(process);
        }
    }

    fn add_to_mount(&self, mount: &mut MountPlan) {
        if matches!(mount.kind, MountKind::Bind { .. }) {
            let pinned = self.identities.iter().find(|(at, _)| *at == mount.destination);
            mount.identity = pinned.map(|(_, identity)| *identity);
        }
        let tolerated = self.mapped_if_possible.contains(&mount.destination);
        if let Some(idmap) = mount.idmap.as_mut().filter(|_| tolerated) {
            idmap.unsupported = Unsupported::LeftAsItIs;
        }
    }
}

impl FurtherProcess {
    fn add_to(&self, process: &mut ProcessPlan) {
        process.first = self.first;
        process.args.clone_from(&self.args);
        process.env.clone_from(&self.env);
        process.cwd.clone_from(&self.cwd);
        process.kept_stdio.clone_from(&self.kept_stdio);
    }
}

impl Plan {
    /// The plan that is sent, once there is a socket on which the container says that it is ready: this one, with `mount` behind
    /// all others, and the variable `name` in the place of whatever has that name. A plan of its own, since whether there is such
    /// a socket shows only when all else is validated: a manager that cannot be reached keeps nobody from running.
    pub fn with_notices(&self, mount: MountPlan, name: &str, value: &str) -> Plan {
        let mut plan = self.clone();
        plan.mounts.push(mount);
        if let Some(process) = &mut plan.process {
            let has_name = |variable: &OsString| {
                variable.as_bytes().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
            };
            process.env.retain(|variable| !has_name(variable));
            process.env.push(format!("{name}={value}").into());
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{default_spec, lacks_mappings, plan};

    const HOST: Host = Host { rootless: false, last_capability: 40 };

    fn planned(spec: &Spec, further: &Further) -> Plan {
        let bundle = tempfile::tempdir().unwrap();
        std::fs::create_dir(bundle.path().join("rootfs")).unwrap();
        plan(&Inputs::of(spec, bundle.path(), &HOST).with(further)).unwrap().0
    }

    #[test]
    fn nothing_further_changes_nothing() {
        let spec = default_spec(false);
        let plan = planned(&spec, &Further::default());
        assert_eq!((plan.rootfs.switch, plan.rootfs.overlay, plan.rootfs.identity), (RootSwitch::Pivot, false, None));
        assert!(!lacks_mappings(&spec), "it makes no user namespace");
    }

    #[test]
    fn mappings_are_given_where_the_configuration_has_none() {
        let mut spec: serde_json::Value = serde_json::to_value(default_spec(false)).unwrap();
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(serde_json::json!({"type": "user"}));
        spec["linux"]["gidMappings"] = serde_json::json!([{"containerID": 0, "hostID": 7, "size": 9}]);
        let spec: Spec = serde_json::from_value(spec).unwrap();
        assert!(lacks_mappings(&spec));
        let all = vec![IdMapping { container: 0, host: 0, size: 100 }];
        let plan = planned(&spec, &Further { mappings: Some((all.clone(), all.clone())), ..Further::default() });
        assert_eq!(plan.uid_mappings, all);
        assert_eq!(plan.gid_mappings, [IdMapping { container: 0, host: 7, size: 9 }]);
    }

    #[test]
    fn a_process_gets_its_bytes_as_they_are() {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(b"a\xff".to_vec());
        let further = FurtherProcess {
            first: FirstProcess::Keeper,
            args: vec![odd.clone()],
            env: Vec::new(),
            cwd: "/".into(),
            kept_stdio: vec![1],
        };
        let plan = planned(&default_spec(false), &Further { process: Some(further), ..Further::default() });
        let process = plan.process.unwrap();
        assert_eq!((process.args, process.kept_stdio, process.first), (vec![odd], vec![1], FirstProcess::Keeper));
    }
}
