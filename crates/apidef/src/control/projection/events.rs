//! Event handlers of an OAS document, as the Classic map from event to handlers.

use serde_json::{Map, Value, json};

use super::{copy, enabled, header_map, list};

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
                ("cooldownPeriod", "cooldown_period"),
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
    if !handler["headers"].is_null() {
        meta.insert("header_map".into(), header_map(&handler["headers"]));
    }
    json!({ "handler_name": name, "handler_meta": meta })
}
