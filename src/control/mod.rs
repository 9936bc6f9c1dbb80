//! The protocol between the commands and the supervisor of a sandbox (docs/control-protocol.md).
//!
//! * [`wire`] owns the frames: one JSON object a message, descriptors beside it, every length checked.
//! * [`method`] owns the methods: their names in one table, their requests and replies as types.
//! * [`client`] is what a command talks through; every call has a deadline.
//! * [`listen`] makes the socket that the supervisor serves.
//!
//! Nothing in here decides anything about a container, trusts a length, or waits without being told for how long.
//! A crash in here loses a connection and nothing else: requests are idempotent, or refused the second time, and the
//! ends of containers are on disk.

pub mod client;
pub mod method;
pub mod wire;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

pub use client::{Client, ControlError};
pub use method::{Container, Create, ErrorCode, ExecuteAsync, Method, Reply, Request};

use crate::sys::seqpacket;

/// The name of the socket in a sandbox's folder.
pub const SOCKET: &str = "control.sock";

/// The control socket of the sandbox whose folder `dir` is: mode 0600, nonblocking, close-on-exec, in place of any that
/// an earlier supervisor left.
pub fn listen(dir: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    seqpacket::listen(&socket_path(dir))
}

/// Through the descriptor, for the plain path may be longer than a socket address.
fn socket_path(dir: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()))
}
