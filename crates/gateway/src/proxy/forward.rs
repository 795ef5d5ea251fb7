//! What a request and a response look like on the other side of the gateway.
//!
//! Fields that speak about one hop (RFC 9110, section 7.6.1) end here, as do those that a peer
//! lists in `Connection`. What the gateway says about the client it says alone:
//! `X-Forwarded-For` is continued, `X-Forwarded-Proto` and `X-Forwarded-Host` are replaced, so
//! that nobody can claim to have come by TLS who has not.

use std::{borrow::Cow, io::Write as _, str};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version};

use portcullis_apidef::ClientIdentity;

use super::{
    hop::Hop,
    identity,
    view::{Fields, Peer, RequestView, ResponseView},
};
use crate::{
    access::{count::QuotaLeft, credentials::without_cookie},
    http1::{Framing, head::list},
};

/// A request head ready for an upstream.
pub struct UpstreamRequest<'a> {
    /// What the client sent.
    pub view: &'a RequestView<'a>,
    /// Who sent it.
    pub peer: &'a Peer,
    /// What the upstream is told of the client's certificate, which the API has let pass.
    pub identity: ClientIdentity,
    /// Scheme of the upstream, for HTTP/2.
    pub scheme: &'static str,
    /// `Host` for the upstream.
    pub host: &'a str,
    /// The proxy that reads the request and forwards it to `host`.
    pub forwarder: Option<&'a Hop>,
    /// Path for the upstream.
    pub path: &'a str,
    /// Query for the upstream.
    pub query: Option<&'a str>,
    /// Fields that must not travel on: one that named the version, and those of credentials.
    pub drop_fields: [Option<&'a str>; 4],
    /// The one in which the gateway proves itself; nobody else says anything there.
    pub login_field: Option<&'a str>,
    /// Cookies that must not.
    pub drop_cookies: [Option<&'a str>; 2],
    /// The protocol switch the client asked for and the gateway allows.
    pub upgrade: Option<&'a str>,
    /// The connection must not be kept.
    pub close: bool,
}

impl UpstreamRequest<'_> {
    /// Writes the head as HTTP/1.1.
    pub fn write_http1(&self, out: &mut Vec<u8>) {
        for part in [self.view.method.as_bytes(), b" "] {
            out.extend_from_slice(part);
        }
        if self.forwarder.is_some() {
            out.extend_from_slice(b"http://");
            out.extend_from_slice(self.host.as_bytes());
        }
        out.extend_from_slice(self.path.as_bytes());
        if let Some(query) = self.query {
            out.push(b'?');
            out.extend_from_slice(query.as_bytes());
        }
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        out.extend_from_slice(self.host.as_bytes());
        out.extend_from_slice(b"\r\n");
        let mut cookies = Cookies::default();
        self.each_field(&mut |name, value| {
            if !cookies.take(name, value) {
                push_field(out, name.as_bytes(), value);
            }
        });
        if !cookies.0.is_empty() {
            push_field(out, b"cookie", &cookies.0);
        }
        self.each_own_field(&mut |name, value| push_field(out, name.as_bytes(), value));
        if let Some(authorization) = self.forwarder.and_then(Hop::authorization) {
            push_field(out, b"Proxy-Authorization", authorization.as_bytes());
        }
        match self.view.framing {
            Framing::Chunked | Framing::UntilEnd => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            }
            Framing::Length(0) if !expects_body(self.view.method) => {}
            Framing::Length(length) => {
                write!(out, "Content-Length: {length}\r\n").expect("writing to memory cannot fail");
            }
        }
        match self.upgrade {
            Some(protocol) => {
                push_field(out, b"Connection", b"Upgrade");
                push_field(out, b"Upgrade", protocol.as_bytes());
            }
            None if self.close => push_field(out, b"Connection", b"close"),
            None => {}
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The head as HTTP/2.
    ///
    /// # Errors
    /// When the client's target or host is nothing a URI can hold.
    pub fn to_http2(&self) -> Result<Request<()>, http::Error> {
        let mut target =
            String::with_capacity(self.path.len() + 1 + self.query.map_or(0, str::len));
        target.push_str(self.path);
        if let Some(query) = self.query {
            target.push('?');
            target.push_str(query);
        }
        let uri = Uri::builder()
            .scheme(self.scheme)
            .authority(self.host)
            .path_and_query(target)
            .build()?;
        let mut request = Request::builder()
            .version(Version::HTTP_2)
            .method(self.view.method)
            .uri(uri)
            .body(())?;
        let fields = request.headers_mut();
        let mut add = |name: &str, value: &[u8]| append(fields, name, value);
        self.each_field(&mut add);
        self.each_own_field(&mut add);
        if let Framing::Length(length) = self.view.framing
            && (length > 0 || expects_body(self.view.method))
        {
            fields.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if let Some(te) = self.view.fields.first("te")
            && list(te).any(|member| member.eq_ignore_ascii_case(b"trailers"))
        {
            fields.insert(http::header::TE, HeaderValue::from_static("trailers"));
        }
        Ok(request)
    }

    /// The client's fields that travel on.
    fn each_field(&self, each: &mut dyn FnMut(&str, &[u8])) {
        let named = named_by_connection(self.view.fields);
        self.view.fields.visit(&mut |name, value| {
            let ends_here = is_hop_by_hop(name)
                || replaced_on_the_way(name)
                || claims_identity(name)
                || self.login_field.is_some_and(|own| passes_for(name, own))
                || named
                    .iter()
                    .any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
                || self
                    .drop_fields
                    .iter()
                    .flatten()
                    .any(|dropped| name.eq_ignore_ascii_case(dropped))
                || name.eq_ignore_ascii_case("traceparent")
                    && !crate::observe::is_traceparent(value);
            if ends_here {
                return;
            }
            let mut kept = Some(Cow::Borrowed(value));
            if self.drop_cookies != [None; 2] && name.eq_ignore_ascii_case("cookie") {
                for dropped in self.drop_cookies.into_iter().flatten() {
                    kept = kept.and_then(|value| without_cookie(&value, dropped).map(Cow::Owned));
                }
            }
            if let Some(value) = kept {
                each(name, &value);
            }
        });
    }

    /// What the gateway says about the client.
    fn each_own_field(&self, each: &mut dyn FnMut(&str, &[u8])) {
        match self.view.fields.first("x-forwarded-for") {
            None => each("x-forwarded-for", self.peer.address_text.as_bytes()),
            Some(_) => {
                let mut chain = Vec::with_capacity(64);
                self.view.fields.visit(&mut |name, value| {
                    if name.eq_ignore_ascii_case("x-forwarded-for") {
                        chain.extend_from_slice(value);
                        chain.extend_from_slice(b", ");
                    }
                });
                chain.extend_from_slice(self.peer.address_text.as_bytes());
                each("x-forwarded-for", &chain);
            }
        }
        each(
            "x-forwarded-proto",
            if self.peer.tls.is_some() {
                b"https"
            } else {
                b"http"
            },
        );
        if !self.view.host.is_empty() {
            each("x-forwarded-host", self.view.host.as_bytes());
        }
        if let Some(client) = &self.peer.client {
            client.tell(self.identity, each);
        }
    }
}

/// `Cookie` fields as the one that HTTP/1 knows: HTTP/2 lets a client split them (RFC 9113, section
/// 8.2.3).
#[derive(Default)]
struct Cookies(Vec<u8>);

impl Cookies {
    /// True when this field was one of them.
    fn take(&mut self, name: &str, value: &[u8]) -> bool {
        let taken = name.len() == 6 && name.eq_ignore_ascii_case("cookie");
        if taken {
            if !self.0.is_empty() {
                self.0.extend_from_slice(b"; ");
            }
            self.0.extend_from_slice(value);
        }
        taken
    }
}

/// A response head, and what the gateway adds to it.
pub struct ResponseHead<'r> {
    /// As it came.
    pub view: &'r ResponseView<'r>,
    /// What it tells of a quota.
    pub quota: Option<QuotaLeft>,
}

/// Writes a response head as HTTP/1.1 for a client and says how its body is framed.
pub fn write_http1_response(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_>,
    http10: bool,
    close: bool,
    body_follows: bool,
) -> Framing {
    let view = head.view;
    write!(out, "HTTP/1.1 {} ", view.status).expect("writing to memory cannot fail");
    let reason = match view.reason {
        "" => http::StatusCode::from_u16(view.status)
            .ok()
            .and_then(|s| s.canonical_reason())
            .unwrap_or(""),
        reason => reason,
    };
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    each_response_field(head, &mut |name, value| {
        push_field(out, name.as_bytes(), value);
    });
    let framing = match view.framing {
        _ if !body_follows => Framing::Length(0),
        Framing::Length(length) => {
            // HTTP/2 says "no body" with a flag; HTTP/1 has no other word for it than this.
            if length == 0 && view.fields.first("content-length").is_none() {
                out.extend_from_slice(b"Content-Length: 0\r\n");
            }
            Framing::Length(length)
        }
        Framing::Chunked | Framing::UntilEnd if http10 => Framing::UntilEnd,
        Framing::Chunked | Framing::UntilEnd => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            Framing::Chunked
        }
    };
    if close {
        push_field(out, b"Connection", b"close");
    } else if http10 {
        push_field(out, b"Connection", b"keep-alive");
    }
    out.extend_from_slice(b"\r\n");
    framing
}

/// A response head as HTTP/2 for a client.
///
/// # Errors
/// When the status is none.
pub fn to_http2_response(head: &ResponseHead<'_>) -> Result<http::Response<()>, http::Error> {
    let mut response = http::Response::builder()
        .status(head.view.status)
        .version(Version::HTTP_2)
        .body(())?;
    let fields = response.headers_mut();
    each_response_field(head, &mut |name, value| append(fields, name, value));
    Ok(response)
}

/// Trailer fields that may travel on: nothing that frames or routes a message.
pub fn forwardable_trailers(mut trailers: HeaderMap) -> HeaderMap {
    for name in [
        "content-length",
        "transfer-encoding",
        "host",
        "connection",
        "trailer",
        "te",
        "upgrade",
        "set-cookie",
        "authorization",
    ] {
        trailers.remove(name);
    }
    remove(&mut trailers, claims_identity);
    trailers
}

/// Removes from trailers what an upstream may take for the field in which the gateway proves itself.
pub fn without_login_field(trailers: &mut HeaderMap, own: &HeaderName) {
    remove(trailers, |name| passes_for(name, own.as_str()));
}

fn remove(fields: &mut HeaderMap, ends_here: impl Fn(&str) -> bool) {
    let ending: Vec<HeaderName> = fields
        .keys()
        .filter(|name| ends_here(name.as_str()))
        .cloned()
        .collect();
    for name in ending {
        fields.remove(name);
    }
}

fn each_response_field(head: &ResponseHead<'_>, each: &mut dyn FnMut(&str, &[u8])) {
    let named = named_by_connection(head.view.fields);
    head.view.fields.visit(&mut |name, value| {
        let ends_here = is_hop_by_hop(name)
            || named
                .iter()
                .any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
            || head.quota.is_some() && speaks_of_quota(name);
        if !ends_here {
            each(name, value);
        }
    });
    if let Some(quota) = head.quota {
        let numbers = [quota.most, quota.remaining, quota.renews];
        for (name, number) in QUOTA_FIELDS.into_iter().zip(numbers) {
            each(name, number.to_string().as_bytes());
        }
    }
}

/// What responses tell of a quota; an upstream's own are replaced.
const QUOTA_FIELDS: [&str; 3] = [
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
];

fn speaks_of_quota(name: &str) -> bool {
    QUOTA_FIELDS
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own))
}

/// Fields about one hop.
fn is_hop_by_hop(name: &str) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 => is("te"),
        7 => is("trailer") || is("upgrade"),
        10 => is("connection") || is("keep-alive"),
        16 => is("proxy-connection"),
        17 => is("transfer-encoding"),
        18 => is("proxy-authenticate"),
        19 => is("proxy-authorization"),
        14 => is("http2-settings"),
        _ => false,
    }
}

/// Request fields the gateway writes itself.
fn replaced_on_the_way(name: &str) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        4 => is("host"),
        6 => is("expect"),
        14 => is("content-length"),
        15 => is("x-forwarded-for"),
        16 => is("x-forwarded-host"),
        17 => is("x-forwarded-proto"),
        _ => false,
    }
}

/// Whether a field says by its name who a client is: only the gateway says that.
fn claims_identity(name: &str) -> bool {
    identity::FIELDS.iter().any(|field| passes_for(name, field))
}

/// Whether an upstream may take a field of this name for `field`. An underscore counts as a hyphen, since many
/// an upstream does not tell them apart.
fn passes_for(name: &str, field: &str) -> bool {
    let plain = |byte: u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    let pairs = || name.bytes().zip(field.bytes());
    name.len() == field.len() && pairs().all(|(name, field)| plain(name) == plain(field))
}

/// Fields that `Connection` declares to be about one hop. Allocates only when there are any.
fn named_by_connection(fields: &dyn Fields) -> Vec<&[u8]> {
    let mut named = Vec::new();
    fields.visit(&mut |name, value| {
        if name.len() == 10 && name.eq_ignore_ascii_case("connection") {
            named.extend(list(value).filter(|option| {
                !option.eq_ignore_ascii_case(b"keep-alive")
                    && !option.eq_ignore_ascii_case(b"close")
            }));
        }
    });
    named
}

/// Methods whose requests say so even when their body is empty (RFC 9110, section 8.6).
fn expects_body(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH")
}

fn push_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn append(fields: &mut HeaderMap, name: &str, value: &[u8]) {
    if let (Ok(name), Ok(value)) = (
        HeaderName::from_bytes(name.as_bytes()),
        HeaderValue::from_bytes(value),
    ) {
        fields.append(name, value);
    }
}

#[cfg(test)]
mod tests;
