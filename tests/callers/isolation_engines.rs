//! The probe in what engines start with the runtime: a default container of podman, of docker and of containerd, and an exec
//! into one. Their configurations ask for more than `sandkeep spec` does; the host must be what it was all the same.

use std::path::Path;

use support::engines::image::NAME as IMAGE;
use support::engines::{Containerd, Docker, Engine, Podman, needs_engine};
use support::isolation::baits::Baits;
use support::isolation::host::{Host, Inodes};
use support::isolation::verdict::{Measure, Promise, judge};
use support::{Cmd, Env, HostNodes, Lines, command::DEADLINE, probe};

/// What engines give: privileges may be gained by set-user-id programs, nodes can be made (the device cgroup keeps them
/// closed), ping(8) works. And what uid 0 of the host reaches without a user namespace.
const GIVEN: [&str; 6] = [
    "NoNewPrivs 0",
    "a device node: mknod",
    "a key: describe",
    "a socket of packet",
    "a socket of raw",
    "modes of /proc",
];

/// Runs the probe in one way, and says what of it is wrong.
fn probed(what: &str, own: &Path, walk: impl FnOnce(&[String]) -> Cmd) -> Vec<String> {
    let _nodes = HostNodes::at(&["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"]);
    let env = Env::new();
    let baits = Baits::lay(&env);
    let mut inodes = Inodes::of_host();
    let words: Vec<String> = ["/probe", "walk"].map(str::to_owned).into_iter().chain(baits.arguments()).collect();
    let cmd = walk(&words).env("SECRET", &baits.marker);
    let before = Host::look(&baits.files(), env.tag());
    let (mut lines, out) = Lines::pipe();
    let running = cmd.stdout(out).spawn();
    let report = lines.rest();
    let outcome = running.finish(DEADLINE);
    let changes = before.changes(&Host::look(&baits.files(), env.tag()));
    inodes.still_there();
    inodes.own(own);
    let masked = ["/proc/keys", "/proc/kcore", "/proc/timer_list", "/sys/firmware"].map(str::to_owned);
    let measure = Measure { inodes: &inodes, masked: &masked, marker: &baits.marker, promise: Promise::Container };
    let verdict = judge(&report, &measure).unwrap_or_else(|error| panic!("{what}: {error}\n{outcome}"));
    let reached: Vec<&str> = verdict.reached.keys().map(String::as_str).collect();
    println!(
        "{what:<30} {:>8} {:>12} {:>13}  {}",
        verdict.tried,
        verdict.let_through,
        changes.len(),
        reached.join("; ")
    );
    let beyond = verdict.reached.iter().filter(|(word, _)| !GIVEN.contains(&word.as_str()));
    let beyond = beyond.map(|(word, line)| format!("{what} reaches {word}: {line:?}"));
    beyond.chain(changes.into_iter().map(|change| format!("{what}: {change}"))).collect()
}

#[track_caller]
fn assert_nothing(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_default_container_of_podman_leaves_the_host_as_it_was() {
    needs_engine!("podman", "conmon");
    let podman = Podman::start();
    let volume = format!("{}:/probe:ro", probe::path().display());
    // Its files are looked at afterwards: no --rm.
    let walks = format!("walks-{}", podman.tag());
    let mut wrong = probed("podman run", podman.dir(), |words| {
        podman.run(["--name", &walks, "--volume", &volume, IMAGE]).args(words)
    });
    let name = podman.detached("sleeps", ["--volume", &volume, IMAGE, "sleep", "1000"]);
    wrong.extend(probed("podman exec", podman.dir(), |words| podman.cmd(["exec", &name]).args(words)));
    podman.remove(&walks);
    podman.remove(&name);
    assert_nothing(&wrong);
}

#[test]
fn a_default_container_of_docker_leaves_the_host_as_it_was() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = Docker::start();
    let volume = format!("{}:/probe:ro", probe::path().display());
    let mut wrong = probed("docker run", docker.dir(), |words| {
        docker.run(["--name", "walks", "--volume", &volume, IMAGE]).args(words)
    });
    let name = docker.detached("sleeps", ["--volume", &volume, IMAGE, "sleep", "1000"]);
    wrong.extend(probed("docker exec", docker.dir(), |words| docker.cmd(["exec", &name]).args(words)));
    docker.remove("walks");
    docker.remove(&name);
    assert_nothing(&wrong);
}

#[test]
fn a_default_container_of_containerd_leaves_the_host_as_it_was() {
    needs_engine!("containerd", "ctr");
    let containerd = Containerd::start();
    let mount = format!("type=bind,src={},dst=/probe,options=rbind:ro", probe::path().display());
    // Its files are looked at afterwards: no --rm, which leaves it to chance when containerd sweeps them away.
    let mut wrong =
        probed("ctr run", containerd.dir(), |words| containerd.run(["--mount", &mount, IMAGE, "walks"]).args(words));
    containerd.run(["--detach", "--null-io", "--mount", &mount, IMAGE, "sleeps", "sleep", "1000"]).run().success();
    wrong.extend(probed("ctr tasks exec", containerd.dir(), |words| {
        let exec = containerd.cmd(["tasks", "exec", "--exec-id", "walks", "--fifo-dir"]).arg(containerd.fifos());
        exec.arg("sleeps").args(words)
    }));
    containerd.ctr(["tasks", "delete", "--force", "sleeps"]);
    containerd.ctr(["containers", "delete", "walks"]);
    assert_nothing(&wrong);
}
