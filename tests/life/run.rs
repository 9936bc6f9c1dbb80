//! `run`: the application's output and nothing else, its exit code, and nothing left afterwards.

use std::fs;

use nix::sys::signal::Signal;
use support::process::send;
use support::{Env, Lines, debian, needs_root, needs_tool, skipped};

#[test]
fn the_output_is_the_applications_and_nothing_else() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().script("echo out; echo err >&2");
    let outcome = env.run_bundle(&bundle, &env.id("out")).run().code(0);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn the_input_is_the_callers() {
    needs_root!();
    let env = Env::new();
    let file = env.dir().join("input");
    fs::write(&file, "three\nlines\nhere\n").unwrap();
    let bundle = env.bundle().args(&["wc", "-l"]);
    env.run_bundle(&bundle, &env.id("in")).stdin(fs::File::open(&file).unwrap()).run().success().prints("3\n");
}

#[test]
fn the_exit_code_is_the_applications() {
    needs_root!();
    let env = Env::new();
    for code in [0, 1, 7, 42, 255] {
        let bundle = env.bundle().script(&format!("exit {code}"));
        env.run_bundle(&bundle, &env.id(&format!("code{code}"))).run().code(code);
    }
}

#[test]
fn a_missing_program_is_127_and_one_without_permission_126() {
    needs_root!();
    let env = Env::new();
    let missing = env.bundle().args(&["no-such-program"]);
    let needles = ["executable file not found in $path", "no-such-program"];
    env.run_bundle(&missing, &env.id("missing")).run().fails_with(127, &needles);
    let missing = env.bundle().args(&["/no/such/program"]);
    let needles = ["no such file or directory", "/no/such/program"];
    env.run_bundle(&missing, &env.id("missing-path")).run().fails_with(127, &needles);
    let forbidden = env.bundle().args(&["/etc/passwd"]);
    env.run_bundle(&forbidden, &env.id("forbidden")).run().fails_with(126, &["permission denied", "/etc/passwd"]);
}

#[test]
fn a_signal_that_ends_the_application_is_128_and_its_number() {
    needs_root!();
    for (signal, code) in [(Signal::SIGKILL, 137), (Signal::SIGTERM, 143)] {
        let env = Env::new();
        let id = env.id("signal");
        // With a handler of its own, since the first process of a PID namespace ignores what it does not handle.
        let bundle = env.bundle().script("trap 'trap - TERM; exit 143' TERM; echo ready; while :; do read line; done");
        let (mut lines, out) = Lines::pipe();
        let (keep_open, input) = {
            let (reader, writer) = std::io::pipe().unwrap();
            (writer, reader)
        };
        let running = env.run_bundle(&bundle, &id).stdin(input).stdout(out).spawn();
        lines.until("ready");
        env.run(["kill", &id, signal.as_str()]).success();
        drop(keep_open);
        running.finish(support::command::DEADLINE).code(code);
    }
}

#[test]
fn a_signal_by_the_hosts_hand_is_told_the_same_way() {
    needs_root!();
    let env = Env::new();
    let id = env.id("host");
    let bundle = env.bundle().script("echo ready; exec sleep 1000");
    let (mut lines, out) = Lines::pipe();
    let running = env.run_bundle(&bundle, &id).stdout(out).spawn();
    lines.until("ready");
    send(env.pid(&id), Signal::SIGKILL);
    running.finish(support::command::DEADLINE).code(137);
}

#[test]
fn a_signal_to_a_foreground_run_reaches_the_application() {
    needs_root!();
    let env = Env::new();
    let id = env.id("forward");
    let bundle = env.bundle().script("trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done");
    let (mut lines, out) = Lines::pipe();
    let running = env.run_bundle(&bundle, &id).stdout(out).spawn();
    lines.until("ready");
    send(running.pid(), Signal::SIGTERM);
    running.finish(support::command::DEADLINE).code(9);
}

#[test]
fn a_foreground_run_that_is_killed_takes_its_sandbox_along() {
    needs_root!();
    let env = Env::new();
    let id = env.id("attached");
    let bundle = env.bundle().script("echo ready; exec sleep 1000");
    let (mut lines, out) = Lines::pipe();
    let running = env.run_bundle(&bundle, &id).stdout(out).spawn();
    lines.until("ready");
    send(running.pid(), Signal::SIGKILL);
    // The pipe ends when the last process of the sandbox does.
    assert_eq!(lines.next(), None);
    let _ = running.finish(support::command::DEADLINE);
    env.run(["recover"]).code(0);
    env.run(["delete", "--force", &id]);
}

#[test]
fn a_detached_run_returns_while_the_application_goes_on() {
    needs_root!();
    let env = Env::new();
    let id = env.id("detached");
    let bundle = env.bundle().args(&["sleep", "1000"]);
    env.cmd(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id).run().success().prints("");
    assert_eq!(env.status(&id), "running");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn what_the_spec_says_is_what_the_application_finds() {
    needs_root!();
    let env = Env::new();
    let bundle = env
        .bundle()
        .edit(|config| {
            config["hostname"] = "keep".into();
            config["process"]["cwd"] = "/tmp".into();
            config["process"]["env"].as_array_mut().unwrap().push("GREETING=hello".into());
            config["process"]["user"] =
                serde_json::json!({"uid": 1000, "gid": 1000, "additionalGids": [7], "umask": 23});
        })
        .script("hostname; pwd; echo $GREETING; id -u; id -g; id -G; umask; echo $$");
    let expected = "keep\n/tmp\nhello\n1000\n1000\n1000 7\n0027\n1\n";
    env.run_bundle(&bundle, &env.id("spec")).run().success().prints(expected);
}

#[test]
fn the_defaults_of_a_container_are_there() {
    needs_root!();
    let env = Env::new();
    let script = "for f in null zero full random urandom tty; do test -c /dev/$f || echo no /dev/$f; done; \
                  for l in fd stdin stdout stderr ptmx; do test -L /dev/$l || echo no /dev/$l; done; \
                  echo text > /dev/null; head -c 4 /dev/zero | wc -c; \
                  cat /proc/kcore 2>/dev/null | wc -c; echo 1 2>/dev/null > /proc/sys/kernel/panic || echo readonly; \
                  grep -c ' /dev/shm ' /proc/mounts; mount -t tmpfs none /tmp 2>/dev/null || echo refused";
    let bundle = env.bundle().script(script);
    env.run_bundle(&bundle, &env.id("defaults")).run().success().prints("4\n0\nreadonly\n1\nrefused\n");
}

#[test]
fn a_readonly_root_cannot_be_written() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().edit(|config| config["root"]["readonly"] = true.into());
    let bundle = bundle.script("touch /file 2>/dev/null || echo refused; touch /dev/shm/file && echo shm");
    env.run_bundle(&bundle, &env.id("readonly")).run().success().prints("refused\nshm\n");
    assert!(!bundle.rootfs().join("file").exists());
}

#[test]
fn a_seccomp_profile_and_limits_hold() {
    needs_root!();
    let env = Env::new();
    let bundle = env
        .bundle()
        .edit(|config| {
            config["linux"]["seccomp"] = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
                [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]});
            config["process"]["rlimits"] = serde_json::json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}]);
            config["linux"]["resources"]["pids"] = serde_json::json!({"limit": 50});
        })
        .script("mkdir /tmp/x 2>&1; ulimit -n; ulimit -Hn; grep -E 'NoNewPrivs|Seccomp:' /proc/self/status");
    let outcome = env.run_bundle(&bundle, &env.id("limits")).run().success();
    let outcome = outcome.says("Function not implemented").says("64\n128\n");
    outcome.says("NoNewPrivs:\t1").says("Seccomp:\t2");
}

#[test]
fn a_debian_root_works_as_a_debian_machine_does() {
    needs_root!();
    needs_tool!("debootstrap");
    let root = match debian::root() {
        Ok(root) => root,
        Err(why) => skipped!("no Debian root: {why}"),
    };
    let env = Env::new();
    let written = format!("/var/tmp/{}", env.tag());
    let script = format!(
        "set -e; dpkg -l | grep -c '^ii' ; perl -e 'print 6 * 7, \"\\n\"'; apt-get --version | head -n 1; \
         echo written > {written}; cat {written}; rm {written}; cat /etc/debian_version"
    );
    let bundle = env.bundle_over(&root).script(&script);
    let outcome = env.run_bundle(&bundle, &env.id("debian")).run().success();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert!(lines[0].parse::<u32>().is_ok_and(|packages| packages > 50), "{outcome}");
    assert_eq!(lines[1], "42", "{outcome}");
    assert!(lines[2].starts_with("apt "), "{outcome}");
    assert_eq!(lines[3], "written", "{outcome}");
    assert!(lines[4].starts_with("12"), "{outcome}");
}

#[test]
fn a_signal_ends_a_run_whose_hooks_still_prepare_it_and_reaches_an_application_that_is_about_to_begin() {
    needs_root!();
    let env = Env::new();
    let shared = env.dir().join("shared");
    fs::create_dir(&shared).unwrap();
    let hooked = |kind: &str, folder: &str| {
        let script = format!("touch {folder}/begun; while ! test -e {folder}/go; do sleep 0.02; done");
        let path = ["PATH=/usr/bin:/bin"];
        let bundle = env.bundle().bind(&shared, "/shared", &["rbind", "rw"]).args(&["sleep", "1000"]);
        bundle.edit(|config| {
            // As pid 1 of a namespace of its own it would not hear what it has no handler for.
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "pid");
            config["hooks"][kind] = serde_json::json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": path}]);
        })
    };
    let begun = || {
        support::until(support::command::DEADLINE, "running hook", || shared.join("begun").exists());
        fs::remove_file(shared.join("begun")).unwrap();
    };

    let running = env.run_bundle(&hooked("createRuntime", shared.to_str().unwrap()), &env.id("preparing")).spawn();
    begun();
    send(running.pid(), Signal::SIGINT);
    running.finish(support::command::DEADLINE).fails_with(130, &["was killed, since this command was told to end"]);

    let running = env.run_bundle(&hooked("startContainer", "/shared"), &env.id("beginning")).spawn();
    begun();
    send(running.pid(), Signal::SIGTERM);
    fs::write(shared.join("go"), "").unwrap();
    running.finish(support::command::DEADLINE).code(143);
}
