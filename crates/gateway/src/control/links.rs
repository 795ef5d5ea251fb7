//! `GET /tyk/links`, an endpoint of ours: every outgoing link, with whom it was connected to last and why not.

use http::StatusCode;
use serde::Serialize;

use super::{
    answer::{self, Answer},
    parameter,
    writing::Query,
};
use crate::links::{Kind, Links, Row};

/// The answer.
#[derive(Serialize)]
struct Page {
    links: Vec<Row>,
}

/// Answers.
pub(super) fn answer(links: &Links, query: &Query) -> Answer {
    let kind = match parameter(query, "kind").map(Kind::of_label) {
        None => None,
        Some(Some(kind)) => Some(kind),
        Some(None) => {
            let known: Vec<&str> = Kind::labels().collect();
            let message = format!("kind must be one of {}", known.join(", "));
            return answer::error(StatusCode::BAD_REQUEST, &message);
        }
    };
    let api = parameter(query, "api_id");
    let mut rows = links.rows();
    rows.retain(|row| {
        kind.is_none_or(|kind| row.is_a(kind)) && api.is_none_or(|api| row.is_of(api))
    });
    answer::shown(&Page { links: rows })
}
