//! `portcullis check`: every problem at once, and what each host and listen path would do.
//!
//! What is wrong goes to standard error, the table to standard output. The same functions build
//! what a running gateway serves, so what is said here is what happens.

use std::{fmt::Display, io::Write};

use portcullis_apidef::ClientRule;
use portcullis_config::Severity;
use portcullis_gateway::{CrlInUse, ExplainedPort, LookIntoStore, Report};
use portcullis_pki::crl::{Mode, revocation::told as time};
use portcullis_policy::{Demand, ExplainedRoute};
use portcullis_store::Inspection;

use crate::{
    cert::when,
    cli::CheckArguments,
    configuration,
    exit::{Exit, Failure},
};

/// Checks a configuration.
///
/// # Errors
/// When nothing can be said about its definitions because the configuration itself is wrong.
pub fn run(arguments: &CheckArguments) -> Result<Exit, Failure> {
    let loaded = configuration::load(arguments.conf.as_deref(), None)?;
    let mut verdict = Verdict {
        strict: arguments.strict,
        errors: 0,
        warnings: 0,
    };
    let mut stderr = std::io::stderr().lock();
    for mut warning in loaded.warnings {
        warning.severity = verdict.count(warning.severity);
        writeln!(stderr, "{warning}")?;
    }
    let look = match arguments.store {
        true => LookIntoStore::Yes,
        false => LookIntoStore::No,
    };
    let Report {
        findings,
        routes,
        clients,
        crls,
        health,
        store,
        ..
    } = portcullis_gateway::check(&loaded.config, look)?;
    for finding in &findings {
        let severity = if finding.is_error {
            Severity::Error
        } else {
            Severity::Warning
        };
        let severity = verdict.count(severity);
        writeln!(stderr, "{severity}: {finding}")?;
    }
    let configuration_errors = verdict.errors;
    let mut in_use = None;
    match store {
        Ok(None | Some(Inspection::Absent | Inspection::Good)) => {}
        Ok(Some(Inspection::InUse { holder })) => in_use = Some(holder),
        Ok(Some(Inspection::Unwritable { error })) => {
            let severity = verdict.count(Severity::Warning);
            writeln!(stderr, "{severity}: {error}")?;
        }
        Err(error) => {
            let severity = verdict.count(Severity::Error);
            writeln!(stderr, "{severity}: {error}")?;
        }
    }
    if verdict.errors + verdict.warnings > 0 {
        writeln!(stderr)?;
    }
    drop(stderr);

    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{}", table(&routes))?;
    write!(stdout, "{}", client_certificates(&clients))?;
    write!(stdout, "{}", revocation_lists(&crls))?;
    if !health.is_empty() {
        writeln!(stdout, "UPSTREAM HEALTH\n{}\n", health.join("\n"))?;
    }
    if let (Some(holder), LookIntoStore::No) = (in_use, look) {
        writeln!(
            stdout,
            "The embedded store is in use by {holder}, so its file has not been checked; --store looks into it.\n"
        )?;
    }
    let file = loaded.path.map_or_else(
        || "the environment".to_owned(),
        |path| path.display().to_string(),
    );
    writeln!(stdout, "{file}: {verdict}")?;
    Ok(if configuration_errors > 0 {
        Exit::Configuration
    } else if verdict.errors > 0 {
        Exit::System
    } else {
        Exit::Success
    })
}

/// How many errors and warnings there were.
#[derive(Debug)]
struct Verdict {
    strict: bool,
    errors: usize,
    warnings: usize,
}

impl Verdict {
    /// Counts a problem, and says what it counts as.
    fn count(&mut self, severity: Severity) -> Severity {
        match severity {
            Severity::Warning if !self.strict => {
                self.warnings += 1;
                Severity::Warning
            }
            Severity::Warning | Severity::Error => {
                self.errors += 1;
                Severity::Error
            }
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.errors, self.warnings) {
            (0, 0) => f.write_str("no problems"),
            (errors, warnings) => {
                write!(
                    f,
                    "{}, {}",
                    counted(errors, "error"),
                    counted(warnings, "warning")
                )
            }
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// One line for each host and listen path, by precedence within a port.
fn table(routes: &[ExplainedRoute]) -> String {
    if routes.is_empty() {
        return "No API definitions.\n\n".to_owned();
    }
    let heads = ["PORT", "SPEAKS", "HOST", "PATH", "API", "ANSWER"].map(str::to_owned);
    let rows = routes.iter().map(|route| {
        let answer = match route.upstream.as_str() {
            "" => route.answer.to_string(),
            upstream => format!("{} -> {upstream}", route.answer),
        };
        [
            route.port.to_string(),
            format!("{:?}", route.protocol).to_lowercase(),
            route.host.clone().unwrap_or_else(|| "*".to_owned()),
            route.path.clone(),
            format!("{} ({})", route.name, route.api_id),
            answer,
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push('\n');
    text
}

/// What is asked of clients on every host, and enforced at every path, where anybody is asked.
fn client_certificates(ports: &[ExplainedPort]) -> String {
    let mut text = String::new();
    for port in ports.iter().filter(|port| port.looks_at_clients()) {
        for domain in &port.domains {
            let asked = match (port.tls, domain.asked) {
                (false, _) => "no handshake",
                (true, Demand::Nothing) => "the handshake asks for nothing",
                (true, Demand::Ask) => "the handshake asks for a certificate",
                (true, Demand::Require) => "the handshake requires a trusted certificate",
            };
            let title = domain.title();
            text.push_str(&format!(
                "port {}, {title}: {asked} ({})\n",
                port.port, domain.rule
            ));
            for api in &domain.apis {
                let (path, name, id) = (&api.path, &api.name, &api.id);
                text.push_str(&format!("  {path}  {name} ({id}): {}\n", api.enforced));
                for rule in &api.rules {
                    text.push_str(&format!("    {}\n", entry(rule)));
                }
            }
            for weakness in &domain.weakened {
                text.push_str(&format!("  weakened: {weakness}\n"));
            }
        }
    }
    match text.as_str() {
        "" => text,
        _ => format!("CLIENT CERTIFICATES\n{text}\n"),
    }
}

/// A typed entry of an allow list, with its time and what it is there for.
fn entry(rule: &ClientRule) -> String {
    let mut text = rule.who.to_string();
    if let Some(from) = rule.not_before {
        text += &format!(", from {}", when::show(from));
    }
    if let Some(to) = rule.not_after {
        text += &format!(", until {}", when::show(to));
        if to < when::now() {
            text += ", WHICH IS OVER";
        }
    }
    if !rule.note.is_empty() {
        text += &format!(": {}", rule.note);
    }
    text
}

/// Which revocation lists are in force, and what is wrong with them.
fn revocation_lists(crls: &[CrlInUse]) -> String {
    let mut text = String::new();
    for source in crls {
        let mode = match source.mode {
            Mode::Strict => "strict",
            Mode::Lenient => "lenient",
        };
        text.push_str(&format!("{}, {mode}: {}\n", source.place, source.reference));
        for list in &source.lists {
            let (made, ends) = (time(list.this_update()), time(list.next_update()));
            text.push_str(&format!(
                "  {}: {} revoked, made {made}, good until {ends}\n",
                list.issuer(),
                counted(list.entries(), "certificate")
            ));
        }
        for problem in &source.problems {
            text.push_str(&format!("  wrong: {problem}\n"));
        }
    }
    match text.as_str() {
        "" => text,
        _ => format!("REVOCATION LISTS\n{text}\n"),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_apidef::ClientMatch;

    use super::*;

    #[test]
    fn a_typed_entry_is_shown_as_it_is_written() {
        let rule = ClientRule {
            who: ClientMatch::DnsBelow(".example.com".to_owned()),
            not_before: Some(0),
            not_after: Some(86_400),
            note: "the old fleet".to_owned(),
        };
        assert_eq!(
            entry(&rule),
            "dns:*.example.com, from 1970-01-01T00:00:00Z, until 1970-01-02T00:00:00Z, WHICH IS OVER: the old fleet"
        );
    }
    use portcullis_apidef::Protocol;
    use portcullis_policy::ExplainedAnswer;

    #[test]
    fn the_table_has_one_aligned_line_for_each_route() {
        let route = |path: &str, answer, upstream: &str| ExplainedRoute {
            port: 8443,
            protocol: Protocol::Https,
            host: None,
            path: path.to_owned(),
            api_id: "a1".to_owned(),
            name: "A".to_owned(),
            answer,
            upstream: upstream.to_owned(),
        };
        let quarantined = ExplainedAnswer::Quarantined {
            reason: "no".to_owned(),
            mounted: true,
        };
        let text = table(&[
            route(
                "/longer/",
                ExplainedAnswer::Served,
                "http://127.0.0.1:9000/",
            ),
            route("/b/", quarantined, ""),
        ]);
        assert_eq!(
            text,
            "PORT  SPEAKS  HOST  PATH      API     ANSWER\n\
             8443  https   *     /longer/  A (a1)  served -> http://127.0.0.1:9000/\n\
             8443  https   *     /b/       A (a1)  quarantined: no\n\n"
        );
    }

    #[test]
    fn strict_takes_warnings_for_errors() {
        let mut lenient = Verdict {
            strict: false,
            errors: 0,
            warnings: 0,
        };
        let mut strict = Verdict {
            strict: true,
            errors: 0,
            warnings: 0,
        };
        lenient.count(Severity::Warning);
        strict.count(Severity::Warning);
        assert_eq!(
            (lenient.to_string(), strict.to_string()),
            ("0 errors, 1 warning".into(), "1 error, 0 warnings".into())
        );
    }
}
