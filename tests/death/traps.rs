//! The traps that the design has measured: each is a way in which a sandbox is lost, hangs or leaks, and each has its
//! test here.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use support::command::DEADLINE;
use support::process::{self, as_subreaper, reap, send};
use support::{Env, Lines, needs_root, needs_tool};

/// On the v1 freezer a killed process stays frozen until it is thawed.
mod paused_and_killed {
    use super::*;

    fn paused(env: &Env) -> String {
        let id = env.id("frozen");
        env.started(&env.bundle().script("sleep 1000 & sleep 1000"), &id);
        env.run(["pause", &id]).success();
        assert_eq!(env.status(&id), "paused");
        id
    }

    #[test]
    fn by_kill() {
        needs_root!();
        let env = Env::new();
        let id = paused(&env);
        env.run(["kill", &id, "KILL"]).success();
        assert_eq!(env.wait(&id), 137);
        env.delete(&id);
    }

    #[test]
    fn by_forced_delete() {
        needs_root!();
        let env = Env::new();
        let id = paused(&env);
        env.run(["delete", "--force", &id]).success();
        env.gone(&id);
    }

    #[test]
    fn by_the_end_of_its_supervisor() {
        needs_root!();
        let env = Env::new();
        let id = paused(&env);
        send(env.supervisor(&id), Signal::SIGKILL);
        env.run(["recover"]).code(0);
        assert_eq!(env.status(&id), "stopped");
        assert_eq!(env.wait(&id), 137);
        env.delete(&id);
    }

    /// As a pause that has frozen it and not recorded that yet, or `kill --all` in the middle of its work.
    fn freeze(pid: i32) {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let of = |controller: &str| text.lines().find_map(|line| line.split_once(controller).map(|(_, path)| path));
        match of(":freezer:") {
            Some(path) => std::fs::write(format!("/sys/fs/cgroup/freezer{path}/freezer.state"), "FROZEN").unwrap(),
            None => std::fs::write(format!("/sys/fs/cgroup{}/cgroup.freeze", of("0::").unwrap()), "1").unwrap(),
        }
    }

    #[test]
    fn by_kill_while_a_pause_is_under_way() {
        needs_root!();
        let env = Env::new();
        let id = env.id("pausing");
        env.started(&env.bundle().args(&["sleep", "1000"]), &id);
        freeze(env.pid(&id));
        env.run(["kill", &id, "KILL"]).success();
        assert_eq!(env.wait(&id), 137);
        env.delete(&id);
    }

    #[test]
    fn or_left_frozen_by_who_died_before_it_could_thaw() {
        needs_root!();
        let env = Env::new();
        let id = env.id("frozen");
        env.started(&env.bundle().args(&["sleep", "1000"]), &id);
        freeze(env.pid(&id));
        env.run(["doctor"]).code(1).says("is frozen, and recorded as running");
        env.run(["recover"]).success().says("thawed");
        env.run(["doctor"]).success();
        env.run(["exec", &id, "true"]).success();
        env.run(["delete", "--force", &id]).success();
    }

    #[test]
    fn by_the_hosts_hand_and_then_deleted() {
        needs_root!();
        let env = Env::new();
        let id = paused(&env);
        send(env.pid(&id), Signal::SIGKILL);
        env.run(["delete", "--force", &id]).success();
        env.gone(&id);
    }
}

/// A killed supervisor stays in the kernel, neither dead nor a zombie, while an outside parent is slow to reap.
#[test]
fn a_supervisor_killed_while_an_outside_parent_does_not_reap() {
    needs_root!();
    as_subreaper(|| {
        let env = Env::new();
        let id = env.id("unreaped");
        let pid_file = env.dir().join("pid");
        let bundle = env.bundle().args(&["sleep", "1000"]);
        let create = env.cmd(["create", "--bundle"]).arg(&bundle.dir).arg("--pid-file").arg(&pid_file).arg(&id);
        create.run().success();
        let pid: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        env.run(["start", &id]).success();
        let supervisor = env.supervisor(&id);
        send(supervisor, Signal::SIGKILL);
        process::until(DEADLINE, "end of the supervisor", || !process::runs(supervisor));

        // We reap nothing: everything must work all the same.
        assert_eq!(env.status(&id), "stopped");
        assert_eq!(env.wait(&id), 137);
        env.run(["recover"]).code(0);
        env.delete(&id);
        env.gone(&id);
        assert_eq!(reap(pid, DEADLINE), WaitStatus::Signaled(Pid::from_raw(pid), Signal::SIGKILL, false));
    });
}

/// flock is inherited by fork: a process that lives on must not keep a lock of a command that has ended.
#[test]
fn no_lock_is_inherited_by_what_outlives_a_command() {
    needs_root!();
    let env = Env::new();
    let id = env.id("lock");
    // A hook that leaves a process behind is as bad as it gets: it inherits whatever is not closed.
    let marker = env.dir().join("child");
    let script = format!("sleep 1000 >/dev/null 2>&1 & echo $! > {}", marker.display());
    let bundle = env.bundle().args(&["sleep", "1000"]).edit(|config| {
        config["hooks"] = serde_json::json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    });
    env.created(&bundle, &id);
    let child: i32 = fs::read_to_string(&marker).unwrap().trim().parse().unwrap();
    for (name, pid) in [("hook's child", child), ("init", env.pid(&id)), ("supervisor", env.supervisor(&id))] {
        for fd in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
            let target = fs::read_link(fd.path()).unwrap_or_default();
            assert!(!target.ends_with("lock") && !target.ends_with("store.lock"), "{name}: {}", target.display());
        }
    }
    let inode = fs::metadata(env.root().join("sandboxes").join(&id).join("lock")).unwrap().ino();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    assert!(!locks.lines().any(|line| line.contains(&format!(":{inode} "))), "{locks}");
    env.run(["start", &id]).success();
    assert_eq!(env.status(&id), "running");
    env.run(["delete", "--force", &id]).success();
    send(child, Signal::SIGKILL);
}

/// A mount tree that is donated while it is shared would carry a container's mounts to the host.
#[test]
fn a_donated_shared_mount_does_not_leak_to_the_host() {
    needs_root!();
    let env = Env::new();
    let shared = env.dir().join("shared");
    fs::create_dir(&shared).unwrap();
    mount(Some("none"), &shared, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    mount(None::<&str>, &shared, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
    fs::create_dir(shared.join("inner")).unwrap();
    // Other tests mount things of their own meanwhile.
    let ours = || -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        table.lines().filter(|line| line.contains(env.tag())).map(str::to_owned).collect()
    };
    let before = ours();
    for options in [&["rbind", "rw"][..], &["bind"], &["rbind", "rslave"], &["rbind", "rprivate"]] {
        let id = env.id("leak");
        let script = "mount -t tmpfs none /shared/inner && touch /shared/inner/file && echo mounted; exec sleep 1000";
        let bundle = env.bundle().bind(&shared, "/shared", options).script(script).capabilities(&["CAP_SYS_ADMIN"]);
        let (mut lines, out) = Lines::pipe();
        env.create(&bundle, &id).stdout(out).run().success();
        env.run(["start", &id]).success();
        assert_eq!(lines.next().as_deref(), Some("mounted"), "{options:?}");
        let after = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!after.contains("shared/inner"), "{options:?}: a container's mount is on the host");
        assert!(!shared.join("inner/file").exists());
        env.run(["delete", "--force", &id]).success();
    }
    assert_eq!(ours(), before);
    nix::mount::umount(&shared).unwrap();
}

/// Engines' roots are so long that a socket's plain path has no place in sun_path.
#[test]
fn a_64_hex_id_under_a_long_root() {
    needs_root!();
    let env = Env::new().root_at(&format!("{}/{}", "l".repeat(120), "m".repeat(120)));
    let hex = "0123456789abcdef".repeat(4);
    whole_life(&env, &env.id(&hex)[..64 + 1 + env.tag().len()]);
}

/// Longer than a file name may be.
#[test]
fn a_thousand_byte_id() {
    needs_root!();
    let env = Env::new();
    let id = format!("{}{}", env.id("long"), "x".repeat(1000));
    whole_life(&env, &id[..1000]);
    // Two that differ in their last byte alone are two.
    let (one, two) = (format!("{}1", &id[..999]), format!("{}2", &id[..999]));
    env.created(&env.bundle(), &one);
    env.gone(&two);
    env.created(&env.bundle(), &two);
    env.delete(&one);
    assert_eq!(env.state(&two)["id"], two.as_str());
    env.delete(&two);
}

fn whole_life(env: &Env, id: &str) {
    env.started(&env.bundle().args(&["sleep", "1000"]), id);
    assert_eq!(env.status(id), "running");
    env.run(["exec", id, "true"]).success();
    env.run(["pause", id]).success();
    env.run(["resume", id]).success();
    env.run(["list", "--quiet"]).success().says(id);
    env.run(["kill", id, "KILL"]).success();
    assert_eq!(env.wait(id), 137);
    env.delete(id);
    env.gone(id);
}

/// On a full file system everything that ends things still works, and nothing is thrown away.
#[test]
fn a_full_file_system_stops_no_kill_no_delete_and_no_recovery() {
    needs_root!();
    let env = Env::new().root_at("small/r");
    let small = env.dir().join("small");
    fs::create_dir(&small).unwrap();
    mount(Some("none"), &small, Some("tmpfs"), MsFlags::empty(), Some("size=16m")).unwrap();
    let bundle = env.bundle().args(&["sleep", "1000"]);
    let names = ["killed", "orphan", "forced", "unstarted"];
    let [killed, orphan, forced, unstarted] = names.map(|name| env.id(name));
    for id in [&killed, &orphan, &forced] {
        env.started(&bundle, id);
    }
    env.created(&bundle, &unstarted);
    let ballast = small.join("ballast");
    fill(&ballast);

    env.run(["kill", &killed, "KILL"]).code(0);
    assert_eq!(env.wait(&killed), 137);
    env.run(["delete", &killed]).code(0);
    env.gone(&killed);
    env.run(["delete", "--force", &forced]).code(0);
    env.gone(&forced);
    env.run(["delete", &unstarted]).code(0);
    env.gone(&unstarted);
    // What was freed is taken again, so that recover has none of it either.
    fill(&small.join("more"));
    let supervisor = env.supervisor(&orphan);
    send(supervisor, Signal::SIGKILL);
    // As soon as the kernel has got round to the signal.
    process::until(DEADLINE, "end of the supervisor", || !process::runs(supervisor));
    assert_eq!(env.status(&orphan), "stopped");
    env.run(["recover"]).code(0);
    assert_eq!(env.wait(&orphan), 137);

    fs::remove_file(small.join("more")).unwrap();
    fs::remove_file(&ballast).unwrap();
    env.run(["recover"]).code(0);
    env.run(["delete", "--force", &orphan]).success();
    let moved = find(&small, &|name| name.contains("corrupt"));
    assert!(moved.is_empty(), "a full file system is no corruption: {moved:?}");
    let history = env.run(["history"]).success().stdout;
    for id in [&killed, &forced, &unstarted, &orphan] {
        assert!(history.contains(id.as_str()), "{id} is missing from the history:\n{history}");
    }
    env.run(["doctor"]).success();
    nix::mount::umount(&small).unwrap();
}

fn fill(ballast: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(ballast).unwrap();
    let zeros = vec![0; 64 * 1024];
    while file.write_all(&zeros).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
}

fn find(dir: &Path, wanted: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_str().is_some_and(wanted) {
            found.push(path.display().to_string());
        }
        if path.is_dir() && !path.is_symlink() {
            found.extend(find(&path, wanted));
        }
    }
    found
}

/// In the host's PID namespace the supervisor can neither parent nor signal.
#[test]
fn the_hosts_pid_namespace() {
    needs_root!();
    let env = Env::new();
    let code = env.id("code");
    let bundle = env.bundle().namespace("pid", None).script("test $$ -gt 1 && exit 7");
    env.run_bundle(&bundle, &code).run().code(7);

    let id = env.id("host");
    let bundle = env.bundle().namespace("pid", None).script("sleep 1000 & echo $$; wait");
    let (mut lines, out) = Lines::pipe();
    env.create(&bundle, &id).stdout(out).run().success();
    env.run(["start", &id]).success();
    let inside: i32 = lines.next().unwrap().parse().unwrap();
    assert_eq!(inside, env.pid(&id), "its pid is the host's");
    env.run(["exec", &id, "sh", "-c", "exit 3"]).code(3);
    env.run(["pause", &id]).success();
    env.run(["resume", &id]).success();
    env.run(["kill", &id, "KILL"]).success();
    assert_eq!(env.wait(&id), 137);
    env.delete(&id);
    assert_eq!(lines.next(), None, "a process of it lives on");

    env.created(&env.bundle().namespace("pid", None).script("exit 5"), &id);
    env.run(["start", &id]).success();
    assert_eq!(env.wait(&id), 5);
    env.delete(&id);
}

/// A PID namespace that somebody else made.
#[test]
fn a_pid_namespace_joined_by_path() {
    needs_root!();
    needs_tool!("unshare");
    let env = Env::new();
    let (mut lines, out) = Lines::pipe();
    let (input, keep_open) = std::io::pipe().unwrap();
    let script = "echo $(readlink /proc/self/ns/pid); exec cat";
    let mut unshare = Command::new("unshare");
    unshare.args(["--fork", "--pid", "--mount-proc", "--kill-child", "sh", "-c", script]).stdin(input).stdout(out);
    let mut holder = unshare.spawn().unwrap();
    let namespace = lines.next().unwrap();
    let inside = process::all().into_iter().map(|(pid, _)| pid);
    let mut inside = inside.filter(|pid| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns == *namespace));
    let path = format!("/proc/{}/ns/pid", inside.next().expect("a process in the namespace"));

    let id = env.id("joined");
    let bundle = env.bundle().namespace("pid", Some(&path)).script("readlink /proc/self/ns/pid; exit 6");
    let (mut lines, out) = Lines::pipe();
    env.create(&bundle, &id).stdout(out).run().success();
    env.run(["start", &id]).success();
    assert_eq!(lines.next(), Some(namespace));
    assert_eq!(env.wait(&id), 6);
    env.delete(&id);

    env.started(&env.bundle().namespace("pid", Some(&path)).args(&["sleep", "1000"]), &id);
    env.run(["exec", &id, "true"]).success();
    env.run(["delete", "--force", &id]).success();
    env.gone(&id);
    drop(keep_open);
    holder.wait().unwrap();
}

/// SIGCHLD ignored by the caller is inherited, and breaks waiting wherever it is not reset.
#[test]
fn sigchld_ignored_by_the_caller() {
    needs_root!();
    let env = Env::new();
    let ignoring = |args: &[&str], bundle: Option<&Path>| {
        let script = "trap '' CHLD; trap '' TERM; exec \"$0\" \"$@\"";
        let shell = support::Cmd::new("sh").args(["-c", script]).arg(env.binary()).arg("--root").arg(env.root());
        match bundle {
            Some(bundle) => shell.arg(args[0]).arg("--bundle").arg(bundle).args(&args[1..]).run(),
            None => shell.args(args).run(),
        }
    };
    let id = env.id("ignored");
    let script = "grep SigIgn /proc/self/status; sh -c 'exit 4'; exit $?";
    let bundle = env.bundle().script(script);
    let outcome = ignoring(&["run", &id], Some(&bundle.dir)).code(4);
    let ignored = outcome.stdout.trim().rsplit('\t').next().and_then(|mask| u64::from_str_radix(mask, 16).ok());
    let (term, chld) = (1 << (Signal::SIGTERM as u64 - 1), 1 << (Signal::SIGCHLD as u64 - 1));
    assert_eq!(ignored.map(|mask| mask & (term | chld)), Some(0), "inherited by the application:\n{outcome}");
    ignoring(&["create", &id], Some(&bundle.dir)).success();
    ignoring(&["start", &id], None).success();
    ignoring(&["wait", &id], None).success().prints("4\n");
    ignoring(&["delete", &id], None).success();
}

/// A root process that shares the supervisor's PID namespace must get no hold of it.
#[test]
fn root_in_the_sandbox_can_neither_trace_the_supervisor_nor_open_its_root() {
    needs_root!();
    needs_tool!("strace");
    let env = Env::new();
    let host = env.id("target");
    env.started(&env.bundle().args(&["sleep", "1000"]), &host);
    let path = format!("/proc/{}/ns/pid", env.supervisor(&host));

    // Another container in the very namespace of which the supervisor is pid 1, with the host's strace at hand.
    let script = "tr '\\0' ' ' < /proc/1/cmdline | head -c 300; echo; \
                  for link in /proc/1/fd/*; do readlink $link && echo opened $link; done; \
                  for file in root/ environ mem maps ns/pid exe cwd/; do \
                    if ls /proc/1/$file >/dev/null 2>&1 && head -c 1 /proc/1/$file >/dev/null 2>&1; then echo opened $file; fi; \
                    if ls /proc/1/$file/ 2>/dev/null | grep -q .; then echo listed $file; fi; done; \
                  /usr/bin/strace -p 1 -o /dev/null 2>&1; kill -KILL 1; kill -STOP 1; echo survived";
    let mut bundle = env.bundle().namespace("pid", Some(&path)).script(script);
    for folder in ["/usr", "/lib", "/lib64"] {
        if Path::new(folder).exists() {
            bundle = bundle.bind(Path::new(folder), folder, &["rbind", "ro"]);
        }
    }
    let outcome = env.run_bundle(&bundle, &env.id("attacker")).run().code(0);
    let said = &outcome.stdout;
    assert!(said.contains("sandkeep-sandbox"), "pid 1 there is the supervisor:\n{outcome}");
    assert!(!said.contains("opened") && !said.contains("listed"), "{outcome}");
    assert!(said.contains("Operation not permitted"), "strace was let in:\n{outcome}");
    assert!(said.ends_with("survived\n"), "{outcome}");
    assert_eq!(env.status(&host), "running");
    env.run(["exec", &host, "true"]).success();
    env.run(["delete", "--force", &host]).success();
}

/// conmon waits for every child that it has inherited, the supervisor too.
#[test]
fn conmon_leaves_promptly_after_the_container_ends() {
    needs_root!();
    needs_tool!("conmon");
    as_subreaper(|| {
        // conmon leaves its caller: only a subreaper can wait for it.
        let env = Env::new();
        let id = env.id("conmon");
        let bundle = env.bundle().script("echo out; echo err >&2; exit 7");
        let file = |name: &str| env.dir().join(name);
        fs::create_dir(file("exits")).unwrap();
        let conmon = support::Cmd::new("conmon").args(["--api-version", "1", "-c", &id, "-u", &id, "-n", &id, "-r"]);
        let conmon = conmon.arg(env.binary()).arg("-b").arg(&bundle.dir).arg("-p").arg(file("pid"));
        let conmon = conmon.arg("-P").arg(file("conmon.pid")).arg("--exit-dir").arg(file("exits")).arg("-l");
        let conmon = conmon.arg(format!("k8s-file:{}", file("log").display())).arg("--socket-dir-path").arg(env.dir());
        conmon.arg("--runtime-arg").arg("--root").arg("--runtime-arg").arg(env.root()).run().code(0);
        process::until(DEADLINE, "pid file", || file("pid").exists() && file("conmon.pid").exists());
        let conmon: i32 = fs::read_to_string(file("conmon.pid")).unwrap().trim().parse().unwrap();
        process::until(DEADLINE, "created container", || env.run(["state", &id]).stdout.contains("\"created\""));
        let pid: i32 = fs::read_to_string(file("pid")).unwrap().trim().parse().unwrap();
        assert_eq!(pid, env.pid(&id));

        env.run(["start", &id]).success();
        assert_eq!(env.wait(&id), 7);
        let left = reap(conmon, Duration::from_secs(5));
        assert!(matches!(left, WaitStatus::Exited(_, 7)), "conmon: {left:?}");
        assert_eq!(fs::read_to_string(file("exits").join(&id)).unwrap().trim(), "7");
        let log = fs::read_to_string(file("log")).unwrap();
        assert!(log.contains("stdout F out") && log.contains("stderr F err"), "{log}");
        env.delete(&id);
    });
}

/// The application of a foreground run is that command's child, and pid 1 of its PID namespace ends only once it is reaped.
#[test]
fn a_run_that_gives_up_reaps_what_it_kills() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().args(&["sleep", "1000"]);
    for attempt in 0..12 {
        let id = env.id(&format!("reap{attempt}"));
        let run = env.cmd(["run", "--pid-file", "/no/such/folder", "--bundle"]).arg(&bundle.dir).arg(&id).run();
        let told = run.fails("no such file or directory").stderr.clone();
        assert!(!told.contains("could not delete"), "{told}");
        env.gone(&id);
    }
}
