//! The whole configuration becomes a plan, or one error that names the field.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Linux, Spec};

use super::capabilities::check_covered;
use super::mounts::{self, Surroundings};
use super::plan::{CgroupPlan, NamespaceKind, NamespacePlan, Plan, ProcessPlan, RootSwitch, RootfsPlan};
use super::process::{check_mapped, process_plan};
use super::{
    Inputs, SpecError, annotations, check, confinement, devices, hooks, intel_rdt, mappings, mount_options, namespaces,
    net_devices, placement, resources, seccomp, sysctl,
};

/// Everything that the container will be, and warnings about what was accepted but has no effect. Touches nothing.
pub fn plan(inputs: &Inputs<'_>) -> Result<(Plan, Vec<String>), SpecError> {
    let (plan, mut warnings) = plan_kept(inputs)?;
    annotations::check(inputs.spec, &mut warnings)?;
    if inputs.host.rootless && !plan.has(NamespaceKind::User) {
        let problem = "an ordinary user needs {\"type\": \"user\"} and mappings; see `sandkeep spec --rootless`";
        return Err(SpecError::invalid("linux.namespaces", problem));
    }
    check_rootfs(&plan.rootfs.path)?;
    check_masked(inputs.spec)?;
    if let (RootSwitch::Cover, Some(process)) = (plan.rootfs.switch, &plan.process) {
        check_covered(process)?;
    }
    Ok((plan, warnings))
}

/// The plan of a container that exists: what the host must have had for it to be made is not asked for again, since its
/// hooks have to run, and it has to be deleted, when the root file system is long gone.
pub fn plan_kept(inputs: &Inputs<'_>) -> Result<(Plan, Vec<String>), SpecError> {
    let Inputs { spec, bundle, host, further } = *inputs;
    let mut warnings = Vec::new();
    let warned = &mut warnings;
    check_version(spec.version())?;
    let Some(linux) = spec.linux() else {
        return Err(SpecError::invalid("linux", "is missing: it holds the namespaces of a Linux container"));
    };
    let planned = namespaces::plan(linux)?;
    check_required(&planned)?;
    let own = mappings::of_container(linux, &planned, warned)?;
    let rootfs = rootfs(spec, linux, bundle)?;
    let surroundings =
        Surroundings { bundle, namespaces: &planned, mappings: &own, label: mounts::label(spec, linux)? };
    let mounts = mounts::plan(spec, &surroundings, warned)?;
    let process = match spec.process() {
        None => None,
        Some(process) => {
            let mut process: ProcessPlan = process_plan(process, host, warned)?;
            check_mapped(&process, &own)?;
            process.personality = placement::personality(linux)?;
            process.memory_policy = placement::memory_policy(linux)?;
            confinement::add(spec, &mut process)?;
            annotations::add(spec, &mut process);
            Some(process)
        }
    };
    if let Some(profile) = linux.seccomp() {
        seccomp::check(profile)?;
    }
    let mut plan = Plan {
        time_offsets: namespaces::time_offsets(linux, &planned)?,
        net_devices: net_devices::plan(linux, &planned)?,
        rootfs,
        mounts,
        devices: devices::plan(linux, warned)?,
        masked_paths: container_paths("linux.maskedPaths", linux.masked_paths(), warned)?,
        readonly_paths: container_paths("linux.readonlyPaths", linux.readonly_paths(), warned)?,
        hostname: host_name("hostname", spec.hostname(), &planned)?,
        domainname: host_name("domainname", spec.domainname(), &planned)?,
        sysctls: sysctl::plan(linux, &planned, spec.domainname().as_deref())?,
        cgroup: cgroup(linux)?,
        intel_rdt: intel_rdt::plan(linux)?,
        process,
        seccomp: linux.seccomp().clone(),
        hooks: hooks::plan(spec.hooks().as_ref())?,
        annotations: sorted_annotations(spec)?,
        namespaces: planned,
        uid_mappings: own.uid,
        gid_mappings: own.gid,
    };
    if let Some(further) = further {
        further.add_to(&mut plan);
    }
    Ok((plan, warnings))
}

/// SemVer, major version 1: later minor versions only add properties, and unknown ones are ignored.
fn check_version(version: &str) -> Result<(), SpecError> {
    const FIELD: &str = "ociVersion";
    if version.is_empty() {
        return Err(SpecError::invalid(FIELD, "is missing: give the version of the specification, such as 1.2.0"));
    }
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = core.split('.').collect();
    let numbers = parts.iter().all(|part| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) && (*part == "0" || !part.starts_with('0'))
    });
    let rest = &version[core.len()..];
    let tail = rest.len() != 1 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte));
    if parts.len() != 3 || !numbers || !tail {
        return Err(SpecError::invalid(FIELD, format!("{} is not a version such as 1.2.0", check::quote(version))));
    }
    match parts[0] {
        "1" => Ok(()),
        _ => Err(SpecError::unsupported(FIELD, format!("{} is not a version 1.x", check::quote(version)))),
    }
}

fn check_required(planned: &[NamespacePlan]) -> Result<(), SpecError> {
    if namespaces::find(planned, NamespaceKind::Mount).is_none() {
        let problem = "a container without a mount namespace would mount on the host; add {\"type\": \"mount\"}";
        return Err(SpecError::unsupported("linux.namespaces", problem));
    }
    Ok(())
}

fn check_rootfs(path: &Path) -> Result<(), SpecError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(SpecError::invalid("root.path", format!("{path:?} is not a folder"))),
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {
            Err(SpecError::invalid("root.path", format!("{path:?} does not exist")))
        }
        Err(source) => Err(SpecError::Read { path: path.to_owned(), source }),
    }
}

fn rootfs(spec: &Spec, linux: &Linux, bundle: &Path) -> Result<RootfsPlan, SpecError> {
    let Some(root) = spec.root() else {
        return Err(SpecError::invalid("root", "is missing: it names the root file system"));
    };
    check::path("root.path", root.path())?;
    let path = check::absolute("root.path", &bundle.join(root.path()))?;
    let propagation = match linux.rootfs_propagation().as_deref() {
        None | Some("") => None,
        Some(word) => match mount_options::propagation(word) {
            Some(flags) => Some(flags),
            None => {
                let problem = format!("{} is not one of [r]shared, [r]slave, [r]private", check::quote(word));
                return Err(SpecError::invalid("linux.rootfsPropagation", format!("{problem}, [r]unbindable")));
            }
        },
    };
    Ok(RootfsPlan {
        path,
        identity: None,
        readonly: root.readonly().unwrap_or(false),
        propagation,
        recursive_set: 0,
        idmap: None,
        overlay: false,
        switch: RootSwitch::Pivot,
    })
}

/// Each once: what is covered is not covered again. Other runtimes take a relative path as one below the root.
fn container_paths(
    field: &str,
    given: &Option<Vec<String>>,
    warnings: &mut Vec<String>,
) -> Result<Vec<PathBuf>, SpecError> {
    let mut paths = Vec::new();
    let mut seen = HashSet::new();
    for (index, path) in given.iter().flatten().enumerate() {
        let (field, path) = (format!("{field}[{index}]"), Path::new(path));
        check::path(&field, path)?;
        if path.is_relative() {
            warnings.push(format!("{field}: {path:?} is not absolute; taken as one below /"));
        }
        let path = check::absolute(&field, &Path::new("/").join(path))?;
        if seen.insert(path.clone()) {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Only of what is yet to be made: a mask there has done nothing to what exists.
fn check_masked(spec: &Spec) -> Result<(), SpecError> {
    let masked = spec.linux().as_ref().and_then(|linux| linux.masked_paths().as_ref());
    for (index, path) in masked.into_iter().flatten().enumerate() {
        let named = Path::new(path).components().any(|part| matches!(part, Component::Normal(_)));
        if !named {
            let problem = format!(
                "{} is the container's root, which nothing can cover; root.readonly keeps it from being written to",
                check::quote(path)
            );
            return Err(SpecError::invalid(format!("linux.maskedPaths[{index}]"), problem));
        }
    }
    Ok(())
}

fn host_name(field: &str, given: &Option<String>, planned: &[NamespacePlan]) -> Result<Option<String>, SpecError> {
    /// __NEW_UTS_LEN.
    const MOST: usize = 64;
    let Some(name) = check::non_empty(field, given)? else { return Ok(None) };
    if namespaces::find(planned, NamespaceKind::Uts).is_none() {
        return Err(SpecError::invalid(field, "needs a uts namespace: the host's name would be changed"));
    }
    match name.len() > MOST {
        true => Err(SpecError::invalid(field, format!("{} is longer than {MOST} bytes", check::quote(&name)))),
        false => Ok(Some(name)),
    }
}

fn cgroup(linux: &Linux) -> Result<CgroupPlan, SpecError> {
    if let Some(given) = linux.resources() {
        resources::check("linux.resources", given)?;
    }
    let path = match linux.cgroups_path() {
        None => None,
        Some(path) => resources::cgroups_path(&path.to_string_lossy())?,
    };
    Ok(CgroupPlan { path, resources: linux.resources().clone() })
}

fn sorted_annotations(spec: &Spec) -> Result<Vec<(String, String)>, SpecError> {
    let mut annotations: Vec<_> =
        spec.annotations().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    annotations.sort();
    match annotations.first() {
        Some((key, _)) if key.is_empty() => Err(SpecError::invalid("annotations", "a key is empty")),
        _ => Ok(annotations),
    }
}
