//! Cgroups know no root: the same id in two roots, or the same cgroupsPath, means the same cgroup. Whoever was there first
//! keeps it, whatever becomes of the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandkeep::model::record::{Intent, ProcessRef};
use sandkeep::model::{Event, Id, Machine, Phase};
use sandkeep::store::Root;
use sandkeep::sys::procfs;
use support::{Bundle, Cmd, Env, needs_root, needs_tool};

/// A creation that died between its claim and its first effect, in this root.
fn crashed_creation(root: &Path, id: &str, cgroups: Vec<PathBuf>) {
    let mut holder = std::process::Command::new("true").spawn().expect("true runs");
    let dead = ProcessRef { pid: holder.id() as i32, start_time: 1, pidfd_inode: None };
    holder.wait().expect("true ends");
    let id = Id::parse(id).expect("an id");
    let root = Root::open_or_make(root).expect("a root");
    let (folder, guard) = root.prepare().expect("a folder");
    let intent = Intent {
        seq: 2,
        sandbox: id.clone(),
        container: id.clone(),
        machine: Machine::Sandbox,
        from: Phase::Creating,
        event: Event::LaunchRequested,
        to: Phase::Booted,
        holder: dead,
        boot: procfs::boot().expect("/proc"),
        at: 1,
        cgroups,
    };
    guard.write_intent(&intent).expect("an intent");
    folder.claim(&id).expect("the id is free");
}

fn cgroups_of(root: &Path, id: &str) -> Vec<PathBuf> {
    let root = Root::open(root).expect("a root").expect("a root that exists");
    let folder = root.find(&Id::parse(id).expect("an id")).expect("a folder").expect("a folder that exists");
    let snapshot = folder.read_snapshot().expect("readable").expect("published");
    let containers = snapshot.containers.values().flat_map(|container| container.cgroup.folders.clone());
    containers.chain(snapshot.sandbox.supervisor_cgroup.folders.clone()).collect()
}

/// A sandbox that runs, with an empty cgroup of its own making below each of its cgroups.
fn running(env: &Env, bundle: &Bundle, id: &str) -> (i32, Vec<PathBuf>) {
    env.started(bundle, id);
    let below: Vec<PathBuf> = cgroups_of(env.root(), id).iter().map(|folder| folder.join("below")).collect();
    below.iter().for_each(|folder| fs::create_dir(folder).expect("a cgroup below"));
    (env.pid(id), below)
}

#[track_caller]
fn untouched(env: &Env, id: &str, (pid, below): &(i32, Vec<PathBuf>)) {
    assert_eq!(env.status(id), "running");
    assert!(support::process::runs(*pid));
    for folder in below {
        assert!(folder.exists(), "{folder:?} was removed");
    }
}

#[test]
fn a_creation_in_another_root_is_refused_and_touches_nothing() {
    needs_root!();
    let env = Env::new();
    let id = env.id("same");
    let bundle = env.bundle().args(&["sleep", "1000"]);
    let first = running(&env, &bundle, &id);
    let other = env.dir().join("other");
    let create =
        Cmd::new(env.binary()).arg("--root").arg(&other).args(["create", "--bundle"]).arg(&bundle.dir).arg(&id);
    create.run().fails("not empty");
    assert_eq!(fs::read_dir(other.join("sandboxes")).unwrap().count(), 0);
    untouched(&env, &id, &first);
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn recovering_a_creation_that_made_nothing_does_not_end_who_has_the_cgroup() {
    needs_root!();
    let env = Env::new();
    let id = env.id("same");
    let first = running(&env, &env.bundle().args(&["sleep", "1000"]), &id);
    let other = env.dir().join("other");
    crashed_creation(&other, &id, cgroups_of(env.root(), &id));
    let recover = Cmd::new(env.binary()).arg("--root").arg(&other).arg("recover").run().success();
    recover.says("somebody else's").says("cut short");
    assert_eq!(fs::read_dir(other.join("sandboxes")).unwrap().count(), 0);
    untouched(&env, &id, &first);
    env.run(["delete", "--force", &id]).success();
}

/// A process with more than one thread can neither fork safely nor join a user namespace.
#[test]
fn a_creation_that_heals_one_before_it_has_one_thread_until_everything_is_forked() {
    needs_root!();
    needs_tool!("strace");
    let env = Env::new();
    let id = env.id("again");
    crashed_creation(env.root(), &id, Vec::new());
    let trace = env.dir().join("trace");
    let bundle = env.bundle();
    let strace = Cmd::new("strace").args(["-qq", "-e", "trace=clone,clone3,fork,vfork", "-o"]).arg(&trace);
    let create = strace.arg(env.binary()).arg("--root").arg(env.root()).args(["create", "--bundle"]);
    create.arg(&bundle.dir).arg(&id).deadline(Duration::from_secs(60)).run().success();
    let text = fs::read_to_string(&trace).expect("strace writes its trace");
    let calls: Vec<&str> = text.lines().filter(|line| line.contains("clone") || line.contains("fork")).collect();
    let first_thread = calls.iter().position(|call| call.contains("CLONE_THREAD")).expect("the store's thread");
    let processes = calls[..first_thread].iter().filter(|call| !call.contains("CLONE_THREAD")).count();
    assert!(calls[..first_thread].iter().any(|call| call.contains("CLONE_NEWPID")), "{text}");
    assert_eq!(processes, calls.len() - calls.iter().filter(|call| call.contains("CLONE_THREAD")).count(), "{text}");
    env.delete(&id);
}

#[test]
fn a_cgroup_that_somebody_has_frozen_is_refused_and_left_as_it_is() {
    needs_root!();
    let env = Env::new();
    let path = format!("/frozen-{}", env.tag());
    let (folder, switch, on) = if support::cgroup::is_v2() {
        (format!("/sys/fs/cgroup{path}"), "cgroup.freeze", "1")
    } else {
        (format!("/sys/fs/cgroup/freezer{path}"), "freezer.state", "FROZEN")
    };
    let folder = std::path::PathBuf::from(folder);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join(switch), on).unwrap();
    let bundle = env.bundle().edit(|config| config["linux"]["cgroupsPath"] = serde_json::json!(path));
    let id = env.id("frozen");
    env.create(&bundle, &id).run().fails("container's cgroup unexpectedly frozen");
    assert_eq!(std::fs::read_to_string(folder.join(switch)).unwrap().trim(), on);
    std::fs::remove_dir(&folder).unwrap();
    env.run(["state", &id]).fails("does not exist");
    env.run_bundle(&bundle, &id).run().success();
}

/// Others tell containers apart by their v2 cgroup on a hybrid machine, too.
#[test]
fn on_a_hybrid_machine_init_and_exec_are_in_a_v2_cgroup_of_the_same_name() {
    needs_root!();
    if support::cgroup::is_v2() || !std::path::Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists() {
        support::skipped!("needs v1 controllers with a v2 hierarchy beside them");
    }
    let env = Env::new();
    let id = env.id("hybrid");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let of = |text: String| text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned));
    let init = of(std::fs::read_to_string(format!("/proc/{}/cgroup", env.pid(&id))).unwrap());
    assert_eq!(init, Some(format!("/sandkeep/{id}")));
    assert_eq!(of(env.run(["exec", &id, "cat", "/proc/self/cgroup"]).success().stdout), init);
    env.run(["delete", "--force", &id]).success();
    assert!(!std::path::Path::new("/sys/fs/cgroup/unified/sandkeep").join(&id).exists());
}
