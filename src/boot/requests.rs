//! What each request does. One that cannot be answered yet leaves a waiter behind.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use super::keeper::{
    Cause, Closing, Container, Keeper, MAX_CONTAINERS, MAX_PROCESSES, MAX_UNRECORDED, Process, Response, Role, Start,
    Waiter, never_ready, no_container, refusal, short,
};
use crate::container::channel::{self, Failure};
use crate::control::method::{
    ContainerStatus, Create, ErrorCode, ExecuteAsync, Handshake, ProcessStatus, Refusal, Reply, Request, Signal, State,
    VERSION, WaitPid,
};
use crate::model::Id;
use crate::sys::patience;
use crate::sys::poller::Interest;
use crate::sys::{pidfd, seqpacket};

/// Of a State reply, leaving room in the frame for one more container of any size.
const STATE_BUDGET: usize = 8 * 1024;

impl Keeper {
    /// `None`: the answer comes later, to `waiter`. Descriptors that are not kept are closed.
    pub fn handle(&mut self, waiter: Waiter, request: Request, fds: Vec<OwnedFd>) -> Option<Response> {
        let (method, count) = (request.method(), fds.len());
        if count != method.descriptors() {
            let wanted = method.descriptors();
            let message = format!("{} wants {wanted} descriptors, but {count} came", method.name());
            return Some(Err(refusal(ErrorCode::Invalid, message)));
        }
        let outcome = match request {
            Request::Handshake(Handshake { .. }) => {
                Ok(Some(Reply::Welcome { version: VERSION, sandbox: self.sandbox.as_str().to_owned() }))
            }
            Request::Create(create) => self.create(create, fds).map(|()| Some(Reply::Done)),
            Request::StartRoot => self.start(&self.sandbox.clone(), waiter),
            Request::Start(container) => self.start(&container.cid, waiter),
            Request::ExecuteAsync(execute) => self.execute(execute, fds).map(|()| Some(Reply::Done)),
            Request::AwaitReady(container) => self.await_ready(&container.cid, waiter),
            Request::Wait(container) => self.wait(&container.cid, waiter),
            Request::WaitPid(wait) => self.wait_pid(&wait, waiter),
            Request::Signal(signal) => self.signal(&signal).map(|()| Some(Reply::Done)),
            Request::State(State { after }) => Ok(Some(self.state(after.as_deref()))),
            Request::Destroy(container) => Ok(self.destroy(&container.cid, waiter)),
        };
        outcome.transpose()
    }

    /// After this the init is ours to keep, and its end will be recorded.
    fn create(&mut self, create: Create, fds: Vec<OwnedFd>) -> Result<(), Refusal> {
        let Create { cid, root, reaper, pid, host_pid, detach } = create;
        let Ok([pidfd, socket]) = <[OwnedFd; 2]>::try_from(fds) else { unreachable!("counted before") };
        self.check_not_closing()?;
        if self.containers.contains_key(&cid) {
            return Err(refusal(ErrorCode::AlreadyExists, format!("container {:?} already exists", short(&cid))));
        }
        if root != (cid == self.sandbox) {
            let message = format!("the root container of this sandbox is {:?} and no other", short(&self.sandbox));
            return Err(refusal(ErrorCode::Invalid, message));
        }
        if !root && !self.containers.contains_key(&self.sandbox) {
            return Err(refusal(ErrorCode::WrongState, "the sandbox has no root container yet"));
        }
        if detach && !root {
            return Err(refusal(ErrorCode::Invalid, "only the root container detaches its sandbox"));
        }
        if self.containers.len() >= MAX_CONTAINERS {
            let message = format!("the sandbox holds {MAX_CONTAINERS} containers already");
            return Err(refusal(ErrorCode::Busy, message));
        }
        if self.exits.pending() >= MAX_UNRECORDED {
            return Err(refusal(
                ErrorCode::Busy,
                "the ends of earlier containers cannot be written down: no space left",
            ));
        }
        self.check_process(pidfd.as_fd(), pid, host_pid)?;
        if !seqpacket::is_seqpacket(socket.as_fd()) {
            return Err(refusal(ErrorCode::Invalid, "the start socket is not a SOCK_SEQPACKET socket"));
        }
        let process = Process {
            cid: cid.clone(),
            role: Role::Init,
            pid,
            host_pid,
            pidfd,
            reaper,
            waiter: None,
            dead_since: None,
        };
        let token = self.watch_process(process).map_err(|error| system("watch the init", &error))?;
        let container = Container {
            is_root: root,
            start: Start::Waiting(socket),
            pid,
            exited: None,
            waiters: Vec::new(),
            destroyers: Vec::new(),
        };
        if let Some(relay) = self.relay.as_mut().filter(|_| root) {
            relay.set_main(host_pid);
        }
        self.containers.insert(cid, container);
        self.detached |= detach;
        // It may have died before it was adopted.
        self.settle(token);
        Ok(())
    }

    fn start(&mut self, cid: &Id, waiter: Waiter) -> Result<Option<Reply>, Refusal> {
        self.check_not_closing()?;
        let token = self.next_token();
        let container = self.containers.get_mut(cid).ok_or_else(|| no_container(cid))?;
        if container.exited.is_some() {
            return Err(ended(cid));
        }
        let socket = match std::mem::replace(&mut container.start, Start::Failed) {
            Start::Waiting(socket) => socket,
            other => {
                container.start = other;
                let message = format!("container {:?} was started already", short(cid));
                return Err(refusal(ErrorCode::WrongState, message));
            }
        };
        if let Err(error) = seqpacket::send(socket.as_fd(), channel::START, &[]) {
            // It has given up meanwhile, and may have said why.
            let why = last_words(socket.as_fd()).unwrap_or_else(|| error.to_string());
            let message = format!("the init of container {:?} cannot be started: {why}", short(cid));
            return Err(refusal(ErrorCode::StartFailed, message));
        }
        if let Err(error) = self.poller.watch(socket.as_fd(), token, Interest::Read) {
            return Err(system("watch the init's start", &error));
        }
        container.start = Start::Releasing { socket, token, waiter };
        Ok(None)
    }

    fn execute(&mut self, execute: ExecuteAsync, mut fds: Vec<OwnedFd>) -> Result<(), Refusal> {
        let ExecuteAsync { cid, pid, host_pid, reaper } = execute;
        let Some(pidfd) = fds.pop() else { unreachable!("counted before") };
        self.check_not_closing()?;
        if self.container(&cid)?.exited.is_some() {
            return Err(ended(&cid));
        }
        self.check_process(pidfd.as_fd(), pid, host_pid)?;
        let process = Process { cid, role: Role::Exec, pid, host_pid, pidfd, reaper, waiter: None, dead_since: None };
        let token = self.watch_process(process).map_err(|error| system("watch the process", &error))?;
        self.settle(token);
        Ok(())
    }

    fn await_ready(&mut self, cid: &Id, waiter: Waiter) -> Result<Option<Reply>, Refusal> {
        let container = self.container(cid)?;
        let (is_root, ended) = (container.is_root, container.exited.is_some());
        match self.relay.as_ref().filter(|_| is_root) {
            None => Err(refusal(ErrorCode::NotFound, "there is no service manager that the container could speak to")),
            Some(relay) if relay.is_ready() => Ok(Some(Reply::Done)),
            Some(_) if ended => Err(never_ready()),
            Some(_) => {
                self.ready_waiters.push(waiter);
                Ok(None)
            }
        }
    }

    fn wait(&mut self, cid: &Id, waiter: Waiter) -> Result<Option<Reply>, Refusal> {
        let container = self.containers.get_mut(cid).ok_or_else(|| no_container(cid))?;
        match &container.exited {
            Some(exited) => Ok(Some(Reply::Exited(exited.clone()))),
            None => {
                container.waiters.push(waiter);
                Ok(None)
            }
        }
    }

    fn wait_pid(&mut self, wait: &WaitPid, waiter: Waiter) -> Result<Option<Reply>, Refusal> {
        let WaitPid { cid, pid } = wait;
        if *pid <= 0 {
            return Err(refusal(ErrorCode::Invalid, format!("{pid} is not the pid of a process")));
        }
        if self.container(cid)?.pid == *pid {
            return self.wait(cid, waiter);
        }
        if let Some(process) = self.processes.values_mut().find(|process| process.pid == *pid) {
            if process.cid != *cid {
                return Err(not_of(cid, *pid));
            }
            if process.waiter.is_some() {
                return Err(refusal(ErrorCode::WrongState, format!("process {pid} is being waited for already")));
            }
            process.waiter = Some(waiter);
            return Ok(None);
        }
        match self.unasked.iter().rposition(|unasked| unasked.pid == *pid && unasked.cid == *cid) {
            Some(index) => Ok(self.unasked.remove(index).map(|unasked| Reply::Exited(unasked.exited))),
            None if self.unasked.iter().any(|unasked| unasked.pid == *pid) => Err(not_of(cid, *pid)),
            None => Err(refusal(ErrorCode::NotFound, format!("no such process: {pid} in container {:?}", short(cid)))),
        }
    }

    fn signal(&self, signal: &Signal) -> Result<(), Refusal> {
        let Signal { cid, pid, signal } = signal;
        if !(0..=64).contains(signal) {
            return Err(refusal(ErrorCode::Invalid, format!("{signal} is not the number of a signal")));
        }
        let container = self.container(cid)?;
        let wanted = match pid {
            None if container.exited.is_some() => return Err(ended(cid)),
            None => container.pid,
            Some(pid) if *pid > 0 => *pid,
            Some(pid) => return Err(refusal(ErrorCode::Invalid, format!("{pid} is not the pid of a process"))),
        };
        let process = match self.processes.values().find(|process| process.pid == wanted) {
            Some(process) if process.cid == *cid => process,
            Some(_) => return Err(not_of(cid, wanted)),
            None => {
                let message = format!("no such process: {wanted} in container {:?}", short(cid));
                return Err(refusal(ErrorCode::NotFound, message));
            }
        };
        match pidfd::send_signal(process.pidfd.as_fd(), *signal) {
            Ok(()) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(ended(cid)),
            Err(error) => Err(system(&format!("signal process {wanted}"), &error)),
        }
    }

    fn state(&self, after: Option<&str>) -> Reply {
        let (mut containers, mut size, mut more) = (Vec::new(), 0, false);
        for (cid, container) in self.containers.iter().filter(|(cid, _)| after.is_none_or(|after| cid.as_str() > after))
        {
            if size > STATE_BUDGET {
                more = true;
                break;
            }
            let mut of_it: Vec<&Process> = self.processes.values().filter(|process| process.cid == *cid).collect();
            of_it.sort_by_key(|process| process.role != Role::Init);
            let status = ContainerStatus {
                cid: cid.as_str().to_owned(),
                started: matches!(container.start, Start::Started),
                released: matches!(container.start, Start::Releasing { .. } | Start::Started),
                exited: container.exited.clone(),
                pids: of_it
                    .iter()
                    .map(|&Process { pid, host_pid, .. }| ProcessStatus { pid: *pid, host_pid: *host_pid })
                    .collect(),
            };
            size += serde_json::to_vec(&status).map_or(0, |bytes| bytes.len());
            containers.push(status);
        }
        Reply::Containers { containers, more }
    }

    /// SIGKILL at once; the answer when everything that was adopted of it is dead. A container that is not there is
    /// destroyed already.
    fn destroy(&mut self, cid: &Id, waiter: Waiter) -> Option<Reply> {
        if *cid == self.sandbox {
            self.destroyed_by.push(waiter);
            self.close(Cause::Destroyed);
            return None;
        }
        let Some(container) = self.containers.get_mut(cid) else { return Some(Reply::Done) };
        container.destroyers.push(waiter);
        for process in self.processes.values().filter(|process| process.cid == *cid) {
            self.kill(process);
        }
        self.finish_destroy(cid);
        None
    }

    /// Nothing of the sandbox outlives this by much: SIGKILL to all that was adopted, then a bounded wait for how they
    /// ended.
    pub(super) fn close(&mut self, cause: Cause) {
        for process in self.processes.values() {
            self.kill(process);
        }
        let deadline = Instant::now() + patience::LAST_STATUSES;
        match &mut self.closing {
            None => self.closing = Some(Closing { cause, deadline }),
            // Then the disk being full is no reason to stay.
            Some(closing) if cause == Cause::Destroyed && closing.cause != cause => {
                *closing = Closing { cause, deadline }
            }
            Some(_) => {}
        }
    }

    pub(super) fn kill(&self, process: &Process) {
        match pidfd::send_signal(process.pidfd.as_fd(), libc::SIGKILL) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                self.log.error(&format!("cannot kill process {}: {error}", process.host_pid));
            }
            _ => {}
        }
    }

    fn check_not_closing(&self) -> Result<(), Refusal> {
        match self.closing {
            Some(_) => Err(refusal(ErrorCode::WrongState, "the sandbox is ending: container not running")),
            None => Ok(()),
        }
    }

    fn check_process(&self, pidfd: BorrowedFd<'_>, pid: i32, host_pid: i32) -> Result<(), Refusal> {
        if pid <= 0 || host_pid <= 0 {
            return Err(refusal(ErrorCode::Invalid, format!("{pid} and {host_pid} are not both pids of a process")));
        }
        if self.processes.len() >= MAX_PROCESSES {
            let message = format!("the sandbox holds {MAX_PROCESSES} adopted processes already");
            return Err(refusal(ErrorCode::Busy, message));
        }
        if self.processes.values().any(|process| process.pid == pid && process.dead_since.is_none()) {
            return Err(refusal(ErrorCode::AlreadyExists, format!("process {pid} was adopted already")));
        }
        // A process that is gone can still be adopted; another kind of descriptor cannot.
        match pidfd::send_signal(pidfd, 0) {
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
                Err(refusal(ErrorCode::Invalid, "the descriptor of the process is not a pidfd"))
            }
            _ => Ok(()),
        }
    }
}

fn last_words(socket: BorrowedFd<'_>) -> Option<String> {
    let mut buffer = vec![0; 16 * 1024];
    match seqpacket::receive(socket, &mut buffer) {
        Ok(seqpacket::Received::Message { length, .. }) => Some(Failure::read(&buffer[..length.min(4096)]).text),
        _ => None,
    }
}

fn ended(cid: &Id) -> Refusal {
    refusal(ErrorCode::WrongState, format!("container not running: {:?} has ended", short(cid)))
}

fn not_of(cid: &Id, pid: i32) -> Refusal {
    refusal(ErrorCode::NotFound, format!("process {pid} does not belong to container {:?}", short(cid)))
}

fn system(what: &str, error: &io::Error) -> Refusal {
    refusal(ErrorCode::System, format!("the supervisor cannot {what}: {error}"))
}
