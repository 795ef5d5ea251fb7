//! Event handlers of an OAS document, as the Classic map from event to handlers.

use serde_json::{Map, Value, json};

use super::{copy, enabled, header_map, list};
use crate::duration::seconds;

/// The `event_handlers` member; `None` when there are no handlers.
pub(super) fn event_handlers(server: &Value) -> Option<Value> {
    let mut events = Map::new();
    for handler in list(&server["eventHandlers"]) {
        let Some(trigger) = handler["trigger"].as_str() else {
            continue;
        };
        if let Value::Array(list) = events.entry(trigger).or_insert_with(|| json!([])) {
            list.push(classic_handler(handler));
        }
    }
    if events.is_empty() {
        None
    } else {
        Some(json!({ "events": events }))
    }
}

fn classic_handler(handler: &Value) -> Value {
    let (name, members) = match handler["type"].as_str().unwrap_or_default() {
        "webhook" => (
            "eh_web_hook_handler",
            [
                ("id", "id"),
                ("name", "name"),
                ("url", "target_path"),
                ("method", "method"),
                ("bodyTemplate", "template_path"),
            ]
            .as_slice(),
        ),
        "log" => ("eh_log_handler", [("logPrefix", "prefix")].as_slice()),
        _ => (
            "eh_dynamic_handler",
            [("id", "id"), ("functionName", "name"), ("path", "path")].as_slice(),
        ),
    };
    let mut meta = Map::new();
    meta.insert("disabled".into(), (!enabled(handler)).into());
    copy(handler, members, &mut meta);
    if let Some(period) = handler["cooldownPeriod"].as_str() {
        // Whole seconds there; a part of one is not lost.
        let seconds = seconds(period).unwrap_or_default().ceil();
        meta.insert("event_timeout".into(), json!(seconds as u64));
    }
    if !handler["headers"].is_null() {
        meta.insert("header_map".into(), header_map(&handler["headers"]));
    }
    json!({ "handler_name": name, "handler_meta": meta })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse_classic, parse_oas};

    #[test]
    fn a_projected_handler_is_the_same_handler() {
        let server = json!({"listenPath": {"value": "/a/"}, "eventHandlers": [
            {"enabled": true, "trigger": "CertificateExpired", "type": "webhook", "name": "pager",
             "method": "POST", "url": "https://hooks.test/", "cooldownPeriod": "1m30s",
             "headers": [{"name": "X-Token", "value": "t"}], "bodyTemplate": "pager.json"},
            {"enabled": true, "trigger": "CertificateExpired", "type": "log", "logPrefix": "p"},
            {"enabled": false, "trigger": "CertificateExpired", "type": "log"},
        ]});
        let classic = json!({
            "api_id": "a", "use_keyless": true, "event_handlers": event_handlers(&server),
            "proxy": {"listen_path": "/a/", "target_url": "http://up.test"},
        });
        let timeout = &classic["event_handlers"]["events"]["CertificateExpired"][0];
        assert_eq!(timeout["handler_meta"]["event_timeout"], 90);
        let oas = json!({
            "openapi": "3.0.3", "info": {"title": "a", "version": "1"}, "paths": {},
            "x-tyk-api-gateway": {
                "info": {"id": "a", "name": "a", "state": {"active": true}},
                "upstream": {"url": "http://up.test"}, "server": server,
            },
        });
        let classic = parse_classic(classic.to_string().as_bytes()).unwrap();
        let oas = parse_oas(oas.to_string().as_bytes()).unwrap();
        assert_eq!(classic.api.event_handlers.len(), 2);
        assert_eq!(classic.api.event_handlers, oas.api.event_handlers);
    }
}
