//! Rules by which error answers are replaced: `error_overrides` of `tyk.conf` and of Classic definitions,
//! `errorOverrides` of OAS ones (outbound sheet 7).
//!
//! Both spellings become the same [`ErrorOverride`]s, those for one status before those for a whole class of
//! them. Whatever cannot be right (an expression, a status, a flag nobody sets, a variable nobody knows) is
//! found here, so that answering a request can only pick a rule.

use http::{HeaderName, HeaderValue};
use regex::Regex;
use serde_json::{Value, json};

use crate::members::{Inner, Shape, canonicalise};
use crate::reader::Node;
use crate::report::{DefinitionError, Report, Warning};

/// Flags a rule can name: those of refusals, those of upstreams that fail, `URS` for their own errors.
pub const OVERRIDE_FLAGS: [&str; 36] = [
    "AMF", "AKI", "TKE", "TKI", "TCV", "EAD", "CRQ", "CMM", "BTL", "CLM", "BIV", "IHD", "RLT",
    "QEX", "UCF", "UCT", "URR", "URT", "EPI", "CAB", "NRS", "DNS", "NRH", "NHU", "CBO", "CDC",
    "UPE", "TLE", "TLI", "TLM", "TLN", "TLH", "TLP", "TLA", "TLC", "URS",
];

/// One rule: errors that fit are answered with something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorOverride {
    /// Statuses it is about.
    pub status: ErrorStatus,
    /// What else has to fit.
    pub matching: ErrorMatch,
    /// What the client is told.
    pub answer: ErrorAnswer,
}

/// The statuses a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorStatus {
    /// This one.
    Exact(u16),
    /// Every one that begins with this digit: 4 or 5.
    Class(u16),
}

impl ErrorStatus {
    /// Whether a status is one of them.
    #[must_use]
    pub fn includes(self, status: u16) -> bool {
        match self {
            Self::Exact(exact) => status == exact,
            Self::Class(class) => status / 100 == class,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(class) = text.strip_suffix("xx") {
            return matches!(class, "4" | "5")
                .then(|| Self::Class(if class == "4" { 4 } else { 5 }));
        }
        let status = text
            .parse()
            .ok()
            .filter(|status| (400..600).contains(status));
        status.filter(|_| text.len() == 3).map(Self::Exact)
    }
}

/// What of an error has to fit beside its status. Nothing at all fits every error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorMatch {
    /// Its flag, one of [`OVERRIDE_FLAGS`].
    pub flag: Option<String>,
    /// An expression that is good, on the gateway's message or the beginning of the upstream's body.
    pub message: Option<String>,
    /// A member of the upstream's JSON body, step by step, and its value as text.
    pub member: Option<(Vec<String>, String)>,
}

/// What the client is told instead.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorAnswer {
    /// Another status; 200 to 599, one that has a body.
    pub status: Option<u16>,
    /// Fields that are set; valid names and values, lower-cased names.
    pub set: Vec<(String, String)>,
    /// Fields that are left out, lower-cased names.
    pub removed: Vec<String>,
    /// Another body.
    pub body: Option<Vec<BodyPart>>,
    /// Another message, in the usual form of errors; not where there is a body.
    pub message: Option<String>,
}

/// A piece of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyPart {
    /// As it stands.
    Text(String),
    /// The status that the client is told, as digits.
    Status,
}

/// How a format spells the members of rules.
pub(crate) struct Spelling {
    message_pattern: &'static str,
    body_field: &'static str,
    body_value: &'static str,
    status_code: &'static str,
}

/// As in `tyk.conf` and Classic definitions.
pub(crate) const CLASSIC: Spelling = Spelling {
    message_pattern: "message_pattern",
    body_field: "body_field",
    body_value: "body_value",
    status_code: "status_code",
};

/// As in OAS definitions.
pub(crate) const OAS: Spelling = Spelling {
    message_pattern: "messagePattern",
    body_field: "bodyField",
    body_value: "bodyValue",
    status_code: "statusCode",
};

/// A rule of a Classic definition.
pub(crate) static CLASSIC_RULE: Shape = Shape {
    leaves: &[],
    inner: &[
        ("match", Inner::Object(&CLASSIC_MATCH)),
        ("response", Inner::Object(&CLASSIC_RESPONSE)),
    ],
    foreign: &[],
};

static CLASSIC_MATCH: Shape = Shape {
    leaves: &["body_field", "body_value", "flag", "message_pattern"],
    inner: &[],
    foreign: &[],
};

static CLASSIC_RESPONSE: Shape = Shape {
    leaves: &["body", "headers", "message", "status_code", "template"],
    inner: &[],
    foreign: &[],
};

/// A rule of an OAS definition.
pub(crate) static OAS_RULE: Shape = Shape {
    leaves: &[],
    inner: &[
        ("match", Inner::Object(&OAS_MATCH)),
        ("response", Inner::Object(&OAS_RESPONSE)),
    ],
    foreign: &["x-"],
};

static OAS_MATCH: Shape = Shape {
    leaves: &["bodyField", "bodyValue", "flag", "messagePattern"],
    inner: &[],
    foreign: &["x-"],
};

static OAS_RESPONSE: Shape = Shape {
    leaves: &["body", "headers", "message", "statusCode", "template"],
    inner: &[],
    foreign: &["x-"],
};

static GATEWAY: Shape = Shape {
    leaves: &[],
    inner: &[("error_overrides", Inner::MapOfLists(&CLASSIC_RULE))],
    foreign: &[],
};

/// The rules of the gateway as a whole: the value of `error_overrides` in its configuration file.
///
/// # Errors
/// Everything that is wrong with them, by key path.
pub fn gateway_error_overrides(
    rules: &Value,
) -> Result<(Vec<ErrorOverride>, Vec<Warning>), Vec<DefinitionError>> {
    let report = Report::default();
    let mut value = json!({ "error_overrides": rules });
    canonicalise(&mut value, &GATEWAY, &report);
    let root = Node::root(&value, &report);
    let rules = read(&root.at("error_overrides"), &CLASSIC);
    report.finish().map(|warnings| (rules, warnings))
}

/// Reads every rule; those for one status first, else in their order.
pub(crate) fn read(map: &Node<'_, '_>, spelling: &'static Spelling) -> Vec<ErrorOverride> {
    let mut rules = Vec::new();
    for (key, list) in map.members() {
        let status = ErrorStatus::parse(key);
        if status.is_none() {
            list.error(
                format!("{key:?} is no status of errors"),
                "400 to 599, 4xx or 5xx",
                "",
            );
        }
        for entry in list.elements() {
            let matching = matching(&entry.at("match"), spelling);
            let answer = answer(&entry.at("response"), spelling);
            if let Some(status) = status {
                rules.push(ErrorOverride {
                    status,
                    matching,
                    answer,
                });
            }
        }
    }
    rules.sort_by_key(|rule| rule.status);
    rules
}

fn matching(node: &Node<'_, '_>, spelling: &'static Spelling) -> ErrorMatch {
    let written =
        |node: &Node<'_, '_>| Some(node.string().to_owned()).filter(|text| !text.is_empty());
    let flag = node.at("flag");
    if !flag.string().is_empty() && !OVERRIDE_FLAGS.contains(&flag.string()) {
        flag.error(
            format!("no error has the flag {:?}", flag.string()),
            OVERRIDE_FLAGS.join(", "),
            "",
        );
    }
    let pattern = node.at(spelling.message_pattern);
    if let Err(error) = Regex::new(pattern.string()) {
        let error = error.to_string().replace('\n', " ");
        pattern.error(
            format!("broken regular expression {:?}: {error}", pattern.string()),
            "an RE2 expression",
            "",
        );
    }
    let (field, value) = (node.at(spelling.body_field), node.at(spelling.body_value));
    let steps: Vec<String> = field.string().split('.').map(str::to_owned).collect();
    let plain = |step: &String| {
        !step.is_empty() && !step.contains(['*', '?', '#', '|', '@', '\\', '!', '{', '['])
    };
    let member = match (field.string(), value.string()) {
        // One without the other says nothing, as in Tyk.
        ("", _) | (_, "") => None,
        (_, value) if steps.iter().all(plain) => Some((steps, value.to_owned())),
        (path, _) => {
            field.error(
                format!("{path:?} is no plain path"),
                "names of members and positions in lists, joined by dots, such as error.code or errors.0.code",
                "",
            );
            None
        }
    };
    let matching = ErrorMatch {
        flag: written(&flag),
        message: written(&pattern),
        member,
    };
    if let ErrorMatch {
        flag: None,
        message: None,
        member: Some(_),
    } = matching
    {
        field.warn(
            "is not looked at in errors of the gateway's own, so the rule replaces all of those with its status as \
             well, as in Tyk; the flag URS keeps it to upstreams (5xx)",
        );
    }
    matching
}

fn answer(node: &Node<'_, '_>, spelling: &'static Spelling) -> ErrorAnswer {
    let code = node.at(spelling.status_code);
    let status = match code.integer(0..=599) {
        None | Some(0) => None,
        Some(bodiless @ (1..200 | 204 | 205 | 304)) => {
            code.error(
                format!("an error cannot be answered with {bodiless}, which has no body"),
                "200 to 599, except 204, 205 and 304; 0 keeps the status",
                "",
            );
            None
        }
        Some(status) => u16::try_from(status).ok(),
    };
    let mut answer = ErrorAnswer {
        status,
        ..ErrorAnswer::default()
    };
    let headers = node.at("headers");
    for (name, value) in headers.members() {
        header(name, &value, &mut answer);
    }
    let message = node.at("message").string();
    let body = node.at("body");
    if body.string().is_empty() {
        answer.message = Some(message.to_owned()).filter(|text| !text.is_empty());
        let template = node.at("template");
        if !template.string().is_empty() {
            template.warn("templates in files are not read yet: errors keep their usual form here");
        }
    } else {
        answer.body = parts(&body, message);
    }
    answer
}

/// Fields that are about the connection or the length of the message, which only its writer knows.
const WRITTEN_HERE: [&str; 7] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
    "x-generator",
];

fn header(name: &str, value: &Node<'_, '_>, answer: &mut ErrorAnswer) {
    let Ok(known) = name.parse::<HeaderName>() else {
        value.error(format!("{name:?} is no header name"), "a header name", "");
        return;
    };
    let text = value.string();
    if WRITTEN_HERE.contains(&known.as_str()) {
        value.warn("has no effect: the gateway writes this field itself");
    } else if text.is_empty() {
        answer.removed.push(known.as_str().to_owned());
    } else if HeaderValue::from_str(text).is_err() {
        value.error(
            format!("{text:?} cannot be the value of a header"),
            "one line of visible characters",
            "",
        );
    } else {
        answer
            .set
            .push((known.as_str().to_owned(), text.to_owned()));
    }
}

/// A body as pieces. Only the status is not known before there is an error.
fn parts(node: &Node<'_, '_>, message: &str) -> Option<Vec<BodyPart>> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = node.string();
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        let (variable, after) = after.split_once("}}").unwrap_or(("", after));
        match variable.trim() {
            ".StatusCode" | ".statusCode" => {
                parts.push(BodyPart::Text(std::mem::take(&mut text)));
                parts.push(BodyPart::Status);
            }
            ".Message" => push_escaped(message, &mut text),
            // What is wrong with a request's body: nobody looks into bodies here.
            ".InvalidParams" => {}
            other => {
                node.error(
                    format!("{{{{{other}}}}} stands for nothing"),
                    "{{.StatusCode}} and {{.Message}}",
                    "",
                );
                return None;
            }
        }
        rest = after;
    }
    text.push_str(rest);
    parts.push(BodyPart::Text(text));
    parts.retain(|part| !matches!(part, BodyPart::Text(text) if text.is_empty()));
    Some(parts)
}

/// A message inside a body: its marks do not end a JSON text and begin no XML element.
fn push_escaped(message: &str, out: &mut String) {
    for character in message.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(value: &Value) -> Vec<ErrorOverride> {
        let (rules, warnings) = gateway_error_overrides(value).expect("good rules");
        assert_eq!(warnings, []);
        rules
    }

    fn problem(value: &Value) -> String {
        let problems = gateway_error_overrides(value).expect_err("bad rules");
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].to_string()
    }

    #[test]
    fn rules_for_one_status_stand_before_those_for_a_class_and_keep_their_order() {
        let named = |body: &str| json!({"response": {"body": body}});
        let read = rules(
            &json!({"5xx": [named("a")], "4xx": [named("b")], "500": [named("c"), named("d")]}),
        );
        let order: Vec<_> = read
            .iter()
            .map(|rule| match rule.answer.body.as_deref() {
                Some([BodyPart::Text(text)]) => text.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(order, ["c", "d", "b", "a"]);
        assert!(read[0].status.includes(500) && !read[0].status.includes(501));
        assert!(read[3].status.includes(599) && !read[3].status.includes(499));
    }

    #[test]
    fn a_body_may_hold_the_status_and_the_rules_own_message() {
        let read = rules(&json!({"4xx": [{"response": {
            "body": "{\"s\": {{.StatusCode}}, \"m\": \"{{ .Message }}\"}", "message": "a \"b\" <c>",
        }}]}));
        let text = |text: &str| BodyPart::Text(text.to_owned());
        assert_eq!(
            read[0].answer.body,
            Some(vec![
                text("{\"s\": "),
                BodyPart::Status,
                text(", \"m\": \"a &#34;b&#34; &lt;c&gt;\"}")
            ])
        );
        assert_eq!(read[0].answer.message, None, "it is in the body");
    }

    #[test]
    fn fields_are_set_or_left_out() {
        let read = rules(
            &json!({"401": [{"response": {"headers": {"WWW-Authenticate": "Bearer", "Server": ""}}}]}),
        );
        assert_eq!(
            read[0].answer.set,
            [("www-authenticate".into(), "Bearer".into())]
        );
        assert_eq!(read[0].answer.removed, ["server"]);
        let (_, warnings) = gateway_error_overrides(
            &json!({"401": [{"response": {"headers": {"Content-Length": "7"}}}]}),
        )
        .expect("usable");
        assert!(
            warnings[0].to_string().contains("writes this field itself"),
            "{warnings:?}"
        );
    }

    #[test]
    fn what_cannot_be_right_is_an_error_with_its_place() {
        let with = |rule: Value| problem(&json!({"500": [rule]}));
        for (told, parts) in [
            (
                with(json!({"match": {"message_pattern": "(a"}})),
                [
                    "error_overrides.500[0].match.message_pattern: broken regular expression \"(a\"",
                    "RE2",
                ],
            ),
            (
                with(json!({"match": {"flag": "XYZ"}})),
                ["500[0].match.flag", "TLE"],
            ),
            (
                with(json!({"match": {"body_field": "a.#.b", "body_value": "c"}})),
                ["500[0].match.body_field", "errors.0.code"],
            ),
            (
                with(json!({"response": {"status_code": 204}})),
                ["500[0].response.status_code", "200 to 599"],
            ),
            (
                with(json!({"response": {"status_code": 700}})),
                ["500[0].response.status_code", "700"],
            ),
            (
                with(json!({"response": {"body": "{{.Secret}}"}})),
                ["500[0].response.body", "{{.Message}}"],
            ),
            (
                with(json!({"response": {"headers": {"a b": "c"}}})),
                ["500[0].response.headers.a b", "header name"],
            ),
            (
                with(json!({"response": {"headers": {"a": "b\r\nc"}}})),
                ["500[0].response.headers.a", "one line"],
            ),
            (
                problem(&json!({"200": [{}]})),
                ["error_overrides.200", "4xx or 5xx"],
            ),
            (
                problem(&json!({"6xx": [{}]})),
                ["error_overrides.6xx", "4xx or 5xx"],
            ),
        ] {
            for part in parts {
                assert!(told.contains(part), "{told}");
            }
        }
    }

    #[test]
    fn a_rule_of_a_member_alone_is_warned_of_since_it_fits_every_error_of_the_gateways_own() {
        let warnings = |flag: &str| {
            let member = json!({"body_field": "a", "body_value": "b", "flag": flag});
            let rules = json!({"500": [{"match": member, "response": {"status_code": 502}}]});
            gateway_error_overrides(&rules).expect("usable").1
        };
        let alone = warnings("");
        assert_eq!(alone.len(), 1, "{alone:?}");
        let told = alone[0].to_string();
        assert!(
            told.contains("match.body_field") && told.contains("URS"),
            "{told}"
        );
        assert_eq!(warnings("URS"), []);
    }

    #[test]
    fn members_nobody_knows_are_warned_of() {
        let (_, warnings) =
            gateway_error_overrides(&json!({"500": [{"response": {"code": 1, "bodi": "x"}}]}))
                .expect("usable");
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[1].unknown_member || warnings[0].unknown_member);
    }
}
