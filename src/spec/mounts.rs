//! The mounts of a container, in the order of the specification.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, Mount, Spec};

use super::mappings::{self, Mappings};
use super::mount_options::{self, Options, Reach};
use super::plan::{IdmapPlan, MountKind, MountPlan, NamespaceKind, NamespacePlan, Unsupported};
use super::{SpecError, annotations, check, inline_idmap, namespaces};

/// What a mount can depend on.
pub(super) struct Surroundings<'a> {
    pub(super) bundle: &'a Path,
    pub(super) namespaces: &'a [NamespacePlan],
    pub(super) mappings: &'a Mappings,
    /// `linux.mountLabel`, the SELinux context of new file systems, and the option that carries it.
    pub(super) label: Option<(&'static str, String)>,
}

pub(super) fn plan(
    spec: &Spec,
    around: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<MountPlan>, SpecError> {
    let mounts = spec.mounts().iter().flatten().enumerate();
    mounts.map(|(index, mount)| plan_one(&format!("mounts[{index}]"), mount, around, warnings)).collect()
}

pub(super) fn label(spec: &Spec, linux: &Linux) -> Result<Option<(&'static str, String)>, SpecError> {
    let label = check::non_empty("linux.mountLabel", linux.mount_label())?;
    Ok(label.map(|label| (annotations::context_type(spec), label)))
}

fn plan_one(
    field: &str,
    mount: &Mount,
    around: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<MountPlan, SpecError> {
    let destination = destination(field, mount.destination(), warnings)?;
    let words = mount.options().as_deref().unwrap_or_default();
    for (index, word) in words.iter().enumerate() {
        check::text(&format!("{field}.options[{index}]"), word)?;
    }
    let mut options = mount_options::read(words);
    let idmap = idmap(field, mount, &options, around, warnings)?;
    let kind = kind(field, mount, &mut options, around, warnings)?;
    let tmpfs = matches!(&kind, MountKind::Filesystem { fstype, .. } if fstype == "tmpfs");
    if options.copy_up && !tmpfs {
        return Err(SpecError::invalid(format!("{field}.options"), "tmpcopyup is only for mounts of type tmpfs"));
    }
    if options.copy_symlink && (options.source_nofollow || options.destination_nofollow) {
        let problem = "copy-symlink makes a symlink of its own: src-nofollow and dest-nofollow do not go with it";
        return Err(SpecError::invalid(format!("{field}.options"), problem));
    }
    if options.copy_symlink && !matches!(kind, MountKind::Bind { .. }) {
        return Err(SpecError::invalid(format!("{field}.options"), "copy-symlink is only for bind mounts"));
    }
    if idmap.is_some() && !matches!(kind, MountKind::Bind { .. }) {
        return Err(SpecError::invalid(format!("{field}.options"), "only bind mounts can be id-mapped"));
    }
    Ok(MountPlan {
        identity: None,
        destination,
        kind,
        attrs_set: options.attrs_set,
        attrs_clear: options.attrs_clear,
        recursive_set: options.recursive_set,
        recursive_clear: options.recursive_clear,
        propagation: options.propagation,
        copy_up: options.copy_up,
        copy_symlink: options.copy_symlink,
        idmap,
        source_nofollow: options.source_nofollow || options.copy_symlink,
        destination_nofollow: options.destination_nofollow,
    })
}

/// Other runtimes take a relative destination as one below the root, and some configurations rely on it.
fn destination(field: &str, given: &Path, warnings: &mut Vec<String>) -> Result<PathBuf, SpecError> {
    let field = format!("{field}.destination");
    check::path(&field, given)?;
    if given.is_relative() {
        warnings.push(format!("{field}: {given:?} is not absolute; taken as one below /"));
    }
    check::absolute(&field, &Path::new("/").join(given))
}

fn kind(
    field: &str,
    mount: &Mount,
    options: &mut Options,
    around: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<MountKind, SpecError> {
    let fstype = mount.typ().as_deref().unwrap_or_default();
    check::text(&format!("{field}.type"), fstype)?;
    if options.remount {
        return remount(field, options);
    }
    match (options.bind, fstype) {
        (Some(reach), _) => bind(field, mount, reach, options, around, warnings),
        (None, "bind") => bind(field, mount, Reach::One, options, around, warnings),
        (None, "") => Err(SpecError::invalid(
            format!("{field}.type"),
            "is missing: give the type of a file system, or the option bind or rbind",
        )),
        (None, "none") => {
            Err(SpecError::invalid(format!("{field}.type"), "\"none\" is only for the options bind and rbind"))
        }
        (None, "cgroup" | "cgroup2") => {
            for (key, _) in options.data.drain(..) {
                warnings.push(format!("{field}.options: {} has no effect on a cgroup mount", check::quote(&key)));
            }
            Ok(MountKind::Cgroup)
        }
        (None, _) => filesystem(field, mount, fstype, options, around),
    }
}

/// Of a mount, not of a file system: that one may be shared with the host.
fn remount(field: &str, options: &Options) -> Result<MountKind, SpecError> {
    let first = options.superblock.first().or(options.data.first().map(|(key, _)| key));
    match first {
        None => Ok(MountKind::Remount),
        Some(word) => {
            let problem = format!("remount changes a mount, and {} belongs to its file system", check::quote(word));
            Err(SpecError::unsupported(format!("{field}.options"), problem))
        }
    }
}

fn bind(
    field: &str,
    mount: &Mount,
    reach: Reach,
    options: &mut Options,
    around: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<MountKind, SpecError> {
    let source_field = format!("{field}.source");
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    check::path(&source_field, source)?;
    // As with other runtimes: mount(2) does not look at them either.
    for word in options.superblock.drain(..).chain(options.data.drain(..).map(|(key, _)| key)) {
        let word = check::quote(&word);
        warnings.push(format!("{field}.options: {word} belongs to a file system and has no effect on a bind mount"));
    }
    let source = check::absolute(&source_field, &around.bundle.join(source))?;
    Ok(MountKind::Bind { source, recursive: reach == Reach::Tree })
}

fn filesystem(
    field: &str,
    mount: &Mount,
    fstype: &str,
    options: &mut Options,
    around: &Surroundings<'_>,
) -> Result<MountKind, SpecError> {
    if options.source_nofollow {
        return Err(SpecError::invalid(format!("{field}.options"), "src-nofollow is only for bind mounts"));
    }
    let source = mount.source().as_deref().unwrap_or(Path::new(fstype));
    check::text(&format!("{field}.source"), &source.to_string_lossy())?;
    let source = source.to_string_lossy().into_owned();
    for (key, value) in &options.data {
        mapped_owner(field, key, value.as_deref(), around.mappings)?;
    }
    let mut keys: Vec<(String, Option<String>)> = options.superblock.drain(..).map(|word| (word, None)).collect();
    // A file system on a read-only device cannot be opened for writing, even for a mount that is read-only.
    if source.starts_with('/') && options.attrs_set & libc::MOUNT_ATTR_RDONLY != 0 {
        keys.push(("ro".to_owned(), None));
    }
    keys.append(&mut options.data);
    // The kernel labels these three itself, and takes no context for them.
    let labelled = !["proc", "sysfs", "mqueue"].contains(&fstype);
    if let Some((option, label)) = around.label.as_ref().filter(|_| labelled)
        && !keys.iter().any(|(key, _)| key == option)
    {
        keys.push(((*option).to_owned(), Some(label.clone())));
    }
    Ok(MountKind::Filesystem { fstype: fstype.to_owned(), source, options: keys })
}

/// An owner that the container's user namespace does not know ends in a bare EINVAL; here it can be named.
fn mapped_owner(field: &str, key: &str, value: Option<&str>, mappings: &Mappings) -> Result<(), SpecError> {
    let map = match key {
        "uid" => &mappings.uid,
        "gid" => &mappings.gid,
        _ => return Ok(()),
    };
    let id = value.and_then(|value| value.parse().ok());
    match id {
        Some(id) if !map.is_empty() && !mappings::contains(map, id) => {
            let problem = format!("{key}={id} is not mapped by linux.{key}Mappings");
            Err(SpecError::invalid(format!("{field}.options"), problem))
        }
        _ => Ok(()),
    }
}

fn idmap(
    field: &str,
    mount: &Mount,
    options: &Options,
    around: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<IdmapPlan>, SpecError> {
    let mut uid_mappings = mappings::list(&format!("{field}.uidMappings"), mount.uid_mappings().as_deref())?;
    let mut gid_mappings = mappings::list(&format!("{field}.gidMappings"), mount.gid_mappings().as_deref())?;
    if uid_mappings.is_empty() != gid_mappings.is_empty() {
        let missing = if uid_mappings.is_empty() { "uidMappings" } else { "gidMappings" };
        return Err(SpecError::invalid(format!("{field}.{missing}"), "uidMappings and gidMappings belong together"));
    }
    match &options.mappings {
        Some(_) if !uid_mappings.is_empty() => {
            warnings.push(format!("{field}.options: the mappings of the option idmap are ignored beside uidMappings"));
        }
        Some(text) => {
            let read = inline_idmap::read(&format!("{field}.options"), text, around.mappings)?;
            (uid_mappings, gid_mappings) = (read.uid, read.gid);
        }
        None => {}
    }
    let none_given = uid_mappings.is_empty();
    if options.idmap.is_none() && none_given {
        return Ok(None);
    }
    if none_given && namespaces::find(around.namespaces, NamespaceKind::User).is_none() {
        let problem = "idmap without mappings needs a user namespace in linux.namespaces";
        return Err(SpecError::invalid(format!("{field}.options"), problem));
    }
    Ok(Some(IdmapPlan {
        recursive: options.idmap == Some(Reach::Tree),
        uid_mappings,
        gid_mappings,
        unsupported: Unsupported::Refused,
    }))
}
