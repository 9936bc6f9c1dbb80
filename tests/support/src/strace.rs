//! A command's system calls, and its death at one of them.

use std::collections::HashMap;
use std::fs;

use super::{Cmd, Env, Outcome};

/// Every system call of the command's main thread, in order, each with its number among those of its name.
pub fn calls(env: &Env, command: Vec<String>) -> Vec<(String, usize)> {
    let file = env.dir().join("trace");
    Cmd::new("strace").args(["-qq", "-o"]).arg(&file).args(command).run().code(0);
    let mut seen: HashMap<String, usize> = HashMap::new();
    let text = fs::read_to_string(&file).expect("strace writes its trace");
    let names = text.lines().filter_map(|line| Some(line.split_once('(')?.0));
    let names = names.filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    // The first execve is strace's own child becoming the command; the last call never returns.
    let calls = names.filter(|name| !matches!(*name, "execve" | "exit_group"));
    calls
        .map(|name| {
            let number = seen.entry(name.to_owned()).or_default();
            *number += 1;
            (name.to_owned(), *number)
        })
        .collect()
}

/// The command, killed with SIGKILL when it enters this system call for the so-manyth time.
pub fn killed_at(command: Vec<String>, name: &str, occurrence: usize) -> Outcome {
    let inject = format!("inject={name}:signal=KILL:when={occurrence}");
    let strace = Cmd::new("strace").args(["-qq", "-o", "/dev/null", "-e", &format!("trace={name}"), "-e", &inject]);
    strace.args(command).run()
}
