//! What a gateway says about certificates, as text for people.
//!
//! The answers are read member by member: what a gateway of another version leaves out is left out.

use std::fmt::Write as _;

use portcullis_pki::names::printable;
use serde_json::Value;

use super::super::when;
use crate::table::table;

/// The detailed list.
pub fn details(certificates: &[Value]) -> String {
    let heads = ["ID", "SUBJECT", "ISSUER", "EXPIRES", "KEY", "CA", "NAMES"].map(str::to_owned);
    let rows = certificates.iter().map(|certificate| {
        [
            text(certificate, "id"),
            text(certificate, "subject_cn"),
            text(certificate, "issuer_cn"),
            date(&text(certificate, "not_after")),
            yes_or_no(certificate, "has_private"),
            yes_or_no(certificate, "is_ca"),
            texts(certificate, "dns_names"),
        ]
    });
    table(std::iter::once(heads).chain(rows))
}

/// One entry of the store.
pub fn one(certificate: &Value) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "{name:<12} {value}");
        }
    };
    let common_name = |whose: &str| {
        certificate
            .get(whose)
            .map_or_else(String::new, |name| text(name, "CommonName"))
    };
    line("id", &text(certificate, "id"));
    line("fingerprint", &text(certificate, "fingerprint"));
    line("subject", &common_name("subject"));
    line("issuer", &common_name("issuer"));
    line("names", &texts(certificate, "dns_names"));
    line("valid from", &text(certificate, "not_before"));
    line("valid until", &text(certificate, "not_after"));
    line("private key", &yes_or_no(certificate, "has_private"));
    line("authority", &yes_or_no(certificate, "is_ca"));
    out
}

/// The entries of an inventory.
fn entries(inventory: &Value) -> &[Value] {
    inventory
        .get("certificates")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The inventory as a table, first what expires first; with what would be lost when it is asked for.
pub fn inventory(inventory: &Value, with_losses: bool) -> String {
    let left = |entry: &Value| entry.get("days_left").and_then(Value::as_i64);
    let mut sorted: Vec<&Value> = entries(inventory).iter().collect();
    // What cannot be read comes first: nobody knows when it ends.
    sorted.sort_by_key(|entry| left(entry).unwrap_or(i64::MIN));
    if sorted.is_empty() {
        return "no certificates\n".to_owned();
    }
    let heads = ["EXPIRES", "LEFT", "SUBJECT", "FROM", "USED BY"].map(str::to_owned);
    let rows = sorted.iter().map(|entry| {
        [
            date(&text(entry, "not_after")),
            match left(entry) {
                Some(days) => when::days_left(days),
                None => text(entry, "problem"),
            },
            text(entry, "subject"),
            source(entry),
            users(entry).join(", "),
        ]
    });
    let mut out = table(std::iter::once(heads).chain(rows));
    if with_losses {
        for entry in sorted {
            let losses = entry.get("without_it").and_then(Value::as_array);
            for loss in losses.map_or(&[][..], Vec::as_slice) {
                let _ = writeln!(
                    out,
                    "without {}: {}",
                    text(entry, "subject"),
                    text(loss, "text")
                );
            }
        }
    }
    out
}

/// Where a certificate is.
fn source(entry: &Value) -> String {
    match text(entry, "source").as_str() {
        "store" => text(entry, "id"),
        "file" => text(entry, "file"),
        other => other.to_owned(),
    }
}

/// The places that name a certificate, in short.
fn users(entry: &Value) -> Vec<String> {
    let users = entry.get("used_by").and_then(Value::as_array);
    users
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .map(|user| {
            let key = text(user, "key");
            let place = match text(user, "api_id").as_str() {
                "" => key,
                api => format!("API {api} ({key})"),
            };
            match text(user, "host").as_str() {
                "" => place,
                host => format!("{place} for {host}"),
            }
        })
        .collect()
}

fn text(value: &Value, member: &str) -> String {
    value
        .get(member)
        .and_then(Value::as_str)
        .map_or_else(String::new, printable)
}

fn texts(value: &Value, member: &str) -> String {
    let items = value.get(member).and_then(Value::as_array);
    let items = items.map_or(&[][..], Vec::as_slice).iter();
    let items: Vec<String> = items.filter_map(Value::as_str).map(printable).collect();
    items.join(", ")
}

fn yes_or_no(value: &Value, member: &str) -> String {
    match value.get(member).and_then(Value::as_bool) {
        Some(true) => "yes".to_owned(),
        Some(false) => "no".to_owned(),
        None => String::new(),
    }
}

/// The day of a moment in RFC 3339.
fn date(moment: &str) -> String {
    moment.split('T').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_inventory_begins_with_what_expires_first_and_says_what_would_be_lost() {
        let answer = json!({"certificates": [
            {"source": "file", "file": "/late.pem", "subject": "late", "not_after": "2028-01-01T00:00:00Z",
             "days_left": 365, "used_by": []},
            {"source": "store", "id": "oa", "subject": "soon", "not_after": "2027-01-11T00:00:00Z", "days_left": 10,
             "used_by": [{"role": "server", "key": "certificates", "api_id": "x", "host": "h.test"}],
             "without_it": [{"text": "h.test is not served"}]},
        ]});
        let shown = inventory(&answer, false);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(
            lines[1].starts_with("2027-01-11  10 days left   soon"),
            "{shown}"
        );
        assert!(
            lines[1].ends_with("oa         API x (certificates) for h.test"),
            "{shown}"
        );
        assert!(lines[2].contains("late") && lines.len() == 3, "{shown}");
        assert!(inventory(&answer, true).ends_with("without soon: h.test is not served\n"));
    }

    #[test]
    fn what_a_gateway_says_cannot_reach_the_terminal() {
        let answer = json!({"subject": {"CommonName": "x\u{1b}[2J"}});
        assert!(!one(&answer).contains('\u{1b}'));
    }
}
