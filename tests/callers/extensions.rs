//! Annotations and options that engines and users know from crun.

use support::Cmd;
use support::engines::image::NAME as IMAGE;
use support::engines::{Engine, Podman, is_sandkeep, needs_engine};

/// A podman command, called by somebody in these groups.
fn in_groups(cmd: Cmd, groups: &str) -> Cmd {
    cmd.behind("setpriv", &["--groups", groups])
}

const GROUPS: &str = "grep Groups: /proc/self/status";

#[test]
fn keep_groups_of_podman_keeps_the_groups_of_its_caller() {
    needs_engine!("podman", "conmon", "setpriv");
    let podman = Podman::shared();
    let run = |more: &[&str]| {
        let cmd = podman.run(["--rm", "--network", "none"]).args(more).args([IMAGE, "sh", "-c", GROUPS]);
        in_groups(cmd, "70123,70124").run().success().stdout
    };
    let kept = run(&["--group-add", "keep-groups"]);
    assert!(kept.contains("70123 70124"), "{kept}");
    assert!(!run(&[]).contains("70123"));
}

#[test]
fn what_podman_hands_on_and_we_cannot_do_is_told() {
    needs_engine!("podman", "conmon");
    if !is_sandkeep() {
        support::skipped!("another runtime can do other things");
    }
    let podman = Podman::shared();
    let wasm = podman.run(["--rm", "--network", "none", "--annotation", "run.oci.handler=wasm", IMAGE, "true"]);
    wasm.run().fails_with(126, &["run.oci.handler"]);
    // What it says of itself, and what an image says, is no request.
    let said = ["--annotation", "module.wasm.image/variant=compat", "--annotation", "io.kubernetes.cri-o.x=y"];
    podman.run(["--rm", "--network", "none"]).args(said).args([IMAGE, "true"]).run().success();
}

/// The settings that docs/engines.md tells to write, for this binary.
fn settings_of_the_page() -> String {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/engines.md");
    let text = std::fs::read_to_string(page).unwrap();
    let (_, rest) = text.split_once("<<'END'\n").expect("a file to write");
    let (block, _) = rest.split_once("    END\n").expect("its end");
    let lines: Vec<&str> = block.lines().map(str::trim_start).collect();
    lines.join("\n").replace("/usr/local/bin/sandkeep", &support::command::binary().to_string_lossy()) + "\n"
}

/// Without them podman itself refuses, and asks no runtime.
#[test]
fn without_cgroups_podman_runs_as_the_page_says() {
    needs_engine!("podman", "conmon");
    if !is_sandkeep() {
        support::skipped!("the page is about sandkeep");
    }
    let podman = Podman::shared();
    let base = "[containers]\nnetns = \"none\"\n\
                default_ulimits = [\"nofile=1024:4096\", \"nproc=4096:4096\"]\n";
    let (bare, page) = (podman.dir().join("bare.conf"), podman.dir().join("page.conf"));
    std::fs::write(&bare, base).unwrap();
    std::fs::write(&page, base.to_owned() + &settings_of_the_page()).unwrap();
    let args = ["run", "--rm", "--cgroups", "disabled", IMAGE, "echo", "ran"];
    let with = |conf: &std::path::Path, runtime: &[&str]| {
        podman.cmd(runtime.iter().chain(&args)).env("CONTAINERS_CONF", conf).run()
    };
    let refused = with(&bare, &[]).code(125);
    assert!(refused.stderr.contains("is not compatible with NoCgroups"), "{refused}");
    with(&page, &[]).success().prints("ran\n");
    with(&page, &["--runtime", "sandkeep"]).success().prints("ran\n");
    let link = podman.dir().join("crun");
    std::os::unix::fs::symlink(support::command::binary(), &link).unwrap();
    with(&bare, &["--runtime", link.to_str().unwrap()]).success().prints("ran\n");
}
