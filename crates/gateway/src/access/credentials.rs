//! What a request says about who sends it. Only read here, never judged.

use std::borrow::Cow;

use portcullis_apidef::{Basic, Places, session::SecretText};

use crate::proxy::view::RequestView;

/// A user name and a password, or what is wrong with them.
pub enum User {
    /// Both are there.
    Named {
        /// Name.
        name: String,
        /// Password.
        password: SecretText,
    },
    /// The header is missing or empty.
    Missing,
    /// It holds something else.
    Malformed(&'static str),
}

/// The token of a request: in the header, overruled by the query, overruled by a cookie. `Bearer` is
/// left out.
pub fn token<'v>(places: &Places, view: &'v RequestView<'_>) -> Option<Cow<'v, str>> {
    let cookie = places.cookie.as_deref().and_then(|name| cookie(view, name));
    let found = cookie
        .or_else(|| query(view, places.query.as_deref()?))
        .or_else(|| {
            let value = view.fields.first(places.header.as_deref()?)?;
            Some(String::from_utf8_lossy(value.trim_ascii()))
        })?;
    let token = match found {
        Cow::Borrowed(text) => Cow::Borrowed(without_bearer(text)),
        Cow::Owned(text) => Cow::Owned(without_bearer(&text).to_owned()),
    };
    Some(token).filter(|token| !token.is_empty())
}

/// User name and password of a request.
pub fn user(basic: &Basic, view: &RequestView<'_>) -> User {
    let Some(value) = view
        .fields
        .first(&basic.header)
        .map(<[u8]>::trim_ascii)
        .filter(|value| !value.is_empty())
    else {
        return User::Missing;
    };
    let mut parts = value.split(|byte| *byte == b' ');
    let (Some(scheme), Some(encoded), None) = (parts.next(), parts.next(), parts.next()) else {
        return User::Malformed(
            "Attempted access with malformed header, header not in basic auth format",
        );
    };
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return User::Malformed(
            "Attempted access with malformed header, header not in basic auth format",
        );
    }
    let Ok(decoded) = std::str::from_utf8(encoded)
        .map_err(drop)
        .and_then(|text| openssl::base64::decode_block(text).map_err(drop))
    else {
        return User::Malformed(
            "Attempted access with malformed header, auth data not encoded correctly",
        );
    };
    // Names and passwords of a store are text.
    match std::str::from_utf8(&decoded)
        .ok()
        .and_then(|text| text.split_once(':'))
    {
        Some((name, password)) if !name.is_empty() => User::Named {
            name: name.to_owned(),
            password: SecretText::new(password),
        },
        _ => User::Malformed(
            "Attempted access with malformed header, values not in basic auth format",
        ),
    }
}

fn without_bearer(token: &str) -> &str {
    match token.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("bearer ") => &token[7..],
        _ => token,
    }
}

/// The first value of a parameter, decoded; `None` when there is none or it is empty.
fn query<'v>(view: &'v RequestView<'_>, name: &str) -> Option<Cow<'v, str>> {
    form_urlencoded::parse(view.query?.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty())
}

/// The first value of a cookie; `None` when there is none or it is empty.
fn cookie<'v>(view: &'v RequestView<'_>, name: &str) -> Option<Cow<'v, str>> {
    let mut found = None;
    view.fields.visit(&mut |field, value| {
        if found.is_none() && field.len() == 6 && field.eq_ignore_ascii_case("cookie") {
            found = cookies(value)
                .find(|(key, value)| *key == name.as_bytes() && !value.is_empty())
                .map(|(_, value)| String::from_utf8_lossy(value));
        }
    });
    found
}

/// Names and values of a `Cookie` field; quotes around a value are left out.
pub fn cookies(field: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    field.split(|byte| *byte == b';').map(|pair| {
        let pair = pair.trim_ascii();
        let at = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = at.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
        let bare = value
            .strip_prefix(b"\"")
            .and_then(|value| value.strip_suffix(b"\""));
        (name, bare.unwrap_or(value))
    })
}

/// The query without a parameter; `None` when nothing is left.
pub fn without_parameter(query: &str, name: &str) -> Option<String> {
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            form_urlencoded::parse(pair.as_bytes())
                .next()
                .is_none_or(|(key, _)| key != name)
        })
        .collect();
    Some(kept.join("&")).filter(|kept| !kept.is_empty())
}

/// A `Cookie` field without one of its cookies; `None` when nothing is left.
pub fn without_cookie(field: &[u8], name: &str) -> Option<Vec<u8>> {
    let kept: Vec<&[u8]> = field
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| cookies(pair).all(|(key, _)| key != name.as_bytes()))
        .collect();
    Some(kept.join(&b"; "[..])).filter(|kept| !kept.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Framing;

    fn with_request<R>(
        query: Option<&str>,
        fields: &[(&str, &str)],
        ask: impl FnOnce(&RequestView<'_>) -> R,
    ) -> R {
        let fields: Vec<httparse::Header<'_>> = fields
            .iter()
            .map(|(name, value)| httparse::Header {
                name,
                value: value.as_bytes(),
            })
            .collect();
        let fields = &fields[..];
        ask(&RequestView {
            method: "GET",
            host: "h",
            path: "/",
            query,
            fields: &fields,
            framing: Framing::Length(0),
            upgrade: None,
            protocol: "HTTP/1.1",
        })
    }

    fn everywhere() -> Places {
        Places {
            header: Some("authorization".into()),
            query: Some("key".into()),
            cookie: Some("key".into()),
        }
    }

    fn found(query: Option<&str>, fields: &[(&str, &str)]) -> Option<String> {
        with_request(query, fields, |view| {
            token(&everywhere(), view).map(Cow::into_owned)
        })
    }

    #[test]
    fn a_token_stands_in_a_header_a_parameter_or_a_cookie_and_the_last_wins() {
        let header = ("Authorization", "bEaReR from-header");
        let cookie = ("Cookie", "a=b; key=from-cookie");
        assert_eq!(found(None, &[]), None);
        assert_eq!(found(None, &[header]).as_deref(), Some("from-header"));
        assert_eq!(
            found(Some("x=1&key=from%2Dquery"), &[header]).as_deref(),
            Some("from-query")
        );
        assert_eq!(
            found(Some("key=from-query"), &[header, cookie]).as_deref(),
            Some("from-cookie")
        );
        assert_eq!(
            found(Some("key="), &[header]).as_deref(),
            Some("from-header")
        );
        assert_eq!(found(None, &[("Authorization", " ")]), None);
    }

    fn named(value: &str) -> Result<(String, String), &'static str> {
        let fields = [("Authorization", value)];
        with_request(None, &fields, |view| match user(&Basic::default(), view) {
            User::Named { name, password } => Ok((name, password.reveal().to_owned())),
            User::Missing => Err("missing"),
            User::Malformed(message) => Err(message),
        })
    }

    #[test]
    fn a_user_is_read_as_rfc_7617_says_and_everything_else_is_named() {
        let encoded =
            |text: &str| format!("basic {}", openssl::base64::encode_block(text.as_bytes()));
        let pair = |name: &str, password: &str| Ok((name.to_owned(), password.to_owned()));
        assert_eq!(named(&encoded("anna:pass:word")), pair("anna", "pass:word"));
        assert_eq!(named(&encoded("anna:")), pair("anna", ""));
        assert_eq!(named(""), Err("missing"));
        for (value, problem) in [
            ("Basic".to_owned(), "header not in"),
            ("Basic a b".to_owned(), "header not in"),
            ("Bearer abc".to_owned(), "header not in"),
            ("Basic !".to_owned(), "not encoded"),
            (encoded("anna"), "values not in"),
            (encoded(":x"), "values not in"),
        ] {
            let message = named(&value).expect_err("malformed");
            assert!(message.contains(problem), "{value}: {message}");
        }
    }

    #[test]
    fn credentials_are_taken_out_and_the_rest_stays_as_it_was() {
        assert_eq!(
            without_parameter("a=%20&key=x&b&k%65y=y", "key").as_deref(),
            Some("a=%20&b")
        );
        assert_eq!(without_parameter("key=x", "key"), None);
        assert_eq!(
            without_cookie(b"a=b; key=x;c", "key").as_deref(),
            Some(&b"a=b; c"[..])
        );
        assert_eq!(without_cookie(b"key=x", "key"), None);
    }
}
