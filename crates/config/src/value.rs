//! One value, judged by what its key accepts.
//!
//! Both the file and the environment end here, in the same [`Value`], so a rule about a
//! value is written once whatever it came from.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::Value as Json;

use crate::compound::{self, CertificatePair, MessageOverride, ProxyProtocol};
use crate::key::Kind;
use crate::ports::PortRules;
use crate::references::{self, Store};
use crate::secret::Secret;

/// A value its key accepts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing is set and nothing can be said in advance.
    Unset,
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    Secret(Secret),
    Secrets(Vec<(String, Secret)>),
    Address(Option<IpAddr>),
    List(Vec<String>),
    Map(Vec<(String, String)>),
    CertificatePairs(Vec<CertificatePair>),
    PortRules(PortRules),
    Messages(Vec<(String, MessageOverride)>),
    Ports(ProxyProtocol),
    Stores(Vec<Store>),
    Opaque(Json),
}

/// Why a value is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// Where inside the value, such as `https.ranges[1]`; empty for the whole.
    pub(crate) inside: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Rejection {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            inside: String::new(),
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn at(inside: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            inside: inside.into(),
            message: message.into(),
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

pub(crate) type Judged = Result<Value, Rejection>;

/// Judges a value of the file. `null` never comes here: it means "not set".
pub(crate) fn from_json(kind: Kind, json: Json) -> Judged {
    match kind {
        Kind::Bool => match json {
            Json::Bool(value) => Ok(Value::Bool(value)),
            other => Err(wrong_type(&other, "true or false", kind)),
        },
        Kind::Text | Kind::Path => text(json, kind).map(Value::Text),
        Kind::Secret | Kind::SecretOrReference => {
            text(json, kind).map(|text| Value::Secret(Secret::new(text)))
        }
        Kind::Choice(words) => choice(text(json, kind)?, words).map(Value::Text),
        Kind::TlsVersionName => version_name(text(json, kind)?),
        Kind::Address => address(&text(json, kind)?),
        Kind::Port
        | Kind::Integer { .. }
        | Kind::Bytes(_)
        | Kind::Seconds(_)
        | Kind::Milliseconds(_)
        | Kind::TlsVersion => match json.as_i64() {
            Some(number) => integer(number, kind),
            None => Err(wrong_type(&json, "a whole number", kind)),
        },
        Kind::DecimalSeconds(_) | Kind::Number => match json {
            Json::Number(number) => decimal(number.as_f64().unwrap_or(f64::NAN), kind),
            other => Err(wrong_type(&other, "a number", kind)),
        },
        Kind::GoDuration => match &json {
            Json::String(text) => go_duration(GoDuration::parse(text)),
            Json::Number(number) => go_duration(number.as_i64().and_then(GoDuration::from_number)),
            other => Err(wrong_type(other, "a duration", kind)),
        },
        Kind::ValueStores => references::stores_from_json(json).map(Value::Stores),
        Kind::TextList => texts(json, kind).map(Value::List),
        Kind::ChoiceList(words) => choices(texts(json, kind)?, words),
        Kind::TextMap => text_map(json, kind).map(Value::Map),
        Kind::SecretMap => Ok(secrets(text_map(json, kind)?)),
        Kind::CertificatePairs => compound::certificate_pairs(json),
        Kind::PortRules => PortRules::from_json(json).map(Value::PortRules),
        Kind::Messages => compound::messages(json),
        Kind::BoolOrPorts => compound::bool_or_ports(json),
        Kind::Opaque => match json {
            Json::Object(_) => Ok(Value::Opaque(json)),
            other => Err(wrong_type(&other, "an object", kind)),
        },
    }
}

/// Judges the text of an environment variable.
pub(crate) fn from_env(kind: Kind, value: &str) -> Judged {
    let trimmed = value.trim();
    match kind {
        Kind::Bool => match trimmed {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(Rejection::new("is neither true nor false")),
        },
        Kind::Text | Kind::Path => Ok(Value::Text(value.to_owned())),
        Kind::Secret | Kind::SecretOrReference => Ok(Value::Secret(Secret::new(value))),
        Kind::Choice(words) => choice(trimmed.to_owned(), words).map(Value::Text),
        Kind::TlsVersionName => version_name(trimmed.to_owned()),
        Kind::Address => address(trimmed),
        Kind::Port
        | Kind::Integer { .. }
        | Kind::Bytes(_)
        | Kind::Seconds(_)
        | Kind::Milliseconds(_)
        | Kind::TlsVersion => match trimmed.parse() {
            Ok(number) => integer(number, kind),
            Err(_) => Err(Rejection::new("is not a whole number")),
        },
        Kind::DecimalSeconds(_) | Kind::Number => match trimmed.parse() {
            Ok(number) => decimal(number, kind),
            Err(_) => Err(Rejection::new("is not a number")),
        },
        Kind::GoDuration => go_duration(GoDuration::parse(trimmed)),
        Kind::TextList => Ok(Value::List(split_list(value))),
        Kind::ChoiceList(words) => choices(split_list(value), words),
        Kind::TextMap => split_map(value, false).map(Value::Map),
        Kind::SecretMap => split_map(value, true).map(secrets),
        Kind::BoolOrPorts => match from_env(Kind::Bool, trimmed) {
            Ok(Value::Bool(value)) => Ok(Value::Ports(compound::all_or_none(value))),
            _ => split_list(trimmed)
                .iter()
                .map(|port| {
                    port.parse()
                        .map_err(|_| Rejection::new(format!("{port:?} is not a port")))
                })
                .collect::<Result<_, _>>()
                .map(|ports| Value::Ports(ProxyProtocol::Ports(ports))),
        },
        Kind::CertificatePairs
        | Kind::PortRules
        | Kind::Messages
        | Kind::ValueStores
        | Kind::Opaque => match serde_json::from_str(trimmed) {
            Ok(json) => from_json(kind, json),
            Err(error) => Err(
                Rejection::new(format!("is not JSON: {}", without_position(&error)))
                    .hint("this variable holds the same JSON as the file"),
            ),
        },
    }
}

fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Says what the value is instead of what it should be, and notices numbers in quotes.
pub(crate) fn wrong_type(found: &Json, wanted: &str, kind: Kind) -> Rejection {
    let is = match found {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(number) if number.is_f64() => "a number with a fraction",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    };
    let rejection = Rejection::new(format!("is {is}, not {wanted}"));
    match found {
        Json::String(text) if !matches!(kind, Kind::TextList | Kind::ChoiceList(_)) => {
            if serde_json::from_str::<Json>(text).is_ok_and(|bare| from_json(kind, bare).is_ok()) {
                rejection.hint("remove the quotes")
            } else {
                rejection
            }
        }
        Json::String(_) => rejection.hint("put it in square brackets"),
        Json::Number(_) | Json::Bool(_) if wanted == "a text" => rejection.hint("put it in quotes"),
        _ => rejection,
    }
}

fn text(json: Json, kind: Kind) -> Result<String, Rejection> {
    match json {
        Json::String(text) => Ok(text),
        other => Err(wrong_type(&other, "a text", kind)),
    }
}

fn texts(json: Json, kind: Kind) -> Result<Vec<String>, Rejection> {
    let Json::Array(items) = json else {
        return Err(wrong_type(&json, "a list", kind));
    };
    let mut texts = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        match item {
            Json::String(text) => texts.push(text),
            other => {
                let inner = wrong_type(&other, "a text", Kind::Text);
                return Err(Rejection {
                    inside: format!("[{index}]"),
                    ..inner
                });
            }
        }
    }
    Ok(texts)
}

fn text_map(json: Json, kind: Kind) -> Result<Vec<(String, String)>, Rejection> {
    let Json::Object(members) = json else {
        return Err(wrong_type(&json, "an object", kind));
    };
    let mut map = Vec::with_capacity(members.len());
    for (name, value) in members {
        match value {
            Json::String(text) => map.push((name, text)),
            other => {
                let inner = wrong_type(&other, "a text", Kind::Text);
                return Err(Rejection {
                    inside: format!("[{name:?}]"),
                    ..inner
                });
            }
        }
    }
    Ok(map)
}

fn secrets(map: Vec<(String, String)>) -> Value {
    Value::Secrets(
        map.into_iter()
            .map(|(name, text)| (name, Secret::new(text)))
            .collect(),
    )
}

fn choice(word: String, words: &[&str]) -> Result<String, Rejection> {
    if words.contains(&word.as_str()) {
        Ok(word)
    } else {
        Err(Rejection::new("is not one of the known words"))
    }
}

fn choices(list: Vec<String>, words: &[&str]) -> Judged {
    match list.iter().find(|word| !words.contains(&word.as_str())) {
        None => Ok(Value::List(list)),
        Some(word) => Err(Rejection::new(format!(
            "`{word}` is not one of the known words"
        ))),
    }
}

fn version_name(name: String) -> Judged {
    match name.as_str() {
        "" | "1.0" | "1.1" | "1.2" | "1.3" => Ok(Value::Text(name)),
        _ => Err(Rejection::new("is not a TLS version")),
    }
}

fn address(text: &str) -> Judged {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if bare.is_empty() {
        return Ok(Value::Address(None));
    }
    if bare.eq_ignore_ascii_case("localhost") {
        return Ok(Value::Address(Some(IpAddr::V4(Ipv4Addr::LOCALHOST))));
    }
    match bare.parse() {
        Ok(address) => Ok(Value::Address(Some(address))),
        Err(_)
            if bare.rsplit_once(':').is_some_and(|(host, port)| {
                host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
                    && port.parse::<u16>().is_ok()
            }) =>
        {
            Err(Rejection::new("carries a port").hint("the port belongs in `listen_port`"))
        }
        Err(_) => Err(Rejection::new("is not an IP address")),
    }
}

fn integer(number: i64, kind: Kind) -> Judged {
    let (min, max) = match kind {
        Kind::Port | Kind::TlsVersion => (0, i64::from(u16::MAX)),
        Kind::Integer { min, max } => (min, max),
        // The upper limit keeps every duration far from overflowing when times are added.
        Kind::Bytes(min) => (min, i64::MAX),
        Kind::Seconds(min) => (min, LONGEST_SECONDS),
        Kind::Milliseconds(min) => (min, LONGEST_SECONDS * 1000),
        _ => (i64::MIN, i64::MAX),
    };
    if number < min {
        Err(Rejection::new(if min == 0 {
            "is negative".to_owned()
        } else {
            format!("is less than {min}")
        }))
    } else if number > max {
        Err(Rejection::new(format!("is more than {max}")))
    } else {
        Ok(Value::Integer(number))
    }
}

/// A hundred years.
const LONGEST_SECONDS: i64 = 100 * 366 * 24 * 3600;

fn decimal(number: f64, kind: Kind) -> Judged {
    #[expect(clippy::cast_precision_loss, reason = "limits are small whole numbers")]
    let min = match kind {
        Kind::DecimalSeconds(min) => min as f64,
        _ => f64::NEG_INFINITY,
    };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let max = LONGEST_SECONDS as f64;
    if !number.is_finite() {
        Err(Rejection::new("is not a finite number"))
    } else if number < min {
        Err(Rejection::new(if min == 0.0 {
            "is negative".to_owned()
        } else {
            format!("is less than {min}")
        }))
    } else if matches!(kind, Kind::DecimalSeconds(_)) && number > max {
        Err(Rejection::new(format!("is more than {max}")))
    } else {
        Ok(Value::Number(number))
    }
}

fn go_duration(read: Option<GoDuration>) -> Judged {
    match read {
        Some(GoDuration(time)) => Ok(Value::Number(time.as_secs_f64())),
        None => {
            Err(Rejection::new("is not a duration").hint("write it with a unit, such as \"5s\""))
        }
    }
}

/// A duration as Go has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GoDuration(pub(crate) Duration);

impl GoDuration {
    /// A bare number is nanoseconds. One below a million, which no source answers within, was meant
    /// as seconds: so it stands in examples of Tyk's manual.
    pub(crate) fn from_number(number: i64) -> Option<Self> {
        let number = u64::try_from(number).ok()?;
        Some(Self(match number {
            0..1_000_000 => Duration::from_secs(number),
            _ => Duration::from_nanos(number),
        }))
    }

    /// Numbers with units, such as `1m30s` or `500ms`, or a bare number.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(number) = text.parse() {
            return Self::from_number(number);
        }
        let mut total = Duration::ZERO;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let (number, behind) = rest.split_at(digits);
            let unit_ends = behind
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(behind.len());
            let (unit, behind) = behind.split_at(unit_ends);
            let unit = match unit {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
            let number: f64 = number.parse().ok()?;
            let part = Duration::try_from_secs_f64(number * unit).ok()?;
            total = total.checked_add(part)?;
            rest = behind;
        }
        let longest = Duration::from_secs(LONGEST_SECONDS.unsigned_abs());
        (!text.is_empty() && total <= longest).then_some(Self(total))
    }
}

fn split_list(value: &str) -> Vec<String> {
    if value.trim().is_empty() {
        return Vec::new();
    }
    value
        .split(',')
        .map(|item| item.trim().to_owned())
        .collect()
}

/// `k:v,k:v`, split at the last colon so that a host may carry a port.
fn split_map(value: &str, secret: bool) -> Result<Vec<(String, String)>, Rejection> {
    split_list(value)
        .into_iter()
        .map(|pair| match pair.rsplit_once(':') {
            Some((name, text)) => Ok((name.to_owned(), text.to_owned())),
            None => {
                // A comma inside a PEM block tears it apart; a part of a key is as secret as the key.
                let hidden = secret || value.contains("-----") || pair.len() > 100;
                let shown = if hidden { "(redacted)" } else { &pair };
                Err(Rejection::new(format!("invalid map item: \"{shown}\""))
                    .hint("write `name:text,name:text`"))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go_are_read_with_their_units_and_bare_numbers_as_they_are_meant() {
        let read = |text: &str| GoDuration::parse(text).map(|duration| duration.0);
        assert_eq!(read("5s"), Some(Duration::from_secs(5)));
        assert_eq!(read("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(read("1.5h"), Some(Duration::from_secs(5400)));
        assert_eq!(read("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(read("30"), Some(Duration::from_secs(30)));
        assert_eq!(read("5000000000"), Some(Duration::from_secs(5)));
        for text in ["", "s", "5", "5x", "-5s", "five", "9999999999h"] {
            assert_eq!(read(text).is_some(), text == "5", "{text}");
        }
    }
}
