//! A filter as a binary search in the numbers of system calls.
//!
//! libseccomp makes a list that is walked from its head, one comparison a call: for a profile like those of callers it takes 7
//! to 30 ms, and the kernel walks the list once for every number when it is loaded. This takes 0.3 ms, and a quarter of the
//! time to load.
//!
//! It only takes what cannot be understood in two ways: profiles whose rules for one system call all have the same action.
//! Then any rule that matches decides, whatever the order. Contradictions, and ABIs whose calls are spread over multiplexers
//! (but for 32-bit x86, see [`DIRECT`]), are left to libseccomp. Where both can, both must say the same of every call: that
//! is held by a test, for profiles of callers and for made-up ones.

use std::collections::BTreeMap;

use libseccomp::{ScmpAction, ScmpArch, ScmpSyscall};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator as Operator, LinuxSyscall};

use super::instruction::{
    ARCHITECTURE, ARGUMENTS, AT_LEAST, EQUAL, GREATER, Instruction, NO_SUCH_CALL, NUMBER, X32_BIT, and, answer, branch,
    jump, load,
};
use super::meaning::{MOST, action, alternatives};
use super::newer_calls::{AUDIT_ARCH_X86_64, answers_unknown_calls_itself, audit_arch};

/// What becomes of a call by an ABI that the profile does not name: the thread that makes it is killed.
const FOREIGN: u32 = 0;
/// The filter for these architectures, with what [`super::newer_calls`] would put before it. None: libseccomp must do it.
pub(super) fn program(profile: &LinuxSeccomp, archs: &[ScmpArch]) -> Option<Vec<u8>> {
    let mut program = vec![load(ARCHITECTURE)];
    for arch in archs.iter().filter(|arch| **arch != ScmpArch::X32) {
        let (audit, ranges) = match arch {
            ScmpArch::X8664 => (AUDIT_ARCH_X86_64, x86_64(profile, archs.contains(&ScmpArch::X32))?),
            other => (audit_arch(*other).filter(|_| is_plain(*other))?, Calls::of(profile, *other)?.ranges(0, true)),
        };
        let section = tree(&ranges);
        program.extend([branch(EQUAL, audit, 1, 0), jump(section.len() + 1), load(NUMBER)]);
        program.extend(section);
    }
    if archs.contains(&ScmpArch::X32) && !archs.contains(&ScmpArch::X8664) {
        return None;
    }
    program.push(answer(FOREIGN));
    (program.len() <= MOST).then(|| program.iter().flat_map(Instruction::bytes).collect())
}

/// Whose calls have numbers of their own each, and whose words lie as ours do.
fn is_plain(arch: ScmpArch) -> bool {
    let known = [ScmpArch::X86, ScmpArch::Aarch64, ScmpArch::Arm, ScmpArch::Riscv64].contains(&arch);
    known && cfg!(target_endian = "little")
}

/// x86-64 and x32 are one architecture to the kernel.
fn x86_64(profile: &LinuxSeccomp, with_x32: bool) -> Option<Vec<Range>> {
    let calls = Calls::of(profile, ScmpArch::X8664)?;
    let newer = calls.largest > 0;
    let default = calls.default;
    let mut ranges = calls.ranges(0, true);
    if with_x32 {
        ranges.extend(Calls::of(profile, ScmpArch::X32)?.ranges(X32_BIT, newer));
    } else {
        // A tracer that skips a call makes it -1.
        ranges.extend([(X32_BIT, Answer::always(FOREIGN)), (u32::MAX, Answer::always(default))]);
    }
    Some(ranges)
}

/// From this number on, to the next range.
type Range = (u32, Answer);

/// What a profile says of the calls of one ABI.
struct Calls {
    default: u32,
    /// The profile does not know calls above `largest`, which is 0 if it knows none, and asks nobody about them.
    blind: bool,
    largest: u32,
    answers: BTreeMap<u32, Answer>,
}

/// What a filter returns for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    value: u32,
    /// When all conditions of one of these hold, and the default otherwise. None at all: always.
    when: Vec<Vec<Condition>>,
    otherwise: u32,
}

impl Calls {
    /// None if two rules for one call disagree, or a call could be made through a multiplexer past its rule.
    fn of(profile: &LinuxSeccomp, arch: ScmpArch) -> Option<Calls> {
        let default = action(profile.default_action(), profile.default_errno_ret());
        let blind = !answers_unknown_calls_itself(profile);
        let mut calls = Calls { default: value_of(default)?, blind, largest: 0, answers: BTreeMap::new() };
        let mut multiplexed = Vec::new();
        for rule in profile.syscalls().iter().flatten() {
            let wanted = action(rule.action(), rule.errno_ret());
            for name in rule.names() {
                let Ok(number) = ScmpSyscall::from_name_by_arch(name, arch) else { continue };
                let number = number.as_raw_syscall();
                // What an architecture does not have has a negative number in libseccomp.
                calls.largest = calls.largest.max(u32::try_from(number).unwrap_or(0));
                if wanted == default {
                    continue;
                }
                let direct = match multiplexer(number).filter(|_| arch == ScmpArch::X86) {
                    Some(by) => {
                        multiplexed.push((by, wanted));
                        DIRECT.iter().find(|(direct, _)| direct == name).map(|(_, number)| *number)
                    }
                    None => u32::try_from(number).ok(),
                };
                if let Some(number) = direct {
                    calls.add(number, value_of(wanted)?, rule, arch)?;
                }
            }
        }
        for (by, wanted) in multiplexed {
            let whole = calls.answers.get(&by).filter(|answer| answer.when.is_empty())?;
            if whole.value != value_of(wanted)? {
                return None;
            }
        }
        Some(calls)
    }

    fn add(&mut self, number: u32, value: u32, rule: &LinuxSyscall, arch: ScmpArch) -> Option<()> {
        let wide = matches!(arch, ScmpArch::X8664 | ScmpArch::Aarch64 | ScmpArch::Riscv64);
        let when: Vec<Vec<Condition>> =
            alternatives(rule).iter().map(|all| all.iter().map(|arg| Condition::new(arg, wide)).collect()).collect();
        let otherwise = self.default;
        match self.answers.get_mut(&number) {
            None => drop(self.answers.insert(number, Answer { value, when, otherwise })),
            Some(known) if known.value != value => return None,
            Some(known) if known.when.is_empty() || when.is_empty() => known.when.clear(),
            Some(known) => known.when.extend(when),
        }
        Some(())
    }

    /// From the lowest number to the highest of this ABI, each range different from the one before it. `offset` is a bit that
    /// all its numbers have.
    fn ranges(self, offset: u32, newer: bool) -> Vec<Range> {
        let default = Answer::always(self.default);
        let mut ranges = vec![(offset, default.clone())];
        let mut push = |number: u32, answer: &Answer| {
            let number = number | offset;
            if ranges.last().is_some_and(|(start, _)| *start == number) {
                ranges.pop();
            }
            if ranges.last().is_none_or(|(_, last)| last != answer) {
                ranges.push((number, answer.clone()));
            }
        };
        let largest = self.largest & !offset;
        let newer = newer && self.blind && self.largest > 0;
        for (number, answer) in &self.answers {
            let number = number & !offset;
            if newer && number > largest {
                break;
            }
            push(number, answer);
            push(number + 1, &default);
        }
        if newer {
            push(largest + 1, &Answer::always(NO_SUCH_CALL));
        }
        ranges
    }
}

/// A jump to the right half when the number is there; the loaded number stays loaded until an answer is found.
fn tree(ranges: &[Range]) -> Vec<Instruction> {
    let (left, right) = match ranges {
        [] => return Vec::new(),
        [(_, answer)] => return answer.instructions(),
        more => more.split_at(more.len() / 2),
    };
    let pivot = right[0].0;
    let (left, right) = (tree(left), tree(right));
    let mut all = match u8::try_from(left.len()) {
        Ok(over) => vec![branch(AT_LEAST, pivot, over, 0)],
        Err(_) => vec![branch(AT_LEAST, pivot, 0, 1), jump(left.len())],
    };
    all.extend(left);
    all.extend(right);
    all
}

impl Answer {
    fn always(value: u32) -> Answer {
        Answer { value, when: Vec::new(), otherwise: value }
    }

    fn instructions(&self) -> Vec<Instruction> {
        if self.when.is_empty() {
            return vec![answer(self.value)];
        }
        let mut all = Vec::new();
        for conditions in &self.when {
            let steps: Vec<Step> = conditions.iter().flat_map(Condition::steps).collect();
            let length = steps.len();
            // One behind the answer is the next alternative.
            all.extend(steps.iter().enumerate().map(|(at, step)| step.instruction(length - at)));
            all.push(answer(self.value));
        }
        all.push(answer(self.otherwise));
        all
    }
}

/// A comparison of one argument. Of a 32-bit ABI only the lower word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Condition {
    argument: u32,
    op: Operator,
    mask: u64,
    datum: u64,
    wide: bool,
}

/// An instruction whose way on is known when the whole is.
enum Step {
    Plain(Instruction),
    /// Where to go if the comparison holds, and if it does not.
    Compare(u16, u32, Way, Way),
}

#[derive(Clone, Copy)]
enum Way {
    On,
    /// The condition holds: over this many steps to the end of it.
    Holds(u8),
    /// It does not: to the next alternative.
    Fails,
}

impl Condition {
    fn new(arg: &LinuxSeccompArg, wide: bool) -> Condition {
        let (mask, datum) = match arg.op() {
            Operator::ScmpCmpMaskedEq => (arg.value(), arg.value_two().unwrap_or(0)),
            _ => (u64::MAX, arg.value()),
        };
        Condition { argument: arg.index() as u32, op: arg.op(), mask, datum, wide }
    }

    fn steps(&self) -> Vec<Step> {
        use Way::{Fails, Holds, On};
        let high = (self.datum >> 32) as u32;
        let low = self.datum as u32;
        let compare = |code, k, holds, fails| Step::Compare(code, k, holds, fails);
        let mut steps = Vec::new();
        if self.wide {
            steps.extend(self.load(1, (self.mask >> 32) as u32));
            steps.extend(match self.op {
                Operator::ScmpCmpEq | Operator::ScmpCmpMaskedEq => vec![compare(EQUAL, high, On, Fails)],
                Operator::ScmpCmpNe => vec![compare(EQUAL, high, On, Holds(2))],
                Operator::ScmpCmpGt | Operator::ScmpCmpGe => {
                    vec![compare(GREATER, high, Holds(3), On), compare(EQUAL, high, On, Fails)]
                }
                Operator::ScmpCmpLt | Operator::ScmpCmpLe => {
                    vec![compare(GREATER, high, Fails, On), compare(EQUAL, high, On, Holds(2))]
                }
            });
        }
        steps.extend(self.load(0, self.mask as u32));
        steps.push(match self.op {
            Operator::ScmpCmpEq | Operator::ScmpCmpMaskedEq => compare(EQUAL, low, On, Fails),
            Operator::ScmpCmpNe => compare(EQUAL, low, Fails, On),
            Operator::ScmpCmpGt => compare(GREATER, low, On, Fails),
            Operator::ScmpCmpGe => compare(AT_LEAST, low, On, Fails),
            Operator::ScmpCmpLt => compare(AT_LEAST, low, Fails, On),
            Operator::ScmpCmpLe => compare(GREATER, low, Fails, On),
        });
        steps
    }

    /// Words of little-endian arguments: 0 is the lower one.
    fn load(&self, word: u32, mask: u32) -> Vec<Step> {
        let mut steps = vec![Step::Plain(load(ARGUMENTS + 8 * self.argument + 4 * word))];
        if mask != u32::MAX {
            steps.push(Step::Plain(and(mask)));
        }
        steps
    }
}

impl Step {
    /// `left` is the number of steps of this alternative from here on, this one included.
    fn instruction(&self, left: usize) -> Instruction {
        let distance = |way: Way| match way {
            Way::On => 0,
            Way::Holds(over) => over,
            // At most six conditions of seven steps.
            Way::Fails => left as u8,
        };
        match *self {
            Step::Plain(instruction) => instruction,
            Step::Compare(code, k, holds, fails) => branch(code, k, distance(holds), distance(fails)),
        }
    }
}

/// SECCOMP_RET_* (seccomp(2)).
fn value_of(action: ScmpAction) -> Option<u32> {
    Some(match action {
        ScmpAction::KillProcess => 0x8000_0000,
        ScmpAction::KillThread => 0,
        ScmpAction::Trap => 0x0003_0000,
        ScmpAction::Errno(number) => 0x0005_0000 | u32::try_from(number).ok()?,
        ScmpAction::Notify => 0x7fc0_0000,
        ScmpAction::Trace(value) => 0x7ff0_0000 | u32::from(value),
        ScmpAction::Log => 0x7ffc_0000,
        ScmpAction::Allow => 0x7fff_0000,
        _ => return None,
    })
}

/// socketcall(2) or ipc(2), through which 32-bit x86 could make a call as well: libseccomp's numbers for what was once only
/// there (seccomp.h, __PNR_socket and __PNR_semop).
fn multiplexer(number: i32) -> Option<u32> {
    const SOCKETCALL: u32 = 102;
    const IPC: u32 = 117;
    match number {
        -120..=-101 => Some(SOCKETCALL),
        -224..=-201 => Some(IPC),
        _ => None,
    }
}

/// Calls that 32-bit x86 has had a number for since 2.6.33, 3.0, 4.3 or 5.1 (syscall_32.tbl), besides the multiplexer that it had before
/// and that libseccomp's name stands for.
const DIRECT: [(&str, u32); 27] = [
    ("recvmmsg", 337),
    ("sendmmsg", 345),
    ("socket", 359),
    ("socketpair", 360),
    ("bind", 361),
    ("connect", 362),
    ("listen", 363),
    ("accept4", 364),
    ("getsockopt", 365),
    ("setsockopt", 366),
    ("getsockname", 367),
    ("getpeername", 368),
    ("sendto", 369),
    ("sendmsg", 370),
    ("recvfrom", 371),
    ("recvmsg", 372),
    ("shutdown", 373),
    ("semget", 393),
    ("semctl", 394),
    ("shmget", 395),
    ("shmctl", 396),
    ("shmat", 397),
    ("shmdt", 398),
    ("msgget", 399),
    ("msgsnd", 400),
    ("msgrcv", 401),
    ("msgctl", 402),
];

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Arch;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::instruction::run;
    use super::super::{architectures, by_libseccomp};
    use super::*;
    use crate::spec::{Abis, default_seccomp};

    const ARCHS: [u32; 5] = [0xc000_003e, 0x4000_0003, 0xc000_00b7, 0x4000_0028, 0x1234];

    fn profile(value: Value) -> LinuxSeccomp {
        serde_json::from_value(value).unwrap()
    }

    /// Calls at all numbers that a profile could mean. Where it compares arguments, they lie at, beside and 2^32 away from what
    /// it compares with.
    fn each_call(profile: &LinuxSeccomp, mut look: impl FnMut(u32, u32, [u64; 6])) {
        let mut values = vec![0, 1, u64::MAX];
        let mut compared = Vec::new();
        for rule in profile.syscalls().iter().flatten().filter(|rule| rule.args().is_some()) {
            for arg in rule.args().iter().flatten() {
                for value in [arg.value(), arg.value_two().unwrap_or(0), arg.value() ^ arg.value_two().unwrap_or(0)] {
                    values.extend([value, value.wrapping_add(1), value.wrapping_sub(1), value ^ (1 << 32), value ^ 8]);
                }
            }
            for name in rule.names() {
                compared.extend(DIRECT.iter().filter(|(direct, _)| direct == name).map(|(_, number)| *number));
                let of =
                    |arch| ScmpSyscall::from_name_by_arch(name, arch).ok().map(|call| call.as_raw_syscall() as u32);
                compared.extend(
                    [ScmpArch::X8664, ScmpArch::X86, ScmpArch::X32, ScmpArch::Aarch64].map(of).iter().flatten(),
                );
            }
        }
        values.sort();
        values.dedup();
        let numbers = (0..600)
            .chain(0xf_0000..0xf_0008)
            .chain([X32_BIT - 1, u32::MAX - 1, u32::MAX])
            .chain((0..600).map(|n| n | X32_BIT));
        for (arch, number) in ARCHS.iter().flat_map(|arch| numbers.clone().map(|number| (*arch, number))) {
            look(arch, number, [0; 6]);
            for one in values.iter().filter(|_| compared.contains(&number)) {
                look(arch, number, [*one; 6]);
                look(arch, number, [*one, 0, *one, 0, *one, 0]);
                look(arch, number, [0, *one, 0, *one, 0, *one]);
            }
        }
    }

    fn agrees_with_libseccomp(profile: &LinuxSeccomp) {
        let archs = architectures(profile);
        let Some(ours) = program(profile, &archs) else { panic!("left to libseccomp") };
        let theirs = by_libseccomp(profile, &archs).unwrap();
        each_call(profile, |arch, number, arguments| {
            let answers = (run(&ours, arch, number, arguments), run(&theirs, arch, number, arguments));
            assert_eq!(answers.0, answers.1, "{arch:#x} {number:#x} {arguments:x?}");
        });
    }

    /// What the profile says of a native call that has rules, read as the specification has it.
    fn meant(profile: &LinuxSeccomp, number: u32, arguments: [u64; 6]) -> Option<u32> {
        let name = ScmpSyscall::from_raw_syscall(number as i32).get_name().ok()?;
        let rules: Vec<_> = profile.syscalls().iter().flatten().filter(|rule| rule.names().contains(&name)).collect();
        let first = rules.first()?;
        let holds = |arg: &LinuxSeccompArg| {
            let (value, given) = (arg.value(), arguments[arg.index()]);
            match arg.op() {
                Operator::ScmpCmpEq => given == value,
                Operator::ScmpCmpNe => given != value,
                Operator::ScmpCmpLt => given < value,
                Operator::ScmpCmpLe => given <= value,
                Operator::ScmpCmpGt => given > value,
                Operator::ScmpCmpGe => given >= value,
                Operator::ScmpCmpMaskedEq => given & value == arg.value_two().unwrap_or(0),
            }
        };
        let matches = |rule: &&LinuxSyscall| {
            let alternatives = alternatives(rule);
            alternatives.is_empty() || alternatives.iter().any(|all| all.iter().all(holds))
        };
        let decided = rules.iter().any(matches).then(|| action(first.action(), first.errno_ret()));
        value_of(decided.unwrap_or(action(profile.default_action(), profile.default_errno_ret())))
    }

    #[test]
    fn the_default_profile_decides_the_same_by_either_compiler() {
        for abis in [Abis::All, Abis::Native] {
            agrees_with_libseccomp(&default_seccomp(&[], abis));
            agrees_with_libseccomp(&default_seccomp(&["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"], abis));
        }
    }

    #[test]
    fn so_it_does_for_the_machines_that_this_is_not() {
        let mut profile = default_seccomp(&[], Abis::All);
        let mut rules = profile.syscalls().clone().unwrap();
        let arms =
            json!({"names": ["breakpoint", "cacheflush", "set_tls", "sync_file_range2"], "action": "SCMP_ACT_ALLOW"});
        rules.push(serde_json::from_value(arms).unwrap());
        profile.set_syscalls(Some(rules));
        for kin in [vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm], vec![Arch::ScmpArchRiscv64]] {
            profile.set_architectures(Some(kin));
            agrees_with_libseccomp(&profile);
        }
    }

    #[test]
    fn a_program_is_short_and_shallow() {
        let profile = default_seccomp(&[], Abis::All);
        let program = program(&profile, &architectures(&profile)).unwrap();
        assert!(program.len() / 8 < 800, "{} instructions", program.len() / 8);
    }

    #[test]
    fn rules_that_contradict_each_other_are_left_to_libseccomp() {
        let rule = |action: &str, value: u32| {
            json!({"names": ["socket"], "action": action,
            "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]})
        };
        let both = profile(json!({"defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [rule("SCMP_ACT_ALLOW", 1), rule("SCMP_ACT_TRAP", 2)]}));
        assert_eq!(program(&both, &architectures(&both)), None);
        let socket = |names: &[&str]| {
            profile(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO"}]}))
        };
        // On 32-bit x86 the call also goes through socketcall.
        assert_eq!(program(&socket(&["socket"]), &[ScmpArch::X86]), None);
        assert!(program(&socket(&["socket", "socketcall"]), &[ScmpArch::X86]).is_some());
    }

    fn operator() -> impl Strategy<Value = &'static str> {
        let words = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"];
        prop::sample::select(words.to_vec())
    }

    fn condition() -> impl Strategy<Value = Value> {
        let number = || prop_oneof![0..4_u64, any::<u64>(), any::<u32>().prop_map(u64::from), Just(1 << 32)];
        (0..3_usize, operator(), number(), number()).prop_map(|(index, op, value, two)| {
            // With a mask of zero libseccomp compares nothing; the specification knows no such case.
            let two = two & value;
            json!({"index": index, "op": format!("SCMP_CMP_{op}"), "value": value, "valueTwo": two})
        })
    }

    fn rules(action: &'static str) -> impl Strategy<Value = Vec<Value>> {
        // Some that 32-bit x86 has twice, some that only one ABI has, some that are far apart, one that is none.
        let names =
            ["read", "clone", "socket", "socketcall", "ipc", "semop", "clone3", "waitpid", "set_tls", "mmap2", "none"];
        let names = prop::sample::subsequence(names.to_vec(), 1..5);
        let rule = (names, prop::collection::vec(condition(), 0..3));
        prop::collection::vec(rule, 1..5).prop_map(move |rules| {
            let rule = |(names, args)| json!({"names": names, "action": action, "args": args});
            rules.into_iter().map(rule).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_made_up_profile_decides_as_it_says(
            allowing in any::<bool>(),
            allow in rules("SCMP_ACT_ALLOW"),
            deny in rules("SCMP_ACT_KILL_PROCESS"),
        ) {
            let (default, rules) = if allowing { ("SCMP_ACT_ALLOW", deny) } else { ("SCMP_ACT_ERRNO", allow) };
            let profile = profile(json!({"defaultAction": default, "architectures": [], "syscalls": rules}));
            let program = program(&profile, &architectures(&profile)).unwrap();
            each_call(&profile, |arch, number, arguments| {
                let wanted = meant(&profile, number, arguments).filter(|_| arch == ARCHS[0] && number < X32_BIT);
                let answer = run(&program, arch, number, arguments);
                assert!(wanted.is_none() || answer == wanted, "{number} {arguments:x?}: {answer:x?}, not {wanted:x?}");
            });
        }

        // libseccomp 2.5 merges several ranges of one 64-bit argument wrongly: so no two rules for one call.
        #[test]
        fn a_made_up_profile_decides_the_same_by_either_compiler(
            allowing in any::<bool>(),
            allow in rules("SCMP_ACT_ALLOW"),
            deny in rules("SCMP_ACT_KILL_PROCESS"),
            archs in prop::sample::subsequence(vec!["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], 0..4),
        ) {
            let (default, mut rules) = if allowing { ("SCMP_ACT_ALLOW", deny) } else { ("SCMP_ACT_ERRNO", allow) };
            rules.truncate(1);
            let profile = profile(json!({"defaultAction": default, "architectures": archs, "syscalls": rules}));
            let of_one = |rule: &LinuxSyscall| alternatives(rule).len() <= 1;
            let plain = profile.syscalls().iter().flatten().all(of_one);
            if plain && program(&profile, &architectures(&profile)).is_some() {
                agrees_with_libseccomp(&profile);
            }
        }
    }
}
