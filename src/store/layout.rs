//! Where things are: the root, the folders of the sandboxes, their names, and the renames that give and take an id.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::renameat;
use sha2::{Digest, Sha256};

use super::files::put_away_unless;
use super::trust::{self, Distrust, Missing};
use super::{Guard, LockError, StoreError};
use crate::model::Id;
use crate::sys::procfs;

/// The longest id, in bytes, that is itself the name of its folder.
const MAX_PLAIN: usize = 200;
/// How much of a longer id its folder's name begins with.
const PREFIX: usize = 180;

// `~` is in no id, so that no sandbox can be taken for a leftover, whatever it is called.
const NEW: &str = ".new-~";
/// Not yet locked: followed by the pid and the start time of its maker.
const MAKING: &str = ".mk-~";
const GONE: &str = ".gone-~";

const SANDBOXES: &str = "sandboxes";
pub(super) const STORE: &str = "store";

/// An opened state folder.
#[derive(Debug, Clone)]
pub struct Root(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    dir: File,
    sandboxes: File,
}

/// A sandbox's folder. Everything in it is reached through one descriptor, so it stays the same folder whatever is
/// renamed meanwhile.
#[derive(Debug)]
pub struct Folder {
    root: Root,
    dir: File,
    name: String,
    /// Nothing is read or written in it then, and whoever tries is told why.
    doubt: Option<Distrust>,
}

/// The name of a sandbox's folder, and of files that belong to a container: the id itself up to 200 bytes, else 180
/// bytes of it, `-`, and the SHA-256 of the whole in hex. That is 245 bytes, longer than any name that is itself an
/// id, so the two kinds cannot collide; it leaves room for a suffix of 10.
pub fn name_of(id: &str) -> String {
    if id.len() <= MAX_PLAIN {
        return id.to_owned();
    }
    let digest: String = Sha256::digest(id).iter().map(|byte| format!("{byte:02x}")).collect();
    // Ids are ASCII; anything else is cut at a character.
    let prefix = id.char_indices().take_while(|(at, c)| at + c.len_utf8() <= PREFIX).map(|(_, c)| c);
    format!("{}-{digest}", prefix.collect::<String>())
}

impl Root {
    /// For commands that change something: makes what is missing, private to its owner. See `trust` for what is refused.
    pub fn open_or_make(path: &Path) -> Result<Root, StoreError> {
        let path = absolute(path)?;
        let dir = trust::folder(&path, Missing::Make)?;
        let dir = dir.ok_or_else(|| StoreError::MakeRoot { path: path.clone(), source: ErrorKind::NotFound.into() })?;
        let root = Root::make_parts(path, dir)?;
        super::pending::reserve(&root);
        Ok(root)
    }

    /// For readers: None when nothing was ever made there.
    pub fn open(path: &Path) -> Result<Option<Root>, StoreError> {
        let path = absolute(path)?;
        let Some(dir) = trust::folder(&path, Missing::Report)? else { return Ok(None) };
        trust::ours(&dir, &|| path.clone())?;
        let store = match trust::below(&dir, STORE, &|| path.join(STORE)) {
            // Who only reads does not need it.
            Err(StoreError::NotAFolder { .. }) => true,
            found => found?.is_some(),
        };
        match (trust::below(&dir, SANDBOXES, &|| path.join(SANDBOXES))?, store) {
            (Some(sandboxes), _) => Ok(Some(Root(Arc::new(Inner { path, dir, sandboxes })))),
            (None, true) => Err(StoreError::LostSandboxes { path: path.join(SANDBOXES) }),
            (None, false) => Ok(None),
        }
    }

    /// For who puts in order: a part that was lost is made again, if there is another, and what lies in the place of one
    /// is put away.
    pub fn open_to_mend(path: &Path) -> Result<Option<Root>, StoreError> {
        let path = absolute(path)?;
        let Some(dir) = trust::folder(&path, Missing::Report)? else { return Ok(None) };
        trust::ours(&dir, &|| path.clone())?;
        for part in [SANDBOXES, STORE] {
            if let Err(StoreError::NotAFolder { path }) = trust::below(&dir, part, &|| path.join(part)) {
                put_away_unless(&dir, part, Metadata::is_dir)
                    .map_err(|source| StoreError::MakeRoot { path, source })?;
            }
        }
        match Root::open(&path) {
            Err(StoreError::LostSandboxes { .. }) => Root::open_or_make(&path).map(Some),
            opened => opened,
        }
    }

    /// The sandboxes come first: a store without them was once complete.
    fn make_parts(path: PathBuf, dir: File) -> Result<Root, StoreError> {
        trust::ours(&dir, &|| path.clone())?;
        let sandboxes = make_part(&path, &dir, SANDBOXES)?;
        make_part(&path, &dir, STORE)?;
        Ok(Root(Arc::new(Inner { path, dir, sandboxes })))
    }

    /// The folder of the store, made again if it was lost: for who is about to write there.
    pub(super) fn store(&self) -> Result<File, StoreError> {
        make_part(self.path(), &self.0.dir, STORE)
    }

    /// What it is, below the root, if it is ours.
    pub(super) fn part(&self, name: &str) -> Result<Option<File>, StoreError> {
        trust::below(&self.0.dir, name, &|| self.path().join(name))
    }

    /// The same, made if it is not there.
    pub(super) fn make_part(&self, name: &str) -> Result<File, StoreError> {
        make_part(self.path(), &self.0.dir, name)
    }

    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The folder of this sandbox, if there is one.
    pub fn find(&self, id: &Id) -> Result<Option<Folder>, StoreError> {
        self.open_folder(&name_of(id.as_str()))
    }

    /// The folders of all sandboxes, by name.
    pub fn folders(&self) -> Result<Vec<Folder>, StoreError> {
        self.list(|name| !is_leftover(name) && !name.starts_with(MAKING))
    }

    /// What a crash left of sandboxes that were being made or removed, or another process is making right now: whoever
    /// wants to remove one must hold its lock.
    pub fn leftovers(&self) -> Result<Vec<Folder>, StoreError> {
        self.list(|name| is_leftover(name) || is_abandoned_making(name))
    }

    /// Makes a folder that has no id yet, with its lock held. Nobody but the caller and `leftovers` sees it, and whoever
    /// finds it there finds it held: until then it has a name that nobody looks at while it is young.
    pub fn prepare(&self) -> Result<(Folder, Guard), StoreError> {
        let failed = |source| StoreError::Prepare { path: self.path().join(SANDBOXES), source };
        let random = random_name().map_err(failed)?;
        let pid = std::process::id();
        let start = start_time(pid as i32).unwrap_or_default();
        let making = format!("{MAKING}{pid}.{start}.{random}");
        DirBuilder::new().mode(0o700).create(in_dir(&self.0.sandboxes, &making)).map_err(failed)?;
        let mut folder = self.open_folder(&making)?.ok_or_else(|| failed(ErrorKind::NotFound.into()))?;
        let locked = folder.make_lock().map_err(failed).and_then(|()| match folder.lock(Duration::ZERO) {
            Ok(guard) => Ok(guard),
            Err(LockError::Gone) => Err(failed(ErrorKind::NotFound.into())),
            Err(LockError::Busy { .. }) => Err(failed(ErrorKind::TimedOut.into())),
            Err(LockError::Store(error)) => Err(error),
        });
        let name = format!("{NEW}{random}");
        match locked.and_then(|guard| folder.rename(&name).map_err(failed).map(|()| guard)) {
            Ok(guard) => {
                folder.name = name;
                Ok((folder, guard))
            }
            Err(error) => {
                let _ = folder.remove();
                Err(error)
            }
        }
    }

    fn list(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<Folder>, StoreError> {
        let failed = |source| StoreError::List { path: self.path().join(SANDBOXES), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(in_dir(&self.0.sandboxes, "")).map_err(failed)? {
            // Names that are not text are not ours.
            names.extend(entry.map_err(failed)?.file_name().into_string().ok());
        }
        names.retain(|name| wanted(name));
        names.sort();
        let mut folders = Vec::with_capacity(names.len());
        for name in names {
            match self.open_folder(&name) {
                Ok(folder) => folders.extend(folder),
                // A file that someone put here is not a sandbox.
                Err(StoreError::OpenFolder { source, .. }) if source.kind() == ErrorKind::NotADirectory => {}
                Err(error) => return Err(error),
            }
        }
        Ok(folders)
    }

    fn open_folder(&self, name: &str) -> Result<Option<Folder>, StoreError> {
        match open_dir(&in_dir(&self.0.sandboxes, name)) {
            Ok(dir) => {
                let path = || self.path().join(SANDBOXES).join(name);
                let about = dir.metadata().map_err(|source| StoreError::OpenFolder { path: path(), source })?;
                let doubt = trust::doubt(&about);
                Ok(Some(Folder { root: self.clone(), dir, name: name.to_owned(), doubt }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::OpenFolder { path: self.path().join(SANDBOXES).join(name), source }),
        }
    }
}

impl Folder {
    pub fn root(&self) -> &Root {
        &self.root
    }

    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(super) fn dir_file(&self) -> &File {
        &self.dir
    }

    pub fn path(&self) -> PathBuf {
        self.root.path().join(SANDBOXES).join(&self.name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// An error: somebody else owns it, or may write to it.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.doubt {
            Some(why) => Err(StoreError::Untrusted { path: self.path(), why }),
            None => Ok(()),
        }
    }

    /// Not a sandbox: one being made, or being removed.
    pub fn is_leftover(&self) -> bool {
        is_leftover(&self.name)
    }

    /// Takes the id: when this returns, the sandbox exists; before, it never did. The caller holds the folder's lock
    /// and has written the intent, so that whoever finds the sandbox finds that too. When the id is taken, nothing is
    /// left of the folder.
    pub fn claim(mut self, id: &Id) -> Result<Folder, StoreError> {
        let name = name_of(id.as_str());
        // rename(2) replaces an empty folder only; a sandbox's holds at least its lock.
        match self.rename(&name) {
            Ok(()) => {
                self.name = name;
                Ok(self)
            }
            Err(source) => {
                let _ = self.remove();
                let id = id.as_str().to_owned();
                match source.raw_os_error() {
                    Some(libc::EEXIST | libc::ENOTEMPTY | libc::ENOTDIR) => Err(StoreError::Exists { id }),
                    _ => Err(StoreError::Claim { id, source }),
                }
            }
        }
    }

    /// Gives the id back: when this returns, the sandbox is gone and its id is free. The caller holds the lock.
    pub fn retire(&mut self) -> Result<(), StoreError> {
        let failed = |source| StoreError::Retire { path: self.path(), source };
        let name = format!("{GONE}{}", random_name().map_err(failed)?);
        self.rename(&name).map_err(failed)?;
        self.name = name;
        Ok(())
    }

    /// Removes the folder and all that is in it; that others removed some or all of it already is fine. The lock goes
    /// last: whoever looks meanwhile at what is left finds it held.
    pub fn remove(self) -> Result<(), StoreError> {
        let path = in_dir(&self.root.0.sandboxes, &self.name);
        // A file that appears while we remove the others makes the folder "not empty": again, a bounded number of times.
        for _ in 0..8 {
            match remove_but_lock(&path).and_then(|()| std::fs::remove_dir_all(&path)) {
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => continue,
                Err(error) if error.kind() == ErrorKind::NotFound && path.symlink_metadata().is_ok() => continue,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(source) => return Err(StoreError::Remove { path: self.path(), source }),
                Ok(()) => return Ok(()),
            }
        }
        Err(StoreError::Remove { path: self.path(), source: ErrorKind::DirectoryNotEmpty.into() })
    }

    /// Whether the folder's name still leads to this very folder: not once it was claimed, retired or removed by
    /// another process.
    pub fn is_current(&self) -> io::Result<bool> {
        same_file(&self.dir, &in_dir(&self.root.0.sandboxes, &self.name))
    }

    /// The same folder once more, by a descriptor of its own.
    pub fn try_clone(&self) -> Result<Folder, StoreError> {
        let dir = self.dir.try_clone().map_err(|source| StoreError::Read { path: self.path(), source })?;
        Ok(Folder { root: self.root.clone(), dir, name: self.name.clone(), doubt: self.doubt })
    }

    /// A path to a file in this folder that works whatever the folder is called by now.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        in_dir(&self.dir, name)
    }

    fn rename(&self, to: &str) -> io::Result<()> {
        let sandboxes = Some(self.root.0.sandboxes.as_raw_fd());
        Ok(renameat(sandboxes, self.name.as_str(), sandboxes, to)?)
    }
}

fn remove_but_lock(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false if entry.file_name() == super::lock::LOCK => {}
            false => std::fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// A preparation whose process, named by pid and start time, is dead.
fn is_abandoned_making(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(MAKING) else { return false };
    let mut parts = rest.split('.');
    let maker = parts.next().and_then(|pid| pid.parse::<i32>().ok());
    let start = parts.next().and_then(|start| start.parse::<u64>().ok());
    match (maker, start) {
        (Some(pid), Some(start)) => start_time(pid) != Some(start),
        _ => true,
    }
}

/// None for a process that is dead, or past doing anything.
fn start_time(pid: i32) -> Option<u64> {
    procfs::stat(pid).ok().flatten().filter(|stat| !stat.is_gone()).map(|stat| stat.start_time)
}

fn is_leftover(name: &str) -> bool {
    name.starts_with(NEW) || name.starts_with(GONE)
}

/// Whether `path` leads to the file that is open here. A path that leads nowhere does not.
pub(super) fn same_file(open: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let open = open.metadata()?;
    match path.symlink_metadata() {
        Ok(named) => Ok((open.dev(), open.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// 16 hex digits that nobody else has.
pub(super) fn random_name() -> io::Result<String> {
    let mut bytes = [0; 8];
    io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut bytes)?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

fn open_dir(path: &Path) -> io::Result<File> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// proc(5): a path through an open folder, short however deep that lies.
pub(super) fn in_dir(dir: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name)
}

/// A folder of the root, which is ours.
fn make_part(path: &Path, root: &File, name: &str) -> Result<File, StoreError> {
    let failed = |source| StoreError::MakeRoot { path: path.join(name), source };
    trust::make(root, OsStr::new(name)).map_err(failed)?;
    trust::below(root, name, &|| path.join(name))?.ok_or_else(|| failed(ErrorKind::NotFound.into()))
}

fn absolute(path: &Path) -> Result<PathBuf, StoreError> {
    if path.as_os_str().as_bytes().is_empty() {
        return Err(StoreError::NotAFolder { path: path.to_owned() });
    }
    std::path::absolute(path).map_err(|source| StoreError::OpenRoot { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open_or_make(&dir.path().join("state")).unwrap();
        (dir, root)
    }

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    #[test]
    fn a_reader_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Root::open(&dir.path().join("none")).unwrap().is_none());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_root_that_is_a_file_is_refused_in_so_many_words() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for error in [Root::open_or_make(file.path()).unwrap_err(), Root::open(file.path()).unwrap_err()] {
            assert!(error.to_string().ends_with("is not a folder"), "{error}");
        }
    }

    #[test]
    fn what_is_made_is_private() {
        use std::os::unix::fs::MetadataExt;
        let (_dir, root) = root();
        let (folder, _guard) = root.prepare().unwrap();
        for path in [root.path().to_owned(), root.path().join("store"), folder.path()] {
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700, "{path:?}");
        }
    }

    #[test]
    fn a_prepared_folder_is_no_sandbox_until_it_is_claimed() {
        let (_dir, root) = root();
        let (folder, _guard) = root.prepare().unwrap();
        assert!(root.folders().unwrap().is_empty());
        assert_eq!(root.leftovers().unwrap().len(), 1);
        folder.claim(&id("web")).unwrap();
        assert_eq!(root.find(&id("web")).unwrap().unwrap().name(), "web");
        assert!(root.leftovers().unwrap().is_empty());
    }

    #[test]
    fn an_id_in_use_cannot_be_claimed_and_nothing_is_left_of_the_attempt() {
        let (_dir, root) = root();
        let first = root.prepare().unwrap().0.claim(&id("web")).unwrap();
        let error = root.prepare().unwrap().0.claim(&id("web")).unwrap_err();
        assert!(matches!(error, StoreError::Exists { .. }), "{error}");
        assert!(root.leftovers().unwrap().is_empty());
        assert!(first.is_current().unwrap());
    }

    #[test]
    fn a_retired_id_is_free_at_once_and_removal_may_be_done_twice() {
        let (_dir, root) = root();
        let mut first = root.prepare().unwrap().0.claim(&id("web")).unwrap();
        first.retire().unwrap();
        root.prepare().unwrap().0.claim(&id("web")).unwrap();
        let again = root.leftovers().unwrap().pop().unwrap();
        first.remove().unwrap();
        again.remove().unwrap();
        assert!(root.leftovers().unwrap().is_empty());
    }

    #[test]
    fn no_id_can_be_taken_for_a_leftover_or_for_the_name_of_a_longer_one() {
        let (_dir, root) = root();
        let long = "x".repeat(1000);
        let longer = "x".repeat(1001);
        let ids = [".new-1", ".gone-1", "...", &long, &longer, &name_of(&long), &"x".repeat(200)].map(id);
        for id in &ids {
            root.prepare().unwrap().0.claim(id).unwrap();
        }
        assert_eq!(root.folders().unwrap().len(), ids.len());
        assert!(root.leftovers().unwrap().is_empty());
        assert!(name_of(&long).len() <= 245);
    }

    #[test]
    fn a_folder_being_prepared_is_held_from_the_start_however_often_leftovers_are_removed() {
        let (_dir, root) = root();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let recovery = scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    for folder in root.leftovers().unwrap() {
                        if let Ok(Some(_guard)) = folder.try_lock() {
                            folder.remove().unwrap();
                        }
                    }
                }
            });
            let prepared = scope.spawn(|| {
                for number in 0..300 {
                    let (folder, guard) = root.prepare().unwrap();
                    folder.write_file("config.json", b"{}").unwrap();
                    let folder = folder.claim(&id(&format!("web{number}"))).unwrap();
                    assert!(folder.is_current().unwrap());
                    drop(guard);
                }
            });
            let prepared = prepared.join();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            recovery.join().unwrap();
            prepared.unwrap();
        });
        assert_eq!(root.folders().unwrap().len(), 300);
    }

    #[test]
    fn twenty_claims_of_one_id_at_once_have_one_winner() {
        let (_dir, root) = root();
        let start = std::sync::Barrier::new(20);
        let won: usize = std::thread::scope(|scope| {
            let claims: Vec<_> = (0..20)
                .map(|_| {
                    scope.spawn(|| {
                        let (folder, _guard) = root.prepare().unwrap();
                        start.wait();
                        folder.claim(&id("web")).is_ok() as usize
                    })
                })
                .collect();
            claims.into_iter().map(|claim| claim.join().unwrap()).sum()
        });
        assert_eq!(won, 1);
        assert!(root.leftovers().unwrap().is_empty());
    }
}
