//! Whom an API's events are told to, prepared with the snapshot: addresses parsed, templates read.
//!
//! Invariant: what cannot be used as written is said with the API's name when the snapshot is built, not
//! when the event comes.

use std::{fs, path::Path, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::{CONTENT_TYPE, USER_AGENT},
};
use portcullis_apidef::{Api, EventAction, EventKind, Webhook};
use portcullis_config::BasePaths;
use url::Url;

use super::{
    event::Event,
    template::{Escape, Template},
};
use crate::build::{Finding, error, warning};

/// No template is larger.
const LARGEST_TEMPLATE: u64 = 1024 * 1024;

/// What receivers know this kind of caller by.
const AGENT: HeaderValue = HeaderValue::from_static("Tyk-Hookshot");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Fields that say how a message is framed; they are the client library's.
const FRAMING: [&str; 4] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "upgrade",
];

/// The handlers of an API.
#[derive(Default)]
pub struct Handlers(Vec<Handler>);

struct Handler {
    event: EventKind,
    action: Action,
}

/// How somebody is told.
pub enum Action {
    /// By a line in the log, which begins with this.
    Log(String),
    /// By a request.
    Webhook(Arc<Hook>),
}

/// A webhook that can be called.
pub struct Hook {
    /// What logs call it: its name, else where it is, without what may be secret.
    pub label: String,
    /// Method of the request.
    pub method: Method,
    /// Where it goes.
    pub address: Uri,
    /// Its header fields.
    pub fields: HeaderMap,
    /// How long the same event is not told again.
    pub cooldown: Option<Duration>,
    template: Option<Template>,
}

impl Handlers {
    /// Prepares the handlers of an API.
    pub fn prepare(api: &Api, base: &BasePaths, findings: &mut Vec<Finding>) -> Arc<Self> {
        let place = format!("API {}", api.id);
        let mut handlers = Vec::new();
        for handler in &api.event_handlers {
            let action = match &handler.action {
                EventAction::Log { prefix } => Some(Action::Log(prefix.clone())),
                EventAction::Webhook(hook) => {
                    Hook::prepare(hook, handler.event, base, &mut |said| {
                        findings.push(Finding {
                            place: place.clone(),
                            ..said
                        });
                    })
                    .map(|hook| Action::Webhook(Arc::new(hook)))
                }
            };
            handlers.extend(action.map(|action| Handler {
                event: handler.event,
                action,
            }));
        }
        Arc::new(Self(handlers))
    }

    /// Nobody is told anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every webhook that may be called.
    pub fn webhooks(&self) -> impl Iterator<Item = &Arc<Hook>> {
        self.0.iter().filter_map(|handler| match &handler.action {
            Action::Webhook(hook) => Some(hook),
            Action::Log(_) => None,
        })
    }

    /// Who is told of a kind of event.
    pub fn of(&self, event: EventKind) -> impl Iterator<Item = &Action> {
        let heard = self.0.iter().filter(move |handler| handler.event == event);
        heard.map(|handler| &handler.action)
    }
}

impl Hook {
    fn prepare(
        hook: &Webhook,
        event: EventKind,
        base: &BasePaths,
        say: &mut dyn FnMut(Finding),
    ) -> Option<Self> {
        let kind = event;
        let event = kind.name();
        let url = Url::parse(&hook.target)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
        let address = url
            .as_ref()
            .and_then(|url| url.as_str().parse::<Uri>().ok());
        let (Some(url), Some(address)) = (url, address) else {
            // It may hold a token, so it is not shown.
            let name = match hook.name.as_str() {
                "" => String::new(),
                name => format!(" {name:?}"),
            };
            say(error(
                "",
                format!(
                    "webhook{name} for {event} is never called: its target is no absolute URL; expected \
                     http://… or https://…"
                ),
            ));
            return None;
        };
        let label = match hook.name.as_str() {
            "" => url.origin().ascii_serialization(),
            name => name.to_owned(),
        };
        let mut fields = HeaderMap::new();
        fields.insert(USER_AGENT, AGENT);
        for (name, value) in &hook.headers {
            match field(name, value) {
                Some((name, value)) => {
                    fields.insert(name, value);
                }
                None => say(warning(
                    "",
                    format!(
                        "webhook {label} for {event}: the header field {name:?} cannot be sent and is left \
                         out; expected are a field's name that does not frame the message, and a value \
                         without control characters"
                    ),
                )),
            }
        }
        let template = hook.template.as_deref().and_then(|path| {
            template(&base.resolve(path), kind)
                .inspect_err(|reason| {
                    say(warning(
                        "",
                        format!(
                            "webhook {label} for {event}: template {path}: {reason}; the gateway's own \
                             body is sent instead"
                        ),
                    ));
                })
                .ok()
        });
        let is_json = template.is_none() || hook.template.as_deref().is_some_and(is_json);
        if is_json && !fields.contains_key(CONTENT_TYPE) {
            fields.insert(CONTENT_TYPE, JSON);
        }
        let method = match hook.method.as_str() {
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            _ => Method::GET,
        };
        Some(Self {
            label,
            method,
            address,
            fields,
            cooldown: hook.cooldown,
            template,
        })
    }

    /// The body that tells of an event.
    pub fn body(&self, event: &Event) -> String {
        // A template has been tried with its kind of event when it was read.
        self.template
            .as_ref()
            .and_then(|template| template.render(event).ok())
            .unwrap_or_else(|| event.body())
    }
}

fn is_json(path: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|extension| extension == "json")
}

fn field(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    (!FRAMING.contains(&name.as_str())).then_some((name, value))
}

/// A template that can be used for a kind of event.
fn template(path: &Path, event: EventKind) -> Result<Template, String> {
    let about = fs::metadata(path).map_err(|error| format!("it cannot be read: {error}"))?;
    if !about.is_file() {
        return Err("it is no file".to_owned());
    }
    if about.len() > LARGEST_TEMPLATE {
        return Err(format!("it is larger than {LARGEST_TEMPLATE} bytes"));
    }
    let text = fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))?;
    let escape = match path.to_str().is_some_and(is_json) {
        true => Escape::Json,
        false => Escape::Html,
    };
    let template = Template::read(&text, escape).map_err(|error| error.to_string())?;
    template
        .render(&Event::sample(event))
        .map_err(|error| error.to_string())?;
    Ok(template)
}

#[cfg(test)]
mod tests {
    use portcullis_apidef::parse_classic;
    use serde_json::{Value, json};

    use super::*;

    struct Prepared {
        handlers: Arc<Handlers>,
        findings: Vec<String>,
    }

    impl Prepared {
        /// The handlers of an API with one webhook for certificates that have ended, in a directory with
        /// one file.
        fn of(meta: &Value, file: (&str, &str)) -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(file.0), file.1).unwrap();
            let definition = json!({
                "api_id": "a", "use_keyless": true,
                "proxy": {"listen_path": "/a/", "target_url": "http://up.test"},
                "event_handlers": {"events": {"CertificateExpired": [
                    {"handler_name": "eh_web_hook_handler", "handler_meta": meta}
                ]}},
            });
            let api = parse_classic(definition.to_string().as_bytes())
                .unwrap()
                .api;
            let base = BasePaths {
                working_dir: dir.path().to_owned(),
                config_dir: dir.path().to_owned(),
            };
            let mut findings = Vec::new();
            let handlers = Handlers::prepare(&api, &base, &mut findings);
            Self {
                handlers,
                findings: findings.iter().map(ToString::to_string).collect(),
            }
        }

        fn hook(&self) -> &Hook {
            match self.handlers.of(EventKind::CertificateExpired).next() {
                Some(Action::Webhook(hook)) => hook,
                _ => panic!("no webhook: {:?}", self.findings),
            }
        }
    }

    const TARGET: &str = "https://hooks.test/secret-token?key=hidden";

    #[test]
    fn a_template_makes_the_body_and_its_name_the_content_type() {
        let meta = json!({"method": "PUT", "target_path": TARGET, "template_path": "t.json"});
        let prepared = Prepared::of(&meta, ("t.json", "{\"m\": \"{{.Meta.Message}}\"}"));
        assert_eq!(prepared.findings, Vec::<String>::new());
        let hook = prepared.hook();
        let body = hook.body(&Event::sample(EventKind::CertificateExpired));
        assert!(body.starts_with("{\"m\": \"Certificate sample"), "{body}");
        assert_eq!(hook.fields[CONTENT_TYPE], "application/json");
        assert_eq!(hook.fields[USER_AGENT], "Tyk-Hookshot");
        assert_eq!(hook.method, Method::PUT);

        let meta = json!({"method": "POST", "target_path": TARGET, "template_path": "t.txt"});
        let prepared = Prepared::of(&meta, ("t.txt", "{{.Type}}"));
        assert!(!prepared.hook().fields.contains_key(CONTENT_TYPE));
    }

    #[test]
    fn a_template_that_is_not_understood_is_named_and_the_own_body_is_sent() {
        for (name, text, said) in [
            (
                "t.json",
                "{{range .Meta}}{{end}}",
                "template t.json: line 1: `{{range .Meta}}`",
            ),
            (
                "t.json",
                "{{.Meta.Path}}",
                "`.Meta.Path` is no value of CertificateExpired events",
            ),
            ("other.json", "", "template t.json: it cannot be read"),
        ] {
            let meta = json!({"method": "POST", "target_path": TARGET, "template_path": "t.json"});
            let prepared = Prepared::of(&meta, (name, text));
            let [finding] = &prepared.findings[..] else {
                panic!("{:?}", prepared.findings);
            };
            assert!(
                finding.starts_with("API a: webhook https://hooks.test for")
                    && finding.contains(said),
                "{finding}"
            );
            assert!(!finding.contains("secret-token") && !finding.contains("hidden"));
            let event = Event::sample(EventKind::CertificateExpired);
            assert_eq!(prepared.hook().body(&event), event.body());
        }
    }

    #[test]
    fn fields_that_cannot_be_sent_and_targets_that_lead_nowhere_are_said() {
        let meta = json!({"method": "POST", "target_path": TARGET, "header_map": {
            "X-Token": "t", "Content-Length": "3", "bad name": "x", "Content-Type": "text/x",
        }});
        let prepared = Prepared::of(&meta, ("none", ""));
        assert_eq!(prepared.findings.len(), 2, "{:?}", prepared.findings);
        let fields = &prepared.hook().fields;
        assert_eq!(
            (&fields["x-token"], &fields[CONTENT_TYPE]),
            (
                &HeaderValue::from_static("t"),
                &HeaderValue::from_static("text/x")
            )
        );
        for target in ["/relative", "ftp://x.test/", ""] {
            let meta = json!({"name": "pager", "method": "POST", "target_path": target});
            let prepared = Prepared::of(&meta, ("none", ""));
            assert!(prepared.handlers.is_empty());
            assert!(
                prepared.findings[0]
                    .contains("webhook \"pager\" for CertificateExpired is never called")
            );
        }
    }
}
