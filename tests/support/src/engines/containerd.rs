//! containerd with its runc.v2 shim, spoken to by ctr.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::daemon::Daemon;
use super::{image, left};
use crate::command::binary;
use crate::{Cmd, Outcome};

pub struct Containerd {
    dir: TempDir,
    daemon: Daemon,
}

impl Containerd {
    /// With the image imported.
    pub fn start() -> Containerd {
        let containerd = Containerd::start_empty("skctr");
        let archive = image::archive(containerd.dir());
        let import = containerd.cmd(["image", "import", "--snapshotter", "native"]).arg(archive);
        import.deadline(Duration::from_secs(60)).run().code(0);
        containerd
    }

    pub fn start_empty(prefix: &str) -> Containerd {
        let dir = tempfile::Builder::new().prefix(prefix).rand_bytes(8).tempdir_in("/tmp").expect("a folder in /tmp");
        let at = dir.path().display();
        let settings = format!(
            "version = 2\nroot = \"{at}/root\"\nstate = \"{at}/state\"\n[grpc]\naddress = \"{at}/containerd.sock\"\n"
        );
        let unwanted = "disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.snapshotter.v1.aufs\", \
                        \"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.devmapper\", \
                        \"io.containerd.snapshotter.v1.zfs\", \"io.containerd.internal.v1.opt\"]\n";
        fs::write(dir.path().join("containerd.toml"), unwanted.to_owned() + &settings).expect("containerd.toml");
        let containerd = Containerd { daemon: daemon(dir.path()), dir };
        containerd.until_ready();
        containerd
    }

    /// The daemon ends and comes back; what it runs stays.
    pub fn restart(&mut self) {
        self.daemon.stop().expect("containerd ends when it is told to");
        self.daemon = daemon(self.dir());
        self.until_ready();
    }

    fn until_ready(&self) {
        self.daemon.until_ready(|| self.cmd(["version"]).run().status.success());
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn tag(&self) -> &str {
        self.dir().file_name().and_then(OsStr::to_str).expect("a folder with a name")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir().join("containerd.sock")
    }

    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// `ctr FLAGS ARGS…`; the namespace, and so the containers' cgroup, bears the tag.
    pub fn cmd<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        Cmd::new("ctr").arg("--address").arg(self.socket()).args(["--namespace", self.tag()]).args(args)
    }

    pub fn ctr<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Outcome {
        self.cmd(args).run()
    }

    /// `ctr run FLAGS ARGS…`
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        let run = self.cmd(["run", "--runtime", "io.containerd.runc.v2", "--snapshotter", "native", "--runc-binary"]);
        let run = run.arg(binary()).arg("--runc-root").arg(self.runtime_root());
        run.arg("--fifo-dir").arg(self.fifos()).args(args)
    }

    /// ctr does not remove the pipes of what it detaches from.
    pub fn fifos(&self) -> PathBuf {
        let fifos = self.dir().join("fifos");
        fs::create_dir_all(&fifos).expect("a folder for pipes");
        fifos
    }

    pub fn runtime_root(&self) -> PathBuf {
        self.dir().join("runtime")
    }

    /// Where the runtime keeps what containerd calls `id`.
    pub fn runtime<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Outcome {
        Cmd::new(binary()).arg("--root").arg(self.runtime_root().join(self.tag())).args(args).run()
    }
}

fn daemon(dir: &Path) -> Daemon {
    let config = dir.join("containerd.toml");
    let args = [OsStr::new("--config"), config.as_os_str(), OsStr::new("--log-level"), OsStr::new("warn")];
    Daemon::start("containerd", args, &dir.join("containerd.log"))
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let quietly = |args: &[&str]| self.cmd(args).spawn().finish_or_kill(Duration::from_secs(20)).ok();
        let names = |list: &[&str]| {
            let told = quietly(list).map(|outcome| outcome.stdout).unwrap_or_default();
            told.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        for id in names(&["tasks", "list", "--quiet"]) {
            quietly(&["tasks", "delete", "--force", &id]);
        }
        for id in names(&["containers", "list", "--quiet"]) {
            quietly(&["containers", "delete", &id]);
        }
        let ended = self.daemon.stop();
        left::unmount_below(self.dir());
        left::nothing(self.dir(), self.tag(), &self.runtime_root().join(self.tag()));
        assert!(std::thread::panicking() || ended.is_some(), "containerd had to be killed:\n{}", self.daemon.log());
    }
}
