//! (being written)

pub mod hooks;
pub mod seccomp;
