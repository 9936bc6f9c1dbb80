//! What the command finds in its environment: what a program needs to talk to its user, and what was asked for.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::Failure;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Taken from the caller as they are.
const HARMLESS: [&str; 6] = ["COLORTERM", "LANG", "LANGUAGE", "NO_COLOR", "TERM", "TZ"];

pub(super) fn of(asked: &[OsString], keep: bool, home: &OsStr) -> Result<Vec<OsString>, Failure> {
    collect(std::env::vars_os().collect(), asked, keep, home)
}

fn collect(
    callers: Vec<(OsString, OsString)>,
    asked: &[OsString],
    keep: bool,
    home: &OsStr,
) -> Result<Vec<OsString>, Failure> {
    let mut found: BTreeMap<OsString, OsString> =
        [("PATH".into(), PATH.into()), ("HOME".into(), home.into())].into_iter().collect();
    found.extend(callers.iter().filter(|(name, _)| keep || is_harmless(name)).cloned());
    for given in asked {
        let bytes = given.as_bytes();
        let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
            Some(at) => (&bytes[..at], OsStr::from_bytes(&bytes[at + 1..])),
            None => match callers.iter().find(|(name, _)| name == given) {
                Some((_, value)) => (bytes, value.as_os_str()),
                // As with a shell's export, a variable that is not there stays so.
                None => continue,
            },
        };
        if name.is_empty() {
            return Err(Failure::new(format!("--env {given:?}: give NAME or NAME=VALUE")));
        }
        found.insert(OsStr::from_bytes(name).to_owned(), value.to_owned());
    }
    let entry = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        name
    };
    Ok(found.into_iter().map(entry).collect())
}

fn is_harmless(name: &OsStr) -> bool {
    HARMLESS.iter().any(|harmless| name == *harmless) || name.as_bytes().starts_with(b"LC_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn callers() -> Vec<(OsString, OsString)> {
        let pairs = [("SECRET", "s"), ("TERM", "xterm"), ("HOME", "/home/u"), ("PATH", "/odd"), ("LC_ALL", "C")];
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn of(asked: &[&str], keep: bool) -> Vec<OsString> {
        let asked: Vec<OsString> = asked.iter().map(OsString::from).collect();
        collect(callers(), &asked, keep, "/tmp".as_ref()).ok().unwrap()
    }

    #[test]
    fn nothing_of_the_callers_but_what_is_harmless_or_asked_for() {
        let path = format!("PATH={PATH}");
        assert_eq!(of(&[], false), ["HOME=/tmp", "LC_ALL=C", &path, "TERM=xterm"]);
        assert_eq!(of(&["SECRET", "A=b=c", "GONE", "TERM="], false)[..2], ["A=b=c", "HOME=/tmp"]);
        assert!(of(&["SECRET"], false).contains(&"SECRET=s".into()));
        assert!(of(&["GONE"], false).iter().all(|text| !text.to_string_lossy().starts_with("GONE")));
        assert!(of(&[], true).contains(&"PATH=/odd".into()));
    }

    #[test]
    fn what_is_not_text_goes_through_where_it_is_wanted() {
        let odd = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let mut callers = callers();
        callers.extend([(odd(b"a\xff"), "1".into()), ("ODD".into(), odd(b"\xfe"))]);
        let of = |asked: &[OsString], keep| collect(callers.clone(), asked, keep, "/".as_ref()).ok().unwrap();
        assert_eq!(of(&[], false).len(), 4);
        assert!(of(&["ODD".into()], false).contains(&odd(b"ODD=\xfe")));
        let all = of(&[odd(b"\xfc=\xfd")], true);
        for entry in [&b"a\xff=1"[..], b"ODD=\xfe", b"\xfc=\xfd"] {
            assert!(all.contains(&odd(entry)), "{}", entry.escape_ascii());
        }
        assert!(collect(callers.clone(), &["=x".into()], false, "/".as_ref()).is_err());
    }
}
