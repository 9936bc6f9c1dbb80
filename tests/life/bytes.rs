//! Names are bytes on Linux, and what calls us may use any. Whatever they are, a command does its work or says in one line
//! why not; it never panics.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::json;
use support::{Cmd, Env, Outcome, needs_root, needs_tool};

/// No text, and something that a terminal would obey.
fn odd(before: &str) -> OsString {
    OsString::from_vec([before.as_bytes(), b"\xff\xfe\n\x1b[31m\xc3"].concat())
}

fn odd_path(env: &Env, name: &str) -> PathBuf {
    env.dir().join(odd(name))
}

#[track_caller]
fn bears(outcome: Outcome) -> Outcome {
    let code = outcome.status.code();
    assert!(
        code.is_some_and(|code| ![101, 134].contains(&code)),
        "it ended otherwise than by an exit of its own:\n{outcome}"
    );
    assert!(!outcome.stderr.contains("panicked"), "{outcome}");
    let lines = outcome.stderr.trim_end().lines().count();
    // What is wrong with the arguments as such is told with how they are meant.
    assert!(lines <= 1 || outcome.stderr.starts_with("error: "), "one line:\n{outcome}");
    assert!(!outcome.stderr.contains('\x1b'), "what a terminal obeys is not let through:\n{outcome}");
    outcome
}

const COMMANDS: [&str; 22] = [
    "create",
    "start",
    "run",
    "state",
    "list",
    "kill",
    "delete",
    "exec",
    "wait",
    "ps",
    "pause",
    "resume",
    "events",
    "update",
    "spec",
    "features",
    "do",
    "machine",
    "history",
    "recover",
    "doctor",
    "no-such-command",
];

const OF_PATHS: [&str; 12] = [
    "--root",
    "--log",
    "--bundle",
    "--pid-file",
    "--console-socket",
    "--pidfd-socket",
    "--process",
    "--resources",
    "--cwd",
    "--rootfs",
    "--share",
    "--file",
];

const OF_TEXTS: [&str; 18] = [
    "--log-format",
    "--log-level",
    "--cgroup-manager",
    "--rootless",
    "--env",
    "--user",
    "--cap",
    "--apparmor",
    "--process-label",
    "--cgroup",
    "--additional-gids",
    "--preserve-fds",
    "--format",
    "--interval",
    "--memory",
    "--cpus",
    "--time",
    "--no-such-flag",
];

#[test]
fn every_command_bears_any_bytes_as_any_of_its_arguments() {
    needs_root!();
    let env = Env::new();
    // No bundle: whatever is accepted makes nothing.
    let folder = env.dir().join("folder");
    fs::create_dir(&folder).unwrap();
    let cmd = |command: &str| env.cmd([command]).current_dir(&folder).stdin(Stdio::null());
    for command in COMMANDS {
        bears(cmd(command).arg(odd("id")).run());
        bears(cmd(command).arg(odd("--flag")).run());
        bears(cmd(command).arg("--").arg(odd("id")).arg(odd("")).run());
        for flag in OF_PATHS.into_iter().chain(OF_TEXTS) {
            bears(cmd(command).arg(flag).arg(odd_path(&env, flag)).arg("id-that-is-not-there").run());
        }
        for flag in OF_PATHS {
            let mut joined = OsString::from(format!("{flag}="));
            joined.push(odd_path(&env, flag));
            bears(cmd(command).arg(joined).arg("id-that-is-not-there").run());
        }
    }
}

#[test]
fn every_command_bears_any_bytes_in_its_environment_its_folder_and_its_input() {
    needs_root!();
    let env = Env::new();
    let folder = odd_path(&env, "folder");
    fs::create_dir(&folder).unwrap();
    let names = [
        "HOME",
        "PATH",
        "TERM",
        "TMPDIR",
        "XDG_RUNTIME_DIR",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
        "LANG",
        "DBUS_SESSION_BUS_ADDRESS",
        "DBUS_SYSTEM_BUS_ADDRESS",
        "SUDO_USER",
        "COLUMNS",
        "NO_COLOR",
        "CLICOLOR_FORCE",
    ];
    let input = env.dir().join("input");
    fs::write(&input, odd("{").as_bytes()).unwrap();
    for command in COMMANDS {
        let mut cmd = env.cmd([command]).current_dir(&folder).stdin(fs::File::open(&input).unwrap());
        for name in names {
            cmd = cmd.env(name, odd("/"));
        }
        // Of a name that is no text there is no flag, only env(1).
        let mut variable = odd("V");
        variable.push("=1");
        bears(cmd.arg("id-that-is-not-there").run());
        let named = Cmd::new("/usr/bin/env").arg(variable).arg(env.binary()).arg("--root").arg(env.root());
        bears(named.args([command, "--help"]).run().code(if command == "no-such-command" { 1 } else { 0 }));
    }
    for from_input in [&["exec", "--process", "-", "x"][..], &["update", "--resources", "-", "x"]] {
        bears(env.cmd(from_input).stdin(fs::File::open(&input).unwrap()).run());
    }
}

#[test]
fn a_sandbox_lives_and_dies_with_every_path_of_the_callers_being_odd() {
    needs_root!();
    let env = Env::new();
    let id = env.id("odd");
    let root = odd_path(&env, "root");
    let cmd = |args: &[&str]| {
        Cmd::new(env.binary()).arg("--root").arg(&root).arg("--log").arg(odd_path(&env, "log")).args(args)
    };
    let bundle = env.bundle().args(&["sleep", "1000"]).edit(|config| {
        config["hooks"]["createRuntime"] = json!([{"path": "/bin/true"}]);
        config["hooks"]["poststop"] = json!([{"path": "/bin/true"}]);
    });
    let pid_file = odd_path(&env, "pid");
    cmd(&["create", "--bundle"]).arg(&bundle.dir).arg("--pid-file").arg(&pid_file).arg(&id).run().success();
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    for command in ["start", "state", "ps", "pause", "resume"] {
        cmd(&[command, &id]).run().success();
    }
    assert_eq!(cmd(&["state", &id]).run().success().json()["pid"], pid);
    cmd(&["list"]).run().success().says(&id);
    let process = odd_path(&env, "process");
    fs::write(&process, json!({"args": ["/bin/echo", "told"], "cwd": "/", "user": {"uid": 0, "gid": 0}}).to_string())
        .unwrap();
    cmd(&["exec", "--process"]).arg(&process).arg(&id).run().success().prints("told\n");
    let resources = odd_path(&env, "resources");
    fs::write(&resources, "{}").unwrap();
    cmd(&["update", "--resources"]).arg(&resources).arg(&id).run().success();
    cmd(&["history"]).run().success();
    cmd(&["doctor"]).run();
    cmd(&["exec", &id, "/no/such"]).run().code(255);
    assert!(
        fs::read_to_string(odd_path(&env, "log")).unwrap().contains("no such file"),
        "the log is where it was said to be"
    );
    cmd(&["delete", "--force", &id]).run().success();
}

#[test]
fn what_is_executed_has_its_arguments_its_variables_and_its_folder_byte_for_byte() {
    needs_root!();
    let env = Env::new();
    let id = env.id("through");
    let bundle = env.bundle().args(&["sleep", "1000"]);
    let folder = odd("d");
    fs::create_dir(bundle.rootfs().join(&folder)).unwrap();
    env.started(&bundle, &id);
    let script = "printf '%s|%s|%s' \"$0\" \"$ODD\" \"$PWD\" | od -An -v -tx1 | tr -d ' \\n'";
    let (argument, mut variable) = (odd("a"), OsString::from("ODD="));
    variable.push(odd("v"));
    let inside = PathBuf::from("/").join(&folder);
    let exec = env.cmd(["exec", "--cwd"]).arg(&inside).arg("--env").arg(&variable).args([&id, "sh", "-c", script]);
    let expected = [argument.as_bytes(), odd("v").as_bytes(), inside.as_os_str().as_bytes()].join(&b'|');
    let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    exec.arg(&argument).run().success().prints(&expected);
    // Its own name, too, whether it is there or not.
    fs::copy(bundle.rootfs().join("bin/busybox"), bundle.rootfs().join("bin").join(odd("echo"))).unwrap();
    env.cmd(["exec", &id]).arg(odd("echo")).run().code(127);
    bears(env.cmd(["exec", &id]).arg(odd("not-there")).run().fails_with(255, &["not found"]));
    let mut named = odd("N");
    named.push("=1");
    env.cmd(["exec", "--env"]).arg(&named).args([&id, "env"]).run().success();
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn sockets_of_the_callers_are_found_by_their_bytes() {
    needs_root!();
    let env = Env::new();
    let id = env.id("socket");
    let path = odd_path(&env, "socket");
    let listener = UnixListener::bind(&path).unwrap();
    let bundle = env.bundle().terminal();
    env.create(&bundle, &id).arg("--console-socket").arg(&path).run().success();
    drop(listener.accept().unwrap());
    env.run(["delete", "--force", &id]).success();
    let create = env.create(&bundle, &id).arg("--console-socket").arg(odd_path(&env, "nobody"));
    bears(create.run().fails("no such file"));
}

#[test]
fn names_of_activated_sockets_reach_the_application() {
    needs_root!();
    needs_tool!("sh");
    let env = Env::new();
    let bundle = env.bundle().script("printf %s \"$LISTEN_FDNAMES\" | od -An -tx1 | tr -d ' \\n'");
    let run = env
        .run_bundle(&bundle, &env.id("listen"))
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", OsStr::from_bytes(b"\xff:\xfe"));
    let script = "exec 3</dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\"";
    run.behind("sh", &["-c", script]).run().success().prints("ff3afe");
}

#[test]
fn a_configuration_of_any_bytes_is_refused_in_one_line() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle();
    let good = fs::read(bundle.config_path()).unwrap();
    let mut file = fs::File::create(bundle.config_path()).unwrap();
    file.write_all(&good.iter().map(|byte| if *byte == b'l' { 0xff } else { *byte }).collect::<Vec<_>>()).unwrap();
    bears(env.run_bundle(&bundle, &env.id("bytes")).run().code(1));
    // Escapes are text, and so are the characters that nobody can see.
    fs::write(bundle.config_path(), good).unwrap();
    let bundle = bundle.edit(|config| {
        config["annotations"] = json!({"a\u{0}b": "\u{1b}[31m\n", "\u{202e}": "\u{fffd}"});
        config["hostname"] = json!("h\u{fffd}");
    });
    bears(env.run_bundle(&bundle, &env.id("escapes")).run());
    for field in ["args", "env", "cwd"] {
        let odd = json!("/\u{0}=\n");
        let value = if field == "cwd" { odd } else { json!([odd]) };
        let bundle = env.bundle().edit(|config| config["process"][field] = value);
        bears(env.run_bundle(&bundle, &env.id(field)).run().code(1));
    }
}

/// Where the caller is decides where a relative `cgroupsPath` is.
#[test]
fn a_caller_in_a_cgroup_whose_name_is_no_text_gets_one_below_it() {
    needs_root!();
    needs_tool!("sh");
    let memory = std::path::Path::new("/sys/fs/cgroup/memory");
    if !memory.join("cgroup.procs").exists() {
        support::skipped!("there is no v1 memory hierarchy, in which a caller may be anywhere");
    }
    let env = Env::new();
    let folder = memory.join(OsString::from_vec([env.tag().as_bytes(), b"\xff"].concat()));
    let bundle = env.bundle().args(&["grep", "memory", "/proc/self/cgroup"]).edit(|config| {
        config["linux"]["cgroupsPath"] = json!(format!("below-{}", env.tag()));
        // In a namespace of its own it would be the top.
        config["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "cgroup");
    });
    fs::create_dir(&folder).unwrap();
    let script = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
    let inside = Cmd::new("sh").args(["-c", script]).arg(&folder).arg(env.binary()).arg("--root").arg(env.root());
    let outcome = inside.args(["run", "--bundle"]).arg(&bundle.dir).arg(env.id("below")).run();
    fs::remove_dir(&folder).unwrap();
    outcome.success().says(&format!("\u{fffd}/below-{}", env.tag()));
}
