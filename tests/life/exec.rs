//! `exec`: what tells its own failures from the program's, and the cgroups that a process may join.

use std::fs;
use std::path::{Path, PathBuf};

use support::{Env, needs_root};

#[test]
fn every_failure_of_exec_itself_is_255_and_every_other_code_is_the_programs() {
    needs_root!();
    let env = Env::new();
    let id = env.id("codes");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    env.run(["exec", &id, "sh", "-c", "exit 42"]).code(42);
    env.run(["exec", &id, "sh", "-c", "kill -9 $$"]).code(137);
    env.run(["exec", &id, "no-such-program"]).fails_with(255, &["executable file not found in $PATH"]);
    env.run(["exec", "--pid-file", "/no/such/folder", &id, "true"]).fails_with(255, &["no such file or directory"]);
    env.run(["exec", "--cwd", "relative", &id, "true"]).fails_with(255, &["--cwd"]);
    env.run(["exec", "--console-socket", "/no/such", &id, "true"]).fails_with(255, &["--tty"]);
    env.run(["exec", &env.id("nobody"), "true"]).fails_with(255, &["does not exist"]);
    env.run(["delete", "--force", &id]).success();
}

/// The folders of a container's cgroup, one a hierarchy.
fn cgroups(id: &str) -> Vec<PathBuf> {
    let tops = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    let below = |top: PathBuf| top.join("sandkeep").join(id);
    tops.chain([PathBuf::from("/sys/fs/cgroup")]).map(below).filter(|folder| folder.is_dir()).collect()
}

#[test]
fn a_process_joins_the_cgroup_below_the_containers_that_it_is_given() {
    needs_root!();
    let env = Env::new();
    let id = env.id("below");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let folders = cgroups(&id);
    for folder in &folders {
        fs::create_dir(folder.join("inner")).unwrap();
        // A new v1 cpuset takes nobody before it has these.
        for file in ["cpuset.cpus", "cpuset.mems"].into_iter().filter(|file| folder.join(file).exists()) {
            fs::write(folder.join("inner").join(file), fs::read(folder.join(file)).unwrap()).unwrap();
        }
    }
    // Lines of hierarchies that sandkeep does not use stay out of it.
    let lines = |args: &[&str]| -> Vec<String> {
        let words = ["exec"].iter().chain(args).copied().chain([id.as_str(), "cat", "/proc/self/cgroup"]);
        let text = env.run(words).success().stdout;
        text.lines().filter(|line| line.contains(&id)).map(str::to_owned).collect()
    };
    let inner = |lines: &[String]| lines.iter().filter(|line| line.ends_with("/inner")).count();
    assert_eq!((lines(&[]).len(), inner(&lines(&[]))), (folders.len(), 0));
    assert_eq!(inner(&lines(&["--cgroup", "/"])), 0);
    assert_eq!(inner(&lines(&["--cgroup", "inner"])), folders.len());
    assert_eq!(inner(&lines(&["--cgroup", "/inner/../inner"])), folders.len());
    if Path::new("/sys/fs/cgroup/memory").is_dir() {
        assert_eq!(inner(&lines(&["--cgroup", "memory:inner"])), 1);
        assert_eq!(inner(&lines(&["--cgroup", "memory:inner", "--cgroup", "pids,freezer:/inner"])), 3);
    }
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn no_process_joins_a_cgroup_that_is_not_there_or_not_the_containers() {
    needs_root!();
    let env = Env::new();
    let id = env.id("outside");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let refused = |asked: &[&str], needle: &str| {
        let flags = asked.iter().flat_map(|path| ["--cgroup", *path]);
        env.run(["exec"].into_iter().chain(flags).chain([id.as_str(), "true"])).fails_with(255, &[needle]);
    };
    refused(&[".."], "is not a sub cgroup path");
    refused(&["a/../../b"], "is not a sub cgroup path");
    refused(&["missing"], "missing/cgroup.procs: no such file");
    refused(&["nonsense:/"], "unknown controller nonsense");
    refused(&["a", "b"], "needs a controller");
    assert_eq!(env.run(["ps", "--format", "json", &id]).success().json().as_array().map(Vec::len), Some(1));
    env.run(["delete", "--force", &id]).success();
}
