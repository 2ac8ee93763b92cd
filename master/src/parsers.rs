//! Doors to what this crate parses and keeps to itself, for the fuzz targets in `tests/fuzz` alone.

use proffer_model::Problem;

use crate::backup::{self, Backup};
use crate::grpc::operator::{followed_from, ids_of_token};
use crate::store::frame::{self, Parsed};

/// What the bytes of a file of the store hold; else in a word what they are.
pub fn read_frame(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    match frame::parse(bytes) {
        Parsed::Whole(payload) => Ok(payload),
        Parsed::Incomplete => Err("incomplete"),
        Parsed::Newer(_) => Err("newer"),
        Parsed::Damaged(_) => Err("damaged"),
    }
}

/// The bytes of a file of the store.
pub fn write_frame(payload: &[u8]) -> Vec<u8> {
    frame::encode(payload)
}

/// The bytes of a backup; none when it is too large.
pub fn write_backup(backup: &Backup) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    backup::write(&backup.head, &backup.registry, &mut bytes, |_, _| {}).ok()?;
    Some(bytes)
}

/// The bytes of a backup of these parts, each a letter and its content, with the right checksums and the right end.
pub fn join_backup(parts: &[(u8, Vec<u8>)]) -> Option<Vec<u8>> {
    backup::join(parts).ok()
}

/// The ids in the token of a page of a list whose rows have one, two or three of them; none on the first page.
pub fn read_page_token(token: &str, ids: usize) -> Result<Vec<String>, Problem> {
    match ids {
        1 => ids_of_token::<1>(token),
        2 => ids_of_token::<2>(token),
        _ => ids_of_token::<3>(token),
    }
}

/// The change after which a watch with this position goes on in a term; none when it begins anew.
pub fn read_position(position: &str, epoch: u64) -> Result<Option<u64>, Problem> {
    followed_from(position, epoch)
}
