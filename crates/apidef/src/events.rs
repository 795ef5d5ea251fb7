//! Who is told when something happens to an API: event handlers of both formats.
//!
//! A handler that this gateway would never call, because its event is not fired or its kind is not here,
//! is left out and named in a warning: nobody should wait for news that does not come.

use std::{collections::BTreeSet, fmt, time::Duration};

use crate::duration::duration;
use crate::reader::Node;

/// What can happen to an API, as far as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// A certificate ends within the days of the warning threshold.
    CertificateExpiringSoon,
    /// A certificate has ended.
    CertificateExpired,
    /// A circuit breaker opened.
    BreakerTripped,
    /// A circuit breaker closed again.
    BreakerReset,
    /// A circuit breaker opened or closed.
    BreakerTriggered,
    /// The host of an upstream fails its tests.
    HostDown,
    /// It no longer does.
    HostUp,
}

impl EventKind {
    /// Every kind, in the order of the variants.
    pub const ALL: [Self; 7] = [
        Self::CertificateExpiringSoon,
        Self::CertificateExpired,
        Self::BreakerTripped,
        Self::BreakerReset,
        Self::BreakerTriggered,
        Self::HostDown,
        Self::HostUp,
    ];

    /// The name that definitions and receivers know.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CertificateExpiringSoon => "CertificateExpiringSoon",
            Self::CertificateExpired => "CertificateExpired",
            Self::BreakerTripped => "BreakerTripped",
            Self::BreakerReset => "BreakerReset",
            Self::BreakerTriggered => "BreakerTriggered",
            Self::HostDown => "HostDown",
            Self::HostUp => "HostUp",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Somebody to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHandler {
    /// Of what.
    pub event: EventKind,
    /// How.
    pub action: EventAction,
}

/// How somebody is told of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventAction {
    /// By a line in the log.
    Log {
        /// What the line begins with; may be empty.
        prefix: String,
    },
    /// By an HTTP request.
    Webhook(Webhook),
}

/// An HTTP request that tells of an event.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// What people call it; may be empty.
    pub name: String,
    /// Its method.
    pub method: WebhookMethod,
    /// Where it goes, as written.
    pub target: String,
    /// Its header fields, as written.
    pub headers: Vec<(String, String)>,
    /// The file its body is made from; `None` for the gateway's own body.
    pub template: Option<String>,
    /// How long the same event is not told again; `None` for always.
    pub cooldown: Option<Duration>,
}

/// Addresses and header fields of receivers hold tokens, so they are not shown.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("method", &self.method)
            .field("headers", &self.headers.len())
            .field("template", &self.template)
            .field("cooldown", &self.cooldown)
            .finish_non_exhaustive()
    }
}

/// The methods that webhooks may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookMethod {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
}

impl WebhookMethod {
    const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// As it stands in a request.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// What of the handlers of a definition is never called.
#[derive(Default)]
struct Unheard<'v> {
    events: BTreeSet<&'v str>,
    kinds: BTreeSet<&'v str>,
}

impl<'v> Unheard<'v> {
    /// The kind of event, if it is one that is fired.
    fn event(&mut self, name: &'v str) -> Option<EventKind> {
        let kind = EventKind::of(name);
        if kind.is_none() {
            self.events.insert(name);
        }
        kind
    }

    fn say(&self, place: &Node<'_, '_>) {
        let listed = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(", ");
        if !self.events.is_empty() {
            place.warn(format!(
                "not fired yet, so their handlers are never called: {}",
                listed(&self.events)
            ));
        }
        if !self.kinds.is_empty() {
            place.warn(format!(
                "handlers of these kinds are not here yet and never called: {}",
                listed(&self.kinds)
            ));
        }
    }
}

/// The handlers of a Classic definition.
pub(crate) fn classic(root: &Node<'_, '_>) -> Vec<EventHandler> {
    let handlers = root.at("event_handlers");
    let events = handlers.at("events");
    let mut unheard = Unheard::default();
    let mut found = Vec::new();
    for (name, listed) in events.members() {
        for handler in listed.elements() {
            let meta = handler.at("handler_meta");
            if meta.at("disabled").bool() {
                continue;
            }
            let Some(event) = unheard.event(name) else {
                continue;
            };
            let action = match handler.at("handler_name").string() {
                "eh_log_handler" => EventAction::Log {
                    prefix: meta.at("prefix").string().to_owned(),
                },
                "eh_web_hook_handler" => EventAction::Webhook(Webhook {
                    name: meta.at("name").string().to_owned(),
                    method: method(&meta.at("method")),
                    target: meta.at("target_path").string().to_owned(),
                    headers: pairs(meta.at("header_map").text_members()),
                    template: optional(meta.at("template_path").string()),
                    cooldown: duration(&meta.at("event_timeout")),
                }),
                kind => {
                    unheard.kinds.insert(kind);
                    continue;
                }
            };
            found.push(EventHandler { event, action });
        }
    }
    unheard.say(&events);
    found
}

/// The handlers of an OAS definition, from its `server` object.
pub(crate) fn oas(server: &Node<'_, '_>) -> Vec<EventHandler> {
    let handlers = server.at("eventHandlers");
    let mut unheard = Unheard::default();
    let mut found = Vec::new();
    for handler in handlers.elements().filter(|handler| handler.is_enabled()) {
        let Some(event) = unheard.event(handler.at("trigger").string()) else {
            continue;
        };
        let action = match handler.at("type").string() {
            "log" => EventAction::Log {
                prefix: handler.at("logPrefix").string().to_owned(),
            },
            "webhook" => {
                let fields = handler.at("headers");
                let fields = fields.elements().map(|field| {
                    let (name, value) = (field.at("name").string(), field.at("value").string());
                    (name, value)
                });
                EventAction::Webhook(Webhook {
                    name: handler.at("name").string().to_owned(),
                    method: method(&handler.at("method")),
                    target: handler.at("url").string().to_owned(),
                    headers: pairs(fields),
                    template: optional(handler.at("bodyTemplate").string()),
                    cooldown: duration(&handler.at("cooldownPeriod")),
                })
            }
            kind => {
                unheard.kinds.insert(kind);
                continue;
            }
        };
        found.push(EventHandler { event, action });
    }
    unheard.say(&handlers);
    found
}

fn method(node: &Node<'_, '_>) -> WebhookMethod {
    let written = node.string();
    let known = WebhookMethod::ALL
        .into_iter()
        .find(|method| method.as_str().eq_ignore_ascii_case(written));
    known.unwrap_or_else(|| {
        node.warn(format!(
            "{written:?} is no method of webhooks (GET, POST, PUT, PATCH or DELETE): GET is used"
        ));
        WebhookMethod::Get
    })
}

fn pairs<'v>(fields: impl IntoIterator<Item = (&'v str, &'v str)>) -> Vec<(String, String)> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    fields.into_iter().map(owned).collect()
}

fn optional(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{parse_classic, parse_oas};

    fn of_classic(handlers: &Value) -> (Vec<EventHandler>, Vec<String>) {
        let text = json!({
            "api_id": "a", "use_keyless": true, "event_handlers": handlers,
            "proxy": {"listen_path": "/a/", "target_url": "http://up.test"},
        });
        let parsed = parse_classic(text.to_string().as_bytes()).unwrap();
        let warnings = parsed.warnings.iter().map(ToString::to_string).collect();
        (parsed.api.event_handlers, warnings)
    }

    fn of_oas(handlers: &Value) -> (Vec<EventHandler>, Vec<String>) {
        let text = json!({
            "openapi": "3.0.3", "info": {"title": "a", "version": "1"}, "paths": {},
            "x-tyk-api-gateway": {
                "info": {"id": "a", "name": "a", "state": {"active": true}},
                "upstream": {"url": "http://up.test"},
                "server": {"listenPath": {"value": "/a/"}, "eventHandlers": handlers},
            },
        });
        let parsed = parse_oas(text.to_string().as_bytes()).unwrap();
        let warnings = parsed.warnings.iter().map(ToString::to_string).collect();
        (parsed.api.event_handlers, warnings)
    }

    fn webhook() -> Webhook {
        Webhook {
            name: "pager".to_owned(),
            method: WebhookMethod::Post,
            target: "https://hooks.test/x".to_owned(),
            headers: vec![("X-Token".to_owned(), "t".to_owned())],
            template: Some("templates/pager.json".to_owned()),
            cooldown: Some(Duration::from_secs(90)),
        }
    }

    #[test]
    fn both_formats_name_the_same_handlers() {
        let expected = vec![
            EventHandler {
                event: EventKind::CertificateExpired,
                action: EventAction::Webhook(webhook()),
            },
            EventHandler {
                event: EventKind::CertificateExpiringSoon,
                action: EventAction::Log {
                    prefix: "certs".to_owned(),
                },
            },
        ];
        let classic = json!({"events": {
            "CertificateExpired": [{"handler_name": "eh_web_hook_handler", "handler_meta": {
                "name": "pager", "method": "post", "target_path": "https://hooks.test/x",
                "header_map": {"X-Token": "t"}, "template_path": "templates/pager.json",
                "event_timeout": 90,
            }}],
            "CertificateExpiringSoon": [
                {"handler_name": "eh_log_handler", "handler_meta": {"prefix": "certs"}},
                {"handler_name": "eh_log_handler", "handler_meta": {"disabled": true}},
            ],
        }});
        assert_eq!(of_classic(&classic), (expected.clone(), vec![]));
        let oas = json!([
            {"enabled": true, "trigger": "CertificateExpired", "type": "webhook", "name": "pager",
             "method": "POST", "url": "https://hooks.test/x", "cooldownPeriod": "1m30s",
             "headers": [{"name": "X-Token", "value": "t"}], "bodyTemplate": "templates/pager.json"},
            {"enabled": true, "trigger": "CertificateExpiringSoon", "type": "log", "logPrefix": "certs"},
            {"enabled": false, "trigger": "CertificateExpired", "type": "log"},
        ]);
        assert_eq!(of_oas(&oas), (expected, vec![]));
    }

    #[test]
    fn what_is_never_called_is_said_once() {
        let log = json!({"handler_name": "eh_log_handler", "handler_meta": {}});
        let script = json!({"handler_name": "eh_dynamic_handler", "handler_meta": {"name": "f"}});
        let (found, warnings) = of_classic(&json!({"events": {
            "AuthFailure": [log, log],
            "KeyExpired": [log],
            "CertificateExpired": [log, script, script],
        }}));
        assert_eq!(found.len(), 1);
        assert_eq!(
            warnings,
            [
                "event_handlers.events: not fired yet, so their handlers are never called: \
                 AuthFailure, KeyExpired",
                "event_handlers.events: handlers of these kinds are not here yet and never called: \
                 eh_dynamic_handler",
            ]
        );
        let (found, warnings) = of_oas(&json!([
            {"enabled": true, "trigger": "QuotaExceeded", "type": "webhook", "url": "http://h.test"},
        ]));
        assert_eq!((found.len(), warnings.len()), (0, 1), "{warnings:?}");
    }

    #[test]
    fn an_unknown_method_becomes_get_and_is_said() {
        let (found, warnings) = of_classic(&json!({"events": {"CertificateExpired": [
            {"handler_name": "eh_web_hook_handler",
             "handler_meta": {"method": "BREW", "target_path": "http://h.test"}},
        ]}}));
        let [handler] = &found[..] else {
            panic!("{found:?}")
        };
        assert!(
            matches!(&handler.action, EventAction::Webhook(hook) if hook.method == WebhookMethod::Get)
        );
        assert!(warnings[0].contains("\"BREW\""), "{warnings:?}");
    }

    #[test]
    fn addresses_and_fields_of_receivers_are_not_shown() {
        let shown = format!("{:?}", webhook());
        assert!(
            !shown.contains("hooks.test") && !shown.contains("\"t\""),
            "{shown}"
        );
    }
}
