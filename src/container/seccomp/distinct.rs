//! The rules of a profile without those that say again what one before them has said. Profiles are put together by programs
//! that repeat themselves, and libseccomp copies all that it has for every rule that it is given.

use std::collections::{HashMap, HashSet};

use oci_spec::runtime::{LinuxSeccomp, LinuxSyscall};

/// Every name stays where it is first given with an action and conditions; under an unconditional rule of the same action
/// nothing more needs to be said.
pub(super) fn rules(profile: &LinuxSeccomp) -> LinuxSeccomp {
    let mut profile = profile.clone();
    let rules = profile.syscalls().clone().map(|rules| distinct(&rules));
    profile.set_syscalls(rules);
    profile
}

fn distinct(rules: &[LinuxSyscall]) -> Vec<LinuxSyscall> {
    // What a rule does, told apart by number: names are compared once each.
    let mut answers = HashMap::new();
    let mut said: HashSet<(usize, &str)> = HashSet::new();
    let mut kept = Vec::new();
    for rule in rules {
        let mut number_of = |conditions| {
            let next = answers.len();
            *answers.entry((format!("{:?}", rule.action()), rule.errno_ret(), conditions)).or_insert(next)
        };
        let conditions = rule.args().as_deref().unwrap_or_default();
        let always = number_of(String::new());
        let here = if conditions.is_empty() { always } else { number_of(format!("{conditions:?}")) };
        let names = rule.names().iter().map(String::as_str);
        let new = names.filter(|name| !said.contains(&(always, *name)) && said.insert((here, *name)));
        let names: Vec<String> = new.map(str::to_owned).collect();
        if !names.is_empty() {
            let mut rule = rule.clone();
            rule.set_names(names);
            kept.push(rule);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    fn kept(rules: serde_json::Value) -> Vec<(Vec<String>, bool)> {
        let profile = serde_json::from_value(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules})).unwrap();
        let kept = super::rules(&profile).syscalls().clone().unwrap();
        kept.into_iter().map(|rule| (rule.names().clone(), rule.args().is_some())).collect()
    }

    #[test]
    fn what_was_said_is_not_said_again_and_everything_else_is() {
        let when = |value| json!([{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]);
        let rule = |names: &[&str], action: &str| json!({"names": names, "action": action});
        let conditional =
            |names: &[&str], value| json!({"names": names, "action": "SCMP_ACT_ALLOW", "args": when(value)});
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let found = kept(json!([
            conditional(&["read"], 1),
            conditional(&["read", "write"], 1),
            conditional(&["read"], 2),
            rule(&["read", "read", "open"], "SCMP_ACT_ALLOW"),
            conditional(&["open"], 3),
            rule(&["open"], "SCMP_ACT_LOG"),
        ]));
        let expected = [
            (names(&["read"]), true),
            (names(&["write"]), true),
            (names(&["read"]), true),
            (names(&["read", "open"]), false),
            (names(&["open"]), false),
        ];
        assert_eq!(found, expected);
    }
}
