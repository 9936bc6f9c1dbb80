//! The few facts about the machine that decide what a configuration means.

/// What `plan` must know of the host. Plain data, so that a plan can be tested for a machine that is not this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// The caller is not uid 0 of its user namespace: without a user namespace of its own, a container can be nothing.
    pub rootless: bool,
    /// The highest capability number that the kernel knows; higher ones are dropped with a warning.
    pub last_capability: u32,
}

/// CAP_CHECKPOINT_RESTORE: the last one of every kernel that we run on (5.9 and later).
const NEWEST_KNOWN: u32 = 40;

impl Host {
    /// The machine that we run on.
    pub fn here() -> Host {
        let last =
            crate::sys::text::read("/proc/sys/kernel/cap_last_cap").ok().and_then(|text| text.trim().parse().ok());
        Host { rootless: !nix::unistd::geteuid().is_root(), last_capability: last.unwrap_or(NEWEST_KNOWN) }
    }
}
