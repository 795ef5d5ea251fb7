//! One event, in the words and members receivers know: a certificate that ends, a breaker that opens or closes.

use portcullis_apidef::EventKind;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::clients::{Watched, unix_now};

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// Something that happened to an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// In a sentence.
    pub message: String,
    /// The API.
    pub api_id: String,
    /// When it was noticed, in Unix seconds.
    pub at: i64,
    /// What it is about.
    pub about: About,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A certificate that ends soon or has ended.
    Certificate(CertificateFacts),
    /// A circuit breaker.
    Breaker {
        /// The path it is for, as written.
        path: String,
        /// 0 when it tripped, 1 when it was reset.
        change: i64,
    },
}

/// A certificate that ends soon or has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// SHA-256 of the certificate, in hex.
    pub certificate: String,
    /// What the certificate calls itself.
    pub name: String,
    /// When it ends, in Unix seconds.
    pub not_after: i64,
    /// Whole days until then, or since then.
    pub days: i64,
    /// What the certificate is for.
    pub role: &'static str,
}

impl CertificateFacts {
    /// The certificate's id as logs show it: its beginning, and how much is left out.
    pub fn masked_id(&self) -> String {
        let shown: String = self.certificate.chars().take(8).collect();
        format!("{shown}***[len={}]", self.certificate.len())
    }
}

/// A value that templates may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

impl Event {
    /// What there is to tell of a certificate at a time; `None` for one that is good for longer than
    /// `threshold` days.
    pub fn of(
        role: &'static str,
        certificate: &Watched,
        api_id: &str,
        threshold: u32,
        now: i64,
    ) -> Option<Self> {
        let left = certificate.not_after.saturating_sub(now);
        if left > i64::from(threshold) * DAY {
            return None;
        }
        let hours = left.unsigned_abs() / HOUR.unsigned_abs();
        let (days, hours) = (hours / 24, hours % 24);
        let span = match (days, hours) {
            (0, hours) => format!("{hours} hours"),
            (days, 0) => format!("{days} days"),
            (days, hours) => format!("{days} days and {hours} hours"),
        };
        let name = &certificate.name;
        let (kind, verb) = match left {
            ..=0 => (EventKind::CertificateExpired, "expired since"),
            _ => (EventKind::CertificateExpiringSoon, "expiring in"),
        };
        let message = format!("Certificate {name} is {verb} {span}");
        Some(Self {
            kind,
            message,
            api_id: api_id.to_owned(),
            at: now,
            about: About::Certificate(CertificateFacts {
                certificate: certificate.fingerprint.to_string(),
                name: name.clone(),
                not_after: certificate.not_after,
                days: i64::try_from(days).unwrap_or(i64::MAX),
                role,
            }),
        })
    }

    /// What there is to tell of a breaker that has just opened or closed: the change itself, and that there was one.
    pub fn of_breaker(api_id: &str, path: &str, tripped: bool) -> [Self; 2] {
        let (kind, message, change) = match tripped {
            true => (EventKind::BreakerTripped, "Breaker Tripped", 0),
            false => (EventKind::BreakerReset, "Breaker Reset", 1),
        };
        [kind, EventKind::BreakerTriggered].map(|kind| Self {
            kind,
            message: message.to_owned(),
            api_id: api_id.to_owned(),
            at: unix_now(),
            about: About::Breaker {
                path: path.to_owned(),
                change,
            },
        })
    }

    /// An event of a kind as receivers will see one, to try templates with.
    pub fn sample(kind: EventKind) -> Self {
        let (message, about) = match kind {
            EventKind::CertificateExpiringSoon | EventKind::CertificateExpired => (
                "Certificate sample is expiring in 2 days",
                About::Certificate(CertificateFacts {
                    certificate: "0".repeat(64),
                    name: "sample".to_owned(),
                    not_after: 0,
                    days: 2,
                    role: "client",
                }),
            ),
            EventKind::BreakerTripped | EventKind::BreakerReset | EventKind::BreakerTriggered => (
                "Breaker Tripped",
                About::Breaker {
                    path: "/sample".to_owned(),
                    change: 0,
                },
            ),
        };
        Self {
            kind,
            message: message.to_owned(),
            api_id: "sample".to_owned(),
            at: 0,
            about,
        }
    }

    /// The certificate it is about, where it is about one.
    pub fn certificate(&self) -> Option<&CertificateFacts> {
        match &self.about {
            About::Certificate(facts) => Some(facts),
            About::Breaker { .. } => None,
        }
    }

    #[cfg(test)]
    pub fn certificate_mut(&mut self) -> &mut CertificateFacts {
        match &mut self.about {
            About::Certificate(facts) => facts,
            other => panic!("about {other:?}"),
        }
    }

    /// What a template means by a path such as `Meta.Message`; `None` for what this kind of event does
    /// not have.
    pub fn value(&self, path: &str) -> Option<Value> {
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        match path {
            "Type" => text(self.kind.name()),
            "TimeStamp" => Some(Value::Text(date(self.at))),
            "Meta.Message" => text(&self.message),
            // No request causes an event, or none alone.
            "Meta.OriginatingRequest" => text(""),
            "Meta.APIID" => text(&self.api_id),
            _ => match &self.about {
                About::Certificate(facts) => facts.value(self.kind, path),
                About::Breaker { path: on, change } => match path {
                    "Meta.Path" => text(on),
                    "Meta.CircuitEvent" => Some(Value::Number(*change)),
                    _ => None,
                },
            },
        }
    }

    /// The body of a webhook that has no template.
    pub fn body(&self) -> String {
        let mut body = Body {
            event: self.kind.name(),
            message: &self.message,
            api_id: (!self.api_id.is_empty()).then_some(&*self.api_id),
            timestamp: date(self.at),
            ..Body::default()
        };
        match &self.about {
            About::Certificate(facts) => {
                let end = date(facts.not_after);
                body.cert_id = Some(&facts.certificate);
                body.cert_name = Some(&facts.name);
                body.cert_role = Some(facts.role);
                if self.kind == EventKind::CertificateExpiringSoon {
                    (body.expires_at, body.days_remaining) = (Some(end), Some(facts.days));
                } else {
                    (body.expired_at, body.days_since_expiry) = (Some(end), Some(facts.days));
                }
            }
            About::Breaker { path, change } => {
                (body.path, body.circuit_event) = (Some(path.as_str()), Some(*change));
            }
        }
        serde_json::to_string(&body).unwrap_or_default()
    }

    /// What makes this event the same as another, whatever the wording.
    pub fn identity(&self) -> String {
        let (kind, api_id) = (self.kind.name(), &self.api_id);
        match &self.about {
            About::Certificate(facts) => format!(
                "{kind}|{}|{}|{}|{api_id}",
                facts.certificate,
                facts.name,
                date(facts.not_after),
            ),
            About::Breaker { path, change } => format!("{kind}|{path}|{change}|{api_id}"),
        }
    }
}

impl CertificateFacts {
    fn value(&self, kind: EventKind, path: &str) -> Option<Value> {
        let ending = kind == EventKind::CertificateExpiringSoon;
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        match path {
            "Meta.CertID" => text(&self.certificate),
            "Meta.CertName" => text(&self.name),
            "Meta.CertRole" => text(self.role),
            "Meta.ExpiresAt" if ending => Some(Value::Text(date(self.not_after))),
            "Meta.DaysRemaining" if ending => Some(Value::Number(self.days)),
            "Meta.ExpiredAt" if !ending => Some(Value::Text(date(self.not_after))),
            "Meta.DaysSinceExpiry" if !ending => Some(Value::Number(self.days)),
            _ => None,
        }
    }
}

/// The members of a body, in their order.
#[derive(Serialize, Default)]
struct Body<'a> {
    event: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_remaining: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expired_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_since_expiry: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert_role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    circuit_event: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_id: Option<&'a str>,
    timestamp: String,
}

/// RFC 3339, UTC.
fn date(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use portcullis_pki::Fingerprint;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn told(seconds: i64, threshold: u32) -> Option<Event> {
        let certificate = Watched {
            fingerprint: Fingerprint::of_der(b"a certificate"),
            name: "client".to_owned(),
            not_after: NOW + seconds,
        };
        Event::of("client", &certificate, "a", threshold, NOW)
    }

    /// IN-99
    #[test]
    fn messages_count_days_and_hours_and_leave_out_what_is_none() {
        for (seconds, message) in [
            (-50 * HOUR, "is expired since 2 days and 2 hours"),
            (-48 * HOUR, "is expired since 2 days"),
            (-5 * HOUR - 7, "is expired since 5 hours"),
            (0, "is expired since 0 hours"),
            (48 * HOUR, "is expiring in 2 days"),
            (49 * HOUR + 59, "is expiring in 2 days and 1 hours"),
            (23 * HOUR, "is expiring in 23 hours"),
        ] {
            let event = told(seconds, 30).unwrap();
            assert_eq!(event.message, format!("Certificate client {message}"));
        }
    }

    #[test]
    fn the_threshold_and_the_end_belong_to_what_is_told() {
        let kind = |seconds| told(seconds, 30).map(|event| event.kind);
        let (soon, expired) = (
            EventKind::CertificateExpiringSoon,
            EventKind::CertificateExpired,
        );
        assert_eq!(kind(30 * DAY + 1), None);
        assert_eq!(kind(30 * DAY), Some(soon));
        assert_eq!(kind(1), Some(soon));
        assert_eq!(kind(0), Some(expired));
    }

    #[test]
    fn the_body_has_the_members_of_its_kind_in_order() {
        let id = Fingerprint::of_der(b"a certificate");
        let soon = told(49 * HOUR, 30).unwrap().body();
        assert_eq!(
            soon,
            format!(
                "{{\"event\":\"CertificateExpiringSoon\",\
                 \"message\":\"Certificate client is expiring in 2 days and 1 hours\",\
                 \"cert_id\":\"{id}\",\"cert_name\":\"client\",\
                 \"expires_at\":\"2027-01-17T09:00:00Z\",\"days_remaining\":2,\
                 \"cert_role\":\"client\",\"api_id\":\"a\",\"timestamp\":\"2027-01-15T08:00:00Z\"}}"
            )
        );
        let expired = told(-49 * HOUR, 30).unwrap().body();
        assert!(
            expired.contains(
                "\"expired_at\":\"2027-01-13T07:00:00Z\",\"days_since_expiry\":2,\"cert_role\""
            ),
            "{expired}"
        );
    }

    #[test]
    fn logs_see_the_beginning_of_an_id() {
        let event = told(0, 30).unwrap();
        let masked = event.certificate().unwrap().masked_id();
        assert!(
            masked.len() == 8 + "***[len=64]".len() && masked.ends_with("***[len=64]"),
            "{masked}"
        );
    }

    #[test]
    fn a_breaker_is_told_of_as_what_happened_and_as_a_change() {
        let [tripped, triggered] = Event::of_breaker("a", "/x", true);
        assert_eq!(tripped.kind, EventKind::BreakerTripped);
        assert_eq!(triggered.kind, EventKind::BreakerTriggered);
        assert!(
            tripped.body().starts_with(
                "{\"event\":\"BreakerTripped\",\"message\":\"Breaker Tripped\",\"path\":\"/x\",\
                 \"circuit_event\":0,\"api_id\":\"a\",\"timestamp\":\""
            ),
            "{}",
            tripped.body()
        );
        assert_eq!(tripped.value("Meta.Path"), Some(Value::Text("/x".into())));
        assert_eq!(tripped.value("Meta.CertID"), None);
        let [reset, _] = Event::of_breaker("a", "/x", false);
        assert_eq!(reset.value("Meta.CircuitEvent"), Some(Value::Number(1)));
        assert_ne!(reset.identity(), tripped.identity());
    }
}
