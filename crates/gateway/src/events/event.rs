//! One event, in the words and members receivers know: a certificate that ends, a breaker that
//! opens or closes, a host that goes down or comes back.

use portcullis_apidef::EventKind;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::certificate::CertificateFacts;
use crate::{
    clients::unix_now,
    health::{Change, Report},
};

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
    /// The host of an upstream.
    Host(HostFacts),
}

/// A host that fails its tests, or no longer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Host and port.
    pub host: String,
    /// The test that decided.
    pub url: String,
    /// Status of its answer, 0 without one.
    pub status: i64,
    /// How long it took, in milliseconds.
    pub millis: i64,
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

    /// What there is to tell of a host that has just gone down or come back.
    pub fn of_host(api_id: &str, host: &str, url: &str, change: Change, report: &Report) -> Self {
        let (kind, message) = match change {
            Change::Down => (EventKind::HostDown, "Uptime test failed"),
            Change::Up => (EventKind::HostUp, "Uptime test succeeded"),
        };
        Self {
            kind,
            message: message.to_owned(),
            api_id: api_id.to_owned(),
            at: unix_now(),
            about: About::Host(HostFacts {
                host: host.to_owned(),
                url: url.to_owned(),
                status: report.status.into(),
                millis: i64::try_from(report.took.as_millis()).unwrap_or(i64::MAX),
            }),
        }
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
            EventKind::HostDown | EventKind::HostUp => (
                "Uptime test failed",
                About::Host(HostFacts {
                    host: "sample:80".to_owned(),
                    url: "http://sample/".to_owned(),
                    status: 0,
                    millis: 0,
                }),
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
            About::Breaker { .. } | About::Host(_) => None,
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
                About::Host(facts) => facts.value(path),
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
            About::Host(facts) => {
                (body.host, body.check_url) = (Some(facts.host.as_str()), Some(facts.url.as_str()));
                (body.response_code, body.latency) = (Some(facts.status), Some(facts.millis));
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
            About::Host(facts) => format!("{kind}|{}|{api_id}", facts.url),
        }
    }
}

impl HostFacts {
    fn value(&self, path: &str) -> Option<Value> {
        match path {
            "Meta.HostInfo.CheckURL" => Some(Value::Text(self.url.clone())),
            "Meta.HostInfo.ResponseCode" => Some(Value::Number(self.status)),
            "Meta.HostInfo.Latency" => Some(Value::Number(self.millis)),
            "Meta.HostInfo.IsTCPError" => Some(Value::Text((self.status == 0).to_string())),
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
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_id: Option<&'a str>,
    timestamp: String,
}

/// RFC 3339, UTC.
pub(super) fn date(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

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
