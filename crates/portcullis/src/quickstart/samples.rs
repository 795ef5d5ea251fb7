//! `tyk.conf` and the sample APIs of a new directory.
//!
//! Most definitions are Classic, one is OAS, so that both can be looked at and changed. One asks for a key,
//! one for a listed client certificate, one for a client certificate that belongs to a key; behind one the
//! gateway itself has to show a certificate.

use std::{net::SocketAddr, path::Path};

use serde_json::{Value, json};

use super::{
    demo::Addresses,
    place::{self, Made, PlaceError},
};

/// Port of the gateway when nobody says another.
const DEFAULT_PORT: u16 = 8443;

/// Writes what is missing. `port` is the gateway's, `demo` where the demo upstream listens.
///
/// # Errors
/// [`PlaceError`].
pub fn ensure(
    dir: &Path,
    port: Option<u16>,
    demo: Addresses,
    made: &mut Made,
) -> Result<(), PlaceError> {
    let upstream = demo.plain;
    let samples = [
        (
            "apps/echo.json",
            "Classic definition of /echo/",
            echo(upstream),
        ),
        (
            "apps/streams.json",
            "OAS definition of /streams/",
            streams(upstream),
        ),
        (
            "apps/key.json",
            "Classic definition of /key/, which asks for a key",
            key(upstream),
        ),
        (
            "apps/mtls.json",
            "Classic definition of /mtls/, whose allow list has certs/client.pem",
            mtls(upstream),
        ),
        (
            "apps/cert-auth.json",
            "Classic definition of /cert-auth/, where a certificate stands for a key",
            cert_auth(upstream),
        ),
        (
            "apps/upstream-mtls.json",
            "OAS definition of /upstream-mtls/, whose upstream asks the gateway for certs/gateway.pem",
            upstream_mtls(&demo.secure_url()),
        ),
    ];
    place::directory(&dir.join("apps"))?;
    for (name, what, definition) in samples {
        let title = format!("{name}: {what}");
        let path = dir.join(name);
        match place::read(&path)? {
            None => {
                place::write_whole(&path, &format!("{definition:#}\n"))?;
                made.add(title);
            }
            Some(text) => {
                made.keep(title);
                let leads = demo.urls().iter().any(|url| text.contains(url));
                if !leads {
                    made.note(format!(
                        "{name} does not lead to the demo upstream, which is at {}",
                        demo.urls().join(" and ")
                    ));
                }
            }
        }
    }
    let path = dir.join("tyk.conf");
    let title = "tyk.conf: the gateway's configuration";
    match place::read(&path)? {
        Some(_) => made.keep(title),
        None => {
            let port = port.filter(|port| *port != 0).unwrap_or(DEFAULT_PORT);
            write_configuration(&path, &configuration(port, &secret()))?;
            made.add(title);
        }
    }
    Ok(())
}

fn configuration(port: u16, secret: &str) -> Value {
    json!({
        "listen_address": "127.0.0.1",
        "listen_port": port,
        "secret": secret,
        "app_path": "apps/",
        "http_server_options": {
            "use_ssl": true,
            "enable_http2": true,
            "enable_websockets": true,
            "min_version": 771,
            "max_version": 772,
            "certificates": [{
                "domain_name": "localhost",
                "cert_file": "certs/server.pem",
                "key_file": "certs/server.key"
            }]
        }
    })
}

fn echo(upstream: SocketAddr) -> Value {
    json!({
        "name": "Echo",
        "api_id": "echo",
        "org_id": "default",
        "active": true,
        "use_keyless": true,
        "version_data": {
            "not_versioned": true,
            "versions": {"Default": {"name": "Default", "use_extended_paths": true}}
        },
        "proxy": {
            "listen_path": "/echo/",
            "target_url": format!("http://{upstream}/"),
            "strip_listen_path": true
        }
    })
}

fn key(upstream: SocketAddr) -> Value {
    let mut definition = echo(upstream);
    definition["name"] = "Key".into();
    definition["api_id"] = "key".into();
    definition["use_keyless"] = false.into();
    definition["use_standard_auth"] = true.into();
    definition["proxy"]["listen_path"] = "/key/".into();
    definition
}

fn mtls(upstream: SocketAddr) -> Value {
    let mut definition = echo(upstream);
    definition["name"] = "Mutual TLS".into();
    definition["api_id"] = "mtls".into();
    definition["use_mutual_tls_auth"] = true.into();
    definition["client_certificates"] = json!(["certs/client.pem"]);
    definition["proxy"]["listen_path"] = "/mtls/".into();
    definition
}

fn cert_auth(upstream: SocketAddr) -> Value {
    let mut definition = key(upstream);
    definition["name"] = "Certificate Auth".into();
    definition["api_id"] = "cert-auth".into();
    definition["auth_configs"] = json!({"authToken": {"use_certificate": true}});
    definition["proxy"]["listen_path"] = "/cert-auth/".into();
    definition
}

fn streams(upstream: SocketAddr) -> Value {
    let operation = |id: &str, summary: &str, kind: &str| {
        json!({"get": {
            "operationId": id,
            "summary": summary,
            "responses": {"200": {"description": "A stream", "content": {kind: {}}}}
        }})
    };
    json!({
        "openapi": "3.0.3",
        "info": {"title": "Streams", "version": "1.0.0"},
        "paths": {
            "/stream": operation("lines", "Ten lines of text, one at a time", "text/plain"),
            "/events": operation("events", "Server-sent events, one a second", "text/event-stream"),
            "/ws": {"get": {
                "operationId": "webSocket",
                "summary": "A WebSocket that sends back what it receives",
                "responses": {"101": {"description": "Switching to WebSocket"}}
            }}
        },
        "x-tyk-api-gateway": {
            "info": {"id": "streams", "name": "Streams", "orgId": "default", "state": {"active": true}},
            "server": {"listenPath": {"value": "/streams/", "strip": true}},
            "upstream": {"url": format!("http://{upstream}/")}
        }
    })
}

fn upstream_mtls(url: &str) -> Value {
    json!({
        "openapi": "3.0.3",
        "info": {"title": "Upstream mutual TLS", "version": "1.0.0"},
        "paths": {},
        "x-tyk-api-gateway": {
            "info": {
                "id": "upstream-mtls",
                "name": "Upstream mutual TLS",
                "orgId": "default",
                "state": {"active": true}
            },
            "server": {"listenPath": {"value": "/upstream-mtls/", "strip": true}},
            "upstream": {
                "url": url,
                "tlsTransport": {"minVersion": "1.2", "maxVersion": "1.3"},
                "mutualTLS": {
                    "enabled": true,
                    "domainToCertificateMapping": [
                        {"domain": "localhost", "certificate": "certs/gateway.pem"}
                    ]
                },
                "certificatePinning": {
                    "enabled": true,
                    "domainToPublicKeysMapping": [
                        {"domain": "localhost", "publicKeys": ["certs/upstream.pem"]}
                    ]
                }
            }
        },
        "x-portcullis": {"upstream_ca": {"localhost": "certs/ca.pem"}}
    })
}

/// It holds the secret of the Control API, so it is for the owner's eyes.
fn write_configuration(path: &Path, configuration: &Value) -> Result<(), PlaceError> {
    portcullis_pki::file::write_private(path, format!("{configuration:#}\n").as_bytes()).map_err(
        |source| PlaceError::Write {
            path: path.to_owned(),
            source,
        },
    )
}

/// A secret nobody knows.
fn secret() -> String {
    let mut bytes = [0; 16];
    // The library's generator cannot run dry; it ends the process before it gives bad numbers.
    openssl::rand::rand_bytes(&mut bytes).expect("random numbers");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_is_another() {
        assert_eq!(secret().len(), 32);
        assert_ne!(secret(), secret());
    }

    #[test]
    fn the_port_of_the_first_run_is_written_down_unless_it_was_left_open() {
        let port = |asked| {
            let root = tempfile::tempdir().unwrap();
            ensure(
                root.path(),
                asked,
                Addresses {
                    plain: ([127, 0, 0, 1], 9).into(),
                    secure: ([127, 0, 0, 1], 10).into(),
                },
                &mut Made::default(),
            )
            .unwrap();
            let text = std::fs::read_to_string(root.path().join("tyk.conf")).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()["listen_port"]
                .as_u64()
                .unwrap()
        };
        assert_eq!(port(None), 8443);
        assert_eq!(port(Some(0)), 8443);
        assert_eq!(port(Some(9443)), 9443);
    }
}
