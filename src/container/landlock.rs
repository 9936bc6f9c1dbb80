//! A second wall for what a process may write (landlock(7)), behind mounts that are read-only already.
//!
//! Only where the kernel has it, and from its second version on: the first one refuses every rename between folders. What
//! a version does not know is not asked of it. Reading is not restricted: the view is the first wall's to make.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use landlock::{
    ABI, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, Scope,
};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};

use super::SetupError;
use crate::spec::plan::{AbstractSockets, LandlockPlan};
use crate::sys::descriptors;

/// The newest version that we know the meaning of.
const NEWEST: ABI = ABI::V9;

/// Whether the kernel has a version that will do.
pub fn is_there() -> bool {
    writes_handled().and_then(Ruleset::create).is_ok()
}

/// For this process and all that it will start. It has no_new_privs already; what is open by now stays as it is.
pub(super) fn restrict(plan: &LandlockPlan) -> Result<(), SetupError> {
    if !is_there() {
        return Ok(());
    }
    build(plan)
        .and_then(RulesetCreated::restrict_self)
        .map(drop)
        .map_err(|error| SetupError::Refused(format!("restrict what may be written (landlock): {error}")))
}

fn build(plan: &LandlockPlan) -> Result<RulesetCreated, RulesetError> {
    let mut rules = writes_handled()?;
    if plan.abstract_sockets == AbstractSockets::Own {
        rules = rules.scope(Scope::AbstractUnixSocket)?;
    }
    let mut rules = rules.create()?.set_compatibility(CompatLevel::BestEffort);
    for path in &plan.writable {
        // What is not there cannot be written to.
        let Ok(place) = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path) else { continue };
        rules = allow(rules, place.as_fd())?;
    }
    // A script's "> /dev/stderr" opens anew what is open for writing already.
    for file in descriptors::STDIO.into_iter().filter(|file| is_writable(*file)) {
        rules = allow(rules, file)?;
    }
    Ok(rules)
}

fn writes_handled() -> Result<Ruleset, RulesetError> {
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::Refer)?;
    rules.set_compatibility(CompatLevel::BestEffort).handle_access(AccessFs::from_write(NEWEST))
}

fn allow(rules: RulesetCreated, place: BorrowedFd<'_>) -> Result<RulesetCreated, RulesetError> {
    let access = match kind(place) {
        Some(SFlag::S_IFDIR) => AccessFs::from_write(NEWEST),
        _ => AccessFs::from_write(NEWEST) & AccessFs::from_file(NEWEST),
    };
    rules.add_rule(PathBeneath::new(place, access as BitFlags<AccessFs>))
}

/// A file or device that is open for writing. Pipes and sockets are restricted by nobody.
fn is_writable(file: BorrowedFd<'_>) -> bool {
    let Ok(flags) = fcntl(file.as_raw_fd(), FcntlArg::F_GETFL) else { return false };
    let reading = OFlag::from_bits_truncate(flags) & OFlag::O_ACCMODE == OFlag::O_RDONLY;
    !reading && matches!(kind(file), Some(SFlag::S_IFREG | SFlag::S_IFCHR))
}

fn kind(file: BorrowedFd<'_>) -> Option<SFlag> {
    let mode = fstat(file.as_raw_fd()).ok()?.st_mode;
    Some(SFlag::from_bits_truncate(mode & libc::S_IFMT))
}
