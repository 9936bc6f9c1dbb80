//! The supervisor's loop, on a thread of this process, with real children of ours to keep.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sandkeep::boot::log::Log;
use sandkeep::boot::supervisor::{Departure, Settings, Supervisor};
use sandkeep::control::method::{
    Container, Create, ErrorCode, ExecuteAsync, Exited, Handshake, Reply, Request, Signal, State, VERSION,
};
use sandkeep::control::wire::{self, MAX_FRAME, Received};
use sandkeep::control::{self, Client, ControlError};
use sandkeep::model::Id;
use sandkeep::model::exits;
use sandkeep::model::record::{PidNamespace, Reaper};
use sandkeep::sys::ready::{self, Readiness};
use sandkeep::sys::{pidfd, seqpacket};

/// A sandbox called `s`, whose supervisor is a thread.
struct Sandbox {
    folder: OwnedFd,
    exits: PathBuf,
    creator: Creator,
    thread: JoinHandle<Departure>,
    _dir: tempfile::TempDir,
}

/// Stands for the command that made the sandbox.
struct Creator(Child);

impl Creator {
    fn die(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Creator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Default)]
struct Made {
    exits: Option<&'static str>,
    attached: bool,
}

impl Made {
    fn make(self) -> Sandbox {
        let dir = tempfile::tempdir().unwrap();
        let folder: OwnedFd = File::open(dir.path()).unwrap().into();
        let listener = control::listen(folder.as_fd()).unwrap();
        let exits = self.exits.map_or_else(|| dir.path().join("exits"), PathBuf::from);
        let file = File::options().write(true).create(true).truncate(false).open(&exits).unwrap();
        let creator = Creator(Command::new("sleep").arg("600").spawn().unwrap());
        let creator_fd = pidfd::open(creator.0.id() as i32).unwrap();
        let thread = std::thread::spawn(move || {
            let settings = Settings {
                sandbox: id("s"),
                listener,
                exits: file,
                creator: creator_fd,
                attached: self.attached,
                // No pid 1: it must leave the children of other tests alone.
                pid_namespace: PidNamespace::Foreign,
                code: None,
                log: Rc::new(Log::new(None, None)),
            };
            Supervisor::new(settings).unwrap().run().unwrap()
        });
        Sandbox { folder, exits, creator, thread, _dir: dir }
    }
}

impl Sandbox {
    fn new() -> Sandbox {
        Made::default().make()
    }

    fn client(&self) -> Client {
        Client::connect(self.folder.as_fd(), soon()).unwrap()
    }

    fn create(&self, cid: &str, reaper: Reaper) -> Init {
        self.create_with(cid, reaper, true)
    }

    fn create_with(&self, cid: &str, reaper: Reaper, detach: bool) -> Init {
        let init = Init::new();
        self.client().call(&create(cid, reaper, detach, &init), &init.fds(), soon()).unwrap();
        init
    }

    fn destroy(self) {
        let reply = self.client().call(&Request::Destroy(container("s")), &[], soon()).unwrap();
        assert_eq!(reply, Reply::Done);
        assert_eq!(self.thread.join().unwrap(), Departure::Ended);
    }
}

/// A child that ends with the code it is told, or 99 if nobody says anything; beside it what its start socket would be.
struct Init {
    child: Child,
    pidfd: OwnedFd,
    ours: OwnedFd,
    theirs: OwnedFd,
}

impl Init {
    fn new() -> Init {
        let child =
            Command::new("sh").args(["-c", "read code || code=99; exit $code"]).stdin(Stdio::piped()).spawn().unwrap();
        let pidfd = pidfd::open(child.id() as i32).unwrap();
        let (ours, theirs) = seqpacket::pair().unwrap();
        Init { child, pidfd, ours, theirs }
    }

    fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.pidfd.as_fd(), self.theirs.as_fd()]
    }

    fn end(&mut self, code: u8) {
        use std::io::Write;
        writeln!(self.child.stdin.take().unwrap(), "{code}").unwrap();
    }

    /// The start message came.
    fn await_start(&self) {
        assert!(ready::wait(self.ours.as_fd(), Readiness::Readable, soon()).unwrap());
        let mut buffer = [0; 8];
        assert!(matches!(
            seqpacket::receive(self.ours.as_fd(), &mut buffer).unwrap(),
            Received::Message { length: 1, .. }
        ));
        assert_eq!(buffer[0], b'S');
    }
}

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn container(cid: &str) -> Container {
    Container { cid: id(cid) }
}

fn create(cid: &str, reaper: Reaper, detach: bool, init: &Init) -> Request {
    let root = cid == "s";
    Request::Create(Create {
        cid: id(cid),
        root,
        reaper,
        pid: init.pid(),
        host_pid: init.pid(),
        detach: detach && root,
    })
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(10))
}

fn briefly() -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(100))
}

fn code_of(error: ControlError) -> ErrorCode {
    match error {
        ControlError::Refused { code, .. } => code,
        other => panic!("not refused: {other}"),
    }
}

/// This kernel tells the exit status of what another process has reaped.
fn keeps_exit_info() -> bool {
    let mut init = Init::new();
    init.end(0);
    init.child.wait().unwrap();
    let keeps = pidfd::exit_info(init.pidfd.as_fd()).is_ok();
    if !keeps {
        eprintln!("skipped: this kernel keeps no exit status in a pidfd");
    }
    keeps
}

#[test]
fn a_root_container_is_adopted_started_waited_for_and_recorded_and_then_the_supervisor_ends() {
    let sandbox = Sandbox::new();
    let mut init = sandbox.create("s", Reaper::Supervisor);
    let mut client = sandbox.client();
    assert_eq!(client.sandbox(), "s");
    let starter = {
        let mut client = sandbox.client();
        std::thread::spawn(move || client.call(&Request::StartRoot, &[], soon()).unwrap())
    };
    assert!(!client.state(soon()).unwrap()[0].started);
    init.await_start();
    let state = client.state(soon()).unwrap();
    assert!(!state[0].started, "not before the init says so");
    assert!(state[0].released, "the start message cannot be called back");
    let (ours, _) = seqpacket::pair().unwrap();
    drop(std::mem::replace(&mut init.ours, ours));
    // The supervisor has its own copy of the other end; nothing else holds one of ours.
    assert_eq!(starter.join().unwrap(), Reply::Done);
    let state = client.state(soon()).unwrap();
    assert!(state[0].started && state[0].exited.is_none() && state[0].pids[0].pid == init.pid());
    assert_eq!(code_of(client.call(&Request::StartRoot, &[], soon()).unwrap_err()), ErrorCode::WrongState);
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let mut client = sandbox.client();
            std::thread::spawn(move || client.wait(&id("s"), None))
        })
        .collect();
    assert!(matches!(client.wait(&id("s"), briefly()), Err(ControlError::Timeout { .. })));
    init.end(7);
    for waiter in waiters {
        match waiter.join().unwrap() {
            Ok(exited) => assert_eq!((exited.code, exited.signal, exited.inferred), (7, None, false)),
            // A waiter whose request came after the end finds it in the file.
            Err(error) => assert!(matches!(error, ControlError::Gone), "{error}"),
        }
    }
    assert_eq!(sandbox.thread.join().unwrap(), Departure::Ended);
    let records = exits::decode_all(&std::fs::read(&sandbox.exits).unwrap());
    assert_eq!((records.len(), records[0].container.as_str(), records[0].exit.code), (1, "s", 7));
    assert!(matches!(Client::connect(sandbox.folder.as_fd(), soon()), Err(ControlError::Gone)));
}

#[test]
fn the_error_of_an_init_is_the_answer_to_start() {
    let sandbox = Sandbox::new();
    let mut init = sandbox.create("s", Reaper::Supervisor);
    let mut client = sandbox.client();
    let starter = std::thread::spawn(move || client.call(&Request::StartRoot, &[], soon()).unwrap_err());
    init.await_start();
    seqpacket::send(init.ours.as_fd(), "exec nosuch: no such file or directory".as_bytes(), &[]).unwrap();
    match starter.join().unwrap() {
        ControlError::Refused { code, message } => {
            assert_eq!((code, message.as_str()), (ErrorCode::StartFailed, "exec nosuch: no such file or directory"));
        }
        other => panic!("{other}"),
    }
    init.end(127);
    assert_eq!(sandbox.thread.join().unwrap(), Departure::Ended);
    assert_eq!(exits::decode_all(&std::fs::read(&sandbox.exits).unwrap())[0].exit.code, 127);
}

#[test]
fn a_wait_on_a_container_of_the_pod_repeats_and_one_on_an_execd_process_does_not() {
    let sandbox = Sandbox::new();
    let _root = sandbox.create("s", Reaper::Supervisor);
    let mut sub = sandbox.create("c", Reaper::Supervisor);
    let mut client = sandbox.client();
    let mut exec = Init::new();
    let execute = |cid: &str, init: &Init| {
        let (pid, host_pid) = (init.pid(), init.pid());
        Request::ExecuteAsync(ExecuteAsync { cid: id(cid), pid, host_pid, reaper: Reaper::Supervisor })
    };
    client.call(&execute("c", &exec), &[exec.pidfd.as_fd()], soon()).unwrap();
    assert_eq!(client.state(soon()).unwrap()[0].pids.len(), 2);

    assert_eq!(code_of(client.wait_pid(&id("s"), exec.pid(), soon()).unwrap_err()), ErrorCode::NotFound);
    assert_eq!(code_of(client.wait_pid(&id("c"), 0, soon()).unwrap_err()), ErrorCode::Invalid);
    assert_eq!(code_of(client.wait_pid(&id("c"), -1, soon()).unwrap_err()), ErrorCode::Invalid);
    let signal = Request::Signal(Signal { cid: id("s"), pid: Some(exec.pid()), signal: 9 });
    assert_eq!(code_of(client.call(&signal, &[], soon()).unwrap_err()), ErrorCode::NotFound);
    exec.end(5);
    assert_eq!(client.wait_pid(&id("c"), exec.pid(), soon()).unwrap().code, 5);
    assert_eq!(code_of(client.wait_pid(&id("c"), exec.pid(), soon()).unwrap_err()), ErrorCode::NotFound);

    sub.end(6);
    let first = client.wait(&id("c"), soon()).unwrap();
    assert_eq!((first.code, sandbox.client().wait(&id("c"), soon()).unwrap()), (6, first.clone()));
    // One whose end nobody waited for yet is kept for the first who asks.
    let late = Init::new();
    let refused = client.call(&execute("c", &late), &[late.pidfd.as_fd()], soon()).unwrap_err();
    assert_eq!(code_of(refused), ErrorCode::WrongState);
    let mut late = late;
    client.call(&execute("s", &late), &[late.pidfd.as_fd()], soon()).unwrap();
    late.end(8);
    pidfd::wait_exit(late.pidfd.as_fd(), None).unwrap();
    while client.state(soon()).unwrap()[1].pids.len() > 1 {}
    assert_eq!(client.wait_pid(&id("s"), late.pid(), soon()).unwrap().code, 8);
    let signal = Request::Signal(Signal { cid: id("c"), pid: None, signal: 0 });
    assert_eq!(code_of(client.call(&signal, &[], soon()).unwrap_err()), ErrorCode::WrongState);
    sandbox.destroy();
}

#[test]
fn a_caller_that_reaps_late_still_gets_the_child_and_the_supervisor_the_same_status() {
    if !keeps_exit_info() {
        return;
    }
    let sandbox = Sandbox::new();
    let mut root = sandbox.create("s", Reaper::Caller);
    let mut sub = sandbox.create("c", Reaper::Caller);
    let mut client = sandbox.client();
    sub.end(42);
    pidfd::wait_exit(sub.pidfd.as_fd(), None).unwrap();
    assert!(matches!(client.wait(&id("c"), briefly()), Err(ControlError::Timeout { .. })), "nobody has reaped it");
    assert_eq!(sub.child.wait().unwrap().code(), Some(42), "the supervisor must leave it to its parent");
    let reaped = Instant::now();
    let exited = client.wait(&id("c"), soon()).unwrap();
    eprintln!("told {:?} after the reaping", reaped.elapsed());
    assert_eq!((exited.code, exited.signal, exited.inferred), (42, None, false));
    // And by a signal.
    client.call(&Request::Signal(Signal { cid: id("s"), pid: None, signal: 15 }), &[], soon()).unwrap();
    root.child.wait().unwrap();
    assert_eq!(sandbox.thread.join().unwrap(), Departure::Ended);
    let records = exits::decode_all(&std::fs::read(&sandbox.exits).unwrap());
    assert_eq!((records[0].container.as_str(), records[0].exit.code), ("c", 42));
    assert_eq!((records[1].exit.code, records[1].exit.signal, records[1].exit.inferred), (143, Some(15), false));
}

#[test]
fn an_adoption_after_the_death_of_its_process_finds_the_status() {
    if !keeps_exit_info() {
        return;
    }
    let sandbox = Sandbox::new();
    let _root = sandbox.create("s", Reaper::Supervisor);
    let mut dead = Init::new();
    dead.end(9);
    dead.child.wait().unwrap();
    let mut client = sandbox.client();
    client.call(&create("c", Reaper::Supervisor, false, &dead), &dead.fds(), soon()).unwrap();
    assert_eq!(client.wait(&id("c"), soon()).unwrap().code, 9);
    sandbox.destroy();
}

#[test]
fn a_full_disk_delays_the_record_and_the_end_but_neither_the_answer_nor_a_destroy() {
    let sandbox = Made { exits: Some("/dev/full"), ..Made::default() }.make();
    let mut root = sandbox.create("s", Reaper::Supervisor);
    let mut client = sandbox.client();
    root.end(3);
    assert_eq!(client.wait(&id("s"), soon()).unwrap().code, 3);
    // Longer than the last statuses are waited for: a wait for another end, which must not come.
    assert!(matches!(
        client.call(&Request::Wait(container("s")), &[], soon()),
        Ok(Reply::Exited(Exited { code: 3, .. }))
    ));
    let gone = Duration::from_millis(1300);
    assert!(!ready::wait(client.as_fd(), Readiness::Readable, Some(Instant::now() + gone)).unwrap(), "it hung up");
    assert_eq!(sandbox.client().wait(&id("s"), soon()).unwrap().code, 3);
    assert!(!sandbox.thread.is_finished());
    sandbox.destroy();
}

#[test]
fn a_sandbox_dies_with_its_creator_until_it_is_detached_and_an_attached_one_always() {
    for (attached, detach, dies) in [(false, false, true), (false, true, false), (true, true, true)] {
        let mut sandbox = Made { attached, ..Made::default() }.make();
        let mut root = sandbox.create_with("s", Reaper::Supervisor, detach);
        sandbox.creator.die();
        if dies {
            assert_eq!(sandbox.thread.join().unwrap(), Departure::CreatorGone);
            assert!(pidfd::wait_exit(root.pidfd.as_fd(), soon()).unwrap());
            root.child.wait().unwrap();
        } else {
            assert_eq!(sandbox.client().state(soon()).unwrap().len(), 1);
            sandbox.destroy();
        }
    }
    let mut empty = Sandbox::new();
    empty.creator.die();
    assert_eq!(empty.thread.join().unwrap(), Departure::CreatorGone);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let sandbox = Sandbox::new();
    let mut client = sandbox.client();
    let init = Init::new();
    let mut refuse = |request: &Request, fds: &[BorrowedFd<'_>], code: ErrorCode| {
        let error = client.call(request, fds, soon()).unwrap_err();
        assert_eq!(code_of(error), code, "{request:?}");
    };
    refuse(&create("c", Reaper::Supervisor, false, &init), &init.fds(), ErrorCode::WrongState);
    refuse(&create("s", Reaper::Supervisor, false, &init), &[init.pidfd.as_fd()], ErrorCode::Invalid);
    let swapped = [init.theirs.as_fd(), init.pidfd.as_fd()];
    refuse(&create("s", Reaper::Supervisor, false, &init), &swapped, ErrorCode::Invalid);
    refuse(&Request::StartRoot, &[], ErrorCode::NotFound);
    refuse(&Request::Wait(container("s")), &[], ErrorCode::NotFound);
    let _root = sandbox.create("s", Reaper::Supervisor);
    refuse(&create("s", Reaper::Supervisor, false, &init), &init.fds(), ErrorCode::AlreadyExists);
    refuse(&Request::Signal(Signal { cid: id("s"), pid: None, signal: 65 }), &[], ErrorCode::Invalid);
    assert_eq!(client.state(soon()).unwrap().len(), 1);
    assert_eq!(client.call(&Request::Destroy(container("nosuch")), &[], soon()).unwrap(), Reply::Done);
    drop(client);
    sandbox.destroy();
}

#[test]
fn a_destroyed_container_is_dead_and_its_id_is_free() {
    let sandbox = Sandbox::new();
    let _root = sandbox.create("s", Reaper::Supervisor);
    let mut client = sandbox.client();
    for reaper in [Reaper::Supervisor, Reaper::Caller] {
        // Nobody reaps this one when the caller should; it is destroyed all the same.
        let mut sub = sandbox.create("c", reaper);
        assert_eq!(client.call(&Request::Destroy(container("c")), &[], soon()).unwrap(), Reply::Done);
        assert!(pidfd::wait_exit(sub.pidfd.as_fd(), Some(Instant::now())).unwrap());
        let _ = sub.child.wait();
    }
    assert_eq!(client.state(soon()).unwrap().len(), 1);
    let codes: Vec<u8> =
        exits::decode_all(&std::fs::read(&sandbox.exits).unwrap()).iter().map(|record| record.exit.code).collect();
    assert_eq!(codes, [137, 255]);
    sandbox.destroy();
}

#[test]
fn garbage_floods_and_silence_of_some_clients_do_not_reach_the_others() {
    let sandbox = Sandbox::new();
    let mut root = sandbox.create("s", Reaper::Supervisor);
    let path = format!("/proc/self/fd/{}/control.sock", std::os::fd::AsRawFd::as_raw_fd(&sandbox.folder));
    let raw = || seqpacket::connect(path.as_ref(), soon()).unwrap();
    // Garbage, and a request before the handshake: hung up on.
    for bytes in [&b"garbage"[..], &wire::encode_request(1, &Request::StartRoot), &[b'['; MAX_FRAME]] {
        let socket = raw();
        wire::send(socket.as_fd(), bytes, &[]).unwrap();
        assert!(ready::wait(socket.as_fd(), Readiness::Readable, soon()).unwrap());
        assert!(matches!(wire::receive(socket.as_fd(), &mut [0; 64]).unwrap(), Received::End));
    }
    // One that asks and never reads.
    let flood = raw();
    wire::send(flood.as_fd(), &wire::encode_request(0, &Request::Handshake(Handshake { version: VERSION })), &[])
        .unwrap();
    let (state, wait) = (Request::State(State { after: None }), Request::Wait(container("s")));
    for (number, request) in (1..).zip([state, wait].iter().cycle().take(4000)) {
        if wire::send(flood.as_fd(), &wire::encode_request(number, request), &[]).is_err() {
            break;
        }
    }
    // More of them than are served at once: the longest silent one goes.
    let silent: Vec<OwnedFd> = (0..200).map(|_| raw()).collect();
    let mut client = sandbox.client();
    assert_eq!(client.state(soon()).unwrap().len(), 1);
    drop((flood, silent));
    root.end(1);
    assert_eq!(sandbox.thread.join().unwrap(), Departure::Ended);
}

#[test]
fn another_version_is_told_ours_and_then_hung_up_on() {
    let sandbox = Sandbox::new();
    let path = format!("/proc/self/fd/{}/control.sock", std::os::fd::AsRawFd::as_raw_fd(&sandbox.folder));
    let socket = seqpacket::connect(path.as_ref(), soon()).unwrap();
    let mut buffer = vec![0; MAX_FRAME];
    wire::send(socket.as_fd(), &wire::encode_request(1, &Request::Handshake(Handshake { version: 99 })), &[]).unwrap();
    ready::wait(socket.as_fd(), Readiness::Readable, soon()).unwrap();
    let Received::Message { length, .. } = wire::receive(socket.as_fd(), &mut buffer).unwrap() else { panic!() };
    let welcome = Reply::Welcome { version: VERSION, sandbox: "s".to_owned() };
    assert_eq!(wire::decode_reply(&buffer[..length]).unwrap(), (1, Ok(welcome)));
    wire::send(socket.as_fd(), &wire::encode_request(2, &Request::StartRoot), &[]).unwrap();
    ready::wait(socket.as_fd(), Readiness::Readable, soon()).unwrap();
    assert!(matches!(wire::receive(socket.as_fd(), &mut buffer).unwrap(), Received::End));
    sandbox.destroy();
}

#[test]
fn a_state_too_long_for_one_frame_comes_in_parts() {
    let sandbox = Sandbox::new();
    let _root = sandbox.create("s", Reaper::Supervisor);
    let ids: Vec<String> = (0..40).map(|n| format!("{n:02}{}", "x".repeat(1000))).collect();
    let inits: Vec<Init> = ids.iter().map(|cid| sandbox.create(cid, Reaper::Supervisor)).collect();
    let state = sandbox.client().state(soon()).unwrap();
    assert_eq!(
        state.iter().map(|container| container.cid.clone()).collect::<Vec<_>>(),
        [ids, vec!["s".to_owned()]].concat()
    );
    assert!(state.iter().all(|container| container.exited.is_none()));
    sandbox.destroy();
    for mut init in inits {
        assert!(pidfd::wait_exit(init.pidfd.as_fd(), soon()).unwrap());
        let _ = init.child.wait();
    }
}
