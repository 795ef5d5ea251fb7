//! What a token says (RFC 7519, section 4), and whether that is what an API demands.
//!
//! Invariants:
//! - A claim of the wrong type is never taken for one that is absent.
//! - Times are judged at every request, also for a token that was verified before.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use portcullis_apidef::{ClaimDemands, ClaimRule, ClaimTest, ClockRules};
use portcullis_pki::Fingerprint;
use serde_json::{Map, Value};

use super::refusal::BearerProblem as Problem;

/// The claims of a token.
pub struct Claims(Map<String, Value>);

/// When a token is good, skews included. Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Validity {
    /// From here on it is not.
    pub until: Option<i64>,
    /// It says it was issued then.
    issued: Option<i64>,
    /// Not before.
    from: Option<i64>,
}

impl Claims {
    /// Reads the payload of a token.
    ///
    /// # Errors
    /// [`BearerProblem::Invalid`](Problem::Invalid) when it is no object.
    pub fn parse(payload: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(payload)
            .map(Self)
            .map_err(|_| Problem::Invalid)
    }

    /// A claim: by its whole name, else by dots that lead into objects.
    pub fn at(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(path) {
            return Some(value);
        }
        let mut steps = path.split('.');
        let first = self.0.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.as_object()?.get(step))
    }

    /// A claim that is text.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.at(path)?.as_str()
    }

    /// Whether a claim is the value true.
    pub fn says(&self, name: &str) -> bool {
        self.0.get(name) == Some(&Value::Bool(true))
    }

    /// Whether a claim is true or false.
    pub fn is_flag(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(Value::is_boolean)
    }

    /// When the token is good.
    ///
    /// # Errors
    /// When a time is no number.
    pub fn validity(&self, clock: &ClockRules) -> Result<Validity, Problem> {
        let expires = self.time("exp", clock.expires, Problem::Expired)?;
        let issued = self.time("iat", clock.issued, Problem::Issued)?;
        let from = self.time("nbf", clock.not_before, Problem::Early)?;
        Ok(Validity {
            until: expires.map(|(at, skew)| at.saturating_add(skew)),
            issued: issued.map(|(at, skew)| at.saturating_sub(skew)),
            from: from.map(|(at, skew)| at.saturating_sub(skew)),
        })
    }

    /// A time in whole seconds and how far clocks may be apart; `None` where it is absent or not looked at.
    fn time(
        &self,
        name: &str,
        skew: Option<Duration>,
        problem: Problem,
    ) -> Result<Option<(i64, i64)>, Problem> {
        let (Some(value), Some(skew)) = (self.0.get(name), skew) else {
            return Ok(None);
        };
        // What no number of seconds can be is as far away as there is.
        let seconds = value.as_f64().ok_or(problem)? as i64;
        Ok(Some((
            seconds,
            i64::try_from(skew.as_secs()).unwrap_or(i64::MAX),
        )))
    }

    /// Whether the token says what it has to. `subject` is whose token it is.
    ///
    /// # Errors
    /// The first demand that it does not meet.
    pub fn meet(&self, demands: &ClaimDemands, subject: Option<&str>) -> Result<(), Problem> {
        let one_of = |list: &[String], text: &str| list.iter().any(|allowed| allowed == text);
        if !demands.issuers.is_empty() {
            let issuer = self.0.get("iss").and_then(Value::as_str);
            if !issuer.is_some_and(|issuer| one_of(&demands.issuers, issuer)) {
                return Err(Problem::Issuer);
            }
        }
        if !demands.audiences.is_empty() {
            let allowed = |value: &Value| {
                value
                    .as_str()
                    .is_some_and(|audience| one_of(&demands.audiences, audience))
            };
            let met = match self.0.get("aud") {
                Some(Value::Array(audiences)) => audiences.iter().any(allowed),
                Some(value) => allowed(value),
                None => false,
            };
            if !met {
                return Err(Problem::Audience);
            }
        }
        if demands.id && !self.0.contains_key("jti") {
            return Err(Problem::Id);
        }
        if !demands.subjects.is_empty()
            && !subject.is_some_and(|subject| one_of(&demands.subjects, subject))
        {
            return Err(Problem::Subject);
        }
        for rule in &demands.rules {
            if self.keeps(rule) {
                continue;
            }
            if !rule.only_warns {
                return Err(Problem::Claim);
            }
            tracing::warn!(
                claim = rule.claim,
                "a token passes whose claim is not what a rule with nonBlocking wants"
            );
        }
        Ok(())
    }

    fn keeps(&self, rule: &ClaimRule) -> bool {
        let Some(value) = self.at(&rule.claim) else {
            return false;
        };
        match &rule.test {
            ClaimTest::Present => !value.is_null(),
            ClaimTest::Equals(allowed) => allowed.iter().any(|allowed| same(allowed, value)),
            ClaimTest::Contains(allowed) => allowed.iter().any(|allowed| match (value, allowed) {
                (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
                (Value::Array(elements), allowed) => elements.iter().any(|e| same(e, allowed)),
                (value, allowed) => same(value, allowed),
            }),
        }
    }

    /// The certificate the token is bound to (RFC 8705, section 3.1), where it is bound.
    ///
    /// # Errors
    /// [`BearerProblem::Binding`](Problem::Binding) when it is bound to something else, or to nothing that can
    /// be read: as it stands, anybody could present it.
    pub fn certificate(&self) -> Result<Option<Fingerprint>, Problem> {
        let Some(confirmation) = self.0.get("cnf") else {
            return Ok(None);
        };
        let members = confirmation.as_object().ok_or(Problem::Binding)?;
        let thumbprint = match members.get("x5t#S256") {
            Some(Value::String(text)) if members.len() == 1 => text,
            _ => return Err(Problem::Binding),
        };
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(thumbprint)
            .map_err(|_| Problem::Binding)?;
        let digest: [u8; 32] = bytes.try_into().map_err(|_| Problem::Binding)?;
        Ok(Some(Fingerprint::of_bytes(digest)))
    }
}

impl Validity {
    /// Whether a token is good now.
    ///
    /// # Errors
    /// Of several reasons the one that Tyk names.
    pub fn at(&self, now: i64) -> Result<(), Problem> {
        if self.from.is_some_and(|from| now < from) {
            Err(Problem::Early)
        } else if self.issued.is_some_and(|issued| now < issued) {
            Err(Problem::Issued)
        } else if self.until.is_some_and(|until| now >= until) {
            Err(Problem::Expired)
        } else {
            Ok(())
        }
    }
}

/// Whether two values are the same; 1 and 1.0 are.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests;
