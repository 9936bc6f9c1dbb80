//! What a command talks to a supervisor through. No call outlives its deadline, whatever the other side does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::method::{
    Container, ContainerStatus, ErrorCode, Exited, Handshake, Method, Refusal, Reply, Request, State, VERSION, WaitPid,
};
use super::wire::{self, DecodeError, MAX_FRAME, Received, RequestId};
use crate::model::Id;
use crate::sys::interrupt::{self, Waited};
use crate::sys::patience;
use crate::sys::ready::Readiness;
use crate::sys::seqpacket;

/// Why a call has no answer. After `Refused` and `Timeout` the connection is as good as before.
#[allow(missing_docs)] // Their texts say it.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The supervisor's own words.
    #[error("{message}")]
    Refused { code: ErrorCode, message: String },
    #[error("the supervisor did not answer {} within {after:?}", method.name())]
    Timeout { method: Method, after: Duration },
    #[error("interrupted by {}, {}", interrupt::name_of(*.signal), method.meanwhile())]
    Interrupted { method: Method, signal: i32 },
    /// Nobody listens, or the connection ended before the answer: the supervisor is gone, or going.
    #[error("the supervisor is gone")]
    Gone,
    #[error("the supervisor speaks version {theirs} of the control protocol, this program version {VERSION}")]
    Version { theirs: u32 },
    #[error("the supervisor answered {} with something that makes no sense", method.name())]
    Decode { method: Method, source: DecodeError },
    #[error("the supervisor answered {} with what belongs to another method", method.name())]
    UnexpectedReply { method: Method },
    #[error("cannot talk to the supervisor ({})", method.name())]
    Transport { method: Method, source: io::Error },
}

impl ControlError {
    /// It is there, and takes on no more for now.
    pub fn is_busy(&self) -> bool {
        matches!(self, ControlError::Refused { code: ErrorCode::Busy, .. })
    }
}

/// A connection that has shaken hands. It serves any number of calls, one after the other; after an error other than
/// `Refused` and `Timeout` it is of no more use.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    last_id: RequestId,
    sandbox: String,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to the supervisor of the sandbox whose folder `dir` is. Without a deadline this may wait for ever.
    pub fn connect(dir: BorrowedFd<'_>, deadline: Option<Instant>) -> Result<Client, ControlError> {
        let (method, began) = (Method::Handshake, Instant::now());
        let socket =
            seqpacket::connect(&super::socket_path(dir), deadline).map_err(|source| match source.raw_os_error() {
                Some(libc::ENOENT | libc::ECONNREFUSED | libc::ECONNRESET) => ControlError::Gone,
                Some(libc::EAGAIN | libc::EINTR) => ControlError::Timeout { method, after: began.elapsed() },
                _ => ControlError::Transport { method, source },
            })?;
        let mut client = Client { socket, last_id: 0, sandbox: String::new(), buffer: vec![0; MAX_FRAME] };
        match client.call(&Request::Handshake(Handshake { version: VERSION }), &[], deadline)? {
            Reply::Welcome { version: VERSION, sandbox } => client.sandbox = sandbox,
            Reply::Welcome { version: theirs, .. } => return Err(ControlError::Version { theirs }),
            _ => return Err(ControlError::UnexpectedReply { method }),
        }
        Ok(client)
    }

    /// The id that the supervisor says its sandbox has.
    pub fn sandbox(&self) -> &str {
        &self.sandbox
    }

    /// Asks, and waits for the answer until `deadline`; without one for as long as it takes.
    pub fn call(
        &mut self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> Result<Reply, ControlError> {
        let (method, began) = (request.method(), Instant::now());
        self.last_id += 1;
        let frame = wire::encode_request(self.last_id, request);
        self.send(method, &frame, fds, began, deadline)?;
        loop {
            let (id, outcome) = self.receive(method, began, deadline)?;
            // Else the late answer to a call whose deadline had passed.
            if id == self.last_id {
                return outcome.map_err(|Refusal { code, message }| ControlError::Refused { code, message });
            }
        }
    }

    /// How the container's init ended.
    pub fn wait(&mut self, cid: &Id, deadline: Option<Instant>) -> Result<Exited, ControlError> {
        self.call_exited(&Request::Wait(Container { cid: cid.clone() }), deadline)
    }

    /// How the adopted process ended; `pid` as in the sandbox's PID namespace.
    pub fn wait_pid(&mut self, cid: &Id, pid: i32, deadline: Option<Instant>) -> Result<Exited, ControlError> {
        self.call_exited(&Request::WaitPid(WaitPid { cid: cid.clone(), pid }), deadline)
    }

    /// Every container, in the order of their ids.
    pub fn state(&mut self, deadline: Option<Instant>) -> Result<Vec<ContainerStatus>, ControlError> {
        let mut all: Vec<ContainerStatus> = Vec::new();
        loop {
            let after = all.last().map(|container| container.cid.clone());
            match self.call(&Request::State(State { after: after.clone() }), &[], deadline)? {
                Reply::Containers { containers, more } => {
                    let goes_on = containers.last().is_some_and(|last| Some(&last.cid) > after.as_ref());
                    all.extend(containers);
                    if !more || !goes_on {
                        return Ok(all);
                    }
                }
                _ => return Err(ControlError::UnexpectedReply { method: Method::State }),
            }
        }
    }

    fn call_exited(&mut self, request: &Request, deadline: Option<Instant>) -> Result<Exited, ControlError> {
        match self.call(request, &[], deadline)? {
            Reply::Exited(exited) => Ok(exited),
            _ => Err(ControlError::UnexpectedReply { method: request.method() }),
        }
    }

    fn send(
        &mut self,
        method: Method,
        frame: &[u8],
        fds: &[BorrowedFd<'_>],
        began: Instant,
        deadline: Option<Instant>,
    ) -> Result<(), ControlError> {
        loop {
            match wire::send(self.socket.as_fd(), frame, fds) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready(method, Readiness::Writable, began, deadline)?;
                }
                // The supervisor may have said why before it hung up; then that is still there to be read.
                Err(error) if is_hang_up(&error) => return Ok(()),
                Err(source) => return Err(ControlError::Transport { method, source }),
            }
        }
    }

    fn receive(
        &mut self,
        method: Method,
        began: Instant,
        deadline: Option<Instant>,
    ) -> Result<(RequestId, Result<Reply, Refusal>), ControlError> {
        loop {
            match wire::receive(self.socket.as_fd(), &mut self.buffer) {
                // Descriptors beside a reply mean nothing: they are closed here.
                Ok(Received::Message { length, .. }) => {
                    return wire::decode_reply(&self.buffer[..length])
                        .map_err(|source| ControlError::Decode { method, source });
                }
                Ok(Received::Nothing) => self.ready(method, Readiness::Readable, began, deadline)?,
                Ok(Received::End) => return Err(ControlError::Gone),
                Err(source) => return Err(ControlError::Transport { method, source }),
            }
        }
    }

    fn ready(
        &self,
        method: Method,
        readiness: Readiness,
        began: Instant,
        deadline: Option<Instant>,
    ) -> Result<(), ControlError> {
        // What starts is about to be who answers to signals.
        let grace = if method == Method::Start { patience::A_START_WHEN_ENDING } else { Duration::ZERO };
        match interrupt::wait(self.socket.as_fd(), readiness, deadline, grace) {
            Ok(Waited::Ready) => Ok(()),
            Ok(Waited::TimeUp) => Err(ControlError::Timeout { method, after: began.elapsed() }),
            Ok(Waited::Interrupted(signal)) => Err(ControlError::Interrupted { method, signal }),
            Err(source) => Err(ControlError::Transport { method, source }),
        }
    }
}

/// To be told when the supervisor goes away while nothing is being asked: then it is readable.
impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::sys::ready;

    fn folder() -> (tempfile::TempDir, OwnedFd) {
        // Longer than a socket address may be.
        let dir = tempfile::Builder::new().prefix(&"d".repeat(150)).tempdir().unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap().into();
        (dir, fd)
    }

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_millis(50))
    }

    #[test]
    fn a_folder_without_a_supervisor_is_one_whose_supervisor_is_gone() {
        let (dir, fd) = folder();
        assert!(matches!(Client::connect(fd.as_fd(), soon()), Err(ControlError::Gone)));
        drop(super::super::listen(fd.as_fd()).unwrap());
        assert_eq!(std::fs::metadata(dir.path().join("control.sock")).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(Client::connect(fd.as_fd(), soon()), Err(ControlError::Gone)));
    }

    #[test]
    fn a_supervisor_that_hangs_costs_no_more_than_the_deadline() {
        let (_dir, fd) = folder();
        let _listener = super::super::listen(fd.as_fd()).unwrap();
        let error = Client::connect(fd.as_fd(), soon()).unwrap_err();
        assert!(matches!(error, ControlError::Timeout { method: Method::Handshake, .. }), "{error}");
    }

    #[test]
    fn a_full_queue_of_a_hung_supervisor_costs_no_more_than_the_deadline() {
        let (_dir, fd) = folder();
        let _listener = super::super::listen(fd.as_fd()).unwrap();
        let path = super::super::socket_path(fd.as_fd());
        let mut waiting = Vec::new();
        let error = loop {
            match seqpacket::connect(&path, Some(Instant::now() + Duration::from_millis(20))) {
                Ok(socket) => waiting.push(socket),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(matches!(Client::connect(fd.as_fd(), soon()), Err(ControlError::Timeout { .. })));
    }

    #[test]
    fn another_version_is_told_as_such() {
        let (_dir, fd) = folder();
        let listener = super::super::listen(fd.as_fd()).unwrap();
        let server = std::thread::spawn(move || {
            ready::wait(listener.as_fd(), Readiness::Readable, None).unwrap();
            let socket = seqpacket::accept(listener.as_fd()).unwrap().unwrap();
            ready::wait(socket.as_fd(), Readiness::Readable, None).unwrap();
            let mut buffer = vec![0; MAX_FRAME];
            let Received::Message { length, .. } = wire::receive(socket.as_fd(), &mut buffer).unwrap() else {
                panic!("no frame")
            };
            let (id, _) = wire::decode_request(&buffer[..length]).unwrap();
            let reply = Ok(Reply::Welcome { version: VERSION + 1, sandbox: "s".to_owned() });
            wire::send(socket.as_fd(), &wire::encode_reply(id, &reply), &[]).unwrap();
        });
        assert!(matches!(Client::connect(fd.as_fd(), None), Err(ControlError::Version { theirs: 2 })));
        server.join().unwrap();
    }
}
