//! Doors to what this crate parses and keeps to itself, for the fuzz targets in `tests/fuzz` alone.

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
