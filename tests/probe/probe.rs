//! The probe: a program that walks everything it can reach from inside a sandbox, and tries what it should not be able to.
//!
//! It has no opinion. Each thing that it tries is one line of tab-separated words: what kind of thing, which one, what was
//! tried, what came of it (`ok`, the name of an errno, or what was found), and which inode that was, as
//! `major:minor:inode`. `tests/isolation.rs` runs it in every way of being inside, and judges.
//!
//! **Whatever it reaches must survive it.** It sets modes, owners and times to what they are, writes the byte that is there,
//! takes away what it made, and hands the kernel arguments that are refused once the permission has been granted. What
//! can only be done for good (mounts, namespaces) is done in a child with namespaces of its own.
//!
//! It is linked statically and needs nothing but the standard library, so that it runs in any root:
//! `tests/probe/build OUT`.

#![allow(unsafe_code)]

mod calls;
mod cgroups;
mod child;
mod descriptors;
mod devices;
mod dotdot;
mod identity;
mod kernel;
mod keyrings;
mod mounts;
mod notify;
mod processes;
mod procfs;
mod report;
mod sockets;
mod touch;
mod tree;
mod watch;

use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// What the outside laid out for it to find.
#[derive(Default)]
pub struct Baits {
    /// Folders, files and sockets of the host by their path there.
    paths: Vec<PathBuf>,
    /// What the configuration masks.
    masked: Vec<PathBuf>,
    /// Abstract sockets.
    names: Vec<String>,
    /// On the loopback interface.
    ports: Vec<u16>,
    /// The description of a key in the caller's session keyring.
    key: Option<String>,
    serial: Option<usize>,
    /// A process of the host.
    pid: Option<i32>,
    /// What stands in the caller's memory, backwards: our own must not hold it.
    reversed: Option<String>,
}

fn main() {
    let open = descriptors::open_now();
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("keyed") => return keyrings::execute_with_key(&args.collect::<Vec<_>>()),
        Some("watch") => return watch::run(&args.next().unwrap_or_default()),
        Some("notify") => return notify::run(args),
        Some("walk") => {}
        _ => {
            return eprintln!(
                "probe walk [WORD VALUE…] | probe watch REVERSED | probe keyed DESCRIPTION FILE PROGRAM… | probe notify WORD…"
            );
        }
    }
    let mut baits = Baits::default();
    while let (Some(word), Some(value)) = (args.next(), args.next()) {
        match word.as_str() {
            "path" => baits.paths.push(value.into()),
            "masked" => baits.masked.push(value.into()),
            "most" => tree::MOST.store(value.parse().unwrap_or(usize::MAX), Ordering::Relaxed),
            "name" => baits.names.push(value),
            "port" => baits.ports.extend(value.parse::<u16>()),
            "key" => baits.key = Some(value),
            "serial" => baits.serial = value.parse().ok(),
            "pid" => baits.pid = value.parse().ok(),
            "reversed" => baits.reversed = Some(value),
            "out" => report::to(&value),
            other => report::line("error", other, "argument", "unknown", None),
        }
    }
    identity::walk();
    descriptors::walk(&open);
    let outside = dotdot::walk(&open);
    mounts::walk();
    devices::walk();
    procfs::walk(&baits);
    tree::walk(&baits, &outside);
    processes::walk(&baits);
    sockets::walk(&baits);
    keyrings::walk(&baits);
    cgroups::walk();
    calls::walk();
    report::line("end", "-", "-", "ok", None);
    report::flush();
}
