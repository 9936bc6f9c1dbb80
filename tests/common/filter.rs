//! What a seccomp profile decides, found by running its compiled filter as the kernel would.

use libseccomp::ScmpSyscall;
use oci_spec::runtime::LinuxSeccomp;
use sandkeep::container::seccomp::compile;

pub const ALLOWED: u32 = 0x7fff_0000;
pub const KILLED: u32 = 0;

pub fn refused(errno: i32) -> u32 {
    0x0005_0000 | errno.unsigned_abs()
}

/// A compiled profile, asked as the kernel asks it (seccomp(2)).
pub struct Filter(Vec<[u8; 8]>);

impl Filter {
    pub fn of(profile: &LinuxSeccomp) -> Filter {
        let program = compile(profile).expect("a filter");
        Filter(program.bpf.chunks_exact(8).map(|bytes| bytes.try_into().expect("8 bytes")).collect())
    }

    pub fn asked(&self, arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = vec![0; 16];
        data[..4].copy_from_slice(&number.to_ne_bytes());
        data[4..8].copy_from_slice(&arch.to_ne_bytes());
        data.extend(arguments.iter().flat_map(|argument| argument.to_ne_bytes()));
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let bytes = self.0[at];
            let code = u32::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
            let k = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            let branch = |taken: bool| usize::from(if taken { bytes[2] } else { bytes[3] });
            at += 1;
            match code {
                0x20 => accumulator = u32::from_ne_bytes(data[k as usize..][..4].try_into().expect("a word")),
                0x54 => accumulator &= k,
                0x05 => at += k as usize,
                0x15 => at += branch(accumulator == k),
                0x25 => at += branch(accumulator > k),
                0x35 => at += branch(accumulator >= k),
                0x06 => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    /// A native call by its name.
    pub fn native(&self, name: &str, arguments: [u64; 6]) -> u32 {
        let number = ScmpSyscall::from_name(name).expect(name).as_raw_syscall() as u32;
        self.asked(NATIVE, number, arguments)
    }
}

#[cfg(target_arch = "x86_64")]
pub const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub const NATIVE: u32 = 0xc000_00b7;
#[cfg(target_arch = "riscv64")]
pub const NATIVE: u32 = 0xc000_00f3;
