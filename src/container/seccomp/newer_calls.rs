//! System calls that are newer than a profile get ENOSYS, whatever its default action says.
//!
//! A C library tries the newest call first and falls back on ENOSYS; the EPERM that most profiles give by default is
//! final. So what stands before the filter answers for every number above the largest one that the profile names, each
//! architecture by itself. Profiles that let unknown calls through, or hand them to a tracer or an agent, need no help.

use libseccomp::{ScmpArch, ScmpSyscall};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction};

use super::instruction::{
    ARCHITECTURE, AT_LEAST, EQUAL, GREATER, Instruction, JUMP, NO_SUCH_CALL, NUMBER, X32_BIT, answer, branch, jump,
    load,
};

/// The instructions that go before the filter; none when the profile needs none.
pub(super) fn before(profile: &LinuxSeccomp, archs: &[ScmpArch]) -> Vec<u8> {
    if answers_unknown_calls_itself(profile) {
        return Vec::new();
    }
    let sections: Vec<Vec<Instruction>> = sections(profile, archs);
    if sections.is_empty() {
        return Vec::new();
    }
    let mut program = vec![load(ARCHITECTURE)];
    let mut left: usize = sections.iter().map(Vec::len).sum();
    for section in sections {
        left -= section.len();
        let length = section.len();
        // Each section ends with a jump over all that follow: only now is it known how far.
        program.extend(section.into_iter().enumerate().map(|(at, instruction)| match instruction.code {
            JUMP => jump(left + length - at - 1),
            _ => instruction,
        }));
    }
    program.iter().flat_map(Instruction::bytes).collect()
}

/// Whoever is asked, or lets calls through, knows what to do with new ones.
pub(super) fn answers_unknown_calls_itself(profile: &LinuxSeccomp) -> bool {
    match profile.default_action() {
        LinuxSeccompAction::ScmpActAllow
        | LinuxSeccompAction::ScmpActLog
        | LinuxSeccompAction::ScmpActTrace
        | LinuxSeccompAction::ScmpActNotify => true,
        LinuxSeccompAction::ScmpActErrno => profile.default_errno_ret() == Some(libc::ENOSYS as u32),
        _ => false,
    }
}

fn sections(profile: &LinuxSeccomp, archs: &[ScmpArch]) -> Vec<Vec<Instruction>> {
    let largest = |arch| largest_number(profile, arch);
    archs
        .iter()
        .filter_map(|arch| match arch {
            ScmpArch::X32 => None,
            ScmpArch::X8664 => {
                let x32 = if archs.contains(&ScmpArch::X32) { largest(ScmpArch::X32) } else { None };
                largest(ScmpArch::X8664).map(|number| x86_64(number, x32.map(|number| number | X32_BIT)))
            }
            other => largest(*other).zip(audit_arch(*other)).map(|(number, audit)| section(audit, number)),
        })
        .collect()
}

fn largest_number(profile: &LinuxSeccomp, arch: ScmpArch) -> Option<u32> {
    let names = profile.syscalls().iter().flatten().flat_map(|rule| rule.names());
    let numbers = names.filter_map(|name| ScmpSyscall::from_name_by_arch(name, arch).ok());
    // What an architecture does not have has a negative number in libseccomp.
    numbers.filter_map(|number| u32::try_from(number.as_raw_syscall()).ok()).max().filter(|number| *number > 0)
}

fn section(audit_arch: u32, largest: u32) -> Vec<Instruction> {
    vec![branch(EQUAL, audit_arch, 0, 4), load(NUMBER), branch(GREATER, largest, 0, 1), answer(NO_SUCH_CALL), jump(0)]
}

fn x86_64(largest: u32, largest_x32: Option<u32>) -> Vec<Instruction> {
    vec![
        branch(EQUAL, AUDIT_ARCH_X86_64, 0, 8),
        load(NUMBER),
        branch(AT_LEAST, X32_BIT, 0, 3),
        // Without x32 in the profile the filter says what becomes of such calls.
        branch(GREATER, largest_x32.unwrap_or(u32::MAX), 0, 1),
        answer(NO_SUCH_CALL),
        jump(0),
        branch(GREATER, largest, 0, 1),
        answer(NO_SUCH_CALL),
        jump(0),
    ]
}

pub(super) const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// AUDIT_ARCH_* (linux/audit.h) of the architectures that we run on and their 32-bit kin; the others are left to the
/// filter alone.
pub(super) fn audit_arch(arch: ScmpArch) -> Option<u32> {
    match arch {
        ScmpArch::X86 => Some(0x4000_0003),
        ScmpArch::Arm => Some(0x4000_0028),
        ScmpArch::Aarch64 => Some(0xc000_00b7),
        ScmpArch::Riscv64 => Some(0xc000_00f3),
        ScmpArch::Ppc64Le => Some(0xc000_0015),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::instruction::run;
    use super::*;
    use serde_json::json;

    fn profile(default: &str, names: &[&str]) -> LinuxSeccomp {
        let rule = json!({"names": names, "action": "SCMP_ACT_ALLOW"});
        serde_json::from_value(json!({"defaultAction": default, "syscalls": [rule]})).unwrap()
    }

    /// What the stub says of a call: None is "ask the filter".
    fn verdict(program: &[u8], arch: u32, number: u32) -> Option<u32> {
        run(program, arch, number, [0; 6]).map(|answer| answer & 0xffff)
    }

    #[test]
    fn each_architecture_has_its_own_newest_call_and_what_it_knows_goes_to_the_filter() {
        let profile = profile("SCMP_ACT_ERRNO", &["read", "clone3", "no_such_call"]);
        let archs = [ScmpArch::X8664, ScmpArch::X86, ScmpArch::X32, ScmpArch::Aarch64];
        let program = before(&profile, &archs);
        let enosys = Some(libc::ENOSYS as u32);
        for arch in [0xc000_003e, 0x4000_0003, 0xc000_00b7] {
            // clone3 has the same number everywhere.
            for known in [0, 3, 435] {
                assert_eq!(verdict(&program, arch, known), None, "{arch:#x} {known}");
            }
            assert_eq!(verdict(&program, arch, 436), enosys, "{arch:#x}");
            assert_eq!(verdict(&program, arch, u32::MAX), enosys, "{arch:#x}");
        }
        assert_eq!(verdict(&program, 0xc000_003e, X32_BIT | 435), None);
        assert_eq!(verdict(&program, 0xc000_003e, X32_BIT | 1000), enosys);
        // An architecture that the profile does not name is the filter's to refuse.
        assert_eq!(verdict(&program, 0x1234, 100_000), None);
        let without_x32 = before(&profile, &[ScmpArch::X8664]);
        assert_eq!(verdict(&without_x32, 0xc000_003e, X32_BIT | 1000), None);
        assert_eq!(verdict(&without_x32, 0xc000_003e, 436), enosys);
    }

    #[test]
    fn profiles_that_let_new_calls_through_or_say_enosys_already_are_left_alone() {
        for action in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"] {
            assert!(before(&profile(action, &["read"]), &[ScmpArch::X8664]).is_empty(), "{action}");
        }
        let mut enosys = profile("SCMP_ACT_ERRNO", &["read"]);
        enosys.set_default_errno_ret(Some(libc::ENOSYS as u32));
        assert!(before(&enosys, &[ScmpArch::X8664]).is_empty());
        assert!(before(&profile("SCMP_ACT_ERRNO", &["no_such_call"]), &[ScmpArch::X8664]).is_empty());
    }
}
