//! dockerd, over a containerd of its own.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::containerd::Containerd;
use super::daemon::Daemon;
use super::engine::{Engine, Words};
use super::{Shared, image, left};
use crate::command::binary;
use crate::{Cmd, Outcome};

/// What dockerd calls the runtime under test.
const RUNTIME: &str = "tested";

pub struct Docker {
    daemon: Daemon,
    containerd: Option<Containerd>,
    dir: PathBuf,
    tag: String,
}

impl Docker {
    /// With the image loaded, and the runtime under test as the default.
    pub fn start() -> Docker {
        let containerd = Containerd::start_empty("skdkr");
        let (dir, tag) = (containerd.dir().join("docker"), containerd.tag().to_owned());
        fs::create_dir(&dir).expect("a folder for docker");
        let settings = json!({
            "runtimes": {RUNTIME: {"path": binary().to_str().expect("a path in UTF-8")}},
            "default-runtime": RUNTIME,
            "containerd": containerd.socket(),
            "containerd-namespace": tag,
            "cgroup-parent": format!("/{tag}"),
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "storage-driver": "vfs",
            "data-root": dir.join("data"),
            "exec-root": dir.join("exec"),
            "pidfile": dir.join("docker.pid"),
            "deprecated-key-path": dir.join("key.json"),
            "hosts": [host(&dir)],
            "bridge": "none",
            "iptables": false,
            "ip6tables": false,
            "ip-forward": false,
            "ip-masq": false,
            "userland-proxy": false,
            // Without CAP_SYS_RESOURCE, as on many build machines, docker's own default cannot be had.
            "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 4096}},
            "log-level": "warn",
        });
        let config = dir.join("daemon.json");
        fs::write(&config, settings.to_string()).expect("daemon.json");
        let daemon = Daemon::start("dockerd", [OsStr::new("--config-file"), config.as_os_str()], &dir.join("log"));
        let docker = Docker { daemon, containerd: Some(containerd), dir, tag };
        docker.daemon.until_ready(|| docker.cmd(["version"]).run().status.success());
        let archive = image::archive(&docker.dir);
        docker.cmd(["load", "--quiet", "--input"]).arg(archive).deadline(Duration::from_secs(60)).run().success();
        docker
    }

    /// How docker is called, up to its command.
    fn line(&self) -> Vec<OsString> {
        // The package's own client, should there be another one.
        let client = if Path::new("/usr/bin/docker").exists() { "/usr/bin/docker" } else { "docker" };
        let mut line: Vec<OsString> = vec![client.into(), "--config".into(), self.dir.join("client").into()];
        line.extend(["--host".into(), host(&self.dir).into()]);
        line
    }

    /// dockerd gives every runtime the folder that it made for runc.
    pub fn runtime_root(&self) -> PathBuf {
        self.dir.join("exec/runtime-runc").join(&self.tag)
    }
}

impl Engine for Docker {
    const PROGRAMS: &'static [&'static str] = &["dockerd", "containerd", "docker", "setsid"];
    const WORDS: Words = Words {
        remove: &["rm", "--force"],
        setting_refused: 125,
        exec_failures: [126, 126, 126],
        kill_of_an_ended_one: (1, "is not running"),
        exec_in_a_paused_one: (1, "is paused"),
        health: &["--health-cmd", "test -e /tmp/healthy", "--health-interval", "200ms", "--health-retries", "1"],
    };

    fn shared() -> Arc<Docker> {
        static DOCKER: Shared<Docker> = Shared::new();
        DOCKER.get_or_start(Docker::start)
    }

    fn dir(&self) -> &Path {
        &self.dir
    }

    fn tag(&self) -> &str {
        &self.tag
    }

    fn cmd<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        let line = self.line();
        Cmd::new(&line[0]).args(&line[1..]).args(args)
    }

    fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        self.cmd(["run", "--network", "none"]).args(args)
    }

    fn cgroup_of(&self, name: &str) -> PathBuf {
        Path::new(&self.tag).join(self.id(name))
    }

    fn runtime<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Outcome {
        Cmd::new(binary()).arg("--root").arg(self.runtime_root()).args(args).run()
    }

    fn events(&self, name: &str) -> Vec<String> {
        // With a time that has passed, docker may stop before it has told everything.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
        let soon = (now.as_secs() + 2).to_string();
        let told = self.cmd(["events", "--since", "10m", "--until", &soon, "--format", "{{.Action}}", "--filter"]);
        let told = told.arg(format!("container={name}")).run().success().stdout;
        told.lines().map(str::to_owned).collect()
    }

    fn judge_health(&self, _: &str) {}
}

fn host(dir: &Path) -> String {
    format!("unix://{}", dir.join("docker.sock").display())
}

impl Drop for Docker {
    fn drop(&mut self) {
        let quietly = |args: &[&str]| self.cmd(args).spawn().finish_or_kill(Duration::from_secs(60)).ok();
        let all = quietly(&["ps", "--all", "--quiet"]).map(|outcome| outcome.stdout).unwrap_or_default();
        let all: Vec<&str> = all.split_whitespace().collect();
        if !all.is_empty() {
            quietly(&[&["rm", "--force"], &all[..]].concat());
        }
        let ended = self.daemon.stop();
        // A network namespace and its own data: dockerd leaves both mounted.
        left::unmount_below(&self.dir);
        let sandboxes = left::sandboxes(&self.runtime_root(), &self.tag);
        let log = self.daemon.log();
        // Last, since it looks for everything else that bears the tag.
        drop(self.containerd.take());
        assert!(std::thread::panicking() || sandboxes.is_empty(), "left behind:\n{}", sandboxes.join("\n"));
        assert!(std::thread::panicking() || ended.is_some(), "dockerd had to be killed:\n{log}");
    }
}
