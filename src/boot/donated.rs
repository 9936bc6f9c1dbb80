//! The descriptors that the command line names: taken, checked, and nothing else left open.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use super::args::Args;
use crate::sys::{descriptors, pidfd, seqpacket};

/// The spec was donated too, as the contract has it; nothing here reads it, so it is closed.
#[derive(Debug)]
pub struct Donated {
    pub log: Option<OwnedFd>,
    pub debug_log: Option<OwnedFd>,
    /// A listening SOCK_SEQPACKET socket.
    pub controller: OwnedFd,
    /// Writable where we aim; appended from its position on.
    pub exits: File,
    /// A pidfd.
    pub creator: OwnedFd,
    /// Bound for the container, connected to the service manager; both nonblocking.
    pub notices: Option<(OwnedFd, OwnedFd)>,
    pub cgroups: Vec<OwnedFd>,
}

#[derive(Debug, thiserror::Error)]
pub enum DonatedError {
    #[error("descriptor {number} was not donated for {name}")]
    NotOpen { name: &'static str, number: RawFd, source: io::Error },
    #[error("one of the standard descriptors is closed: the supervisor wants the null device there")]
    NoStandard,
    #[error("the controller descriptor {0} is not a listening socket")]
    NotListening(RawFd),
    #[error("the creator descriptor {0} is not a pidfd")]
    NotAPidfd(RawFd),
    #[error("cannot use descriptor {0} for exit records")]
    Exits(RawFd, #[source] io::Error),
    #[error("cannot close what was not donated")]
    CloseOthers(#[source] io::Error),
}

/// Where to say how the start went: taken first, so that everything after it can be told there. Closes what was not
/// donated. Call once, before anything else in this process owns a descriptor above 2.
pub fn take_start_sync(args: &Args) -> Result<OwnedFd, DonatedError> {
    let numbers: Vec<RawFd> = args.numbers().into_iter().map(|(number, _)| number).collect();
    descriptors::close_others(&numbers).map_err(DonatedError::CloseOthers)?;
    take("start-sync", args.start_sync)
}

impl Donated {
    /// Call once, right after [`take_start_sync`].
    pub fn take(args: &Args) -> Result<Donated, DonatedError> {
        if !descriptors::standard_are_open() {
            return Err(DonatedError::NoStandard);
        }
        drop(take("spec", args.spec)?);
        let donated = Donated {
            log: args.log.map(|number| take("log", number)).transpose()?,
            debug_log: args.debug_log.map(|number| take("debug-log", number)).transpose()?,
            controller: take("controller", args.controller)?,
            exits: File::from(take("exits", args.exits)?),
            creator: take("creator", args.creator)?,
            notices: match args.notices {
                Some((from, to)) => Some((take("notices", from)?, take("manager", to)?)),
                None => None,
            },
            cgroups: args.cgroups.iter().map(|&number| take("cgroup", number)).collect::<Result<_, _>>()?,
        };
        if !seqpacket::is_listening(donated.controller.as_fd()).unwrap_or(false) {
            return Err(DonatedError::NotListening(args.controller));
        }
        seqpacket::set_nonblocking(donated.controller.as_fd()).map_err(|source| DonatedError::NotOpen {
            name: "controller",
            number: args.controller,
            source,
        })?;
        // The creator is outside of our PID namespace, so that it cannot be signalled; but a pidfd it must be.
        if let Err(error) = pidfd::send_signal(donated.creator.as_fd(), 0)
            && error.raw_os_error() == Some(libc::EBADF)
        {
            return Err(DonatedError::NotAPidfd(args.creator));
        }
        descriptors::clear_append(donated.exits.as_fd()).map_err(|source| DonatedError::Exits(args.exits, source))?;
        Ok(donated)
    }
}

/// Where to say why the command line makes no sense, if it says at least that.
pub fn start_sync_of(args: &[OsString]) -> Option<OwnedFd> {
    let value = args.iter().find_map(|arg| arg.as_bytes().strip_prefix(b"--start-sync-fd="))?;
    descriptors::take(str::from_utf8(value).ok()?.parse().ok()?).ok()
}

fn take(name: &'static str, number: RawFd) -> Result<OwnedFd, DonatedError> {
    descriptors::take(number).map_err(|source| DonatedError::NotOpen { name, number, source })
}
