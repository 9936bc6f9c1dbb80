//! What commands print. Whoever reads it may leave at any moment (`sandkeep list | head -1`): that is no failure of the
//! command, and no reason to die in the middle of a transition, as the macros of the standard library would. Anything
//! else that keeps us from writing is told once, at the end.
//!
//! What we print came from elsewhere in part: the path of a bundle, the words of a container, a line of ps(1). A terminal
//! would obey some of it, so no control character leaves but the ends of our own lines: each is shown as JSON writes it,
//! which means the same inside our JSON.
//!
//! `println!`, `print!` and `eprintln!` mean these functions everywhere below `cli`.

use std::borrow::Cow;
use std::fmt::{Arguments, Write as _};
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

use super::failure::Failure;

/// As in the standard library, but for what happens when nobody reads it: see above.
macro_rules! print {
    ($($text:tt)*) => { $crate::cli::output::out(format_args!($($text)*)) };
}
macro_rules! println {
    ($($text:tt)*) => { $crate::cli::output::out(format_args!("{}\n", format_args!($($text)*))) };
}
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::cli::output::err(format_args!("{}\n", format_args!($($text)*))) };
}

/// The first reason why standard output could not be written.
static FAILED: OnceLock<String> = OnceLock::new();

pub fn out(text: Arguments<'_>) {
    note(io::stdout().lock().write_all(shown(&text.to_string(), is_hidden).as_bytes()));
}

/// There is nobody to tell that this failed.
pub fn err(text: Arguments<'_>) {
    let _ = io::stderr().lock().write_all(shown(&text.to_string(), is_hidden).as_bytes());
}

/// Text of others as a part of one line of ours.
pub fn one_line(text: &str) -> Cow<'_, str> {
    shown(text, |c| is_hidden(c) || c == '\n' || c == '\t')
}

fn shown(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match hidden(c) {
            true => drop(write!(line, "\\u{:04x}", u32::from(c))),
            false => line.push(c),
        }
    }
    Cow::Owned(line)
}

/// What a terminal acts upon, and what turns the order of the letters around (Unicode's bidirectional controls).
fn is_hidden(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && c != '\n' && c != '\t')
}

/// To be asked last: whether everything was written that somebody still wants to read.
pub fn finish() -> Result<(), Failure> {
    note(io::stdout().lock().flush());
    match FAILED.get() {
        Some(why) => Err(Failure::new(format!("cannot write to standard output: {why}"))),
        None => Ok(()),
    }
}

fn note(written: io::Result<()>) {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => drop(FAILED.set(error.to_string())),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_let_through() {
        let text = "a\u{1b}[31mb\u{9b}2Jc\u{7f}\rd\u{202e}e\n\tf ü";
        assert_eq!(shown(text, is_hidden), "a\\u001b[31mb\\u009b2Jc\\u007f\\u000dd\\u202ee\n\tf ü");
        assert_eq!(one_line("a\nb\tc"), "a\\u000ab\\u0009c");
        assert!(matches!(shown("plain ü\n", is_hidden), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_shown_means_the_same_in_json() {
        let text = "\u{1b}[31m\u{9b}\u{7f}\u{202e}";
        let json = serde_json::json!(text).to_string();
        assert_eq!(serde_json::from_str::<String>(&shown(&json, is_hidden)).unwrap(), text);
    }
}
