//! Children that nobody has adopted (yet): pid 1 must reap whatever the kernel hands it, and an adoption that arrives
//! after the death of its process still finds how it ended.

use std::collections::VecDeque;

use crate::model::record::Nanos;

/// How many ends are remembered.
const KEPT: usize = 64;

#[derive(Debug, Default)]
pub struct Strays(VecDeque<Stray>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stray {
    /// In our PID namespace.
    pub pid: i32,
    /// As wait(2) has it.
    pub status: i32,
    pub at: Nanos,
}

impl Strays {
    pub fn remember(&mut self, stray: Stray) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(stray);
    }

    /// The last one that had this pid. Ask only for a process that is known to be dead: a pid is used again.
    pub fn take(&mut self, pid: i32) -> Option<Stray> {
        let index = self.0.iter().rposition(|stray| stray.pid == pid)?;
        self.0.remove(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_64_are_remembered_and_each_is_told_once() {
        let mut strays = Strays::default();
        for pid in 1..=65 {
            strays.remember(Stray { pid, status: pid, at: 0 });
        }
        strays.remember(Stray { pid: 65, status: 7, at: 1 });
        assert_eq!(strays.take(1), None);
        assert_eq!(strays.take(2), None);
        assert_eq!(strays.take(3).unwrap().status, 3);
        assert_eq!(strays.take(3), None);
        assert_eq!(strays.take(65).unwrap().status, 7);
    }
}
