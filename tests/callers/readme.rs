//! The README's tour works when it is pasted, word by word.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use support::{Cmd, Env, needs_root, needs_tool};

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The lines of the blocks of a section, in order.
fn commands(section: &str) -> Vec<String> {
    let text = readme();
    let (_, rest) = text.split_once(&format!("\n## {section}\n")).expect("the section");
    let section = rest.split("\n## ").next().unwrap_or_default();
    section.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
}

/// What the line says that it prints, if it does.
fn printed(line: &str) -> Option<&str> {
    line.split_once("# prints ").map(|(_, text)| text)
}

/// A second paste at the same time would meet sandboxes of the same names.
fn alone() -> Flock<fs::File> {
    let file = fs::File::open("/bin/busybox").expect("what the tour copies");
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("the lock of the tour")
}

#[test]
fn the_tour_works_pasted_word_by_word() {
    needs_root!();
    needs_tool!("bash", "busybox", "sed");
    let env = Env::new();
    let _alone = alone();
    let lines = commands("A short tour");
    assert!(lines.len() > 20, "{lines:?}");
    let (home, programs, out) = (env.dir().join("home"), env.dir().join("bin"), env.dir().join("out"));
    for folder in [&home, &programs, &out] {
        fs::create_dir(folder).unwrap();
    }
    // A state of this test alone: all else is as it stands.
    let sandkeep = programs.join("sandkeep");
    let wrapper =
        format!("#!/bin/sh\nexec '{}' --root '{}' \"$@\"\n", Path::new(env.binary()).display(), env.root().display());
    fs::write(&sandkeep, wrapper).unwrap();
    fs::set_permissions(&sandkeep, fs::Permissions::from_mode(0o755)).unwrap();
    let pasted: String = lines
        .iter()
        .enumerate()
        .map(|(n, line)| format!("{{\n{line}\n}} >\"$OUT/{n}\" 2>\"$OUT/{n}.err\"; echo $? >\"$OUT/{n}.code\"\n"))
        .collect();
    let script = env.dir().join("tour");
    fs::write(&script, pasted).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let bash = Cmd::new("bash").arg(&script).current_dir(&home);
    let bash = bash.env("HOME", &home).env("PATH", path).env("OUT", &out).deadline(Duration::from_secs(180));
    bash.run().success();
    for (n, line) in lines.iter().enumerate() {
        let read = |what: &str| fs::read_to_string(out.join(format!("{n}{what}"))).unwrap_or_default();
        let told = format!("$ {line}\n{}{}", read(""), read(".err"));
        assert_eq!(read(".code"), "0\n", "{told}");
        if let Some(text) = printed(line) {
            assert_eq!(read("").trim_end(), text, "{told}");
        }
        // What is asked of `do` is to fail in part, and says so.
        assert!(line.contains("sandkeep do ") || read(".err").is_empty(), "{told}");
    }
    assert!(lines.iter().filter(|line| printed(line).is_some()).count() >= 4);
    let said = |needle: &str| lines.iter().any(|line| line.contains(needle));
    assert!(said("sandkeep do") && said("sandkeep create") && said("sandkeep recover"));
}

#[test]
fn the_first_commands_are_targets_of_the_makefile() {
    let makefile = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile")).unwrap();
    let lines = commands("Start here");
    assert!(lines.len() >= 2, "{lines:?}");
    for line in lines {
        let target = line.split_whitespace().nth(1).unwrap_or_default();
        assert!(line.starts_with("make ") && makefile.contains(&format!("\n{target}:")), "{line}");
    }
}

#[test]
fn what_was_installed_can_be_taken_away() {
    needs_tool!("make");
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("opt/bin/sandkeep");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::write(&program, "").unwrap();
    let uninstall = || {
        let destination = format!("DESTDIR={}", dir.path().display());
        let make = Cmd::new("make").args(["--silent", "uninstall", "PREFIX=/opt", &destination]);
        make.current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).run().success();
    };
    uninstall();
    assert!(!program.exists());
    // What is not there is no failure.
    uninstall();
}
