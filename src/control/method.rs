//! The methods: one table of names, and a type for every request and reply.

use serde::{Deserialize, Serialize};

use crate::model::Id;
use crate::model::record::{Exit, Nanos, Reaper};

/// Spoken by both sides of a connection, or it is closed.
pub const VERSION: u32 = 1;

/// The methods with their names on the wire, in the order of docs/control-protocol.md: there is no other list of them.
macro_rules! methods {
    ($($(#[doc = $text:literal])+ $method:ident = $name:literal;)+) => {
        /// What may be asked. docs/control-protocol.md has the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Method {
            $($(#[doc = $text])+ $method,)+
        }

        /// The names on the wire.
        pub const METHODS: &[(Method, &str)] = &[$((Method::$method, $name)),+];
    };
}

methods! {
    /// First on every connection: the version. Answers with the supervisor's own, and its sandbox.
    Handshake = "Handshake";
    /// Adopts a launched init. Descriptors: its pidfd, our end of its start socket.
    Create = "containerManager.Create";
    /// Releases the root container's init; answered when it has executed the application, or could not.
    StartRoot = "containerManager.StartRoot";
    /// The same for any container.
    Start = "containerManager.Start";
    /// Adopts one more process of a container. Descriptor: its pidfd.
    ExecuteAsync = "containerManager.ExecuteAsync";
    /// Whether the container has told the host's service manager that it is ready; answered when it has, refused when it
    /// never will.
    AwaitReady = "containerManager.AwaitReady";
    /// How a container's init ended; answered when it has. May be asked again and again.
    Wait = "containerManager.Wait";
    /// How an adopted process ended; answered once.
    WaitPid = "containerManager.WaitPID";
    /// Sends a signal to a container's init, or to one adopted process.
    Signal = "containerManager.Signal";
    /// What is known of the containers.
    State = "containerManager.State";
    /// Ends a container, or with the root container the sandbox; answered when nothing adopted of it lives.
    Destroy = "containerManager.Destroy";
}

impl Method {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        METHODS.iter().find(|(method, _)| *method == self).map_or("", |(_, name)| name)
    }

    /// None: a name that this version does not know.
    pub fn parse(name: &str) -> Option<Method> {
        METHODS.iter().find(|(_, known)| *known == name).map(|(method, _)| *method)
    }

    /// What goes on until it is answered, for the user: what somebody interrupts.
    pub fn meanwhile(self) -> &'static str {
        match self {
            Method::Handshake | Method::State => "while the supervisor was to answer",
            Method::Create => "while the container was being created",
            Method::StartRoot | Method::Start => "while the container was being started",
            Method::ExecuteAsync => "while a process was being started in the container",
            Method::AwaitReady => "before the container was ready",
            Method::Wait | Method::WaitPid => "before the end that was waited for",
            Method::Signal => "while the container was being signalled",
            Method::Destroy => "while the container was being ended",
        }
    }

    /// How many descriptors come beside its request.
    pub fn descriptors(self) -> usize {
        match self {
            Method::Create => 2,
            Method::ExecuteAsync => 1,
            Method::Handshake
            | Method::StartRoot
            | Method::Start
            | Method::AwaitReady
            | Method::Wait
            | Method::WaitPid
            | Method::Signal
            | Method::State
            | Method::Destroy => 0,
        }
    }
}

/// A method with its parameters.
#[allow(missing_docs)] // As [`Method`] has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Handshake(Handshake),
    Create(Create),
    StartRoot,
    Start(Container),
    ExecuteAsync(ExecuteAsync),
    AwaitReady(Container),
    Wait(Container),
    WaitPid(WaitPid),
    Signal(Signal),
    State(State),
    Destroy(Container),
}

impl Request {
    /// Which method this is a request of.
    pub fn method(&self) -> Method {
        match self {
            Request::Handshake(_) => Method::Handshake,
            Request::Create(_) => Method::Create,
            Request::StartRoot => Method::StartRoot,
            Request::Start(_) => Method::Start,
            Request::ExecuteAsync(_) => Method::ExecuteAsync,
            Request::AwaitReady(_) => Method::AwaitReady,
            Request::Wait(_) => Method::Wait,
            Request::WaitPid(_) => Method::WaitPid,
            Request::Signal(_) => Method::Signal,
            Request::State(_) => Method::State,
            Request::Destroy(_) => Method::Destroy,
        }
    }
}

/// Params of [`Method::Handshake`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handshake {
    /// The client's [`VERSION`].
    pub version: u32,
}

/// Params of [`Method::Create`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// Of the container; for the root the sandbox's.
    #[serde(with = "id_text")]
    pub cid: Id,
    /// The root container, whose end is the sandbox's. Its id is the sandbox's.
    pub root: bool,
    /// Whose child the init is: whoever that is, and nobody else, learns its status by waiting for it.
    #[serde(with = "reaper_text")]
    pub reaper: Reaper,
    /// In the sandbox's PID namespace.
    pub pid: i32,
    /// In the creator's PID namespace: what the host calls it.
    pub host_pid: i32,
    /// With the root: from here on the sandbox does not depend on its creator (unless it is attached).
    pub detach: bool,
}

/// Params of every method that needs no more than to know which container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// Which one.
    #[serde(with = "id_text")]
    pub cid: Id,
}

/// Params of [`Method::ExecuteAsync`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecuteAsync {
    /// The container that the process is one of; it has not ended.
    #[serde(with = "id_text")]
    pub cid: Id,
    /// In the sandbox's PID namespace.
    pub pid: i32,
    /// In the creator's PID namespace.
    pub host_pid: i32,
    /// Whose child the process is.
    #[serde(with = "reaper_text")]
    pub reaper: Reaper,
}

/// Params of [`Method::WaitPid`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitPid {
    /// The container that has the process.
    #[serde(with = "id_text")]
    pub cid: Id,
    /// In the sandbox's PID namespace.
    pub pid: i32,
}

/// Params of [`Method::Signal`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// The container that has the process.
    #[serde(with = "id_text")]
    pub cid: Id,
    /// In the sandbox's PID namespace; none: the container's init.
    pub pid: Option<i32>,
    /// Its number, 0 to 64; 0 only looks whether the process is there (kill(2)).
    pub signal: i32,
}

/// Params of [`Method::State`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Containers whose id sorts after this one: the answer goes on where the last frame ended.
    pub after: Option<String>,
}

/// What a request that was not refused is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// To Handshake.
    #[allow(missing_docs)]
    Welcome { version: u32, sandbox: String },
    /// To whatever has nothing to tell.
    Done,
    /// To Wait and WaitPid.
    Exited(Exited),
    /// To State, in the order of their ids. `more`: ask again, after the last of these.
    #[allow(missing_docs)]
    Containers { containers: Vec<ContainerStatus>, more: bool },
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// The exit code, or 128 + the signal's number; 255 if nobody could tell us.
    pub code: u8,
    /// The signal that killed it.
    pub signal: Option<u8>,
    /// Nanoseconds since the Unix epoch.
    pub at: Nanos,
    /// The status is not known: `note` says why.
    pub inferred: bool,
    /// Why the status is inferred, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Exited {
    /// As it is recorded: without the note.
    pub fn exit(&self) -> Exit {
        Exit { code: self.code, signal: self.signal, at: self.at, inferred: self.inferred }
    }

    /// As it was recorded. `note`: where the status is inferred, why.
    pub fn new(exit: Exit, note: Option<&str>) -> Exited {
        let Exit { code, signal, at, inferred } = exit;
        Exited { code, signal, at, inferred, note: note.map(str::to_owned) }
    }
}

/// What the supervisor knows of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Which one.
    pub cid: String,
    /// Its init has executed the application.
    pub started: bool,
    /// It was sent the start message, which nothing calls back.
    #[serde(default)]
    pub released: bool,
    /// How its init has ended, if it has.
    pub exited: Option<Exited>,
    /// Adopted and not known to have ended: the init first.
    pub pids: Vec<ProcessStatus>,
}

/// An adopted process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// In the sandbox's PID namespace.
    pub pid: i32,
    /// On the host.
    pub host_pid: i32,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For a program.
    pub code: ErrorCode,
    /// For its user, without the program's name in front.
    pub message: String,
}

/// The kinds of refusal that a program can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The request makes no sense, whatever the state.
    Invalid,
    /// A method of a later version, or none.
    UnknownMethod,
    /// The two sides speak different versions.
    Version,
    /// The id, or the process, is kept already.
    AlreadyExists,
    /// No such container or process.
    NotFound,
    /// Legal, but not in this state.
    WrongState,
    /// The init said why it could not execute the application.
    StartFailed,
    /// One of the hooks that the init runs before that failed; in its words.
    HookFailed,
    /// A limit of the supervisor is reached.
    Busy,
    /// The kernel refused.
    System,
    /// One that this side does not know.
    #[serde(other)]
    Other,
}

/// Ids are checked as they are read.
mod id_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::Id;

    pub fn serialize<S: Serializer>(id: &Id, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(id.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        Id::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

mod reaper_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::record::Reaper;

    pub fn serialize<S: Serializer>(reaper: &Reaper, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match reaper {
            Reaper::Supervisor => "supervisor",
            Reaper::Caller => "caller",
        })
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reaper, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "supervisor" => Ok(Reaper::Supervisor),
            "caller" => Ok(Reaper::Caller),
            other => Err(serde::de::Error::unknown_variant(other, &["supervisor", "caller"])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_one_name_of_its_own() {
        for (method, name) in METHODS {
            assert_eq!(method.name(), *name);
            assert_eq!(Method::parse(name), Some(*method));
        }
        assert_eq!(Method::parse("containerManager.create"), None);
    }
}
