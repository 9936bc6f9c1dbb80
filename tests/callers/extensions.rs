//! Annotations and options that engines and users know from crun.

use super::engines::image::NAME as IMAGE;
use super::engines::{is_sandkeep, needs_engine};
use super::{common, podman};
use common::Cmd;

/// A podman command, called by somebody in these groups.
fn in_groups(cmd: Cmd, groups: &str) -> Cmd {
    cmd.behind("setpriv", &["--groups", groups])
}

const GROUPS: &str = "grep Groups: /proc/self/status";

#[test]
fn keep_groups_of_podman_keeps_the_groups_of_its_caller() {
    needs_engine!("podman", "conmon", "setpriv");
    let podman = podman();
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
        common::skipped!("another runtime can do other things");
    }
    let podman = podman();
    let wasm = podman.run(["--rm", "--network", "none", "--annotation", "run.oci.handler=wasm", IMAGE, "true"]);
    wasm.run().fails_with(126, &["run.oci.handler"]);
    // What it says of itself, and what an image says, is no request.
    let said = ["--annotation", "module.wasm.image/variant=compat", "--annotation", "io.kubernetes.cri-o.x=y"];
    podman.run(["--rm", "--network", "none"]).args(said).args([IMAGE, "true"]).run().success();
}
