//! Nothing stays behind: not after a hundred runs, not after failures; and `doctor` says so, or says what does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::command::DEADLINE;
use support::{Env, needs_root};

const RUNS: usize = 100;

#[test]
fn a_hundred_runs_leave_nothing() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().script("echo $0");
    let sockets_before = control_sockets();
    for run in 0..RUNS {
        env.run_bundle(&bundle, &env.id(&format!("run{run}"))).run().success().prints("/bin/sh\n");
    }
    assert_eq!(env.leftovers(), Vec::<String>::new());
    // Others are at work on this machine: theirs are the supervisors that run, and for a while the clients of those.
    support::until(DEADLINE, "end of all sockets but those of supervisors that run", || {
        let left = control_sockets().into_iter().filter(|socket| !sockets_before.contains(socket)).count();
        left <= support::process::all().iter().filter(|(_, args)| is_supervisor(args)).count()
    });
    env.run(["doctor"]).success();
    assert_eq!(env.run(["list", "--quiet"]).success().stdout, "");

    doctor_finds_and_recover_removes(&env);
}

/// What a crash may leave in the root is found by doctor, which changes nothing, and removed by recover.
fn doctor_finds_and_recover_removes(env: &Env) {
    let sandboxes = env.root().join("sandboxes");
    let (orphan, strange) = (cgroup_of(&env.id("run1")), cgroup_of(&env.id("never-seen")));
    fs::create_dir_all(orphan.join("below")).unwrap();
    fs::create_dir(&strange).unwrap();
    let made = Instant::now();
    for stray in [".new-~0123456789abcdef", ".gone-~0123456789abcdef"] {
        let folder = sandboxes.join(stray);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("lock"), [0; 4096]).unwrap();
        let doctor = env.run(["doctor"]).code(1);
        assert!(format!("{}{}", doctor.stdout, doctor.stderr).contains(stray), "{doctor}");
        assert!(folder.exists(), "doctor only looks");
        env.run(["recover", "--dry-run"]).code(0);
        assert!(folder.exists(), "a dry run changes nothing");
        let recover = env.run(["recover", "--format", "json"]).code(0);
        assert!(recover.stdout.contains(stray), "{recover}");
        assert!(!folder.exists());
        env.run(["doctor"]).success();
    }
    a_dead_supervisor_is_found(env);
    // A young one may be one that is being made.
    support::until(Duration::from_secs(30), "finding of an orphaned cgroup", || {
        let doctor = env.run(["doctor"]);
        !doctor.status.success() && doctor.stdout.contains(orphan.to_str().unwrap())
    });
    assert!(made.elapsed() > Duration::from_secs(9), "{:?}", made.elapsed());
    env.run(["recover"]).success().says("removed the empty cgroup");
    assert!(!orphan.exists());
    assert!(strange.exists(), "nobody knows whose that is");
    fs::remove_dir(&strange).unwrap();
    env.run(["doctor"]).success();
}

/// Where the cgroup of this sandbox would be, in one hierarchy.
fn cgroup_of(id: &str) -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    let tops = points.map(|point| Path::new(point).join("sandkeep"));
    tops.into_iter().find(|top| top.exists()).expect("the cgroups of sandboxes").join(id)
}

fn a_dead_supervisor_is_found(env: &Env) {
    let id = env.id("dead");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    env.run(["doctor"]).success();
    support::process::send(env.supervisor(&id), nix::sys::signal::Signal::SIGKILL);
    support::until(support::command::DEADLINE, "stopped sandbox", || env.status(&id) == "stopped");
    let doctor = env.run(["doctor"]).code(1);
    assert!(format!("{}{}", doctor.stdout, doctor.stderr).contains(&id), "{doctor}");
    env.run(["recover"]).code(0);
    env.run(["doctor"]).success();
    env.run(["recover"]).success();
    assert_eq!(env.status(&id), "stopped");
    env.delete(&id);
}

fn control_sockets() -> Vec<String> {
    let table = fs::read_to_string(Path::new("/proc/net/unix")).unwrap_or_default();
    table.lines().filter(|line| line.ends_with("/control.sock")).map(str::to_owned).collect()
}

fn is_supervisor(args: &[String]) -> bool {
    args.first().is_some_and(|name| name.ends_with("sandkeep-sandbox"))
}
