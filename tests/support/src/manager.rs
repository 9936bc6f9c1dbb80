//! A service manager, as far as NOTIFY_SOCKET goes: it hears, and says from whom.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use super::command::DEADLINE;

pub struct Manager {
    socket: UnixDatagram,
    address: OsString,
}

impl Manager {
    pub fn at(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).expect("a socket for notices");
        Manager { socket, address: path.into() }
    }

    /// One that has a name and no path.
    pub fn named(name: &str) -> Manager {
        let address = SocketAddr::from_abstract_name(name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket without a path");
        Manager { socket, address: format!("@{name}").into() }
    }

    /// What NOTIFY_SOCKET is to say.
    pub fn address(&self) -> &OsString {
        &self.address
    }

    /// The next message.
    #[track_caller]
    pub fn hears(&self) -> String {
        self.next(DEADLINE).expect("a message within the deadline")
    }

    /// Everything up to one that contains `needle`, that one included.
    #[track_caller]
    pub fn hears_until(&self, needle: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|last: &String| last.contains(needle)) {
            let next = self.next(DEADLINE);
            heard.push(next.unwrap_or_else(|| panic!("{needle:?} did not come after {heard:?}")));
        }
        heard
    }

    /// What is there now.
    pub fn has_heard(&self) -> Vec<String> {
        std::iter::from_fn(|| self.next(Duration::from_millis(1))).collect()
    }

    fn next(&self, patience: Duration) -> Option<String> {
        let mut buffer = [0; 8192];
        self.socket.set_read_timeout(Some(patience)).expect("a timeout");
        // Descriptors that come along are closed, for there is no room for them.
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }
}
