//! The kernel edge: typed system calls, `OwnedFd` in and out. The only `unsafe` of the crate lives in this folder, a
//! line or two a block, each with its reason.

#![allow(unsafe_code)]

pub mod descriptors;
pub mod pidfd;
pub mod poller;
pub mod privilege;
pub mod procfs;
pub mod ready;
pub mod seqpacket;
pub mod signals;
