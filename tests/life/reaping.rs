//! Who reaps the container's process: a caller that asked for a pid file, else the supervisor. `wait` agrees with both.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use sandkeep::sys::pidfd;
use support::command::DEADLINE;
use support::process::{self, as_subreaper, reap};
use support::{Env, Lines, needs_root};

/// Creates with a pid file, and gives the pid in it.
fn create_with_pid_file(env: &Env, bundle: &support::Bundle, id: &str) -> i32 {
    let pid_file = env.dir().join(format!("{id}.pid"));
    env.cmd(["create", "--bundle"]).arg(&bundle.dir).arg("--pid-file").arg(&pid_file).arg(id).run().success();
    let pid = fs::read_to_string(&pid_file).unwrap().trim().parse().expect("the pid file holds a pid");
    assert_eq!(pid, env.pid(id), "the pid file and state name the same process");
    pid
}

#[test]
fn a_caller_that_asked_for_a_pid_file_reaps_the_containers_process() {
    needs_root!();
    as_subreaper(|| {
        let env = Env::new();
        for code in [0, 7, 255] {
            let id = env.id(&format!("code{code}"));
            let pid = create_with_pid_file(&env, &env.bundle().script(&format!("exit {code}")), &id);
            assert_eq!(parent_of(pid), std::process::id() as i32);
            env.run(["start", &id]).success();
            assert_eq!(reap(pid, DEADLINE), WaitStatus::Exited(Pid::from_raw(pid), code));
            // Again and again, and the same.
            assert_wait_agrees(&env, &id, code);
            assert_wait_agrees(&env, &id, code);
            assert_eq!(env.status(&id), "stopped");
            env.delete(&id);
        }
        drain_zombies();
    });
}

#[test]
fn a_caller_sees_the_signal_that_ended_the_containers_process() {
    needs_root!();
    as_subreaper(|| {
        let env = Env::new();
        let id = env.id("signal");
        let pid = create_with_pid_file(&env, &env.bundle().args(&["sleep", "1000"]), &id);
        env.run(["start", &id]).success();
        env.run(["kill", &id, "KILL"]).success();
        assert_eq!(reap(pid, DEADLINE), WaitStatus::Signaled(Pid::from_raw(pid), Signal::SIGKILL, false));
        assert_wait_agrees(&env, &id, 137);
        env.delete(&id);
        drain_zombies();
    });
}

#[test]
fn without_a_pid_file_the_supervisor_reaps() {
    needs_root!();
    as_subreaper(|| {
        let env = Env::new();
        let id = env.id("own");
        let bundle = env.bundle().script("echo up; read line; exit 7");
        let (mut lines, out) = Lines::pipe();
        let (input, keep_open) = std::io::pipe().unwrap();
        env.create(&bundle, &id).stdin(input).stdout(out).run().success();
        env.run(["start", &id]).success();
        lines.until("up");
        let pid = env.pid(&id);
        assert_eq!(parent_of(pid), env.supervisor(&id));
        drop(keep_open);
        assert_eq!(env.wait(&id), 7);
        assert!(waitpid(Pid::from_raw(pid), None).is_err(), "it was never ours to reap");
        env.delete(&id);
        drain_zombies();
    });
}

#[test]
fn an_exec_with_a_pid_file_is_the_callers_to_reap() {
    needs_root!();
    as_subreaper(|| {
        let env = Env::new();
        let id = env.id("exec");
        env.started(&env.bundle().args(&["sleep", "1000"]), &id);
        let pid_file = env.dir().join("exec.pid");
        let exec = env.cmd(["exec", "--detach", "--pid-file"]).arg(&pid_file).args([&id, "sh", "-c", "exit 9"]);
        exec.run().success();
        let pid: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        assert_eq!(reap(pid, DEADLINE), WaitStatus::Exited(Pid::from_raw(pid), 9));
        env.run(["delete", "--force", &id]).success();
        drain_zombies();
    });
}

#[test]
fn a_caller_that_is_slow_to_reap_stops_nobody_else() {
    needs_root!();
    as_subreaper(|| {
        let env = Env::new();
        let id = env.id("slow");
        let pid = create_with_pid_file(&env, &env.bundle().script("exit 3"), &id);
        env.run(["start", &id]).success();
        process::until(DEADLINE, "zombie", || !process::runs(pid));
        assert_eq!(env.status(&id), "stopped", "an unreaped container is not running");
        let delete = env.run(["delete", "--force", &id]);
        delete.success();
        env.gone(&id);
        assert_eq!(reap(pid, DEADLINE), WaitStatus::Exited(Pid::from_raw(pid), 3), "its status is still the caller's");
        drain_zombies();
    });
}

#[test]
fn a_foreground_run_leaves_no_child_to_its_caller() {
    needs_root!();
    as_subreaper(|| {
        let env = Env::new();
        env.run_bundle(&env.bundle().script("sleep 0 & exit 4"), &env.id("none")).run().code(4);
        assert!(waitpid(None, None).is_err(), "run has left a child behind");
    });
}

#[test]
fn the_pid_file_appears_whole() {
    needs_root!();
    let env = Env::new();
    let id = env.id("pidfile");
    let pid_file = env.dir().join("pid");
    fs::write(&pid_file, "an older and longer text that must not shine through").unwrap();
    let before = fs::metadata(&pid_file).unwrap().ino();
    let bundle = env.bundle();
    env.cmd(["create", "--bundle"]).arg(&bundle.dir).arg("--pid-file").arg(&pid_file).arg(&id).run().success();
    assert_ne!(fs::metadata(&pid_file).unwrap().ino(), before, "a pid file comes by rename");
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), env.pid(&id).to_string());
    let beside: Vec<_> = fs::read_dir(env.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!beside.iter().any(|name| name.to_string_lossy().contains("tmp")), "{beside:?}");
    env.delete(&id);
}

#[test]
fn a_pid_file_that_cannot_be_written_undoes_create() {
    needs_root!();
    let env = Env::new();
    let id = env.id("nopidfile");
    let bundle = env.bundle();
    let create = env.cmd(["create", "--bundle"]).arg(&bundle.dir).args(["--pid-file", "/no/such/folder/pid", &id]);
    create.run().fails("/no/such/folder/pid");
    env.gone(&id);
}

/// `wait` says what the caller saw; where the kernel tells that to nobody but the caller, `wait` says so.
#[track_caller]
fn assert_wait_agrees(env: &Env, id: &str, code: i32) {
    let wait = env.run(["wait", id]).code(0);
    if keeps_exit_status() {
        return drop(wait.success().prints(&format!("{code}\n")));
    }
    assert!(wait.stderr.starts_with("sandkeep: warning: the exit status of ") && wait.stderr.contains(id), "{wait}");
    assert_eq!(wait.stderr.trim_end().lines().count(), 1, "{wait}");
    wait.prints("255\n");
    let told = env.run(["wait", "--format", "json", id]).code(0).json();
    assert_eq!(told["inferred"], true, "{told}");
}

/// Whether this kernel keeps the status of what has been reaped (Linux 6.15).
fn keeps_exit_status() -> bool {
    let mut child = std::process::Command::new("true").spawn().expect("true");
    let pidfd = pidfd::open(child.id() as i32).expect("a pidfd");
    child.wait().expect("its end");
    pidfd::exit_info(pidfd.as_fd()).is_ok()
}

fn parent_of(pid: i32) -> i32 {
    process::status_line(pid, "PPid").expect("it is alive").parse().expect("a pid")
}

/// Reaps what else a subreaper has inherited: a supervisor, whose end is nobody's news.
fn drain_zombies() {
    process::until(DEADLINE, "end of every child", || {
        use nix::sys::wait::WaitPidFlag;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return false,
                Ok(_) => {}
                Err(_) => return true,
            }
        }
    });
}
