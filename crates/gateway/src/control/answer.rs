//! Answers in the shapes of the Control API.
//!
//! Clients compare them byte for byte: members in Tyk's order, `&`, `<` and `>` escaped, one line
//! end at the end.

use bytes::Bytes;
use http::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS},
};
use portcullis_apidef::control::Rejection;
use serde::Serialize;
use serde_json::json;

/// An answer.
pub(super) type Answer = Response<Bytes>;

/// JSON with a status.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    with_body(status, "application/json", json_text(value))
}

/// 200 and JSON.
pub(super) fn shown(value: &impl Serialize) -> Answer {
    json(StatusCode::OK, value)
}

/// `{"status":"ok","message":…}`.
pub(super) fn ok(message: &str) -> Answer {
    shown(&json!({ "status": "ok", "message": message }))
}

/// `{"status":"error","message":…}`.
pub(super) fn error(status: StatusCode, message: &str) -> Answer {
    json(status, &json!({ "status": "error", "message": message }))
}

/// A refused definition.
pub(super) fn rejected(rejection: &Rejection) -> Answer {
    let status =
        StatusCode::from_u16(rejection.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    error(status, &rejection.message)
}

/// `{"key":…,"status":"ok","action":…}`.
pub(super) fn changed(id: &str, action: &str) -> Answer {
    shown(&json!({ "key": id, "status": "ok", "action": action }))
}

/// JSON offered as a file.
pub(super) fn file(name: &str, value: &impl Serialize) -> Answer {
    let answer = with_body(StatusCode::OK, "application/octet-stream", json_text(value));
    let disposition = format!("attachment;filename=\"{name}\"");
    with_header(answer, http::header::CONTENT_DISPOSITION, &disposition)
}

/// 404 for a path that is none of ours.
pub(super) fn unknown_path() -> Answer {
    let body = "404 page not found\n".to_owned();
    let mut answer = with_body(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", body);
    answer
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// 404 for a path outside the Control API.
pub(super) fn not_ours() -> Answer {
    with_body(
        StatusCode::NOT_FOUND,
        "text/plain; charset=utf-8",
        "Not Found".to_owned(),
    )
}

/// 301 to the clean form of a path.
pub(super) fn moved(location: &str) -> Answer {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = StatusCode::MOVED_PERMANENTLY;
    with_header(answer, LOCATION, location)
}

/// Any text.
pub(super) fn with_body(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Bytes::from(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// The same with one more header; a value that cannot be one is left out.
pub(super) fn with_header(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// JSON as Go's encoder writes it: these characters only ever stand inside strings.
fn json_text(value: &impl Serialize) -> String {
    // What is handed in are trees and plain structs, which always have a JSON text.
    let text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    let mut escaped = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("\\u0026"),
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    escaped.push('\n');
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_escaped_and_ends_with_one_line_end() {
        let answer = error(StatusCode::BAD_REQUEST, "a > b & <c>\u{2028}");
        let expected =
            "{\"status\":\"error\",\"message\":\"a \\u003e b \\u0026 \\u003cc\\u003e\\u2028\"}\n";
        assert_eq!(answer.body(), expected);
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
    }

    #[test]
    fn changes_name_the_key_first() {
        assert_eq!(
            changed("x", "added").body(),
            "{\"key\":\"x\",\"status\":\"ok\",\"action\":\"added\"}\n"
        );
        assert_eq!(ok("").body(), "{\"status\":\"ok\",\"message\":\"\"}\n");
    }
}
