//! The groups in which the kernel counts and limits a container that is being made: its cgroups and its supervisor's,
//! systemd's scope around them, and its resctrl group.
//!
//! Nothing outside the sandbox's folder is changed before [`Cgroups::make`]; what that has made by the time it fails is
//! what [`Cgroups::remove`] takes away.

use std::path::PathBuf;

use super::placeholder::Placeholder;
use super::{HostError, destroy, resctrl};
use crate::cgroup::systemd::{Bus, Limits, Scope, Systemd, limits_of};
use crate::cgroup::{self, Driver, Hierarchies, Joiner, Layout};
use crate::container::{CgroupView, Whose};
use crate::model::Id;
use crate::model::record::{CgroupRecord, ScopeRecord};
use crate::spec::plan::{MountKind, NamespaceKind, Plan};
use crate::store::Folder;

pub struct Cgroups<'a> {
    plan: &'a Plan,
    container: Layout,
    supervisor: Layout,
    /// Of this process, one a hierarchy, as the layout has them.
    own: Vec<PathBuf>,
    /// What systemd is asked for.
    scope: Option<NewScope>,
    /// Holds the scope until the init has been born in it.
    placeholder: Option<Placeholder>,
    /// Of the container and of the supervisor.
    joiners: Option<(Joiner, Joiner)>,
    /// The cgroups that are ours: those of a layout that refused, it has removed itself.
    made: Vec<CgroupRecord>,
    resctrl: Option<resctrl::Group>,
}

/// A scope on its way.
struct NewScope {
    scope: Scope,
    systemd: Systemd,
    limits: Limits,
    phase: ScopePhase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScopePhase {
    Planned,
    /// It may be there.
    Asked,
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
                let layout = Layout::of_scope(&hierarchies, &systemd.top()?, &scope);
                folder.write_scope(&ScopeRecord { unit: scope.unit.clone(), bus: scope.bus.name().to_owned() })?;
                (layout, Some(NewScope { scope, systemd, limits: limits_of(&hierarchies), phase: ScopePhase::Planned }))
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
            placeholder: None,
            joiners: None,
            made: Vec::new(),
            resctrl: resctrl::Group::prepare(plan.intel_rdt.as_ref(), id, folder)?,
        })
    }

    pub fn of_container(&self) -> CgroupRecord {
        self.container.record()
    }

    pub fn of_supervisor(&self) -> CgroupRecord {
        self.supervisor.record()
    }

    /// What [`Cgroups::make`] will make.
    pub fn folders(&self) -> Vec<PathBuf> {
        let mut folders = self.of_container().folders;
        folders.extend(self.of_supervisor().folders);
        folders
    }

    pub fn make(&mut self) -> Result<(), HostError> {
        let resources = self.plan.cgroup.resources.as_ref();
        if let Some(new) = &mut self.scope {
            let placeholder = self.placeholder.insert(Placeholder::spawn()?);
            new.phase = ScopePhase::Asked;
            new.systemd.start(&new.scope, placeholder.pid, resources, new.limits)?;
        }
        if let Some(group) = &self.resctrl {
            group.make()?;
        }
        let container = self.container.make(resources)?;
        self.made.push(self.container.record());
        if let Some(owner) = owner_of_cgroup(self.plan) {
            self.container.delegate(owner)?;
        }
        let supervisor = self.supervisor.make(None)?;
        self.made.push(self.supervisor.record());
        self.joiners = Some((container, supervisor));
        Ok(())
    }

    /// Of the container and of the supervisor, once they are made.
    pub fn joiners(&self) -> Option<(&Joiner, &Joiner)> {
        self.joiners.as_ref().map(|(container, supervisor)| (container, supervisor))
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

    /// The init is in them: the scope needs nobody else.
    pub fn are_held(&mut self) {
        self.placeholder = None;
    }

    /// What the init cannot join by itself.
    pub fn adopt(&self, init: i32) -> Result<(), HostError> {
        self.resctrl.as_ref().map_or(Ok(()), |group| group.join(init))
    }

    pub fn made_for_container(&self) -> Option<&CgroupRecord> {
        self.made.first()
    }

    pub fn remove(&mut self) -> Result<(), HostError> {
        self.joiners = None;
        self.placeholder = None;
        if let Some(new) = self.scope.as_mut().filter(|new| new.phase == ScopePhase::Asked) {
            new.systemd.stop(&new.scope.unit)?;
            new.phase = ScopePhase::Planned;
        }
        self.made.iter().try_for_each(|record| cgroup::remove(record, destroy::last_steps()))?;
        self.made.clear();
        self.resctrl.as_ref().map_or(Ok(()), |group| resctrl::remove(&group.made))
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
