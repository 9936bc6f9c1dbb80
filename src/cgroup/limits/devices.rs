//! Which devices a container may use: rules, as v1 takes them. The last one that matches decides.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::setting::bad;
use crate::cgroup::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    Deny,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Block,
    Character,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

impl Access {
    const ALL: Access = Access { read: true, write: true, mknod: true };
    const MKNOD: Access = Access { read: false, write: false, mknod: true };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub verdict: Verdict,
    pub kind: Kind,
    /// None: every number.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: Access,
}

/// What every container may use: null, zero, full, random, urandom, tty, console, ptmx, pts; and make any node.
const USUAL: [(Option<u32>, Option<u32>); 9] = [
    (Some(1), Some(3)),
    (Some(1), Some(5)),
    (Some(1), Some(7)),
    (Some(1), Some(8)),
    (Some(1), Some(9)),
    (Some(5), Some(0)),
    (Some(5), Some(1)),
    (Some(5), Some(2)),
    (Some(136), None),
];

impl Rule {
    /// Nothing, then what the spec says, then the usual ones.
    pub(super) fn list(rules: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>> {
        let all = Rule { verdict: Verdict::Deny, kind: Kind::Any, major: None, minor: None, access: Access::ALL };
        let mut list = vec![all];
        for rule in rules {
            list.push(Rule::of(rule)?);
        }
        let allow = |kind, (major, minor), access| Rule { verdict: Verdict::Allow, kind, major, minor, access };
        list.extend([Kind::Character, Kind::Block].map(|kind| allow(kind, (None, None), Access::MKNOD)));
        list.extend(USUAL.map(|numbers| allow(Kind::Character, numbers, Access::ALL)));
        Ok(list)
    }

    fn of(rule: &LinuxDeviceCgroup) -> Result<Rule> {
        let kind = match rule.typ() {
            None | Some(LinuxDeviceType::A) => Kind::Any,
            Some(LinuxDeviceType::B) => Kind::Block,
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Kind::Character,
            Some(LinuxDeviceType::P) => return bad("devices.type", "p", "a fifo is no device"),
        };
        let access = rule.access().as_deref().unwrap_or_default();
        if let Some(unknown) = access.chars().find(|c| !"rwma".contains(*c)) {
            return bad("devices.access", unknown, "give some of r, w and m");
        }
        let has = |letter| access.is_empty() || access.contains(letter);
        Ok(Rule {
            verdict: if rule.allow() { Verdict::Allow } else { Verdict::Deny },
            kind,
            major: number("devices.major", rule.major())?,
            minor: number("devices.minor", rule.minor())?,
            access: Access { read: has('r'), write: has('w'), mknod: has('m') },
        })
    }

    /// As devices.allow and devices.deny take it. To v1 an `a` means everything, whatever follows it; a rule about some
    /// access to any device is therefore two.
    fn lines(&self) -> Vec<String> {
        if *self == (Rule { major: None, minor: None, kind: Kind::Any, access: Access::ALL, ..*self }) {
            return vec!["a".to_owned()];
        }
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let access: String = [(self.access.read, 'r'), (self.access.write, 'w'), (self.access.mknod, 'm')]
            .iter()
            .filter_map(|(has, letter)| has.then_some(letter))
            .collect();
        let line = |kind| format!("{kind} {}:{} {access}", number(self.major), number(self.minor));
        match self.kind {
            Kind::Any => vec![line('b'), line('c')],
            Kind::Block => vec![line('b')],
            Kind::Character => vec![line('c')],
        }
    }
}

/// -1 is "every number", as in other runtimes.
fn number(field: &str, number: Option<i64>) -> Result<Option<u32>> {
    match number {
        None | Some(..=-1) => Ok(None),
        Some(number) => match u32::try_from(number) {
            Ok(number) if number < 1 << 31 => Ok(Some(number)),
            _ => bad(field, number, "there is no such device number"),
        },
    }
}

/// Each file is opened once, a write a rule.
pub(super) fn write(folder: &Path, rules: &[Rule]) -> Result<()> {
    let open = |file| {
        let path = folder.join(file);
        let opened = OpenOptions::new().write(true).open(&path);
        opened.map_err(|source| limit_error(path, String::new(), source))
    };
    let (mut allow, mut deny) = (open("devices.allow")?, open("devices.deny")?);
    for rule in rules {
        let (file, name) = match rule.verdict {
            Verdict::Allow => (&mut allow, "devices.allow"),
            Verdict::Deny => (&mut deny, "devices.deny"),
        };
        for line in rule.lines() {
            file.write_all(line.as_bytes()).map_err(|source| limit_error(folder.join(name), line, source))?;
        }
    }
    Ok(())
}

fn limit_error(file: std::path::PathBuf, value: String, source: io::Error) -> Error {
    Error::Limit { field: "devices".to_owned(), value, file, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(json: &str) -> Result<Vec<String>> {
        let rule: LinuxDeviceCgroup = serde_json::from_str(json).unwrap();
        Ok(Rule::of(&rule)?.lines())
    }

    #[test]
    fn everything_is_denied_first_and_the_usual_devices_come_last() {
        let list = Rule::list(&[]).unwrap();
        assert_eq!(list[0].lines(), ["a"]);
        assert_eq!(list[0].verdict, Verdict::Deny);
        assert_eq!(list[1].lines(), ["c *:* m"]);
        assert_eq!(list.last().unwrap().lines(), ["c 136:* rwm"]);
        assert!(list[1..].iter().all(|rule| rule.verdict == Verdict::Allow));
    }

    #[test]
    fn numbers_access_and_types_are_written_as_v1_wants_them() {
        assert_eq!(lines(r#"{"allow": true}"#).unwrap(), ["a"]);
        assert_eq!(lines(r#"{"allow": true, "access": "r"}"#).unwrap(), ["b *:* r", "c *:* r"]);
        assert_eq!(lines(r#"{"allow": true, "type": "c", "major": 10, "minor": -1}"#).unwrap(), ["c 10:* rwm"]);
        assert_eq!(
            lines(r#"{"allow": false, "type": "b", "major": 8, "minor": 0, "access": "w"}"#).unwrap(),
            ["b 8:0 w"]
        );
        assert!(lines(r#"{"allow": true, "type": "c", "access": "x"}"#).is_err());
        assert!(lines(r#"{"allow": true, "type": "p"}"#).is_err());
        assert!(lines(r#"{"allow": true, "type": "c", "major": 99999999999}"#).is_err());
    }
}
