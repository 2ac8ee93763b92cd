//! Doors to what this crate parses and keeps to itself, for the fuzz targets in `tests/fuzz` alone.

use std::net::SocketAddr;

use axum::extract::Request;
use proffer_model::{Principal, Problem};

use crate::auth::Guard;
use crate::http::Ends;

/// Who calls, as the layer before every router finds out: by Host, Origin and Authorization.
pub fn admit(
    guard: &Guard,
    request: Request,
    local: SocketAddr,
    peer: SocketAddr,
) -> Result<Option<Principal>, Problem> {
    let admitted = guard.admit(request, Ends { local, peer })?;
    Ok(admitted.extensions().get().cloned())
}
