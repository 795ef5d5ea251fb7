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

/// Lists and the map of those for upstreams; a path, an id and PEM stay as they are.
#[test]
fn certificates_may_be_references_wherever_the_file_names_them() {
    let config = Site::with(
        r#"{"secrets": {"pem": "from map"}, "security": {"certificates": {
            "apis": ["secrets://pem", "an-id"],
            "upstream": {"up.test": "secrets://pem", "*": "a/path.pem"}}}}"#,
    )
    .config();
    let of = |host: &str| {
        let mut known = config.security.upstream_certificates.iter();
        known
            .find(|(known, _)| known == host)
            .map(|(_, reference)| reference.as_str())
    };
    assert_eq!(
        (of("up.test"), of("*")),
        (Some("from map"), Some("a/path.pem"))
    );
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
    let warning = Site::with(r#"{"cache_storage": {"password": "vault://redis"}}"#).warnings();
    assert!(
        warning
            .iter()
            .any(|warning| warning.key == "cache_storage.password"),
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

#[test]
fn stores_of_values_are_judged_without_showing_what_is_in_them() {
    let config = Site::with(
        r#"{"secret": "kv://own/gw", "kv": {"stores": {"own": {"type": "inline", "config": {"data": {"gw": "hunter2"}}}}}}"#,
    )
    .config();
    assert_eq!(config.security.secret.reveal(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    for (stores, place) in [
        (
            r#"{"a": {"type": "aws_secrets_manager"}}"#,
            "kv.stores.a.type",
        ),
        (
            r#"{"a": {"type": "file", "config": {"base_path": "hunter2"}}}"#,
            "kv.stores.a.config.base_path",
        ),
        (r#"{"a": {"type": "env"}}"#, "kv.stores.a.config.prefix"),
        (
            r#"{"a": {"type": "inline", "config": {"hunter": "hunter2"}}}"#,
            "kv.stores.a.config.hunter",
        ),
        (
            r#"{"a": {"type": "hashicorp_vault", "config": {"token": ["hunter2"]}}}"#,
            "kv.stores.a.config.token",
        ),
        (r#"{"a/b": {"type": "env"}}"#, "kv.stores.a/b"),
    ] {
        let error = Site::with(&format!(r#"{{"kv": {{"stores": {stores}}}}}"#)).error();
        assert_eq!(error.key, place);
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn a_required_store_that_is_not_there_stops_the_start() {
    let store =
        r#"{"type": "hashicorp_consul", "required": true, "config": {"address": "127.0.0.1:1"}}"#;
    let error = Site::with(&format!(r#"{{"kv": {{"stores": {{"c": {store}}}}}}}"#)).error();
    assert_eq!(error.key, "kv.stores.c");
    assert!(
        error
            .message
            .contains("http://127.0.0.1:1 cannot be reached"),
        "{error}"
    );
}

#[test]
fn paths_of_files_for_identity_providers_may_be_kept_elsewhere() {
    let text = |enabled: bool| {
        format!(
            r#"{{"secrets": {{"cert": "/run/tls/client.pem"}}, "external_services": {{"oauth": {{"mtls": {{
                "enabled": {enabled}, "cert_file": "secrets://cert", "key_file": "env://KEY_PLACE"}}}}}}}}"#
        )
    };
    let site = Site::with(&text(true)).env("TYK_SECRET_KEY_PLACE", "/run/tls/client.key");
    let mtls = site.config().external_services.oauth.mtls;
    assert_eq!(
        mtls.cert_file.unwrap().to_str(),
        Some("/run/tls/client.pem")
    );
    assert_eq!(mtls.key_file.unwrap().to_str(), Some("/run/tls/client.key"));
    let error = Site::with(&text(true)).error();
    assert_eq!(error.key, "external_services.oauth.mtls.key_file");
    // Nothing is looked up for a block that is not in use.
    Site::with(&text(false)).config();
}
