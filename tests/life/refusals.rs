//! What is not ours alone is not believed: roots and records that somebody else could have written, a configuration that
//! is not the one of the creation, paths that somebody else leads elsewhere, listeners that never accept.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{Backlog, listen, setsockopt};
use sandkeep::sys::procfs;
use serde_json::{Value, json};
use support::{Cmd, Env, Outcome, needs_root, needs_tool, skipped};

/// Somebody else.
const STRANGER: u32 = 61_234;

/// A process that has nothing to do with any sandbox, and that somebody would like root to kill.
struct Victim(Child);

impl Victim {
    fn new() -> Victim {
        Victim(Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().expect("a process"))
    }

    fn reference(&self) -> Value {
        let process = procfs::process_ref(self.0.id() as i32).unwrap().expect("it runs");
        json!({ "pid": process.pid, "start_time": process.start_time, "pidfd_inode": process.pidfd_inode })
    }

    #[track_caller]
    fn lives(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "a process that is no sandbox's was killed");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A sandbox that never was: its snapshot calls `victim` its supervisor and its init. Version 1, which has no checksum
/// and is read by every binary.
fn forge(env: &Env, id: &str, victim: &Victim) -> PathBuf {
    env.leaves("what was forged: the test holds that nobody touches it");
    let folder = env.root().join("sandboxes").join(id);
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(env.root().join("store")).unwrap();
    for folder in [env.root().to_owned(), env.root().join("sandboxes"), env.root().join("store"), folder.clone()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let process = victim.reference();
    let at = 1_760_000_000_000_000_000_i64;
    let snapshot = json!({
        "version": 1,
        "sandbox": {
            "id": id, "incarnation": "5".repeat(32), "supervisor": process, "boot": boot(), "pid_namespace": "own",
            "supervisor_cgroup": { "path": "" }, "created": at, "attached": false,
        },
        "containers": { id: {
            "id": id, "init": process, "reaper": "supervisor", "bundle": "/", "rootfs": "/",
            "spec_digest": "0".repeat(64), "cgroup": { "path": "" }, "created": at, "owner": 0,
        } },
        "state": { "seq": 3, "sandbox": { "phase": "running", "since": at } },
    });
    private_file(&folder.join("sandbox.json"), snapshot.to_string().as_bytes());
    private_file(&folder.join("lock"), &[0; 4096]);
    folder
}

fn boot() -> Value {
    let boot = procfs::boot().unwrap();
    json!({ "boot_id": boot.boot_id, "time_namespace": boot.time_namespace })
}

fn private_file(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn give(path: &Path) {
    std::os::unix::fs::lchown(path, Some(STRANGER), Some(STRANGER)).unwrap();
}

fn give_all(path: &Path) {
    Cmd::new("chown").args(["-hR", &format!("{STRANGER}:{STRANGER}")]).arg(path).run().success();
}

fn open_up(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Every name below, with its owner, mode and size.
fn listing(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let about = entry.path().symlink_metadata().unwrap();
        found.push(format!("{:?} {} {:o} {}", entry.path(), about.uid(), about.mode(), about.len()));
        if about.is_dir() {
            found.extend(listing(&entry.path()));
        }
    }
    found.sort();
    found
}

/// Every command refuses in one line that names `at` and holds `why`; nothing is killed, and nothing is made.
#[track_caller]
fn refused(env: &Env, id: &str, victim: &mut Victim, at: &Path, why: &str) {
    let bundle = env.bundle();
    let before = listing(env.root());
    let bundle = bundle.dir.to_str().unwrap();
    let all: [&[&str]; 12] = [
        &["delete", "--force", id],
        &["kill", id, "KILL"],
        &["state", id],
        &["list"],
        &["ps", id],
        &["exec", id, "true"],
        &["pause", id],
        &["start", id],
        &["update", "--pids-limit", "7", id],
        &["wait", id],
        &["delete", id],
        &["events", "--stats", id],
    ];
    for args in all {
        let outcome = env.run(args);
        victim.lives();
        said(outcome, args, at, why);
    }
    assert_eq!(listing(env.root()), before, "something was made, changed or removed");
    // These have to do with the whole root, of which one sandbox may be a part.
    if at.starts_with(env.root().join("sandboxes").join(id)) {
        env.run(["doctor"]).code(1).says(why);
        said(env.run(["recover"]), &["recover"], at, why);
    } else {
        for args in [&["doctor"][..], &["recover"], &["history"], &["create", "--bundle", bundle, "other"]] {
            said(env.run(args), args, at, why);
        }
        assert_eq!(listing(env.root()), before, "something was made, changed or removed");
    }
    victim.lives();
}

#[track_caller]
fn said(outcome: Outcome, args: &[&str], at: &Path, why: &str) {
    let code = outcome.status.code();
    assert!(matches!(code, Some(1 | 255)), "{args:?} should be refused:\n{outcome}");
    outcome.fails_with(code.unwrap(), &["will not use", &format!("{at:?}"), why]);
}

#[test]
fn a_root_of_somebody_else_makes_root_kill_nobody() {
    needs_root!();
    let (env, mut victim) = (Env::new(), Victim::new());
    forge(&env, "web", &victim);
    give_all(env.root());
    refused(&env, "web", &mut victim, env.root(), &format!("belongs to uid {STRANGER}"));
}

#[test]
fn a_part_of_the_root_that_is_somebody_elses_is_refused_as_well() {
    needs_root!();
    for part in ["sandboxes", "store", "sandboxes/web", "sandboxes/web/sandbox.json", "sandboxes/web/lock"] {
        let (env, mut victim) = (Env::new(), Victim::new());
        forge(&env, "web", &victim);
        give(&env.root().join(part));
        refused(&env, "web", &mut victim, &env.root().join(part), &format!("belongs to uid {STRANGER}"));
    }
}

#[test]
fn a_root_that_others_may_write_to_is_refused() {
    needs_root!();
    for part in ["", "sandboxes", "store", "sandboxes/web", "sandboxes/web/sandbox.json", "sandboxes/web/lock"] {
        for mode in [0o777, 0o770, 0o702, 0o1777] {
            let (env, mut victim) = (Env::new(), Victim::new());
            forge(&env, "web", &victim);
            let at = env.root().components().chain(Path::new(part).components()).collect::<PathBuf>();
            open_up(&at, mode);
            env.run(["delete", "--force", "web"]).fails_with(1, &["will not use", "may write to it", "chmod go-w"]);
            victim.lives();
            if mode == 0o777 {
                refused(&env, "web", &mut victim, &at, "may write to it (mode 0777)");
            }
        }
    }
}

#[test]
fn a_way_to_the_root_that_somebody_else_can_lead_elsewhere_is_refused() {
    needs_root!();
    let stranger = format!("uid {STRANGER}");
    let strange = |env: &Env| give(env.dir());
    let open = |env: &Env| open_up(env.dir(), 0o777);
    for (change, why) in [(&strange as &dyn Fn(&Env), stranger.as_str()), (&open, "may write to it (mode 0777)")] {
        let (env, mut victim) = (Env::new().root_at("between/r"), Victim::new());
        forge(&env, "web", &victim);
        change(&env);
        refused(&env, "web", &mut victim, env.dir(), why);
    }
}

#[test]
fn a_symbolic_link_that_somebody_else_put_on_the_way_is_not_followed() {
    needs_root!();
    // A sticky folder that everybody may write to, as /tmp is; and what the link leads to is root's own.
    let (env, mut victim) = (Env::new().root_at("open/link"), Victim::new());
    let open = env.dir().join("open");
    fs::create_dir(&open).unwrap();
    open_up(&open, 0o1777);
    let real = Env::new();
    forge(&real, "web", &victim);
    symlink(real.root(), env.root()).unwrap();
    give(env.root());
    refused(&env, "web", &mut victim, env.root(), &format!("symbolic link that uid {STRANGER}"));
    // One of our own is followed.
    chown_link(env.root(), 0);
    env.run(["state", "web"]).success();
}

fn chown_link(path: &Path, uid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(uid)).unwrap();
}

#[test]
fn a_busy_lock_of_somebody_else_names_nobody_to_kill() {
    needs_root!();
    let (env, mut victim) = (Env::new(), Victim::new());
    let folder = forge(&env, "web", &victim);
    let payload = json!({
        "version": 1, "seq": 4, "sandbox": "web", "machine": "sandbox", "from": "running", "event": "pause-requested",
        "to": "paused", "holder": victim.reference(), "boot": boot(), "at": 1_760_000_000_000_000_000_i64,
    });
    let payload = payload.to_string().into_bytes();
    let header = [(payload.len() as u32).to_le_bytes(), crc32fast::hash(&payload).to_le_bytes()].concat();
    let mut block = [header, payload].concat();
    block.resize(4096, 0);
    private_file(&folder.join("lock"), &block);
    give(&folder.join("lock"));
    let held = fs::File::open(folder.join("lock")).unwrap();
    fs2::FileExt::lock_exclusive(&held).unwrap();
    refused(&env, "web", &mut victim, &folder.join("lock"), &format!("belongs to uid {STRANGER}"));
}

#[test]
fn roots_as_callers_have_them_are_used() {
    needs_root!();
    // Below a sticky folder, through a link of root's, with what is missing made on the way; and with `..` in it.
    let env = Env::new().root_at("open/link/a/b");
    let (open, real) = (env.dir().join("open"), env.dir().join("real"));
    fs::create_dir(&open).unwrap();
    fs::create_dir(&real).unwrap();
    open_up(&open, 0o1777);
    symlink("../real/../real", open.join("link")).unwrap();
    let id = env.id("web");
    env.run_bundle(&env.bundle(), &id).run().success();
    for made in ["a", "a/b", "a/b/store", "a/b/sandboxes"] {
        assert_eq!(real.join(made).metadata().unwrap().mode() & 0o7777, 0o700, "{made}");
    }
    // A folder that an engine has made, as open as containerd makes it.
    let env = Env::new();
    fs::create_dir(env.root()).unwrap();
    open_up(env.root(), 0o711);
    env.run(["list"]).success();
    env.run_bundle(&env.bundle(), &env.id("web")).run().success();
}

#[test]
fn root_of_a_user_namespace_uses_what_is_its_own_and_nothing_else() {
    needs_root!();
    needs_tool!("setpriv", "unshare");
    let env = Env::new();
    let uid = STRANGER.to_string();
    // Where the checkout is, an ordinary user may not be let in.
    let reachable = Env::new();
    let binary = reachable.dir().join("sandkeep");
    fs::copy(reachable.binary(), &binary).unwrap();
    let inside = |env: &Env| {
        let args = ["--reuid", &uid, "--regid", &uid, "--clear-groups", "unshare", "--user", "--map-root-user"];
        Cmd::new("setpriv").args(args).arg(&binary).arg("--root").arg(env.root())
    };
    let probe = Cmd::new("setpriv").args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]);
    if !probe.args(["unshare", "--user", "--map-root-user", "true"]).run().status.success() {
        skipped!("an ordinary user may not make a user namespace here");
    }
    // Its own: `/` and /tmp, on the way, read as those of nobody.
    give(env.dir());
    fs::create_dir_all(env.root().join("sandboxes")).unwrap();
    give_all(env.root());
    inside(&env).args(["list"]).run().success();
    // Root's own, which reads the same.
    let env = Env::new();
    open_up(env.dir(), 0o755);
    fs::create_dir_all(env.root().join("sandboxes")).unwrap();
    inside(&env).args(["list"]).run().fails_with(1, &["will not use"]);
}

#[test]
fn an_ordinary_user_does_not_use_the_root_of_root() {
    needs_root!();
    needs_tool!("setpriv");
    let env = Env::new();
    open_up(env.dir(), 0o755);
    fs::create_dir_all(env.root().join("sandboxes")).unwrap();
    let uid = STRANGER.to_string();
    let user = Cmd::new("setpriv").args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]).arg(env.binary());
    user.arg("--root").arg(env.root()).args(["list"]).run().fails_with(1, &["will not use", "belongs to uid 0"]);
}

#[test]
fn a_kept_configuration_that_was_changed_is_used_by_nobody() {
    needs_root!();
    let env = Env::new();
    let id = env.id("digest");
    let witness = env.dir().join("hook-ran");
    let bundle = env.bundle().args(&["sleep", "1000"]);
    env.started(&bundle, &id);
    env.run(["doctor"]).success();
    let kept = env.root().join("sandboxes").join(&id).join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap();
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
    }
    config["hooks"] = json!({ "poststop": [{ "path": "/bin/touch", "args": ["touch", witness] }] });
    fs::write(&kept, config.to_string()).unwrap();
    let why = "is not the one it was created with";
    env.run(["exec", &id, "true"]).fails_with(255, &[why]);
    env.run(["update", "--pids-limit", "7", &id]).fails_with(1, &[why]);
    env.run(["doctor"]).code(1).says(why);
    // A damaged configuration stops no kill and no delete; it runs no hooks, and that is said.
    assert_eq!(env.status(&id), "running");
    let deleted = env.run(["delete", "--force", &id]).code(0);
    assert!(deleted.stderr.contains("poststop hooks") && deleted.stderr.contains(why), "{deleted}");
    assert!(!witness.exists(), "a hook ran that no creation has seen");
    env.gone(&id);
}

#[test]
fn a_created_sandbox_whose_configuration_was_changed_does_not_start() {
    needs_root!();
    let env = Env::new();
    let id = env.id("digest");
    env.created(&env.bundle(), &id);
    let kept = env.root().join("sandboxes").join(&id).join("config.json");
    let text = fs::read_to_string(&kept).unwrap();
    fs::write(&kept, format!("{text}\n")).unwrap();
    env.run(["start", &id]).fails("is not the one it was created with");
    env.run(["delete", "--force", &id]).code(0);
}

#[test]
fn a_pid_file_is_written_where_it_was_asked_for_and_nowhere_else() {
    needs_root!();
    let env = Env::new();
    let id = env.id("pidfile");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    // Its name is a link that leads elsewhere.
    let (precious, named) = (env.dir().join("precious"), env.dir().join("named.pid"));
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, &named).unwrap();
    env.cmd(["exec", "--detach", "--pid-file"]).arg(&named).args([&id, "sleep", "1000"]).run().success();
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    assert!(named.symlink_metadata().unwrap().is_file(), "the link was replaced");
    assert!(fs::read_to_string(&named).unwrap().parse::<i32>().unwrap() > 1);
    // So is every temporary name that could be foreseen: that of the process which is about to be. The command waits
    // (for a pipe) until the links are there.
    let folder = env.dir().join("open");
    fs::create_dir(&folder).unwrap();
    let script = "read go; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(env.binary()).arg("--root").arg(env.root());
    command.args(["exec", "--detach", "--pid-file"]).arg(folder.join("pid")).args([&id, "sleep", "1000"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    symlink(&precious, folder.join(format!(".pid.{}", child.id()))).unwrap();
    drop(child.stdin.take().map(|mut stdin| std::io::Write::write_all(&mut stdin, b"go\n")));
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious", "it went through a foreseeable name");
    assert!(fs::read_to_string(folder.join("pid")).unwrap().parse::<i32>().unwrap() > 1);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "no temporary is left");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_log_that_is_a_link_of_somebody_else_is_not_written() {
    needs_root!();
    let env = Env::new();
    let open = env.dir().join("open");
    fs::create_dir(&open).unwrap();
    open_up(&open, 0o1777);
    // Where the kernel would not stop it either: fs.protected_symlinks is about sticky folders.
    let (precious, theirs) = (env.dir().join("precious"), env.dir().join("theirs"));
    fs::write(&precious, "precious").unwrap();
    fs::create_dir(&theirs).unwrap();
    give(&theirs);
    for folder in [&open, &theirs] {
        let log = folder.join("log");
        symlink(&precious, &log).unwrap();
        give(&log);
        let failed = env.cmd(["--log"]).arg(&log).args(["state", "none"]).run().code(1);
        assert!(failed.stderr.contains("cannot write the log"), "{failed}");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    }
    // One of our own is, and so is standard error.
    let ours = env.dir().join("ours");
    symlink(&precious, &ours).unwrap();
    env.cmd(["--log"]).arg(&ours).args(["state", "none"]).run().code(1);
    assert!(fs::read_to_string(&precious).unwrap().contains("does not exist"));
    env.run(["--log", "/dev/stderr", "state", "none"]).code(1);
}

/// A listener whose queue is full, and that nobody accepts from.
struct Deaf {
    _listener: UnixListener,
    _queued: Vec<UnixStream>,
}

impl Deaf {
    fn at(path: &Path) -> Deaf {
        let listener = UnixListener::bind(path).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let mut queued = Vec::new();
        loop {
            let socket = nix::sys::socket::socket(
                nix::sys::socket::AddressFamily::Unix,
                nix::sys::socket::SockType::Stream,
                nix::sys::socket::SockFlag::SOCK_CLOEXEC,
                None,
            );
            let socket = socket.unwrap();
            setsockopt(&socket, SendTimeout, &nix::sys::time::TimeVal::new(0, 1000)).unwrap();
            let address = nix::sys::socket::UnixAddr::new(path).unwrap();
            let connected = nix::sys::socket::connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &address);
            match connected {
                Ok(()) => queued.push(UnixStream::from(socket)),
                Err(nix::Error::EAGAIN) => return Deaf { _listener: listener, _queued: queued },
                Err(errno) => panic!("fill the queue: {errno}"),
            }
        }
    }
}

#[test]
fn a_listener_that_never_accepts_is_given_up_by_name() {
    needs_root!();
    let env = Env::new();
    let deaf = env.dir().join("deaf.sock");
    let _listener = Deaf::at(&deaf);
    let id = env.id("deaf");
    let terminal = env.bundle().edit(|config| config["process"]["terminal"] = json!(true));
    let console = env.create(&terminal, &id).arg("--console-socket").arg(&deaf).spawn();
    let pidfd = env.create(&env.bundle(), &env.id("deaf2")).arg("--pidfd-socket").arg(&deaf).spawn();
    for (running, name) in [(console, "console socket"), (pidfd, "pidfd socket")] {
        let outcome = running.finish_or_kill(std::time::Duration::from_secs(40));
        let outcome = outcome.unwrap_or_else(|killed| panic!("it waits for ever:\n{killed}"));
        outcome.fails_with(1, &[name, "deaf.sock", "nobody accepted it within 10 s"]);
    }
    env.gone(&id);
}

#[test]
fn nothing_that_a_terminal_obeys_is_printed() {
    needs_root!();
    let env = Env::new();
    let evil = env.dir().join("e\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\nevil 1 running");
    let bundle = support::Bundle::busybox(&evil).args(&["sleep", "1000"]);
    let id = env.id("evil");
    env.started(&bundle, &id);
    let clean = |outcome: Outcome| {
        let outcome = format!("{}{}", outcome.stdout, outcome.stderr);
        let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!outcome.contains(bad), "{outcome:?}");
        outcome
    };
    let list = clean(env.run(["list"]).code(0));
    assert_eq!(list.lines().count(), 2, "a line break in a path is no line of ours:\n{list}");
    assert!(list.contains("\\u001b]0;owned\\u0007\\u009b31m\\u202e\\u000aevil"), "{list}");
    // In JSON it still means what it is.
    for args in [&["list", "--format", "json"][..], &["state", &id]] {
        let told: Value = serde_json::from_str(&clean(env.run(args).code(0))).unwrap();
        let bundle = told.get(0).unwrap_or(&told)["bundle"].as_str().unwrap().to_owned();
        assert_eq!(Path::new(&bundle), evil, "{args:?}");
    }
    fs::write(env.root().join("sandboxes").join(&id).join("config.json"), "{").unwrap();
    for args in [&["doctor"][..], &["history"], &["ps", &id], &["recover"], &["delete", "--force", &id]] {
        clean(env.run(args));
    }
    let missing = evil.join("none");
    clean(env.cmd(["create", "--bundle"]).arg(&missing).arg("other").run());
    clean(env.run(["state", "\u{1b}[31m"]));
    clean(env.run(["--no-such-flag\u{1b}[31m"]));
    clean(env.run(["exec", "\u{9b}31m", "true"]));
}

#[test]
fn chown_is_there() {
    // What every test above relies on: that files can be given away here.
    needs_root!();
    let file = tempfile::NamedTempFile::new().unwrap();
    chown(file.path(), Some(STRANGER), Some(STRANGER)).unwrap();
    assert_eq!(file.path().metadata().unwrap().uid(), STRANGER);
}
