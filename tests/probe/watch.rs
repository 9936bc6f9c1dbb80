//! Waits for processes that appear beside us and looks into each at once: what it was called with, its environment, all of
//! its memory, what it has open, where its root is. One line a finding, and `looked` for each process that was looked into.
//!
//! With CAP_SYS_PTRACE a process is stopped for that, so that nothing of it can slip away meanwhile.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::kernel::*;
use crate::report::{self, line};

const PTRACE_SEIZE: usize = 0x4206;
const PTRACE_INTERRUPT: usize = 0x4207;
const PTRACE_DETACH: usize = 17;
const WALL: usize = 0x4000_0000;
/// Of one mapping; an image of our own size has far less.
const MOST: u64 = 64 << 20;

/// Never returns: whoever started it ends it.
pub fn run(reversed: &str) {
    let marker: Vec<u8> = reversed.bytes().rev().collect();
    let mut known: HashSet<i32> = pids().collect();
    line("watch", "-", "begins", "ok", None);
    report::flush();
    loop {
        let now: HashSet<i32> = pids().collect();
        for pid in now.difference(&known) {
            look(*pid, &marker);
            report::flush();
        }
        known = now;
    }
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn look(pid: i32, marker: &[u8]) {
    let stopped = stop(pid);
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let comm = fs::read_to_string(proc.join("comm")).unwrap_or_default();
    let name = format!("{pid} {}", comm.trim());
    for file in ["environ", "cmdline"] {
        let text = fs::read(proc.join(file)).unwrap_or_default();
        if contains(&text, marker) {
            line("leak", &name, file, "secret", None);
        }
    }
    let looked = memory(&proc, &name, marker);
    for fd in fs::read_dir(proc.join("fd")).into_iter().flatten().flatten() {
        let to = fs::read_link(fd.path()).unwrap_or_default();
        let which = stat(fd.path()).ok().map(|stat| stat.identity);
        line("open", &name, &to.to_string_lossy(), "ok", which);
    }
    for link in ["root", "cwd"] {
        let (ours, its) = (stat("/").ok(), stat(proc.join(link)).ok());
        if let (Some(ours), Some(its)) = (ours, its) {
            let same = (ours.mount, ours.identity) == (its.mount, its.identity);
            line("place", &name, link, if same { "root" } else { "other" }, Some(its.identity));
        }
    }
    if looked {
        line("looked", &name, if stopped { "stopped" } else { "running" }, "ok", None);
    }
    if stopped {
        let _ = call(nr::PTRACE, &[PTRACE_DETACH, pid as usize, 0, 0]);
    }
}

fn stop(pid: i32) -> bool {
    if call(nr::PTRACE, &[PTRACE_SEIZE, pid as usize, 0, 0]).is_err() {
        return false;
    }
    let _ = call(nr::PTRACE, &[PTRACE_INTERRUPT, pid as usize, 0, 0]);
    let mut status = 0i32;
    call(nr::WAIT4, &[pid as usize, &raw mut status as usize, WALL, 0]).is_ok()
}

/// Whether its memory could be read at all.
fn memory(proc: &Path, name: &str, marker: &[u8]) -> bool {
    let Ok(file) = fs::File::open(proc.join("mem")) else { return false };
    let maps = fs::read_to_string(proc.join("maps")).unwrap_or_default();
    for text in maps.lines() {
        let mut words = text.split_whitespace();
        let range = words.next().and_then(|range| range.split_once('-'));
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let Some((from, to)) = range.and_then(|(from, to)| Some((number(from)?, number(to)?))) else { continue };
        let mut bytes = vec![0; (to - from).min(MOST) as usize];
        let count = file.read_at(&mut bytes, from).unwrap_or(0);
        if contains(&bytes[..count], marker) {
            line("leak", name, words.last().unwrap_or("memory"), "secret", None);
        }
    }
    !maps.is_empty()
}

fn contains(text: &[u8], marker: &[u8]) -> bool {
    !marker.is_empty() && text.windows(marker.len()).any(|window| window == marker)
}
