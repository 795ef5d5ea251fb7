//! Values with parts of their own: certificate pairs, messages, ports.

use serde_json::Value as Json;

use crate::key::Kind;
use crate::value::{Judged, Rejection, Value, wrong_type};

/// A server certificate as a pair of PEM files (`http_server_options.certificates`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificatePair {
    /// Name the pair was meant for; the certificate's own names decide.
    pub domain_name: String,
    /// File of the certificate and its chain.
    pub cert_file: String,
    /// File of the private key.
    pub key_file: String,
}

/// Text and status that replace those of an error answer (`override_messages`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageOverride {
    /// The text; empty keeps the built-in one.
    pub message: String,
    /// The status; `None` keeps the built-in one.
    pub code: Option<u16>,
}

/// Which listeners expect a PROXY protocol header (`portcullis.proxy_protocol`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// None.
    Off,
    /// Every listener.
    Everywhere,
    /// Listeners on these ports.
    Ports(Vec<u16>),
}

impl ProxyProtocol {
    /// Whether a listener on `port` expects the header.
    #[must_use]
    pub fn expected_on(&self, port: u16) -> bool {
        match self {
            Self::Off => false,
            Self::Everywhere => true,
            Self::Ports(ports) => ports.contains(&port),
        }
    }
}

pub(crate) fn certificate_pairs(json: Json) -> Judged {
    let Json::Array(items) = json else {
        return Err(wrong_type(&json, "a list", Kind::CertificatePairs));
    };
    let mut pairs = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let Json::Object(members) = item else {
            return Err(Rejection::at(format!("[{index}]"), "is not an object"));
        };
        let mut pair = CertificatePair {
            domain_name: String::new(),
            cert_file: String::new(),
            key_file: String::new(),
        };
        for (name, value) in members {
            let inside = format!("[{index}].{name}");
            let field = match name.to_ascii_lowercase().as_str() {
                "domain_name" => &mut pair.domain_name,
                "cert_file" => &mut pair.cert_file,
                "key_file" => &mut pair.key_file,
                _ => return Err(Rejection::at(inside, "is not a key of a certificate pair")),
            };
            match value {
                Json::String(text) => *field = text,
                Json::Null => {}
                other => {
                    return Err(Rejection {
                        inside,
                        ..wrong_type(&other, "a text", Kind::Text)
                    });
                }
            }
        }
        for (name, file) in [("cert_file", &pair.cert_file), ("key_file", &pair.key_file)] {
            if file.is_empty() {
                return Err(Rejection::at(format!("[{index}].{name}"), "names no file"));
            }
        }
        pairs.push(pair);
    }
    Ok(Value::CertificatePairs(pairs))
}

pub(crate) fn messages(json: Json) -> Judged {
    let Json::Object(members) = json else {
        return Err(wrong_type(&json, "an object", Kind::Messages));
    };
    let mut messages = Vec::with_capacity(members.len());
    for (id, value) in members {
        let inside = format!("[{id:?}]");
        let Json::Object(fields) = value else {
            return Err(Rejection::at(inside, "is not an object"));
        };
        let mut message = MessageOverride {
            message: String::new(),
            code: None,
        };
        for (name, value) in fields {
            match (name.to_ascii_lowercase().as_str(), value) {
                ("message", Json::String(text)) => message.message = text,
                ("code", Json::Number(number)) => match number.as_u64() {
                    Some(0) => {}
                    Some(code @ 100..=999) => message.code = u16::try_from(code).ok(),
                    _ => {
                        return Err(Rejection::at(
                            format!("{inside}.code"),
                            "is not an HTTP status",
                        ));
                    }
                },
                (_, Json::Null) => {}
                _ => {
                    return Err(Rejection::at(
                        format!("{inside}.{name}"),
                        "is neither a text `message` nor a number `code`",
                    ));
                }
            }
        }
        messages.push((id, message));
    }
    Ok(Value::Messages(messages))
}

pub(crate) fn bool_or_ports(json: Json) -> Judged {
    match json {
        Json::Bool(value) => Ok(Value::Ports(all_or_none(value))),
        Json::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                item.as_u64()
                    .and_then(|port| u16::try_from(port).ok())
                    .filter(|port| *port > 0)
                    .ok_or_else(|| {
                        Rejection::at(format!("[{index}]"), "is not a port from 1 to 65535")
                    })
            })
            .collect::<Result<_, _>>()
            .map(|ports| Value::Ports(ProxyProtocol::Ports(ports))),
        other => Err(wrong_type(
            &other,
            "true, false or a list",
            Kind::BoolOrPorts,
        )),
    }
}

pub(crate) fn all_or_none(value: bool) -> ProxyProtocol {
    if value {
        ProxyProtocol::Everywhere
    } else {
        ProxyProtocol::Off
    }
}
