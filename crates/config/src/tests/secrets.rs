//! Secrets and references never show.

use super::Site;

#[test]
fn a_secret_may_be_a_reference_in_file_or_environment() {
    let site = Site::with(r#"{"secret": "env://gateway", "secrets": {"keys": "from map"}}"#)
        .env("TYK_SECRET_GATEWAY", "from env")
        .env(
            "TYK_GW_SECURITY_PRIVATECERTIFICATEENCODINGSECRET",
            "secrets://keys",
        );
    let config = site.config();
    assert_eq!(config.security.secret.reveal(), "from env");
    assert_eq!(config.key_passphrase().reveal(), "from map");
}

#[test]
fn a_reference_that_leads_nowhere_stops_the_start() {
    for text in [
        "vault://secret/data",
        "consul://key",
        "env://MISSING",
        "file://missing",
    ] {
        let error = Site::with(&format!("{{\"secret\": \"{text}\"}}")).error();
        assert_eq!(error.key, "secret", "{text}");
    }
    let warning = Site::with(r#"{"storage": {"password": "vault://redis"}}"#).warnings();
    assert!(
        warning
            .iter()
            .any(|warning| warning.key == "storage.password"),
        "{warning:?}"
    );
}

#[test]
fn an_empty_secret_would_open_the_control_api_and_is_refused() {
    assert_eq!(Site::with(r#"{"secret": ""}"#).error().key, "secret");
}

#[test]
fn no_secret_is_shown_in_a_problem_or_a_configuration() {
    let site = Site::with(
        r#"{"secret": ["hunter2"], "node_secret": 42, "storage": {"password": {"x": "hunter2"}}, "secrets": "hunter2"}"#,
    );
    let text = site.problems().to_string();
    assert!(!text.contains("hunter2") && !text.contains("42"), "{text}");
    let config = Site::with(
        r#"{"secret": "hunter2", "node_secret": "hunter2", "secrets": {"a": "hunter2"}, "storage": {"password": "hunter2"},
            "external_services": {"oauth": {"proxy": {"http_proxy": "http://u:hunter2@proxy"}}}}"#,
    )
    .load()
    .expect("right");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn key_material_written_at_the_wrong_place_is_not_shown() {
    let error = Site::with(r#"{"listen_address": "-----BEGIN PRIVATE KEY-----"}"#).error();
    assert!(!error.to_string().contains("PRIVATE KEY"), "{error}");
}
