//! `kill`: a signal for the application, or with --all for every process of its cgroup.

use clap::Args;

use super::context::Context;
use super::failure::{Answer, Done, Failure};
use crate::host::signal;

#[derive(Args)]
pub struct Arguments {
    /// Every process of the container
    #[arg(short, long)]
    all: bool,
    /// Not supported
    #[arg(short, long, hide = true)]
    regex: bool,
    /// The id of the sandbox
    id: String,
    /// A number or a name, with or without SIG
    #[arg(default_value = "SIGTERM")]
    signal: String,
}

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    super::unsupported::refuse_regex("kill", arguments.regex)?;
    let number = parse_signal(&arguments.signal)?;
    let (root, id, seen) = context.see(&arguments.id)?;
    let send = if arguments.all { signal::send_to_all } else { signal::send };
    if let Some(why) = send(&root, &id, &seen, number)?.unnoted {
        context.log.debug(&format!("the journal lacks this signal: {why}"));
    }
    Ok(Done::Well)
}

/// `9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+3`.
pub fn parse_signal(text: &str) -> Result<i32, Failure> {
    let unknown = || Failure::new(format!("unknown signal {text:?}: give a number up to 64 or a name like SIGTERM"));
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=64).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return real_time(34, offset).ok_or_else(unknown);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        return real_time(64, offset).ok_or_else(unknown);
    }
    let name = match name {
        "CLD" => "CHLD",
        "POLL" => "IO",
        other => other,
    };
    format!("SIG{name}").parse::<nix::sys::signal::Signal>().map(|signal| signal as i32).map_err(|_| unknown())
}

/// `SIGTERM`, `SIGRTMIN+3`; what has no name is its number.
pub fn name_of(signal: u8) -> String {
    match i32::from(signal) {
        number @ 34..=64 => format!("SIGRTMIN+{}", number - 34),
        number => nix::sys::signal::Signal::try_from(number).map_or(number.to_string(), |signal| signal.to_string()),
    }
}

fn real_time(base: i32, offset: &str) -> Option<i32> {
    let offset = if offset.is_empty() { 0 } else { offset.parse::<i32>().ok()? };
    Some(base + offset).filter(|number| (34..=64).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_number_and_by_every_usual_name() {
        for (text, number) in
            [("9", 9), ("0", 0), ("KILL", 9), ("SIGTERM", 15), ("sigusr1", 10), ("RTMIN+3", 37), ("RTMAX-1", 63)]
        {
            assert_eq!(parse_signal(text).ok(), Some(number), "{text}");
        }
        for signal in 1..=64 {
            assert_eq!(parse_signal(&name_of(signal)).ok(), Some(i32::from(signal)));
        }
        assert_eq!((&*name_of(15), &*name_of(37)), ("SIGTERM", "SIGRTMIN+3"));
        for text in ["65", "-1", "", "SIGFOO", "RTMIN+99"] {
            assert!(parse_signal(text).is_err(), "{text:?} was accepted");
        }
    }
}
