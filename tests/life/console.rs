//! Terminals: handed over a console socket, or driven from the caller's own terminal.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::termios::LocalFlags;
use support::command::{DEADLINE, Running};
use support::{Env, Lines, Terminal, needs_root, needs_tool};

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

/// The pid that a pidfd is of (proc(5), fdinfo).
fn pid_of(pidfd: &OwnedFd) -> i32 {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
    info.lines().find_map(|line| line.strip_prefix("Pid:")).expect("a pidfd").trim().parse().unwrap()
}

#[test]
fn a_pidfd_socket_receives_the_pidfd_of_the_init_and_of_an_exec() {
    needs_root!();
    let env = Env::new();
    let id = env.id("pidfd");
    let path = env.dir().join("pidfd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let bundle = env.bundle().args(&["sleep", "1000"]);
    env.create(&bundle, &id).arg("--pidfd-socket").arg(&path).run().success();
    let init = receive(&listener.accept().unwrap().0);
    assert_eq!(pid_of(&init), env.pid(&id));
    env.run(["start", &id]).success();
    let pid_file = env.dir().join("pid");
    let exec = env.cmd(["exec", "--detach", "--pidfd-socket"]).arg(&path).arg("--pid-file").arg(&pid_file);
    exec.args([&id, "sleep", "1000"]).run().success();
    let process = receive(&listener.accept().unwrap().0);
    assert_eq!(pid_of(&process).to_string(), std::fs::read_to_string(&pid_file).unwrap());
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_pidfd_socket_without_a_listener_leaves_nothing() {
    needs_root!();
    let env = Env::new();
    let id = env.id("deaf");
    let path = env.dir().join("nobody.sock");
    env.create(&env.bundle(), &id).arg("--pidfd-socket").arg(&path).run().fails("pidfd socket");
    env.gone(&id);
}

#[test]
fn a_pidfd_socket_that_hangs_up_during_the_creation_leaves_nothing() {
    needs_root!();
    let env = Env::new();
    let id = env.id("hangup");
    let path = env.dir().join("pidfd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let gate = env.dir().join("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = format!("read line <{}", gate.display());
    let bundle = env.bundle().edit(|config| {
        config["hooks"] = serde_json::json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    });
    let create = env.create(&bundle, &id).arg("--pidfd-socket").arg(&path).spawn();
    drop(listener.accept().unwrap());
    File::options().write(true).open(&gate).unwrap().write_all(b"go\n").unwrap();
    create.finish(DEADLINE).fails("pidfd socket");
    env.gone(&id);
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
}

#[test]
fn a_run_that_was_stopped_takes_its_terminal_again() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().script("echo up; read line; echo got $line").terminal();
    let mut terminal = Terminal::new();
    let before = terminal.settings();
    let running = run(&terminal, &env, &["run", "--bundle", bundle.dir.to_str().unwrap(), &env.id("stopped")]);
    terminal.lines.until("up");
    let is_raw = |terminal: &Terminal| terminal.settings().local_flags != before.local_flags;
    support::until(DEADLINE, "raw terminal", || is_raw(&terminal));
    support::process::send(running.pid(), Signal::SIGSTOP);
    // As a shell does, which has the terminal now.
    terminal.set(&["sane"]);
    support::process::send(running.pid(), Signal::SIGCONT);
    support::until(DEADLINE, "terminal that is raw again", || {
        !terminal.settings().local_flags.contains(nix::sys::termios::LocalFlags::ICANON)
    });
    terminal.types("typed\r");
    terminal.lines.until("got typed");
    running.finish(DEADLINE).code(0);
}

#[test]
fn a_terminal_whose_output_nobody_reads_any_more_hangs_up() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().args(&["yes"]).terminal();
    let (mut lines, out) = Lines::pipe();
    let running = env.run_bundle(&bundle, &env.id("head")).stdout(out).spawn();
    assert_eq!(lines.next().as_deref(), Some("y"));
    drop(lines);
    let outcome = running.finish(DEADLINE);
    assert!(!outcome.status.success() && outcome.stderr.is_empty(), "{outcome}");
}

#[test]
fn output_that_does_not_fit_a_nonblocking_pipe_is_not_lost() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().script("seq 1 20000; echo end").terminal();
    let (mut lines, out) = Lines::pipe();
    let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(std::os::fd::AsRawFd::as_raw_fd(&out), flags).unwrap();
    let running = env.run_bundle(&bundle, &env.id("full")).stdout(out).spawn();
    for number in 1..=20_000 {
        assert_eq!(lines.next(), Some(number.to_string()));
    }
    assert_eq!(lines.next().as_deref(), Some("end"));
    running.finish(DEADLINE).code(0);
}
