//! A sandbox in the host's PID namespace: the kernel ends nothing of it with its supervisor, so somebody else must.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use support::command::DEADLINE;
use support::{Bundle, Env, Lines, needs_root, process, until};

/// Prints the pid of a process that is not the init, and goes on.
fn with_another_process(env: &Env) -> Bundle {
    env.bundle().namespace("pid", None).script("setsid sleep 1000 & echo $!; wait")
}

#[test]
fn whatever_outlives_the_supervisor_and_the_init_is_ended_by_recovery() {
    needs_root!();
    let env = Env::new();
    let id = env.id("gone");
    let (mut lines, out) = Lines::pipe();
    env.create(&with_another_process(&env), &id).stdout(out).run().success();
    env.run(["start", &id]).success();
    let (init, other): (i32, i32) = (env.pid(&id), lines.next().unwrap().parse().unwrap());
    process::send(env.supervisor(&id), Signal::SIGKILL);
    until(DEADLINE, "end of the supervisor", || env.find_supervisor(&id).is_none());
    assert!(process::runs(init) && process::runs(other) && env.status(&id) == "running");
    env.run(["kill", &id, "KILL"]).success();
    until(DEADLINE, "stopped sandbox", || env.status(&id) == "stopped");
    assert!(process::runs(other));
    env.run(["recover"]).code(0);
    assert!(!process::runs(other));
    env.run(["doctor"]).success();
    env.delete(&id);
}

#[test]
fn whatever_outlives_a_killed_foreground_run_is_ended_by_recovery() {
    needs_root!();
    let env = Env::new();
    let id = env.id("run");
    let (mut lines, out) = Lines::pipe();
    let run = env.run_bundle(&with_another_process(&env), &id).stdout(out).spawn();
    let other: i32 = lines.next().unwrap().parse().unwrap();
    until(DEADLINE, "running sandbox", || env.status(&id) == "running");
    process::send(run.pid(), Signal::SIGKILL);
    run.finish(DEADLINE);
    until(DEADLINE, "end of the supervisor", || env.find_supervisor(&id).is_none());
    until(DEADLINE, "stopped sandbox", || env.status(&id) == "stopped");
    env.run(["recover"]).code(0);
    assert!(!process::runs(other));
    env.run(["doctor"]).success();
    env.delete(&id);
}

#[test]
fn doctor_tells_of_processes_in_the_cgroup_of_a_stopped_sandbox() {
    needs_root!();
    let env = Env::new();
    let id = env.id("doctor");
    env.started(&with_another_process(&env), &id);
    let cgroup = cgroup_of(env.pid(&id));
    env.run(["kill", &id, "KILL"]).success();
    env.wait(&id);
    until(DEADLINE, "end of the supervisor", || env.find_supervisor(&id).is_none());
    env.run(["recover"]).code(0);
    env.run(["doctor"]).success();
    let mut stray = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(cgroup.join("cgroup.procs"), stray.id().to_string()).unwrap();
    let doctor = env.run(["doctor"]).code(1);
    assert!(doctor.stdout.contains(&id) && doctor.stdout.contains("1 process"), "{doctor}");
    env.delete(&id);
    assert_eq!(stray.wait().unwrap().code(), None, "it was killed with the rest");
}

/// One folder of its cgroups that is its own.
fn cgroup_of(pid: i32) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    // A hierarchy that is mounted nowhere, or not used, shows the root: that one is not its own.
    let paths =
        text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).filter(|(_, path)| *path != "/");
    let folders = paths.flat_map(|(controllers, path)| {
        let below = path.trim_start_matches('/').to_owned();
        let names = [controllers.trim_start_matches("name=").to_owned(), "unified".to_owned(), String::new()];
        names.map(|name| PathBuf::from("/sys/fs/cgroup").join(name).join(&below))
    });
    let mut own = folders.filter(|folder| folder.join("cgroup.procs").exists());
    own.find(|folder| fs::read_to_string(folder.join("cgroup.procs")).unwrap().contains(&pid.to_string())).unwrap()
}
