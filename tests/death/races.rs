//! Names that are swapped while the runtime looks at them: whatever it makes, mounts, covers or changes owner and mode of
//! stays inside. Somebody else can write to the folder all the while, as a container can to a volume that it shares.
//!
//! A few tries each; `SANDKEEP_RACE_TRIES=1000` makes it a thousand (`make races`).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use support::{Cmd, Env, Outcome, Swapping, needs_root, needs_tool};

fn tries() -> usize {
    std::env::var("SANDKEEP_RACE_TRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

/// A folder of the host that nobody inside may reach or change, and what is mounted on the host.
struct Outside {
    folder: PathBuf,
    before: Vec<String>,
    /// The tries after which it was not what it had been, and the first of them.
    hits: (usize, Option<String>),
}

impl Outside {
    fn lay(env: &Env) -> Outside {
        let folder = env.dir().join("outside");
        fs::create_dir_all(folder.join("there")).unwrap();
        for name in ["victim", "there/secret"] {
            fs::write(folder.join(name), "of the host\n").unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        Outside { before: told(&folder), folder, hits: (0, None) }
    }

    fn victim(&self) -> PathBuf {
        self.folder.join("victim")
    }

    /// To be asked after each try.
    fn look(&mut self, outcome: &Outcome) {
        let now = told(&self.folder);
        if now != self.before {
            self.hits.0 += 1;
            self.hits.1.get_or_insert_with(|| format!("{:#?}\nbecame {now:#?}\n{outcome}", self.before));
            let _ = fs::set_permissions(self.victim(), fs::Permissions::from_mode(0o600));
            self.before = told(&self.folder);
        }
    }

    #[track_caller]
    fn assert_untouched(&self, what: &str, swaps: u64, ran: usize) {
        let (hits, first) = (self.hits.0, self.hits.1.as_deref().unwrap_or_default());
        println!("{what}: {} tries, {swaps} swaps, {ran} came to run, {hits} changed the host", tries());
        assert_eq!(hits, 0, "{hits} of {} changed the host:\n{first}", tries());
    }
}

/// Everything below a folder, and every mount on it.
fn told(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let of = fs::symlink_metadata(&path).unwrap();
        let (owner, changed) = ((of.uid(), of.gid()), (of.ctime(), of.ctime_nsec()));
        found.push(format!("{path:?} {:o} {owner:?} {:x} {changed:?}", of.mode(), of.rdev()));
        if of.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(folder.to_str().unwrap())).map(str::to_owned));
    found
}

/// Finding 3 of the review: a hundred nodes are made in a folder of a volume, and whoever else has the volume puts a symlink
/// in the place of each as soon as it is there. What is then done to the node must not be done to where that leads.
#[test]
fn a_device_that_is_swapped_for_a_symlink_gives_nobody_a_file_of_the_host() {
    needs_root!();
    const DEVICES: usize = 100;
    let env = Env::new();
    let mut outside = Outside::lay(&env);
    let volume = env.dir().join("volume");
    fs::create_dir(&volume).unwrap();
    let bundle = env.bundle().bind(&volume, "/volume", &["bind"]).edit(|config| {
        let device = |number| {
            let path = format!("/volume/d{number}");
            json!({"path": path, "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 7, "gid": 7})
        };
        config["linux"]["devices"] = (0..DEVICES).map(device).collect();
    });
    let (folder, link, victim) = (volume.clone(), volume.join("link"), outside.victim());
    // It waits at one name with the link in its hand; a few nodes later it is ready for the next.
    const AHEAD: usize = 5;
    let awaited = Arc::new(AtomicUsize::new(0));
    let next = awaited.clone();
    symlink(&victim, &link).unwrap();
    let swapping = Swapping::doing(move || {
        let number = next.load(Ordering::Relaxed);
        let node = folder.join(format!("d{number}"));
        let there = number < DEVICES && fs::symlink_metadata(&node).is_ok_and(|found| !found.is_symlink());
        if there && fs::rename(&link, &node).is_ok() {
            let _ = next.compare_exchange(number, number + AHEAD, Ordering::Relaxed, Ordering::Relaxed);
            let _ = symlink(&victim, &link);
        }
        there
    });
    let mut ran = 0;
    for _ in 0..tries() {
        let outcome = env.run_bundle(&bundle, &env.id("devices")).run();
        ran += usize::from(outcome.status.success());
        outside.look(&outcome);
        for number in 0..DEVICES {
            let _ = fs::remove_file(volume.join(format!("d{number}")));
        }
        awaited.store(0, Ordering::Relaxed);
    }
    outside.assert_untouched("devices", swapping.end(), ran);
}

/// CVE-2021-30465, CVE-2024-45310: the targets of mounts of every kind, below a folder that is swapped for a symlink.
#[test]
fn a_mount_whose_target_is_swapped_for_a_symlink_lands_inside() {
    needs_root!();
    let env = Env::new();
    let mut outside = Outside::lay(&env);
    let script = "cat /volume/*/there/secret /volume/*/secret /there/secret 2>/dev/null; \
                  awk '$5 ~ \"^/proc/\" && / - tmpfs x/ { print }' /proc/self/mountinfo; ls -d /etc/shadow 2>/dev/null";
    let targets = [outside.folder.clone(), "/proc".into(), "../../../../../../../../..".into()];
    let (mut swaps, mut ran) = (0, 0);
    for to in &targets {
        let volume = env.dir().join("volume");
        fs::create_dir_all(volume.join("target")).unwrap();
        symlink(to, volume.join("link")).unwrap();
        let mut bundle = env.bundle().script(script).bind(&volume, "/volume", &["bind"]);
        for below in ["", "/there", "/sys/kernel", "/new/deep"] {
            let destination = format!("/volume/target{below}");
            let options = ["mode=755"];
            bundle =
                bundle.mount(json!({"destination": destination, "type": "tmpfs", "source": "x", "options": options}));
        }
        let bundle = bundle.bind(&volume, "/volume/target/bound", &["bind"]);
        let bundle = bundle.bind(&bundle_file(&env), "/volume/target/file", &["bind"]);
        let swapping = Swapping::begin(&volume.join("target"), &volume.join("link"));
        for _ in 0..tries().div_ceil(targets.len()) {
            // Whether it comes to be or is refused depends on the moment: what matters is what it sees and does.
            let outcome = env.run_bundle(&bundle, &env.id("mounts")).run();
            assert_eq!(outcome.stdout, "", "{outcome}");
            ran += usize::from(outcome.status.code().is_some_and(|code| code < 2) && outcome.stderr.is_empty());
            outside.look(&outcome);
        }
        swaps += swapping.end();
        fs::remove_dir_all(&volume).unwrap();
    }
    outside.assert_untouched("mounts", swaps, ran);
}

fn bundle_file(env: &Env) -> PathBuf {
    let file = env.dir().join("plain");
    fs::write(&file, "").unwrap();
    file
}

/// What is to be masked or made read-only lies below a folder that is swapped for a symlink: the cover lands inside, on
/// what the name meant at one moment, and nothing of the host comes into the container by it.
#[test]
fn a_masked_or_readonly_path_that_is_swapped_covers_and_shows_nothing_of_the_host() {
    needs_root!();
    let env = Env::new();
    let mut outside = Outside::lay(&env);
    let script = "cat /volume/*/secret /volume/*/victim /there/secret 2>/dev/null; cat /proc/sys/kernel/core_pattern";
    let targets = [outside.folder.clone(), "/proc/sys/kernel".into(), "../../../../../../../../..".into()];
    let core_pattern = || fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let (expected, mut swaps, mut ran) = (core_pattern(), 0, 0);
    for to in &targets {
        let volume = env.dir().join("volume");
        fs::create_dir_all(volume.join("target/there")).unwrap();
        symlink(to, volume.join("link")).unwrap();
        for name in ["victim", "there/own", "core_pattern"] {
            fs::write(volume.join("target").join(name), "").unwrap();
        }
        let bundle = env.bundle().script(script).bind(&volume, "/volume", &["bind"]).edit(|config| {
            let of = |name: &str| json!(format!("/volume/target/{name}"));
            let linux = &mut config["linux"];
            for name in ["victim", "there", "tmp"] {
                linux["maskedPaths"].as_array_mut().unwrap().push(of(name));
            }
            for name in ["core_pattern", "there/own", "etc"] {
                linux["readonlyPaths"].as_array_mut().unwrap().push(of(name));
            }
        });
        let swapping = Swapping::begin(&volume.join("target"), &volume.join("link"));
        for _ in 0..tries().div_ceil(targets.len()) {
            let outcome = env.run_bundle(&bundle, &env.id("masks")).run();
            // Masked in its own /proc it may be, if the name meant that.
            assert!(outcome.stdout.is_empty() || outcome.stdout == expected, "{outcome}");
            ran += usize::from(outcome.status.success());
            outside.look(&outcome);
            assert_eq!(core_pattern(), expected, "{outcome}");
        }
        swaps += swapping.end();
        fs::remove_dir_all(&volume).unwrap();
    }
    outside.assert_untouched("masked and read-only paths", swaps, ran);
}

/// CVE-2025-52565: two containers have the same rootfs, and no /dev of their own: one swaps the place of the other's console
/// for a symlink.
#[test]
fn a_console_whose_place_is_swapped_for_a_symlink_covers_nothing_else() {
    needs_root!();
    needs_tool!("script");
    let env = Env::new();
    let mut outside = Outside::lay(&env);
    let look = "awk '$5 ~ \"^/(proc/sys|etc)\" { print \"COVERED\", $0 }' /proc/self/mountinfo";
    let targets = [outside.victim(), "/proc/sysrq-trigger".into(), "/etc/passwd".into()];
    let (mut swaps, mut ran) = (0, 0);
    for to in &targets {
        let bundle = env.bundle().script(look).terminal().edit(|config| {
            config["mounts"].as_array_mut().unwrap().retain(not_below_dev);
            config["linux"]["readonlyPaths"] = json!([]);
        });
        let bundle = bundle.mount(json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["newinstance", "ptmxmode=0666", "mode=0620"]}));
        let dev = bundle.rootfs().join("dev");
        fs::write(dev.join("console"), "").unwrap();
        symlink(to, dev.join("link")).unwrap();
        let swapping = Swapping::begin(&dev.join("console"), &dev.join("link"));
        for _ in 0..tries().div_ceil(targets.len()) {
            let outcome = on_a_terminal(&env, &bundle, &env.id("console"));
            assert!(!outcome.stdout.contains("COVERED"), "{outcome}");
            ran += usize::from(outcome.status.success());
            outside.look(&outcome);
        }
        swaps += swapping.end();
    }
    outside.assert_untouched("console", swaps, ran);
}

fn not_below_dev(mount: &Value) -> bool {
    !mount["destination"].as_str().unwrap().starts_with("/dev")
}

fn on_a_terminal(env: &Env, bundle: &support::Bundle, id: &str) -> Outcome {
    let [binary, root, dir] = [Path::new(env.binary()), env.root(), &bundle.dir].map(Path::display);
    let run = format!("{binary} --root {root} run --bundle {dir} {id}");
    Cmd::new("script").args(["-q", "-e", "-c", &run, "/dev/null"]).run()
}
