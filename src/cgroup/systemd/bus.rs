//! A connection to a systemd: directly over its private socket, or over a bus.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::error::BusError;
use super::wire::{self, Body, Call, FIXED, Kind, Malformed, Message};
use crate::sys::patience;
use crate::sys::user_namespace;

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const DBUS: &str = "org.freedesktop.DBus";

/// Whose systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// That of the machine, as root reaches it.
    System,
    /// That of the user who calls: rootless.
    User,
}

impl Bus {
    /// Root's, unless we are root only of a user namespace.
    pub fn of_caller() -> Bus {
        if user_namespace::is_root_of_machine() { Bus::System } else { Bus::User }
    }

    /// In the sandbox's folder.
    pub fn name(self) -> &'static str {
        match self {
            Bus::System => "system",
            Bus::User => "user",
        }
    }

    /// From what [`Bus::name`] gives; None for anything else.
    pub fn parse(name: &str) -> Option<Bus> {
        [Bus::System, Bus::User].into_iter().find(|bus| bus.name() == name)
    }
}

pub struct Connection {
    stream: UnixStream,
    serial: u32,
    /// Jobs that ended while something else was waited for: (path, unit, result).
    ended: Vec<[String; 3]>,
}

impl Connection {
    pub fn open(bus: Bus) -> Result<Connection, BusError> {
        let candidates = candidates(bus);
        for (path, kind) in &candidates {
            if !path.exists() {
                continue;
            }
            let stream = UnixStream::connect(path);
            let stream = stream.map_err(|source| BusError::Connect { path: path.clone(), source })?;
            let mut connection = Connection { stream, serial: 0, ended: Vec::new() };
            connection.authenticate(path)?;
            if *kind == Socket::Bus {
                connection.call_bus("Hello", Body::default())?;
                let rule = format!("type='signal',interface='{MANAGER}',member='JobRemoved'");
                connection.call_bus("AddMatch", Body::default().text(&rule))?;
            }
            connection.call("Subscribe", Body::default())?;
            return Ok(connection);
        }
        Err(BusError::Absent { tried: candidates.into_iter().map(|(path, _)| path).collect() })
    }

    /// EXTERNAL without a name: the kernel tells the other side who we are, also across user namespaces.
    ///
    /// All of it is sent at once, as systemd's own clients do: a systemd that reads BEGIN and the first call together
    /// leaves the call lying until something else arrives (seen with 252).
    fn authenticate(&mut self, path: &Path) -> Result<(), BusError> {
        let deadline = Instant::now() + patience::SYSTEMD;
        self.stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        // Nothing follows the two lines until we call.
        let mut told = Vec::new();
        while told.split(|byte| *byte == b'\n').count() < 3 && told.len() < 512 {
            let mut bytes = [0; 128];
            let count = self.read_some(&mut bytes, deadline)?;
            told.extend_from_slice(&bytes[..count]);
        }
        let told = String::from_utf8_lossy(&told);
        let mut lines = told.lines();
        if lines.next() == Some("DATA") && lines.next().is_some_and(|line| line.starts_with("OK ")) {
            return Ok(());
        }
        Err(BusError::Refused { path: path.to_owned() })
    }

    /// Calls the manager and returns its answer.
    pub fn call(&mut self, member: &str, body: Body) -> Result<Message, BusError> {
        self.send(&Call { destination: SYSTEMD, path: MANAGER_PATH, interface: MANAGER, member, body })
    }

    fn call_bus(&mut self, member: &str, body: Body) -> Result<Message, BusError> {
        self.send(&Call { destination: DBUS, path: "/org/freedesktop/DBus", interface: DBUS, member, body })
    }

    /// A property of the manager that is a text.
    pub fn property(&mut self, name: &str) -> Result<String, BusError> {
        let body = Body::default().text(MANAGER).text(name);
        let interface = "org.freedesktop.DBus.Properties";
        let call = Call { destination: SYSTEMD, path: MANAGER_PATH, interface, member: "Get", body };
        Ok(self.send(&call)?.texts().pop().ok_or(Malformed)?)
    }

    /// Waits for the end of the job that a call has begun.
    pub fn finish_job(&mut self, begun: &Message, unit: &str) -> Result<(), BusError> {
        let job = begun.texts().pop().ok_or(Malformed)?;
        let deadline = Instant::now() + patience::SYSTEMD;
        loop {
            if let Some(at) = self.ended.iter().position(|[path, ..]| *path == job) {
                let [_, _, result] = self.ended.swap_remove(at);
                return match result.as_str() {
                    "done" => Ok(()),
                    _ => Err(BusError::Job { unit: unit.to_owned(), result }),
                };
            }
            let message = self.receive(deadline)?;
            self.remember(&message);
        }
    }

    fn send(&mut self, call: &Call<'_>) -> Result<Message, BusError> {
        self.serial += 1;
        let serial = self.serial;
        self.stream.set_write_timeout(Some(patience::SYSTEMD))?;
        self.stream.write_all(&wire::encode(call, serial))?;
        let deadline = Instant::now() + patience::SYSTEMD;
        loop {
            let message = self.receive(deadline)?;
            match message.kind {
                Some(Kind::Return) if message.reply_to == serial => return Ok(message),
                Some(Kind::Error) if message.reply_to == serial => {
                    let text = message.texts().into_iter().next().unwrap_or_default();
                    return Err(BusError::Failed { name: message.error, text });
                }
                _ => self.remember(&message),
            }
        }
    }

    fn remember(&mut self, message: &Message) {
        if message.kind == Some(Kind::Signal)
            && message.member == "JobRemoved"
            && let Ok(ended) = <[String; 3]>::try_from(message.texts())
        {
            self.ended.push(ended);
        }
    }

    fn receive(&mut self, deadline: Instant) -> Result<Message, BusError> {
        let mut fixed = [0; FIXED];
        self.read(&mut fixed, deadline)?;
        let mut bytes = fixed.to_vec();
        bytes.resize(wire::length(&fixed)?, 0);
        self.read(&mut bytes[FIXED..], deadline)?;
        Ok(wire::decode(&bytes)?)
    }

    fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<(), BusError> {
        let mut filled = 0;
        while filled < buffer.len() {
            filled += self.read_some(&mut buffer[filled..], deadline)?;
        }
        Ok(())
    }

    /// At least one byte.
    fn read_some(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<usize, BusError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(BusError::Timeout { waited: patience::SYSTEMD });
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(BusError::Timeout { waited: patience::SYSTEMD });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Socket {
    /// systemd itself.
    Private,
    Bus,
}

/// Where a systemd may be reached, the most direct way first.
fn candidates(bus: Bus) -> Vec<(PathBuf, Socket)> {
    match bus {
        Bus::System => {
            let named = std::env::var_os("DBUS_SYSTEM_BUS_ADDRESS");
            let named = named.as_deref().and_then(unix_path).map(|path| (path, Socket::Bus));
            let usual =
                [("/run/systemd/private".into(), Socket::Private), ("/run/dbus/system_bus_socket".into(), Socket::Bus)];
            named.into_iter().chain(usual).collect()
        }
        Bus::User => {
            let named = std::env::var_os("DBUS_SESSION_BUS_ADDRESS");
            let named = named.as_deref().and_then(unix_path).map(|path| (path, Socket::Bus));
            let folder = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
            let folder = folder.map(PathBuf::from);
            let usual = folder
                .map(|folder| [(folder.join("systemd/private"), Socket::Private), (folder.join("bus"), Socket::Bus)]);
            named.into_iter().chain(usual.into_iter().flatten()).collect()
        }
    }
}

/// The first `unix:path=` of an address (D-Bus specification, "Server Addresses").
fn unix_path(address: &OsStr) -> Option<PathBuf> {
    let of_unix = address.as_bytes().split(|byte| *byte == b';').filter_map(|one| one.strip_prefix(b"unix:"));
    let mut keys = of_unix.flat_map(|keys| keys.split(|byte| *byte == b','));
    keys.find_map(|key| key.strip_prefix(b"path=")).map(|path| OsStr::from_bytes(path).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_searched_for_a_path() {
        assert_eq!(unix_path(OsStr::new("unix:path=/run/user/1/bus,guid=5")), Some("/run/user/1/bus".into()));
        assert_eq!(unix_path(OsStr::new("tcp:host=x;unix:guid=5,path=/b")), Some("/b".into()));
        assert_eq!(unix_path(OsStr::new("unix:abstract=x")), None);
    }
}
