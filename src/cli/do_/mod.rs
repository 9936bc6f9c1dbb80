//! `do`: a command that nobody has to trust, in a throw-away sandbox over a read-only view of the host.
//!
//! Everything is expressed in a configuration, as if somebody had written the bundle, and goes the usual way of `run`:
//!
//! ```text
//!  who       user namespace: a range of ids of its own (root), or the caller's one id; no capability, no way to more
//!  sees      the host's root, read-only with all that is mounted below; empty folders over what is private; masks
//!  writes    a few small file systems in memory, and what is shared for writing
//!  reaches   a network namespace with nothing in it, unless --network host
//!  uses      limits of memory, CPUs, processes and time
//!  calls     what the default seccomp profile allows; Landlock behind it
//! ```
//!
//! A crash leaves what a crash of `run` leaves: `recover` knows nothing of `do`.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

mod arguments;
mod covers;
mod environment;
mod ids;
mod limits;
mod pinned;
mod refusals;
mod shares;
mod sizes;
mod sockets;
mod view;

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::context::Context;
use super::failure::{Answer, Failure};
use super::launch_flags::{Mode, attached_request};
use super::run::{self, Course, Ending};
use crate::container::landlock;
use crate::host::rootless::Ids as NamespaceIds;
use crate::spec::plan::FirstProcess;
use crate::spec::{self, Further, FurtherProcess, FurtherRoot, Identity, RootCover};
use crate::sys::umask;
pub use arguments::Arguments;
use arguments::Network;
use ids::Ids;
use limits::Ceilings;
use view::{View, Wanted};

/// Over its own ids, so that a package manager works over `--writable`: nothing that reaches beyond them, and never
/// CAP_SYS_ADMIN, to which a read-only mount of ours is no wall.
const CAPABILITIES_TO_WRITE: [&str; 11] = [
    // First, to be left out where the host looks at what is written: it gives a file capabilities.
    "CAP_SETFCAP",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// SECBIT_NOROOT, SECBIT_NO_SETUID_FIXUP and SECBIT_NO_CAP_AMBIENT_RAISE, and all four locks (capabilities(7)): uid 0 is a
/// number.
const UID_0_IS_A_NUMBER: u32 = 0b1110_1111;

const NETWORK_HINT: &str = "the command asked for the network, and has none: `do --network host` gives it the caller's";

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    let ids = Ids::of_caller();
    refusals::check(ids, arguments.writable)?;
    let (rootfs, identity) = pinned::pin(&arguments.rootfs)
        .map_err(|error| Failure::new(format!("--rootfs {:?}: {error}", arguments.rootfs)))?;
    let limits = Ceilings::of(arguments, context.driver)?;
    for warning in &limits.warnings {
        context.log.warn(warning);
    }
    let wanted = Wanted {
        rootfs: &rootfs,
        shares: &arguments.share,
        state: &context.root,
        network: arguments.network,
        writable: arguments.writable,
        memory: limits.memory,
        ids,
    };
    let view = View::of(&wanted)?;
    let env = environment::of(&arguments.env, arguments.keep_env, view.home.as_ref())?;
    let config = configuration(arguments, &env, &view, &limits, ids)?;
    if !landlock::is_there() {
        context.log.debug("do: this kernel has no Landlock, or an old one: there is no second wall behind the mounts");
    }
    let id = format!("do-{}-{:x}", std::process::id(), crate::engine::now());
    let loaded = spec::Loaded::from_bytes(config.to_string().into_bytes(), rootfs)?;
    let further = further(arguments, view, env, identity);
    let request = attached_request(context, &id, loaded, NamespaceIds::CallerAlone, further)?;
    let course = Course {
        mode: Mode::Foreground,
        ending: Ending::Delete,
        console_socket: None,
        pid_file: None,
        time: arguments.time,
        network_hint: (arguments.network == Network::None).then_some(NETWORK_HINT),
    };
    run::execute(context, &request, &course)
}

fn configuration(
    arguments: &Arguments,
    env: &[OsString],
    view: &View,
    limits: &Ceilings,
    ids: Ids,
) -> Result<Value, Failure> {
    let text = spec::to_json(&spec::default_spec(false));
    let mut config: Value = serde_json::from_slice(&text).map_err(|error| Failure::new(error.to_string()))?;
    let capabilities: &[&str] = match (arguments.writable, view.shares_for_writing) {
        (true, false) => &CAPABILITIES_TO_WRITE,
        (true, true) => &CAPABILITIES_TO_WRITE[1..],
        (false, _) => &[],
    };
    let terminal = (0..3).any(is_terminal);
    config["process"] = json!({
        "terminal": terminal,
        // What it writes into shares is the caller's: with the caller's umask.
        "user": { "uid": ids.uid(), "gid": ids.gid(), "umask": umask::current() },
        // These are bytes: `further` has them as they are.
        "args": as_text(&arguments.command),
        "env": as_text(env),
        "cwd": view.cwd.to_string_lossy(),
        "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
        "rlimits": limits.rlimits,
        "noNewPrivileges": true,
    });
    config["root"] = json!({ "path": view.rootfs, "readonly": !arguments.writable });
    config["hostname"] = json!("sandkeep");
    config["mounts"] = json!(view.mounts);
    config["annotations"] = json!({});
    if !arguments.writable {
        config["annotations"][spec::SECUREBITS] = json!(UID_0_IS_A_NUMBER.to_string());
    }
    config["annotations"][spec::LANDLOCK] = json!(landlock_rules(arguments, view).to_string());
    let linux = &mut config["linux"];
    linux["namespaces"] = namespaces(arguments.network);
    linux["uidMappings"] = ids.uid_mappings();
    linux["gidMappings"] = ids.gid_mappings();
    linux["sysctl"] = json!({ "user.max_user_namespaces": "0" });
    linux["rootfsPropagation"] = json!("rprivate");
    linux["resources"] = limits.resources.clone();
    let mut profile = spec::default_seccomp(capabilities, spec::Abis::Native);
    // In memory they are nobody's; where the host looks they would be the caller's.
    if !arguments.writable || view.shares_for_writing {
        spec::no_set_ids(&mut profile);
    }
    linux["seccomp"] = json!(profile);
    Ok(config)
}

fn as_text(words: &[OsString]) -> Vec<Cow<'_, str>> {
    words.iter().map(|word| word.to_string_lossy()).collect()
}

fn namespaces(network: Network) -> Value {
    let kinds = ["user", "pid", "mount", "ipc", "uts", "cgroup", "network"].into_iter();
    kinds.filter(|kind| network == Network::None || *kind != "network").map(|kind| json!({ "type": kind })).collect()
}

fn landlock_rules(arguments: &Arguments, view: &View) -> Value {
    let sockets = if arguments.network == Network::Host { "own" } else { "all" };
    json!({ "writable": view.landlock, "abstract_sockets": sockets })
}

/// What the runtime specification has no words for, and what is no text.
fn further(arguments: &Arguments, view: View, env: Vec<OsString>, identity: Identity) -> Further {
    const HARMLESS: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    let (cover, recursive_set) = if arguments.writable { (RootCover::Overlay, 0) } else { (RootCover::None, HARMLESS) };
    Further {
        root: FurtherRoot { identity: Some(identity), recursive_set, cover },
        masked_paths: view.masked,
        identities: view.identities,
        mapped_if_possible: view.for_reading.into_iter().map(PathBuf::from).collect(),
        process: Some(FurtherProcess {
            first: FirstProcess::Keeper,
            args: arguments.command.clone(),
            env,
            cwd: view.cwd,
            kept_stdio: (0..3).filter(|number| !is_terminal(*number)).collect(),
        }),
        ..Further::default()
    }
}

/// The caller's own terminal is never the command's: it could be typed into, or be drawn over.
fn is_terminal(number: i32) -> bool {
    match number {
        0 => std::io::stdin().is_terminal(),
        1 => std::io::stdout().is_terminal(),
        _ => std::io::stderr().is_terminal(),
    }
}
