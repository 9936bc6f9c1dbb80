//! An ordinary user of this machine.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Bundle, Cmd, Env};

/// With ids of its own: /etc/passwd and its kin are replaced for its processes alone.
pub struct Ordinary<'a> {
    env: &'a Env,
    files: PathBuf,
    /// As setpriv(1) takes them.
    groups: String,
}

pub const USER: u32 = 54321;
pub const FIRST_SUBID: u32 = 700_000;

/// Whether the user may map more ids than its own.
#[derive(Clone, Copy, PartialEq)]
pub enum Further {
    Ids,
    None,
}

impl Ordinary<'_> {
    pub fn with(env: &Env, further: Further) -> Ordinary<'_> {
        let files = env.dir().join("etc");
        fs::create_dir_all(&files).unwrap();
        let passwd = format!("root:x:0:0:root:/root:/bin/sh\nplain:x:{USER}:{USER}::/:/bin/sh\n");
        fs::write(files.join("passwd"), passwd).unwrap();
        let line = if further == Further::Ids { format!("plain:{FIRST_SUBID}:65536\n") } else { String::new() };
        for name in ["subuid", "subgid"] {
            fs::write(files.join(name), &line).unwrap();
        }
        chown_to_user(env.dir());
        Ordinary { env, files, groups: "--clear-groups".to_owned() }
    }

    /// The user is in these groups, too.
    pub fn in_groups(mut self, groups: &str) -> Self {
        self.groups = format!("--groups {groups}");
        self
    }

    /// A bundle that belongs to the user, with what `spec --rootless` writes.
    pub fn bundle(&self) -> Bundle {
        let bundle = self.env.bundle();
        fs::remove_file(bundle.config_path()).unwrap();
        chown_to_user(self.env.dir());
        self.sandkeep(["spec", "--rootless", "--bundle"]).arg(&bundle.dir).run().success();
        bundle.edit(|config| config["process"]["terminal"] = json!(false))
    }

    pub fn sandkeep<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        self.sandkeep_behind("", args)
    }

    /// The same, called by `env` with these variables: setpriv(1) comes last, since what it executes may lie where the user
    /// cannot go.
    pub fn sandkeep_behind<S: AsRef<OsStr>>(&self, variables: &str, args: impl IntoIterator<Item = S>) -> Cmd {
        let script = format!(
            "for f in passwd subuid subgid; do mount --bind {}/$f /etc/$f || exit 9; done; \
             exec env {variables} $(command -v setpriv) --reuid {USER} --regid {USER} {} \"$0\" \"$@\"",
            self.files.display(),
            self.groups
        );
        let cmd = Cmd::new("unshare").args(["--mount", "sh", "-c", &script]).arg(self.env.binary());
        cmd.arg("--root").arg(self.env.root()).args(args)
    }
}

pub fn chown_to_user(dir: &Path) {
    Cmd::new("chown").args(["-hR", &format!("{USER}:{USER}")]).arg(dir).run().success();
}
