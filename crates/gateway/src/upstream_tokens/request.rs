//! One call of a token endpoint (RFC 6749, sections 3.2 and 4), and what its answer means.
//!
//! Invariants:
//! - The client's name and secret go into the field that every server has to take (section 2.3.1); into the
//!   body only after a server did not take them there. A client without a secret names itself in the body: its
//!   certificate proves it (RFC 8705, section 2).
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

/// Asks for a token. `in_body` remembers where the server takes the client's name and secret.
///
/// # Errors
/// Why none was granted.
pub async fn ask(
    client: &Client,
    request: &TokenRequest,
    in_body: &mut bool,
) -> Result<Granted, String> {
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

async fn call(client: &Client, request: &TokenRequest, in_body: bool) -> Result<Answer, String> {
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
        .map_err(|_| "its address is no URL that can be called".to_owned())?;
    client.call(call).await.map_err(|why| why.to_string())
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
    matches!(
        answer.status,
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED
    )
}

/// What an answer grants (RFC 6749, section 5.1).
fn granted(answer: &Answer) -> Result<Granted, String> {
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let member = |name: &str| body.as_ref().and_then(|body| body.get(name));
    if answer.status != StatusCode::OK {
        let code = member("error").and_then(Value::as_str);
        let code = code.filter(|code| {
            code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        });
        let status = answer.status.as_u16();
        return Err(match code {
            Some(code) => format!("it answers {status} ({code})"),
            None => format!("it answers {status}"),
        });
    }
    let token = member("access_token").and_then(Value::as_str);
    let token = token.filter(|token| {
        !token.is_empty() && token.len() <= LONGEST && token.bytes().all(|b| b.is_ascii_graphic())
    });
    let Some(token) = token else {
        return Err(
            "it answers without an `access_token` that a field may have (RFC 6749, section 5.1)"
                .to_owned(),
        );
    };
    match member("token_type").map(Value::as_str) {
        None => {}
        Some(Some(kind)) if kind.eq_ignore_ascii_case("bearer") => {}
        Some(_) => {
            return Err("its token is of another type than Bearer, and cannot be shown".to_owned());
        }
    }
    let mut field = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| "its token fits into no field".to_owned())?;
    field.set_sensitive(true);
    let lifetime = match member("expires_in") {
        None | Some(Value::Null) => None,
        // Some servers write numbers as text.
        Some(Value::String(text)) => Some(text.parse::<f64>().unwrap_or(0.0)),
        Some(value) => Some(value.as_f64().unwrap_or(0.0)),
    };
    Ok(Granted {
        field,
        lifetime: lifetime.map(|seconds| {
            Duration::try_from_secs_f64(seconds.max(0.0)).map_or(MOST, |time| time.min(MOST))
        }),
    })
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
            (json!({"expires_in": -1}), seconds(0)),
            (json!({"expires_in": "soon"}), seconds(0)),
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
        ] {
            let why = granted(&answer(status, &body)).expect_err("none");
            assert!(why.contains(said) && !why.contains("secret"), "{why}");
        }
    }
}
