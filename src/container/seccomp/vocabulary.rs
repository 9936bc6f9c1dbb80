//! What a profile may say here, for `features`: of the specification's words those that the libseccomp linked into us
//! takes, and of the flags those that this kernel knows.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use libseccomp::{ScmpAction, ScmpFilterContext};
use oci_spec::runtime::{
    Arch, LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag, LinuxSeccompOperator as Operator,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::meaning::{architecture, flags_of};
use crate::sys::seccomp::{FLAG_NEW_LISTENER, is_known};

const ACTIONS: [Action; 9] = [
    Action::ScmpActAllow,
    Action::ScmpActErrno,
    Action::ScmpActKill,
    Action::ScmpActKillProcess,
    Action::ScmpActKillThread,
    Action::ScmpActLog,
    Action::ScmpActNotify,
    Action::ScmpActTrace,
    Action::ScmpActTrap,
];

const OPERATORS: [Operator; 7] = [
    Operator::ScmpCmpEq,
    Operator::ScmpCmpGe,
    Operator::ScmpCmpGt,
    Operator::ScmpCmpLe,
    Operator::ScmpCmpLt,
    Operator::ScmpCmpMaskedEq,
    Operator::ScmpCmpNe,
];

const ARCHS: [Arch; 23] = [
    Arch::ScmpArchAarch64,
    Arch::ScmpArchArm,
    Arch::ScmpArchLoongarch64,
    Arch::ScmpArchM68k,
    Arch::ScmpArchMips,
    Arch::ScmpArchMips64,
    Arch::ScmpArchMips64n32,
    Arch::ScmpArchMipsel,
    Arch::ScmpArchMipsel64,
    Arch::ScmpArchMipsel64n32,
    Arch::ScmpArchParisc,
    Arch::ScmpArchParisc64,
    Arch::ScmpArchPpc,
    Arch::ScmpArchPpc64,
    Arch::ScmpArchPpc64le,
    Arch::ScmpArchRiscv64,
    Arch::ScmpArchS390,
    Arch::ScmpArchS390x,
    Arch::ScmpArchSh,
    Arch::ScmpArchSheb,
    Arch::ScmpArchX32,
    Arch::ScmpArchX86,
    Arch::ScmpArchX86_64,
];

const FLAGS: [Flag; 4] = [
    Flag::SeccompFilterFlagLog,
    Flag::SeccompFilterFlagSpecAllow,
    Flag::SeccompFilterFlagTsync,
    Flag::SeccompFilterFlagWaitKillableRecv,
];

/// `linux.seccomp` of the features document.
pub fn features() -> Value {
    let takes = |arch: &&Arch| {
        let Ok(mut filter) = ScmpFilterContext::new(ScmpAction::Allow) else { return false };
        filter.add_arch(architecture(**arch)).is_ok()
    };
    // One of them is only taken beside a listener.
    let known = |flag: &&Flag| {
        let bits = flags_of(**flag, true);
        is_known(bits) || is_known(bits | FLAG_NEW_LISTENER)
    };
    json!({
        "enabled": true,
        "actions": words(&ACTIONS),
        "operators": words(&OPERATORS),
        "archs": words(&ARCHS.iter().filter(takes).collect::<Vec<_>>()),
        "knownFlags": words(&FLAGS),
        "supportedFlags": words(&FLAGS.iter().filter(known).collect::<Vec<_>>()),
    })
}

/// As a configuration spells them, in alphabetical order.
fn words(all: &[impl Serialize]) -> Vec<Value> {
    let mut words: Vec<Value> = all.iter().filter_map(|word| serde_json::to_value(word).ok()).collect();
    words.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
    words
}
