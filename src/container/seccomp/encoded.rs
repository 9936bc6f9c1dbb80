//! A compiled program as bytes, to be kept for the next container with the same profile, and the name it is kept under.

use oci_spec::runtime::LinuxSeccomp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Program;

/// Of what `compile` makes of a profile: to be raised when that changes.
const VERSION: &str = "2";

#[derive(Serialize, Deserialize)]
struct Header {
    flags: u32,
    notify: bool,
    unknown: Vec<String>,
}

impl Program {
    /// One line of JSON, then the instructions.
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = Header { flags: self.flags, notify: self.notify, unknown: self.unknown.clone() };
        let mut bytes = serde_json::to_vec(&header).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend(&self.bpf);
        bytes
    }

    /// None for bytes of any other kind.
    pub fn from_bytes(bytes: &[u8]) -> Option<Program> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let Header { flags, notify, unknown } = serde_json::from_slice(&bytes[..end]).ok()?;
        let bpf = bytes[end + 1..].to_vec();
        let whole = !bpf.is_empty() && bpf.len().is_multiple_of(size_of::<libc::sock_filter>());
        whole.then_some(Program { bpf, flags, notify, unknown })
    }
}

/// SHA-256, in hex, of all that decides what the program is: the profile but for whom it notifies, the library that
/// compiles it, and the kernel, whose features that library asks for.
pub fn fingerprint(profile: &LinuxSeccomp) -> Option<String> {
    let mut profile = profile.clone();
    profile.set_listener_path(None);
    profile.set_listener_metadata(None);
    let library = libseccomp::ScmpVersion::current().ok()?;
    let kernel = nix::sys::utsname::uname().ok()?;
    let mut digest = Sha256::new();
    digest.update(format!(
        "{VERSION} {}.{}.{} {} ",
        library.major,
        library.minor,
        library.micro,
        env!("CARGO_PKG_VERSION")
    ));
    digest.update(kernel.release().as_encoded_bytes());
    digest.update(kernel.machine().as_encoded_bytes());
    digest.update(serde_json::to_vec(&profile).ok()?);
    Some(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_program_is_read_back_and_other_bytes_are_none() {
        let program = Program { bpf: vec![10; 16], flags: 2, notify: true, unknown: vec!["no\nsuch".into()] };
        let bytes = program.to_bytes();
        assert_eq!(Program::from_bytes(&bytes), Some(program));
        for kept in (0..bytes.len()).filter(|kept| *kept != bytes.len() - 8) {
            assert_eq!(Program::from_bytes(&bytes[..kept]), None, "{kept} bytes");
        }
    }

    #[test]
    fn whom_it_notifies_is_no_part_of_a_program_and_everything_else_is() {
        let of = |profile: serde_json::Value| fingerprint(&serde_json::from_value(profile).unwrap()).unwrap();
        let rule = |name: &str| json!([{"names": [name], "action": "SCMP_ACT_NOTIFY"}]);
        let base = of(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule("mkdir")}));
        let listener = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule("mkdir"), "listenerPath": "/a",
            "listenerMetadata": "x"});
        assert_eq!(of(listener), base);
        assert_ne!(of(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule("rmdir")})), base);
        assert_ne!(of(json!({"defaultAction": "SCMP_ACT_LOG", "syscalls": rule("mkdir")})), base);
    }
}
