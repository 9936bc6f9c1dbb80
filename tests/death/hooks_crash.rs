//! SIGKILL of create, start and delete at the system calls around their hooks: whoever completes their work runs no hook
//! twice, and leaves none out but one that may have run, of which it says so.
//!
//! SANDKEEP_CRASH_POINTS says how many system calls of each command; `make crash-matrix` tries 40.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Bundle, Env, Outcome, needs_root, needs_tool, strace};

const CI_POINTS: usize = 14;

/// One command that runs hooks, and the words that they leave.
struct Victim {
    name: &'static str,
    /// What must have happened before.
    prepare: fn(&Env, &Bundle, &str),
    command: fn(&Bundle) -> Vec<String>,
}

struct World {
    env: Env,
    bundle: Bundle,
    said: PathBuf,
}

impl World {
    fn new(hooks: impl Fn(&Path) -> Value) -> World {
        let env = Env::new();
        let said = env.dir().join("said");
        let hooks = hooks(&said);
        let bundle = env.bundle().args(&["sleep", "1000"]).edit(|config| config["hooks"] = hooks);
        World { env, bundle, said }
    }

    fn command(&self, victim: &Victim, id: &str) -> Vec<String> {
        let root = self.env.root().to_string_lossy().into_owned();
        let mut words = vec![self.env.binary().to_string_lossy().into_owned(), "--root".to_owned(), root];
        words.extend((victim.command)(&self.bundle));
        words.push(id.to_owned());
        words
    }

    fn count(&self, word: &str) -> usize {
        fs::read_to_string(&self.said).unwrap_or_default().lines().filter(|line| *line == word).count()
    }
}

/// A hook that leaves a word, once for each time that it runs.
fn note(word: &str, file: &Path) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", format!("echo {word} >> {}", file.display())]})
}

/// Kills the command at system calls, the more of them around where its hooks run, and hands each case to `judge`: the
/// complaint, if there is one, about what `recover` said and did.
fn each_point(world: &World, victim: &Victim, judge: impl Fn(&World, &str, &Outcome) -> Option<String>) {
    let id = world.env.id("trace");
    (victim.prepare)(&world.env, &world.bundle, &id);
    let _ = fs::remove_file(&world.said);
    let all = strace::calls(&world.env, world.command(victim, &id));
    world.env.run(["delete", "--force", &id]).code(0);
    let wanted =
        std::env::var("SANDKEEP_CRASH_POINTS").ok().map_or(CI_POINTS, |count| count.parse().expect("a number"));
    let mut points: Vec<(String, usize)> = (0..wanted).map(|point| all[point * all.len() / wanted].clone()).collect();
    // The hooks' own: their state is written to a file in memory just before they are executed.
    let hooks =
        all.iter().filter(|(name, _)| ["memfd_create", "pidfd_open", "poll", "wait4", "waitid"].contains(&&**name));
    points.extend(hooks.take(wanted).cloned());

    let mut wrong = String::new();
    let mut killed = 0;
    for (point, (name, occurrence)) in points.iter().enumerate() {
        let id = world.env.id(&format!("{}{point}", victim.name));
        (victim.prepare)(&world.env, &world.bundle, &id);
        let _ = fs::remove_file(&world.said);
        let outcome = strace::killed_at(world.command(victim, &id), name, *occurrence);
        killed += usize::from(!outcome.status.success());
        let recover = world.env.run(["recover"]);
        if !recover.status.success() {
            let _ = writeln!(wrong, "{} killed at {name} number {occurrence}: recover fails\n{recover}", victim.name);
        }
        if let Some(complaint) = judge(world, &id, &recover) {
            let said = fs::read_to_string(&world.said).unwrap_or_default();
            let place = format!("{} killed at {name} number {occurrence}", victim.name);
            let _ = writeln!(wrong, "{place}: {complaint}\n{outcome}\n{recover}\nthe hooks said:\n{said}");
        }
        world.env.run(["delete", "--force", &id]).code(0);
        let left = world.env.leftovers();
        if !left.is_empty() {
            let _ = writeln!(wrong, "{} killed at {name} number {occurrence} left {left:?}", victim.name);
        }
    }
    eprintln!("{}: {killed} of {} killed at a system call, {} traced", victim.name, points.len(), all.len());
    assert!(wrong.is_empty(), "{wrong}");
    assert!(killed * 2 > points.len(), "only {killed} of {} points were reached", points.len());
}

/// Each word once, or not at all if that was told.
fn once(world: &World, words: &[&str], recover: &Outcome) -> Option<String> {
    let told = recover.stdout.matches("it is not run again").count();
    let missing = words.iter().filter(|word| world.count(word) == 0).count();
    let twice: Vec<_> = words.iter().filter(|word| world.count(word) > 1).collect();
    match (twice.is_empty(), missing <= told) {
        (false, _) => Some(format!("{twice:?} ran more than once")),
        (_, false) => Some(format!("{missing} of {words:?} never ran, and {told} were told")),
        _ => None,
    }
}

#[test]
fn a_delete_killed_anywhere_runs_each_poststop_hook_once() {
    needs_root!();
    needs_tool!("strace");
    let world = World::new(|said| json!({"poststop": [note("one", said), note("two", said)]}));
    let victim = Victim {
        name: "delete",
        prepare: |env, bundle, id| {
            env.started(bundle, id);
            env.run(["kill", id, "KILL"]).success();
            assert_eq!(env.wait(id), 137);
        },
        command: |_| vec!["delete".to_owned()],
    };
    each_point(&world, &victim, |world, id, recover| {
        if world.env.run(["state", id]).status.success() {
            // It died before its first effect: nothing has happened, and the next delete does all of it.
            if world.count("one") + world.count("two") > 0 {
                return Some("hooks ran, and the sandbox is still there".to_owned());
            }
            world.env.delete(id);
        }
        once(world, &["one", "two"], recover)
    });
}

#[test]
fn a_create_killed_anywhere_runs_each_hook_once_and_those_of_its_end_if_it_had_begun_any() {
    needs_root!();
    needs_tool!("strace");
    let world = World::new(|said| {
        json!({
            "prestart": [note("prestart", said)], "createRuntime": [note("runtime", said)],
            "poststop": [note("one", said), note("two", said)],
        })
    });
    let victim = Victim {
        name: "create",
        prepare: |_, _, _| {},
        command: |bundle| vec!["create".to_owned(), "--bundle".to_owned(), bundle.dir.to_string_lossy().into_owned()],
    };
    each_point(&world, &victim, |world, id, recover| {
        if world.env.run(["state", id]).status.success() {
            let words = ["prestart", "runtime"];
            if world.count("one") + world.count("two") > 0 {
                return Some("poststop hooks ran, and the sandbox is there".to_owned());
            }
            return once(world, &words, recover);
        }
        let begun = world.count("prestart") > 0;
        let ends = [world.count("one"), world.count("two")];
        match (begun, ends) {
            (true, [1, 1]) | (false, [0, 0] | [1, 1])
                if world.count("prestart") <= 1 && world.count("runtime") <= 1 =>
            {
                None
            }
            _ => Some("a hook ran too often, or the poststop hooks did not run".to_owned()),
        }
    });
}

#[test]
fn a_start_killed_anywhere_runs_each_poststart_hook_once() {
    needs_root!();
    needs_tool!("strace");
    let world = World::new(|said| json!({"poststart": [note("one", said), note("two", said)]}));
    let victim = Victim {
        name: "start",
        prepare: |env, bundle, id| env.created(bundle, id),
        command: |_| vec!["start".to_owned()],
    };
    each_point(&world, &victim, |world, id, recover| match world.env.status(id).as_str() {
        "running" => once(world, &["one", "two"], recover),
        "created" if world.count("one") + world.count("two") == 0 => {
            world.env.run(["start", id]).success();
            once(world, &["one", "two"], recover)
        }
        other => Some(format!("it is {other}")),
    });
}
