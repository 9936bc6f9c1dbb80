//! NOTIFY_SOCKET: a service that says when it is ready.

use std::time::Duration;

use support::engines::image::NAME as IMAGE;
use support::engines::{Engine, Podman, needs_engine};
use support::{Manager, probe};

/// podman and conmon bring a socket of their own, by the configuration: it is heard, and ours does not cover it.
#[test]
fn a_podman_run_with_sdnotify_container_is_ready_when_the_service_says_so() {
    needs_engine!("podman", "conmon");
    let podman = Podman::shared();
    let probe = format!("{}:/probe:ro", probe::path().display());
    let manager = Manager::at(&podman.dir().join("manager.sock"));
    for (name, detached) in [("notify-front", None), ("notify-back", Some("--detach"))] {
        let name = format!("{name}-{}", podman.tag());
        let words = ["/probe", "notify", "where", "say:STATUS=soon", "say:READY=1", "wait:/never"];
        let run = podman.run(["--rm", "--sdnotify", "container", "--name", &name, "--volume", &probe]);
        let run = run.args(detached).arg(IMAGE).args(words).env("NOTIFY_SOCKET", manager.address());
        let run = run.spawn();
        // conmon is the one that podman wants watched; which of the two is told first is not said.
        let mut heard = [manager.hears(), manager.hears()];
        heard.sort();
        assert!(heard[0].starts_with("MAINPID=") && heard[1] == "READY=1", "{heard:?}");
        if detached.is_some() {
            run.finish(Duration::from_secs(60)).code(0);
            podman.remove(&name);
        } else {
            podman.remove(&name);
            run.finish(Duration::from_secs(60)).code(137);
        }
    }
}
