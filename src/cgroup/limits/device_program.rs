//! Which devices a container may use, on v2: the rules as a small BPF program that the kernel asks at every mknod and
//! open (linux/bpf.h, BPF_PROG_TYPE_CGROUP_DEVICE).

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use super::device_table::{self, ALL, Allowed, Ranges};
use super::devices::{Access, Kind, Rule, Verdict};
use crate::cgroup::{Error, Result};
use crate::sys::bpf::{Instruction, attach_device_program, load_device_program};

/// Where the program keeps what it was asked; r1 is scratch once all is loaded.
const ANSWER: u8 = 0;
const SCRATCH: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbf;
const MOVE_IMMEDIATE: u8 = 0xb7;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const SHIFT_RIGHT_BY: u8 = 0x7f;
const JUMP_IF_AT_LEAST: u8 = 0x35;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// BPF_DEVCG_*.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const ALL_ACCESS: i32 = 7;

/// More rules than this are a table. Those of callers are a dozen or two.
const FEW: usize = 128;

pub(super) fn attach(folder: &Path, rules: &[Rule]) -> Result<()> {
    let attach = || {
        let program = load_device_program(&compile(rules))?;
        attach_device_program(File::open(folder)?.as_fd(), program.as_fd())
    };
    attach().map_err(|source| Error::DeviceProgram { folder: folder.to_owned(), source })
}

fn compile(rules: &[Rule]) -> Vec<Instruction> {
    match rules.len() {
        ..=FEW => one_by_one(rules),
        _ => by_table(rules).unwrap_or_else(|| one_by_one(rules)),
    }
}

fn questions() -> Vec<Instruction> {
    let load = |to, offset| Instruction { code: LOAD_WORD, registers: to | SCRATCH << 4, offset, immediate: 0 };
    vec![
        load(TYPE, 0),
        load(MAJOR, 4),
        load(MINOR, 8),
        Instruction { code: MOVE, registers: ACCESS | TYPE << 4, offset: 0, immediate: 0 },
        with(AND, TYPE, 0xffff),
        with(SHIFT_RIGHT, ACCESS, 16),
    ]
}

/// None: it would be longer than its jumps reach.
fn by_table(rules: &[Rule]) -> Option<Vec<Instruction>> {
    let section = |kind| {
        search(&device_table::of(rules, kind), MAJOR, &|minors| search(minors, MINOR, &|may| Some(may_be(*may))))
    };
    let (block, character) = (section(Kind::Block)?, section(Kind::Character)?);
    let mut program = questions();
    program.push(jump(JUMP_IF_NOT_EQUAL, TYPE, BLOCK, block.len())?);
    program.extend(block);
    program.push(jump(JUMP_IF_NOT_EQUAL, TYPE, CHARACTER, character.len())?);
    program.extend(character);
    program.extend(answer(Verdict::Deny));
    Some(program)
}

/// Halves the ranges until there is one, and goes on with what that holds.
fn search<T>(
    ranges: &Ranges<T>,
    register: u8,
    then: &dyn Fn(&T) -> Option<Vec<Instruction>>,
) -> Option<Vec<Instruction>> {
    fn half<T>(
        ranges: &[(u32, T)],
        register: u8,
        then: &dyn Fn(&T) -> Option<Vec<Instruction>>,
    ) -> Option<Vec<Instruction>> {
        match ranges {
            [] => Some(answer(Verdict::Deny).to_vec()),
            [(_, only)] => then(only),
            several => {
                let (low, high) = several.split_at(several.len() / 2);
                let (below, rest) = (half(low, register, then)?, half(high, register, then)?);
                let mut all = vec![jump(JUMP_IF_AT_LEAST, register, high[0].0 as i32, below.len())?];
                all.extend(below);
                all.extend(rest);
                Some(all)
            }
        }
    }
    half(ranges, register, then)
}

fn jump(code: u8, register: u8, immediate: i32, over: usize) -> Option<Instruction> {
    Some(Instruction { offset: i16::try_from(over).ok()?, ..with(code, register, immediate) })
}

/// The bit of what is asked.
fn may_be(allowed: Allowed) -> Vec<Instruction> {
    match allowed {
        0 => answer(Verdict::Deny).to_vec(),
        ALL => answer(Verdict::Allow).to_vec(),
        some => vec![
            with(MOVE_IMMEDIATE, ANSWER, some.into()),
            Instruction { code: SHIFT_RIGHT_BY, registers: ANSWER | ACCESS << 4, offset: 0, immediate: 0 },
            with(AND, ANSWER, 1),
            with(EXIT, 0, 0),
        ],
    }
}

/// Asks the rules from the last to the first; who matches decides. Nobody: denied.
fn one_by_one(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = questions();
    for rule in rules.iter().rev() {
        let conditions = conditions(rule);
        let always = conditions.is_empty();
        program.extend(conditions);
        program.extend(answer(rule.verdict));
        if always {
            // What would follow can never be reached, which the kernel's verifier refuses.
            return program;
        }
    }
    program.extend(answer(Verdict::Deny));
    program
}

/// Falls through if the rule matches, else jumps over the two instructions of its answer.
fn conditions(rule: &Rule) -> Vec<Instruction> {
    let mut list = Vec::new();
    match rule.kind {
        Kind::Any => {}
        Kind::Block => list.push(with(JUMP_IF_NOT_EQUAL, TYPE, BLOCK)),
        Kind::Character => list.push(with(JUMP_IF_NOT_EQUAL, TYPE, CHARACTER)),
    }
    let access = bits(rule.access);
    if access != ALL_ACCESS {
        // To be allowed, all that is asked must be in the rule; to be denied, any of it.
        let (mask, jump) = match rule.verdict {
            Verdict::Allow => (ALL_ACCESS & !access, JUMP_IF_NOT_EQUAL),
            Verdict::Deny => (access, JUMP_IF_EQUAL),
        };
        list.push(Instruction { code: MOVE, registers: SCRATCH | ACCESS << 4, offset: 0, immediate: 0 });
        list.push(with(AND, SCRATCH, mask));
        list.push(with(jump, SCRATCH, 0));
    }
    list.extend(rule.major.map(|major| with(JUMP_IF_NOT_EQUAL, MAJOR, major as i32)));
    list.extend(rule.minor.map(|minor| with(JUMP_IF_NOT_EQUAL, MINOR, minor as i32)));
    let length = list.len();
    for (at, instruction) in list.iter_mut().enumerate() {
        if matches!(instruction.code, JUMP_IF_EQUAL | JUMP_IF_NOT_EQUAL) {
            instruction.offset = (length - at - 1 + 2) as i16;
        }
    }
    list
}

fn answer(verdict: Verdict) -> [Instruction; 2] {
    let value = match verdict {
        Verdict::Allow => 1,
        Verdict::Deny => 0,
    };
    [with(MOVE_IMMEDIATE, ANSWER, value), with(EXIT, 0, 0)]
}

fn with(code: u8, register: u8, immediate: i32) -> Instruction {
    Instruction { code, registers: register, offset: 0, immediate }
}

fn bits(access: Access) -> i32 {
    device_table::bits(access).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs the few instructions that we make.
    fn ask(rules: &[Rule], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        run(&compile(rules), kind, access, major, minor)
    }

    fn run(program: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let question = [access << 16 | kind, major, minor];
        let mut registers = [0_i32; 6];
        let mut at = 0;
        loop {
            let i = program[at];
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            at += 1;
            match i.code {
                LOAD_WORD => registers[to] = question[i.offset as usize / 4],
                MOVE => registers[to] = registers[from],
                MOVE_IMMEDIATE => registers[to] = i.immediate,
                AND => registers[to] &= i.immediate,
                SHIFT_RIGHT => registers[to] >>= i.immediate,
                SHIFT_RIGHT_BY => registers[to] >>= registers[from],
                JUMP_IF_AT_LEAST if registers[to] >= i.immediate => at += i.offset as usize,
                JUMP_IF_AT_LEAST => {}
                JUMP_IF_EQUAL if registers[to] == i.immediate => at += i.offset as usize,
                JUMP_IF_NOT_EQUAL if registers[to] != i.immediate => at += i.offset as usize,
                JUMP_IF_EQUAL | JUMP_IF_NOT_EQUAL => {}
                EXIT => return registers[0] == 1,
                code => panic!("an instruction that we never make: {code:#x}"),
            }
        }
    }

    fn rules(json: &str) -> Vec<Rule> {
        Rule::list(&serde_json::from_str::<Vec<_>>(json).unwrap()).unwrap()
    }

    const MKNOD: i32 = 1;
    const READ: i32 = 2;
    const WRITE: i32 = 4;

    #[test]
    fn only_the_usual_devices_are_open_by_default() {
        let rules = rules("[]");
        assert!(ask(&rules, CHARACTER, READ | WRITE, 1, 3), "null");
        assert!(ask(&rules, CHARACTER, READ | WRITE, 136, 77), "a pty");
        assert!(ask(&rules, BLOCK, MKNOD, 8, 0), "making a node is harmless");
        assert!(!ask(&rules, BLOCK, READ, 8, 0), "a disk");
        assert!(!ask(&rules, CHARACTER, READ, 1, 1), "mem");
        assert!(!ask(&rules, CHARACTER, READ, 10, 200), "tun");
    }

    #[test]
    fn the_last_rule_that_matches_decides_and_access_counts() {
        let rules = rules(
            r#"[{"allow": true, "type": "b", "major": 8, "access": "rw"},
                {"allow": false, "type": "b", "major": 8, "minor": 1, "access": "w"}]"#,
        );
        assert!(ask(&rules, BLOCK, READ | WRITE, 8, 0));
        assert!(ask(&rules, BLOCK, READ, 8, 1));
        assert!(!ask(&rules, BLOCK, READ | WRITE, 8, 1));
        assert!(!ask(&rules, CHARACTER, READ, 8, 0));
    }

    #[test]
    fn a_privileged_container_may_use_all_and_nothing_unreachable_follows() {
        let rules = rules(r#"[{"allow": true}]"#);
        assert!(ask(&rules, BLOCK, READ | WRITE | MKNOD, 8, 0));
        let program = compile(&rules);
        assert_eq!(program.iter().filter(|i| i.code == EXIT).count(), rules.len() - 1);
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let number = || prop::option::of(prop_oneof![0..4_u32, Just(1 << 20)]);
        let kinds = prop::sample::select(vec![Kind::Any, Kind::Block, Kind::Character]);
        (any::<bool>(), kinds, number(), number(), any::<(bool, bool, bool)>()).prop_map(
            |(allow, kind, major, minor, (read, write, mknod))| Rule {
                verdict: if allow { Verdict::Allow } else { Verdict::Deny },
                kind,
                major,
                minor,
                access: Access { read: read || !(write || mknod), write, mknod },
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_table_decides_as_the_rules_do_one_by_one(rules in prop::collection::vec(rule(), 0..12)) {
            let (table, list) = (by_table(&rules).unwrap(), one_by_one(&rules));
            let numbers = [0, 1, 2, 3, 4, 5, (1 << 20) - 1, 1 << 20, (1 << 20) + 1];
            for (kind, access) in [BLOCK, CHARACTER].into_iter().flat_map(|kind| (0..8).map(move |access| (kind, access))) {
                for (major, minor) in numbers.into_iter().flat_map(|major| numbers.map(|minor| (major, minor))) {
                    let both = [&table, &list].map(|program| run(program, kind, access, major, minor));
                    prop_assert_eq!(both[0], both[1], "{} {:#b} {}:{}", kind, access, major, minor);
                }
            }
        }
    }

    /// Where the kernel lets us load programs: it looks at all of what a program may do first.
    #[test]
    fn the_kernel_takes_thousands_of_rules() {
        let number =
            |n: i64| serde_json::json!({"allow": true, "type": "c", "major": 100 + n / 250, "minor": n % 250 * 2});
        let spread = rules(&(0..5000).map(number).collect::<serde_json::Value>().to_string());
        let adjacent = |n: i64| serde_json::json!({"allow": true, "type": "b", "major": 100 + n / 250, "minor": n % 250, "access": "rw"});
        let near = rules(&(0..20_000).map(adjacent).collect::<serde_json::Value>().to_string());
        if load_device_program(&compile(&rules("[]"))).is_err() {
            eprintln!("skipped: this user may load no programs");
            return;
        }
        for (rules, most) in [(spread, 32_000), (near, 1000)] {
            let program = compile(&rules);
            assert!(program.len() < most, "{} instructions", program.len());
            load_device_program(&program).unwrap();
        }
    }
}
