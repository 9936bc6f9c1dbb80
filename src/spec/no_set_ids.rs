//! A profile under which nobody makes a set-user-ID or set-group-ID file: for a command that nobody trusts, and that may
//! write where the host looks. Its files bear the caller's name there, so that such a one would lend it to everybody.

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};

/// S_ISUID and S_ISGID.
const SET_IDS: u64 = 0o6000;
/// With neither of these open(2) has no mode: whatever is in its register means nothing.
const MAKES: u64 = (libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u64;

/// Calls that give a file its mode, and which argument that is.
const MODES: [(&str, usize); 7] =
    [("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("fchmodat2", 2), ("creat", 1), ("mknod", 1), ("mknodat", 2)];
/// The same of calls that make a file only if their flags say so: which are the flags, which the mode.
const OPENS: [(&str, usize, usize); 2] = [("open", 1, 2), ("openat", 2, 3)];
/// Has its mode in memory, where no filter looks. C libraries do without it.
const UNSEEN: &str = "openat2";

/// Of a profile that allows by name.
pub fn no_set_ids(profile: &mut LinuxSeccomp) {
    let mut rules = profile.syscalls().clone().unwrap_or_default();
    let changed = |name: &String| {
        let modes = MODES.iter().map(|(of, _)| *of).chain(OPENS.iter().map(|(of, ..)| *of));
        modes.chain([UNSEEN]).any(|of| name == of)
    };
    for rule in &mut rules {
        rule.set_names(rule.names().iter().filter(|name| !changed(name)).cloned().collect());
    }
    rules.retain(|rule| !rule.names().is_empty());
    rules.extend(MODES.iter().map(|(name, mode)| allow(name, *mode, SET_IDS)));
    for (name, flags, mode) in OPENS {
        rules.extend([allow(name, flags, MAKES), allow(name, mode, SET_IDS)]);
    }
    let mut unseen = rule(UNSEEN, Action::ScmpActErrno);
    unseen.set_errno_ret(Some(libc::ENOSYS as u32));
    rules.push(unseen);
    profile.set_syscalls(Some(rules));
}

/// Allowed where the argument has none of these bits.
fn allow(name: &str, index: usize, bits: u64) -> LinuxSyscall {
    let mut allowed = rule(name, Action::ScmpActAllow);
    allowed.set_args(Some(vec![without(index, bits)]));
    allowed
}

fn without(index: usize, bits: u64) -> LinuxSeccompArg {
    let condition = LinuxSeccompArgBuilder::default().index(index).op(Operator::ScmpCmpMaskedEq).value(bits);
    condition.value_two(0_u64).build().expect("every part of a condition has a default")
}

fn rule(name: &str, action: Action) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(vec![name.to_owned()]);
    rule.set_action(action);
    rule
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Abis, default_seccomp};

    #[test]
    fn whatever_gives_a_mode_is_allowed_on_a_condition_only() {
        let mut profile = default_seccomp(&[], Abis::Native);
        no_set_ids(&mut profile);
        let rules = profile.syscalls().clone().unwrap();
        let of =
            |name: &str| rules.iter().filter(|rule| rule.names().iter().any(|has| has == name)).collect::<Vec<_>>();
        for name in MODES.iter().map(|(name, _)| *name).chain(["open", "openat"]) {
            assert!(!of(name).is_empty() && of(name).iter().all(|rule| rule.args().is_some()), "{name}");
        }
        assert!(of("openat2").iter().all(|rule| rule.action() == Action::ScmpActErrno));
        assert_eq!(of("read").len(), 1);
    }
}
