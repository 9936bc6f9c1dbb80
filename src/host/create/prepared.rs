//! Everything of the host that the container needs is open, and its folder is filled. Nothing outside the folder is changed
//! yet, so that most bad input ends here.

use std::path::PathBuf;

use super::birth::{Birth, oci_state};
use super::cgroups::Cgroups;
use super::cold::Cold;
use super::company::Company;
use super::grouped::Grouped;
use super::left::{Left, Made};
use super::options::Options;
use super::sandbox::NewHome;
use crate::engine::Stage;
use crate::host::agent::Agent;
use crate::host::hooks::Ledger;
use crate::host::launch::attend::TerminalTo;
use crate::host::notify::Notices;
use crate::host::protect::Binary;
use crate::host::{HostError, Trying, descriptors, kept};
use crate::model::{Make, Phase};
use crate::spec::plan::{Plan, RootSwitch};
use crate::store::Folder;
use crate::sys::{procfs, random};

/// All that is needed of the host is open, and nothing is made.
pub struct Prepared<'a> {
    pub(super) birth: Birth<'a>,
    pub(super) cgroups: Cgroups<'a>,
    pub(super) home: NewHome,
    pub(super) origin: Cold,
    pub(super) company: Company,
}

impl<'a> Prepared<'a> {
    /// Writes into the folder, which has no name yet and goes when the birth ends here.
    pub fn new(
        plan: &'a Plan,
        options: &'a Options,
        folder: &Folder,
        terminal: TerminalTo,
    ) -> Result<Prepared<'a>, HostError> {
        let cgroups = Cgroups::prepare(plan, &options.id, options.cgroup_driver, folder)?;
        descriptors::raise_for_mounts(plan)?;
        let mut origin = Cold::prepare(plan, folder)?;
        let state = oci_state(plan, options).document(Phase::Creating, 0);
        let agent = Agent::of(plan.seccomp.as_ref(), origin.asks_agent(), state)?;
        folder.write_file("config.json", &options.spec_bytes)?;
        if plan.rootfs.switch == RootSwitch::Cover {
            folder.write_file(kept::COVERED, b"")?;
        }
        let mut warnings = Vec::new();
        let notices = notices_of(options, folder, &mut warnings);
        if let Some(notices) = &notices {
            origin.mount_notices(plan, notices)?;
        }
        let boot = procfs::boot().trying(|| "read the boot id".into())?;
        let birth = Birth {
            binary: Binary::protected().trying(|| "protect our own binary".into())?,
            ledger: Ledger::make(folder, &options.id, &boot, &plan.hooks)?,
            folder: folder.dir().try_clone_to_owned().trying(|| "prepare the sandbox's folder".into())?,
            incarnation: random::hex::<16>().trying(|| "name this incarnation of the sandbox".into())?,
            boot,
            plan,
            options,
            warnings,
        };
        let (ours, theirs) = if options.attached { (notices, None) } else { (None, notices) };
        Ok(Prepared {
            birth,
            cgroups,
            home: NewHome::prepare(folder, theirs)?,
            origin,
            company: Company { terminal, agent, notices: ours },
        })
    }

    /// The folders that will be made: an intent names them, so that a crash cannot leak them.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        self.cgroups.folders()
    }
}

impl<'a> Stage for Prepared<'a> {
    const STEP: Make = Make::Cgroups;
    type Next = Grouped<'a>;
    type Left = Left<'a>;

    fn advance(self) -> Result<Grouped<'a>, (Left<'a>, HostError)> {
        let Prepared { birth, cgroups, home, origin, company } = self;
        match cgroups.make() {
            Ok(cgroups) => Ok(Grouped { birth, cgroups, home, origin, company }),
            Err((remains, error)) => Err((Left { birth, made: Made::Cgroups(remains) }, error)),
        }
    }
}

/// A manager that cannot be reached keeps nobody from running: whoever started us may have been given a name that was
/// somebody else's, and long ago.
fn notices_of(options: &Options, folder: &Folder, warnings: &mut Vec<String>) -> Option<Notices> {
    let made = options.service_manager.as_ref().map(|manager| Notices::make(folder, manager))?;
    made.map_err(|error| {
        warnings.push(format!("the container cannot say when it is ready: {}", crate::sys::told::on_one_line(&error)))
    })
    .ok()
}
