//! Random commands by several processes on a few ids, with random deaths: of the command, of the helper, supervisor or
//! init that it just made, of a supervisor or an application at rest; some supervisors are stopped for a while. Nobody
//! may hang, panic or tell nonsense; afterwards `recover` leaves a root in which `doctor` finds nothing, the journal
//! replays, and deleting what is there leaves nothing at all.
//!
//! By hand: `make soak`. SANDKEEP_SOAK_SECONDS says how long, SANDKEEP_SOAK_SEED what is drawn (not when it happens).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::{Cmd, Env, Outcome, needs_root};

const WORKERS: u64 = 5;
const IDS: [&str; 3] = ["a", "b", "c"];
/// Longer than any command may wait for another one.
const HANGS: Duration = Duration::from_secs(90);

#[test]
#[ignore = "takes two minutes: make soak"]
fn random_commands_and_random_deaths_leave_nothing_behind() {
    needs_root!();
    let world = World::new();
    let seed = number("SANDKEEP_SOAK_SEED").unwrap_or_else(since_epoch);
    let end = Instant::now() + Duration::from_secs(number("SANDKEEP_SOAK_SECONDS").unwrap_or(100));
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (world, mut random) = (&world, Random::new(seed, worker));
            scope.spawn(move || {
                while Instant::now() < end {
                    world.one_command(&mut random);
                }
            });
        }
        scope.spawn(|| {
            let mut random = Random::new(seed, WORKERS);
            while Instant::now() < end {
                thread::sleep(Duration::from_millis(random.below(150)));
                world.somebody_dies(&mut random);
            }
        });
    });
    world.report();
    world.check_the_end();
    let wrong = world.wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
}

struct World {
    root: PathBuf,
    binary: PathBuf,
    ids: Vec<String>,
    bundles: Vec<PathBuf>,
    /// How often each command ended in which way.
    told: Mutex<BTreeMap<String, u32>>,
    wrong: Mutex<Vec<String>>,
    env: Mutex<Env>,
}

impl World {
    fn new() -> World {
        let env = Env::new();
        let hooks = |config: &mut Value| {
            let hook = json!([{ "path": "/bin/true" }]);
            config["hooks"] = json!({ "createRuntime": hook, "poststart": hook, "poststop": hook });
        };
        let bundles = [
            env.bundle().args(&["sleep", "1000"]),
            env.bundle().args(&["sleep", "1000"]).edit(hooks),
            env.bundle().script("exit 7"),
            env.bundle().script("sleep 0.1; exit 7"),
        ];
        World {
            root: env.root().to_owned(),
            binary: env.binary().into(),
            ids: IDS.iter().map(|id| env.id(id)).collect(),
            bundles: bundles.into_iter().map(|bundle| bundle.dir).collect(),
            told: Mutex::default(),
            wrong: Mutex::default(),
            env: Mutex::new(env),
        }
    }

    fn cmd(&self, words: &[&str]) -> Cmd {
        Cmd::new(&self.binary).arg("--root").arg(&self.root).args(words)
    }

    fn complain(&self, what: &str, told: &dyn std::fmt::Display) {
        self.wrong.lock().unwrap().push(format!("{what}:\n{told}"));
    }

    fn one_command(&self, random: &mut Random) {
        let id = random.of(&self.ids).as_str();
        let bundle = random.of(&self.bundles).to_str().expect("UTF-8");
        const COMMANDS: [&[&str]; 31] = [
            &["create", "--bundle", "BUNDLE", "ID"],
            &["create", "--bundle", "BUNDLE", "ID"],
            &["create", "--bundle", "BUNDLE", "ID"],
            &["start", "ID"],
            &["start", "ID"],
            &["start", "ID"],
            &["run", "--bundle", "BUNDLE", "ID"],
            &["run", "--bundle", "BUNDLE", "ID"],
            &["run", "--detach", "--bundle", "BUNDLE", "ID"],
            &["run", "--detach", "--bundle", "BUNDLE", "ID"],
            &["state", "ID"],
            &["list", "--format", "json"],
            &["wait", "ID"],
            &["kill", "ID", "KILL"],
            &["kill", "ID", "TERM"],
            &["kill", "--all", "ID", "KILL"],
            &["exec", "ID", "true"],
            &["exec", "ID", "sleep", "0.2"],
            &["exec", "--detach", "ID", "sleep", "1000"],
            &["exec", "--ignore-paused", "ID", "true"],
            &["pause", "ID"],
            &["resume", "ID"],
            &["ps", "--format", "json", "ID"],
            &["delete", "ID"],
            &["delete", "--force", "ID"],
            &["delete", "--force", "ID"],
            &["delete", "--force", "ID"],
            &["delete", "--force", "ID"],
            &["delete", "--force", "ID"],
            &["recover"],
            &["doctor"],
        ];
        let words: Vec<&str> = random
            .of(&COMMANDS)
            .iter()
            .map(|word| match *word {
                "ID" => id,
                "BUNDLE" => bundle,
                other => other,
            })
            .collect();
        let running = self.cmd(&words).spawn();
        // These end when the application does, which nobody else here may bring about.
        let waits = words.starts_with(&["wait"])
            || words.starts_with(&["run", "--bundle"])
            || words.contains(&"--ignore-paused");
        let mut deaths = 0;
        if waits || random.below(3) == 0 {
            let limit = if waits { 600 } else { 90 };
            thread::sleep(Duration::from_millis(random.below(limit)));
            // What it has made by now, a helper, a supervisor, an init, and it itself.
            let mut victims = children(running.pid());
            victims.retain(|_| random.below(2) == 0);
            if victims.is_empty() || waits || random.below(2) == 0 {
                victims.push(running.pid());
            }
            for victim in victims {
                deaths += u32::from(kill(Pid::from_raw(victim), Signal::SIGKILL).is_ok());
            }
        }
        match running.finish_or_kill(HANGS) {
            Ok(outcome) => self.judge(&words, &outcome, deaths),
            Err(outcome) => self.complain("hangs", &outcome),
        }
    }

    /// Whatever it met, it says so in a decent way.
    fn judge(&self, words: &[&str], outcome: &Outcome, deaths: u32) {
        let (code, signal) = (outcome.status.code(), outcome.status.signal());
        let mut how = format!("{:<9} {}", words[0], code.map_or("killed".to_owned(), |code| code.to_string()));
        if code.is_some() && code != Some(0) {
            let text =
                IDS.iter().zip(&self.ids).fold(outcome.stderr.clone(), |text, (_, id)| text.replace(id.as_str(), "ID"));
            let text: String = text.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
            how = format!("{how}: {}", text.trim_end());
        }
        *self.told.lock().unwrap().entry(how).or_default() += 1;
        if signal.is_some() && (deaths == 0 || signal != Some(9)) {
            self.complain("was ended by a signal that nobody sent", outcome);
        }
        for nonsense in ["panicked", "internal error", "out of turn", "vanished", "before the one it needs"] {
            if outcome.stderr.contains(nonsense) {
                self.complain("says nonsense", outcome);
            }
        }
        if code == Some(0) && deaths == 0 && matches!(words[0], "state" | "list" | "ps") {
            if let Err(error) = serde_json::from_str::<Value>(&outcome.stdout) {
                self.complain(&format!("is no JSON ({error})"), outcome);
            }
            if !outcome.stderr.is_empty() {
                self.complain("a reader that succeeds says something on stderr", outcome);
            }
        }
        if code == Some(0) && words[0] == "wait" && !matches!(outcome.stdout.trim(), "7" | "137" | "143" | "0") {
            self.complain("a strange status", outcome);
        }
        if code.is_some_and(|code| code != 0)
            && words[0] != "run"
            && words[0] != "doctor"
            && outcome.stderr.is_empty()
            && deaths == 0
        {
            // An exec whose container was killed ends as its process did.
            if !(words[0] == "exec" && code.is_some_and(|code| code > 128)) {
                self.complain("fails without a word", outcome);
            }
        }
        if words[0] == "doctor" && code == Some(1) {
            eprintln!("doctor, meanwhile: {}", outcome.stdout.trim_end());
        }
        if words[0] == "list" && code != Some(0) && deaths == 0 {
            self.complain("list fails", outcome);
        }
    }

    /// A supervisor or an application at rest dies; or a supervisor does nothing for a while.
    fn somebody_dies(&self, random: &mut Random) {
        let id = random.of(&self.ids);
        let Ok(bytes) = fs::read(self.root.join("sandboxes").join(id).join("sandbox.json")) else { return };
        let Ok(snapshot) = serde_json::from_slice::<Value>(&bytes) else { return };
        let supervisor = &snapshot["sandbox"]["supervisor"]["pid"];
        let init = &snapshot["containers"][id]["init"]["pid"];
        let is_ours =
            |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(id.as_str()));
        let pid = |value: &Value| value.as_i64().map(|pid| pid as i32).filter(|pid| *pid > 1 && is_ours(*pid));
        let send = |pid: Option<i32>, signal| pid.is_some_and(|pid| kill(Pid::from_raw(pid), signal).is_ok());
        match random.below(8) {
            0 => drop(send(pid(supervisor), Signal::SIGKILL)),
            1 => drop(send(pid(init), Signal::SIGKILL)),
            2 if send(pid(supervisor), Signal::SIGSTOP) => {
                thread::sleep(Duration::from_millis(random.below(700)));
                send(pid(supervisor), Signal::SIGCONT);
            }
            _ => {}
        }
    }

    fn report(&self) {
        let told = self.told.lock().unwrap();
        eprintln!("{} commands:", told.values().sum::<u32>());
        for (how, times) in told.iter() {
            eprintln!("{times:>5} {how}");
        }
    }

    fn check_the_end(&self) {
        let recover = self.cmd(&["recover"]).run();
        if !recover.status.success() {
            self.complain("recover fails", &recover);
        }
        self.expect_silent(&["recover"], "recover has more to do the second time");
        let doctor = self.cmd(&["doctor"]).run();
        if !doctor.status.success() {
            self.complain("doctor is not content after recover", &doctor);
        }
        for id in &self.ids {
            let delete = self.cmd(&["delete", "--force", id]).run();
            if !delete.status.success() {
                self.complain("cannot be deleted", &delete);
            }
        }
        self.expect_silent(&["recover"], "recover has more to do when all is deleted");
        let doctor = self.cmd(&["doctor"]).run();
        if !doctor.status.success() {
            self.complain("doctor is not content at the end", &doctor);
        }
        let left = self.env.lock().unwrap().leftovers();
        if !left.is_empty() {
            self.complain("left behind", &left.join("\n"));
        }
        self.check_the_journal();
    }

    fn expect_silent(&self, words: &[&str], what: &str) {
        let outcome = self.cmd(words).run();
        if !outcome.status.success() || !outcome.stdout.is_empty() {
            self.complain(what, &outcome);
        }
    }

    /// Each life begins with an absent sandbox, each entry begins where the one before it ended, and none is missing.
    fn check_the_journal(&self) {
        let mut lives: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for entry in self.cmd(&["history", "--format", "json"]).run().json().as_array().expect("entries") {
            lives.entry(entry["incarnation"].to_string()).or_default().push(entry.clone());
        }
        eprintln!("{} lives in the journal", lives.len());
        assert!(!lives.is_empty());
        for entries in lives.values() {
            let mut at = (0, "Absent".to_owned());
            for entry in entries {
                let (seq, from) = (entry["seq"].as_u64().unwrap_or(0), entry["from"].as_str().unwrap_or("?"));
                if seq != at.0 + 1 || !from.eq_ignore_ascii_case(&at.1) {
                    let text = serde_json::to_string_pretty(entries).expect("JSON");
                    self.complain(&format!("entry {seq} from {from} follows entry {} to {}", at.0, at.1), &text);
                }
                at = (seq, entry["to"].as_str().unwrap_or("?").to_owned());
            }
        }
    }
}

/// Of every thread of a process.
fn children(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()).collect()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}

fn since_epoch() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64)
}

/// xorshift64: enough to draw commands.
struct Random(u64);

impl Random {
    fn new(seed: u64, worker: u64) -> Random {
        Random((seed ^ (worker + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}
