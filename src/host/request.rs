//! A request for a container: everything that can be wrong with the input is said before anything is made.
//!
//! An ordinary user's command is in a user namespace of its own from here on ([`rootless`]); a crash leaves nothing of it.

use std::fs::File;
use std::path::PathBuf;

use super::console::PidfdSocket;
use super::create::Options;
use super::launch::idmap;
use super::rootless::{self, Ids};
use super::{Failed, HostError, notify, preserved};
use crate::cgroup::Driver;
use crate::model::Id;
use crate::model::record::Reaper;
use crate::spec::plan::Plan;
use crate::spec::{self, Further, Host, Inputs, Loaded};

/// What the caller asks for, beside the configuration.
pub struct Asked {
    /// Of the sandbox and of its root container.
    pub id: Id,
    /// Whose child the init is to be.
    pub reaper: Reaper,
    /// What it outlives.
    pub lifetime: Lifetime,
    /// Who makes the container's cgroup.
    pub cgroup_driver: Driver,
    /// So many descriptors from 3 on are the application's.
    pub preserve_fds: u32,
    /// Who gets the pidfd of the init; else whom the configuration names.
    pub pidfd_socket: Option<PathBuf>,
    /// The container gets a session keyring of its own.
    pub new_keyring: bool,
    /// Whom it tells.
    pub notices: NoticesTo,
    /// Of an ordinary user's namespace. None: as the configuration asks for.
    pub ids: Option<Ids>,
    /// What is planned beside the configuration.
    pub further: Further,
    /// The log file of the command.
    pub log: Option<File>,
    /// Everything the supervisor does goes into the log, too.
    pub debug: bool,
}

/// How long a sandbox may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It outlives this command.
    Own,
    /// It dies with this command.
    Attached,
}

/// Whom the container tells that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticesTo {
    /// What it says is heard by nobody.
    Nobody,
    /// The service manager of the caller, unless the configuration has one of its own.
    Caller,
}

/// A checked request.
pub struct Request {
    /// Validated whole.
    pub plan: Plan,
    /// The rest, checked.
    pub options: Options,
    /// What the user must know.
    pub warnings: Vec<String>,
    /// What was accepted and has no effect.
    pub remarks: Vec<String>,
}

impl Request {
    /// An error: it cannot be, and nothing was made.
    pub fn check(loaded: Loaded, mut asked: Asked) -> Result<Request, Failed> {
        let mut warnings = Vec::new();
        if rootless::needed() {
            // What is wrong with the configuration is said before anything is done about it.
            let (plan, _) = plan(&loaded, &asked.further)?;
            let ids = asked.ids.unwrap_or_else(|| rootless::ids_for(&plan));
            warnings.extend(rootless::enter_own_namespaces(ids)?);
        }
        let listen = preserved::listen();
        let preserve_fds = preserved::check(asked.preserve_fds, listen.as_ref()).map_err(HostError::from)?;
        if spec::lacks_mappings(&loaded.spec) {
            asked.further.mappings = Some(idmap::all()?);
        }
        let (plan, planned) = plan(&loaded, &asked.further)?;
        // Who typed it knows better than who wrote the configuration.
        let pidfd_socket = asked.pidfd_socket.or_else(|| spec::pidfd_receiver(&loaded.spec));
        let given = asked.notices == NoticesTo::Nobody || notify::is_given(&plan);
        let options = Options {
            id: asked.id,
            bundle: loaded.bundle,
            spec_bytes: loaded.bytes,
            spec_digest: loaded.digest,
            reaper: asked.reaper,
            attached: asked.lifetime == Lifetime::Attached,
            cgroup_driver: asked.cgroup_driver,
            preserve_fds,
            pidfd_socket: pidfd_socket.as_deref().map(PidfdSocket::connect).transpose()?,
            listen,
            service_manager: if given { None } else { notify::of_caller() },
            new_keyring: asked.new_keyring,
            created: crate::engine::now(),
            log: asked.log,
            debug: asked.debug,
        };
        let remarks = loaded.warnings.into_iter().chain(planned).collect();
        Ok(Request { plan, options, warnings, remarks })
    }
}

fn plan(loaded: &Loaded, further: &Further) -> Result<(Plan, Vec<String>), HostError> {
    Ok(spec::plan(&Inputs::of(&loaded.spec, &loaded.bundle, &Host::here()).with(further))?)
}
