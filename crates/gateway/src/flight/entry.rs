//! One entry of the flight recorder, and how it is shown.

use std::{net::IpAddr, time::SystemTime};

use portcullis_pki::{Fingerprint, PresentedChain, names::distinguished_name};
use portcullis_tls::{Negotiated, Offer};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::Check;

/// Longest text of each kind that is kept, in bytes.
const LONGEST: usize = 512;

/// Somebody was refused.
#[derive(Debug)]
pub struct Entry {
    /// When.
    pub at: SystemTime,
    /// From where.
    pub from: IpAddr,
    /// To which port.
    pub port: u16,
    /// What failed.
    pub check: Check,
    detail: Box<str>,
    server_name: Option<Box<str>>,
    host: Option<Box<str>>,
    path: Option<Box<str>>,
    api_id: Option<Box<str>>,
    offered: Option<Box<Offer>>,
    negotiated: Option<Agreed>,
    leaf: Option<Leaf>,
}

/// What a handshake before the refusal agreed on.
#[derive(Debug, Clone, Serialize)]
struct Agreed {
    version: &'static str,
    cipher: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'static str>,
    resumed: bool,
}

/// The certificate a client presented.
#[derive(Debug, Clone)]
pub struct Leaf {
    fingerprint: Fingerprint,
    subject: Box<str>,
    issuer: Box<str>,
    not_before: i64,
    not_after: i64,
}

impl Leaf {
    /// What is kept of a chain.
    #[must_use]
    pub fn of(chain: &PresentedChain) -> Self {
        let leaf = chain.leaf();
        Self {
            fingerprint: chain.fingerprint(),
            subject: cut(&distinguished_name(leaf.subject_name())),
            issuer: cut(&distinguished_name(leaf.issuer_name())),
            not_before: chain.not_before(),
            not_after: chain.not_after(),
        }
    }
}

impl Entry {
    /// An entry that says when, who, where and what failed.
    #[must_use]
    pub fn new(at: SystemTime, from: IpAddr, port: u16, check: Check, detail: &str) -> Self {
        Self {
            at,
            from,
            port,
            check,
            detail: cut(detail),
            server_name: None,
            host: None,
            path: None,
            api_id: None,
            offered: None,
            negotiated: None,
            leaf: None,
        }
    }

    /// With the name the client asked for.
    #[must_use]
    pub fn with_server_name(mut self, name: &str) -> Self {
        self.server_name = Some(cut(name));
        self
    }

    /// With what the client offered, and the name it asked for.
    #[must_use]
    pub fn offering(mut self, offer: Option<Box<Offer>>) -> Self {
        if let Some(name) = offer
            .as_ref()
            .and_then(|offer| offer.server_name.as_deref())
        {
            self.server_name = Some(cut(name));
        }
        self.offered = offer;
        self
    }

    /// After a handshake that agreed on this.
    #[must_use]
    pub fn after(mut self, negotiated: Option<&Negotiated>) -> Self {
        let Some(negotiated) = negotiated else {
            return self;
        };
        self.server_name = negotiated.server_name.as_deref().map(cut);
        self.negotiated = Some(Agreed {
            version: negotiated.version,
            cipher: negotiated.cipher,
            group: negotiated.group,
            resumed: negotiated.resumed,
        });
        self
    }

    /// Of a request to a host, empty where it is not known any more, and a path without its query.
    #[must_use]
    pub fn of_request(mut self, host: &str, path: &str) -> Self {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        self.host = (!host.is_empty()).then(|| cut(host));
        self.path = Some(cut(path));
        self
    }

    /// Decided by the list of an API.
    #[must_use]
    pub fn by_api(mut self, id: &str) -> Self {
        self.api_id = Some(cut(id));
        self
    }

    /// With the certificate of the client.
    #[must_use]
    pub fn presenting(mut self, leaf: Option<Leaf>) -> Self {
        self.leaf = leaf;
        self
    }

    /// How much memory it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let leaf = self.leaf.as_ref();
        let texts = [
            Some(&self.detail),
            self.server_name.as_ref(),
            self.host.as_ref(),
            self.path.as_ref(),
            self.api_id.as_ref(),
            leaf.map(|leaf| &leaf.subject),
            leaf.map(|leaf| &leaf.issuer),
        ];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
        let offered = self.offered.as_ref().map_or(0, |offer| offer.bytes());
        size_of::<Self>() + texts + offered
    }

    /// Whether a client asked for this name.
    #[must_use]
    pub fn is_for(&self, server_name: &str) -> bool {
        let named = self.server_name.as_deref().unwrap_or_default();
        named.eq_ignore_ascii_case(server_name)
    }

    /// How it is shown.
    #[must_use]
    pub fn row(&self) -> Row<'_> {
        Row {
            at: rfc3339(OffsetDateTime::from(self.at)),
            stage: self.check.stage().label(),
            reason: self.check.label(),
            detail: &self.detail,
            remedy: self.check.remedy(),
            from: self.from,
            port: self.port,
            server_name: self.server_name.as_deref(),
            host: self.host.as_deref(),
            path: self.path.as_deref(),
            api_id: self.api_id.as_deref(),
            offered: self.offered.as_deref().map(|offer| Offered {
                versions: offer.versions().collect(),
                cipher_suites: offer.suites().collect(),
                groups: offer.groups().collect(),
                signature_algorithms: offer.signatures().collect(),
            }),
            negotiated: self.negotiated.as_ref(),
            certificate: self.leaf.as_ref().map(|leaf| Certificate {
                fingerprint: leaf.fingerprint.to_string(),
                subject: &leaf.subject,
                issuer: &leaf.issuer,
                not_before: unix(leaf.not_before),
                not_after: unix(leaf.not_after),
            }),
        }
    }
}

/// An entry as it is shown.
#[derive(Debug, Serialize)]
pub struct Row<'e> {
    at: String,
    stage: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'e str,
    remedy: &'static str,
    from: IpAddr,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_id: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offered: Option<Offered>,
    #[serde(skip_serializing_if = "Option::is_none")]
    negotiated: Option<&'e Agreed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Certificate<'e>>,
}

#[derive(Debug, Serialize)]
struct Offered {
    versions: Vec<String>,
    cipher_suites: Vec<String>,
    groups: Vec<String>,
    signature_algorithms: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Certificate<'e> {
    fingerprint: String,
    subject: &'e str,
    issuer: &'e str,
    not_before: Option<String>,
    not_after: Option<String>,
}

/// A text without what is beyond [`LONGEST`].
fn cut(text: &str) -> Box<str> {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

fn unix(seconds: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .map(rfc3339)
}

/// Milliseconds are as exact as logs are compared.
fn rfc3339(time: OffsetDateTime) -> String {
    let time = time.replace_millisecond(time.millisecond());
    time.ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use portcullis_pki::make::{Algorithm, make_ca, make_client};

    use super::*;
    use crate::flight::check::{ListCheck, Stage};

    #[test]
    fn an_entry_tells_of_its_request_without_the_query_and_of_the_leaf() {
        let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
        let client = make_client(&ca, "client", Algorithm::P256, 10).unwrap();
        let der = client.certificate.to_der().unwrap();
        let chain = PresentedChain::of_der(&[&der]).unwrap();
        let check = Check::List(Stage::Request, ListCheck::Listed);
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let entry = Entry::new(SystemTime::UNIX_EPOCH, from, 8443, check, "not allowed")
            .of_request("a.test", "/orders?token=secret")
            .by_api("orders")
            .presenting(Some(Leaf::of(&chain)));
        let row = serde_json::to_value(entry.row()).unwrap();
        assert_eq!(row["at"], "1970-01-01T00:00:00Z");
        assert_eq!(row["stage"], "request");
        assert_eq!(row["reason"], "certificate_not_listed");
        assert_eq!(row["path"], "/orders");
        assert_eq!(row["certificate"]["subject"], "CN=client");
        assert_eq!(row["certificate"]["issuer"], "CN=CA");
        assert_eq!(
            row["certificate"]["fingerprint"],
            chain.fingerprint().to_string()
        );
        assert!(!row.to_string().contains("secret"));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = "é".repeat(400);
        assert_eq!(cut(&text).len(), LONGEST);
        assert_eq!(cut(&format!("a{text}")).len(), LONGEST - 1);
    }
}
