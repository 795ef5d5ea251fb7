//! A certificate that ends soon or has ended: when there is something to tell of it, and in what words.

use portcullis_apidef::EventKind;

use super::event::{About, Event, Value, date};
use crate::clients::Watched;

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

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

    /// What a template means by a path.
    pub(super) fn value(&self, kind: EventKind, path: &str) -> Option<Value> {
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
}
