//! The few instructions of classic BPF that filters of ours are made of (linux/filter.h, seccomp(2)).

/// One `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub code: u16,
    pub if_true: u8,
    pub if_false: u8,
    pub k: u32,
}

pub(super) const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
pub(super) const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
pub(super) const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
pub(super) const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
pub(super) const GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
pub(super) const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
pub(super) const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Offsets in `struct seccomp_data`.
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCHITECTURE: u32 = 4;
pub(super) const ARGUMENTS: u32 = 16;

/// SECCOMP_RET_ERRNO with ENOSYS: there is no such call.
pub(super) const NO_SUCH_CALL: u32 = 0x0005_0000 | libc::ENOSYS as u32;

/// An x32 process calls with the architecture of x86-64 and this bit in the number.
pub(super) const X32_BIT: u32 = 0x4000_0000;

pub(super) fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, if_true: 0, if_false: 0, k: offset }
}

pub(super) fn and(mask: u32) -> Instruction {
    Instruction { code: AND, if_true: 0, if_false: 0, k: mask }
}

pub(super) fn branch(code: u16, k: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code, if_true, if_false, k }
}

pub(super) fn jump(over: usize) -> Instruction {
    Instruction { code: JUMP, if_true: 0, if_false: 0, k: over as u32 }
}

pub(super) fn answer(value: u32) -> Instruction {
    Instruction { code: RETURN, if_true: 0, if_false: 0, k: value }
}

impl Instruction {
    pub(super) fn bytes(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&self.code.to_ne_bytes());
        bytes[2] = self.if_true;
        bytes[3] = self.if_false;
        bytes[4..].copy_from_slice(&self.k.to_ne_bytes());
        bytes
    }
}

/// What a program answers for a call. None: it runs past its end.
#[cfg(test)]
pub(super) fn run(program: &[u8], arch: u32, number: u32, arguments: [u64; 6]) -> Option<u32> {
    let word = |offset: u32| match offset {
        NUMBER => number,
        ARCHITECTURE => arch,
        at => (arguments[(at - ARGUMENTS) as usize / 8] >> (8 * (at % 8))) as u32,
    };
    let (mut accumulator, mut at) = (0, 0);
    loop {
        let bytes = program.get(at * 8..at * 8 + 8)?;
        let code = u16::from_ne_bytes([bytes[0], bytes[1]]);
        let k = u32::from_ne_bytes(bytes[4..].try_into().ok()?);
        let branch = |taken: bool| usize::from(if taken { bytes[2] } else { bytes[3] });
        at += 1 + match code {
            LOAD => {
                accumulator = word(k);
                0
            }
            AND => {
                accumulator &= k;
                0
            }
            JUMP => k as usize,
            EQUAL => branch(accumulator == k),
            GREATER => branch(accumulator > k),
            AT_LEAST => branch(accumulator >= k),
            RETURN => return Some(k),
            other => panic!("instruction {other:#x}"),
        };
    }
}
