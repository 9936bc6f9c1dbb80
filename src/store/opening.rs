//! Opening the store on a thread of its own, while the command does something else.
//!
//! The first open in a process costs milliseconds, most of it spent on sled's seven new I/O threads spinning until the
//! thread that starts them has finished: raising that one's priority for the while lets it finish sooner.
//!
//! What the command does meanwhile may take much longer than that (a supervisor that does not answer, a process that does
//! not die), and other processes want the store too: one that nobody asked for soon is closed, and opened again then.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::flock::lock_blocking;
use super::layout::STORE;
use super::paths::in_dir;
use super::place::{open_ours, put_away};
use super::witness::Witness;
use super::{Db, Root, StoreError, pending, rebuild, room};
use crate::sys::sched;

/// How long an open store waits for being asked for: far above what a transition takes when nothing is wrong.
const IDLE: Duration = Duration::from_millis(50);

const LOCK: &str = "store.lock";

/// The store, being opened. Dropped unfinished, it lets go of everything as soon as it has it.
pub struct Opening {
    opened: io::Result<Receiver<Result<Db, StoreError>>>,
    demand: Arc<Demand>,
    path: PathBuf,
    deadline: Duration,
}

impl Opening {
    /// Starts waiting for `store.lock`, then opens the database and folds in what is pending. The deadline counts from
    /// `finish`. Whatever is forked must be forked before this: see `lock`.
    pub fn begin(root: &Root, deadline: Duration) -> Opening {
        let (sender, opened) = mpsc::sync_channel(0);
        let demand = Arc::new(Demand::default());
        let path = root.path().join(STORE).join(LOCK);
        let work = Work { root: root.clone(), path: path.clone(), demand: demand.clone(), deadline };
        let thread = std::thread::Builder::new().name("store".to_owned());
        let opened = thread.spawn(move || work.run(&sender)).map(|_| opened);
        Opening { opened, demand, path, deadline }
    }

    /// The store; or, after the deadline, that another process has it.
    pub fn finish(mut self) -> Result<Db, StoreError> {
        self.demand.set(Wanted::Now);
        let opened = std::mem::replace(&mut self.opened, Err(ErrorKind::Other.into()));
        let opened = opened.map_err(|source| StoreError::Thread { source })?;
        match opened.recv_timeout(self.deadline) {
            Ok(opened) => opened,
            Err(RecvTimeoutError::Timeout) => Err(StoreError::Held { path: self.path.clone(), waited: self.deadline }),
            // It panicked outside of the database.
            Err(RecvTimeoutError::Disconnected) => Err(StoreError::Thread { source: ErrorKind::BrokenPipe.into() }),
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.demand.set(Wanted::Never);
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    #[default]
    Later,
    Now,
    Never,
}

/// What the command has said so far.
#[derive(Default)]
struct Demand {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

impl Demand {
    fn set(&self, wanted: Wanted) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
        self.changed.notify_all();
    }

    fn is(&self, wanted: Wanted) -> bool {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) == wanted
    }

    /// False: nothing was said within `time`.
    fn said_within(&self, time: Duration) -> bool {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(wanted, time, |wanted| *wanted == Wanted::Later);
        *waited.unwrap_or_else(PoisonError::into_inner).0 != Wanted::Later
    }

    fn wait(&self) -> Wanted {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_while(wanted, |wanted| *wanted == Wanted::Later);
        *waited.unwrap_or_else(PoisonError::into_inner)
    }
}

struct Work {
    root: Root,
    path: PathBuf,
    demand: Arc<Demand>,
    deadline: Duration,
}

impl Work {
    fn run(self, sender: &SyncSender<Result<Db, StoreError>>) {
        let mut opened = self.open();
        if !self.demand.said_within(IDLE) {
            let told = opened.map(|db| db.notices().to_vec()).unwrap_or_default();
            if self.demand.wait() == Wanted::Never {
                return;
            }
            opened = self.open().map(|db| db.with_earlier_notices(told));
        }
        // If nobody wants it any more, it comes back with the error and is closed here, in order.
        let _ = sender.send(opened);
    }

    fn open(&self) -> Result<Db, StoreError> {
        let failed = |source| StoreError::Lock { path: self.path.clone(), source };
        let store = self.root.store()?;
        let open = || {
            let options = &mut OpenOptions::new();
            open_ours(options.read(true).write(true).create(true), &in_dir(&store, LOCK), &|| self.path.clone())
        };
        let lock = match open() {
            Err(StoreError::NotAFile { .. }) => {
                put_away(&store, LOCK).map_err(failed)?;
                open()?
            }
            opened => opened?,
        };
        let lock = lock.ok_or_else(|| failed(ErrorKind::NotFound.into()))?;
        lock_blocking(&lock).map_err(failed)?;
        if self.demand.is(Wanted::Never) {
            let _ = fs2::FileExt::unlock(&lock);
            return Err(StoreError::Held { path: self.path.clone(), waited: self.deadline });
        }
        let raised = sched::raise_this_thread().is_ok();
        let opened = open_counted(&self.root, lock);
        if raised {
            let _ = sched::settle_this_thread();
        }
        let db = opened?;
        pending::fold(&self.root, &db)?;
        Ok(db)
    }
}

/// Opens the database. That we are doing so stands in the lock file meanwhile, so that a database which kills
/// whoever opens it (sled panics on some kinds of damage) is recognised by the processes after us.
fn open_counted(root: &Root, lock: File) -> Result<Db, StoreError> {
    let witness = Witness::read(&lock);
    // Who dies on a full disk did not die of the database. Without room for one byte there is no counting either.
    if !room::is_short(root.path()) {
        let _ = Witness::count(&lock, witness.deaths.saturating_add(1));
    }
    match rebuild::open(root, &witness) {
        Ok((trees, path, notices)) => {
            let db = Db::new(trees, path, lock, notices);
            db.settle();
            Ok(db)
        }
        Err(error) => {
            let _ = Witness::count(&lock, witness.deaths);
            let _ = fs2::FileExt::unlock(&lock);
            Err(error)
        }
    }
}
