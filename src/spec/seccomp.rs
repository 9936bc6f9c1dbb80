//! The seccomp profile: judged here, compiled to a filter by `container::seccomp`.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};

use super::{SpecError, check};

/// The kernel's largest error number; a filter's larger ones are cut to it.
const MAX_ERRNO: u32 = 4095;
/// SECCOMP_RET_DATA.
const MAX_TRACE: u32 = 0xffff;

pub(super) fn check(seccomp: &LinuxSeccomp) -> Result<(), SpecError> {
    let field = |name: &str| format!("linux.seccomp.{name}");
    errno(&field("defaultErrnoRet"), seccomp.default_action(), seccomp.default_errno_ret())?;
    if seccomp.default_action() == LinuxSeccompAction::ScmpActNotify {
        let problem = "SCMP_ACT_NOTIFY cannot be used as default action: the listener could not even be handed over";
        return Err(SpecError::invalid(field("defaultAction"), problem));
    }
    let mut notifies = false;
    for (index, rule) in seccomp.syscalls().iter().flatten().enumerate() {
        check_rule(&field(&format!("syscalls[{index}]")), rule)?;
        notifies |= rule.action() == LinuxSeccompAction::ScmpActNotify;
    }
    if let Some(path) = seccomp.listener_path() {
        check::absolute(&field("listenerPath"), path)?;
    } else if notifies {
        return Err(SpecError::invalid(field("listenerPath"), "is missing: SCMP_ACT_NOTIFY needs who to notify"));
    } else if seccomp.listener_metadata().as_ref().is_some_and(|metadata| !metadata.is_empty()) {
        return Err(SpecError::invalid(field("listenerMetadata"), "given without listenerPath"));
    }
    Ok(())
}

fn check_rule(field: &str, rule: &LinuxSyscall) -> Result<(), SpecError> {
    if rule.names().is_empty() {
        return Err(SpecError::invalid(format!("{field}.names"), "is empty"));
    }
    for (index, name) in rule.names().iter().enumerate() {
        check::text(&format!("{field}.names[{index}]"), name)?;
        if name == "write" && rule.action() == LinuxSeccompAction::ScmpActNotify {
            let problem = "SCMP_ACT_NOTIFY cannot be used for the write syscall: the listener is handed over with it";
            return Err(SpecError::invalid(format!("{field}.names[{index}]"), problem));
        }
    }
    errno(&format!("{field}.errnoRet"), rule.action(), rule.errno_ret())?;
    for (index, arg) in rule.args().iter().flatten().enumerate() {
        if arg.index() > 5 {
            let problem = format!("{} is not in 0..=5", arg.index());
            return Err(SpecError::invalid(format!("{field}.args[{index}].index"), problem));
        }
    }
    Ok(())
}

fn errno(field: &str, action: LinuxSeccompAction, given: Option<u32>) -> Result<(), SpecError> {
    let Some(value) = given else { return Ok(()) };
    let most = match action {
        LinuxSeccompAction::ScmpActErrno => MAX_ERRNO,
        LinuxSeccompAction::ScmpActTrace => MAX_TRACE,
        other => return Err(SpecError::invalid(field, format!("the action {other} returns no error number"))),
    };
    match value <= most {
        true => Ok(()),
        false => Err(SpecError::invalid(field, format!("{value} is not in 0..={most}"))),
    }
}
