//! Names in certificates: subject alternative names and distinguished names, as text.
//!
//! Invariant: text made here holds no control character, whatever a certificate says, so that it
//! can go to a terminal or a log.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use openssl::x509::{GeneralNameRef, X509NameRef, X509Ref};

/// One subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AlternativeName {
    /// A host name, possibly with `*` as its first label.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// A URI, such as a SPIFFE id.
    Uri(String),
    /// A mail address.
    Email(String),
    /// Another kind, or one that is not well-formed: named, not shown.
    Other(&'static str),
}

/// Why a text is no alternative name to put into a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("a name is empty")]
    Empty,
    /// Not a host name.
    #[error(
        "`{0}` is not a host name: letters, digits and hyphens, dots between labels, `*.` at the start; write names of other alphabets in their ASCII form (xn--…)"
    )]
    Host(String),
    /// Said to be an address, and is none.
    #[error("`{0}` is not an IP address")]
    Ip(String),
    /// Said to be a URI, and is none.
    #[error("`{0}` is not a URI: a scheme, a colon and ASCII text without spaces are expected")]
    Uri(String),
    /// Said to be a mail address, and is none.
    #[error("`{0}` is not a mail address in ASCII")]
    Email(String),
}

/// The kind is told by a prefix (`DNS:`, `IP:`, `URI:`, `email:`) or by the looks: an address, a
/// text with `://`, a text with `@`, else a host name.
impl FromStr for AlternativeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest))
                if ["dns", "ip", "uri", "email"].contains(&&*kind.to_ascii_lowercase()) =>
            {
                (kind.to_ascii_lowercase(), rest)
            }
            _ if text.parse::<IpAddr>().is_ok() => ("ip".to_owned(), text),
            _ if text.contains("://") => ("uri".to_owned(), text),
            _ if text.contains('@') => ("email".to_owned(), text),
            _ => ("dns".to_owned(), text),
        };
        if rest.is_empty() {
            return Err(NameError::Empty);
        }
        let given = || rest.to_owned();
        match kind.as_str() {
            "ip" => rest
                .parse()
                .map(Self::Ip)
                .map_err(|_| NameError::Ip(given())),
            "uri" if is_uri(rest) => Ok(Self::Uri(given())),
            "uri" => Err(NameError::Uri(given())),
            "email" if is_mail_address(rest) => Ok(Self::Email(given())),
            "email" => Err(NameError::Email(given())),
            _ if is_host_name(rest) => Ok(Self::Dns(rest.to_ascii_lowercase())),
            _ => Err(NameError::Host(given())),
        }
    }
}

/// As `openssl x509 -text` names them: `DNS:localhost`.
impl fmt::Display for AlternativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "DNS:{}", printable(name)),
            Self::Ip(address) => write!(f, "IP:{address}"),
            Self::Uri(uri) => write!(f, "URI:{}", printable(uri)),
            Self::Email(address) => write!(f, "email:{}", printable(address)),
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

/// The alternative names of a certificate, in its order.
pub fn alternative_names(certificate: &X509Ref) -> Vec<AlternativeName> {
    certificate
        .subject_alt_names()
        .map_or_else(Vec::new, |names| {
            names.iter().map(of_general_name).collect()
        })
}

fn of_general_name(name: &GeneralNameRef) -> AlternativeName {
    if let Some(host) = name.dnsname() {
        AlternativeName::Dns(host.to_owned())
    } else if let Some(bytes) = name.ipaddress() {
        match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
            (Ok(v4), _) => AlternativeName::Ip(Ipv4Addr::from(v4).into()),
            (_, Ok(v6)) => AlternativeName::Ip(Ipv6Addr::from(v6).into()),
            _ => AlternativeName::Other("a malformed IP address"),
        }
    } else if let Some(uri) = name.uri() {
        AlternativeName::Uri(uri.to_owned())
    } else if let Some(address) = name.email() {
        AlternativeName::Email(address.to_owned())
    } else if name.directory_name().is_some() {
        AlternativeName::Other("a directory name")
    } else {
        AlternativeName::Other("a name of another kind")
    }
}

/// A distinguished name in the order of the certificate: `C=DE, O=Example, CN=localhost`.
/// Characters that have a meaning there are escaped as RFC 4514 has it.
pub fn distinguished_name(name: &X509NameRef) -> String {
    let parts: Vec<String> = name
        .entries()
        .map(|entry| {
            let object = entry.object();
            let kind = match object.nid().short_name() {
                Ok(short) if object.nid() != openssl::nid::Nid::UNDEF => short.to_owned(),
                _ => object.to_string(),
            };
            let value = entry.data().to_string().unwrap_or_default();
            format!("{kind}={}", escaped(&value))
        })
        .collect();
    parts.join(", ")
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        let special = matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (at == 0 && matches!(character, '#' | ' '))
            || (at == last && character == ' ');
        if special {
            text.push('\\');
        }
        text.push(character);
    }
    printable(&text)
}

/// The text with control characters spelled out.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let spelled = character.is_control();
            let hidden = spelled.then(|| character.escape_unicode());
            let shown = (!spelled).then_some(character);
            hidden.into_iter().flatten().chain(shown)
        })
        .collect()
}

fn is_host_name(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= 253
        && rest.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
}

fn is_uri(text: &str) -> bool {
    let scheme_is_right = text.split_once(':').is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    });
    scheme_is_right && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_mail_address(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
        && text
            .rsplit_once('@')
            .is_some_and(|(local, host)| !local.is_empty() && is_host_name(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, NameError> {
        text.parse::<AlternativeName>().map(|name| name.to_string())
    }

    #[test]
    fn the_kind_of_a_name_is_told_by_its_prefix_or_its_looks() {
        for (text, name) in [
            ("Localhost", "DNS:localhost"),
            ("*.example.com", "DNS:*.example.com"),
            ("127.0.0.1", "IP:127.0.0.1"),
            ("::1", "IP:::1"),
            ("spiffe://cluster/ns/a", "URI:spiffe://cluster/ns/a"),
            ("me@example.com", "email:me@example.com"),
            ("DNS:a.test", "DNS:a.test"),
            ("ip:10.0.0.1", "IP:10.0.0.1"),
            ("URI:urn:uuid:1", "URI:urn:uuid:1"),
            ("email:x@y", "email:x@y"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(name), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_of_its_kind_is_refused() {
        for text in [
            "",
            "DNS:",
            "a b",
            "a..b",
            "-a",
            "münchen.de",
            "*.*.test",
            "a.*",
            "IP:a",
            "URI:no scheme",
            "email:@x",
            "\u{7}",
            "a\n.test",
            "URI:x:\u{e9}",
        ] {
            assert!(parsed(text).is_err(), "{text:?}");
        }
        assert!(parsed(&"a.".repeat(130)).is_err());
    }

    #[test]
    fn distinguished_names_are_escaped_and_cannot_reach_the_terminal() {
        let mut builder = openssl::x509::X509Name::builder().unwrap();
        builder.append_entry_by_text("O", "A, B + C").unwrap();
        builder.append_entry_by_text("CN", "x\u{1b}[31m").unwrap();
        assert_eq!(
            distinguished_name(&builder.build()),
            "O=A\\, B \\+ C, CN=x\\u{1b}[31m"
        );
    }
}
