//! The bounds of what one server takes on at a time. Beyond them a caller gets a clear answer, and the memory stays bounded
//! whatever is sent.

use std::time::Duration;

use axum::http::StatusCode;

/// Largest body: escaping makes a review of some 12 MB of a 1 MB object (tried).
pub(super) const MAX_BODY: usize = 20 << 20;
/// How much of a larger body is read before the connection is given up.
pub(super) const DRAINED: usize = 4 * MAX_BODY;
/// How long a client may take for its TLS handshake, and for its first request.
pub(super) const FIRST: Duration = Duration::from_secs(10);
/// How long a connection may be idle, or take for the headers of a request. Longer than the API server keeps its own
/// idle connections, so that it never writes into one that is just being closed.
pub(super) const IDLE: Duration = Duration::from_secs(120);
/// Longest headers of a request.
pub(super) const HEADERS: usize = 64 << 10;
/// What a connection may hold of bodies that were not read yet: the window of HTTP/2, and the read buffer of HTTP/1.1.
pub(super) const WINDOW: u32 = 64 << 10;
/// How many requests one HTTP/2 connection may have in flight.
pub(super) const STREAMS: u32 = 256;

/// A status and what to tell the caller.
pub(super) type Refusal = (StatusCode, String);
