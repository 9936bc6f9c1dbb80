//! Mount options and sources that are longer than the 255 bytes that fsconfig(2) takes.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Bundle, Env, needs_root};

fn overlay(destination: &str, options: &[String]) -> Value {
    json!({"destination": destination, "type": "overlay", "source": "overlay", "options": options})
}

/// Folders with a file of their own each, below a path of about this many bytes.
fn layers(env: &Env, name: &str, count: usize, length: usize) -> Vec<PathBuf> {
    let mut below = env.dir().join(name);
    while below.as_os_str().len() + 110 < length {
        below.push("x".repeat(100));
    }
    let layer = |number: usize| {
        let layer = below.join(format!("layer{number:04}"));
        fs::create_dir_all(&layer).unwrap();
        fs::write(layer.join(format!("file{number}")), "").unwrap();
        layer
    };
    (0..count).map(layer).collect()
}

fn lowerdir(layers: &[PathBuf]) -> String {
    let paths: Vec<&str> = layers.iter().map(|layer| layer.to_str().unwrap()).collect();
    format!("lowerdir={}", paths.join(":"))
}

fn counts(bundle: Bundle, options: &[String]) -> Bundle {
    bundle
        .mount(overlay("/merged", options))
        .script("ls /merged | wc -l; cut -d ' ' -f 5,6 /proc/self/mountinfo | grep -c merged")
}

#[test]
fn an_overlay_has_twenty_layers_with_and_without_a_place_to_write() {
    needs_root!();
    let env = Env::new();
    let options = vec![lowerdir(&layers(&env, "lower", 20, 150))];
    env.run_bundle(&counts(env.bundle(), &options), &env.id("lower")).run().success().prints("20\n1\n");

    let (upper, work) = (env.dir().join("upper"), env.dir().join("work"));
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    let writable =
        [options, vec![format!("upperdir={}", upper.display()), format!("workdir={}", work.display())]].concat();
    let bundle = env.bundle().mount(overlay("/merged", &writable)).script("echo said > /merged/new");
    env.run_bundle(&bundle, &env.id("upper")).run().success();
    assert_eq!(fs::read_to_string(upper.join("new")).unwrap(), "said\n");
}

#[test]
fn one_layer_may_have_a_longer_path_than_an_option_and_may_be_read_only() {
    needs_root!();
    let env = Env::new();
    let options = vec![lowerdir(&layers(&env, "long", 3, 400)), "ro".to_owned(), "nosuid".to_owned()];
    let script = "ls /merged | wc -l; touch /merged/x 2>/dev/null || echo read-only; \
                  grep ' /merged ' /proc/self/mountinfo | cut -d ' ' -f 6; ls -A /";
    let bundle = env.bundle().mount(overlay("/merged", &options)).script(script);
    let plain = env.run_bundle(&env.bundle().script("mkdir /merged; ls -A /"), &env.id("plain")).run().success().stdout;
    let expected = format!("3\nread-only\nro,nosuid,relatime\n{plain}");
    env.run_bundle(&bundle, &env.id("one")).run().success().prints(&expected);
}

#[test]
fn so_it_is_in_a_user_namespace_and_below_a_root_for_reading() {
    needs_root!();
    let env = Env::new();
    let options = vec![lowerdir(&layers(&env, "lower", 8, 400))];
    let bundle = counts(env.bundle(), &options).edit(|config| {
        config["root"]["readonly"] = json!(true);
        let linux = &mut config["linux"];
        linux["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        linux["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        linux["gidMappings"] = linux["uidMappings"].clone();
    });
    fs::create_dir(bundle.rootfs().join("merged")).unwrap();
    env.run_bundle(&bundle, &env.id("users")).run().success().prints("8\n1\n");
}

#[test]
fn a_source_is_as_long_as_a_path_and_what_is_longer_is_told_with_the_limit() {
    needs_root!();
    let env = Env::new();
    let tmpfs = |source: usize| {
        let source = "s".repeat(source);
        json!({"destination": "/made", "type": "tmpfs", "source": source, "options": ["size=1m", "mode=700"]})
    };
    for length in [255, 256, 2000] {
        let bundle = env
            .bundle()
            .mount(tmpfs(length))
            .script("grep ' /made ' /proc/mounts | cut -d ' ' -f 1 | wc -c; stat -c %a /made");
        let expected = format!("{}\n700\n", length + 1);
        env.run_bundle(&bundle, &env.id("source")).run().success().prints(&expected);
    }
    let bundle = env.bundle().mount(tmpfs(5000));
    env.run_bundle(&bundle, &env.id("far")).run().fails_with(1, &["/made", "5000 bytes", "at most 4095"]);
    let long = vec![lowerdir(&layers(&env, "long", 12, 500))];
    let bundle = counts(env.bundle(), &long);
    env.run_bundle(&bundle, &env.id("page")).run().fails_with(1, &["/merged", "bytes long", "at most 255", "4095"]);
}

#[test]
fn more_layers_than_a_page_holds_are_given_one_by_one() {
    needs_root!();
    if !takes_layers_one_by_one() {
        support::skipped!("this kernel takes the layers of an overlay in one option only");
    }
    let env = Env::new();
    let options = vec![lowerdir(&layers(&env, "many", 100, 150))];
    env.run_bundle(&counts(env.bundle(), &options), &env.id("many")).run().success().prints("100\n1\n");
}

/// Since Linux 6.7.
fn takes_layers_one_by_one() -> bool {
    let release = fs::read_to_string(Path::new("/proc/sys/kernel/osrelease")).unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.trim().parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(7))
}
