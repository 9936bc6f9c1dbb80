//! The flags of every command.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::log;

#[derive(Args)]
pub struct Global {
    /// Where sandboxes are recorded [default: /run/sandkeep; as an ordinary user $XDG_RUNTIME_DIR/sandkeep, or
    /// /tmp/sandkeep-UID, which only that user can read, where there is no such folder of the user's own]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Append errors to this file too
    #[arg(long, global = true, value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub log: Option<PathBuf>,
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log_format: log::Format,
    #[arg(long, global = true, value_enum, default_value = "error")]
    pub log_level: log::Level,
    /// The same as --log-level debug
    #[arg(long, global = true)]
    pub debug: bool,
    /// The same as --cgroup-manager systemd
    #[arg(long, global = true)]
    pub systemd_cgroup: bool,
    #[arg(long, global = true, value_enum, default_value = "cgroupfs")]
    pub cgroup_manager: CgroupManager,
    /// true, false or auto: whether to do without the privileges of root
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub rootless: String,
    /// Print the version
    #[arg(short = 'v', long)]
    pub version: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum CgroupManager {
    Cgroupfs,
    Systemd,
    Disabled,
}
