//! `portcullis links`: the outgoing links of a running gateway, as its Control API tells of them.
//!
//! The answer is read member by member: what a gateway of another version leaves out is left out.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use portcullis_pki::names::printable;
use serde_json::Value;

use crate::{
    cert::{
        CertError,
        remote::{Gateway, RemoteError},
        when,
    },
    cli::LinksArguments,
    exit::{Exit, Failure},
    table::table,
};

/// Asks a gateway and prints what it says.
///
/// # Errors
/// When it cannot be asked, or the outcome cannot be printed.
pub fn run(arguments: &LinksArguments) -> Result<Exit, Failure> {
    let text = ask(arguments)?;
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(Exit::Success)
}

fn ask(arguments: &LinksArguments) -> Result<String, CertError> {
    let gateway = Gateway::reach(&arguments.access)?;
    let query = [("kind", &*arguments.kind), ("api_id", &*arguments.api)];
    let answer = match gateway.get("/tyk/links", &query) {
        Err(RemoteError::Refused { status: 404, .. }) => {
            return Err(RemoteError::Lacks("list of links").into());
        }
        answer => answer?,
    };
    Ok(match arguments.json {
        true => format!("{answer:#}\n"),
        false => shown(&answer),
    })
}

/// The links as a table, and below it what is wrong with some of them.
fn shown(answer: &Value) -> String {
    let links = list(answer, "links");
    if links.is_empty() {
        return "no links\n".to_owned();
    }
    let heads = [
        "STATE",
        "KIND",
        "ADDRESS",
        "FOR",
        "SPEAKS",
        "VERIFIED",
        "PEER",
        "OWN CERTIFICATE",
        "MADE",
        "LAST",
    ];
    let heads = heads.map(str::to_owned);
    let rows = links.iter().map(|link| {
        [
            text(link, "state").replace('_', " "),
            text(link, "kind"),
            address(link),
            user(link),
            speaks(link),
            verified(link),
            certificate(&link["peer"]),
            own(&link["own"]),
            link["connections"].to_string(),
            text(link, "last_connected"),
        ]
    });
    let mut out = table(std::iter::once(heads).chain(rows));
    for link in links {
        let place = format!("{} {}", text(link, "kind"), address(link));
        for remark in list(link, "remarks").iter().filter_map(Value::as_str) {
            let _ = writeln!(out, "! {place}: {}", printable(remark));
        }
        let error = &link["last_error"];
        if error.is_object() {
            let (at, reason) = (text(error, "at"), text(error, "reason"));
            let _ = writeln!(out, "{place}, failed at {at}: {reason}");
        }
    }
    out
}

fn address(link: &Value) -> String {
    match text(link, "through").as_str() {
        "" => text(link, "address"),
        proxy => format!("{} through {proxy}", text(link, "address")),
    }
}

/// Whose a link is.
fn user(link: &Value) -> String {
    let apis: Vec<String> = list(link, "apis")
        .iter()
        .filter_map(Value::as_str)
        .map(printable)
        .collect();
    match &apis[..] {
        [] => text(link, "settings"),
        [first, second, others @ ..] if !others.is_empty() => {
            format!("{first}, {second} and {} more", others.len())
        }
        few => few.join(", "),
    }
}

fn speaks(link: &Value) -> String {
    let agreed = &link["negotiated"];
    match (agreed.is_object(), link["tls"].as_bool()) {
        (true, _) => {
            let parts = ["version", "group", "alpn"].map(|member| text(agreed, member));
            let parts = parts.iter().filter(|part| !part.is_empty());
            parts.map(String::as_str).collect::<Vec<_>>().join(" ")
        }
        (false, Some(true)) => "TLS".to_owned(),
        (false, _) => "clear text".to_owned(),
    }
}

fn verified(link: &Value) -> String {
    let how = &link["verification"];
    if !how.is_object() {
        return String::new();
    }
    let is = |member: &str| how[member].as_bool() == Some(true);
    let mut parts = Vec::new();
    match (is("chain"), is("name")) {
        (true, true) => parts.push("chain and name".to_owned()),
        (true, false) => parts.push("chain".to_owned()),
        (false, _) => {}
    }
    if let Some(authorities) = how["authorities"].as_u64() {
        parts.push(format!("by {authorities}"));
    }
    match how["pins"].as_u64() {
        None | Some(0) => {}
        Some(1) => parts.push("1 pin".to_owned()),
        Some(pins) => parts.push(format!("{pins} pins")),
    }
    if is("common_name") {
        parts.push("common name".to_owned());
    }
    match parts.is_empty() {
        true => "NOTHING".to_owned(),
        false => parts.join(", "),
    }
}

fn certificate(certificate: &Value) -> String {
    if !certificate.is_object() {
        return String::new();
    }
    let name = match text(certificate, "subject") {
        empty if empty.is_empty() => text(certificate, "fingerprint").chars().take(16).collect(),
        subject => subject,
    };
    match certificate["days_left"].as_i64() {
        Some(days) => format!("{name}, {}", when::days_left(days)),
        None => name,
    }
}

/// Our certificate, and whether the server has asked for it.
fn own(own: &Value) -> String {
    match own["shown"].as_bool() {
        Some(false) => format!("{}, not asked for", certificate(own)),
        Some(true) | None => certificate(own),
    }
}

fn list<'v>(value: &'v Value, member: &str) -> &'v [Value] {
    value
        .get(member)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text(value: &Value, member: &str) -> String {
    value
        .get(member)
        .and_then(Value::as_str)
        .map_or_else(String::new, printable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_link_is_a_line_and_what_is_wrong_with_it_stands_below() {
        let answer = json!({"links": [
            {"kind": "upstream", "apis": ["a", "b", "c", "d"], "address": "up.test:443", "tls": true,
             "state": "failing", "through": "http://proxy.test:3128",
             "verification": {"chain": true, "name": true, "authorities": 1, "pins": 2},
             "connections": 3, "failures": 1, "last_connected": "2027-01-01T00:00:00Z",
             "negotiated": {"version": "TLSv1.3", "cipher": "TLS_AES_128_GCM_SHA256", "group": "X25519", "alpn": "h2"},
             "peer": {"fingerprint": "00", "subject": "CN=up.test", "days_left": 5},
             "own": {"fingerprint": "01", "subject": "CN=gateway", "days_left": -1, "shown": false},
             "last_error": {"at": "2027-01-02T00:00:00Z", "reason": "refused\u{1b}[2J"},
             "remarks": ["its certificate ends in 5 days: renew it"]},
            {"kind": "webhooks", "address": "hook.test:443", "tls": true, "state": "not_yet_used",
             "settings": "external_services.webhooks", "verification": {"chain": false, "name": false},
             "connections": 0, "failures": 0},
        ]});
        let said = shown(&answer);
        let lines: Vec<&str> = said.lines().collect();
        for part in [
            "failing ",
            "up.test:443 through http://proxy.test:3128",
            "a, b and 2 more",
            "TLSv1.3 X25519 h2",
            "chain and name, by 1, 2 pins",
            "CN=up.test, 5 days left",
            "CN=gateway, expired today, not asked for",
        ] {
            assert!(lines[1].contains(part), "{part} in {said}");
        }
        for part in [
            "not yet used",
            "external_services.webhooks",
            "TLS ",
            "NOTHING",
        ] {
            assert!(lines[2].contains(part), "{part} in {said}");
        }
        assert_eq!(
            lines[3],
            "! upstream up.test:443 through http://proxy.test:3128: its certificate ends in 5 days: renew it"
        );
        assert!(
            lines[4].contains("failed at 2027-01-02T00:00:00Z: refused"),
            "{said}"
        );
        assert!(!said.contains('\u{1b}'));
    }
}
