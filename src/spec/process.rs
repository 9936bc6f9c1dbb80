//! The application, or what `exec` runs: who it is, what it may, and how it starts.

use std::ffi::OsString;

use oci_spec::runtime::Process;

use super::mappings::{self, Mappings};
use super::plan::{FirstProcess, IdMapping, OriginalGroups, ProcessPlan};
use super::{Host, SpecError, capabilities, check, env, placement, scheduling};

/// One process, judged by itself. `linux.personality`, `linux.memoryPolicy` and the ids that a user namespace maps are the container's:
/// `plan` and `exec_plan` add and check them.
pub fn process_plan(process: &Process, host: &Host, warnings: &mut Vec<String>) -> Result<ProcessPlan, SpecError> {
    let args = process.args().as_deref().unwrap_or_default();
    match args.first().map(String::as_str) {
        None => return Err(SpecError::invalid("process.args", "is empty: give the program to run")),
        Some("") => return Err(SpecError::invalid("process.args[0]", "is empty: give the program to run")),
        Some(_) => {}
    }
    for (index, arg) in args.iter().enumerate() {
        check::text(&format!("process.args[{index}]"), arg)?;
    }
    let terminal = process.terminal().unwrap_or(false);
    let user = process.user();
    Ok(ProcessPlan {
        args: args.iter().map(OsString::from).collect(),
        env: env::plan("process.env", &env::from_text(process.env()))?,
        cwd: check::absolute("process.cwd", process.cwd())?,
        first: FirstProcess::Application,
        terminal,
        kept_stdio: Vec::new(),
        console_size: if terminal { console_size(process)? } else { None },
        uid: id("process.user.uid", user.uid())?,
        gid: id("process.user.gid", user.gid())?,
        additional_gids: additional_gids(user.additional_gids().as_deref().unwrap_or_default())?,
        original_groups: OriginalGroups::Dropped,
        umask: umask(user.umask())?,
        capabilities: capabilities::plan(process.capabilities().as_ref(), host, warnings)?,
        rlimits: scheduling::rlimits(process.rlimits().as_deref().unwrap_or_default())?,
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        securebits: 0,
        landlock: None,
        oom_score_adj: oom_score_adj(process.oom_score_adj())?,
        apparmor_profile: check::non_empty("process.apparmorProfile", process.apparmor_profile())?,
        selinux_label: check::non_empty("process.selinuxLabel", process.selinux_label())?,
        io_priority: scheduling::io_priority(process.io_priority().as_ref())?,
        scheduler: scheduling::scheduler(process.scheduler().as_ref())?,
        personality: None,
        affinity: placement::affinity(process.exec_cpu_affinity().as_ref())?,
        memory_policy: None,
    })
}

/// An id that the container's new user namespace does not map could not be switched to. A list that is not given is any.
pub(super) fn check_mapped(process: &ProcessPlan, mappings: &Mappings) -> Result<(), SpecError> {
    let unmapped = |field: String, id: u32, list: &str| {
        Err(SpecError::invalid(field, format!("{id} is not mapped by linux.{list}")))
    };
    let maps = |list: &[IdMapping], id| list.is_empty() || mappings::contains(list, id);
    if !maps(&mappings.uid, process.uid) {
        return unmapped("process.user.uid".to_owned(), process.uid, "uidMappings");
    }
    if !maps(&mappings.gid, process.gid) {
        return unmapped("process.user.gid".to_owned(), process.gid, "gidMappings");
    }
    match process.additional_gids.iter().position(|gid| !maps(&mappings.gid, *gid)) {
        Some(at) => unmapped(format!("process.user.additionalGids[{at}]"), process.additional_gids[at], "gidMappings"),
        None => Ok(()),
    }
}

/// (rows, columns); 0 × 0 is what callers without a terminal of their own write, and means none.
fn console_size(process: &Process) -> Result<Option<(u16, u16)>, SpecError> {
    let Some(size) = process.console_size() else { return Ok(None) };
    let side = |name: &str, value: u64| {
        u16::try_from(value).map_err(|_| {
            SpecError::invalid(format!("process.consoleSize.{name}"), format!("{value} is not in 0..={}", u16::MAX))
        })
    };
    let (rows, columns) = (side("height", size.height())?, side("width", size.width())?);
    Ok(((rows, columns) != (0, 0)).then_some((rows, columns)))
}

/// The last id means "leave it" to setresuid(2) and is nobody's.
fn id(field: &str, id: u32) -> Result<u32, SpecError> {
    match id {
        u32::MAX => Err(SpecError::invalid(field, format!("{id} is not an id"))),
        _ => Ok(id),
    }
}

fn additional_gids(gids: &[u32]) -> Result<Vec<u32>, SpecError> {
    /// NGROUPS_MAX.
    const MOST: usize = 65536;
    if gids.len() > MOST {
        let problem = format!("{} groups; the kernel takes at most {MOST}", gids.len());
        return Err(SpecError::invalid("process.user.additionalGids", problem));
    }
    gids.iter().enumerate().map(|(at, gid)| id(&format!("process.user.additionalGids[{at}]"), *gid)).collect()
}

/// Not the caller's: a daemon with a umask of 0 would have containers that write for everybody. As runc and crun.
const USUAL_UMASK: u32 = 0o022;

fn umask(given: Option<u32>) -> Result<Option<u32>, SpecError> {
    match given {
        Some(umask) if umask > 0o777 => {
            Err(SpecError::invalid("process.user.umask", format!("{umask} is above 511 (0777 octal)")))
        }
        other => Ok(other.or(Some(USUAL_UMASK))),
    }
}

fn oom_score_adj(given: Option<i32>) -> Result<Option<i32>, SpecError> {
    match given {
        Some(score) if !(-1000..=1000).contains(&score) => {
            Err(SpecError::invalid("process.oomScoreAdj", format!("{score} is not in -1000..=1000")))
        }
        other => Ok(other),
    }
}
