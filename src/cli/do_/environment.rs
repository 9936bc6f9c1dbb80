//! What the command finds in its environment: what a program needs to talk to its user, and what was asked for.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::Failure;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Taken from the caller as they are.
const HARMLESS: [&str; 6] = ["COLORTERM", "LANG", "LANGUAGE", "NO_COLOR", "TERM", "TZ"];

pub(super) fn of(asked: &[String], keep: bool, home: &str) -> Result<Vec<String>, Failure> {
    collect(std::env::vars_os().collect(), asked, keep, home)
}

fn collect(
    callers: Vec<(OsString, OsString)>,
    asked: &[String],
    keep: bool,
    home: &str,
) -> Result<Vec<String>, Failure> {
    let mut found = BTreeMap::from([("PATH".to_owned(), PATH.to_owned()), ("HOME".to_owned(), home.to_owned())]);
    for (name, value) in &callers {
        match (name.to_str(), value.to_str()) {
            (Some(name), Some(value)) if keep || is_harmless(name) => {
                found.insert(name.to_owned(), value.to_owned());
            }
            (Some(name), None) if keep => return Err(no_text(name)),
            (None, _) if keep => return Err(no_text(&name.to_string_lossy())),
            _ => {}
        }
    }
    for text in asked {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => match callers.iter().find(|(name, _)| *name == **text) {
                Some((_, value)) => (text.as_str(), value.to_str().ok_or_else(|| no_text(text))?.to_owned()),
                // As with a shell's export, a variable that is not there stays so.
                None => continue,
            },
        };
        if name.is_empty() {
            return Err(Failure::new(format!("--env {text:?}: give NAME or NAME=VALUE")));
        }
        found.insert(name.to_owned(), value);
    }
    Ok(found.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
}

fn is_harmless(name: &str) -> bool {
    HARMLESS.contains(&name) || name.starts_with("LC_")
}

fn no_text(name: &str) -> Failure {
    Failure::new(format!("the variable {name:?} is not UTF-8, which a configuration cannot hold: unset it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn callers() -> Vec<(OsString, OsString)> {
        let pairs = [("SECRET", "s"), ("TERM", "xterm"), ("HOME", "/home/u"), ("PATH", "/odd"), ("LC_ALL", "C")];
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn of(asked: &[&str], keep: bool) -> Vec<String> {
        let asked: Vec<String> = asked.iter().map(|text| (*text).to_owned()).collect();
        collect(callers(), &asked, keep, "/tmp").ok().unwrap()
    }

    #[test]
    fn nothing_of_the_callers_but_what_is_harmless_or_asked_for() {
        let path = format!("PATH={PATH}");
        assert_eq!(of(&[], false), ["HOME=/tmp", "LC_ALL=C", &path, "TERM=xterm"]);
        assert_eq!(of(&["SECRET", "A=b=c", "GONE", "TERM="], false)[..2], ["A=b=c", "HOME=/tmp"]);
        assert!(of(&["SECRET"], false).contains(&"SECRET=s".to_owned()));
        assert!(of(&["GONE"], false).iter().all(|text| !text.starts_with("GONE")));
        assert!(of(&[], true).contains(&"PATH=/odd".to_owned()));
    }

    #[test]
    fn what_is_not_text_is_only_an_error_where_it_is_wanted() {
        let odd = || OsString::from_vec(vec![b'a', 0xff]);
        let mut callers = callers();
        callers.extend([(odd(), "1".into()), ("ODD".into(), odd())]);
        let of = |asked: &[&str], keep| {
            collect(callers.clone(), &asked.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), keep, "/")
        };
        assert!(of(&[], false).is_ok());
        assert!(of(&["ODD"], false).err().unwrap().text.contains("ODD"));
        assert!(of(&[], true).err().unwrap().text.contains("UTF-8"));
        assert!(of(&["=x"], false).is_err());
    }
}
