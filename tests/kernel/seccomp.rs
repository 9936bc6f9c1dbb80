//! Seccomp through the whole runtime: filters that deny, filters that ask an agent, and programs that are kept.

use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use libseccomp::{ScmpNotifReq, ScmpNotifResp, ScmpNotifRespFlags};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use serde_json::{Value, json};
use support::{Env, Lines, needs_root, until};

use support::command::DEADLINE;

/// A profile that lets everything through and asks an agent about some calls.
fn asking(names: &[&str], agent: &Path) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": agent,
        "listenerMetadata": "of this test",
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}],
    })
}

fn with_profile(config: &mut Value, profile: Value, no_new_privileges: bool) {
    config["linux"]["seccomp"] = profile;
    config["process"]["noNewPrivileges"] = json!(no_new_privileges);
}

/// Denied to everybody, before the capabilities go (no_new_privs off) or right before the program is executed.
fn denying(env: &Env, call: &str, no_new_privileges: bool) -> support::Bundle {
    let rules = json!([{"names": [call], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]);
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    env.bundle().edit(|config| with_profile(config, profile, no_new_privileges))
}

#[test]
fn what_a_profile_denies_and_the_application_does_not_need_keeps_it_from_nothing() {
    needs_root!();
    let env = Env::new();
    for call in ["getcwd", "chdir", "statx", "access", "close_range", "fcntl", "openat2", "poll", "dup3", "umask"] {
        for no_new_privileges in [false, true] {
            let bundle = denying(&env, call, no_new_privileges).edit(|config| config["process"]["cwd"] = json!("/tmp"));
            env.run_bundle(&bundle, &env.id(call)).run().success();
        }
    }
}

/// `docs/seccomp.md` has the list.
#[test]
fn what_a_profile_denies_and_the_runtime_needs_is_named() {
    needs_root!();
    let env = Env::new();
    let privileged = ["prctl", "capget", "capset", "setgroups", "setresuid", "setresgid"];
    for call in privileged.iter().chain(&["read", "write", "execve"]) {
        for no_new_privileges in [false, true] {
            let outcome = env.run_bundle(&denying(&env, call, no_new_privileges), &env.id("needed")).run();
            if no_new_privileges && privileged.contains(call) {
                outcome.success();
                continue;
            }
            let word = match *call {
                "prctl" => "bounding set",
                "capget" | "capset" => "capabilities",
                "setgroups" => "groups",
                "setresuid" => "uid",
                "setresgid" => "gid",
                "execve" => "exec",
                call => call,
            };
            let word = if *call == "capget" { "permitted set" } else { word };
            let outcome = outcome.fails(word);
            assert!(!outcome.stderr.contains("outside the container"), "{call}: {outcome}");
            assert!(*call == "write" || outcome.stderr.to_lowercase().contains("not permitted"), "{call}: {outcome}");
        }
    }
}

/// A socket that listeners are sent to.
struct AgentSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AgentSocket {
    fn bind(env: &Env) -> AgentSocket {
        let path = env.dir().join("agent.sock");
        let _ = fs::remove_file(&path);
        AgentSocket { listener: UnixListener::bind(&path).unwrap(), path }
    }

    /// The document and the listener of the next connection.
    fn receive(&self) -> (Value, Listener) {
        let (stream, _) = self.listener.accept().unwrap();
        let mut buffer = [0; 8192];
        let mut control = nix::cmsg_space!([RawFd; 2]);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<UnixAddr>(stream.as_raw_fd(), &mut parts, Some(&mut control), flags).unwrap();
        let fds = message.cmsgs().unwrap().find_map(|control| match control {
            ControlMessageOwned::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fds = fds.expect("a listener beside the document");
        let [fd] = fds[..] else { panic!("{fds:?}") };
        let length = message.bytes;
        let listener = Listener(sandkeep::sys::descriptors::take(fd).unwrap());
        (serde_json::from_slice(&buffer[..length]).expect("a JSON document"), listener)
    }
}

/// What answers for system calls; dropping it lets go of them.
struct Listener(OwnedFd);

impl Listener {
    /// Answers every call until nobody is left to ask: mkdir gets this error, all others go on. Gives their names.
    fn serve(self, error: i32) -> JoinHandle<Vec<String>> {
        thread::spawn(move || {
            let mut names = Vec::new();
            while self.wait_for_a_call() {
                let Ok(request) = ScmpNotifReq::receive(self.0.as_raw_fd()) else { continue };
                let name = request.data.syscall.get_name().unwrap_or_default();
                let none = ScmpNotifRespFlags::empty();
                let response = match name.starts_with("mkdir") {
                    true => ScmpNotifResp::new_error(request.id, -error, none),
                    false => ScmpNotifResp::new_continue(request.id, none),
                };
                // One who has died meanwhile needs no answer.
                let _ = response.respond(self.0.as_raw_fd());
                names.push(name);
            }
            names
        })
    }

    fn wait_for_a_call(&self) -> bool {
        let mut watched = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(DEADLINE).unwrap();
        assert!(poll(&mut watched, timeout).unwrap() > 0, "nothing was asked and nobody ended");
        watched[0].revents().unwrap().contains(PollFlags::POLLIN)
    }
}

const MAKE_A_FOLDER: &str = "mkdir /tmp/x 2>&1; echo then $?";
const REFUSED: &str = "mkdir: can't create directory '/tmp/x': No medium found\nthen 1\n";

#[test]
fn an_agent_is_told_whose_listener_it_gets_and_answers_for_the_call() {
    needs_root!();
    let env = Env::new();
    for no_new_privileges in [false, true] {
        let id = env.id("notify");
        let agent = AgentSocket::bind(&env);
        let bundle = env.bundle().script(MAKE_A_FOLDER).edit(|config| {
            with_profile(config, asking(&["mkdir", "mkdirat"], &agent.path), no_new_privileges);
            config["annotations"] = json!({"of": "the test"});
        });
        let out = env.dir().join("out");
        env.create(&bundle, &id).stdout(fs::File::create(&out).unwrap()).run().success();
        let (document, listener) = agent.receive();
        let pid = env.pid(&id);
        let state = json!({
            "ociVersion": sandkeep::spec::OCI_VERSION, "id": id, "status": "creating", "pid": pid,
            "bundle": bundle.dir, "annotations": {"of": "the test"},
        });
        let version = sandkeep::spec::OCI_VERSION;
        let expected = json!({
            "ociVersion": version, "fds": ["seccompFd"], "pid": pid, "metadata": "of this test", "state": state,
        });
        assert_eq!(document, expected);
        let served = listener.serve(libc::ENOMEDIUM);
        env.run(["start", &id]).success();
        assert_eq!(env.wait(&id), 0);
        assert_eq!(fs::read_to_string(&out).unwrap(), REFUSED);
        env.delete(&id);
        assert!(served.join().unwrap().iter().any(|name| name.starts_with("mkdir")));
    }
}

#[test]
fn what_exec_runs_has_a_listener_of_its_own() {
    needs_root!();
    let env = Env::new();
    for no_new_privileges in [false, true] {
        let id = env.id("notify-exec");
        let agent = AgentSocket::bind(&env);
        let bundle = env.bundle().args(&["sleep", "1000"]).edit(|config| {
            with_profile(config, asking(&["mkdir", "mkdirat"], &agent.path), no_new_privileges);
        });
        env.create(&bundle, &id).run().success();
        let (_, first) = agent.receive();
        let first = first.serve(libc::EPERM);
        env.run(["start", &id]).success();
        let exec = env.cmd(["exec", &id, "sh", "-c", MAKE_A_FOLDER]).spawn();
        let (document, listener) = agent.receive();
        let init = i64::from(env.pid(&id));
        assert_eq!((&document["state"]["status"], document["state"]["pid"].as_i64()), (&json!("running"), Some(init)));
        let pid = document["pid"].as_i64().unwrap();
        assert!(pid > 1 && pid != init, "{document}");
        let served = listener.serve(libc::ENOMEDIUM);
        exec.finish(DEADLINE).success().prints(REFUSED);
        assert!(served.join().unwrap().iter().any(|name| name.starts_with("mkdir")));
        env.run(["delete", "--force", &id]).success();
        first.join().unwrap();
    }
}

/// An agent may be asked about the runtime's own last calls: it must have its listener before the first of them.
#[test]
fn an_agent_that_is_asked_about_nearly_everything_can_answer() {
    needs_root!();
    let env = Env::new();
    let calls = ["execve", "openat", "open", "read", "close", "sendmsg", "recvmsg", "poll", "ppoll", "prctl", "capset"];
    for no_new_privileges in [false, true] {
        let agent = AgentSocket::bind(&env);
        let bundle = env.bundle().args(&["echo", "done"]).edit(|config| {
            with_profile(config, asking(&calls, &agent.path), no_new_privileges);
        });
        let run = env.run_bundle(&bundle, &env.id("all")).spawn();
        let served = agent.receive().1.serve(libc::EPERM);
        run.finish(DEADLINE).success().prints("done\n");
        assert!(served.join().unwrap().contains(&"execve".to_owned()));
    }
}

#[test]
fn a_slow_agent_is_waited_for_by_the_application_and_not_by_the_runtime() {
    needs_root!();
    let env = Env::new();
    let id = env.id("slow");
    let agent = AgentSocket::bind(&env);
    let bundle = env.bundle().script(&format!("echo up; {MAKE_A_FOLDER}"));
    let bundle = bundle.edit(|config| with_profile(config, asking(&["mkdir", "mkdirat"], &agent.path), false));
    let (mut lines, out) = Lines::pipe();
    env.create(&bundle, &id).stdout(out).run().success();
    env.run(["start", &id]).success();
    lines.until("up");
    let served = agent.receive().1.serve(libc::ENOMEDIUM);
    assert_eq!(lines.rest(), REFUSED);
    env.run(["delete", "--force", &id]).success();
    served.join().unwrap();
}

/// The kernel answers ENOSYS when nobody holds the listener any more: so neither we nor the container may.
#[test]
fn when_the_agent_is_gone_no_call_waits_for_it() {
    needs_root!();
    let env = Env::new();
    for no_new_privileges in [false, true] {
        let id = env.id("gone");
        let agent = AgentSocket::bind(&env);
        let bundle = env.bundle().script("mkdir /tmp/x 2>&1; test ! -d /tmp/x");
        let bundle =
            bundle.edit(|config| with_profile(config, asking(&["mkdir", "mkdirat"], &agent.path), no_new_privileges));
        let out = env.dir().join("out");
        env.create(&bundle, &id).stdout(fs::File::create(&out).unwrap()).run().success();
        drop(agent.receive());
        drop(agent);
        env.run(["start", &id]).success();
        assert_eq!(env.wait(&id), 0);
        assert!(fs::read_to_string(&out).unwrap().contains("Function not implemented"));
        env.delete(&id);
    }
}

#[test]
fn an_agent_that_cannot_be_reached_is_told_before_anything_is_made() {
    needs_root!();
    let env = Env::new();
    let id = env.id("nobody");
    let file = env.dir().join("file");
    fs::write(&file, "").unwrap();
    let stale = env.dir().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    for path in [Path::new("/no/such/agent.sock"), &file, &stale] {
        let bundle = env.bundle().edit(|config| with_profile(config, asking(&["mkdir"], path), true));
        let name = path.to_str().unwrap();
        env.create(&bundle, &id).run().fails_with(1, &["failed to connect with seccomp agent", name]);
        env.gone(&id);
    }
    for path in ["", "@abstract", "relative.sock"] {
        let bundle = env.bundle().edit(|config| with_profile(config, asking(&["mkdir"], Path::new(path)), true));
        env.create(&bundle, &id).run().fails("linux.seccomp.listenerPath");
    }
}

#[test]
fn what_would_lock_the_runtime_up_is_refused() {
    needs_root!();
    let env = Env::new();
    let agent = env.dir().join("agent.sock");
    let bundle = env.bundle().edit(|config| with_profile(config, asking(&["mkdir", "write"], &agent), true));
    let says = "SCMP_ACT_NOTIFY cannot be used for the write syscall";
    env.run_bundle(&bundle, &env.id("write")).run().fails_with(1, &["linux.seccomp.syscalls[0].names[1]", says]);
    let bundle = env.bundle().edit(|config| {
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": agent});
    });
    env.run_bundle(&bundle, &env.id("default")).run().fails("SCMP_ACT_NOTIFY cannot be used as default action");
}

/// The agent has the listener and says nothing, and the creator is killed: nothing may hang for ever.
#[test]
fn an_init_that_waits_for_its_agent_dies_with_its_creator() {
    needs_root!();
    let env = Env::new();
    let id = env.id("mute");
    let agent = AgentSocket::bind(&env);
    let bundle = env.bundle().edit(|config| with_profile(config, asking(&["capset"], &agent.path), false));
    let create = env.create(&bundle, &id).spawn();
    let (document, listener) = agent.receive();
    assert!(listener.wait_for_a_call());
    support::process::send(create.pid(), Signal::SIGKILL);
    let _ = create.finish(DEADLINE);
    let init = document["pid"].as_i64().unwrap() as i32;
    until(DEADLINE, "an end of the init", || {
        env.run(["recover"]);
        !support::process::runs(init)
    });
    env.gone(&id);
    drop(listener);
}

/// Beside what the application itself needs, a profile needs next to nothing for us.
#[test]
fn a_profile_that_allows_little_is_enough() {
    needs_root!();
    let env = Env::new();
    let application = [
        "execve",
        "brk",
        "arch_prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "mprotect",
        "getrandom",
        "readlink",
        "readlinkat",
        "uname",
        "prctl",
        "getuid",
        "write",
        "writev",
        "exit_group",
        "fstat",
        "newfstatat",
        "setuid",
        "setgid",
        "geteuid",
    ];
    let ours = ["read", "close"];
    let bundle = env.bundle().args(&["echo", "alive"]).edit(|config| {
        let names: Vec<&str> = application.iter().chain(&ours).copied().collect();
        let rule = json!({"names": names, "action": "SCMP_ACT_ALLOW"});
        with_profile(config, json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}), true);
    });
    env.run_bundle(&bundle, &env.id("little")).run().success().prints("alive\n");
}

#[test]
fn a_compiled_program_is_kept_and_a_damaged_one_is_made_again() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().script(MAKE_A_FOLDER).edit(|config| {
        let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOMEDIUM});
        with_profile(config, json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}), true);
    });
    let run = || drop(env.run_bundle(&bundle, &env.id("kept")).run().success().prints(REFUSED));
    run();
    let cache = env.root().join("cache");
    let files: Vec<PathBuf> = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    let whole = fs::read(file).unwrap();
    run();
    for damaged in [Vec::new(), whole[..whole.len() - 8].to_vec(), vec![0; whole.len()], b"text".to_vec()] {
        fs::write(file, damaged).unwrap();
        run();
        assert_eq!(fs::read(file).unwrap(), whole);
    }
    // Where nothing can be kept, everything works as well.
    fs::remove_dir_all(&cache).unwrap();
    fs::write(&cache, "in the way").unwrap();
    run();
}

/// Rules that contradict each other: what is made of them is libseccomp's to say.
fn contradiction() -> [Value; 2] {
    let rule = |action: &str, family: u32| json!({"names": ["socket"], "action": action, "args": [{"index": 0, "value": family, "op": "SCMP_CMP_EQ"}]});
    [rule("SCMP_ACT_LOG", 40), rule("SCMP_ACT_ERRNO", 38)]
}

/// What it costs to compile the default profile, by either compiler, to load it, and to read what was kept: printed, not judged.
#[test]
#[ignore = "a measurement, for a quiet machine"]
fn what_compiling_costs() {
    use sandkeep::container::seccomp::{Program, compile, fingerprint};
    use sandkeep::spec::{Abis, default_seccomp};
    use std::time::{Duration, Instant};
    let median = |work: &dyn Fn() -> Duration| {
        let mut times: Vec<Duration> = (0..41).map(|_| work()).collect();
        times.sort();
        times[20]
    };
    let timed = |work: &dyn Fn()| {
        let began = Instant::now();
        work();
        began.elapsed()
    };
    let loading = |program: &Program| {
        let guarded = || {
            nix::sys::prctl::set_no_new_privs().unwrap();
            timed(&|| drop(sandkeep::sys::seccomp::load(&program.bpf, 0).unwrap()))
        };
        thread::scope(|scope| scope.spawn(guarded).join().unwrap())
    };
    for abis in [Abis::All, Abis::Native] {
        let plain = default_seccomp(&[], abis);
        let mut contradicting = serde_json::to_value(&plain).unwrap();
        contradicting["syscalls"].as_array_mut().unwrap().extend(contradiction());
        let contradicting = serde_json::from_value(contradicting).unwrap();
        for (compiler, profile) in [("ours", plain), ("libseccomp", contradicting)] {
            let program = compile(&profile).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let root = sandkeep::store::Root::open_or_make(dir.path()).unwrap();
            root.cache(&fingerprint(&profile).unwrap(), &program.to_bytes()).unwrap();
            let compiling = median(&|| timed(&|| drop(compile(&profile).unwrap())));
            let reading = median(&|| {
                timed(&|| {
                    let bytes = root.cached(&fingerprint(&profile).unwrap()).unwrap();
                    assert!(Program::from_bytes(&bytes).is_some());
                })
            });
            let loaded = median(&|| loading(&program));
            let long = program.bpf.len() / 8;
            println!(
                "{abis:?}, {compiler}: {long} instructions, compiling {compiling:?}, reading what was kept {reading:?}, \
                loading {loaded:?}"
            );
        }
    }
}

/// What each action does to a process that makes the call, as the caller of the runtime sees it.
#[test]
fn every_action_does_what_it_says() {
    needs_root!();
    let env = Env::new();
    let killed = 128 + libc::SIGSYS;
    let cases = [
        ("SCMP_ACT_ALLOW", 0, "made\n"),
        ("SCMP_ACT_LOG", 0, "made\n"),
        ("SCMP_ACT_ERRNO", 0, "Operation not permitted\n"),
        // There is no tracer.
        ("SCMP_ACT_TRACE", 0, "Function not implemented\n"),
        ("SCMP_ACT_KILL", killed, ""),
        ("SCMP_ACT_KILL_THREAD", killed, ""),
        ("SCMP_ACT_KILL_PROCESS", killed, ""),
        ("SCMP_ACT_TRAP", killed, ""),
    ];
    for (action, code, says) in cases {
        // The shell is replaced: what the filter kills is the container's own process.
        let script = "mkdir /tmp/x 2>&1 | sed 's/.*: //'; test -d /tmp/x && echo made; exec mkdir /tmp/y 2>/dev/null";
        let bundle = env.bundle().script(script).edit(|config| {
            let rule = json!({"names": ["mkdir", "mkdirat"], "action": action});
            with_profile(config, json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [], "syscalls": [rule]}), true);
        });
        let outcome = env.run_bundle(&bundle, &env.id("action")).run();
        let expected = if says.starts_with(char::is_uppercase) { 1 } else { code };
        assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(expected), says), "{action}: {outcome}");
    }
}
