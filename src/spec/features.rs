//! The features document (runtime-spec, features.md): true to what `plan` takes and the rest of the crate applies.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use serde_json::{Value, json};

use super::{Host, OCI_VERSION, annotations, capabilities, hooks, mount_options, namespaces, placement};

/// What layers below the configuration say of themselves.
pub struct Applied {
    /// `linux.cgroup`
    pub cgroup: Value,
    /// `linux.seccomp`
    pub seccomp: Value,
}

/// `sandkeep features`, for the kernel that we run on.
pub fn features(applied: Applied) -> Value {
    let mut about = json!({"io.sandkeep.version": env!("CARGO_PKG_VERSION")});
    if let Ok(version) = libseccomp::ScmpVersion::current() {
        let version = format!("{}.{}.{}", version.major, version.minor, version.micro);
        about["io.github.seccomp.libseccomp.version"] = json!(version);
    }
    let (modes, flags) = placement::memory_policy_words();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": hooks::KINDS,
        "mountOptions": mount_options::supported().collect::<Vec<_>>(),
        "linux": {
            "namespaces": namespaces::names(),
            "capabilities": capabilities::known(&Host::here()),
            "cgroup": applied.cgroup,
            "seccomp": applied.seccomp,
            // What we can apply, whatever this kernel has (features-linux.md).
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
            "memoryPolicy": {"modes": modes, "flags": flags},
            "mountExtensions": {"idmap": {"enabled": true}},
            "netDevices": {"enabled": true},
        },
        "annotations": about,
        "potentiallyUnsafeConfigAnnotations": annotations::UNSAFE,
    })
}
