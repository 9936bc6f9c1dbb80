//! `do`: a command in a throw-away sandbox over a read-only view of the host, with a writable overlay in memory.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::context::Context;
use super::create::{LaunchArguments, Lifetime, Mode, Request};
use super::failure::Failure;
use super::run::{self, Ending};
use crate::host::rootless;
use crate::model::record::Reaper;
use crate::spec;

#[derive(Args)]
pub struct Arguments {
    /// What the command sees as /
    #[arg(long, value_name = "DIR", default_value = "/")]
    rootfs: PathBuf,
    /// SRC:DST or SRC:DST:ro; may be given again
    #[arg(long, value_name = "MOUNT")]
    bind: Vec<String>,
    #[arg(long, value_enum, default_value = "none")]
    network: Network,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Network {
    /// Loopback only
    None,
    /// The caller's
    Host,
}

/// What a command needs to behave as root over its own files; nothing that reaches beyond the sandbox.
const CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

pub fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let rootfs = std::fs::canonicalize(&arguments.rootfs)
        .map_err(|error| Failure::new(format!("--rootfs {:?}: {error}", arguments.rootfs)))?;
    let config = configuration(arguments, &rootfs)?;
    let launch = LaunchArguments {
        bundle: rootfs.clone(),
        console_socket: None,
        pid_file: None,
        pidfd_socket: None,
        no_pivot: false,
        no_new_keyring: false,
        preserve_fds: 0,
    };
    let id = format!("do-{}-{:x}", std::process::id(), crate::engine::now());
    let bytes = config.to_string().into_bytes();
    let loaded = spec::Loaded::from_bytes(bytes, rootfs)?;
    let mut request = Request::checked(loaded, &launch, context, &id, Reaper::Caller, Lifetime::Attached)?;
    request.plan.rootfs.overlay = true;
    run::execute(context, &request, &launch, Mode::Foreground, Ending::Delete)
}

/// The configuration of `sandkeep spec` with what was asked for.
fn configuration(arguments: &Arguments, rootfs: &Path) -> Result<Value, Failure> {
    let ordinary = rootless::needed() || rootless::inside();
    if ordinary && rootfs == Path::new("/") {
        return Err(Failure::new(
            "do: an ordinary user can have no throw-away view of the machine's own root, since what is mounted below it is \
             locked: give a folder with --rootfs, or run as root",
        ));
    }
    let text = spec::to_json(&spec::default_spec(ordinary));
    let mut config: Value = serde_json::from_slice(&text).map_err(|error| Failure::new(error.to_string()))?;
    let env: Vec<String> = std::env::vars()
        .filter(|(name, _)| !name.starts_with("_SANDKEEP"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let capabilities = json!({ "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES });
    let cwd = std::env::current_dir().ok().filter(|cwd| rootfs == Path::new("/") && cwd.is_absolute());
    let process = &mut config["process"];
    process["args"] = json!(arguments.command);
    process["terminal"] = json!(std::io::stdin().is_terminal());
    process["env"] = json!(env);
    process["cwd"] = json!(cwd.unwrap_or("/".into()));
    process["capabilities"] = capabilities;
    process["rlimits"] = json!([]);
    config["root"] = json!({ "path": rootfs, "readonly": false });
    config["hostname"] = json!("sandkeep");
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
        if arguments.network == Network::None {
            namespaces.push(json!({ "type": "network" }));
        }
    }
    if let Some(mounts) = config["mounts"].as_array_mut() {
        for bind in &arguments.bind {
            mounts.push(bind_mount(bind)?);
        }
    }
    Ok(config)
}

fn bind_mount(text: &str) -> Result<Value, Failure> {
    let wrong = || Failure::new(format!("--bind {text:?}: give SRC:DST or SRC:DST:ro, both absolute or SRC relative"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match parts[..] {
        [source, destination] => (source, destination, "rw"),
        [source, destination, mode @ ("ro" | "rw")] => (source, destination, mode),
        _ => return Err(wrong()),
    };
    if !destination.starts_with('/') || source.is_empty() {
        return Err(wrong());
    }
    let source = std::fs::canonicalize(source).map_err(|error| Failure::new(format!("--bind {text:?}: {error}")))?;
    Ok(json!({ "destination": destination, "type": "bind", "source": source, "options": ["rbind", mode] }))
}
