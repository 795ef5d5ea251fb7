//! `GET /tyk/handshakes`, an endpoint of ours: who was refused for want of a good handshake or a listed
//! certificate, newest first.

use http::StatusCode;
use serde::Serialize;

use super::{
    answer::{self, Answer},
    parameter,
    writing::Query,
};
use crate::flight::{FlightRecorder, MOST_ENTRIES, Row};

/// The answer.
#[derive(Serialize)]
struct Page<'e> {
    handshakes: Vec<Row<'e>>,
    /// How many are kept, whatever was asked for.
    kept: usize,
    /// How many were not noted because too many came at once.
    dropped: u64,
}

/// Answers.
pub(super) fn answer(recorder: &FlightRecorder, query: &Query) -> Answer {
    let limit = match parameter(query, "limit").map(str::parse::<usize>) {
        None => MOST_ENTRIES,
        Some(Ok(limit)) if limit > 0 => limit,
        Some(_) => {
            let message = "limit must be a whole number of entries, at least 1";
            return answer::error(StatusCode::BAD_REQUEST, message);
        }
    };
    let reason = parameter(query, "reason");
    let server_name = parameter(query, "server_name");
    let entries = recorder.newest();
    let wanted = entries.iter().filter(|entry| {
        reason.is_none_or(|reason| entry.check.label() == reason)
            && server_name.is_none_or(|name| entry.is_for(name))
    });
    answer::shown(&Page {
        handshakes: wanted.take(limit).map(|entry| entry.row()).collect(),
        kept: entries.len(),
        dropped: recorder.dropped(),
    })
}
