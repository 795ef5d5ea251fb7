//! A live server, looked at from outside.

use std::{
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use openssl::x509::X509;
use portcullis_gateway::{Diagnosis, Outcome};
use portcullis_pki::{
    CertificateFacts,
    verify::{Purpose, Question, verify},
};
use portcullis_tls::{
    Roots,
    probe::{Look, ProbeError, Seen, VERSIONS, look},
};
use time::OffsetDateTime;

use super::Identity;
use crate::{
    cert::{CertError, input, when},
    cli::DoctorArguments,
    exit::Failure,
};

/// How long a server may take for each step.
const PATIENCE: Duration = Duration::from_secs(10);

/// HTTP/2 and HTTP/1.1, as ALPN writes them.
const BOTH: &[u8] = b"\x02h2\x08http/1.1";

/// HTTP/1.1 alone.
const HTTP1: &[u8] = b"\x08http/1.1";

/// Days before its end at which a certificate is worth a word.
const SOON: i64 = 30;

/// Looks at a server.
///
/// # Errors
/// When a file cannot be used.
pub fn examine(
    arguments: &DoctorArguments,
    server: &str,
    client: Option<&Identity>,
) -> Result<Diagnosis, Failure> {
    let mut diagnosis = Diagnosis::new();
    let (host, address) = match split(server) {
        Some((host, _)) => (host, server.to_owned()),
        None => (server, format!("{server}:443")),
    };
    let name = arguments.servername.as_deref().unwrap_or(host);
    let anchors: Vec<X509> = match &arguments.ca {
        Some(path) => {
            let trusted = input::read(path, None)?;
            if trusted.certificates.is_empty() {
                return Err(CertError::NoCertificate {
                    place: trusted.place,
                }
                .into());
            }
            trusted.certificates
        }
        None => Roots::of_system().certificates().to_vec(),
    };
    let is_name = name
        .trim_matches(['[', ']'])
        .parse::<std::net::IpAddr>()
        .is_err();
    let server_name = Some(name).filter(|_| is_name);
    let identity = client.and_then(|client| {
        let key = client.open_key()?;
        let fits = client.chain.leaf().public_key();
        fits.is_ok_and(|public| public.public_eq(key))
            .then_some((client.certificates.as_slice(), key))
    });
    let base = || Look {
        server_name,
        client: identity,
        ..Look::default()
    };

    if let Err(error) = connect(&address) {
        let says = format!("{address} cannot be reached: {error}");
        diagnosis.step("connect", Outcome::Refused, says);
        diagnosis.advise("Check name, port and firewall, and that the server runs.".to_owned());
        return Ok(diagnosis);
    }
    let mut spoken = Vec::new();
    let mut first_failure = None;
    for version in VERSIONS {
        let seen = open(
            &address,
            &Look {
                version: Some(version),
                ..base()
            },
        );
        match seen {
            Ok(_) => spoken.push(version),
            Err(error) => first_failure = Some(error.to_string()),
        }
    }
    let request = format!("HEAD / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    let seen = open(
        &address,
        &Look {
            protocols: BOTH,
            ..base()
        },
    );
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) => {
            let says = format!(
                "no handshake succeeds: {}",
                first_failure.unwrap_or(error.to_string())
            );
            diagnosis.step("handshake", Outcome::Refused, says);
            let change = match client {
                None => {
                    "If it wants a client certificate, give one with --cert and --key; else compare \
                         what it speaks with TLS 1.2 and 1.3."
                }
                Some(_) => {
                    "Look at the alert: 48 is an authority it does not trust, 45 a validity that is \
                            over, 116 and 40 a certificate that did not come along, 112 an unknown name."
                }
            };
            diagnosis.advise(change.to_owned());
            return Ok(diagnosis);
        }
    };
    versions(&mut diagnosis, &spoken);
    let group = seen.group.unwrap_or("no group");
    let says = format!("{} with {} and {group}", seen.version, seen.cipher);
    diagnosis.step("handshake", Outcome::Passes, says);
    certificates(
        &mut diagnosis,
        &seen,
        &anchors,
        name,
        arguments.ca.is_some(),
    )?;
    let says = match &seen.protocol {
        Some(protocol) => format!("of h2 and http/1.1 it chooses {protocol}"),
        None => "it chooses none of h2 and http/1.1, which means HTTP/1.1".to_owned(),
    };
    diagnosis.step("alpn", Outcome::Note, says);
    asked(&mut diagnosis, &seen, identity.is_some());
    resumption(&mut diagnosis, &address, &base, &request);
    Ok(diagnosis)
}

fn versions(diagnosis: &mut Diagnosis, spoken: &[&str]) {
    let old: Vec<&&str> = spoken
        .iter()
        .filter(|version| **version < "TLSv1.2")
        .collect();
    let says = format!("it speaks {}", spoken.join(", "));
    match (old.is_empty(), spoken.contains(&"TLSv1.3")) {
        (false, _) => {
            diagnosis.step(
                "versions",
                Outcome::Refused,
                format!("{says}; below 1.2 nothing is safe"),
            );
            diagnosis.advise("Switch off TLS below 1.2.".to_owned());
        }
        (true, false) => {
            let says = format!("{says}; TLS 1.3 would be quicker and hides certificates");
            diagnosis.step("versions", Outcome::Note, says);
        }
        (true, true) => diagnosis.step("versions", Outcome::Passes, says),
    }
}

fn certificates(
    diagnosis: &mut Diagnosis,
    seen: &Seen,
    anchors: &[X509],
    name: &str,
    own: bool,
) -> Result<(), Failure> {
    for (place, certificate) in seen.chain.iter().enumerate() {
        let facts = CertificateFacts::of(certificate);
        let Ok(facts) = facts else {
            diagnosis.step(
                "chain",
                Outcome::Note,
                format!("certificate {place} cannot be read"),
            );
            continue;
        };
        let subject = portcullis_pki::names::distinguished_name(certificate.subject_name());
        let issuer = portcullis_pki::names::distinguished_name(certificate.issuer_name());
        let until = OffsetDateTime::from_unix_timestamp(facts.not_after);
        let until = until.map_or_else(
            |_| facts.not_after.to_string(),
            |time| time.date().to_string(),
        );
        let names = match (place, facts.dns_names.is_empty()) {
            (0, false) => format!(", for {}", facts.dns_names.join(", ")),
            _ => String::new(),
        };
        let says = format!("{subject}{names}, issued by {issuer}, until {until}");
        diagnosis.step("chain", Outcome::Note, says);
        let left = (facts.not_after - when::now()) / 86_400;
        if place == 0 && (0..SOON).contains(&left) {
            diagnosis.step(
                "expiry",
                Outcome::Note,
                format!("it ends in {left} days: renew it"),
            );
        }
    }
    let question = Question {
        chain: &seen.chain,
        anchors,
        purpose: Some(Purpose::Server),
        host: Some(name),
        at: when::now(),
    };
    for check in verify(&question).map_err(CertError::Library)? {
        match check.outcome {
            Ok(says) => diagnosis.step(check.aspect.name(), Outcome::Passes, says),
            Err(says) => {
                let change = match (check.aspect.name(), own) {
                    ("chain", false) => {
                        "Give its authority with --ca, or have the server send its intermediates."
                            .to_owned()
                    }
                    _ => format!("Give the server another certificate: {says}."),
                };
                diagnosis.step(check.aspect.name(), Outcome::Refused, says);
                diagnosis.advise(change);
            }
        }
    }
    Ok(())
}

fn asked(diagnosis: &mut Diagnosis, seen: &Seen, given: bool) {
    let says = match (&seen.asked_of_client, given) {
        (None, false) => "it asks for no certificate under this name".to_owned(),
        (None, true) => {
            "it asks for no certificate under this name: the one given is not sent".to_owned()
        }
        (Some(names), _) if names.is_empty() => {
            "it asks for a certificate and names no authorities".to_owned()
        }
        (Some(names), _) => format!("it asks for a certificate of {}", names.join("; ")),
    };
    diagnosis.step("client", Outcome::Note, says);
}

/// Whether a second connection resumes the session of the first.
fn resumption<'l>(
    diagnosis: &mut Diagnosis,
    address: &str,
    base: &dyn Fn() -> Look<'l>,
    request: &'l str,
) {
    let first = open(
        address,
        &Look {
            protocols: HTTP1,
            request,
            ..base()
        },
    );
    let first = match first {
        Ok(first) => first,
        Err(error) => {
            let says = format!("a second handshake failed: {error}");
            diagnosis.step("resumption", Outcome::Note, says);
            return;
        }
    };
    if let Some(refused) = first.refused {
        // In TLS 1.3 a client learns only now that its certificate is refused.
        let says = format!("after the handshake {refused}");
        diagnosis.step("client", Outcome::Refused, says);
        diagnosis.advise(
            "Give a client certificate that the server trusts with --cert and --key, or look at the \
             server's log for why this one is refused."
                .to_owned(),
        );
        return;
    }
    let Some(session) = &first.session else {
        let says = "it gives no session to resume: every connection is a full handshake";
        return diagnosis.step("resumption", Outcome::Note, says.to_owned());
    };
    let again = open(
        address,
        &Look {
            protocols: HTTP1,
            session: Some(session),
            ..base()
        },
    );
    let says = match again {
        Ok(seen) if seen.resumed => {
            "a second connection resumes the session of the first".to_owned()
        }
        Ok(_) => "it gives a session and does not take it back: another node, or another policy"
            .to_owned(),
        Err(error) => format!("resuming failed: {error}"),
    };
    diagnosis.step("resumption", Outcome::Note, says);
}

/// Why a look failed: the connection, or the handshake.
#[derive(Debug, thiserror::Error)]
enum Unseen {
    #[error("{0}")]
    Connection(#[from] std::io::Error),
    #[error("{0}")]
    Probe(#[from] ProbeError),
}

fn open(address: &str, how: &Look<'_>) -> Result<Seen, Unseen> {
    Ok(look(connect(address)?, how)?)
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let mut last = None;
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::ErrorKind::NotFound.into()))
}

/// Host and port; nothing when there is no port.
fn split(server: &str) -> Option<(&str, u16)> {
    let (host, port) = server.rsplit_once(':')?;
    let port = port.parse().ok()?;
    // An IPv6 address without brackets has no port.
    (!host.contains(':') || host.ends_with(']')).then_some((host, port))
}
