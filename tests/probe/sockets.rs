//! Sockets that somebody else listens on.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

use crate::Baits;
use crate::kernel::{Errno, Identity, call, nr, stat};
use crate::report::{line, tried};

pub fn walk(baits: &Baits) {
    for text in fs::read_to_string("/proc/net/unix").unwrap_or_default().lines().skip(1) {
        match text.split_whitespace().nth(7) {
            Some(name) if name.starts_with('@') => connect_name("abstract", &name[1..]),
            Some(path) => connect_path("socket", Path::new(path), stat(path).ok().map(|stat| stat.identity)),
            None => {}
        }
    }
    for name in &baits.names {
        connect_name("abstract-bait", name);
    }
    for port in &baits.ports {
        let address = SocketAddr::from(([127, 0, 0, 1], *port));
        let result = TcpStream::connect_timeout(&address, Duration::from_secs(2));
        tried("tcp-bait", "loopback", "connect", &result.map_err(errno), None);
    }
    // Families that reach past the network namespace, or have been a way into the kernel.
    for (name, family, kind, protocol) in [
        ("packet", 17, 3, 0),
        ("raw", 2, 3, 1),
        ("vsock", 40, 1, 0),
        ("alg", 38, 5, 0),
        ("netlink route", 16, 3, 0),
        ("netlink audit", 16, 3, 9),
        ("netlink netfilter", 16, 3, 12),
        ("kernel uevents", 16, 3, 15),
        ("bluetooth", 31, 3, 1),
        ("can", 29, 3, 1),
    ] {
        let result = call(nr::SOCKET, &[family, kind, protocol]).map(crate::kernel::Fd);
        tried("family", name, "socket", &result, None);
    }
}

pub fn connect_path(kind: &str, path: &Path, which: Option<Identity>) {
    let result = match UnixStream::connect(path).map(drop).map_err(errno) {
        // It is of the other type.
        Err(Errno(91)) => UnixDatagram::unbound().and_then(|socket| socket.connect(path)).map_err(errno),
        other => other,
    };
    tried(kind, &path.to_string_lossy(), "connect", &result, which);
}

fn connect_name(kind: &str, name: &str) {
    let Ok(address) = UnixAddress::from_abstract_name(name) else { return line("error", name, "name", "no", None) };
    let result = UnixStream::connect_addr(&address).map_err(errno);
    tried(kind, &format!("@{name}"), "connect", &result, None);
}

fn errno(error: std::io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(5))
}
