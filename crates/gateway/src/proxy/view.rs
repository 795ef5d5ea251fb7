//! Requests and responses as the rules see them, whichever protocol carried them.

use std::net::IpAddr;

use http::HeaderMap;

use crate::{clients::Client, http1::Framing};

/// Header fields in order.
pub trait Fields {
    /// Calls `each` with every name and value.
    fn visit<'a>(&'a self, each: &mut dyn FnMut(&'a str, &'a [u8]));

    /// The first value of a field; `name` is lower case.
    fn first(&self, name: &str) -> Option<&[u8]> {
        let mut found = None;
        self.visit(&mut |field, value| {
            if found.is_none() && field.eq_ignore_ascii_case(name) {
                found = Some(value);
            }
        });
        found
    }
}

impl Fields for [httparse::Header<'_>] {
    fn visit<'a>(&'a self, each: &mut dyn FnMut(&'a str, &'a [u8])) {
        for field in self {
            each(field.name, field.value);
        }
    }
}

impl Fields for &[httparse::Header<'_>] {
    fn visit<'a>(&'a self, each: &mut dyn FnMut(&'a str, &'a [u8])) {
        for field in *self {
            each(field.name, field.value);
        }
    }
}

impl Fields for HeaderMap {
    fn visit<'a>(&'a self, each: &mut dyn FnMut(&'a str, &'a [u8])) {
        for (name, value) in self {
            each(name.as_str(), value.as_bytes());
        }
    }
}

/// A request.
pub struct RequestView<'a> {
    /// Method token.
    pub method: &'a str,
    /// Host with its port as sent, empty when an HTTP/1.0 client sent none.
    pub host: &'a str,
    /// Path as sent, percent encoding kept.
    pub path: &'a str,
    /// Query without `?`.
    pub query: Option<&'a str>,
    /// The fields.
    pub fields: &'a dyn Fields,
    /// How the body arrives; for HTTP/2 what HTTP/1 would say.
    pub framing: Framing,
    /// Protocol the client wants to switch to.
    pub upgrade: Option<&'a str>,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: &'static str,
}

/// A response head of an upstream.
pub struct ResponseView<'a> {
    /// Status code.
    pub status: u16,
    /// Reason phrase, empty for HTTP/2.
    pub reason: &'a str,
    /// The fields.
    pub fields: &'a dyn Fields,
    /// How the body arrives; for HTTP/2 what HTTP/1 would say.
    pub framing: Framing,
}

/// What a worker knows of a connection once it is established.
pub struct Peer {
    /// The client's address, from the PROXY header where one was expected.
    pub address: IpAddr,
    /// The same as text, for the header that carries it.
    pub address_text: Box<str>,
    /// The connection is encrypted.
    pub tls: Option<portcullis_tls::Negotiated>,
    /// The certificate the client presented.
    pub client: Option<Client>,
    /// Port of the listener it came in by.
    pub listener: u16,
}
