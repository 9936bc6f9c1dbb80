//! NOTIFY_SOCKET: a container that tells the host's service manager when it is ready (sd_notify(3)).
//!
//! The manager's own socket stays outside: whoever can send to it can try its parser, and gives it descriptors. The
//! container gets one of ours, which somebody reads who looks through what is said (`boot::relay`) for as long as the
//! container lives: of a foreground run the command itself, since a manager may believe its main process alone; else the
//! supervisor.
//!
//! ```text
//!   container ──▶ /run/notify/notify.sock ──▶ supervisor, or a thread of the foreground run ──▶ NOTIFY_SOCKET
//! ```
//!
//! `start` and `run --detach` wait until it is ready, then say so once more in their own name: the supervisor need not be
//! in the cgroup by which the manager knows its own, they are.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, mkdirat};

use super::{HostError, Trying};
use crate::boot::relay::{BREATH, Relay, Turn};
use crate::control::{Client, Container, ControlError, ErrorCode, Request};
use crate::model::record::Exit;
use crate::model::{Id, notice};
use crate::spec::plan::{MountKind, MountPlan, Plan};
use crate::store::Folder;
use crate::sys::patience;
use crate::sys::ready::Readiness;
use crate::sys::{interrupt, open, seqpacket, umask};

const VARIABLE: &str = "NOTIFY_SOCKET";

/// In the sandbox's folder, and what is in it.
const FOLDER: &str = "notify";
const SOCKET: &str = "notify.sock";
/// Where the container finds that folder; as with runc, so that what mounts something there finds its place.
const INSIDE: &str = "/run/notify";

/// What the caller's environment says, if it says anything.
pub fn of_caller() -> Option<OsString> {
    std::env::var_os(VARIABLE).filter(|value| !value.is_empty())
}

/// Whether the configuration brings a socket of its own: a caller that has made one reads it, too.
pub fn is_given(plan: &Plan) -> bool {
    let given = |variable: &OsString| value_of(variable).is_some_and(|value| !value.is_empty());
    plan.process.as_ref().is_none_or(|process| process.env.iter().any(given))
}

/// Of an entry of an environment, if it is of our variable.
fn value_of(variable: &OsStr) -> Option<&[u8]> {
    variable.as_bytes().strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"=")
}

/// A socket for one container.
pub struct Notices {
    from: OwnedFd,
    to: OwnedFd,
    source: PathBuf,
}

impl Notices {
    /// Connects to `manager`, and makes the container's socket in the sandbox's folder.
    pub fn make(folder: &Folder, manager: &OsStr) -> Result<Notices, HostError> {
        let to = connect(manager).trying(|| format!("connect to the service manager at {VARIABLE}={manager:?}"))?;
        let from =
            umask::cleared(|| bind(folder.dir())).trying(|| "make a socket for the container's notices".into())?;
        Ok(Notices { from, to: to.into(), source: folder.path().join(FOLDER) })
    }

    /// Nothing but the socket can be seen in there, and nothing be changed.
    pub fn mount(&self) -> MountPlan {
        MountPlan {
            destination: INSIDE.into(),
            kind: MountKind::Bind { source: self.source.clone(), recursive: false },
            attrs_set: libc::MOUNT_ATTR_RDONLY
                | libc::MOUNT_ATTR_NOSUID
                | libc::MOUNT_ATTR_NODEV
                | libc::MOUNT_ATTR_NOEXEC,
            attrs_clear: 0,
            recursive_set: 0,
            recursive_clear: 0,
            propagation: Vec::new(),
            copy_up: false,
            copy_symlink: false,
            idmap: None,
            source_nofollow: true,
            identity: None,
            destination_nofollow: false,
        }
    }

    /// Where the container speaks, and where the service manager hears it.
    pub fn as_fds(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        (self.from.as_fd(), self.to.as_fd())
    }

    /// Of a foreground run: the manager goes on watching this process, which ends as the application does.
    pub fn relay_here(self) -> Result<Relaying, HostError> {
        let what = || "pass on the container's notices".to_owned();
        let mut relay = Relay::new(self.from, self.to);
        relay.set_main(std::process::id() as i32);
        let (ended, end) = nix::unistd::pipe2(OFlag::O_CLOEXEC).trying(what)?;
        let thread = std::thread::Builder::new().spawn(move || pass_on(&mut relay, ended.as_fd())).trying(what)?;
        Ok(Relaying { end: Some(end), thread: Some(thread) })
    }
}

/// `plan` as it is sent to a container that has a socket: with its mount, and the variable that tells where it is.
pub fn with_socket(plan: &Plan, mount: MountPlan) -> Plan {
    plan.with_notices(mount, VARIABLE, &format!("{INSIDE}/{SOCKET}"))
}

/// A thread of this process that passes notices on. Dropped, it passes on what is there, and ends.
pub struct Relaying {
    end: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Relaying {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn pass_on(relay: &mut Relay, ended: BorrowedFd<'_>) {
    let mut turn = Turn::Drained;
    loop {
        let mut watched = vec![PollFd::new(ended, PollFlags::POLLIN)];
        let timeout = match turn {
            Turn::Drained => {
                watched.push(PollFd::new(relay.as_fd(), PollFlags::POLLIN));
                PollTimeout::NONE
            }
            Turn::More => PollTimeout::try_from(BREATH).unwrap_or(PollTimeout::ZERO),
        };
        match poll(&mut watched, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(_) => return,
        }
        if watched[0].any().unwrap_or(true) {
            return relay.finish();
        }
        turn = relay.turn();
    }
}

/// What became of a wait for a container to be ready.
pub enum Awaited {
    /// It is, and the manager was told; or there is nobody whom it could tell.
    Ready,
    /// Nobody will be told any more: it has ended, like this, if that is known already; or its supervisor has.
    Ended(Option<Exit>),
    /// Somebody wants us to end, by this signal; it is not ready yet.
    Interrupted(i32),
}

/// Waits until the container is ready or has ended, and says the former to `manager`: the caller of a command that ends
/// now. `folder`: the sandbox's, without its lock. A supervisor that passes nothing on, or is of before there was anything
/// to wait for, is not waited for.
pub fn await_ready(folder: BorrowedFd<'_>, id: &Id, init: i32, manager: &OsStr) -> io::Result<Awaited> {
    match open::at(folder, Path::new(FOLDER), OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW, 0) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Awaited::Ready),
        Err(error) => return Err(error),
    }
    match ask(folder, id) {
        Ok(None) => {}
        Ok(Some(ended)) => return Ok(ended),
        Err(ControlError::Interrupted { signal, .. }) => return Ok(Awaited::Interrupted(signal)),
        Err(ControlError::Gone) => return Ok(Awaited::Ended(None)),
        Err(error) => return Err(io::Error::other(error)),
    }
    let socket = connect(manager)?;
    seqpacket::send(socket.as_fd(), notice::ready(init).as_bytes(), &[])?;
    // Whoever is gone when it is read cannot be told whose it was; the end of the pipe says that it was read.
    let (read, held) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    seqpacket::send(socket.as_fd(), b"BARRIER=1", &[held.as_fd()])?;
    drop(held);
    // A signal ends this wait as well; all has been said.
    interrupt::wait(read.as_fd(), Readiness::Readable, Some(Instant::now() + patience::A_MANAGER), Duration::ZERO)?;
    Ok(Awaited::Ready)
}

/// None: it is ready.
fn ask(folder: BorrowedFd<'_>, id: &Id) -> Result<Option<Awaited>, ControlError> {
    let mut client = Client::connect(folder, None)?;
    match client.call(&Request::AwaitReady(Container { cid: id.clone() }), &[], None) {
        Ok(_) => Ok(None),
        Err(ControlError::Refused { code: ErrorCode::WrongState, .. }) => {
            let exited = client.wait(id, Some(Instant::now() + patience::A_STATUS));
            Ok(Some(Awaited::Ended(exited.ok().map(|exited| exited.exit()))))
        }
        Err(error) => Err(error),
    }
}

/// A path, or `@` and a name that is no path (sd_notify(3)).
fn connect(manager: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match manager.as_bytes() {
        [b'@', name @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        [b'/', ..] => {
            // Long paths do not fit into a socket's address: go through the folder's descriptor.
            let path = Path::new(manager);
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(ErrorKind::InvalidInput.into());
            };
            let folder = open::from_here(folder, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
            socket.connect(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))?;
        }
        _ => return Err(io::Error::new(ErrorKind::InvalidInput, "it is neither a path nor @ and a name")),
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// For whatever user the container has: it can write to the socket, and look at no more than its folder.
fn bind(sandbox: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    mkdirat(Some(sandbox.as_raw_fd()), FOLDER, Mode::from_bits_truncate(0o755))?;
    let folder = open::at(sandbox, Path::new(FOLDER), OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW, 0)?;
    let socket = UnixDatagram::bind(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(SOCKET))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
