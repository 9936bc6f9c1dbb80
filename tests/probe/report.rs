//! One line for each thing that was tried.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Mutex;

use crate::kernel::{Errno, Identity};

static OUT: Mutex<Option<BufWriter<File>>> = Mutex::new(None);

/// The lines go to this file instead of standard output.
pub fn to(path: &str) {
    let file = File::create(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    *OUT.lock().unwrap() = Some(BufWriter::new(file));
}

pub fn line(kind: &str, target: &str, operation: &str, result: &str, which: Option<Identity>) {
    let which = which.map_or("-".to_owned(), |at| format!("{}:{}:{}", at.major, at.minor, at.inode));
    let text = [kind, target, operation, result, &which].map(clean).join("\t");
    let mut out = OUT.lock().unwrap();
    let out = out.get_or_insert_with(|| {
        let stdout = std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned().expect("standard output");
        BufWriter::new(File::from(stdout))
    });
    // Nobody to tell it to: then there is nothing else to be done either.
    let _ = writeln!(out, "{text}");
}

/// What came of a call.
pub fn tried<T>(kind: &str, target: &str, operation: &str, result: &Result<T, Errno>, which: Option<Identity>) {
    match result {
        Ok(_) => line(kind, target, operation, "ok", which),
        Err(errno) => line(kind, target, operation, &errno.name(), which),
    }
}

pub fn flush() {
    if let Some(out) = OUT.lock().unwrap().as_mut() {
        let _ = out.flush();
    }
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
