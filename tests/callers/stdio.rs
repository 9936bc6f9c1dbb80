//! The standard descriptors belong to the application's user.

use support::command::DEADLINE;
use support::engines::image::NAME as IMAGE;
use support::engines::{Containerd, Engine, Podman, needs_engine};
use support::{Terminal, until};

/// What an image of nginx or php does, whoever runs it.
const OPENS: [&str; 3] = ["sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr; echo fd > /proc/self/fd/2"];

#[test]
fn an_image_that_logs_by_opening_its_descriptors_runs_as_an_ordinary_user_under_podman() {
    needs_engine!("podman", "conmon", "setsid");
    let podman = Podman::shared();
    for flags in [&["--rm", "--user", "1000:1000"][..], &["--rm", "--uidmap", "0:100000:65536", "--user", "1000"]] {
        let outcome = podman.run(flags).arg(IMAGE).args(OPENS).run().code(0);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\nfd\n"), "{flags:?}");
    }

    let script = format!("{}; exec sleep 1000", OPENS[2]);
    let name = podman.detached("logs", ["--user", "77", IMAGE, "sh", "-c", &script]);
    until(DEADLINE, "the log of all three", || {
        let logs = podman.call(["logs", &name]);
        ["out\n", "err\n", "fd\n"].iter().all(|line| format!("{}{}", logs.stdout, logs.stderr).contains(line))
    });
    for user in ["77", "5:6", "root", "user"] {
        let exec = podman.cmd(["exec", "--user", user, &name]).args(OPENS).run().code(0);
        assert_eq!((exec.stdout.as_str(), exec.stderr.as_str()), ("out\n", "err\nfd\n"), "{user}");
    }
    let mut terminal = Terminal::new();
    let exec = terminal.run_cmd(podman.cmd(["exec", "-t", "--user", "5", &name]).args(OPENS));
    terminal.lines.until("out");
    terminal.lines.until("err");
    terminal.lines.until("fd");
    exec.finish(DEADLINE).code(0);
    podman.remove(&name);
}

#[test]
fn what_is_executed_by_containerd_as_an_ordinary_user_opens_its_descriptors() {
    needs_engine!("containerd", "ctr");
    let containerd = Containerd::start();
    containerd.run(["--detach", "--null-io", IMAGE, "lives", "sleep", "1000"]).run().success();
    let exec = containerd.cmd(["tasks", "exec", "--user", "5:6", "--exec-id", "opens", "--fifo-dir"]);
    let outcome = exec.arg(containerd.fifos()).arg("lives").args(OPENS).run().code(0);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\nfd\n"));
    containerd.ctr(["tasks", "delete", "--force", "lives"]);
    containerd.ctr(["containers", "delete", "lives"]).success();
}
