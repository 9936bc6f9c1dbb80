//! One test's world: a root, bundles and ids that no other test has.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::bundle::Bundle;
use super::command::{Cmd, DEADLINE, binary};
use super::engines::left::unmount_below;
use super::{leftovers, process};

/// Dropping it asserts that nothing of it is left, unless the test fails anyway or has said what it [leaves](Env::leaves).
/// Whatever is left is then swept away: every sandbox under its root, whatever else bears its tag, and nothing else.
#[must_use]
pub struct Env {
    dir: TempDir,
    root: PathBuf,
    binary: OsString,
    bundles: Cell<u32>,
    leaves: Cell<Option<&'static str>>,
}

impl Env {
    pub fn new() -> Env {
        let dir = tempfile::Builder::new().prefix("sk").rand_bytes(8).tempdir_in("/tmp").expect("a folder in /tmp");
        let root = dir.path().join("r");
        Env { dir, root, binary: binary(), bundles: Cell::new(0), leaves: Cell::new(None) }
    }

    /// The root lies here instead, below [`Env::dir`].
    pub fn root_at(mut self, below: &str) -> Env {
        self.root = self.dir.path().join(below);
        self
    }

    /// This binary is tested, not the usual one.
    pub fn binary_at(mut self, binary: &Path) -> Env {
        self.binary = binary.into();
        self
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn binary(&self) -> &OsStr {
        &self.binary
    }

    /// What every id, path and cgroup of this world has in its name.
    pub fn tag(&self) -> &str {
        self.dir.path().file_name().and_then(OsStr::to_str).expect("a folder with a name")
    }

    /// An id for this world: cgroups know no root, so ids must differ between tests.
    pub fn id(&self, name: &str) -> String {
        format!("{name}-{}", self.tag())
    }

    /// A busybox bundle that runs `/bin/true`.
    pub fn bundle(&self) -> Bundle {
        Bundle::busybox(&self.next_bundle())
    }

    pub fn bundle_over(&self, rootfs: &Path) -> Bundle {
        Bundle::over(&self.next_bundle(), rootfs)
    }

    fn next_bundle(&self) -> PathBuf {
        self.bundles.set(self.bundles.get() + 1);
        self.dir.path().join(format!("b{}", self.bundles.get()))
    }

    /// `sandkeep --root ROOT ARGS…`
    pub fn cmd<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        Cmd::new(&self.binary).arg("--root").arg(&self.root).args(args)
    }

    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> super::Outcome {
        self.cmd(args).run()
    }

    /// `run --bundle BUNDLE ID`, not yet started.
    pub fn run_bundle(&self, bundle: &Bundle, id: &str) -> Cmd {
        self.cmd(["run", "--bundle"]).arg(&bundle.dir).arg(id)
    }

    /// `create --bundle BUNDLE ID`, not yet started.
    pub fn create(&self, bundle: &Bundle, id: &str) -> Cmd {
        self.cmd(["create", "--bundle"]).arg(&bundle.dir).arg(id)
    }

    #[track_caller]
    pub fn created(&self, bundle: &Bundle, id: &str) {
        self.create(bundle, id).run().success();
    }

    #[track_caller]
    pub fn started(&self, bundle: &Bundle, id: &str) {
        self.created(bundle, id);
        self.run(["start", id]).success();
    }

    #[track_caller]
    pub fn state(&self, id: &str) -> Value {
        self.run(["state", id]).success().json()
    }

    #[track_caller]
    pub fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().expect("a status").to_owned()
    }

    /// The pid of the container's own process.
    #[track_caller]
    pub fn pid(&self, id: &str) -> i32 {
        self.state(id)["pid"].as_i64().expect("a pid") as i32
    }

    /// The supervisor, found by what it is called with: the id stands last.
    #[track_caller]
    pub fn supervisor(&self, id: &str) -> i32 {
        self.find_supervisor(id).unwrap_or_else(|| panic!("no supervisor of {id} runs"))
    }

    pub fn find_supervisor(&self, id: &str) -> Option<i32> {
        let of_id = |args: &[String]| {
            let args: Vec<&str> = args.iter().map(String::as_str).filter(|arg| !arg.is_empty()).collect();
            args.first().is_some_and(|name| name.ends_with("sandkeep-sandbox")) && args.last() == Some(&id)
        };
        process::all().into_iter().find(|(pid, args)| of_id(args) && process::runs(*pid)).map(|(pid, _)| pid)
    }

    /// Waits, as any other process may, for the end of a container; gives its exit code.
    #[track_caller]
    pub fn wait(&self, id: &str) -> i32 {
        self.run(["wait", id]).success().stdout.trim().parse().expect("wait prints an exit code")
    }

    #[track_caller]
    pub fn delete(&self, id: &str) {
        self.run(["delete", id]).success();
    }

    #[track_caller]
    pub fn gone(&self, id: &str) {
        self.run(["state", id]).fails_with(1, &["does not exist", id]);
    }

    /// The test leaves something in this world on purpose, and this is why: nobody looks for it, and it is swept away.
    pub fn leaves(&self, why: &'static str) {
        self.leaves.set(Some(why));
    }

    /// What there is of this world: a line for each process, cgroup, mount, file of a sandbox and socket.
    pub fn leftovers(&self) -> Vec<String> {
        leftovers::of(&self.root, self.tag())
    }

    fn delete_all(&self) {
        let folders = fs::read_dir(self.root.join("sandboxes")).into_iter().flatten().flatten();
        for folder in folders {
            let mut delete = Command::new(&self.binary);
            delete.arg("--root").arg(&self.root).args(["delete", "--force"]).arg(folder.file_name());
            if let Ok(child) = delete.stderr(std::process::Stdio::null()).spawn() {
                process::wait_or_kill(child, Duration::from_secs(10).min(DEADLINE));
            }
        }
    }

    /// Kills what is left, thaws and removes its cgroups.
    fn sweep(&self) {
        for line in self.leftovers() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("process"), Some(pid)) => {
                    if let Ok(pid @ 2..) = pid.parse::<i32>() {
                        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                    }
                }
                (Some("cgroup"), Some(folder)) => {
                    let _ = fs::write(Path::new(folder).join("freezer.state"), "THAWED");
                    let _ = fs::write(Path::new(folder).join("cgroup.freeze"), "0");
                }
                _ => {}
            }
        }
        for line in self.leftovers().iter().rev() {
            if let Some(folder) = line.strip_prefix("cgroup ") {
                let _ = fs::remove_dir(folder);
            }
        }
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        let left = self.leftovers();
        if !left.is_empty() {
            self.delete_all();
            self.sweep();
        }
        unmount_below(self.dir.path());
        let expected = std::thread::panicking() || self.leaves.get().is_some();
        assert!(expected || left.is_empty(), "left behind:\n{}", left.join("\n"));
    }
}
