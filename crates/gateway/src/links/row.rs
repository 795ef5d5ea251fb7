//! How a link is shown.

use std::{sync::Arc, time::SystemTime};

use openssl::x509::X509;
use portcullis_pki::{
    CertificateFacts, Fingerprint,
    names::{alternative_names, distinguished_name, printable},
};
use portcullis_tls::contact::{Agreed, Seen, Session};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Kind,
    link::{Link, Verified, is_zero},
};

/// Days before its end at which a certificate is marked.
const SOON: i64 = 30;

/// Most alternative names of a certificate that are shown.
const MOST_NAMES: usize = 8;

/// Longest name that is shown, in characters.
const LONGEST_NAME: usize = 256;

impl Link {
    /// As it is shown at a moment, in Unix seconds.
    pub(super) fn row(self, now: i64) -> Row {
        let Seen {
            made,
            made_at,
            session,
            failed,
            failure,
            failing,
        } = self.seen;
        let state = match (&self.problem, made, failing) {
            (Some(_), ..) => State::Unusable,
            (None, _, true) => State::Failing,
            (None, 0, false) => State::NotYetUsed,
            (None, _, false) => State::Connected,
        };
        let session = session.as_deref();
        let peer = session
            .and_then(|session| session.peer.as_deref())
            .map(|der| Certificate::of(der, now));
        let own = Own::of(self.own.as_ref(), session, now);
        let verified = self.verified.filter(|_| self.tls);
        let mut remarks = Vec::new();
        remarks.extend(self.problem.as_deref().map(printable));
        remarks.extend(verified.and_then(Verified::remark).map(str::to_owned));
        remarks.extend(
            peer.as_ref()
                .and_then(|peer| peer.remark("its certificate")),
        );
        let shown = own.as_ref().map(|own| &own.certificate);
        remarks.extend(shown.and_then(|own| own.remark("our certificate")));
        Row {
            kind: self.kind,
            label: self.kind.label(),
            apis: self.apis.into_iter().collect(),
            settings: self.settings,
            address: self.address,
            through: self.through,
            tls: self.tls,
            state,
            verification: verified,
            connections: made,
            failures: failed,
            last_connected: made_at.map(moment),
            negotiated: session
                .and_then(|session| session.agreed)
                .map(Negotiated::from),
            peer,
            own,
            last_error: failure.map(|failure| LastError {
                at: moment(failure.at),
                reason: printable(&failure.reason),
            }),
            remarks,
        }
    }
}

/// A link as it is shown.
#[derive(Debug, Serialize)]
pub struct Row {
    #[serde(skip)]
    kind: Kind,
    #[serde(rename = "kind")]
    label: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    apis: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<&'static str>,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    through: Option<String>,
    tls: bool,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification: Option<Verified>,
    connections: u64,
    failures: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_connected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    negotiated: Option<Negotiated>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Certificate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    own: Option<Own>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<LastError>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
}

impl Row {
    /// Whether it is of this kind.
    pub fn is_a(&self, kind: Kind) -> bool {
        self.kind == kind
    }

    /// Whether it is used for an API.
    pub fn is_of(&self, api: &str) -> bool {
        self.apis.iter().any(|id| id == api)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// As configured, it cannot be used.
    Unusable,
    /// Nothing was tried.
    NotYetUsed,
    /// What was tried last worked.
    Connected,
    /// What was tried last failed.
    Failing,
}

#[derive(Debug, Serialize)]
struct Negotiated {
    version: &'static str,
    cipher: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alpn: Option<&'static str>,
}

impl From<Agreed> for Negotiated {
    fn from(agreed: Agreed) -> Self {
        Self {
            version: agreed.version,
            cipher: agreed.cipher,
            group: agreed.group,
            alpn: agreed.protocol,
        }
    }
}

#[derive(Debug, Serialize)]
struct LastError {
    at: String,
    reason: String,
}

/// Our certificate on a link.
#[derive(Debug, Serialize)]
struct Own {
    #[serde(flatten)]
    certificate: Certificate,
    /// Whether it was asked for by the server of the last connection; unknown before there was one, and where the
    /// library that spoke does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    shown: Option<bool>,
}

impl Own {
    fn of(configured: Option<&Arc<[u8]>>, session: Option<&Session>, now: i64) -> Option<Self> {
        let shown = session.and_then(|session| session.shown.as_ref());
        let told = session.is_some_and(|session| session.agreed.is_some());
        Some(Self {
            certificate: Certificate::of(shown.or(configured)?, now),
            shown: told.then_some(shown.is_some()),
        })
    }
}

#[derive(Debug, Serialize)]
struct Certificate {
    fingerprint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    more_names: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_left: Option<i64>,
}

impl Certificate {
    /// What is shown of a certificate in DER; of one that cannot be taken apart, its fingerprint.
    fn of(der: &[u8], now: i64) -> Self {
        let parsed = X509::from_der(der).ok();
        let facts = parsed
            .as_ref()
            .and_then(|parsed| CertificateFacts::of(parsed).ok());
        let names = parsed.as_ref().map(|parsed| alternative_names(parsed));
        let names = names.unwrap_or_default();
        let name = |name| cut(&distinguished_name(name));
        Self {
            fingerprint: Fingerprint::of_der(der).to_string(),
            subject: parsed.as_ref().map(|parsed| name(parsed.subject_name())),
            issuer: parsed.as_ref().map(|parsed| name(parsed.issuer_name())),
            more_names: names.len().saturating_sub(MOST_NAMES),
            names: names
                .iter()
                .take(MOST_NAMES)
                .map(|name| cut(&name.to_string()))
                .collect(),
            not_after: facts.as_ref().and_then(|facts| {
                let moment = OffsetDateTime::from_unix_timestamp(facts.not_after).ok()?;
                moment.format(&Rfc3339).ok()
            }),
            days_left: facts.map(|facts| facts.days_left(now)),
        }
    }

    /// What is to be said of its end.
    fn remark(&self, whose: &str) -> Option<String> {
        match self.days_left? {
            ..0 => Some(format!("{whose} has expired")),
            0 => Some(format!("{whose} ends within a day: renew it")),
            1 => Some(format!("{whose} ends in 1 day: renew it")),
            days @ 2..SOON => Some(format!("{whose} ends in {days} days: renew it")),
            _ => None,
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST_NAME).collect()
}

/// Milliseconds are as exact as logs are compared.
fn moment(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let at = at.replace_millisecond(at.millisecond());
    at.ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use portcullis_pki::make::{Algorithm, make_ca, make_client, make_server};
    use portcullis_tls::Contact;
    use serde_json::Value;

    use super::*;

    fn shown(link: Link, now: i64) -> Value {
        serde_json::to_value(link.row(now)).unwrap()
    }

    #[test]
    fn certificates_are_marked_before_and_after_their_end_on_both_sides() {
        let ca = make_ca("CA", Algorithm::P256, 100).unwrap();
        let server = make_server(&ca, &["up.test"], Algorithm::P256, 40).unwrap();
        let client = make_client(&ca, "gateway", Algorithm::P256, 20).unwrap();
        let der = |pair: &portcullis_pki::make::Pair| pair.certificate.to_der().unwrap();
        let own: Arc<[u8]> = der(&client).into();
        let session = Session {
            agreed: None,
            peer: Some(der(&server).into()),
            shown: Some(own.clone()),
        };
        let link = || {
            let contact = Contact::default();
            contact.made_telling(session.clone());
            Link {
                tls: true,
                own: Some(own.clone()),
                verified: Some(Verified::plainly(true, Some(1))),
                ..Link::new(Kind::Upstream, "up.test:443".to_owned(), contact.look())
            }
        };
        let ends = CertificateFacts::of(&client.certificate).unwrap().not_after;
        let day = 86_400;
        let row = shown(link(), ends - 40 * day);
        assert_eq!(row["state"], "connected");
        assert_eq!(row["peer"]["subject"], "CN=up.test");
        assert_eq!(row["peer"]["names"][0], "DNS:up.test");
        assert_eq!(row["own"]["days_left"], 40);
        assert_eq!(row.get("remarks"), None);
        let row = shown(link(), ends - 5 * day);
        let said = [
            "its certificate ends in 25 days: renew it",
            "our certificate ends in 5 days: renew it",
        ];
        assert_eq!(row["remarks"], serde_json::json!(said));
        let row = shown(link(), ends + 30 * day);
        let said = ["its certificate has expired", "our certificate has expired"];
        assert_eq!(row["remarks"], serde_json::json!(said));
    }

    #[test]
    fn what_was_never_tried_cannot_be_used_or_is_not_verified_says_so() {
        let link = || Link {
            tls: true,
            verified: Some(Verified::plainly(false, None)),
            ..Link::new(Kind::Webhooks, "hook.test:443".to_owned(), Seen::default())
        };
        let row = shown(link(), 0);
        assert_eq!(row["state"], "not_yet_used");
        let said = row["remarks"][0].as_str().unwrap();
        assert!(said.starts_with("nobody is verified"), "{said}");
        let barred = Link {
            problem: Some("the proxy\n cannot be used".to_owned()),
            ..link()
        };
        let row = shown(barred, 0);
        assert_eq!(row["state"], "unusable");
        assert!(!row["remarks"][0].as_str().unwrap().contains('\n'));
    }
}
