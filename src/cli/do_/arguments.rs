//! What is typed behind `do`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::sizes;

/// Runs a command that need not be trusted. It sees the machine read-only, has an empty home and empty temporary folders
/// in memory, no network, no capabilities and a clean environment, and can do harm to none of what it sees.
///
/// The current folder is shown read-only, unless it is a home: then share it. What is in /home, /root, /run, /mnt, /media and
/// /srv is not shown unless it is shared.
#[derive(Args)]
pub struct Arguments {
    /// What the command sees as /
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub rootfs: PathBuf,
    /// Show DIR too, at its own path or at PLACE, for reading, or with :rw for writing; may be given again
    #[arg(long, value_name = "DIR[:PLACE][:rw]")]
    pub share: Vec<String>,
    /// As root: everything can be written, in memory, and is gone afterwards
    #[arg(long)]
    pub writable: bool,
    /// Without one, nothing can be reached and no name be resolved
    #[arg(long, value_enum, default_value = "none")]
    pub network: Network,
    /// One more variable, the caller's or with a value; may be given again
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub env: Vec<OsString>,
    /// The caller's whole environment, secrets and all
    #[arg(long)]
    pub keep_env: bool,
    /// At most so much memory, such as 512m or 2g [default: half of the machine's, where there is a cgroup]
    #[arg(long, value_name = "SIZE", value_parser = sizes::bytes)]
    pub memory: Option<u64>,
    /// At most the time of so many CPUs, such as 1.5
    #[arg(long, value_name = "N", value_parser = sizes::cpus)]
    pub cpus: Option<f64>,
    /// At most so many processes and threads
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub pids: u32,
    /// Kill it, and exit with 124, after so much time, such as 30, 1.5m or 2h
    #[arg(long, value_name = "TIME", value_parser = sizes::time)]
    pub time: Option<Duration>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// Loopback only
    None,
    /// The caller's
    Host,
}
