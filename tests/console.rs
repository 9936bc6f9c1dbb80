//! Terminals: handed over a console socket, or driven from the caller's own terminal.

mod common;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use common::command::{DEADLINE, Running};
use common::{Env, Lines, Terminal, needs_root, needs_tool};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::termios::LocalFlags;

/// The one file descriptor that came over a console socket.
fn receive(stream: &UnixStream) -> OwnedFd {
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let mut name = [0; 4096];
    let mut parts = [IoSliceMut::new(&mut name)];
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags).expect("a message");
    assert!(message.bytes > 0, "the message has a payload");
    let mut fds = Vec::new();
    for control in message.cmsgs().expect("whole control messages") {
        if let ControlMessageOwned::ScmRights(received) = control {
            fds.extend(received);
        }
    }
    assert_eq!(fds.len(), 1, "the pty, and nothing else, is sent");
    // An owner is made first, and the received file put into its place.
    let owner = OwnedFd::from(File::open("/dev/null").unwrap());
    nix::unistd::dup2(fds[0], owner.as_raw_fd()).unwrap();
    nix::unistd::close(fds[0]).unwrap();
    owner
}

/// sandkeep, on this terminal.
fn run(terminal: &Terminal, env: &Env, args: &[&str]) -> Running {
    let root = ["--root".as_ref(), env.root().as_os_str()];
    terminal.run(env.binary(), root.into_iter().chain(args.iter().map(OsStr::new)))
}

#[test]
fn a_console_socket_receives_the_terminal_of_a_container() {
    needs_root!();
    let env = Env::new();
    let id = env.id("socket");
    let path = env.dir().join("console.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let script = "tty; test -t 0 && test -t 1 && test -t 2 && echo all three; stty size; ls -l /dev/console | cut -c1; \
                  read line; echo got $line; exit 5";
    let bundle = env.bundle().script(script).terminal().edit(|config| {
        config["process"]["consoleSize"] = serde_json::json!({"height": 33, "width": 99});
    });
    let create = env.cmd(["create", "--bundle"]).arg(&bundle.dir).arg("--console-socket").arg(&path).arg(&id).spawn();
    let (stream, _) = listener.accept().unwrap();
    let master = receive(&stream);
    create.finish(DEADLINE).success();
    let mut lines = Lines::of(master.try_clone().unwrap());
    env.run(["start", &id]).success();
    assert_eq!(lines.next().as_deref(), Some("/dev/pts/0"));
    assert_eq!(lines.next().as_deref(), Some("all three"));
    assert_eq!(lines.next().as_deref(), Some("33 99"));
    assert_eq!(lines.next().as_deref(), Some("c"));
    File::from(master).write_all(b"typed\n").unwrap();
    lines.until("got typed");
    assert_eq!(env.wait(&id), 5);
    env.delete(&id);
    env.assert_clean();
}

#[test]
fn an_exec_gets_a_console_socket_of_its_own() {
    needs_root!();
    let env = Env::new();
    let id = env.id("exec");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let path = env.dir().join("console.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let exec = env.cmd(["exec", "--tty", "--detach", "--console-socket"]).arg(&path);
    let exec = exec.args([&id, "sh", "-c", "tty; read line; echo bye"]).spawn();
    let (stream, _) = listener.accept().unwrap();
    let master = receive(&stream);
    exec.finish(DEADLINE).success();
    let mut lines = Lines::of(master.try_clone().unwrap());
    lines.until("/dev/pts/");
    File::from(master).write_all(b"\n").unwrap();
    lines.until("bye");
    env.run(["delete", "--force", &id]).success();
    env.assert_clean();
}

#[test]
fn a_terminal_without_a_console_socket_is_refused_when_detached() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().terminal();
    env.create(&bundle, &env.id("none")).run().fails("console");
    env.create(&env.bundle(), &env.id("needless"))
        .arg("--console-socket")
        .arg("/no/such/socket")
        .run()
        .fails("console");
    env.assert_clean();
}

#[test]
fn a_console_socket_that_nobody_listens_to_undoes_create() {
    needs_root!();
    let env = Env::new();
    let id = env.id("deaf");
    let bundle = env.bundle().terminal();
    let path = Path::new("/no/such/console.sock");
    env.cmd(["create", "--bundle"])
        .arg(&bundle.dir)
        .arg("--console-socket")
        .arg(path)
        .arg(&id)
        .run()
        .fails("console.sock");
    env.gone(&id);
    env.assert_clean();
}

#[test]
fn a_run_on_a_terminal_shows_output_follows_resizes_and_restores_it() {
    needs_root!();
    needs_tool!("setsid");
    let env = Env::new();
    let id = env.id("tty");
    let script = "trap 'stty size' WINCH; tty; stty size; echo ready; while :; do read line || continue; test $line = end && exit 6; echo got $line; done";
    let bundle = env.bundle().script(script).terminal();
    let mut terminal = Terminal::new();
    terminal.resize(24, 80);
    let before = terminal.settings();
    let running = run(&terminal, &env, &["run", "--bundle", bundle.dir.to_str().unwrap(), &id]);
    terminal.lines.until("/dev/pts/0");
    terminal.lines.until("24 80");
    terminal.lines.until("ready");
    assert!(!terminal.settings().local_flags.contains(LocalFlags::ICANON), "raw while it runs");
    terminal.resize(40, 120);
    terminal.lines.until("40 120");
    terminal.types("hello\r");
    terminal.lines.until("got hello");
    terminal.types("end\r");
    running.finish(DEADLINE).code(6);
    assert_eq!(terminal.settings(), before, "the terminal is as it was");
    env.assert_clean();
}

#[test]
fn an_interrupt_typed_into_the_terminal_reaches_the_application_alone() {
    needs_root!();
    needs_tool!("setsid");
    let env = Env::new();
    let id = env.id("interrupt");
    let bundle = env.bundle().script("trap 'echo interrupted; exit 8' INT; echo ready; while :; do sleep 0.05; done");
    let bundle = bundle.terminal();
    let mut terminal = Terminal::new();
    let before = terminal.settings();
    let running = run(&terminal, &env, &["run", "--bundle", bundle.dir.to_str().unwrap(), &id]);
    terminal.lines.until("ready");
    terminal.types("\x03");
    terminal.lines.until("interrupted");
    running.finish(DEADLINE).code(8);
    assert_eq!(terminal.settings(), before);
    env.assert_clean();
}

#[test]
fn an_exec_on_a_terminal_works_the_same_way() {
    needs_root!();
    needs_tool!("setsid");
    let env = Env::new();
    let id = env.id("exectty");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let mut terminal = Terminal::new();
    terminal.resize(30, 90);
    let before = terminal.settings();
    let running = run(&terminal, &env, &["exec", "--tty", &id, "sh", "-c", "tty; stty size; read line; exit 7"]);
    terminal.lines.until("/dev/pts/");
    terminal.lines.until("30 90");
    terminal.types("\r");
    running.finish(DEADLINE).code(7);
    assert_eq!(terminal.settings(), before);
    env.run(["delete", "--force", &id]).success();
    env.assert_clean();
}

#[test]
fn the_terminal_is_restored_when_the_run_fails_or_is_killed_off() {
    needs_root!();
    needs_tool!("setsid");
    let env = Env::new();
    let terminal = Terminal::new();
    let before = terminal.settings();
    let missing = env.bundle().args(&["no-such-program"]).terminal();
    let running = run(&terminal, &env, &["run", "--bundle", missing.dir.to_str().unwrap(), &env.id("missing")]);
    running.finish(DEADLINE).code(127);
    assert_eq!(terminal.settings(), before);

    let mut terminal = terminal;
    let id = env.id("killed");
    let bundle = env.bundle().script("echo ready; exec sleep 1000").terminal();
    let running = run(&terminal, &env, &["run", "--bundle", bundle.dir.to_str().unwrap(), &id]);
    terminal.lines.until("ready");
    env.run(["kill", &id, "KILL"]).success();
    running.finish(DEADLINE).code(137);
    assert_eq!(terminal.settings(), before);
    env.assert_clean();
}
