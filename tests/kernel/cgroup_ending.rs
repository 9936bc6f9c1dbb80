//! A container that makes itself hard to end is ended all the same: frozen below its own cgroup, nested deeper than a path
//! can say, starved of time, or forking for ever. And whoever looks at it is told the truth, or an error.
//!
//! What such a container does to its cgroups is done here from outside, in the same files, so that one test does for v1
//! and for v2.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cgroup_support::{Container, Kind, soon};
use nix::sys::signal::Signal;
use sandkeep::cgroup::{self, Layout};
use sandkeep::model::record::CgroupRecord;
use serde_json::json;
use support::cgroup::{folder, is_v2};
use support::command::DEADLINE;
use support::{Bundle, Env, needs_root, needs_tool, process, until};

/// Far more than ending anything takes, and less than the minute that a launch is waited for.
const SOON: Duration = Duration::from_secs(30);

/// Half as deep again as a path of single letters can be, and three times as long.
const LEVELS: usize = 1000;
const NAME: &str = "a-name-of-14-b";

/// Cgroups that a test made are thawed when it ends, however it ends: what is frozen cannot be swept away.
struct Frozen(PathBuf);

impl Frozen {
    fn at(folder: &Path) -> Frozen {
        set_frozen(folder, true).unwrap_or_else(|error| panic!("freeze {folder:?}: {error}"));
        Frozen(folder.to_owned())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = set_frozen(&self.0, false);
    }
}

fn set_frozen(folder: &Path, frozen: bool) -> std::io::Result<()> {
    match is_v2() {
        true => fs::write(folder.join("cgroup.freeze"), if frozen { "1" } else { "0" }),
        false => fs::write(folder.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" }),
    }
}

fn is_frozen(folder: &Path) -> bool {
    match is_v2() {
        true => fs::read_to_string(folder.join("cgroup.events")).is_ok_and(|text| text.contains("frozen 1")),
        false => fs::read_to_string(folder.join("freezer.state")).is_ok_and(|text| text.trim() == "FROZEN"),
    }
}

/// A sandbox that sleeps, and the cgroup that can freeze it.
fn sleeping(env: &Env, id: &str) -> (i32, PathBuf) {
    env.started(&env.bundle().args(&["sleep", "1000"]), id);
    let pid = env.pid(id);
    (pid, folder(pid, "freezer"))
}

/// Moves the process into a cgroup two below its own, and freezes it there.
fn frozen_below(pid: i32, own: &Path) -> Frozen {
    let inner = own.join("inner/most");
    fs::create_dir_all(&inner).expect("cgroups below");
    fs::write(inner.join("cgroup.procs"), pid.to_string()).expect("move in");
    let frozen = Frozen::at(&own.join("inner"));
    set_frozen(&inner, true).expect("freeze once more");
    until(SOON, "frozen process", || is_frozen(&inner));
    assert!(!is_frozen(own) || is_v2());
    frozen
}

#[test]
fn who_froze_itself_below_its_own_cgroup_is_deleted() {
    needs_root!();
    let env = Env::new();
    let id = env.id("frozen");
    let (pid, own) = sleeping(&env, &id);
    let _frozen = frozen_below(pid, &own);
    env.run(["delete", "--force", &id]).success();
    assert!(!process::runs(pid));
    env.gone(&id);
}

#[test]
fn who_froze_itself_below_its_own_cgroup_is_killed_by_one_signal_or_by_one_for_all() {
    needs_root!();
    let env = Env::new();
    for arguments in [&["kill"][..], &["kill", "--all"]] {
        let id = env.id(&format!("killed{}", arguments.len()));
        let (pid, own) = sleeping(&env, &id);
        let _frozen = frozen_below(pid, &own);
        env.run(arguments.iter().copied().chain([id.as_str(), "KILL"])).success();
        assert!(!process::runs(pid), "{arguments:?} is over, and it lives");
        assert_eq!(env.wait(&id), 137);
        env.delete(&id);
    }
}

#[test]
fn whose_supervisor_dies_is_not_told_stopped_while_it_is_frozen_and_is_recovered() {
    needs_root!();
    let env = Env::new();
    let id = env.id("orphan");
    let (pid, own) = sleeping(&env, &id);
    let _frozen = frozen_below(pid, &own);
    let supervisor = env.supervisor(&id);
    process::send(supervisor, Signal::SIGKILL);
    until(SOON, "dying supervisor", || !process::runs(supervisor));
    // On v2 a killed process ends, frozen or not.
    if !is_v2() {
        assert!(process::runs(pid), "a frozen process has ended");
        assert_eq!(env.status(&id), "running", "it lives");
        env.run(["list"]).success().says("running");
    }
    env.run(["recover"]).says(&id);
    assert!(!process::runs(pid), "it is recovered, and it lives");
    assert_eq!(env.status(&id), "stopped");
    env.run(["doctor"]).success();
    env.delete(&id);
}

#[test]
fn a_pause_and_its_end_leave_alone_what_the_container_froze_itself() {
    needs_root!();
    let env = Env::new();
    let id = env.id("paused");
    let (pid, own) = sleeping(&env, &id);
    let frozen = frozen_below(pid, &own);
    env.run(["pause", &id]).success();
    assert_eq!(env.status(&id), "paused");
    assert!(is_frozen(&own));
    env.run(["resume", &id]).success();
    assert_eq!(env.status(&id), "running");
    assert!(is_frozen(&frozen.0), "the container had frozen it itself");
    env.run(["pause", &id]).success();
    env.run(["kill", &id, "KILL"]).success();
    assert_eq!(env.wait(&id), 137);
    env.delete(&id);
}

/// Cgroups one below the other, by descriptor, and the process in the last of them. Returns how many bytes the way is.
fn nest(own: &Path, pid: i32) -> usize {
    let mut here = open_folder(own);
    for _ in 0..LEVELS {
        nix::sys::stat::mkdirat(Some(here.as_raw_fd()), NAME, nix::sys::stat::Mode::S_IRWXU).expect("a cgroup below");
        here = open_folder(&PathBuf::from(format!("/proc/self/fd/{}/{NAME}", here.as_raw_fd())));
    }
    // No process may be in a cgroup of v2 that hands controllers on; without them each takes any.
    fs::write(format!("/proc/self/fd/{}/cgroup.procs", here.as_raw_fd()), pid.to_string()).expect("move in");
    LEVELS * (NAME.len() + 1)
}

fn open_folder(path: &Path) -> fs::File {
    let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// Where freezing is, and on a hybrid machine also on the v2 mount beside it.
fn tops(pid: i32) -> Vec<PathBuf> {
    let mut tops = vec![folder(pid, "freezer")];
    let beside = Path::new("/sys/fs/cgroup/unified");
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups");
    let on_v2 = text.lines().find_map(|line| line.strip_prefix("0::/")).map(|path| beside.join(path));
    tops.extend(on_v2.filter(|path| !is_v2() && path.join("cgroup.procs").exists()));
    tops
}

#[test]
fn cgroups_nested_a_thousand_deep_are_looked_at_frozen_killed_and_removed() {
    needs_root!();
    let env = Env::new();
    let id = env.id("deep");
    let (pid, own) = sleeping(&env, &id);
    for top in tops(pid) {
        assert!(nest(&top, pid) > 3 * libc::PATH_MAX as usize);
    }
    assert_eq!(env.run(["ps", "--format", "json", &id]).success().json(), json!([pid]));
    env.run(["ps", &id]).success().says("sleep");
    env.run(["events", "--stats", &id]).success();
    env.run(["doctor"]).success();
    env.run(["pause", &id]).success();
    assert!(is_frozen(&own));
    env.run(["resume", &id]).success();
    env.run(["exec", &id, "true"]).success();
    env.run(["kill", "--all", &id, "WINCH"]).success();
    assert_eq!(env.status(&id), "running");
    env.run(["kill", "--all", &id, "KILL"]).success();
    assert_eq!(env.wait(&id), 137);
    env.delete(&id);
}

#[test]
fn cgroups_nested_a_thousand_deep_stop_no_recovery() {
    needs_root!();
    let env = Env::new();
    let id = env.id("deeper");
    let (pid, own) = sleeping(&env, &id);
    for top in tops(pid) {
        nest(&top, pid);
    }
    let _frozen = Frozen::at(&own.join(NAME).join(NAME));
    process::send(env.supervisor(&id), Signal::SIGKILL);
    env.run(["recover"]).says(&id);
    assert!(!process::runs(pid));
    env.run(["doctor"]).success();
    env.delete(&id);
}

#[test]
fn a_path_that_is_too_long_for_its_own_files_is_refused_before_anything_is_made() {
    needs_root!();
    let env = Env::new();
    let id = env.id("long");
    let path = format!("/{}{}", env.tag(), format!("/{}", "n".repeat(200)).repeat(20));
    let bundle = env.bundle().edit(|config| config["linux"]["cgroupsPath"] = json!(path));
    env.create(&bundle, &id).run().fails_with(1, &["linux.cgroupsPath", "too long"]);
    env.gone(&id);
}

#[test]
fn a_quota_of_a_millisecond_a_second_delays_no_end() {
    needs_root!();
    let env = Env::new();
    for arguments in [&["delete", "--force"][..], &["kill", "--all"], &["kill"]] {
        let id = env.id(&format!("starved-{}", arguments.join("")));
        let script = "for i in $(seq 60); do while :; do :; done & done; echo > /tmp/all; wait";
        let bundle = env.bundle().script(script);
        env.started(&bundle, &id);
        until(SOON, "sixty loops", || bundle.rootfs().join("tmp/all").exists());
        let pid = env.pid(&id);
        env.run(["update", "--cpu-period", "1000000", "--cpu-quota", "1000", &id]).success();
        let kill = arguments[0] == "kill";
        env.run(arguments.iter().copied().chain([id.as_str()]).chain(kill.then_some("KILL"))).success();
        // A kill without --all says that the signal was sent.
        assert!(arguments == ["kill"] || !process::runs(pid), "{arguments:?} is over, and it lives");
        if kill {
            assert_eq!(env.wait(&id), 137);
            env.delete(&id);
        }
        env.gone(&id);
    }
}

fn limited_to(bundle: Bundle, pids: u32) -> Bundle {
    bundle.edit(|config| config["linux"]["resources"]["pids"] = json!({ "limit": pids }))
}

/// Refills itself: whoever ends leaves room for two. A shell that is refused a fork gives up, so the first one makes none.
const BOMB: &str = "b() { while :; do (b) & (b) & wait; sleep 0.1; done; }; b 2>/dev/null & exec sleep 1000";

#[test]
fn a_fork_bomb_of_a_thousand_under_a_small_quota_is_ended() {
    needs_root!();
    let env = Env::new();
    let id = env.id("bomb");
    // The machine with nothing but v2 is an emulated one.
    let most = if is_v2() { 300 } else { 1000 };
    env.started(&limited_to(env.bundle().script(BOMB), most), &id);
    let pid = env.pid(&id);
    let current = || fs::read_to_string(folder(pid, "pids").join("pids.current")).expect("pids.current");
    until(DEADLINE, "many processes", || current().trim().parse::<u32>().expect("a number") > most * 9 / 10);
    env.run(["update", "--cpu-period", "100000", "--cpu-quota", "5000", &id]).success();
    env.run(["delete", "--force", &id]).success();
}

/// Children come and go as fast as the machine makes them.
const CHURN: &str = "for i in $(seq 90); do while :; do /bin/true; done & done; exec sleep 1000";

/// v2 shows a list that lives: one that grows at its end as fast as it is read has no end.
#[test]
fn the_processes_of_a_fork_bomb_are_listed_in_bounded_time() {
    needs_root!();
    let env = Env::new();
    let id = env.id("listed");
    env.started(&limited_to(env.bundle().script(CHURN), 200), &id);
    let pid = env.pid(&id);
    let current = || fs::read_to_string(folder(pid, "pids").join("pids.current")).expect("pids.current");
    until(DEADLINE, "ninety processes", || current().trim().parse::<u32>().expect("a number") > 90);
    for _ in 0..5 {
        let listed = env.cmd(["ps", "--format", "json", &id]).deadline(SOON).run().success().json();
        let listed = listed.as_array().expect("pids");
        assert!(listed.contains(&json!(pid)) && listed.len() > 60, "{listed:?}");
    }
    env.cmd(["ps", &id]).deadline(SOON).run().success();
    env.cmd(["delete", "--force", &id]).deadline(SOON).run().success();
}

/// One that goes through all of /proc may never come to the end of a fork bomb: this one surely does not.
#[test]
fn ps_is_asked_for_the_containers_own_processes() {
    needs_root!();
    needs_tool!("ps");
    let env = Env::new();
    let id = env.id("asked");
    let (pid, _) = sleeping(&env, &id);
    let path = std::env::var("PATH").expect("a PATH");
    let script =
        format!("#!/bin/sh\nPATH={path}\ncase \" $* \" in *' -p '*) exec ps \"$@\" ;; esac\nexec sleep 1000\n");
    fs::write(env.dir().join("ps"), script).expect("a ps that goes through everything");
    fs::set_permissions(env.dir().join("ps"), fs::Permissions::from_mode(0o755)).expect("chmod");
    let path = format!("{}:{path}", env.dir().display());
    let told = env.cmd(["ps", &id]).env("PATH", &path).deadline(SOON).run().success();
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert!(lines[0].starts_with("UID") && lines[1].contains(&format!(" {pid} ")), "{told}");
    env.run(["kill", &id, "KILL"]).success();
    assert_eq!(env.wait(&id), 137);
    let told = env.cmd(["ps", &id]).env("PATH", &path).deadline(SOON).run().success();
    assert_eq!(told.stdout.lines().count(), 1, "a title: {told}");
    env.delete(&id);
}

#[test]
fn exec_beside_a_cgroup_that_the_container_froze_says_so_at_once() {
    needs_root!();
    let env = Env::new();
    let id = env.id("exec");
    let (_, own) = sleeping(&env, &id);
    let frozen = Frozen::at(&own);
    let refused = env.cmd(["exec", &id, "true"]).deadline(SOON).run();
    refused.fails_with(255, &["frozen", own.to_str().expect("UTF-8"), "--ignore-paused"]);
    env.cmd(["exec", "--detach", &id, "true"]).deadline(SOON).run().fails_with(255, &["frozen"]);
    // Whoever asks for it waits for the thaw.
    let waiting = env.cmd(["exec", "--ignore-paused", &id, "echo", "thawed"]).spawn();
    until(SOON, "process that waits in the cgroup", || {
        fs::read_to_string(own.join("cgroup.procs")).is_ok_and(|pids| pids.lines().count() == 2)
    });
    drop(frozen);
    waiting.finish(SOON).success().prints("thawed\n");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn an_exec_that_waits_for_a_thaw_can_be_ended_and_so_can_its_container() {
    needs_root!();
    let env = Env::new();
    let id = env.id("ended");
    let (_, own) = sleeping(&env, &id);
    let frozen = Frozen::at(&own);
    let two = || fs::read_to_string(own.join("cgroup.procs")).is_ok_and(|pids| pids.lines().count() == 2);
    let waiting = env.cmd(["exec", "--ignore-paused", &id, "true"]).spawn();
    until(SOON, "process that waits in the cgroup", two);
    process::send(waiting.pid(), Signal::SIGTERM);
    let ended = waiting.finish(SOON);
    assert!(!ended.status.success(), "{ended}");
    drop(frozen);
    until(SOON, "end of what it had begun", || {
        fs::read_to_string(own.join("cgroup.procs")).is_ok_and(|pids| pids.lines().count() == 1)
    });
    let _frozen = Frozen::at(&own);
    let waiting = env.cmd(["exec", "--ignore-paused", &id, "true"]).spawn();
    until(SOON, "process that waits in the cgroup", two);
    env.cmd(["delete", "--force", &id]).deadline(SOON).run().success();
    // Whoever deletes it first sets right what is recorded as running and is frozen: the program may have had its moment.
    waiting.finish(SOON);
}

/// The cgroup that freezes is here, and so is the place for one below it.
fn parent_of_test(env: &Env) -> (PathBuf, String) {
    let name = format!("parent-{}", env.tag());
    let mount = if is_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/freezer" };
    (Path::new(mount).join(&name), format!("/{name}/below/mine"))
}

struct Made(PathBuf);

impl Drop for Made {
    fn drop(&mut self) {
        let _ = set_frozen(&self.0, false);
        let _ = fs::remove_dir(self.0.join("below"));
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_creation_below_a_frozen_cgroup_is_refused_and_names_it() {
    needs_root!();
    let env = Env::new();
    let (parent, path) = parent_of_test(&env);
    fs::create_dir(&parent).expect("a cgroup");
    let made = Made(parent);
    let bundle = env.bundle().edit(|config| config["linux"]["cgroupsPath"] = json!(path));
    set_frozen(&made.0, true).expect("freeze");
    for arguments in ["create", "run"] {
        let id = env.id(arguments);
        let refused = env.cmd([arguments, "--bundle"]).arg(&bundle.dir).arg(&id).deadline(SOON).run();
        refused.fails_with(1, &["frozen", made.0.to_str().expect("UTF-8")]);
        env.gone(&id);
        assert!(!made.0.join("below").exists(), "something was made");
    }
    set_frozen(&made.0, false).expect("thaw");
    let id = env.id("thawed");
    env.run_bundle(&bundle, &id).run().success();
    drop(made);
    // Parents are shared, and never removed: on the other hierarchies they are this test's to remove.
    for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("hierarchies").flatten() {
        for below in [path.trim_start_matches('/').trim_end_matches("/mine"), path.split('/').nth(1).expect("a name")] {
            let _ = fs::remove_dir(hierarchy.path().join(below));
        }
    }
}

/// With too few descriptors to look, nobody is told that nothing is there.
#[test]
fn what_cannot_be_looked_at_is_an_error_and_not_empty() {
    needs_root!();
    let env = Env::new();
    let id = env.id("few");
    let (pid, _) = sleeping(&env, &id);
    let (mut told, mut failed) = (0, 0);
    for descriptors in 4..24 {
        let limited = |arguments: &[&str]| {
            let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
            env.cmd(arguments.iter().copied().chain([id.as_str()])).behind("/bin/sh", &["-c", &script]).run()
        };
        for arguments in [&["ps", "--format", "json"][..], &["state"]] {
            let outcome = limited(arguments);
            if !outcome.status.success() {
                failed += 1;
                continue;
            }
            told += 1;
            let seen = outcome.json();
            match arguments[0] {
                "ps" => assert_eq!(seen, json!([pid]), "with {descriptors} descriptors"),
                _ => assert_eq!(seen["status"], "running", "with {descriptors} descriptors"),
            }
        }
    }
    assert!(told > 0 && failed > 0, "{told} told, {failed} failed: the limits are not where it matters");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn more_processes_than_descriptors_are_killed() {
    needs_root!();
    let env = Env::new();
    let id = env.id("many");
    let bundle = env.bundle().script("for i in $(seq 150); do sleep 1000 & done; echo > /tmp/all; wait");
    env.started(&bundle, &id);
    until(SOON, "all of them", || bundle.rootfs().join("tmp/all").exists());
    let script = "ulimit -n 40; exec \"$0\" \"$@\"";
    env.cmd(["kill", "--all", &id, "CONT"]).behind("/bin/sh", &["-c", script]).run().success();
    env.cmd(["kill", "--all", &id, "KILL"]).behind("/bin/sh", &["-c", script]).run().success();
    assert_eq!(env.run(["ps", "--format", "json", &id]).success().json(), json!([]));
    env.delete(&id);
}

/// The record of v1 alone: the v2 folder beside it has `cgroup.kill`, which would do everything.
fn without_v2(record: CgroupRecord) -> CgroupRecord {
    let folders = record.folders.into_iter().filter(|folder| folder.join("tasks").exists()).collect();
    CgroupRecord { folders, ..record }
}

#[test]
fn one_that_moves_about_forks_and_freezes_itself_is_ended_on_v1() {
    needs_root!();
    if is_v2() {
        support::skipped!("v1 is not mounted");
    }
    let container = Container::new(Kind::Controllers, "hopper", None, "{}");
    let joiner = container.make();
    let record = without_v2(container.layout.record());
    let own = record.freezer.clone().expect("a freezer");
    for name in ["one", "two", "ice"] {
        fs::create_dir(own.join(name)).expect("a cgroup below");
    }
    let _frozen = Frozen::at(&own.join("ice"));
    let script = format!(
        "cd {}; (while :; do echo 0 > one/tasks; echo 0 > two/tasks; done) & \
         (while :; do sh -c 'sleep 0.01; echo 0 > ice/tasks' & sleep 0.01; done) & wait",
        own.display()
    );
    let mut child = container.spawn(&joiner, &script);
    until(SOON, "some on the ice", || {
        fs::read_to_string(own.join("ice/cgroup.procs")).is_ok_and(|pids| pids.lines().count() > 3)
    });
    cgroup::kill_and_wait(&record, soon()).unwrap();
    assert_eq!(cgroup::processes(&record).unwrap(), Vec::<i32>::new());
    child.wait().expect("reaped");
    cgroup::remove(&record, soon()).unwrap();
    assert!(!own.exists());
}

/// Its processes are listed by the cgroup above it, which is not the container's: the threads are asked.
#[test]
fn a_threaded_cgroup_is_not_taken_for_an_empty_one() {
    needs_root!();
    let path = format!("/threaded-{}/leaf", std::process::id());
    for kind in Kind::here() {
        let mut container = Container::new(kind, "threaded", Some(&path), "{}");
        let joiner = container.make();
        let record = container.layout.record();
        for folder in Layout::of_supervisor(&container.layout).record().folders.iter().chain(&record.folders) {
            container.parents.push(folder.parent().expect("a parent").to_owned());
        }
        let on_v2 = |folder: &&PathBuf| !folder.join("tasks").exists();
        let Some(leaf) = record.folders.iter().find(on_v2).cloned() else { continue };
        let parent = leaf.parent().expect("a parent").to_owned();
        if fs::read_to_string(parent.join("cgroup.subtree_control")).is_ok_and(|on| !on.trim().is_empty()) {
            eprintln!("skipped: a cgroup that hands controllers on has no threaded one below it");
            continue;
        }
        let mut child = container.spawn(&joiner, "exec sleep 1000");
        fs::write(parent.join("cgroup.procs"), child.id().to_string()).expect("out of the leaf");
        fs::write(leaf.join("cgroup.type"), "threaded").expect("a threaded cgroup");
        fs::write(leaf.join("cgroup.threads"), child.id().to_string()).expect("into it");
        let on_v2 =
            CgroupRecord { folders: vec![leaf.clone()], freezer: Some(leaf.clone()), ..CgroupRecord::default() };
        assert_eq!(cgroup::processes(&on_v2).unwrap(), [child.id() as i32]);
        cgroup::kill_and_wait(&on_v2, soon()).unwrap();
        assert!(child.try_wait().expect("a child").is_some(), "it lives");
        cgroup::kill_and_wait(&record, soon()).unwrap();
        cgroup::remove(&record, soon()).unwrap();
    }
}
