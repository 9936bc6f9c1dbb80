//! Keys: those of the caller's session above all.

use std::ffi::CString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::Baits;
use crate::kernel::{Errno, call, nr};
use crate::report::{line, tried};

const GET_KEYRING_ID: usize = 0;
const JOIN_SESSION_KEYRING: usize = 1;
const SETPERM: usize = 5;
const DESCRIBE: usize = 6;
const LINK: usize = 8;
const UNLINK: usize = 9;
const SEARCH: usize = 10;
const READ: usize = 11;

const SESSION: usize = -3isize as usize;
const USER: usize = -4isize as usize;
const USER_SESSION: usize = -5isize as usize;
const PROCESS: usize = -2isize as usize;

pub fn walk(baits: &Baits) {
    let rings = [("session", SESSION), ("user", USER), ("user session", USER_SESSION)];
    for (name, ring) in rings {
        tried("keyring", name, "id", &call(nr::KEYCTL, &[GET_KEYRING_ID, ring, 0]), None);
        if let Some(key) = &baits.key {
            let found = search(ring, key);
            tried("key-bait", name, "search", &found, None);
            if let Ok(serial) = found {
                tried("key-bait", name, "read", &read(serial), None);
            }
        }
    }
    let visible = std::fs::read_to_string("/proc/keys").unwrap_or_default().lines().count();
    line("keyring", "/proc/keys", "lines", &visible.to_string(), None);
    let Some(serial) = baits.serial else { return };
    tried("key-bait", "by its number", "describe", &call(nr::KEYCTL, &[DESCRIBE, serial, 0, 0]), None);
    tried("key-bait", "by its number", "read", &read(serial), None);
    tried("key-bait", "by its number", "setperm", &call(nr::KEYCTL, &[SETPERM, serial, 0x3f3f_0000]), None);
    for (name, ring) in [("process", PROCESS), ("session", SESSION)] {
        let linked = call(nr::KEYCTL, &[LINK, serial, ring]);
        tried("key-bait", name, "link", &linked, None);
        if linked.is_ok() {
            tried("key-bait", name, "read once linked", &read(serial), None);
            let _ = call(nr::KEYCTL, &[UNLINK, serial, ring]);
        }
    }
}

fn search(ring: usize, description: &str) -> Result<usize, Errno> {
    let description = CString::new(description).expect("no zero byte in an argument");
    call(nr::KEYCTL, &[SEARCH, ring, c"user".as_ptr() as usize, description.as_ptr() as usize, 0])
}

fn read(serial: usize) -> Result<usize, Errno> {
    let mut buffer = [0u8; 64];
    call(nr::KEYCTL, &[READ, serial, buffer.as_mut_ptr() as usize, buffer.len()])
}

/// Becomes a program whose session keyring holds one key. Its number takes the place of `SERIAL` in the program's arguments
/// and in a file (`-` for none).
pub fn execute_with_key(args: &[String]) {
    let [description, file, program, rest @ ..] = args else {
        return eprintln!("probe keyed DESCRIPTION FILE PROGRAM…");
    };
    let description = CString::new(description.as_str()).expect("no zero byte in an argument");
    let secret = b"of the caller";
    let [kind, name] = [c"user".as_ptr() as usize, description.as_ptr() as usize];
    let join = call(nr::KEYCTL, &[JOIN_SESSION_KEYRING, 0]);
    let added = join.and_then(|_| call(nr::ADD_KEY, &[kind, name, secret.as_ptr() as usize, secret.len(), SESSION]));
    // A kernel without keyrings has none to protect.
    let serial = added.unwrap_or(0).to_string();
    if let Ok(text) = std::fs::read_to_string(file) {
        std::fs::write(file, text.replace("SERIAL", &serial)).expect("write the file back");
    }
    let error = Command::new(program).args(rest.iter().map(|arg| arg.replace("SERIAL", &serial))).exec();
    panic!("{program}: {error}");
}
