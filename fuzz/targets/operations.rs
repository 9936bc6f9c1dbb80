//! A random sequence of operations on the machine and the store, held against a plain map: what was committed is there,
//! also after the database was closed and opened; what was refused changed nothing; history replays to the same state.
#![no_main]

use std::collections::BTreeMap;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use sandkeep::model::pod::Pod;
use sandkeep::model::record::{
    Actor, Boot, CgroupRecord, ContainerState, JournalEntry, PidNamespace, ProcessRef, SandboxRecord, Snapshot, State,
};
use sandkeep::model::{Event, Id, Machine, Phase};
use sandkeep::store::{Commit, Db, Opening, Root};

const IDS: [&str; 3] = ["a", "a.b", "a-very-long-id"];
const DEADLINE: Duration = Duration::from_secs(30);
const MOST: usize = 40;

struct World {
    root: Root,
    db: Option<Db>,
    /// What must be there.
    expected: BTreeMap<Id, Snapshot>,
    /// What happened to each since it was last absent.
    lives: BTreeMap<Id, Vec<JournalEntry>>,
    /// How many sandboxes there have been: tells two of the same id apart.
    born: u32,
    committed: usize,
}

fuzz_target!(|data: &[u8]| {
    let dir = tempfile::tempdir().expect("a folder for the root");
    let root = Root::open_or_make(dir.path()).expect("a root");
    let mut world = World { root, db: None, expected: BTreeMap::new(), lives: BTreeMap::new(), born: 0, committed: 0 };
    for step in data.chunks_exact(2).take(MOST) {
        match step[1] % 16 {
            14 => world.db = None,
            15 => world.compare(),
            event => world.ask(IDS[step[0] as usize % IDS.len()], Event::ALL[event as usize]),
        }
    }
    world.db = None;
    world.compare();
});

impl World {
    /// One event for one sandbox: denied, or committed.
    fn ask(&mut self, id: &str, event: Event) {
        let id = Id::parse(id).expect("an id");
        let before = self.expected.get(&id).map_or(Phase::Absent, |snapshot| snapshot.state.sandbox.phase);
        let pod = Pod { sandbox: before, containers: BTreeMap::new() };
        let Ok((after, row)) = pod.step(id.as_str(), id.as_str(), event) else { return };
        assert_eq!((row.from, row.to), (before, after.sandbox));
        let seq = self.expected.get(&id).map_or(1, |snapshot| snapshot.state.seq + 1);
        let incarnation = match self.expected.get(&id) {
            Some(snapshot) => snapshot.sandbox.incarnation.clone(),
            None => {
                self.born += 1;
                format!("{:032x}", self.born)
            }
        };
        let entry = entry(&id, &incarnation, seq, row.from, event, row.to);
        let snapshot = (after.sandbox != Phase::Absent).then(|| snapshot(&id, &incarnation, seq, after.sandbox));
        let commit = Commit { id: &id, snapshot: snapshot.as_ref(), journal: std::slice::from_ref(&entry) };
        self.db().commit(&commit).expect("commit");
        self.committed += 1;
        match snapshot {
            Some(snapshot) => {
                self.lives.entry(id.clone()).or_default().push(entry);
                self.expected.insert(id, snapshot);
            }
            None => {
                self.lives.remove(&id);
                self.expected.remove(&id);
            }
        }
    }

    fn compare(&mut self) {
        let committed = self.committed;
        let db = self.db();
        let mut found: Vec<Snapshot> = db.snapshots().expect("snapshots");
        found.sort_by(|a, b| a.sandbox.id.cmp(&b.sandbox.id));
        assert_eq!(db.history(None).expect("history").len(), committed);
        assert!(db.notices().is_empty(), "nothing was lost: {:?}", db.notices());
        assert_eq!(found, self.expected.values().cloned().collect::<Vec<_>>());
        for (id, life) in &self.lives {
            let pod = Pod::replay(id.as_str(), life).expect("what was legal is legal again");
            assert_eq!(pod.sandbox, self.expected[id].state.sandbox.phase);
        }
    }

    fn db(&mut self) -> &Db {
        let root = &self.root;
        self.db.get_or_insert_with(|| Opening::begin(root, DEADLINE).finish().expect("open the store"))
    }
}

fn snapshot(id: &Id, incarnation: &str, seq: u64, phase: Phase) -> Snapshot {
    let sandbox = SandboxRecord {
        id: id.clone(),
        incarnation: incarnation.to_owned(),
        supervisor: ProcessRef { pid: 42, start_time: 7, pidfd_inode: None },
        boot: boot(),
        pid_namespace: PidNamespace::Own,
        supervisor_cgroup: CgroupRecord::default(),
        created: 1,
        attached: false,
    };
    let state = State { seq, sandbox: ContainerState { phase, since: 1, exit: None }, containers: BTreeMap::new() };
    Snapshot { sandbox, containers: BTreeMap::new(), state }
}

fn entry(id: &Id, incarnation: &str, seq: u64, from: Phase, event: Event, to: Phase) -> JournalEntry {
    JournalEntry {
        sandbox: id.clone(),
        incarnation: incarnation.to_owned(),
        container: id.clone(),
        machine: Machine::Sandbox,
        seq,
        from,
        event,
        to,
        began: 1,
        ended: 2,
        exit: None,
        by: Actor::Command,
    }
}

fn boot() -> Boot {
    Boot { boot_id: "00000000-0000-0000-0000-000000000000".to_owned(), time_namespace: 1 }
}
