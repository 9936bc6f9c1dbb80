//! A seccomp profile becomes a filter program: by `search`, fast and for plain profiles, or by libseccomp, for all others.
//! What a profile means is here:
//! * the native architecture is always part of it;
//! * names of system calls that are not known are skipped: profiles are written for every kernel at once;
//! * a rule that does what happens anyway, or says what one before it has said, is left out (`distinct`);
//! * system calls newer than the profile do not exist (`newer_calls`);
//! * conditions on different arguments must all hold; of several on the same argument, one.
//!
//! Nothing here touches the calling process: [`crate::sys::seccomp::load`] does, with what this returns.

mod distinct;
mod encoded;
mod instruction;
mod meaning;
mod newer_calls;
mod search;
mod vocabulary;

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Seek};

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpFilterContext, ScmpSyscall};
use nix::sys::memfd::{MemFdCreateFlag, memfd_create};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};

use serde::{Deserialize, Serialize};

pub use encoded::fingerprint;
pub use vocabulary::features;

use self::meaning::{MOST, action, alternatives, architecture, comparison, flags_of};
use crate::sys::seccomp::FLAG_NEW_LISTENER;

/// A filter, ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// An array of `struct sock_filter`.
    pub bpf: Vec<u8>,
    /// SECCOMP_FILTER_FLAG_* bits for seccomp(2).
    pub flags: u32,
    /// Loading it returns a listener, to be sent to `listenerPath`.
    pub notify: bool,
    /// Names of the profile that are no system calls here.
    pub unknown: Vec<String>,
}

/// Why a profile is no filter; each names the part of the profile.
#[allow(missing_docs)] // Their texts say it.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("cannot start a seccomp filter with the default action {action}")]
    Start { action: LinuxSeccompAction, source: libseccomp::error::SeccompError },
    #[error("the architecture {arch} of the seccomp profile cannot be filtered")]
    Architecture { arch: Arch, source: libseccomp::error::SeccompError },
    #[error("the seccomp rule for {syscall:?} cannot be compiled")]
    Rule { syscall: String, source: libseccomp::error::SeccompError },
    #[error("the seccomp profile needs {least} instructions or more, and the kernel takes {MOST}: give fewer rules")]
    TooLong { least: usize },
    #[error("the seccomp filter cannot be compiled")]
    Export { source: libseccomp::error::SeccompError },
    #[error("the compiled seccomp filter cannot be read back")]
    ReadBack { source: io::Error },
}

/// Compiles a profile that `spec::plan` has judged.
pub fn compile(profile: &LinuxSeccomp) -> Result<Program, CompileError> {
    let profile = &distinct::rules(profile);
    let archs = architectures(profile);
    let bpf = match search::program(profile, &archs) {
        Some(bpf) => bpf,
        None => by_libseccomp(profile, &archs)?,
    };
    let (unknown, notify) = names(profile);
    Ok(Program { bpf, flags: flags(profile, notify), notify, unknown })
}

/// The native one first, each once.
fn architectures(profile: &LinuxSeccomp) -> Vec<ScmpArch> {
    let mut archs = vec![ScmpArch::native()];
    for arch in profile.architectures().iter().flatten().map(|arch| architecture(*arch)) {
        if arch != ScmpArch::Native && !archs.contains(&arch) {
            archs.push(arch);
        }
    }
    archs
}

/// Of all rules that do something: the names that are no system calls here, and whether an agent is to be asked.
fn names(profile: &LinuxSeccomp) -> (Vec<String>, bool) {
    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut unknown = Vec::new();
    let mut notify = false;
    for rule in profile.syscalls().iter().flatten() {
        let wanted = action(rule.action(), rule.errno_ret());
        for name in rule.names().iter().filter(|_| wanted != default) {
            match ScmpSyscall::from_name(name) {
                Ok(_) => notify |= wanted == ScmpAction::Notify,
                Err(_) => unknown.push(name.clone()),
            }
        }
    }
    (unknown, notify)
}

fn by_libseccomp(profile: &LinuxSeccomp, archs: &[ScmpArch]) -> Result<Vec<u8>, CompileError> {
    // It would think about that for minutes, and the kernel would refuse what comes of it.
    let least = least(profile);
    if least > MOST {
        return Err(CompileError::TooLong { least });
    }
    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut filter = ScmpFilterContext::new(default)
        .map_err(|source| CompileError::Start { action: profile.default_action(), source })?;
    for arch in profile.architectures().iter().flatten() {
        filter.add_arch(architecture(*arch)).map_err(|source| CompileError::Architecture { arch: *arch, source })?;
    }
    for rule in profile.syscalls().iter().flatten() {
        let wanted = action(rule.action(), rule.errno_ret());
        for name in rule.names().iter().filter(|_| wanted != default) {
            let Ok(syscall) = ScmpSyscall::from_name(name) else { continue };
            add(&mut filter, wanted, syscall, rule)
                .map_err(|source| CompileError::Rule { syscall: name.clone(), source })?;
        }
    }
    let mut bpf = newer_calls::before(profile, archs);
    bpf.extend(export(&filter)?);
    match bpf.len() / size_of::<libc::sock_filter>() {
        ..=MOST => Ok(bpf),
        least => Err(CompileError::TooLong { least }),
    }
}

/// How many instructions a filter has at the least: one for each rule of a call of this machine.
fn least(profile: &LinuxSeccomp) -> usize {
    let default = action(profile.default_action(), profile.default_errno_ret());
    let rules = profile.syscalls().iter().flatten();
    let rules = rules.filter(|rule| action(rule.action(), rule.errno_ret()) != default);
    let ours = |name: &&String| ScmpSyscall::from_name(name).is_ok_and(|number| number.as_raw_syscall() >= 0);
    rules.map(|rule| rule.names().iter().filter(ours).count() * alternatives(rule).len().max(1)).sum()
}

fn add(
    filter: &mut ScmpFilterContext,
    action: ScmpAction,
    syscall: ScmpSyscall,
    rule: &LinuxSyscall,
) -> Result<(), libseccomp::error::SeccompError> {
    let alternatives = alternatives(rule);
    if alternatives.is_empty() {
        filter.add_rule(action, syscall)?;
    }
    for conditions in alternatives {
        let compared: Vec<ScmpArgCompare> = conditions.iter().map(comparison).collect();
        filter.add_rule_conditional(action, syscall, &compared)?;
    }
    Ok(())
}

/// TSYNC is for threads, of which there is one. The flag for killable waits is only valid with a listener.
fn flags(profile: &LinuxSeccomp, notify: bool) -> u32 {
    let listener = if notify { FLAG_NEW_LISTENER } else { 0 };
    profile.flags().iter().flatten().fold(listener, |bits, flag| bits | flags_of(*flag, notify))
}

/// libseccomp writes the program to a file; this one lives in memory and cannot block.
fn export(filter: &ScmpFilterContext) -> Result<Vec<u8>, CompileError> {
    const NAME: &CStr = c"seccomp-filter";
    let read_back = |source: io::Error| CompileError::ReadBack { source };
    let memory = memfd_create(NAME, MemFdCreateFlag::MFD_CLOEXEC).map_err(|errno| read_back(errno.into()))?;
    let mut file = File::from(memory);
    filter.export_bpf(&file).map_err(|source| CompileError::Export { source })?;
    let mut bpf = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bpf)).map_err(read_back)?;
    Ok(bpf)
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::sync::mpsc;
    use std::thread;

    use nix::sys::prctl;
    use nix::unistd::{AccessFlags, access};
    use serde_json::json;

    use super::*;
    use crate::sys::seccomp::{FLAG_LOG, FLAG_SPEC_ALLOW, FLAG_WAIT_KILLABLE_RECV, load};

    fn compiled(profile: serde_json::Value) -> Program {
        compile(&serde_json::from_value(profile).unwrap()).unwrap()
    }

    /// A filter binds the thread that loads it: here one that ends with the test.
    fn under<T: Send>(program: &Program, work: impl FnOnce(Option<OwnedFd>) -> T + Send) -> T {
        let guarded = || {
            prctl::set_no_new_privs().unwrap();
            work(load(&program.bpf, program.flags).unwrap())
        };
        thread::scope(|scope| scope.spawn(guarded).join().unwrap())
    }

    #[test]
    fn a_denied_call_gets_eperm_or_the_number_asked_for() {
        let rule = json!({"names": ["chroot"], "action": "SCMP_ACT_ERRNO"});
        let number = json!({"names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38});
        let program = compiled(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule, number]}));
        let (chroot, hostname) = under(&program, |_| (nix::unistd::chroot("/"), nix::unistd::sethostname("never-set")));
        assert_eq!(chroot, Err(nix::Error::EPERM));
        assert_eq!(hostname, Err(nix::Error::ENOSYS));
        assert!(!program.notify && program.flags == 0);
    }

    #[test]
    fn every_operator_compares_as_it_says() {
        // access(2)'s second argument, at the value 4 (R_OK): which operators match?
        let cases = [
            ("SCMP_CMP_EQ", 4, 0, true),
            ("SCMP_CMP_EQ", 0, 0, false),
            ("SCMP_CMP_NE", 4, 0, false),
            ("SCMP_CMP_NE", 1, 0, true),
            ("SCMP_CMP_LT", 5, 0, true),
            ("SCMP_CMP_LT", 4, 0, false),
            ("SCMP_CMP_LE", 4, 0, true),
            ("SCMP_CMP_LE", 3, 0, false),
            ("SCMP_CMP_GT", 3, 0, true),
            ("SCMP_CMP_GT", 4, 0, false),
            ("SCMP_CMP_GE", 4, 0, true),
            ("SCMP_CMP_GE", 5, 0, false),
            ("SCMP_CMP_MASKED_EQ", 6, 4, true),
            ("SCMP_CMP_MASKED_EQ", 6, 2, false),
        ];
        for (op, value, two, matches) in cases {
            let args = |index| json!([{"index": index, "op": op, "value": value, "valueTwo": two}]);
            let deny =
                |name, index| json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 39, "args": args(index)});
            // Some C libraries call faccessat, where the mode is the third argument.
            let rules = json!([deny("access", 1), deny("faccessat", 2), deny("faccessat2", 2)]);
            let program = compiled(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
            let result = under(&program, |_| access("/", AccessFlags::R_OK));
            assert_eq!(result == Err(nix::Error::ENOTEMPTY), matches, "{op} {value} {two}: {result:?}");
        }
    }

    #[test]
    fn conditions_on_one_argument_are_alternatives_and_on_different_ones_belong_together() {
        let compare = |index, value| json!({"index": index, "op": "SCMP_CMP_EQ", "value": value});
        let program = |args: serde_json::Value| {
            let rule = json!({"names": ["dup3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 39, "args": args});
            compiled(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
        };
        let dup3 = |program: &Program, from: i32, to: i32| {
            under(program, |_| nix::unistd::dup3(from, to, nix::fcntl::OFlag::O_CLOEXEC)).unwrap_err()
        };
        let any = program(json!([compare(0, 7_000_001), compare(0, 7_000_002)]));
        assert_eq!(dup3(&any, 7_000_001, 7_000_009), nix::Error::ENOTEMPTY);
        assert_eq!(dup3(&any, 7_000_002, 7_000_009), nix::Error::ENOTEMPTY);
        assert_eq!(dup3(&any, 7_000_003, 7_000_009), nix::Error::EBADF);
        let both = program(json!([compare(0, 7_000_001), compare(1, 7_000_002)]));
        assert_eq!(dup3(&both, 7_000_001, 7_000_002), nix::Error::ENOTEMPTY);
        assert_eq!(dup3(&both, 7_000_001, 7_000_009), nix::Error::EBADF);
    }

    #[test]
    fn unknown_names_are_skipped_and_foreign_architectures_are_taken() {
        let program = compiled(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
            "syscalls": [
                {"names": ["read", "no_such_call", "a\u{0}b", "socketcall"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["write"], "action": "SCMP_ACT_ERRNO"},
            ],
        }));
        assert_eq!(program.unknown, ["no_such_call", "a\0b"]);
        assert_eq!(program.flags, FLAG_LOG | FLAG_SPEC_ALLOW);
        assert!(!program.bpf.is_empty() && program.bpf.len().is_multiple_of(8));
    }

    #[test]
    fn a_listener_is_asked_and_its_answer_is_the_result() {
        let rule = json!({"names": ["sethostname"], "action": "SCMP_ACT_NOTIFY"});
        let program = compiled(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "listenerPath": "/run/agent.sock",
            "syscalls": [rule],
        }));
        assert!(program.notify);
        assert_eq!(program.flags, FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV);
        let (send, receive) = mpsc::channel::<OwnedFd>();
        let agent = thread::spawn(move || {
            let listener = receive.recv().unwrap();
            let request = libseccomp::ScmpNotifReq::receive(listener.as_raw_fd()).unwrap();
            let answer = libseccomp::ScmpNotifResp::new_error(
                request.id,
                -libc::ENOTEMPTY,
                libseccomp::ScmpNotifRespFlags::empty(),
            );
            answer.respond(listener.as_raw_fd()).unwrap();
        });
        let result = under(&program, |listener| {
            send.send(listener.unwrap()).unwrap();
            nix::unistd::sethostname("never-set")
        });
        agent.join().unwrap();
        assert_eq!(result, Err(nix::Error::ENOTEMPTY));
    }
}
