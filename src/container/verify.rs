//! The container's root and mounts, looked at once more from inside, after the last of them was made and before anything of
//! the container runs: what is not as it should be starts nothing.
//!
//! What each look finds has been there, in this runtime or in another: a second root under the first (setns(2) then leads
//! whoever joins out of the container), a node of the host's /dev bound read-write.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::{SetupError, Step};
use crate::spec::plan::Plan;
use crate::sys::mountinfo::{self, Mount};
use crate::sys::open::{self, AT_CWD};
use crate::sys::place::{self, Place};

/// Where the mounts of a container come from, by the ids of those at the top of each.
#[derive(Debug, Default)]
pub struct Provenance {
    /// The configuration names them: they bring what the caller wants to give.
    pub given: HashSet<u64>,
    /// File systems of our own.
    pub made: HashSet<u64>,
}

impl Provenance {
    pub fn gives(&mut self, mount: BorrowedFd<'_>) -> Result<(), SetupError> {
        self.given.insert(id_of(mount)?);
        Ok(())
    }

    /// What hooks have mounted: they are the caller's. `before` are the mounts that there were.
    pub fn gives_new(&mut self, before: &[Mount], after: &[Mount]) {
        let old: HashSet<u64> = before.iter().map(|mount| mount.id).collect();
        let new = after.iter().filter(|mount| !old.contains(&mount.id));
        self.given.extend(new.map(|mount| mount.id));
    }

    pub fn makes(&mut self, mount: BorrowedFd<'_>) -> Result<(), SetupError> {
        self.made.insert(id_of(mount)?);
        Ok(())
    }
}

fn id_of(mount: BorrowedFd<'_>) -> Result<u64, SetupError> {
    Ok(place::look(mount, c"").step(|| "look at a mount".into())?.place.mount)
}

/// The host as it was seen before it was left.
pub struct Host {
    proc: OwnedFd,
    /// st_dev of what no container may write to: the terminals and the device nodes of the host.
    devices: Vec<u64>,
}

impl Host {
    /// While / is the host's.
    pub fn open() -> Result<Host, SetupError> {
        let folder = |path: &str| open::at(AT_CWD, Path::new(path), OFlag::O_PATH | OFlag::O_DIRECTORY, 0);
        let proc = folder("/proc").step(|| "open the host's /proc".into())?;
        let mut devices = Vec::new();
        for path in ["/dev", "/dev/pts"] {
            match folder(path).and_then(|found| place::look(found.as_fd(), c"")) {
                Ok(found) => devices.push(found.place.device),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).step(|| format!("look at the host's {path}")),
            }
        }
        Ok(Host { proc, devices })
    }

    /// Of our mount namespace, as it is now: `self` is us wherever our root is.
    pub fn mounts(&self) -> Result<Vec<Mount>, SetupError> {
        let what = || "read the container's mounts".to_owned();
        let opened = open::at(self.proc.as_fd(), Path::new("thread-self/mountinfo"), OFlag::O_RDONLY, 0).step(what)?;
        let mut bytes = Vec::new();
        File::from(opened).read_to_end(&mut bytes).step(what)?;
        mountinfo::parse(&bytes).ok_or_else(|| SetupError::Refused(format!("{}: a line is of no known shape", what())))
    }
}

/// That `/` is a root with nothing above it.
pub fn root() -> Result<Place, SetupError> {
    let what = || "look at the container's root".to_owned();
    let slash = open::at(AT_CWD, Path::new("/"), OFlag::O_PATH | OFlag::O_DIRECTORY, 0).step(what)?;
    let here = place::look(slash.as_fd(), c"").step(what)?;
    let above = place::look(slash.as_fd(), c"..").step(what)?;
    if !here.is_mount_top {
        return Err(broken("/ is not the top of a mount"));
    }
    // By mount, not by inode: a bind of the host's root has the inode of the host's root.
    if above.place != here.place {
        return Err(broken("/.. is not /"));
    }
    Ok(here.place)
}

/// That every mount belongs to that root, and that none brings what is the host's unasked.
pub fn mounts(host: &Host, plan: &Plan, provenance: &Provenance, root: Place) -> Result<(), SetupError> {
    judge(&host.mounts()?, root.mount, &host.devices, plan, provenance).map_err(|why| broken(&why))
}

fn judge(mounts: &[Mount], root: u64, devices: &[u64], plan: &Plan, provenance: &Provenance) -> Result<(), String> {
    let roots: Vec<&Mount> = mounts.iter().filter(|mount| mount.at == Path::new("/")).collect();
    match roots[..] {
        [only] if only.id == root => {}
        [] => return Err("no mount is its root".into()),
        // A second one hangs on the first: its chain of parents would not give it away.
        _ => return Err(format!("{} mounts lie on /, or another than its root", roots.len())),
    }
    let mut chains = Chains::of(mounts, root, provenance);
    for mount in mounts.iter().filter(|mount| mount.id != root) {
        let above = chains.above(mount.id);
        if !above.root {
            return Err(format!("the mount at {:?} does not hang on its root", mount.at));
        }
        let host_devices = mount.writable && (mount.fstype == "devtmpfs" || devices.contains(&mount.device));
        if !host_devices || above.given {
            continue;
        }
        // What lies under another at the same place came with the root.
        let topmost = || mounts.iter().rfind(|other| other.at == mount.at).is_some_and(|last| last.id == mount.id);
        let ours = above.made || places(plan).any(|path| *path == mount.at) && topmost();
        if ours {
            return Err(format!("a device of the host can be changed at {:?}", mount.at));
        }
    }
    Ok(())
}

/// What a mount and those that it hangs on are, as far as they are known.
#[derive(Debug, Clone, Copy, Default)]
struct Above {
    root: bool,
    given: bool,
    made: bool,
}

/// From each mount over its parents. Every mount is walked over once, however deep they lie: thousands may lie on one place.
struct Chains<'a> {
    parents: HashMap<u64, u64>,
    provenance: &'a Provenance,
    known: HashMap<u64, Above>,
}

impl Chains<'_> {
    fn of<'a>(mounts: &[Mount], root: u64, provenance: &'a Provenance) -> Chains<'a> {
        let parents = mounts.iter().map(|mount| (mount.id, mount.parent)).collect();
        let top = Above { root: true, ..Above::default() };
        Chains { parents, provenance, known: HashMap::from([(root, own(root, top, provenance))]) }
    }

    fn above(&mut self, mount: u64) -> Above {
        let mut way = Vec::new();
        let mut next = mount;
        let mut found = loop {
            if let Some(known) = self.known.get(&next) {
                break *known;
            }
            // A chain that comes back to itself has no end, and no root.
            self.known.insert(next, Above::default());
            way.push(next);
            match self.parents.get(&next).filter(|parent| self.parents.contains_key(parent)) {
                Some(parent) => next = *parent,
                None => break Above::default(),
            }
        };
        for id in way.into_iter().rev() {
            found = own(id, found, self.provenance);
            self.known.insert(id, found);
        }
        found
    }
}

fn own(mount: u64, above: Above, provenance: &Provenance) -> Above {
    Above {
        given: above.given || provenance.given.contains(&mount),
        made: above.made || provenance.made.contains(&mount),
        ..above
    }
}

/// Where we put what is not the configuration's to choose.
fn places(plan: &Plan) -> impl Iterator<Item = &PathBuf> {
    plan.devices.iter().map(|device| &device.path).chain(&plan.masked_paths).chain(&plan.readonly_paths)
}

fn broken(why: &str) -> SetupError {
    SetupError::Refused(format!("the container would not be isolated, so nothing was started: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{self, Host as Caller};

    fn plan() -> Plan {
        let bundle = tempfile::tempdir().unwrap();
        std::fs::create_dir(bundle.path().join("rootfs")).unwrap();
        let caller = Caller { rootless: false, last_capability: 40 };
        spec::plan(&spec::Inputs::of(&spec::default_spec(false), bundle.path(), &caller)).unwrap().0
    }

    fn judged(lines: &str, provenance: &Provenance) -> Result<(), String> {
        judge(&mountinfo::parse(lines.as_bytes()).unwrap(), 30, &[libc::makedev(0, 9)], &plan(), provenance)
    }

    const GOOD: &str = "\
30 2 8:1 /rootfs / rw - ext4 /dev/x rw
31 30 0:50 / /proc rw - proc proc rw
32 30 0:51 / /dev rw - tmpfs tmpfs rw
33 31 0:52 /file /proc/keys ro - tmpfs tmpfs ro
";

    fn made() -> Provenance {
        Provenance { given: HashSet::new(), made: HashSet::from([31, 32]) }
    }

    #[test]
    fn a_root_with_its_mounts_is_fine() {
        judged(GOOD, &made()).unwrap();
    }

    /// As it was when `do` left the host's root on the overlay's: the chain of parents ends in the root.
    #[test]
    fn a_second_root_is_seen_although_it_hangs_on_the_first() {
        let error = judged(&format!("{GOOD}40 30 254:0 / / rw - ext4 /dev/x rw\n"), &made()).unwrap_err();
        assert!(error.contains("2 mounts lie on /"), "{error}");
        judged("31 30 0:50 / /proc rw - proc proc rw\n", &made()).unwrap_err();
    }

    #[test]
    fn a_mount_of_somewhere_else_is_seen() {
        let error = judged(&format!("{GOOD}40 7 254:0 / /elsewhere rw - ext4 /dev/x rw\n"), &made()).unwrap_err();
        assert!(error.contains("/elsewhere"), "{error}");
    }

    /// As it was when /dev/null of the host covered the masked files.
    #[test]
    fn a_node_of_the_host_is_refused_unless_it_is_read_only_or_the_configuration_brings_it() {
        for line in
            ["40 31 0:6 /null /proc/keys rw - devtmpfs dev rw\n", "40 32 0:9 /null /dev/null rw - tmpfs dev rw\n"]
        {
            let error = judged(&format!("{GOOD}{line}"), &made()).unwrap_err();
            assert!(error.contains("device of the host"), "{error}");
        }
        judged(&format!("{GOOD}40 32 0:6 /null /dev/null ro - devtmpfs dev rw\n"), &made()).unwrap();
        let given = Provenance { given: HashSet::from([40]), ..made() };
        judged(&format!("{GOOD}40 32 0:6 /fuse /dev/fuse rw - devtmpfs dev rw\n"), &given).unwrap();
        let whole =
            format!("{GOOD}40 30 0:6 / /dev rw - devtmpfs dev rw\n41 40 0:6 /null /dev/null rw - devtmpfs dev rw\n");
        judged(&whole, &Provenance { given: HashSet::from([40]), ..made() }).unwrap();
    }

    #[test]
    fn our_own_root_is_one() {
        root().unwrap();
        let host = Host::open().unwrap();
        assert!(host.mounts().unwrap().len() > 1);
    }

    #[test]
    #[ignore = "prints what the look from inside costs"]
    fn figure_of_the_look_from_inside() {
        let began = std::time::Instant::now();
        let mut count = 0;
        for _ in 0..1000 {
            let host = Host::open().unwrap();
            root().unwrap();
            let mounts = host.mounts().unwrap();
            count = mounts.len();
            let _ = judge(&mounts, 30, &host.devices, &plan(), &made());
        }
        let planned = std::time::Instant::now();
        (0..1000).for_each(|_| drop(plan()));
        println!("{count} mounts: {:?} each", (planned - began).saturating_sub(planned.elapsed()) / 1000);
    }
}
