//! A supervisor that very many wait for: whoever else has something to ask is served, and whoever cannot be is told so.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sandkeep::control::method::{Container, ErrorCode, Exited, Handshake, Reply, Request, State, VERSION};
use sandkeep::control::wire::{self, MAX_FRAME, Received};
use sandkeep::model::Id;
use sandkeep::sys::ready::{self, Readiness};
use sandkeep::sys::seqpacket;
use support::command::DEADLINE;
use support::process::{in_own_process, until};
use support::{Env, cgroup, needs_root};

/// The folder of a sandbox that runs.
struct Crowd {
    id: Id,
    folder: OwnedFd,
    clients: Vec<OwnedFd>,
}

impl Crowd {
    fn before(env: &Env, id: &str) -> Crowd {
        let folder = File::open(env.root().join("sandboxes").join(id)).unwrap().into();
        Crowd { id: Id::parse(id).unwrap(), folder, clients: Vec::new() }
    }

    /// One more client: what it is told to its greeting.
    fn greet(&mut self) -> Result<Reply, ErrorCode> {
        let path = format!("/proc/self/fd/{}/control.sock", std::os::fd::AsRawFd::as_raw_fd(&self.folder));
        let client = seqpacket::connect(path.as_ref(), soon()).unwrap();
        let told = call(&client, 1, &Request::Handshake(Handshake { version: VERSION }));
        self.clients.push(client);
        told
    }

    /// One more client asks how the container ends; why it is not to wait, if so.
    fn wait(&mut self) -> Result<(), ErrorCode> {
        self.greet()?;
        let client = self.clients.last().unwrap();
        send(client, 2, &Request::Wait(Container { cid: self.id.clone() }));
        // Requests are taken in their order: with this one answered, the wait would have been refused by now.
        send(client, 3, &Request::State(State { after: None }));
        loop {
            match answer(client) {
                (2, told) => drop(told?),
                (_, told) => return told.map(drop),
            }
        }
    }

    /// How each of those that wait is answered.
    fn answers(&self) -> Vec<Result<Reply, ErrorCode>> {
        self.clients.iter().map(|client| answer(client).1).collect()
    }
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + DEADLINE)
}

fn call(client: &OwnedFd, id: u64, request: &Request) -> Result<Reply, ErrorCode> {
    send(client, id, request);
    answer(client).1
}

/// This process may have so many descriptors from now on, if that can be had.
fn may_have(most: u64) -> bool {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let can = hard >= most;
    if can {
        setrlimit(Resource::RLIMIT_NOFILE, soft.max(most), hard).unwrap();
    } else {
        eprintln!("skipped: only {hard} descriptors are allowed here");
    }
    can
}

fn send(client: &OwnedFd, id: u64, request: &Request) {
    wire::send(client.as_fd(), &wire::encode_request(id, request), &[]).unwrap();
}

fn answer(client: &OwnedFd) -> (u64, Result<Reply, ErrorCode>) {
    let mut buffer = vec![0; MAX_FRAME];
    assert!(ready::wait(client.as_fd(), Readiness::Readable, soon()).unwrap(), "no answer");
    match wire::receive(client.as_fd(), &mut buffer).unwrap() {
        Received::Message { length, .. } => {
            let (id, told) = wire::decode_reply(&buffer[..length]).unwrap();
            (id, told.map_err(|refusal| refusal.code))
        }
        other => panic!("hung up on without an answer: {other:?}"),
    }
}

const PATIENT: &str = "trap 'exit 7' TERM; while :; do sleep 0.02; done";

#[test]
fn a_thousand_waits_keep_nobody_from_the_supervisor_and_all_are_answered() {
    needs_root!();
    in_own_process(|| {
        if !may_have(4096) {
            return;
        }
        let env = Env::new();
        let id = env.id("crowded");
        env.started(&env.bundle().script(PATIENT), &id);
        let supervisor = env.supervisor(&id);
        let mut crowd = Crowd::before(&env, &id);
        for number in 0..1000 {
            assert_eq!(crowd.wait(), Ok(()), "wait {number}");
        }
        env.run(["exec", "--detach", &id, "sleep", "2000"]).success();
        env.run(["exec", &id, "true"]).success();
        env.run(["doctor"]).success();
        let waiting = env.cmd(["wait", &id]).spawn();
        // Of the 64 MiB that it may have.
        let peaks =
            ["memory.max_usage_in_bytes", "memory.peak"].map(|file| cgroup::folder(supervisor, "memory").join(file));
        if let Some(peak) = peaks.iter().find_map(|file| std::fs::read_to_string(file).ok()) {
            let peak: u64 = peak.trim().parse().unwrap();
            eprintln!("the most memory that the supervisor had: {} KiB", peak >> 10);
            assert!(peak < 16 << 20, "{peak}");
        }
        env.run(["kill", &id, "TERM"]).success();
        waiting.finish(DEADLINE).success().prints("7\n");
        for answer in crowd.answers() {
            assert!(matches!(answer, Ok(Reply::Exited(Exited { code: 7, inferred: false, .. }))), "{answer:?}");
        }
        until(DEADLINE, "end of the supervisor", || !support::process::runs(supervisor));
        env.delete(&id);
    });
}

#[test]
fn whoever_is_too_many_is_told_busy_and_never_that_the_supervisor_is_gone() {
    needs_root!();
    in_own_process(|| {
        if !may_have(4096) {
            return;
        }
        let env = Env::new();
        let id = env.id("full");
        env.started(&env.bundle().script(PATIENT), &id);
        let mut crowd = Crowd::before(&env, &id);
        // Waits, until there are enough of them.
        let mut waits = 0;
        while crowd.wait() != Err(ErrorCode::Busy) {
            waits += 1;
            assert!(waits < 4000, "there is no bound");
        }
        // Whoever was refused may ask for something else.
        let refused = crowd.clients.pop().unwrap();
        assert!(call(&refused, 4, &Request::State(State { after: None })).is_ok());
        env.run(["exec", "--detach", &id, "sleep", "2000"]).success();
        // A command that waits does so without it, and is told the same.
        let waiting = env.cmd(["wait", &id]).spawn();
        // All places are taken by clients that have only just come.
        let mut fresh = Crowd::before(&env, &id);
        while fresh.clients.len() < 1200 && fresh.greet().is_ok() {}
        let fresh = fresh.clients;
        eprintln!("{waits} waits, and {} further clients", fresh.len());
        assert!(waits >= 1000 && fresh.len() < 1200, "{waits} waits, {} clients", fresh.len());
        let told = env.run(["exec", "--detach", &id, "sleep", "2000"]);
        assert!(told.status.success() || told.stderr.contains("busy"), "{told}");
        assert!(!told.stderr.contains("gone"), "{told}");
        drop(fresh);
        env.run(["kill", &id, "TERM"]).success();
        waiting.finish(DEADLINE + Duration::from_secs(10)).success().prints("7\n");
        for answer in crowd.answers() {
            assert!(matches!(answer, Ok(Reply::Exited(Exited { code: 7, .. }))), "{answer:?}");
        }
        env.delete(&id);
    });
}

/// Few enough for the old limit of 128 clients to have been too small for them.
#[test]
fn exec_works_beside_130_waits() {
    needs_root!();
    in_own_process(|| {
        if !may_have(1024) {
            return;
        }
        let env = Env::new();
        let id = env.id("some");
        env.started(&env.bundle().script(PATIENT), &id);
        let mut crowd = Crowd::before(&env, &id);
        for number in 0..130 {
            assert_eq!(crowd.wait(), Ok(()), "wait {number}");
        }
        env.run(["exec", "--detach", &id, "sleep", "2000"]).success();
        env.run(["delete", "--force", &id]).success();
    });
}
