//! Images with links that lead to nothing, and folders where files are bound.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use support::engines::image::NAME as IMAGE;
use support::engines::{Engine, Podman, is_sandkeep, needs_engine};

/// What the images of distributions have, and their containers lack: (link, where it leads).
const LINKS: [(&str, &str); 6] = [
    ("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
    ("etc/localtime", "/usr/share/zoneinfo/Europe/Berlin"),
    ("var/run", "/run/of/the/image"),
    ("var/lock", "../run/lock"),
    ("opt/chain", "first"),
    ("opt/first", "/srv/second"),
];

/// An image with those links, and nothing that they lead to. Its second step runs on it as it is.
fn linked_image(podman: &Podman) -> String {
    let name = format!("localhost/linked-{}", podman.tag().to_lowercase());
    let context = podman.dir().join("linked");
    for folder in ["root/etc", "root/var", "root/opt"] {
        fs::create_dir_all(context.join(folder)).unwrap();
    }
    for (link, target) in LINKS {
        symlink(target, context.join("root").join(link)).unwrap();
    }
    let steps = format!("FROM {IMAGE}\nCOPY root/ /\nRUN readlink /etc/resolv.conf > /etc/step\n");
    fs::write(context.join("Containerfile"), steps).unwrap();
    let build = podman.cmd(["build", "--quiet", "--network", "none", "--tag", &name, "--cgroup-parent"]);
    // A step runs in that very cgroup, which has to be empty.
    build.arg(format!("{}/linked", podman.cgroup())).arg(&context).deadline(Duration::from_secs(120)).run().code(0);
    name
}

#[test]
fn volumes_and_tmpfs_on_dangling_links_of_an_image_are_where_those_lead() {
    needs_engine!("podman", "conmon");
    let podman = Podman::shared();
    let image = linked_image(&podman);
    let host = podman.dir().join("linked-volume");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("file"), "of the host\n").unwrap();
    let run = |flags: &[&str], script: &str| {
        podman.run(["--rm"]).args(flags).args([image.as_str(), "sh", "-c", script]).run()
    };
    let volume = |source: &str, destination: &str| format!("{}{source}:{destination}", host.display());
    run(&[], "cat /etc/step; test -e /run/systemd || echo none").success().prints(&format!("{}\nnone\n", LINKS[0].1));
    for (destination, end) in
        [("/etc/localtime", LINKS[1].1), ("/etc/resolv.conf", "/run/systemd/resolve/stub-resolv.conf")]
    {
        let file = volume("/file", destination);
        let outcome = run(&["--volume", &file], &format!("cat {destination} {end}"));
        outcome.success().prints("of the host\nof the host\n");
    }
    for (destination, end) in
        [("/var/run", "/run/of/the/image"), ("/var/lock/deep", "/run/lock/deep"), ("/opt/chain", "/srv/second")]
    {
        let script = format!("cat {destination}/file {end}/file");
        run(&["--volume", &volume("", destination)], &script).success().prints("of the host\nof the host\n");
        let script = format!("touch {destination}/new && ls {end}; grep -c ' {end} tmpfs ' /proc/mounts");
        run(&["--tmpfs", destination], &script).success().prints("new\n1\n");
        let file = volume("/file", &format!("{destination}/bound"));
        run(&["--volume", &file], &format!("cat {end}/bound")).success().prints("of the host\n");
    }
    let device =
        run(&["--device", "/dev/null:/opt/chain/null"], "echo x > /srv/second/null && test -c /opt/chain/null");
    device.success();
    let flags = ["--volume", &volume("", "/var/lock/deep"), "--workdir", "/var/lock/deep"];
    run(&flags, "pwd -P").success().prints("/run/lock/deep\n");
}

#[test]
fn a_folder_for_a_file_and_the_reverse_are_told_in_words() {
    needs_engine!("podman", "conmon");
    if !is_sandkeep() {
        return;
    }
    let podman = Podman::shared();
    let run = |mount: &str| podman.run(["--rm", "--volume", mount, IMAGE, "true"]).run();
    let host = podman.dir().display().to_string();
    let refused = run(&format!("{host}:/etc/built")).code(126);
    assert!(refused.stderr.contains("the container has a file there"), "{refused}");
    let refused = run("/etc/hostname:/etc").code(126);
    assert!(refused.stderr.contains("the container has a folder there"), "{refused}");
}
