//! How the probe comes to be inside.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::baits::Baits;
use super::host::Inodes;
use super::verdict::Promise;
use crate::command::DEADLINE;
use crate::ordinary::{Further, chown_to_user};
use crate::{Bundle, Cmd, Env, Lines, Ordinary, Swapping, Terminal, probe, until};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Enter {
    /// `run`
    Run,
    /// On the caller's own terminal
    RunTerminal,
    /// In the PID, network and IPC namespaces of another container
    RunJoined,
    /// `create`, then `start`
    Start,
    /// `exec` into a container that sleeps
    Exec,
    /// Behind which nobody waits, with the host's null device for all three
    ExecDetached,
    ExecTerminal,
    /// `do`
    Do,
    /// On the caller's own terminal
    DoTerminal,
    /// Into one that sleeps
    ExecIntoDo,
    /// `do` of a root of its own
    DoRootfs,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Root,
    /// An ordinary user
    User,
}

/// One way of being inside; a row of the table.
pub struct Way {
    pub name: &'static str,
    enter: Enter,
    who: Who,
    flags: &'static [&'static str],
    change: fn(&mut Value),
    swaps: bool,
    /// What it is known to reach, and why that is so stands beside the row.
    pub reaches: &'static [&'static str],
}

impl Way {
    pub const fn new(name: &'static str, enter: Enter, who: Who) -> Way {
        Way { name, enter, who, flags: &[], change: |_| {}, swaps: false, reaches: &[] }
    }

    pub const fn flags(self, flags: &'static [&'static str]) -> Way {
        Way { flags, ..self }
    }

    /// Of config.json
    pub const fn config(self, change: fn(&mut Value)) -> Way {
        Way { change, ..self }
    }

    /// Two containers share a volume in which a third process swaps names at full speed.
    pub const fn swapping(self) -> Way {
        Way { swaps: true, ..self }
    }

    pub const fn reaches(self, reaches: &'static [&'static str]) -> Way {
        Way { reaches, ..self }
    }

    pub fn promise(&self) -> Promise {
        match self.enter {
            Enter::Do | Enter::DoTerminal | Enter::DoRootfs | Enter::ExecIntoDo => Promise::Sandbox,
            _ => Promise::Container,
        }
    }
}

/// Everything is in its place, and nothing has been started.
pub struct Prepared<'a> {
    way: &'a Way,
    env: &'a Env,
    baits: &'a Baits,
    user: Option<Ordinary<'a>>,
    bundle: Option<Bundle>,
    volume: PathBuf,
    inodes: RefCell<Inodes>,
}

impl<'a> Prepared<'a> {
    pub fn new(way: &'a Way, env: &'a Env, baits: &'a Baits) -> Prepared<'a> {
        let user = (way.who == Who::User).then(|| Ordinary::with(env, Further::None));
        let in_bundle = !matches!(way.enter, Enter::Do | Enter::DoTerminal | Enter::ExecIntoDo);
        let volume = env.dir().join("volume");
        let bundle = in_bundle.then(|| {
            let bundle = user.as_ref().map_or_else(|| env.bundle(), Ordinary::bundle);
            put(probe::path(), &bundle.rootfs().join("probe"));
            let bundle = bundle.edit(|config| config["root"]["readonly"] = json!(false)).edit(way.change);
            if way.swaps { sharing(bundle, &volume, baits) } else { bundle }
        });
        put(probe::path(), &baits.work().join("probe"));
        if user.is_some() {
            chown_to_user(env.dir());
        }
        Prepared { way, env, baits, user, bundle, volume, inodes: RefCell::new(Inodes::of_host()) }
    }

    /// Which inodes are the host's, once it is over: also what the probe made is the container's own.
    pub fn inodes(self) -> Inodes {
        let mut inodes = self.inodes.into_inner();
        inodes.still_there();
        for folder in self.bundle.iter().map(Bundle::rootfs).chain([self.volume]) {
            inodes.own(&folder);
        }
        inodes
    }

    /// The paths that are masked, by the configuration.
    pub fn masked(&self) -> Vec<String> {
        let paths = self.bundle.as_ref().map_or_else(
            || json!(["/proc/keys", "/proc/kcore", "/proc/timer_list"]),
            |bundle| bundle.config()["linux"]["maskedPaths"].clone(),
        );
        let paths: Vec<String> = serde_json::from_value(paths).unwrap_or_default();
        // What is swapped under it may be something else by the time that it is masked.
        paths.into_iter().filter(|path| !path.starts_with("/volume")).collect()
    }

    /// The probe's report. An error: it did not come to be inside.
    pub fn go(&self) -> Result<String, String> {
        match self.way.enter {
            Enter::Run if self.way.swaps => self.run_while_swapping(),
            Enter::Run => self.run(),
            Enter::RunTerminal => self.run_on_a_terminal(),
            Enter::RunJoined => self.run_joined(),
            Enter::Start => self.start(),
            Enter::Exec => self.exec(),
            Enter::ExecDetached => self.exec_without_us(&["--detach"]),
            Enter::ExecTerminal => self.exec_without_us(&["--tty"]),
            Enter::Do | Enter::DoRootfs => told(self.do_()),
            Enter::DoTerminal => told_on_a_terminal(self.do_()),
            Enter::ExecIntoDo => self.exec_into_do(),
        }
    }

    fn run(&self) -> Result<String, String> {
        let bundle = self.walking();
        let run = self.sandkeep(["run", "--bundle"]).arg(&bundle.dir).args(self.way.flags).arg(self.env.id("way"));
        told(self.with_key(run, &bundle.config_path()))
    }

    fn run_on_a_terminal(&self) -> Result<String, String> {
        let bundle = self.walking().terminal();
        let run = self.sandkeep(["run", "--bundle"]).arg(&bundle.dir).args(self.way.flags).arg(self.env.id("way"));
        told_on_a_terminal(self.with_key(run, &bundle.config_path()))
    }

    fn run_joined(&self) -> Result<String, String> {
        let id = self.env.id("other");
        self.env.started(&self.env.bundle().args(&["/bin/sleep", "1000"]), &id);
        let of = |name: &str| format!("/proc/{}/ns/{name}", self.env.pid(&id));
        let joined = [("pid", of("pid")), ("network", of("net")), ("ipc", of("ipc"))];
        joined.into_iter().fold(self.bundle(), |bundle, (kind, path)| bundle.namespace(kind, Some(&path)));
        let report = self.run();
        self.env.run(["delete", "--force", &id]).success();
        report
    }

    fn start(&self) -> Result<String, String> {
        let (bundle, id) = (self.walking(), self.env.id("way"));
        let create = self.sandkeep(["create", "--bundle"]).arg(&bundle.dir).args(self.way.flags).arg(&id);
        let (mut lines, out) = Lines::pipe();
        let create =
            self.with_key(create, &bundle.config_path()).stdout(out.try_clone().expect("dup")).stderr(out).run();
        let start = self.sandkeep(["start", &id]).run();
        if !create.status.success() || !start.status.success() {
            return Err(format!("{}{start}", lines.rest()));
        }
        let report = lines.rest();
        self.sandkeep(["wait", &id]).run();
        self.sandkeep(["delete", &id]).run().success();
        Ok(report)
    }

    fn exec(&self) -> Result<String, String> {
        let id = self.sleeping()?;
        let exec = self.sandkeep(["exec"]).args(self.way.flags).args([&id, "/probe", "walk"]).args(self.words());
        let report = told(self.with_key(exec, Path::new("-")));
        self.sandkeep(["delete", "--force", &id]).run().success();
        report
    }

    /// Its report goes to a file of its own.
    fn exec_without_us(&self, flags: &[&str]) -> Result<String, String> {
        let id = self.sleeping()?;
        let exec = self.sandkeep(["exec"]).args(flags).args([&id, "/probe", "walk", "out", "/report"]);
        let exec = self.with_key(exec.args(self.words()), Path::new("-"));
        let ended = if flags == ["--tty"] {
            Terminal::new().run_cmd(exec).finish(DEADLINE)
        } else {
            let null = || fs::File::options().write(true).open("/dev/null").expect("the null device");
            exec.stdout(null()).stderr(null()).run()
        };
        if !ended.status.success() {
            return Err(ended.to_string());
        }
        let report = self.bundle().rootfs().join("report");
        let read = || fs::read_to_string(&report).unwrap_or_default();
        until(DEADLINE, "end of the probe", || read().lines().last().is_some_and(|line| line.starts_with("end\t")));
        let report = read();
        self.sandkeep(["delete", "--force", &id]).run().success();
        Ok(report)
    }

    fn do_(&self) -> Cmd {
        let mut cmd = self.sandkeep(["do"]).args(self.way.flags);
        let probe = match &self.bundle {
            Some(bundle) => {
                cmd = cmd.arg("--rootfs").arg(bundle.rootfs());
                PathBuf::from("/probe")
            }
            None => self.baits.work().join("probe"),
        };
        let cmd = cmd.arg("--").arg(probe).arg("walk").args(self.words()).current_dir(self.baits.work());
        self.with_key(cmd, Path::new("-"))
    }

    fn exec_into_do(&self) -> Result<String, String> {
        let work = self.baits.work();
        let sleeping =
            self.sandkeep(["do"]).args(self.way.flags).args(["--", "sleep", "1000"]).current_dir(work).spawn();
        let mut id = String::new();
        until(DEADLINE, "sandbox of do", || {
            let mut folders = fs::read_dir(self.env.root().join("sandboxes")).into_iter().flatten().flatten();
            id = folders.next().map_or(String::new(), |folder| folder.file_name().to_string_lossy().into_owned());
            !id.is_empty() && self.env.run(["state", &id]).stdout.contains("\"running\"")
        });
        let exec = self.sandkeep(["exec", "--cwd", "/", &id]).arg(work.join("probe")).arg("walk");
        let report = told(self.with_key(exec.args(self.words()), Path::new("-")));
        self.sandkeep(["kill", &id, "KILL"]).run();
        sleeping.finish(DEADLINE);
        report
    }

    /// Another container has the volume, too; a few runs, since each sees one moment. Whether one comes to be or is refused
    /// depends on that: what matters is what it sees and changes.
    fn run_while_swapping(&self) -> Result<String, String> {
        let other = self.env.bundle().args(&["/bin/sleep", "1000"]).bind(&self.volume, "/volume", &["bind"]);
        let id = self.env.id("other");
        self.env.started(&other, &id);
        let swapping = Swapping::begin(&self.volume.join("target"), &self.volume.join("link"));
        let (mut reports, mut refused) = (String::new(), String::new());
        for _ in 0..8 {
            match self.run() {
                Ok(report) => reports += &report,
                Err(error) => refused = error,
            }
        }
        drop(swapping);
        self.env.run(["delete", "--force", &id]).success();
        if reports.is_empty() { Err(refused) } else { Ok(reports) }
    }

    fn sleeping(&self) -> Result<String, String> {
        let id = self.env.id("way");
        self.bundle().edit(|config| config["process"]["args"] = json!(["/bin/sleep", "1000"]));
        // Files of ours would be its own descriptors, which it may change.
        let (mut lines, out) = Lines::pipe();
        let create = self.sandkeep(["create", "--bundle"]).arg(&self.bundle().dir).arg(&id);
        let create = create.stdout(out.try_clone().expect("dup")).stderr(out).run();
        if !create.status.success() {
            return Err(format!("{create}{}", lines.rest()));
        }
        self.sandkeep(["start", &id]).run().success();
        // Its cgroup is gone with it.
        let pid = self.sandkeep(["state", &id]).run().success().json()["pid"].clone();
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        for path in cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2)).filter(|path| path.contains(&id)) {
            for top in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|top| top.path()) {
                self.inodes.borrow_mut().own(&top.join(path.trim_start_matches('/')));
            }
            self.inodes.borrow_mut().own(&Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/')));
        }
        Ok(id)
    }

    /// The bundle, with the probe as its application.
    fn walking(&self) -> Bundle {
        let words: Vec<String> = ["/probe", "walk"].map(str::to_owned).into_iter().chain(self.words()).collect();
        self.bundle().edit(|config| config["process"]["args"] = json!(words))
    }

    /// The probe's arguments.
    fn words(&self) -> Vec<String> {
        let masked = self.masked().into_iter().flat_map(|path| ["masked".to_owned(), path]);
        let most = std::env::var("SANDKEEP_PROBE_MOST").into_iter().flat_map(|most| ["most".to_owned(), most]);
        self.baits.arguments().into_iter().chain(masked).chain(most).collect()
    }

    fn bundle(&self) -> Bundle {
        Bundle { dir: self.bundle.as_ref().expect("this way has a bundle").dir.clone() }
    }

    /// As whoever calls here, with a secret in the environment.
    fn sandkeep<const N: usize>(&self, args: [&str; N]) -> Cmd {
        let cmd = match &self.user {
            Some(user) => user.sandkeep(args),
            None => self.env.cmd(args),
        };
        cmd.env("SECRET", &self.baits.marker)
    }

    /// With a session keyring that holds a key. Its number is put into the arguments, and into this file.
    fn with_key(&self, cmd: Cmd, file: &Path) -> Cmd {
        let probe = probe::path().to_str().expect("a path in UTF-8");
        cmd.behind(probe, &["keyed", &self.baits.key(), file.to_str().expect("a path in UTF-8")])
    }
}

/// What a command prints, which says the probe's report.
fn told(cmd: Cmd) -> Result<String, String> {
    let (mut lines, out) = Lines::pipe();
    let running = cmd.stdout(out.try_clone().expect("dup")).stderr(out).spawn();
    let said = lines.rest();
    let outcome = running.finish(DEADLINE);
    if outcome.status.success() { Ok(said) } else { Err(format!("{outcome}{}", tail(&said))) }
}

fn told_on_a_terminal(cmd: Cmd) -> Result<String, String> {
    let mut terminal = Terminal::new();
    let running = terminal.run_cmd(cmd);
    // A terminal that is full makes whoever writes to it wait: it is read before the end.
    let mut said = String::new();
    while let Some(line) = terminal.lines.next() {
        said += &format!("{line}\n");
        if line.starts_with("end\t") || line.starts_with("sandkeep: ") {
            break;
        }
    }
    let outcome = running.finish(DEADLINE);
    if outcome.status.success() { Ok(said) } else { Err(format!("{outcome}{}", tail(&said))) }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

fn put(program: &Path, at: &Path) {
    fs::copy(program, at).expect("copy the probe");
    fs::set_permissions(at, fs::Permissions::from_mode(0o755)).expect("chmod");
}

/// A volume with mounts, a device, a masked and a read-only path below a folder that is swapped for a link to the outside.
fn sharing(bundle: Bundle, volume: &Path, baits: &Baits) -> Bundle {
    fs::create_dir_all(volume.join("target")).expect("a volume");
    std::os::unix::fs::symlink(&baits.files()[0], volume.join("link")).expect("a symlink");
    let bundle = bundle.bind(volume, "/volume", &["bind"]);
    let bundle = bundle.mount(json!({"destination": "/volume/target/folder", "type": "tmpfs", "source": "x"}));
    bundle.edit(|config| {
        config["linux"]["maskedPaths"].as_array_mut().expect("paths").push(json!("/volume/target/file"));
        config["linux"]["readonlyPaths"].as_array_mut().expect("paths").push(json!("/volume/target/secret"));
        let device = json!({"path": "/volume/target/device", "type": "c", "major": 1, "minor": 3, "fileMode": 438});
        config["linux"]["devices"] = json!([device]);
    })
}
