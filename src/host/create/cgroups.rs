//! The groups in which the kernel counts and limits a container that is being made: its cgroups and its supervisor's,
//! systemd's scope around them, and its resctrl group.
//!
//! Nothing outside the sandbox's folder is changed before [`Cgroups::make`]; what that has made by the time it fails is
//! what [`Remains`] takes away.

use std::path::PathBuf;

use super::placeholder::Placeholder;
use crate::cgroup::systemd::{Bus, Names, Scope, Systemd, names_of};
use crate::cgroup::{self, Driver, Hierarchies, Joiner, Layout};
use crate::container::{CgroupView, Whose};
use crate::host::{HostError, destroy, kill, resctrl};
use crate::model::Id;
use crate::model::record::{CgroupRecord, ScopeRecord};
use crate::spec::plan::{MountKind, NamespaceKind, Plan};
use crate::store::Folder;

/// Where they will be.
pub struct Cgroups<'a> {
    plan: &'a Plan,
    container: Layout,
    supervisor: Layout,
    /// Of this process, one a hierarchy, as the layout has them.
    own: Vec<PathBuf>,
    /// What systemd is asked for.
    scope: Option<NewScope>,
    resctrl: Option<resctrl::Group>,
}

struct NewScope {
    scope: Scope,
    systemd: Systemd,
    names: Names,
}

/// They are there, and nobody is in them.
pub struct Made {
    container: Layout,
    supervisor: Layout,
    own: Vec<PathBuf>,
    /// Of the container and of the supervisor.
    joiners: (Joiner, Joiner),
    /// Holds systemd's scope, if there is one, until the init has been born in it.
    placeholder: Option<Placeholder>,
    resctrl: Option<resctrl::Group>,
    remains: Remains,
}

/// What is to be taken away again. Of a layout that refused nothing is left.
#[derive(Default)]
pub struct Remains {
    /// One that systemd was asked for: it may be there.
    scope: Option<(Systemd, String)>,
    /// The container's first.
    cgroups: Vec<CgroupRecord>,
    /// Deepest first.
    resctrl: Vec<PathBuf>,
}

impl<'a> Cgroups<'a> {
    /// Says where they will be, and refuses what is somebody else's.
    pub fn prepare(plan: &'a Plan, id: &Id, driver: Driver, folder: &Folder) -> Result<Cgroups<'a>, HostError> {
        let hierarchies = Hierarchies::read()?;
        let (container, scope) = match driver {
            Driver::Cgroupfs => (Layout::of_container(&hierarchies, &plan.cgroup, id)?, None),
            Driver::Disabled => (Layout::disabled(), None),
            Driver::Systemd => {
                let scope = Scope::of(&plan.cgroup, id, &plan.annotations, Bus::of_caller())?;
                let mut systemd = Systemd::connect(scope.bus)?;
                let layout = Layout::of_scope(&hierarchies, &systemd.top()?.join(scope.path()));
                folder.write_scope(&ScopeRecord { unit: scope.unit.clone(), bus: scope.bus.name().to_owned() })?;
                (layout, Some(NewScope { scope, systemd, names: names_of(&hierarchies) }))
            }
        };
        let supervisor = Layout::of_supervisor(&container);
        container.check_free()?;
        supervisor.check_free()?;
        Ok(Cgroups {
            plan,
            container,
            supervisor,
            own: hierarchies.all().iter().map(|hierarchy| hierarchy.mount.join(&hierarchy.own)).collect(),
            scope,
            resctrl: resctrl::Group::prepare(plan.intel_rdt.as_ref(), id, folder)?,
        })
    }

    /// What [`Cgroups::make`] will make.
    pub fn folders(&self) -> Vec<PathBuf> {
        let mut folders = self.container.record().folders;
        folders.extend(self.supervisor.record().folders);
        folders
    }

    #[allow(clippy::result_large_err)] // Once a command.
    pub fn make(self) -> Result<Made, (Remains, HostError)> {
        let Cgroups { plan, container, supervisor, own, scope, resctrl } = self;
        let mut remains = Remains {
            resctrl: resctrl.as_ref().map(|group| group.made.clone()).unwrap_or_default(),
            ..Remains::default()
        };
        let make = |remains: &mut Remains| -> Result<_, HostError> {
            let resources = plan.cgroup.resources.as_ref();
            let placeholder = match scope {
                Some(NewScope { scope, systemd, names }) => {
                    let placeholder = Placeholder::spawn()?;
                    let (systemd, _) = remains.scope.insert((systemd, scope.unit.clone()));
                    systemd.start(&scope, placeholder.pid, resources, names)?;
                    Some(placeholder)
                }
                None => None,
            };
            if let Some(group) = &resctrl {
                group.make()?;
            }
            let of_container = container.make(resources)?;
            remains.cgroups.push(container.record());
            if let Some(owner) = owner_of_cgroup(plan) {
                container.delegate(owner)?;
            }
            let of_supervisor = supervisor.make(None)?;
            remains.cgroups.push(supervisor.record());
            Ok((placeholder, (of_container, of_supervisor)))
        };
        match make(&mut remains) {
            Ok((placeholder, joiners)) => {
                Ok(Made { container, supervisor, own, joiners, placeholder, resctrl, remains })
            }
            Err(error) => Err((remains, error)),
        }
    }
}

impl Made {
    pub fn of_container(&self) -> &Joiner {
        &self.joiners.0
    }

    pub fn of_supervisor(&self) -> &Joiner {
        &self.joiners.1
    }

    /// The container's and the supervisor's.
    pub fn records(&self) -> (CgroupRecord, CgroupRecord) {
        (self.container.record(), self.supervisor.record())
    }

    /// Without the privilege to make some of its cgroups, the container sees those of this process, which it is in.
    pub fn in_sight(&self) -> Vec<CgroupView> {
        let creators = self.own.iter();
        let views =
            self.container.view().into_iter().zip(creators).map(|((name, folder), own)| match folder.is_dir() {
                true => CgroupView { name, folder, whose: Whose::Containers },
                false => CgroupView { name, folder: own.clone(), whose: Whose::Creators },
            });
        views.filter(|view| view.folder.is_dir()).collect()
    }

    /// The init is in them: the scope needs nobody else. The resctrl group it cannot join by itself.
    pub fn hold_init(self) -> (Remains, Option<resctrl::Group>) {
        drop(self.placeholder);
        (self.remains, self.resctrl)
    }
}

impl From<Made> for Remains {
    fn from(made: Made) -> Remains {
        made.hold_init().0
    }
}

impl Remains {
    /// Before the processes in them are waited for: there may be some that cannot end by themselves.
    pub fn end_container(&self) -> Result<(), HostError> {
        self.cgroups.first().map_or(Ok(()), |own| Ok(cgroup::kill_and_wait(own, kill::deadline())?))
    }

    pub fn remove(self) -> Result<(), HostError> {
        if let Some((mut systemd, unit)) = self.scope {
            systemd.stop(&unit)?;
        }
        self.cgroups.iter().try_for_each(|record| cgroup::remove(record, destroy::last_steps()))?;
        resctrl::remove(&self.resctrl)
    }
}

/// Who gets the container's cgroup, as runc decides it: root of a user namespace of its own, if it has a cgroup
/// namespace, too, and cgroups that are mounted for writing.
fn owner_of_cgroup(plan: &Plan) -> Option<u32> {
    let writable = plan
        .mounts
        .iter()
        .any(|mount| matches!(mount.kind, MountKind::Cgroup) && mount.attrs_set & libc::MOUNT_ATTR_RDONLY == 0);
    let root = plan.uid_mappings.iter().find(|mapping| mapping.container == 0)?;
    (plan.makes(NamespaceKind::User) && plan.makes(NamespaceKind::Cgroup) && writable).then_some(root.host)
}
