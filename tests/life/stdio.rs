//! The standard descriptors belong to the application's user, and nothing else of the host's becomes its.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;

use serde_json::json;
use support::{Bundle, Cmd, Env, HostNodes, Lines, Ordinary, Terminal, needs_root, needs_tool};

/// What every image of nginx or php does with its logs.
const OPENS: &str = "echo to-stdout > /dev/stdout; echo to-stderr > /dev/stderr";

fn of_user(env: &Env, script: &str) -> Bundle {
    env.bundle().script(script).edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}))
}

fn with_users(bundle: Bundle) -> Bundle {
    bundle.edit(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        config["linux"]["uidMappings"] = mapping.clone();
        config["linux"]["gidMappings"] = mapping;
    })
}

/// Runs it with one pipe as stdout and stderr, and gives what came through until nobody has it open any more.
#[track_caller]
fn through_a_pipe(cmd: Cmd) -> String {
    through_a_pipe_of(0, cmd)
}

#[track_caller]
fn through_a_pipe_of(user: u32, cmd: Cmd) -> String {
    let (mut lines, end) = Lines::pipe();
    std::os::unix::fs::fchown(&end, Some(user), Some(user)).unwrap();
    let running = cmd.stdout(end.try_clone().unwrap()).stderr(end).spawn();
    let told = lines.rest();
    let outcome = running.finish(support::command::DEADLINE);
    assert!(outcome.status.success(), "{told}\n{outcome}");
    told
}

const BOTH: &str = "to-stdout\nto-stderr\n";

#[test]
fn a_user_opens_its_pipes_again_in_run_create_and_exec() {
    needs_root!();
    let env = Env::new();
    let id = env.id("pipes");
    let bundle = of_user(&env, OPENS);
    assert_eq!(through_a_pipe(env.run_bundle(&bundle, &id)), BOTH);

    let bundle = bundle.script(&format!("{OPENS}; exec sleep 1000 > /dev/null 2>&1"));
    let (mut lines, end) = Lines::pipe();
    env.create(&bundle, &id).stdout(end.try_clone().unwrap()).stderr(end).run().code(0);
    env.run(["start", &id]).success();
    lines.until("to-stdout");
    lines.until("to-stderr");

    let exec = |flags: &[&str]| env.cmd(["exec"]).args(flags).args([&id, "sh", "-c", OPENS]);
    assert_eq!(through_a_pipe(exec(&[])), BOTH);
    assert_eq!(through_a_pipe(exec(&["--detach"])), BOTH);
    assert_eq!(through_a_pipe(exec(&["--user", "77:78"])), BOTH);
    assert_eq!(through_a_pipe(exec(&["--user", "0"])), BOTH);
    let process = env.dir().join("process.json");
    let told = json!({"args": ["sh", "-c", OPENS], "cwd": "/", "user": {"uid": 9, "gid": 9}, "env": ["PATH=/bin"]});
    fs::write(&process, told.to_string()).unwrap();
    assert_eq!(through_a_pipe(env.cmd(["exec", "--process"]).arg(&process).arg(&id)), BOTH);
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_user_reads_its_input_again_and_capabilities_are_not_what_lets_it() {
    needs_root!();
    let env = Env::new();
    let id = env.id("input");
    let bundle = of_user(&env, "cat < /dev/stdin; cat /proc/self/fd/0").edit(|config| {
        config["process"]["capabilities"] = json!({});
        config["process"]["noNewPrivileges"] = json!(true);
    });
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, b"typed\n").unwrap();
    drop(writer);
    env.run_bundle(&bundle, &id).stdin(reader).run().success().prints("typed\n");
}

#[test]
fn a_user_of_a_user_namespace_opens_its_pipes_again_whoever_made_them() {
    needs_root!();
    let env = Env::new();
    let id = env.id("mapped");
    let bundle = with_users(of_user(&env, OPENS));
    // The container's root may enter the bundle.
    fs::set_permissions(env.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(through_a_pipe(env.run_bundle(&bundle, &id)), BOTH);

    let bundle = bundle.args(&["sleep", "1000"]);
    env.create(&bundle, &id).stdout(File::open("/dev/null").unwrap()).run().success();
    env.run(["start", &id]).success();
    let exec = |flags: &[&str]| env.cmd(["exec"]).args(flags).args([&id, "sh", "-c", OPENS]);
    assert_eq!(through_a_pipe(exec(&[])), BOTH);
    assert_eq!(through_a_pipe(exec(&["--user", "0"])), BOTH);
    assert_eq!(through_a_pipe(exec(&["--user", "5:6", "--detach"])), BOTH);
    // Another container in the same user namespace, in which the pipe's owner is nobody: the kernel refuses, and it runs.
    let joining = of_user(&env, "echo open > /dev/stdout || echo kept")
        .namespace("user", Some(&format!("/proc/{}/ns/user", env.pid(&id))));
    let told = through_a_pipe(env.run_bundle(&joining, &env.id("joins")));
    assert!(told.contains("kept"), "{told}");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn an_ordinary_user_runs_as_another_of_its_ids_with_pipes_of_its_own() {
    needs_root!();
    needs_tool!("setpriv", "unshare", "newuidmap");
    let env = Env::new();
    let id = env.id("rootless");
    let user = Ordinary::with(&env, support::ordinary::Further::Ids);
    let bundle = user.bundle().script(OPENS).edit(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        for list in ["uidMappings", "gidMappings"] {
            config["linux"][list] = json!([
                {"containerID": 0, "hostID": support::ordinary::USER, "size": 1},
                {"containerID": 1, "hostID": support::ordinary::FIRST_SUBID, "size": 65536},
            ]);
        }
    });
    support::ordinary::chown_to_user(env.dir());
    let run = user.sandkeep(["run", "--bundle"]).arg(&bundle.dir).arg(&id);
    assert_eq!(through_a_pipe_of(support::ordinary::USER, run), BOTH);
}

#[test]
fn a_terminal_is_the_users_own() {
    needs_root!();
    needs_tool!("setsid");
    let env = Env::new();
    let id = env.id("terminal");
    let script = format!("{OPENS}; stat -L -c 'owner %u' /dev/stderr");
    let bundle = of_user(&env, &script).terminal();
    let mut terminal = Terminal::new();
    let run = terminal.run_cmd(env.run_bundle(&bundle, &id));
    terminal.lines.until("to-stdout");
    terminal.lines.until("to-stderr");
    assert_eq!(terminal.lines.until("owner"), "owner 1000");
    run.finish(support::command::DEADLINE).code(0);

    env.started(&with_users(of_user(&env, "exec sleep 1000")), &id);
    let exec = terminal.run_cmd(env.cmd(["exec", "-t", "--user", "5", &id, "sh", "-c", &script]));
    terminal.lines.until("to-stderr");
    assert_eq!(terminal.lines.until("owner"), "owner 5");
    exec.finish(support::command::DEADLINE).code(0);
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_socket_and_a_pipe_with_a_name_are_handed_over_as_well() {
    needs_root!();
    let env = Env::new();
    let id = env.id("named");
    let fifo = env.dir().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
    let both = File::options().read(true).write(true).open(&fifo).unwrap();
    let bundle = of_user(&env, "echo by-name > /dev/stdout");
    env.run_bundle(&bundle, &id).stdout(both.try_clone().unwrap()).run().success();
    let mut said = [0; 8];
    (&both).read_exact(&mut said).unwrap();
    assert_eq!(&said, b"by-name\n");

    // A socket cannot be opened again, by anybody; writing goes on working.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let script = "stat -L -c 'owner %u' /dev/stdout";
    env.run_bundle(&bundle.script(script), &id).stdout(std::os::fd::OwnedFd::from(theirs)).run().success();
    assert_eq!(std::io::read_to_string(ours).unwrap(), "owner 1000\n");
}

/// As with crun: where a file is given to be written to, who writes may open it. What is read stays whose it is, as does
/// whatever belongs to users out here while the container has its own.
#[test]
fn of_files_only_those_to_be_written_are_handed_over_and_none_to_another_user_namespace() {
    needs_root!();
    let env = Env::new();
    let id = env.id("files");
    let file = |name: &str| {
        let path = env.dir().join(name);
        fs::write(&path, "of the host\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let owner = |path: &std::path::Path| (fs::metadata(path).unwrap().uid(), fs::metadata(path).unwrap().gid());
    let append = |path: &std::path::Path| File::options().append(true).open(path).unwrap();
    let (input, log, mapped) = (file("input"), file("log"), file("mapped"));
    let bundle = of_user(&env, "cat; echo again >> /dev/stdout");
    let run = env.run_bundle(&bundle, &id).stdin(File::open(&input).unwrap()).stdout(append(&log));
    run.run().success();
    assert_eq!(fs::read_to_string(&log).unwrap(), "of the host\nof the host\nagain\n");
    assert_eq!((owner(&input), owner(&log)), ((0, 0), (1000, 0)));

    fs::set_permissions(env.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    env.run_bundle(&with_users(bundle.script("echo open")), &id).stdout(append(&mapped)).run().success();
    assert_eq!((fs::read_to_string(&mapped).unwrap().as_str(), owner(&mapped)), ("of the host\nopen\n", (0, 0)));
}

#[test]
fn no_device_of_the_host_changes_hands_neither_the_null_device_nor_the_callers_terminal() {
    needs_root!();
    needs_tool!("setsid");
    let env = Env::new();
    let id = env.id("devices");
    let names = ["/dev/null", "/dev/zero", "/dev/full"];
    let nodes = HostNodes::at(&names);
    let bundle = of_user(&env, "true");
    for name in names {
        let device = || File::options().read(true).write(true).open(name).unwrap();
        env.run_bundle(&bundle, &id).stdin(device()).stdout(device()).stderr(device()).run().code(0);
        env.started(&env.bundle().args(&["sleep", "1000"]), &id);
        let exec = env.cmd(["exec", "--user", "1000", &id, "true"]);
        exec.stdin(device()).stdout(device()).stderr(device()).run().code(0);
        env.run(["delete", "--force", &id]).success();
    }
    nodes.assert_untouched();

    let pty = nix::pty::openpty(None, None).unwrap();
    let end = || pty.slave.try_clone().unwrap();
    let before = nix::sys::stat::fstat(pty.slave.as_raw_fd()).unwrap();
    env.run_bundle(&bundle, &id).stdin(end()).stdout(end()).stderr(end()).run().code(0);
    let after = nix::sys::stat::fstat(pty.slave.as_raw_fd()).unwrap();
    assert_eq!((before.st_uid, before.st_gid, before.st_mode), (after.st_uid, after.st_gid, after.st_mode));
}
