//! What a gateway says about certificates, as text for people.
//!
//! The answers are read member by member: what a gateway of another version leaves out is left out.

use std::fmt::Write as _;

use portcullis_pki::names::printable;
use serde_json::Value;

use super::super::when;

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

/// Takes out of an inventory what is good for more than `days`.
pub fn keep_expiring(inventory: &mut Value, days: i64, now: i64) {
    if let Some(Value::Array(entries)) = inventory.get_mut("certificates") {
        entries.retain(|entry| left(entry, now).is_none_or(|left| left <= days));
    }
}

/// Days until an entry expires.
fn left(entry: &Value, now: i64) -> Option<i64> {
    let end = when::parse(entry.get("not_after")?.as_str()?).ok()?;
    Some((end - now).div_euclid(86_400))
}

/// The inventory as a table, first what expires first.
pub fn inventory(inventory: &Value, now: i64) -> String {
    let mut sorted: Vec<&Value> = entries(inventory).iter().collect();
    sorted.sort_by_key(|entry| left(entry, now).unwrap_or(i64::MIN));
    if sorted.is_empty() {
        return "no certificates\n".to_owned();
    }
    let heads = ["EXPIRES", "LEFT", "SUBJECT", "ROLE", "FROM", "USED BY"].map(str::to_owned);
    let rows = sorted.into_iter().map(|entry| {
        [
            date(&text(entry, "not_after")),
            left(entry, now).map_or_else(String::new, when::days_left),
            text(entry, "subject"),
            texts(entry, "roles"),
            text(entry, "source"),
            users(entry).join(", "),
        ]
    });
    table(std::iter::once(heads).chain(rows))
}

/// What uses the certificate of an id.
pub fn users_of(inventory: &Value, id: &str) -> Vec<String> {
    entries(inventory)
        .iter()
        .filter(|entry| text(entry, "id") == id)
        .flat_map(users)
        .collect()
}

fn users(entry: &Value) -> Vec<String> {
    let users = entry.get("used_by").and_then(Value::as_array);
    users.map_or_else(Vec::new, |users| {
        users
            .iter()
            .filter_map(Value::as_str)
            .map(printable)
            .collect()
    })
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

/// Aligned columns.
fn table<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_inventory_begins_with_what_expires_first_and_can_be_cut_to_it() {
        let now = when::parse("2027-01-01").unwrap();
        let mut answer = json!({"certificates": [
            {"id": "b", "subject": "late", "not_after": "2028-01-01T00:00:00Z", "used_by": []},
            {"id": "a", "subject": "soon", "not_after": "2027-01-11T00:00:00Z", "used_by": ["API `x`"]},
        ]});
        let lines = inventory(&answer, now);
        let lines: Vec<&str> = lines.lines().collect();
        assert!(
            lines[1].starts_with("2027-01-11  10 days left"),
            "{lines:?}"
        );
        assert!(
            lines[1].ends_with("API `x`") && lines[2].contains("late"),
            "{lines:?}"
        );
        assert_eq!(users_of(&answer, "a"), ["API `x`"]);
        keep_expiring(&mut answer, 30, now);
        assert_eq!(entries(&answer).len(), 1);
    }

    #[test]
    fn what_a_gateway_says_cannot_reach_the_terminal() {
        let answer = json!({"subject": {"CommonName": "x\u{1b}[2J"}});
        assert!(!one(&answer).contains('\u{1b}'));
    }
}
