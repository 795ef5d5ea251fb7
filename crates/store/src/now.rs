//! What time it is, as certificates and sessions have it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970 began; a clock that is set before that stands at its beginning.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
