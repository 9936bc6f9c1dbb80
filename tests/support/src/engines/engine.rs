//! What engines have in common that are called in docker's command line; and, in [`Words`], where they differ.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::command::DEADLINE;
use crate::{Cmd, Outcome, until};

/// A command line's exit code, and what it says beside it.
pub type Refusal = (i32, &'static str);

pub struct Words {
    /// Removes a container, up to its name: at once, also one that runs.
    pub remove: &'static [&'static str],
    /// The exit code of a `run` whose setting the runtime refuses, for none of the reasons that have a code of their own.
    pub setting_refused: i32,
    /// The exit codes of an `exec` of a program that is not there, of one that is none, and in a folder that is not there.
    pub exec_failures: [i32; 3],
    pub kill_of_an_ended_one: Refusal,
    pub exec_in_a_paused_one: Refusal,
    /// The flags of a `run` whose container is healthy while the file /tmp/healthy is there.
    pub health: &'static [&'static str],
}

pub trait Engine: Sized {
    /// What must be installed.
    const PROGRAMS: &'static [&'static str];
    const WORDS: Words;

    /// The one that all tests of this program use at the same time.
    fn shared() -> Arc<Self>;

    fn dir(&self) -> &Path;

    /// What every path, cgroup and name of this engine has in it.
    fn tag(&self) -> &str;

    /// `ENGINE FLAGS ARGS…`
    fn cmd<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd;

    /// `ENGINE FLAGS run FLAGS ARGS…`
    fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd;

    /// The cgroup of a container, below a hierarchy.
    fn cgroup_of(&self, name: &str) -> PathBuf;

    /// The runtime itself, on what this engine runs.
    fn runtime<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Outcome;

    /// What the engine has told of a container until now, a word each.
    fn events(&self, name: &str) -> Vec<String>;

    /// Has the health of a container judged, if the engine does not do so by itself.
    fn judge_health(&self, name: &str);

    fn call<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Outcome {
        self.cmd(args).run()
    }

    /// One that runs in the background; its name is unique on the machine.
    #[track_caller]
    fn detached<S: AsRef<OsStr>>(&self, name: &str, args: impl IntoIterator<Item = S>) -> String {
        let name = format!("{name}-{}", self.tag());
        self.run(["--detach", "--name", &name]).args(args).run().success();
        name
    }

    #[track_caller]
    fn inspect(&self, name: &str) -> Value {
        self.call(["inspect", name]).success().json()[0].clone()
    }

    #[track_caller]
    fn state(&self, name: &str) -> Value {
        self.inspect(name)["State"].clone()
    }

    /// What the runtime calls it.
    #[track_caller]
    fn id(&self, name: &str) -> String {
        self.inspect(name)["Id"].as_str().expect("an id").to_owned()
    }

    #[track_caller]
    fn pid(&self, name: &str) -> i32 {
        self.state(name)["Pid"].as_i64().expect("a pid") as i32
    }

    #[track_caller]
    fn remove(&self, name: &str) {
        self.cmd(Self::WORDS.remove).arg(name).run().success();
    }

    #[track_caller]
    fn until_logged(&self, name: &str, needle: &str, times: usize) {
        until(DEADLINE, &format!("{needle:?} in the log of {name}"), || {
            self.call(["logs", name]).stdout.matches(needle).count() >= times
        });
    }

    /// A file of a container's cgroup: on v1 below the controller, on v2 by the name it has there.
    #[track_caller]
    fn cgroup_file(&self, name: &str, (controller, v1): (&str, &str), v2: &str) -> String {
        let (top, below) = (Path::new("/sys/fs/cgroup"), self.cgroup_of(name));
        let file = top.join(controller).join(&below).join(v1);
        let file = if file.exists() { file } else { top.join(below).join(v2) };
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"))
    }
}
