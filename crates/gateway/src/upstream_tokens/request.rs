//! One call of a token endpoint (RFC 6749, sections 3.2 and 4), and what its answer means.
//!
//! Invariants:
//! - The client's name and secret go into the field that every server has to take (section 2.3.1); into the
//!   body only after a server did not take them there and may look for them elsewhere. A client without a secret
//!   names itself in the body: its certificate proves it (RFC 8705, section 2).
//! - Messages hold nothing of what was sent, and of an answer only its status and the code of its error.

use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::{Serializer, byte_serialize};
use http::{
    HeaderValue, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use portcullis_apidef::{TokenGrant, TokenRequest};
use portcullis_config::Secret;
use serde_json::Value;

use crate::services::{Answer, Client, basic};

/// Longest token that fits into a field.
const LONGEST: usize = 16 * 1024;

/// Longest time a token is taken to be good for.
const MOST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A token that was granted.
#[derive(Debug)]
pub struct Granted {
    /// What is said of it in a field; not shown.
    pub field: HeaderValue,
    /// How long it is good, where the answer says.
    pub lifetime: Option<Duration>,
}

/// Why no token was granted.
#[derive(Debug)]
pub struct Denial {
    /// In words.
    pub why: String,
    /// The server knows what was asked and will not have it, so that asking again helps only once something
    /// was changed.
    pub is_final: bool,
}

/// Asks for a token. `in_body` remembers where the server takes the client's name and secret.
///
/// # Errors
/// Why none was granted.
pub async fn ask(
    client: &Client,
    request: &TokenRequest,
    in_body: &mut bool,
) -> Result<Granted, Denial> {
    let both = !request.client_secret.is_empty();
    let answer = call(client, request, *in_body || !both).await?;
    if !both || *in_body || !is_unknown_client(&answer) {
        return granted(&answer);
    }
    let again = call(client, request, true).await?;
    let granted = granted(&again)?;
    *in_body = true;
    Ok(granted)
}

async fn call(client: &Client, request: &TokenRequest, in_body: bool) -> Result<Answer, Denial> {
    let secret = request.client_secret.reveal();
    let mut call = Request::post(request.url.reveal())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json");
    if !in_body {
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let login = Secret::new(format!(
            "{}:{}",
            encoded(&request.client_id),
            encoded(secret)
        ));
        call = call.header(AUTHORIZATION, basic(&login));
    }
    let call = call
        .body(Bytes::from(form(request, in_body)))
        .map_err(|_| Denial::of("its address is no URL that can be called"))?;
    client
        .call(call)
        .await
        .map_err(|why| Denial::of(why.to_string()))
}

impl Denial {
    /// It may be granted another time.
    fn of(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_final: false,
        }
    }
}

/// What is asked for, and with `in_body` by whom.
fn form(request: &TokenRequest, in_body: bool) -> String {
    let mut form = Serializer::new(String::new());
    let secret = request.client_secret.reveal();
    match &request.grant {
        TokenGrant::ClientCredentials => {
            form.append_pair("grant_type", "client_credentials");
        }
        TokenGrant::Password { user, password } => {
            form.append_pair("grant_type", "password")
                .append_pair("username", user)
                .append_pair("password", password.reveal());
        }
    }
    if !request.scopes.is_empty() {
        form.append_pair("scope", &request.scopes.join(" "));
    }
    if in_body {
        form.append_pair("client_id", &request.client_id);
        if !secret.is_empty() {
            form.append_pair("client_secret", secret);
        }
    }
    form.finish()
}

/// Whether a server may know the client by another way of telling (RFC 6749, section 5.2).
fn is_unknown_client(answer: &Answer) -> bool {
    match answer.status {
        StatusCode::UNAUTHORIZED => true,
        // Some say it so. Whatever else is wrong is so wherever the secret stands.
        StatusCode::BAD_REQUEST => matches!(
            code(&body(answer)),
            Some("invalid_client" | "invalid_request")
        ),
        _ => false,
    }
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// The code of an error, where it can be shown.
fn code(body: &Value) -> Option<&str> {
    let code = body.get("error")?.as_str()?;
    let is_word = code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_word.then_some(code)
}

/// What an answer grants (RFC 6749, section 5.1).
fn granted(answer: &Answer) -> Result<Granted, Denial> {
    let body = body(answer);
    let member = |name: &str| body.get(name);
    if answer.status != StatusCode::OK {
        let status = answer.status.as_u16();
        return Err(Denial {
            why: match code(&body) {
                Some(code) => format!("it answers {status} ({code})"),
                None => format!("it answers {status}"),
            },
            is_final: matches!(
                answer.status,
                StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED
            ),
        });
    }
    let token = member("access_token").and_then(Value::as_str);
    let token = token.filter(|token| {
        !token.is_empty() && token.len() <= LONGEST && token.bytes().all(|b| b.is_ascii_graphic())
    });
    let Some(token) = token else {
        return Err(Denial::of(
            "it answers without an `access_token` that a field may have (RFC 6749, section 5.1)",
        ));
    };
    match member("token_type").map(Value::as_str) {
        None => {}
        Some(Some(kind)) if kind.eq_ignore_ascii_case("bearer") => {}
        Some(_) => {
            return Err(Denial::of(
                "its token is of another type than Bearer, and cannot be shown",
            ));
        }
    }
    let mut field = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Denial::of("its token fits into no field"))?;
    field.set_sensitive(true);
    let lifetime = member("expires_in").and_then(seconds);
    if lifetime.is_some_and(|seconds| seconds <= 0.0) {
        return Err(Denial::of(
            "it grants a token that is over already (`expires_in` is not above 0)",
        ));
    }
    Ok(Granted {
        field,
        lifetime: lifetime.map(|seconds| {
            Duration::try_from_secs_f64(seconds).map_or(MOST, |time| time.min(MOST))
        }),
    })
}

/// A number of seconds; `None` for what is none.
fn seconds(value: &Value) -> Option<f64> {
    let number: f64 = match value {
        // Some servers write numbers as text.
        Value::String(text) => text.trim().parse().ok()?,
        value => value.as_f64()?,
    };
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &Value) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            fields: HeaderMap::new(),
            body: body.to_string().into(),
        }
    }

    #[test]
    fn a_token_is_a_word_of_type_bearer_with_a_time_or_without() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (more, lifetime) in [
            (
                json!({"token_type": "bearer", "expires_in": 60}),
                seconds(60),
            ),
            (
                json!({"token_type": "Bearer", "expires_in": "60"}),
                seconds(60),
            ),
            (json!({"expires_in": "soon"}), None),
            (json!({"expires_in": "NaN"}), None),
            (json!({"expires_in": [60]}), None),
            (json!({"expires_in": null}), None),
            (json!({"expires_in": 1e300}), Some(MOST)),
            (json!({}), None),
        ] {
            let mut body = json!({"access_token": "abc.def"});
            for (name, value) in more.as_object().expect("an object") {
                body[name] = value.clone();
            }
            let granted = granted(&answer(200, &body)).expect("a token");
            assert_eq!(granted.field, "Bearer abc.def");
            assert!(granted.field.is_sensitive());
            assert_eq!(granted.lifetime, lifetime, "{body}");
        }
    }

    #[test]
    fn what_grants_no_token_says_why_and_nothing_of_the_answer() {
        for (status, body, said) in [
            (
                400,
                json!({"error": "invalid_client", "error_description": "secret"}),
                "it answers 400 (invalid_client)",
            ),
            (400, json!({"error": "a secret text"}), "it answers 400"),
            (503, json!([]), "it answers 503"),
            (204, json!({"access_token": "a"}), "it answers 204"),
            (200, json!({"token": "a"}), "without an `access_token`"),
            (
                200,
                json!({"access_token": ""}),
                "without an `access_token`",
            ),
            (
                200,
                json!({"access_token": "a\r\nb"}),
                "without an `access_token`",
            ),
            (
                200,
                json!({"access_token": "a b"}),
                "without an `access_token`",
            ),
            (
                200,
                json!({"access_token": "a", "token_type": "DPoP"}),
                "another type than Bearer",
            ),
            (
                200,
                json!({"access_token": "a", "expires_in": 0}),
                "over already",
            ),
            (
                200,
                json!({"access_token": "a", "expires_in": "-1"}),
                "over already",
            ),
        ] {
            let denial = granted(&answer(status, &body)).expect_err("none");
            let why = denial.why;
            assert!(why.contains(said) && !why.contains("secret"), "{why}");
            assert_eq!(denial.is_final, status == 400, "{why}");
        }
        assert!(granted(&answer(401, &json!({}))).is_err_and(|denial| denial.is_final));
    }

    #[test]
    fn the_secret_goes_into_the_body_for_servers_alone_that_may_look_for_it_there() {
        for (status, body, again) in [
            (401, json!({}), true),
            (400, json!({"error": "invalid_client"}), true),
            (400, json!({"error": "invalid_request"}), true),
            (400, json!({"error": "invalid_scope"}), false),
            (400, json!({"error": "unauthorized_client"}), false),
            (400, json!({}), false),
            (403, json!({"error": "invalid_client"}), false),
            (503, json!({}), false),
        ] {
            assert_eq!(is_unknown_client(&answer(status, &body)), again, "{body}");
        }
    }
}
