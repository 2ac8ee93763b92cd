//! Doors to what this crate parses and keeps to itself, for the fuzz targets in `tests/fuzz` alone.

use proffer_model::{Problem, StateKey};
use proffer_services_core::app::{AppPatch, AppSpec};
use proffer_services_core::effect::Write;
use proffer_services_core::event::Record;
use serde_json::{Map, Value};

use crate::json::body::parse_body;
use crate::json::read::read_patch;
use crate::json::record::{decode_record, encode_write};
use crate::json::write::{Environment, spec_json};

/// The role that everything is read for.
pub const ROLE: &str = "services";

/// A body to JSON.
pub fn read_body(body: &[u8]) -> Result<Value, Problem> {
    parse_body(body)
}

/// An app, or changes to one.
pub fn read_app(value: &Value) -> Result<AppPatch, Vec<Problem>> {
    read_patch(value, ROLE)
}

/// The definition of an app.
pub fn write_app(spec: &AppSpec) -> Map<String, Value> {
    spec_json(spec, ROLE, Environment::Shown)
}

/// What is kept under a key.
pub fn read_record(key: &StateKey, value: &[u8]) -> Result<Record, Problem> {
    decode_record(key, value, ROLE)
}

/// The key and the value that are kept.
pub fn write_record(record: Record) -> Result<(StateKey, Option<Vec<u8>>), Problem> {
    encode_write(&Write::Put(record), ROLE)
}

/// How many terms a label selector has.
pub fn read_selector(text: &str) -> Result<usize, Problem> {
    crate::rest::count_terms(text)
}
