//! Error answers that are replaced by rule (outbound sheet 7): of this gateway's own making, and those that
//! upstreams give.
//!
//! An API's rules stand before the gateway's; the first that fits wins. An API without any rule has no
//! [`Overrides`] at all, and a request meets nothing of this module unless it fails.

mod member;
mod upstream;

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use portcullis_apidef::{BodyPart, ErrorOverride, ErrorStatus};
use regex::Regex;

pub use self::upstream::{Judge, run};
use crate::{
    observe::ResponseFlag,
    proxy::answer::{Answer, ErrorStyle},
};

/// Rules in the order in which they are looked at.
#[derive(Debug, Default)]
pub struct Overrides {
    rules: Vec<Arc<Rule>>,
}

#[derive(Debug)]
struct Rule {
    statuses: ErrorStatus,
    flag: Option<String>,
    message: Option<Regex>,
    member: Option<(Vec<String>, String)>,
    told: Told,
}

/// What the client is told instead.
#[derive(Debug)]
struct Told {
    status: Option<u16>,
    set: Vec<(HeaderName, HeaderValue)>,
    removed: Vec<HeaderName>,
    body: Option<Vec<BodyPart>>,
    message: Option<String>,
}

/// What the head of an upstream's error says about its rules.
enum OnHead {
    /// None fits.
    Passes,
    /// This one does.
    Replaced(Arc<Rule>),
    /// The body decides.
    Depends,
}

impl Overrides {
    /// Rules that were found good when they were read.
    pub fn of(rules: &[ErrorOverride]) -> Self {
        Self {
            rules: rules.iter().map(|rule| Arc::new(Rule::of(rule))).collect(),
        }
    }

    /// The rules of an API: its own before those of the gateway. None where there is none.
    pub fn of_api(own: &[ErrorOverride], everywhere: &Arc<Self>) -> Option<Arc<Self>> {
        if own.is_empty() {
            return (!everywhere.rules.is_empty()).then(|| everywhere.clone());
        }
        let mut all = Self::of(own);
        all.rules.extend(everywhere.rules.iter().cloned());
        Some(Arc::new(all))
    }

    /// What a client is told instead of this answer of the gateway's own.
    pub fn replace(&self, mut answer: Answer, flag: Option<&str>, style: ErrorStyle) -> Answer {
        let found = self
            .rules
            .iter()
            .find(|rule| rule.fits_own(answer.status, flag, &answer.message));
        let Some(told) = found.map(|rule| &rule.told) else {
            return answer;
        };
        answer.status = told.status.unwrap_or(answer.status);
        if let Some((body, content_type)) = told.body(answer.status, style) {
            answer.body = body;
            if let Some(content_type) = content_type {
                answer.content_type = content_type;
            }
        }
        for (name, value) in &told.set {
            match (name.as_str(), value.to_str()) {
                ("content-type", Ok(value)) => answer.content_type = value.to_owned().into(),
                ("www-authenticate", Ok(value)) => answer.authenticate = Some(value.into()),
                _ => answer.fields.push((name.clone(), value.clone())),
            }
        }
        if told.removed.contains(&header::WWW_AUTHENTICATE) {
            answer.authenticate = None;
        }
        answer
    }

    fn on_head(&self, status: u16) -> OnHead {
        for rule in &self.rules {
            if !rule.statuses.includes(status) || !rule.may_fit_upstream(status) {
                continue;
            }
            if rule.member.is_none() && rule.message.is_none() {
                return OnHead::Replaced(rule.clone());
            }
            return OnHead::Depends;
        }
        OnHead::Passes
    }

    /// The rule for an upstream's error whose body begins like this.
    fn on_body(&self, status: u16, body: &[u8]) -> Option<Arc<Rule>> {
        let found = self.rules.iter().find(|rule| {
            rule.statuses.includes(status) && rule.may_fit_upstream(status) && rule.fits_body(body)
        });
        found.cloned()
    }
}

impl Rule {
    fn of(rule: &ErrorOverride) -> Self {
        let name = |name: &str| name.parse().expect("a name that was looked at");
        let told = &rule.answer;
        Self {
            statuses: rule.status,
            flag: rule.matching.flag.clone(),
            message: rule
                .matching
                .message
                .as_deref()
                .map(|pattern| Regex::new(pattern).expect("an expression that was looked at")),
            member: rule.matching.member.clone(),
            told: Told {
                status: told.status,
                set: told
                    .set
                    .iter()
                    .map(|(field, value)| {
                        let value = value.parse().expect("a value that was looked at");
                        (name(field), value)
                    })
                    .collect(),
                removed: told.removed.iter().map(|field| name(field)).collect(),
                body: told.body.clone(),
                message: told.message.clone(),
            },
        }
    }

    /// Whether it is about an error of the gateway's own: its flag or its message fits, or it names neither. A
    /// member is not looked at, as in Tyk; a rule that names nothing else was warned of when it was read.
    fn fits_own(&self, status: u16, flag: Option<&str>, message: &str) -> bool {
        if !self.statuses.includes(status) {
            return false;
        }
        match (&self.flag, &self.message) {
            (None, None) => true,
            (wanted, pattern) => {
                wanted.is_some() && wanted.as_deref() == flag
                    || pattern
                        .as_ref()
                        .is_some_and(|pattern| pattern.is_match(message))
            }
        }
    }

    /// Whether it is about errors of upstreams: those have no flag but one.
    fn may_fit_upstream(&self, status: u16) -> bool {
        let theirs = ResponseFlag::UpstreamStatus.flag();
        self.flag
            .as_deref()
            .is_none_or(|flag| flag == theirs && status >= 500)
    }

    fn fits_body(&self, body: &[u8]) -> bool {
        let by_member = self.member.as_ref().is_some_and(|(steps, wanted)| {
            member::find(body, steps).is_some_and(|found| found == *wanted)
        });
        let by_message = || match &self.message {
            Some(pattern) => pattern.is_match(&String::from_utf8_lossy(body)),
            None => self.member.is_none(),
        };
        by_member || by_message()
    }
}

impl Told {
    /// Another body, with its type where it is an error in the usual form.
    fn body(
        &self,
        status: u16,
        style: ErrorStyle,
    ) -> Option<(Cow<'static, str>, Option<Cow<'static, str>>)> {
        if let Some(parts) = &self.body {
            let mut body = String::new();
            for part in parts {
                match part {
                    BodyPart::Text(text) => body.push_str(text),
                    BodyPart::Status => body.push_str(&status.to_string()),
                }
            }
            return Some((body.into(), None));
        }
        let message = self.message.as_deref()?;
        let answer = style.error(status, message);
        Some((answer.body, Some(answer.content_type)))
    }

    /// Sets and leaves out fields.
    fn change(&self, fields: &mut HeaderMap) {
        for name in &self.removed {
            fields.remove(name);
        }
        for (name, value) in &self.set {
            fields.insert(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_apidef::gateway_error_overrides;
    use serde_json::{Value, json};

    const STYLE: ErrorStyle = ErrorStyle {
        xml_type: None,
        hide_generator: false,
    };

    fn rules(value: &Value) -> Vec<ErrorOverride> {
        gateway_error_overrides(value).expect("good rules").0
    }

    fn told(
        overrides: &Overrides,
        status: u16,
        message: &'static str,
        flag: Option<&str>,
    ) -> (u16, String) {
        let answer = overrides.replace(STYLE.error(status, message), flag, STYLE);
        (answer.status, answer.body.into_owned())
    }

    #[test]
    fn the_apis_rules_stand_before_the_gateways_and_one_status_before_a_class() {
        let answering = |body: &str| json!([{"response": {"body": body}}]);
        let everywhere = Arc::new(Overrides::of(&rules(&json!({
            "500": answering("gateway 500"), "4xx": answering("gateway 4xx"),
        }))));
        let own = rules(&json!({"5xx": answering("api 5xx"), "503": answering("api 503")}));
        let both = Overrides::of_api(&own, &everywhere).expect("some");
        for (status, body) in [(500, "api 5xx"), (503, "api 503"), (404, "gateway 4xx")] {
            assert_eq!(told(&both, status, "m", None), (status, body.into()));
        }
        assert_eq!(told(&everywhere, 500, "m", None).1, "gateway 500");
        assert!(
            told(&everywhere, 503, "m", None)
                .1
                .contains("\"error\": \"m\"")
        );
        assert!(Overrides::of_api(&[], &Arc::default()).is_none());
        assert!(Overrides::of_api(&[], &everywhere).is_some());
    }

    #[test]
    fn a_rule_of_flag_or_message_fits_what_has_one_of_them() {
        let rules = Overrides::of(&rules(&json!({"500": [
            {"match": {"flag": "TLE", "message_pattern": "^host (a|b)$"}, "response": {"status_code": 502}},
            {"match": {"flag": "URS"}, "response": {"status_code": 599}},
        ]})));
        for (flag, message, status) in [
            (Some("TLE"), "x", 502),
            (Some("TLN"), "host b", 502),
            (None, "host a", 502),
            (Some("TLN"), "host c", 500),
            (None, "x", 500),
        ] {
            assert_eq!(
                told(&rules, 500, message, flag).0,
                status,
                "{flag:?} {message}"
            );
        }
    }

    #[test]
    fn a_member_is_not_looked_at_in_errors_of_the_gateways_own() {
        for (flag, status) in [("", 502), ("URS", 500)] {
            let member = json!({"body_field": "error", "body_value": "other", "flag": flag});
            let rules = json!({"500": [{"match": member, "response": {"status_code": 502}}]});
            let rules = gateway_error_overrides(&rules).expect("good rules").0;
            assert_eq!(
                told(&Overrides::of(&rules), 500, "m", Some("TLE")).0,
                status
            );
        }
    }

    #[test]
    fn status_message_and_fields_are_replaced_one_by_one() {
        let rules = Overrides::of(&rules(&json!({
            "401": [{"response": {"status_code": 403, "message": "no <way>",
                "headers": {"WWW-Authenticate": "Bearer", "Content-Type": "text/x", "X-A": "b"}}}],
            "403": [{"response": {"body": "{{.StatusCode}}: {{.Message}}", "message": "m"}}],
            "404": [{"response": {"headers": {"WWW-Authenticate": ""}}}],
        })));
        let mut first = STYLE.error(401, "who");
        first.authenticate = Some("Basic".into());
        let answer = rules.replace(first.clone(), None, STYLE);
        assert_eq!(answer.status, 403);
        assert_eq!(answer.body, "{\n    \"error\": \"no <way>\"\n}");
        assert_eq!(
            (&*answer.content_type, answer.authenticate.as_deref()),
            ("text/x", Some("Bearer"))
        );
        assert_eq!(
            answer.fields,
            [("x-a".parse().unwrap(), "b".parse().unwrap())]
        );
        assert_eq!(told(&rules, 403, "x", None).1, "403: m");
        first.status = 404;
        let answer = rules.replace(first, None, STYLE);
        assert_eq!((answer.status, answer.authenticate), (404, None));
        assert!(answer.body.contains("who"), "the rest stays");
    }

    #[test]
    fn an_upstreams_error_is_told_by_its_flag_a_member_or_its_text() {
        let overrides = Overrides::of(&rules(&json!({
            "503": [
                {"match": {"flag": "URS", "body_field": "error.0.code", "body_value": "7"},
                    "response": {"status_code": 507}},
                {"match": {"message_pattern": "maintenance"}, "response": {"status_code": 508}},
                {"match": {"flag": "CBO"}, "response": {"status_code": 509}},
            ],
            "502": [{"match": {"flag": "URS"}, "response": {"status_code": 504}}],
            "404": [{"match": {"flag": "URS"}, "response": {"status_code": 410}}],
        })));
        let on_body = |body: &str| {
            let rule = overrides.on_body(503, body.as_bytes());
            rule.and_then(|rule| rule.told.status)
        };
        assert_eq!(on_body(r#"{"error": [{"code": 7}]}"#), Some(507));
        assert_eq!(on_body(r#"{"error": [{"code": "7"}]}"#), Some(507));
        assert_eq!(on_body("under maintenance"), Some(508));
        assert_eq!(on_body(r#"{"error": [{"code": 8}]}"#), None);
        assert!(matches!(overrides.on_head(503), OnHead::Depends));
        assert!(matches!(overrides.on_head(502), OnHead::Replaced(_)));
        assert!(
            matches!(overrides.on_head(404), OnHead::Passes),
            "no 4xx has that flag"
        );
        assert!(matches!(overrides.on_head(500), OnHead::Passes));
    }
}
