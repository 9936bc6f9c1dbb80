//! The cgroups are there, empty.

use super::birth::Birth;
use super::cgroups;
use super::cold::Cold;
use super::company::Company;
use super::left::{Left, Made};
use super::sandbox::NewHome;
use super::spawned::Spawned;
use crate::engine::Stage;
use crate::host::HostError;
use crate::model::Make;

/// The cgroups are there.
pub struct Grouped<'a> {
    pub(super) birth: Birth<'a>,
    pub(super) cgroups: cgroups::Made,
    pub(super) home: NewHome,
    pub(super) origin: Cold,
    pub(super) company: Company,
}

impl<'a> Stage for Grouped<'a> {
    const STEP: Make = Make::Supervisor;
    type Next = Spawned<'a>;
    type Left = Left<'a>;

    fn advance(self) -> Result<Spawned<'a>, (Left<'a>, HostError)> {
        let Grouped { birth, cgroups, home, origin, company } = self;
        match home.spawn_supervisor(&birth, cgroups.of_supervisor()) {
            Ok(supervisor) => Ok(Spawned { birth, cgroups, supervisor, origin, company }),
            Err(error) => Err((Left { birth, made: Made::Cgroups(cgroups.into()) }, error)),
        }
    }
}
