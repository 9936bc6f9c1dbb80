//! rtnetlink(7), as much of it as it takes to move an interface to another network namespace.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use serde::{Deserialize, Serialize};

const HEADER: usize = 16;
const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ACK: u16 = libc::NLM_F_ACK as u16;
/// A dump's messages are not longer than this.
const BUFFER: usize = 64 << 10;
/// ifaddrmsg
const ADDRESS_HEADER: usize = 8;

/// Of the network namespace that the opening thread is in.
pub struct Netlink(OwnedFd);

/// An address of an interface, as the kernel told it: family and the rest of its header, and its attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    header: [u8; ADDRESS_HEADER],
    attributes: Vec<(u16, Vec<u8>)>,
}

/// ENODEV: there is no such interface in our network namespace.
pub fn index_of(name: &str) -> io::Result<u32> {
    Ok(nix::net::if_::if_nametoindex(name)?)
}

impl Netlink {
    /// A socket for rtnetlink(7), in the network namespace that this thread is in now.
    pub fn open() -> io::Result<Netlink> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        Ok(Netlink(socket))
    }

    /// The addresses that somebody has given it: permanent, and not only of the link.
    pub fn addresses(&self, index: u32) -> io::Result<Vec<Address>> {
        const LABEL: u16 = 3;
        const CACHE: u16 = 6;
        self.send(libc::RTM_GETADDR, REQUEST | libc::NLM_F_DUMP as u16, &[0; ADDRESS_HEADER])?;
        let mut found = Vec::new();
        self.receive(|payload| {
            let Some((header, rest)) = payload.split_first_chunk::<ADDRESS_HEADER>() else { return };
            let [_, _, flags, scope, ..] = *header;
            let its = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
            let permanent = u32::from(flags) & libc::IFA_F_PERMANENT != 0;
            if its == index && permanent && scope == libc::RT_SCOPE_UNIVERSE {
                // The label is of the old name, the cache of the old time.
                let kept = attributes(rest).filter(|(kind, _)| ![LABEL, CACHE].contains(kind));
                found.push(Address {
                    header: *header,
                    attributes: kept.map(|(kind, value)| (kind, value.to_vec())).collect(),
                });
            }
        })?;
        Ok(found)
    }

    /// To another network namespace, by the name that it has there from then on. It loses its addresses and is down.
    pub fn move_link(&self, index: u32, name: &str, namespace: BorrowedFd<'_>) -> io::Result<()> {
        let mut body = link(index, 0, 0);
        attribute(&mut body, libc::IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        attribute(&mut body, libc::IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat());
        self.ask(libc::RTM_SETLINK, REQUEST | ACK, &body)
    }

    /// One that is there already is a success.
    pub fn add_address(&self, index: u32, address: &Address) -> io::Result<()> {
        let mut body = address.header.to_vec();
        body[4..].copy_from_slice(&index.to_ne_bytes());
        for (kind, value) in &address.attributes {
            attribute(&mut body, *kind, value);
        }
        let flags = REQUEST | ACK | (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
        match self.ask(libc::RTM_NEWADDR, flags, &body) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Brings the interface of this number up.
    pub fn raise(&self, index: u32) -> io::Result<()> {
        self.ask(libc::RTM_SETLINK, REQUEST | ACK, &link(index, libc::IFF_UP as u32, libc::IFF_UP as u32))
    }

    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.send(kind, flags, body)?;
        self.receive(|_| ())
    }

    fn send(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        match nix::unistd::write(&self.0, &message)? {
            written if written == message.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Everything up to the end of the answer; an error that the kernel answers with is one.
    fn receive(&self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = match nix::unistd::read(self.0.as_raw_fd(), &mut buffer) {
                Err(nix::Error::EINTR) => continue,
                other => other?,
            };
            let mut rest = &buffer[..length];
            while let Some((kind, payload, after)) = split(rest) {
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => {
                        let errno = payload.first_chunk().map_or(libc::EBADMSG, |errno| -i32::from_ne_bytes(*errno));
                        return if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) };
                    }
                    _ => take(payload),
                }
                rest = after;
            }
        }
    }
}

/// ifinfomsg
fn link(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), change.to_ne_bytes()].concat()
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(((4 + value.len()) as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(aligned(body.len()), 0);
}

fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (kind, _) = after.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = rest.get(4..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((u16::from_ne_bytes(*kind), value))
    })
}

/// (type, payload, what follows)
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (length, after) = bytes.split_first_chunk::<4>()?;
    let (kind, _) = after.split_first_chunk::<2>()?;
    let length = u32::from_ne_bytes(*length) as usize;
    let payload = bytes.get(HEADER..length)?;
    Some((u16::from_ne_bytes(*kind), payload, bytes.get(aligned(length)..).unwrap_or_default()))
}

fn aligned(length: usize) -> usize {
    length.div_ceil(4) * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_are_written() {
        let mut body = Vec::new();
        attribute(&mut body, 3, b"eth0\0");
        attribute(&mut body, 28, &7u32.to_ne_bytes());
        assert_eq!(body.len() % 4, 0);
        assert_eq!(attributes(&body).collect::<Vec<_>>(), [(3, &b"eth0\0"[..]), (28, &7u32.to_ne_bytes()[..])]);
    }

    #[test]
    fn the_kernel_answers() {
        let netlink = Netlink::open().unwrap();
        let lo = index_of("lo").unwrap();
        // 127.0.0.1 is of the host, ::1 too: neither is of the universe.
        assert_eq!(netlink.addresses(lo).unwrap(), []);
        assert_eq!(index_of("no-such-if").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!(netlink.raise(0x7fff_fff0).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_split_somehow(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100)) {
            let _ = (split(&bytes), attributes(&bytes).count());
        }
    }
}
