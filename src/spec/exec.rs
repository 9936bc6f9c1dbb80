//! `exec`: one more process in a container, described by a file or by the container's own configuration and what was
//! typed.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use oci_spec::runtime::{Process, Spec};

use super::plan::ProcessPlan;
use super::process::{check_mapped, process_plan};
use super::{Host, SpecError, annotations, capabilities, check, confinement, env, mappings, namespaces, placement};

/// What the command line says; the rest is as in the container's configuration.
#[derive(Debug, Clone, Default)]
pub struct ExecOverrides {
    /// The program and its arguments.
    pub args: Vec<OsString>,
    /// Absolute in the container; None: as the configuration has it.
    pub cwd: Option<PathBuf>,
    /// Added to the configuration's; a name given again replaces it.
    pub env: Vec<OsString>,
    /// `uid` or `uid:gid`, in numbers.
    pub user: Option<String>,
    /// Added to the configuration's.
    pub additional_gids: Vec<u32>,
    /// Added to the bounding, effective and permitted sets. Never to the inheritable one: a program with inheritable
    /// file capabilities would gain them (CVE-2022-29162).
    pub caps: Vec<String>,
    /// None: as the configuration has it.
    pub no_new_privs: Option<bool>,
    /// The process gets a terminal of its own, whatever the configuration says.
    pub tty: bool,
    /// The name of an AppArmor profile; None: as the configuration has it.
    pub apparmor: Option<String>,
    /// An SELinux label (`user:role:type:level`); None: as the configuration has it.
    pub process_label: Option<String>,
}

/// A process of the container whose configuration is `base`, as typed.
pub fn exec_process(
    base: &Spec,
    overrides: &ExecOverrides,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<ProcessPlan, SpecError> {
    let Some(process) = base.process() else {
        let problem = "the container has none to take over: use exec --process FILE";
        return Err(SpecError::invalid("process", problem));
    };
    let mut process = process.clone();
    // What the configuration's types cannot hold goes into the plan below.
    process.set_args(Some(overrides.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect()));
    process.set_terminal(Some(overrides.tty));
    if let Some(cwd) = &overrides.cwd {
        if !cwd.is_absolute() {
            return Err(SpecError::invalid(
                "--cwd",
                format!("{} is not an absolute path", check::quote(&cwd.to_string_lossy())),
            ));
        }
        process.set_cwd(cwd.clone());
    }
    if let Some(variable) = overrides.env.iter().find(|variable| !variable.as_bytes().contains(&b'=')) {
        let problem = format!("{} has no \"=\"", check::quote(&variable.to_string_lossy()));
        return Err(SpecError::invalid("--env", problem));
    }
    if let Some(no_new_privs) = overrides.no_new_privs {
        process.set_no_new_privileges(Some(no_new_privs));
    }
    if overrides.apparmor.is_some() {
        process.set_apparmor_profile(overrides.apparmor.clone());
    }
    if overrides.process_label.is_some() {
        process.set_selinux_label(overrides.process_label.clone());
    }
    if let Some(user) = &overrides.user {
        let (uid, gid) = user_ids(user)?;
        process.user_mut().set_uid(uid);
        if let Some(gid) = gid {
            process.user_mut().set_gid(gid);
        }
    }
    let mut gids = process.user().additional_gids().clone().unwrap_or_default();
    gids.extend(&overrides.additional_gids);
    process.user_mut().set_additional_gids(Some(gids));
    let mut planned = exec_plan(base, &process, host, warnings)?;
    planned.args = overrides.args.clone();
    planned.env.extend(overrides.env.iter().cloned());
    planned.env = env::plan("process.env", &planned.env)?;
    for name in &overrides.caps {
        let bit = capabilities::bit_of("--cap", name, host)?;
        planned.capabilities.bounding |= bit;
        planned.capabilities.effective |= bit;
        planned.capabilities.permitted |= bit;
    }
    Ok(planned)
}

/// A process of the container whose configuration is `base`, from `exec --process`.
pub fn exec_plan(
    base: &Spec,
    process: &Process,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<ProcessPlan, SpecError> {
    let mut planned = process_plan(process, host, warnings)?;
    confinement::add(base, &mut planned)?;
    annotations::add(base, &mut planned);
    if let Some(linux) = base.linux() {
        let joined = namespaces::plan(linux)?;
        // The container runs already: what its mappings had to warn of was told then.
        check_mapped(&planned, &mappings::of_container(linux, &joined, &mut Vec::new())?)?;
        planned.personality = placement::personality(linux)?;
        planned.memory_policy = placement::memory_policy(linux)?;
    }
    Ok(planned)
}

/// Names would have to be looked up in the container's files, which are not to be trusted.
fn user_ids(text: &str) -> Result<(u32, Option<u32>), SpecError> {
    let number = |part: &str| part.parse::<u32>().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit()));
    let ids = match text.split_once(':') {
        None => number(text).map(|uid| (uid, None)),
        Some((uid, gid)) => number(uid).zip(number(gid)).map(|(uid, gid)| (uid, Some(gid))),
    };
    ids.ok_or_else(|| SpecError::invalid("--user", format!("{} is not uid or uid:gid in numbers", check::quote(text))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{default_spec, parse_process};

    const HOST: Host = Host { rootless: false, last_capability: 40 };

    fn exec(overrides: ExecOverrides) -> Result<ProcessPlan, SpecError> {
        exec_process(&default_spec(false), &overrides, &HOST, &mut Vec::new())
    }

    #[test]
    fn what_is_typed_overrides_or_adds_and_the_rest_is_the_containers() {
        let planned = exec(ExecOverrides {
            args: vec!["id".into()],
            cwd: Some("/tmp".into()),
            env: vec!["TERM=dumb".into(), "A=1".into()],
            user: Some("5:6".into()),
            additional_gids: vec![7],
            caps: vec!["CAP_NET_RAW".into()],
            no_new_privs: Some(false),
            ..ExecOverrides::default()
        })
        .unwrap();
        assert_eq!((planned.uid, planned.gid, planned.additional_gids), (5, 6, vec![7]));
        assert_eq!(planned.env[1..], ["TERM=dumb", "A=1"]);
        assert_eq!((planned.cwd.to_str(), planned.terminal), (Some("/tmp"), false));
        assert!(!planned.no_new_privileges);
        let raw = 1 << 13;
        let sets = planned.capabilities;
        assert_eq!((sets.bounding & raw, sets.effective & raw, sets.permitted & raw), (raw, raw, raw));
        assert_eq!((sets.inheritable & raw, sets.ambient & raw), (0, 0));
        assert_eq!(planned.rlimits.len(), 1);
    }

    #[test]
    fn a_typed_value_that_is_wrong_is_told_by_its_flag() {
        let args = vec![OsString::from("id")];
        let cwd = ExecOverrides { args: args.clone(), cwd: Some("relative".into()), ..ExecOverrides::default() };
        assert_eq!(exec(cwd).unwrap_err().field(), Some("--cwd"));
        let env = ExecOverrides { args, env: vec!["A=1".into(), "B".into()], ..ExecOverrides::default() };
        assert_eq!(exec(env).unwrap_err().field(), Some("--env"));
    }

    #[test]
    fn a_user_is_given_in_numbers() {
        for user in ["root", "", "1:", ":1", "1:2:3", "-1", "+1", "4294967295", "4294967296"] {
            let typed = ExecOverrides { args: vec!["id".into()], user: Some(user.into()), ..ExecOverrides::default() };
            assert!(exec(typed).is_err(), "{user:?} was accepted");
        }
    }

    #[test]
    fn an_empty_command_or_an_unknown_capability_is_refused() {
        assert!(exec(ExecOverrides::default()).unwrap_err().to_string().contains("process.args"));
        let typed = ExecOverrides { args: vec!["id".into()], caps: vec!["CAP_X".into()], ..ExecOverrides::default() };
        assert!(exec(typed).unwrap_err().to_string().contains("--cap"));
    }

    #[test]
    fn a_process_file_may_choose_its_cpus() {
        let text = br#"{"args":["a"],"cwd":"/","execCPUAffinity":{"initial":"0-1","final":"65"}}"#;
        let (process, _) = parse_process(text).unwrap();
        let planned = exec_plan(&default_spec(false), &process, &HOST, &mut Vec::new()).unwrap();
        assert_eq!((planned.affinity.initial, planned.affinity.last), (vec![3], vec![0, 2]));
    }

    #[test]
    fn an_exec_in_a_user_namespace_takes_only_mapped_ids() {
        let typed = ExecOverrides { args: vec!["id".into()], user: Some("5".into()), ..ExecOverrides::default() };
        let error = exec_process(&default_spec(true), &typed, &HOST, &mut Vec::new()).unwrap_err();
        assert_eq!(error.field(), Some("process.user.uid"));
    }
}
