//! Whatever stands in a config.json: it becomes a plan or an error of one line, never a panic.
#![no_main]

use std::fmt::Display;
use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sandkeep::spec::{self, Host};
use tempfile::TempDir;

/// A bundle whose rootfs exists, so that what comes after that check is reached.
static BUNDLE: LazyLock<TempDir> = LazyLock::new(|| {
    let bundle = tempfile::tempdir().expect("a folder for the bundle");
    fs::create_dir(bundle.path().join("rootfs")).expect("a rootfs");
    bundle
});

fuzz_target!(|data: &[u8]| {
    match spec::parse(data) {
        Ok((config, _warnings)) => {
            for rootless in [false, true] {
                let host = Host { rootless, last_capability: 40 };
                match spec::plan(&spec::Inputs::of(&config, BUNDLE.path(), &host)) {
                    Ok((plan, _warnings)) => {
                        assert!(plan.process.is_none_or(|process| !process.args.is_empty()), "args are never empty")
                    }
                    Err(error) => one_line(&error),
                }
            }
        }
        Err(error) => one_line(&error),
    }
    if let Err(error) = spec::parse_process(data) {
        one_line(&error);
    }
});

/// Callers get one line on stderr and one JSON object in the log.
fn one_line(error: &dyn Display) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
}
