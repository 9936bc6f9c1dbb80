//! Values of any size in a tree of the database, in pieces of a few kilobytes.
//!
//! sled puts a page of more than 128 KiB into a file of its own, and when the disk is full just then, it waits for ever
//! for a write that nobody will do (measured). A leaf holds about twenty items, an inner page 256 keys: with pieces of
//! 4 KiB under names of at most 250 bytes no page grows that large.

use sled::transaction::{TransactionalTree, UnabortableTransactionError};

const PIECE: usize = 4096;

/// Writes a value, or replaces it; pieces that stay the same are not written.
pub(super) fn put(tree: &TransactionalTree, name: &str, value: &[u8]) -> Result<(), UnabortableTransactionError> {
    let mut count = 0;
    for piece in value.chunks(PIECE) {
        let key = key(name, count);
        if tree.get(&key)?.as_deref() != Some(piece) {
            tree.insert(key, piece)?;
        }
        count += 1;
    }
    remove_from(tree, name, count)
}

pub(super) fn remove(tree: &TransactionalTree, name: &str) -> Result<(), UnabortableTransactionError> {
    remove_from(tree, name, 0)
}

/// The whole value.
pub(super) fn get(tree: &sled::Tree, name: &[u8]) -> sled::Result<Option<Vec<u8>>> {
    let mut whole = None;
    for piece in tree.scan_prefix([name, &[0]].concat()) {
        whole.get_or_insert_with(Vec::new).extend_from_slice(&piece?.1);
    }
    Ok(whole)
}

/// The names of all values, in order.
pub(super) fn names(tree: &sled::Tree) -> impl Iterator<Item = sled::Result<Vec<u8>>> + use<> {
    tree.iter().keys().filter_map(|key| match key {
        Ok(key) => key.strip_suffix(&[0; 5]).map(|name| Ok(name.to_vec())),
        Err(error) => Some(Err(error)),
    })
}

fn remove_from(tree: &TransactionalTree, name: &str, first: u32) -> Result<(), UnabortableTransactionError> {
    for at in first.. {
        if tree.remove(key(name, at))?.is_none() {
            break;
        }
    }
    Ok(())
}

/// No name holds a zero byte: none is the beginning of another's key.
fn key(name: &str, piece: u32) -> Vec<u8> {
    [name.as_bytes(), &[0], &piece.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_any_size_is_read_back_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(dir.path()).flush_every_ms(None).open().unwrap();
        let write = |name: &str, value: &[u8]| {
            let done: sled::transaction::TransactionResult<(), ()> = db.transaction(|tree| Ok(put(tree, name, value)?));
            done.unwrap();
        };
        write("web-2", b"another");
        for size in [1, 300_000, PIECE * 3, PIECE * 3 + 1, PIECE, 1] {
            let value: Vec<u8> = (0..size).map(|at| (at / 7) as u8).collect();
            write("web", &value);
            assert_eq!(get(&db, b"web").unwrap(), Some(value));
            assert_eq!(names(&db).map(Result::unwrap).collect::<Vec<_>>(), [b"web".to_vec(), b"web-2".to_vec()]);
        }
        let done: sled::transaction::TransactionResult<(), ()> = db.transaction(|tree| Ok(remove(tree, "web")?));
        done.unwrap();
        assert_eq!(get(&db, b"web").unwrap(), None);
        assert_eq!(db.len(), 1);
    }
}
