//! Who we are in here: what the runtime promised to make of us.

use std::fs;

use crate::report::line;

pub fn walk() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (name, value) in status.lines().filter_map(|text| text.split_once(':')) {
        let wanted =
            ["Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"];
        if wanted.contains(&name) {
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            line("fact", name, "is", &value, None);
        }
    }
    const PR_GET_SECUREBITS: usize = 27;
    let bits = crate::kernel::call(crate::kernel::nr::PRCTL, &[PR_GET_SECUREBITS]).unwrap_or_default();
    line("fact", "securebits", "is", &bits.to_string(), None);
    for (name, value) in std::env::vars_os() {
        line("environment", &name.to_string_lossy(), "is", &value.to_string_lossy(), None);
    }
    for name in fs::read_dir("/proc/self/ns").into_iter().flatten().flatten() {
        let target = fs::read_link(name.path()).unwrap_or_default();
        line("fact", &name.file_name().to_string_lossy(), "is", &target.to_string_lossy(), None);
    }
}
