//! podman and conmon, as root or as an ordinary user.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::engine::{Engine, Words};
use super::{Shared, image, left};
use crate::command::binary;
use crate::{Cmd, Outcome};

/// Who calls podman. Nobody else on the machine has this uid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Root,
    User,
}

const UID: u32 = 70_077;

pub struct Podman {
    dir: TempDir,
    caller: Caller,
}

impl Podman {
    /// With the image built, its steps run by the runtime under test.
    pub fn start() -> Podman {
        let podman = Podman::prepare(Caller::Root);
        let context = image::context(podman.dir());
        let build = podman.cmd(["build", "--quiet", "--network", "none", "--tag", image::NAME, "--cgroup-parent"]);
        build.arg(podman.cgroup()).arg(context).deadline(Duration::from_secs(120)).run().code(0);
        podman
    }

    /// Called by an ordinary user, in a mount namespace in which that user exists and has subordinate ids.
    pub fn start_rootless() -> Podman {
        let podman = Podman::prepare(Caller::User);
        let dir = podman.dir();
        let user = format!("user{UID}");
        let append = |name: &str, more: &str| {
            let old = fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
            fs::write(dir.join(name), format!("{old}{more}\n")).expect("an account file");
        };
        append("passwd", &format!("{user}:x:{UID}:{UID}::{}:/bin/sh", dir.join("home").display()));
        append("group", &format!("{user}:x:{UID}:"));
        append("subuid", &format!("{user}:1000000:65536"));
        append("subgid", &format!("{user}:1000000:65536"));
        // Where the build lies may be root's alone.
        fs::copy(binary(), dir.join("runtime")).expect("copy the runtime");
        for name in ["home", "run"] {
            fs::create_dir(dir.join(name)).expect("a folder of the user");
            std::os::unix::fs::chown(dir.join(name), Some(UID), Some(UID)).expect("chown");
        }
        fs::set_permissions(dir.join("run"), fs::Permissions::from_mode(0o700)).expect("chmod");
        let archive = image::archive(dir);
        podman.cmd(["load", "--quiet", "--input"]).arg(archive).run().code(0);
        podman
    }

    fn prepare(caller: Caller) -> Podman {
        let dir = tempfile::Builder::new().prefix("skpod").rand_bytes(8).tempdir_in("/tmp").expect("a folder in /tmp");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        // Without CAP_SYS_RESOURCE, as on many build machines, podman's own defaults cannot be had. With its usual locks, in
        // memory that all podmans of a user share, one that starts in a folder of its own frees those of all others.
        let settings = "[containers]\nnetns = \"none\"\n\
                        default_ulimits = [\"nofile=1024:4096\", \"nproc=4096:4096\"]\n\
                        [engine]\nlock_type = \"file\"\nruntime_supports_nocgroup = [\"sandkeep\", \"crun\"]\n";
        fs::write(dir.path().join("containers.conf"), settings).expect("containers.conf");
        let json = "runtime_supports_json = [\"sandkeep\", \"crun\", \"runc\"]\n";
        fs::write(dir.path().join("json.conf"), settings.to_owned() + json).expect("json.conf");
        Podman { dir, caller }
    }

    pub fn cgroup(&self) -> String {
        format!("/{}", self.tag())
    }

    /// The same, for a podman that knows that its runtime logs in JSON.
    pub fn cmd_with_json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        self.cmd(args).env("CONTAINERS_CONF", self.dir().join("json.conf"))
    }

    /// How podman is called, up to its command.
    fn line(&self) -> Vec<OsString> {
        let dir = |name: &str| self.dir().join(name).into_os_string();
        let mut line: Vec<OsString> = Vec::new();
        let runtime = match self.caller {
            Caller::Root => {
                line.push("podman".into());
                line.extend(["--root".into(), dir("root"), "--runroot".into(), dir("runroot")]);
                line.extend(["--tmpdir".into(), dir("tmp"), "--network-config-dir".into(), dir("networks")]);
                binary()
            }
            Caller::User => {
                line.extend(["unshare", "--mount", "--propagation", "private", "sh", "-c", ROOTLESS].map(Into::into));
                line.extend([self.dir().into(), UID.to_string().into(), "podman".into()]);
                dir("runtime")
            }
        };
        line.extend(["--runtime".into(), runtime, "--cgroup-manager=cgroupfs".into()]);
        line.extend(["--storage-driver=vfs", "--events-backend=file"].map(Into::into));
        line
    }

    /// Where the runtime keeps its state: podman does not say, so it is the runtime's own default.
    pub fn runtime_root(&self) -> PathBuf {
        match self.caller {
            Caller::Root => "/run/sandkeep".into(),
            Caller::User => self.dir().join("run/sandkeep"),
        }
    }
}

impl Engine for Podman {
    const PROGRAMS: &'static [&'static str] = &["podman", "conmon", "setsid"];
    const WORDS: Words = Words {
        remove: &["rm", "--force", "--time", "0"],
        setting_refused: 126,
        exec_failures: [127, 126, 127],
        kill_of_an_ended_one: (125, "can only kill running containers"),
        exec_in_a_paused_one: (255, "container state improper"),
        health: &["--health-cmd", "test -e /tmp/healthy", "--health-interval", "disable", "--health-retries", "1"],
    };

    fn shared() -> Arc<Podman> {
        static PODMAN: Shared<Podman> = Shared::new();
        PODMAN.get_or_start(Podman::start)
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn tag(&self) -> &str {
        self.dir().file_name().and_then(OsStr::to_str).expect("a folder with a name")
    }

    fn cmd<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        let line = self.line();
        let cmd = Cmd::new(&line[0]).args(&line[1..]).args(args);
        // conmon leaves a file named oom where it was started.
        cmd.env("CONTAINERS_CONF", self.dir().join("containers.conf")).current_dir(self.dir())
    }

    /// The containers' cgroups are below [`Podman::cgroup`].
    fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        let cmd = self.cmd(["run"]);
        let cmd = if self.caller == Caller::Root { cmd.arg("--cgroup-parent").arg(self.cgroup()) } else { cmd };
        cmd.args(args)
    }

    fn cgroup_of(&self, name: &str) -> PathBuf {
        self.state(name)["CgroupPath"].as_str().expect("a cgroup path").trim_start_matches('/').into()
    }

    fn runtime<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Outcome {
        Cmd::new(binary()).args(args).run()
    }

    fn events(&self, name: &str) -> Vec<String> {
        let told = self.cmd(["events", "--stream=false", "--since", "5m", "--filter"]);
        let told = told.arg(format!("container={name}")).run().success().stdout;
        let words = told.lines().filter_map(|line| line.split_once(" container ")?.1.split(' ').next());
        words.map(str::to_owned).collect()
    }

    fn judge_health(&self, name: &str) {
        self.call(["healthcheck", "run", name]);
    }
}

/// Called with the folder, the uid, and the command.
const ROOTLESS: &str = r#"
set -e
dir=$0 uid=$1; shift
for name in passwd group subuid subgid; do mount --bind "$dir/$name" "/etc/$name"; done
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups env -i PATH="$PATH" HOME="$dir/home" USER="user$uid" \
  XDG_RUNTIME_DIR="$dir/run" CONTAINERS_CONF="$CONTAINERS_CONF" "$@"
"#;

impl Drop for Podman {
    fn drop(&mut self) {
        let quietly = |args: &[&str]| {
            let _ = self.cmd(args).spawn().finish_or_kill(Duration::from_secs(60));
        };
        quietly(&["pod", "rm", "--all", "--force", "--time", "0"]);
        quietly(&["rm", "--all", "--force", "--time", "0"]);
        if self.caller == Caller::User {
            // Ends the process that holds the user namespace for the next command.
            quietly(&["system", "migrate"]);
        }
        left::nothing(self.dir(), self.tag(), &self.runtime_root());
    }
}
