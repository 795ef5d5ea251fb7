//! Typed entries of an allow list: who may pass by fingerprint, key, authority or name.
//!
//! ```json
//! "portcullis": {
//!   "client_certificates": [{"match": "dns:billing.example.com", "not_after": "2027-01-01T00:00:00Z"}],
//!   "client_certificate_authorities": ["/etc/portcullis/partner-ca.pem"]
//! }
//! ```
//!
//! Invariants:
//! - An entry that is not understood makes the definition unusable: a list that lost an entry could
//!   be laxer where it was meant to end one.
//! - Names are kept in the one form they are compared in.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{api::CertificateRole, facts::Facts, reader::Node};

/// The typed entries of an API's allow list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientRules {
    /// In the order of the definition.
    pub entries: Vec<ClientRule>,
    /// References of authorities that vouch for names, and let nobody pass by themselves.
    pub vouching: Vec<CertificateReference>,
}

/// A reference to certificates; it may be inline PEM, so that only its length is shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateReference(pub String);

impl std::fmt::Debug for CertificateReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CertificateReference({} bytes)", self.0.len())
    }
}

/// One typed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRule {
    /// Whom it is about.
    pub who: ClientMatch,
    /// The first second it counts for, Unix time.
    pub not_before: Option<i64>,
    /// The last second it counts for, Unix time.
    pub not_after: Option<i64>,
    /// What it is there for, for people.
    pub note: String,
}

/// Whom a typed entry is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientMatch {
    /// The certificate of this SHA-256.
    Certificate([u8; 32]),
    /// Every certificate of the key of this SHA-256 (of its SubjectPublicKeyInfo).
    Key([u8; 32]),
    /// Every client of the authorities this reference leads to.
    Authority(CertificateReference),
    /// A host name, lower-case.
    Dns(String),
    /// A host name of one label before this, which begins with a dot; lower-case.
    DnsBelow(String),
    /// A URI, octet by octet.
    Uri(String),
    /// A URI that continues this, which ends with a slash.
    UriBelow(String),
    /// A mail address; its host is lower-case.
    Email(String),
    /// A whole subject, as `portcullis cert inspect` prints it.
    Subject(String),
}

impl ClientMatch {
    /// It counts for names only an authority can vouch for.
    #[must_use]
    pub fn is_name(&self) -> bool {
        !matches!(
            self,
            Self::Certificate(_) | Self::Key(_) | Self::Authority(_)
        )
    }
}

/// As it is written; of inline PEM only that it is some.
impl std::fmt::Display for ClientMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hex = |f: &mut std::fmt::Formatter<'_>, kind: &str, bytes: &[u8; 32]| {
            f.write_str(kind)?;
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        };
        match self {
            Self::Certificate(digest) => hex(f, "sha256:", digest),
            Self::Key(digest) => hex(f, "spki:", digest),
            Self::Authority(reference) if reference.0.contains("-----BEGIN") => {
                f.write_str("ca:(inline PEM)")
            }
            Self::Authority(reference) => write!(f, "ca:{}", reference.0),
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::DnsBelow(parent) => write!(f, "dns:*{parent}"),
            Self::Uri(uri) => write!(f, "uri:{uri}"),
            Self::UriBelow(start) => write!(f, "uri:{start}*"),
            Self::Email(address) => write!(f, "email:{address}"),
            Self::Subject(subject) => write!(f, "dn:{subject}"),
        }
    }
}

const KINDS: &str =
    "sha256:<hex>, spki:<hex or base64>, ca:<reference>, dns:, uri:, email: or dn: and a name";

/// Reads what stands under our own key; `None` where a definition has no typed entries.
pub(crate) fn read(ours: &Node<'_, '_>, facts: &mut Facts) -> Option<ClientRules> {
    let list = ours.at("client_certificates");
    let authorities = ours.at("client_certificate_authorities");
    let mut rules = ClientRules::default();
    for entry in list.elements() {
        if let Some(rule) = rule(&entry) {
            if let ClientMatch::Authority(reference) = &rule.who {
                facts.certificate(CertificateRole::AllowList, "", &reference.0);
            }
            rules.entries.push(rule);
        }
    }
    for node in authorities.elements() {
        match node.string() {
            "" => node.error("an empty reference", "an id, a path, or PEM", ""),
            reference => {
                facts.certificate(CertificateRole::AllowList, "", reference);
                rules
                    .vouching
                    .push(CertificateReference(reference.to_owned()));
            }
        }
    }
    if authorities.is_present() && !list.is_present() {
        authorities.error(
            "authorities that vouch for names, and no entries",
            "client_certificates beside it",
            "to let every client of an authority pass, list it with ca:",
        );
    }
    list.is_present().then_some(rules)
}

fn rule(entry: &Node<'_, '_>) -> Option<ClientRule> {
    for (name, member) in entry.members() {
        if !["match", "not_before", "not_after", "note"].contains(&name) {
            member.error(
                "an unknown member",
                "match, not_before, not_after, note",
                "",
            );
        }
    }
    let node = entry.at("match");
    let who = who(&node);
    let (from, to) = (entry.at("not_before"), entry.at("not_after"));
    let (not_before, not_after) = (moment(&from), moment(&to));
    if let (Some(first), Some(last)) = (not_before, not_after)
        && first > last
    {
        to.error("before not_before", "a later time", "");
    }
    Some(ClientRule {
        who: who?,
        not_before,
        not_after,
        note: entry.at("note").string().to_owned(),
    })
}

fn moment(node: &Node<'_, '_>) -> Option<i64> {
    if !node.is_present() {
        return None;
    }
    let text = node.string();
    match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(time) => Some(time.unix_timestamp()),
        Err(_) => {
            node.error(
                format!("{text:?} is not a time"),
                "RFC 3339: 2027-01-31T12:00:00Z",
                "",
            );
            None
        }
    }
}

fn who(node: &Node<'_, '_>) -> Option<ClientMatch> {
    let text = node.string();
    let (kind, value) = text.split_once(':').unwrap_or((text, ""));
    let value = value.trim();
    let found = match kind {
        "sha256" => hex(value).map(ClientMatch::Certificate),
        "spki" => hex(value).or_else(|| base64(value)).map(ClientMatch::Key),
        "ca" => (!value.is_empty())
            .then(|| ClientMatch::Authority(CertificateReference(value.to_owned()))),
        "dns" => dns(value),
        "uri" => uri(value),
        "email" => email(value),
        "dn" => subject(value).map(ClientMatch::Subject),
        _ => {
            node.error(format!("{kind:?} is no kind of entry"), KINDS, "");
            return None;
        }
    };
    if found.is_none() {
        let accepted = match kind {
            "sha256" => "64 hexadecimal digits, colons between them or not",
            "spki" => "SHA-256 of a public key: 64 hexadecimal digits or 44 characters of base64",
            "ca" => "an id, a path, or PEM",
            "dns" => "a host name in ASCII, `*.` as its first label or not",
            "uri" => "a URI with a host, at most `/*` at its end",
            "email" => "a mail address in ASCII",
            _ => "attributes as in `C=DE, O=Example, CN=name`",
        };
        // The value of `ca:` may be PEM that lost its end; it is not repeated.
        node.error(format!("not a value of {kind}:"), accepted, "");
    }
    found
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(pair[0] * 16 + pair[1]).ok()?;
    }
    Some(bytes)
}

/// 32 octets in base64: 43 characters and a `=`.
fn base64(text: &str) -> Option<[u8; 32]> {
    let text = text.strip_suffix('=')?;
    if text.len() != 43 {
        return None;
    }
    let mut bits = 0u32;
    let mut held = 0;
    let mut bytes = Vec::with_capacity(32);
    for octet in text.bytes() {
        let value = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    bytes.try_into().ok()
}

fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn dns(value: &str) -> Option<ClientMatch> {
    let lower = value.to_ascii_lowercase();
    match lower.strip_prefix('*') {
        // One label before what has two at least: `*.com` would be everybody.
        Some(rest) => {
            let below = rest.strip_prefix('.')?;
            (is_host(below) && below.contains('.')).then(|| ClientMatch::DnsBelow(rest.to_owned()))
        }
        None => is_host(&lower).then_some(ClientMatch::Dns(lower)),
    }
}

fn uri(value: &str) -> Option<ClientMatch> {
    let graphic = value.bytes().all(|byte| byte.is_ascii_graphic());
    let (scheme, rest) = value.split_once(':')?;
    let scheme_is_right = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !graphic || !scheme_is_right || rest.is_empty() {
        return None;
    }
    match value.strip_suffix('*') {
        Some(before) => {
            // A whole segment of the path, below a host.
            let path = before.strip_suffix('/')?;
            let (_, below) = path.split_once("://")?;
            let plain = !below.is_empty()
                && !below.contains(['*', '?', '#', '%', '\\', '@'])
                && below
                    .split('/')
                    .all(|segment| !matches!(segment, "" | "." | ".."));
            plain.then(|| ClientMatch::UriBelow(before.to_owned()))
        }
        None => (!value.contains('*')).then(|| ClientMatch::Uri(value.to_owned())),
    }
}

fn email(value: &str) -> Option<ClientMatch> {
    let (local, host) = value.rsplit_once('@')?;
    let good =
        !local.is_empty() && local.bytes().all(|byte| byte.is_ascii_graphic()) && is_host(host);
    good.then(|| ClientMatch::Email(format!("{local}@{}", host.to_ascii_lowercase())))
}

/// A subject with one space behind every comma between attributes.
fn subject(value: &str) -> Option<String> {
    let mut parts: Vec<String> = vec![String::new()];
    let mut escaped = false;
    for character in value.chars() {
        let last = parts.last_mut()?;
        match character {
            ',' if !escaped => parts.push(String::new()),
            // What stands before an attribute is no part of it.
            ' ' if last.is_empty() => {}
            other => last.push(other),
        }
        escaped = character == '\\' && !escaped;
    }
    let is_attribute = |part: &String| {
        part.split_once('=')
            .is_some_and(|(kind, _)| !kind.is_empty() && !kind.contains(' '))
    };
    (!escaped && parts.iter().all(is_attribute)).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;
    use serde_json::{Value, json};

    fn read_value(value: &Value) -> (Option<ClientRules>, Vec<String>) {
        let report = Report::default();
        let rules = read(&Node::root(value, &report), &mut Facts::default());
        let errors = report.finish().err().unwrap_or_default();
        (rules, errors.iter().map(ToString::to_string).collect())
    }

    fn matched(text: &str) -> Option<ClientMatch> {
        let (rules, errors) = read_value(&json!({"client_certificates": [{"match": text}]}));
        let rule = rules.unwrap().entries.pop();
        assert_eq!(rule.is_none(), !errors.is_empty(), "{text}: {errors:?}");
        rule.map(|rule| rule.who)
    }

    #[test]
    fn every_kind_of_entry_is_read_into_the_form_it_is_compared_in() {
        let bytes: [u8; 32] = std::array::from_fn(|place| u8::try_from(place).unwrap());
        let hex: String = bytes.iter().map(|byte| format!("{byte:02X}:")).collect();
        let hex = hex.trim_end_matches(':');
        assert_eq!(
            matched(&format!("sha256:{hex}")),
            Some(ClientMatch::Certificate(bytes))
        );
        assert_eq!(
            matched(&format!("spki:{}", hex.replace(':', ""))),
            Some(ClientMatch::Key(bytes))
        );
        let base64 = "spki:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        assert_eq!(matched(base64), Some(ClientMatch::Key(bytes)));
        let text = |text: &str| text.to_owned();
        for (written, expected) in [
            (
                "ca:/etc/ca.pem",
                ClientMatch::Authority(CertificateReference(text("/etc/ca.pem"))),
            ),
            (
                "dns:Billing.Example.com",
                ClientMatch::Dns(text("billing.example.com")),
            ),
            (
                "dns:*.Example.com",
                ClientMatch::DnsBelow(text(".example.com")),
            ),
            (
                "uri:spiffe://example.com/a",
                ClientMatch::Uri(text("spiffe://example.com/a")),
            ),
            (
                "uri:spiffe://example.com/a/*",
                ClientMatch::UriBelow(text("spiffe://example.com/a/")),
            ),
            (
                "uri:spiffe://example.com/*",
                ClientMatch::UriBelow(text("spiffe://example.com/")),
            ),
            ("uri:urn:example:a", ClientMatch::Uri(text("urn:example:a"))),
            (
                "email:Me@Example.com",
                ClientMatch::Email(text("Me@example.com")),
            ),
            (
                "dn:C=DE,O=A\\, B,  CN=x",
                ClientMatch::Subject(text("C=DE, O=A\\, B, CN=x")),
            ),
        ] {
            assert_eq!(matched(written), Some(expected), "{written}");
        }
    }

    #[test]
    fn what_is_not_understood_makes_a_definition_unusable() {
        for text in [
            "",
            "billing.example.com",
            "ip:10.0.0.1",
            "sha256:00",
            "spki:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
            "ca:",
            "dns:",
            "dns:*",
            "dns:*.com",
            "dns:a.*.example.com",
            "dns:a..b",
            "uri:example.com/a",
            "uri:spiffe://*",
            "uri:spiffe://example.com*",
            "uri:spiffe://example.com/a*",
            "uri:spiffe://example.com/*/b",
            "uri:spiffe://example.com/a/../*",
            "uri:spiffe://exa mple.com/a",
            "email:example.com",
            "email:@example.com",
            "dn:",
            "dn:example",
            "dn:CN=a\\",
        ] {
            assert_eq!(matched(text), None, "{text}");
        }
        for entry in [
            json!({"match": "dns:a.test", "notafter": "2027-01-01T00:00:00Z"}),
            json!({"match": "dns:a.test", "not_after": "2027-01-01"}),
            json!({"match": "dns:a.test", "not_after": "2027-01-01T00:00:00Z", "not_before": "2028-01-01T00:00:00Z"}),
            json!("dns:a.test"),
        ] {
            let (_, errors) = read_value(&json!({"client_certificates": [entry]}));
            assert!(!errors.is_empty(), "{entry}");
        }
        let (rules, errors) = read_value(&json!({"client_certificate_authorities": ["ca.pem"]}));
        assert!(rules.is_none() && errors.len() == 1, "{errors:?}");
    }

    #[test]
    fn times_and_notes_are_kept() {
        let (rules, errors) = read_value(&json!({"client_certificates": [{
            "match": "dns:a.test",
            "not_before": "2026-01-01T01:00:00+01:00",
            "not_after": "2026-01-01T00:00:01Z",
            "note": "for the move",
        }], "client_certificate_authorities": ["ca.pem"]}));
        assert!(errors.is_empty(), "{errors:?}");
        let rules = rules.unwrap();
        let rule = &rules.entries[0];
        let first = 1_767_225_600;
        assert_eq!(
            (rule.not_before, rule.not_after),
            (Some(first), Some(first + 1))
        );
        assert_eq!(rule.note, "for the move");
        assert_eq!(rules.vouching, [CertificateReference("ca.pem".to_owned())]);
    }

    #[test]
    fn an_empty_list_is_a_list() {
        let (rules, _) = read_value(&json!({"client_certificates": []}));
        assert_eq!(rules, Some(ClientRules::default()));
        assert_eq!(read_value(&json!({})).0, None);
    }
}
