//! The supervisor as it really runs: its own program, pid 1 of a PID namespace, confined.
#![allow(unsafe_code)] // pre_exec: the closure makes system calls only. ptrace(2) has no safe form here.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sandkeep::control::method::{Container, Create, Reply, Request, Signal};
use sandkeep::control::wire::{self, Received};
use sandkeep::control::{self, Client, ControlError};
use sandkeep::model::record::Reaper;
use sandkeep::model::{Id, exits};
use sandkeep::sys::ready::{self, Readiness};
use sandkeep::sys::{pidfd, procfs, seqpacket};

/// A running supervisor of a sandbox called `s`.
struct Sandbox {
    dir: tempfile::TempDir,
    folder: OwnedFd,
    /// unshare(1), which waits for it and ends as it does.
    launcher: Child,
    /// The supervisor's, on the host.
    pid: i32,
}

/// None, said aloud, without the privilege to make one.
fn launch() -> Option<Sandbox> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    let (dir, mut launcher, said) = try_launch(&[], &["--pid-namespace=own"]);
    assert_eq!(said, "K");
    let pid = child_of(launcher.id() as i32).unwrap_or_else(|| {
        let _ = launcher.kill();
        panic!("no supervisor below unshare")
    });
    let folder = File::open(dir.path()).unwrap().into();
    Some(Sandbox { dir, folder, launcher, pid })
}

/// What start-sync said.
fn try_launch(namespaces: &[&str], flags: &[&str]) -> (tempfile::TempDir, Child, String) {
    let dir = tempfile::tempdir().unwrap();
    let folder: OwnedFd = File::open(dir.path()).unwrap().into();
    let program = dir.path().join("sandkeep-sandbox");
    let sandkeep = support::command::binary();
    std::os::unix::fs::symlink(sandkeep, &program).unwrap();
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let donated: Vec<(&str, OwnedFd)> = vec![
        ("controller", control::listen(folder.as_fd()).unwrap()),
        ("spec", File::open("/dev/null").unwrap().into()),
        ("start-sync", writer),
        ("exits", File::create(dir.path().join("exits")).unwrap().into()),
        ("creator", pidfd::open(std::process::id() as i32).unwrap()),
    ];
    let log: OwnedFd = File::create(dir.path().join("log")).unwrap().into();
    // Left open by mistake: it must not stay so.
    let stray: OwnedFd = File::open("/").unwrap().into();
    let mut args: Vec<OsString> = vec![format!("--debug-log-fd={}", log.as_raw_fd()).into(), "boot".into()];
    args.extend(donated.iter().map(|(name, fd)| format!("--{name}-fd={}", fd.as_raw_fd()).into()));
    args.push("--bundle=/nowhere".into());
    args.extend(flags.iter().map(OsString::from));
    args.push("s".into());
    let inherited: Vec<i32> = donated.iter().map(|(_, fd)| fd).chain([&log, &stray]).map(AsRawFd::as_raw_fd).collect();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child"]).args(namespaces).arg(&program).args(&args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).env_clear();
    // SAFETY: fcntl(2) is async-signal-safe, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            for &fd in &inherited {
                libc::fcntl(fd, libc::F_SETFD, 0);
            }
            Ok(())
        });
    }
    command.env("PATH", std::env::var_os("PATH").unwrap());
    let launcher = command.spawn().unwrap();
    drop(donated);
    // unshare(1) holds the other end too: its end is seen only when the supervisor has failed.
    let (mut reader, mut said) = (File::from(reader), [0]);
    reader.read_exact(&mut said).unwrap();
    let mut said = String::from_utf8(said.to_vec()).unwrap();
    if said != "K" {
        reader.read_to_string(&mut said).unwrap();
    }
    (dir, launcher, said)
}

impl Sandbox {
    fn client(&self) -> Client {
        Client::connect(self.folder.as_fd(), soon()).unwrap()
    }

    /// A process of the sandbox that ends with the code that is written to its fifo, and whose parent is pid 1.
    fn orphan(&self, name: &str) -> Orphan {
        let fifo = self.dir.path().join(name);
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let script = r#"sh -c 'read code < "$1"; exit $code' sh "$1" > /dev/null 2>&1 & echo $!"#;
        let output = self.inside(&["sh", "-c", script, "sh", fifo.to_str().unwrap()]).output().unwrap();
        let pid: i32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        let host_pid = self.host_pid(pid);
        Orphan { pid, host_pid, pidfd: pidfd::open(host_pid).unwrap(), fifo }
    }

    /// Runs in the sandbox's PID namespace, as a child of nsenter, which is outside.
    fn inside(&self, command: &[&str]) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--pid=/proc/{}/ns/pid", self.pid)).arg("--").args(command);
        nsenter.stdin(Stdio::null());
        nsenter
    }

    fn host_pid(&self, inner: i32) -> i32 {
        let namespace = namespace(self.pid, "pid");
        let all =
            std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        all.into_iter()
            .find(|&pid: &i32| {
                let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or("");
                numbers.split_whitespace().last() == Some(&inner.to_string())
                    && std::fs::metadata(format!("/proc/{pid}/ns/pid")).is_ok_and(|meta| meta.ino() == namespace)
            })
            .unwrap()
    }

    fn status(&self, field: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
        line.unwrap_or_else(|| panic!("no {field}")).trim().to_owned()
    }

    fn adopt(&self, cid: &str, orphan: &Orphan) -> OwnedFd {
        let (ours, theirs) = seqpacket::pair().unwrap();
        let request = Request::Create(Create {
            cid: id(cid),
            root: cid == "s",
            reaper: Reaper::Supervisor,
            pid: orphan.pid,
            host_pid: orphan.host_pid,
            detach: cid == "s",
        });
        let fds: [BorrowedFd<'_>; 2] = [orphan.pidfd.as_fd(), theirs.as_fd()];
        assert_eq!(self.client().call(&request, &fds, soon()).unwrap(), Reply::Done);
        ours
    }

    fn kill(mut self) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), nix::sys::signal::SIGKILL).unwrap();
        self.launcher.wait().unwrap();
    }
}

struct Orphan {
    pid: i32,
    host_pid: i32,
    pidfd: OwnedFd,
    fifo: PathBuf,
}

impl Orphan {
    fn end(&self, code: u8) {
        writeln!(File::options().write(true).open(&self.fifo).unwrap(), "{code}").unwrap();
    }
}

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(10))
}

fn child_of(parent: i32) -> Option<i32> {
    std::fs::read_dir("/proc").unwrap().find_map(|entry| {
        let pid: i32 = entry.unwrap().file_name().to_str()?.parse().ok()?;
        (procfs::stat(pid).ok()??.ppid == parent).then_some(pid)
    })
}

fn namespace(pid: i32, kind: &str) -> u64 {
    std::fs::metadata(format!("/proc/{pid}/ns/{kind}")).unwrap().ino()
}

#[test]
fn it_keeps_nothing_that_the_loop_does_not_need() {
    let Some(sandbox) = launch() else { return };
    let proc = format!("/proc/{}", sandbox.pid);
    assert_eq!(sandbox.status("Name"), "sandkeep-sandbo");
    assert_eq!(sandbox.status("CapEff"), "0000000000000020", "CAP_KILL");
    assert_eq!(sandbox.status("CapPrm"), "0000000000000020");
    assert_eq!(sandbox.status("CapBnd"), "0000000000000020");
    assert_eq!(sandbox.status("CapInh"), "0000000000000000");
    assert_eq!(sandbox.status("CapAmb"), "0000000000000000");
    assert_eq!(sandbox.status("NoNewPrivs"), "1");
    assert_eq!(sandbox.status("Seccomp"), "2");
    assert_eq!(sandbox.status("Groups"), "");
    assert_eq!(sandbox.status("Threads"), "1");
    let root: Vec<_> =
        std::fs::read_dir(format!("{proc}/root/")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(root, ["null"], "its root holds nothing else");
    assert_eq!(std::fs::read_to_string(format!("{proc}/mountinfo")).unwrap().lines().count(), 1);
    assert_eq!(std::fs::read_link(format!("{proc}/cwd")).unwrap(), Path::new("/"));
    for kind in ["mnt", "ipc", "uts", "pid"] {
        assert_ne!(namespace(sandbox.pid, kind), namespace(std::process::id() as i32, kind), "{kind}");
    }
    // The start-sync may be closed between the two looks.
    let files: Vec<_> = std::fs::read_dir(format!("{proc}/fd"))
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    assert!(!files.contains(&"/".to_owned()), "a descriptor that was not donated is still open: {files:?}");
    // Standard 3, listener, exits, creator, log and its copy for panics, epoll, signalfd; start-sync for a moment yet.
    assert!(files.len() <= 11, "{files:?}");
    let stat = procfs::stat(sandbox.pid).unwrap().unwrap();
    assert_eq!(stat.session, sandbox.pid, "a session of its own");
    let rollup = std::fs::read_to_string(format!("{proc}/smaps_rollup")).unwrap();
    eprintln!("{}", rollup.lines().filter(|line| line.starts_with("Pss")).collect::<Vec<_>>().join(" "));
    sandbox.kill();
}

/// Memory is writable or executable, and never becomes executable: asked of the kernel from inside of it.
#[cfg(target_arch = "x86_64")]
#[test]
fn no_memory_of_it_becomes_executable() {
    let Some(sandbox) = launch() else { return };
    // Nothing is left of its start.
    assert!(sandbox.client().state(soon()).unwrap().is_empty());
    let mut puppet = puppet::Puppet::of(sandbox.pid);
    let (anonymous, rw) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::PROT_READ | libc::PROT_WRITE);
    let mut mmap = |prot: i32| puppet.call(libc::SYS_mmap, [0, 4096, prot as u64, anonymous as u64, u64::MAX, 0]);
    let page = mmap(rw);
    assert!(page > 0, "what the allocator asks for is refused: {page}");
    for prot in [rw | libc::PROT_EXEC, libc::PROT_READ | libc::PROT_EXEC, libc::PROT_EXEC] {
        assert_eq!(mmap(prot), -i64::from(libc::ENOSYS), "mmap with {prot:#x}");
    }
    let mut mprotect = |prot: i32| puppet.call(libc::SYS_mprotect, [page as u64, 4096, prot as u64, 0, 0, 0]);
    assert_eq!(mprotect(libc::PROT_READ), 0);
    assert_eq!(mprotect(libc::PROT_READ | libc::PROT_EXEC), -i64::from(libc::ENOSYS));
    drop(puppet);
    assert!(sandbox.client().state(soon()).unwrap().is_empty(), "it goes on");
    sandbox.kill();
}

/// A process that makes the system calls it is told to.
#[cfg(target_arch = "x86_64")]
mod puppet {
    use std::io;
    use std::mem;
    use std::ptr::null_mut;

    pub struct Puppet {
        pid: i32,
        saved: libc::user_regs_struct,
    }

    impl Puppet {
        /// It has one thread, and waits in a system call.
        pub fn of(pid: i32) -> Puppet {
            // SAFETY: no memory is passed.
            unsafe {
                checked(libc::ptrace(libc::PTRACE_SEIZE, pid, null_mut::<()>(), null_mut::<()>()));
                checked(libc::ptrace(libc::PTRACE_INTERRUPT, pid, null_mut::<()>(), null_mut::<()>()));
            }
            stopped(pid);
            Puppet { pid, saved: registers(pid) }
        }

        /// What the kernel says: a number below 0 is an error's.
        pub fn call(&mut self, number: i64, arguments: [u64; 6]) -> i64 {
            let [rdi, rsi, rdx, r10, r8, r9] = arguments;
            // The instruction that it waits in is two bytes long, and orig_rax says that none is under way.
            let rip = self.saved.rip - 2;
            let asked = libc::user_regs_struct {
                rax: number as u64,
                orig_rax: u64::MAX,
                rip,
                rdi,
                rsi,
                rdx,
                r10,
                r8,
                r9,
                ..self.saved
            };
            set(self.pid, &asked);
            // SAFETY: no memory is passed.
            checked(unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.pid, null_mut::<()>(), null_mut::<()>()) });
            stopped(self.pid);
            let told = registers(self.pid);
            assert_eq!(told.rip, self.saved.rip, "it was no system call");
            told.rax as i64
        }
    }

    impl Drop for Puppet {
        fn drop(&mut self) {
            set(self.pid, &self.saved);
            // SAFETY: no memory is passed.
            checked(unsafe { libc::ptrace(libc::PTRACE_DETACH, self.pid, null_mut::<()>(), null_mut::<()>()) });
        }
    }

    fn registers(pid: i32) -> libc::user_regs_struct {
        // SAFETY: all-zero bytes are valid registers, and the kernel fills them.
        unsafe {
            let mut registers: libc::user_regs_struct = mem::zeroed();
            checked(libc::ptrace(libc::PTRACE_GETREGS, pid, null_mut::<()>(), &mut registers));
            registers
        }
    }

    fn set(pid: i32, registers: &libc::user_regs_struct) {
        // SAFETY: the kernel reads the registers.
        checked(unsafe { libc::ptrace(libc::PTRACE_SETREGS, pid, null_mut::<()>(), registers) });
    }

    fn stopped(pid: i32) {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the kernel to write to.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, libc::__WALL) }, pid);
        assert!(libc::WIFSTOPPED(status), "{status:#x}");
    }

    fn checked(outcome: libc::c_long) {
        assert!(outcome != -1, "ptrace: {}", io::Error::last_os_error());
    }
}

#[test]
fn a_root_process_in_the_sandbox_can_neither_look_into_it_nor_end_it() {
    let Some(sandbox) = launch() else { return };
    // CAP_PERFMON and CAP_SYS_ADMIN read environments and memory maps on newer kernels, whatever else is forbidden.
    let look = "test $1 = other && sleep 600 & test $1 = other && set -- $!; \
                (: < /proc/$1/mem) 2> /dev/null && echo mem; \
                cat /proc/$1/environ > /dev/null 2>&1 && echo environ; ls /proc/$1/root/ > /dev/null 2>&1 && echo root; \
                readlink /proc/$1/fd/0 /proc/$1/ns/mnt /proc/$1/cwd; test $1 = 1 || kill $1";
    let dropped = "-sys_ptrace,-perfmon,-sys_admin";
    let unprivileged = format!("setpriv --bounding-set {dropped} --inh-caps {dropped} --");
    let script = format!("mount -t proc proc /proc && {unprivileged} sh -c '{look}' sh \"$@\"");
    let seen = |pid: &str| {
        let args = ["unshare", "-m", "sh", "-c", &script, "sh", pid];
        String::from_utf8(sandbox.inside(&args).output().unwrap().stdout).unwrap()
    };
    let of_another = seen("other");
    assert!(
        of_another.starts_with("mem\nenviron\nroot\n/dev/null\nmnt:"),
        "any other can be looked into: {of_another}"
    );
    assert_eq!(seen("1"), "");
    let other = sandbox.orphan("other");
    for signal in ["TERM", "INT", "HUP", "USR1", "ABRT", "SEGV", "STOP", "KILL", "CHLD"] {
        let _ = sandbox.inside(&["sh", "-c", &format!("kill -{signal} 1")]).status();
    }
    for signal in ["TERM", "INT", "HUP", "USR2", "PIPE", "ALRM"] {
        // From the host too; only SIGKILL counts there.
        assert!(
            Command::new("kill").args([&format!("-{signal}"), &sandbox.pid.to_string()]).status().unwrap().success()
        );
    }
    assert!(sandbox.client().state(soon()).unwrap().is_empty());
    let died = other.pidfd.as_fd().try_clone_to_owned().unwrap();
    sandbox.kill();
    assert!(pidfd::wait_exit(died.as_fd(), soon()).unwrap(), "the kernel kills all with pid 1");
}

#[test]
fn it_reaps_what_the_kernel_hands_it_and_ends_when_its_root_has() {
    let Some(mut sandbox) = launch() else { return };
    let root = sandbox.orphan("root");
    let init = sandbox.adopt("s", &root);
    let (sub, late) = (sandbox.orphan("sub"), sandbox.orphan("late"));
    let _sub_init = sandbox.adopt("c", &sub);
    let mut client = sandbox.client();
    // The application of the root starts.
    let starter = {
        let mut client = sandbox.client();
        std::thread::spawn(move || client.call(&Request::StartRoot, &[], soon()).unwrap())
    };
    assert!(sandkeep::sys::ready::wait(init.as_fd(), sandkeep::sys::ready::Readiness::Readable, soon()).unwrap());
    drop(init);
    assert_eq!(starter.join().unwrap(), Reply::Done);
    // A child of the container's dies, and one that is adopted only afterwards.
    late.end(21);
    assert!(pidfd::wait_exit(late.pidfd.as_fd(), soon()).unwrap());
    let _late_init = sandbox.adopt("late", &late);
    assert_eq!(client.wait(&id("late"), soon()).unwrap().code, 21);
    client.call(&Request::Signal(Signal { cid: id("c"), pid: None, signal: 9 }), &[], soon()).unwrap();
    assert_eq!(client.wait(&id("c"), soon()).unwrap().signal, Some(9));
    let destroy = Request::Destroy(Container { cid: id("c") });
    assert_eq!(client.call(&destroy, &[], soon()).unwrap(), Reply::Done);
    let ended = Instant::now();
    root.end(7);
    match client.wait(&id("s"), None) {
        Ok(exited) => assert_eq!((exited.code, exited.inferred), (7, false)),
        Err(error) => assert!(matches!(error, ControlError::Gone), "{error}"),
    }
    assert_eq!(sandbox.launcher.wait().unwrap().code(), Some(0), "it ends by itself");
    eprintln!("gone {:?} after its root was told to end", ended.elapsed());
    let records = exits::decode_all(&std::fs::read(sandbox.dir.path().join("exits")).unwrap());
    let told: Vec<_> = records.iter().map(|record| (record.container.as_str(), record.exit.code)).collect();
    assert_eq!(told, [("late", 21), ("c", 137), ("s", 7)]);
    let log = std::fs::read_to_string(sandbox.dir.path().join("log")).unwrap();
    assert!(log.contains(": controller") && !log.contains("\"error\""), "{log}");
}

/// serde takes a list for a struct; the protocol does not.
#[test]
fn a_list_of_parameters_is_refused_and_kills_nobody() {
    let Some(sandbox) = launch() else { return };
    let root = sandbox.orphan("root");
    let _init = sandbox.adopt("s", &root);
    let path = format!("/proc/self/fd/{}/control.sock", sandbox.folder.as_raw_fd());
    let socket = seqpacket::connect(path.as_ref(), soon()).unwrap();
    let mut buffer = vec![0; wire::MAX_FRAME];
    let mut ask = |frame: &str| -> String {
        wire::send(socket.as_fd(), frame.as_bytes(), &[]).unwrap();
        assert!(ready::wait(socket.as_fd(), Readiness::Readable, soon()).unwrap());
        match wire::receive(socket.as_fd(), &mut buffer).unwrap() {
            Received::Message { length, .. } => String::from_utf8(buffer[..length].to_vec()).unwrap(),
            _ => String::new(),
        }
    };
    assert!(ask(r#"{"id":1,"method":"Handshake","params":[1]}"#).contains(r#""code":"invalid""#));
    assert!(ask(r#"{"id":2,"method":"Handshake","params":{"version":1}}"#).contains("welcome"));
    for params in [r#"["s",null,9]"#, r#"{"cid":"s","pid":null,"signal":[9]}"#] {
        let told = ask(&format!(r#"{{"id":3,"method":"containerManager.Signal","params":{params}}}"#));
        assert!(told.contains(r#""code":"invalid""#), "{params}: {told}");
    }
    assert_eq!(ask(r#"[4,"containerManager.Destroy",{"cid":"s"}]"#), "", "hung up on");
    assert!(procfs::stat(root.host_pid).unwrap().is_some_and(|stat| !stat.is_gone()));
    sandbox.kill();
}

#[test]
fn what_keeps_it_from_starting_is_said_to_its_creator() {
    let (_dir, mut launcher, said) = try_launch(&[], &["--pid-namespace=sideways"]);
    assert_eq!(said, "Ethe supervisor was given \"sideways\" for --pid-namespace");
    assert!(!launcher.wait().unwrap().success());
    let (_dir, mut launcher, said) = try_launch(&[], &["--pid-namespace=own", "--cgroup-fd=999"]);
    assert!(said.starts_with("Edescriptor 999 was not donated for cgroup: "), "{said}");
    assert!(!launcher.wait().unwrap().success());
}

#[test]
fn it_starts_in_a_user_namespace_of_an_ordinary_user_too() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root to become an ordinary user's namespace");
        return;
    }
    let (_dir, mut launcher, said) = try_launch(&["--user", "--map-root-user"], &["--pid-namespace=own"]);
    assert_eq!(said, "K");
    let pid = child_of(launcher.id() as i32).unwrap();
    assert_eq!(std::fs::read_dir(format!("/proc/{pid}/root/")).unwrap().count(), 0);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
    launcher.wait().unwrap();
}
