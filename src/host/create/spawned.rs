//! The supervisor is there, and dies with us.

use super::birth::Birth;
use super::cgroups;
use super::cold::{self, Cold};
use super::company::Company;
use super::launched::Launched;
use super::left::{Left, Made};
use super::net_devices::Moved;
use super::records;
use crate::engine::Stage;
use crate::host::launch::Doing;
use crate::host::supervisor::Supervisor;
use crate::host::{HostError, Trying, resctrl};
use crate::model::Make;
use crate::model::record::ProcessRef;
use crate::sys::procfs;

/// The supervisor runs, and ends with this process.
pub struct Spawned<'a> {
    pub(super) birth: Birth<'a>,
    pub(super) cgroups: cgroups::Made,
    pub(super) supervisor: Supervisor,
    pub(super) origin: Cold,
    pub(super) company: Company,
}

impl<'a> Stage for Spawned<'a> {
    const STEP: Make = Make::Init;
    type Next = Launched<'a>;
    type Left = Left<'a>;

    fn advance(self) -> Result<Launched<'a>, (Left<'a>, HostError)> {
        let Spawned { birth, cgroups, supervisor, origin, mut company } = self;
        let (init, net_devices) = match origin.launch(&birth, &cgroups, &supervisor) {
            Ok(launched) => launched,
            Err(error) => {
                let error = supervisor.cause_of(error);
                return Err((Left { birth, made: Made::Supervisor { cgroups: cgroups.into(), supervisor } }, error));
            }
        };
        // From here on it is ours to kill, whatever fails.
        let (of_container, of_supervisor) = cgroups.records();
        let (cgroups, group) = cgroups.hold_init();
        let processes = || -> Result<(ProcessRef, ProcessRef), HostError> {
            cold::see_namespaces_made(&init, birth.plan)?;
            group.as_ref().map_or(Ok(()), |group: &resctrl::Group| group.join(init.pid))?;
            let supervisor = reference(supervisor.pid)?.ok_or(HostError::SupervisorSilent)?;
            let died = || HostError::died("the container's init", &Doing::Namespaces);
            Ok((supervisor, reference(init.pid)?.ok_or_else(died)?))
        };
        let known = processes().and_then(|known| Ok((known, Moved::into(init.pid, &net_devices)?)));
        match known {
            Ok(((of_process, of_init), moved)) => {
                if let Some(agent) = &mut company.agent {
                    agent.set_init(init.pid);
                }
                let sandbox = records::sandbox(&birth, of_process, of_supervisor);
                let container = records::container(&birth, of_init, of_container);
                Ok(Launched { birth, cgroups, supervisor, init, moved, company, sandbox, container })
            }
            Err(error) => {
                let error = supervisor.cause_of(error);
                Err((Left { birth, made: Made::Init { cgroups, supervisor, init, moved: None } }, error))
            }
        }
    }
}

fn reference(pid: i32) -> Result<Option<ProcessRef>, HostError> {
    procfs::process_ref(pid).trying(|| format!("look at process {pid}"))
}
