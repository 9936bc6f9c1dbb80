//! What a seccomp profile decides, found by running its compiled filter as the kernel would.

use std::collections::BTreeMap;

use libseccomp::{ScmpArch, ScmpSyscall};
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

/// AUDIT_ARCH_* (linux/audit.h) of the ABIs that x86-64 has; x32 is told by a bit in the number.
pub const ABIS: [(ScmpArch, u32, u32); 3] =
    [(ScmpArch::X8664, 0xc000_003e, 0), (ScmpArch::X86, 0x4000_0003, 0), (ScmpArch::X32, 0xc000_003e, 0x4000_0000)];

/// Where our profile and another one decide differently, over all calls that libseccomp knows, by each ABI of x86-64.
#[derive(Default)]
pub struct Comparison {
    pub compared: usize,
    /// By name: where it was seen, and whether ours allows it.
    different: BTreeMap<String, (String, bool)>,
}

impl Comparison {
    pub fn add(&mut self, ours: &LinuxSeccomp, theirs: &LinuxSeccomp) {
        let arguments = arguments();
        let rules = [ours, theirs].into_iter().flat_map(|profile| profile.syscalls().iter().flatten());
        let conditional: Vec<&String> = rules
            .filter(|rule| !rule.args().as_deref().unwrap_or_default().is_empty())
            .flat_map(|rule| rule.names())
            .collect();
        let (ours, theirs) = (Filter::of(ours), Filter::of(theirs));
        for (abi, audit, bit) in ABIS {
            for number in (0..600).map(|number| number | bit) {
                let Ok(name) = ScmpSyscall::from_raw_syscall(number as i32).get_name_by_arch(abi) else { continue };
                // Whatever has no conditions in either profile decides by the name alone.
                let tried = if conditional.contains(&&name) { arguments.as_slice() } else { &arguments[..1] };
                for arguments in tried {
                    self.compared += 1;
                    let allows = |filter: &Filter| filter.asked(audit, number, *arguments) == ALLOWED;
                    if allows(&ours) != allows(&theirs) {
                        let where_seen = (format!("{abi:?} {arguments:x?}"), allows(&ours));
                        self.different.entry(name.clone()).or_insert(where_seen);
                    }
                }
            }
        }
    }

    /// Each entry: names, and why they differ. Prints those that do.
    #[track_caller]
    pub fn is_explained_by(&self, reasons: &[(&str, &str)]) {
        let why = |wanted: &str| {
            let names = |names: &str| names.split_ascii_whitespace().any(|name| name == wanted);
            reasons.iter().find(|(all, _)| names(all)).map(|(_, why)| *why)
        };
        let mut unexplained = Vec::new();
        for (name, (at, allowed)) in &self.different {
            let says = if *allowed { "only ours allows it" } else { "only theirs allows it" };
            match why(name) {
                Some(why) => println!("{name}: {says}: {why}"),
                None => unexplained.push(format!("{name}: {says} ({at})")),
            }
        }
        assert!(unexplained.is_empty(), "without a reason:\n{}", unexplained.join("\n"));
    }
}

/// Numbers and flags at which a profile could change its mind.
fn arguments() -> Vec<[u64; 6]> {
    let families = (0..=50).map(|family| [family, 1, 0, 0, 0, 0]);
    let audit = (0..=50).map(|family| [family, 3, 9, 0, 0, 0]);
    let cut = [16, 38, 40].map(|family| [(1 << 32) + family, 3, 0, 0, 0, 0]);
    let namespaces = (0..64).map(|bit| [(1 << bit) | 17, 0, 0, 0, 0, 0]);
    let personalities =
        [8, 0x20000, 0x20008, 0x20009, 0x0040000, 0xffff_ffff, u64::MAX].map(|value| [value, 0, 0, 0, 0, 0]);
    families.chain(audit).chain(cut).chain(namespaces).chain(personalities).chain([[u64::MAX; 6]]).collect()
}
