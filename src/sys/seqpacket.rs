//! SOCK_SEQPACKET sockets of the file system: whole messages in order, and descriptors beside them (unix(7)).

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, getsockopt, setsockopt, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::time::TimeVal;

/// The most descriptors that travel beside one message.
pub const MAX_FDS: usize = 16;

/// Room for the control message that carries them, in words, so that it is aligned.
const CONTROL_WORDS: usize = 16;

/// What one receive brought.
#[derive(Debug)]
pub enum Received {
    /// The first `length` bytes of the buffer, and what came beside them.
    #[allow(missing_docs)]
    Message { length: usize, fds: Vec<OwnedFd> },
    /// Nothing is there yet.
    Nothing,
    /// The other side is gone. An empty message looks the same, and is not sent here.
    End,
}

/// A listening socket at `path`, mode 0600 from its first moment, nonblocking. One that lies there already is replaced.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    let socket = new_socket(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
    // bind(2) gives the file the mode of the socket, less the umask.
    fchmod(socket.as_raw_fd(), Mode::S_IRUSR | Mode::S_IWUSR)?;
    let address = UnixAddr::new(path)?;
    match socket::bind(socket.as_raw_fd(), &address) {
        Err(Errno::EADDRINUSE) => {
            std::fs::remove_file(path)?;
            socket::bind(socket.as_raw_fd(), &address)?;
        }
        other => other?,
    }
    socket::listen(&socket, Backlog::new(128)?)?;
    Ok(socket)
}

/// Connects, waiting no longer than until `deadline` for a listener whose queue is full (then EAGAIN). Nonblocking.
pub fn connect(path: &Path, deadline: Option<Instant>) -> io::Result<OwnedFd> {
    let socket = new_socket(SockFlag::SOCK_CLOEXEC)?;
    if let Some(deadline) = deadline {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let left = TimeVal::new(left.as_secs() as i64, i64::from(left.subsec_micros()));
        setsockopt(&socket, sockopt::SendTimeout, &left)?;
    }
    socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    set_nonblocking(socket.as_fd())?;
    Ok(socket)
}

/// `None`: nobody waits. What was accepted is nonblocking.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK) {
        // SAFETY: the kernel has just made this descriptor for us alone.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Two connected sockets, blocking.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// The other side reads an end; what it sends still arrives here.
pub fn end_writing(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(socket::shutdown(socket.as_raw_fd(), socket::Shutdown::Write)?)
}

/// Whether listen(2) was called on it. ENOTSOCK: it is no socket.
pub fn is_listening(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(getsockopt(&fd, sockopt::AcceptConn)?)
}

/// Whether it is a SOCK_SEQPACKET socket; false for whatever is none.
pub fn is_seqpacket(fd: BorrowedFd<'_>) -> bool {
    matches!(getsockopt(&fd, sockopt::SockType), Ok(SockType::SeqPacket))
}

/// O_NONBLOCK for the open file, and so for everybody who shares it.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_truncate(fcntl(fd.as_raw_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_raw_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Sends one whole message without waiting. `WouldBlock`: the other side's queue is full.
pub fn send(socket: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(socket.as_raw_fd(), &[io::IoSlice::new(message)], control, flags, None)?;
    Ok(())
}

/// Receives one whole message without waiting. One that is longer than `buffer`, or that brings more than [`MAX_FDS`]
/// descriptors, is `InvalidData`, and every descriptor that came with it is closed.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = [0u64; CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero bytes are a valid msghdr.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = control_space() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header points to `part`, `buffer` and `control`, which outlive the call, with their true sizes.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) };
    if length < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => Ok(Received::Nothing),
            Some(libc::ECONNRESET) => Ok(Received::End),
            _ => Err(error),
        };
    }
    let fds = received_fds(&header);
    if header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 || fds.len() > MAX_FDS {
        let what = format!("a message longer than {} bytes, or with more than {MAX_FDS} descriptors", buffer.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    if length == 0 { Ok(Received::End) } else { Ok(Received::Message { length: length as usize, fds }) }
}

/// Owns every descriptor that the kernel has put into the control messages of `header`.
fn received_fds(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the header was filled by recvmsg(2); the walk stays inside its control buffer.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: it is null, or points to a control message inside the buffer.
    while let Some(message) = unsafe { next.as_ref() } {
        if (message.cmsg_level, message.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: computes an offset and a size only.
            let (data, empty) = unsafe { (libc::CMSG_DATA(message).cast::<RawFd>(), libc::CMSG_LEN(0) as usize) };
            for index in 0..message.cmsg_len.saturating_sub(empty) / size_of::<RawFd>() {
                // SAFETY: the kernel wrote this many descriptors here, and made each of them for us alone.
                fds.push(unsafe { OwnedFd::from_raw_fd(data.add(index).read_unaligned()) });
            }
        }
        // SAFETY: as above.
        next = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    fds
}

fn control_space() -> usize {
    // SAFETY: computes a size only.
    unsafe { libc::CMSG_SPACE((MAX_FDS * size_of::<RawFd>()) as u32) as usize }
}

fn new_socket(flags: SockFlag) -> io::Result<OwnedFd> {
    Ok(socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_fds() -> usize {
        std::fs::read_dir("/proc/thread-self/fd").unwrap().count()
    }

    #[test]
    fn descriptors_arrive_in_order_and_beside_their_message() {
        let (a, b) = pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send(a.as_fd(), b"one", &[file.as_fd(), a.as_fd()]).unwrap();
        send(a.as_fd(), b"two", &[]).unwrap();
        let mut buffer = [0; 16];
        let Received::Message { length: 3, fds } = receive(b.as_fd(), &mut buffer).unwrap() else { panic!() };
        assert_eq!((&buffer[..3], fds.len()), (&b"one"[..], 2));
        assert!(is_seqpacket(fds[1].as_fd()) && !is_seqpacket(fds[0].as_fd()));
        let Received::Message { length: 3, fds } = receive(b.as_fd(), &mut buffer).unwrap() else { panic!() };
        assert!(fds.is_empty());
        assert!(matches!(receive(b.as_fd(), &mut buffer).unwrap(), Received::Nothing));
        drop((a, fds));
    }

    #[test]
    fn too_many_descriptors_are_refused_and_none_stays_open() {
        let (a, b) = pair().unwrap();
        let many: Vec<BorrowedFd<'_>> = (0..MAX_FDS + 4).map(|_| a.as_fd()).collect();
        send(a.as_fd(), b"x", &many).unwrap();
        // Other tests open and close too: only a steady leak would show over many rounds.
        let before = open_fds();
        for _ in 0..200 {
            assert_eq!(receive(b.as_fd(), &mut [0; 4]).unwrap_err().kind(), io::ErrorKind::InvalidData);
            send(a.as_fd(), b"x", &many).unwrap();
        }
        assert!(open_fds() < before + 1000, "descriptors leak");
    }

    #[test]
    fn a_message_too_long_is_refused_and_the_next_one_is_whole() {
        let (a, b) = pair().unwrap();
        send(a.as_fd(), &[7; 9], &[a.as_fd()]).unwrap();
        send(a.as_fd(), &[8; 8], &[]).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(receive(b.as_fd(), &mut buffer).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(matches!(receive(b.as_fd(), &mut buffer).unwrap(), Received::Message { length: 8, .. }));
        drop(a);
        assert!(matches!(receive(b.as_fd(), &mut buffer).unwrap(), Received::End));
    }

    #[test]
    fn a_stale_socket_is_replaced_and_nobody_else_may_connect() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(listen(&path).unwrap());
        let listener = listen(&path).unwrap();
        assert!(is_listening(listener.as_fd()).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(accept(listener.as_fd()).unwrap().is_none());
        let client = connect(&path, Some(Instant::now() + Duration::from_secs(5))).unwrap();
        let server = accept(listener.as_fd()).unwrap().unwrap();
        send(client.as_fd(), b"x", &[]).unwrap();
        assert!(matches!(receive(server.as_fd(), &mut [0; 4]).unwrap(), Received::Message { length: 1, .. }));
    }
}
