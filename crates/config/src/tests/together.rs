//! What several keys, or a key and the state of the product, say together.

use std::path::Path;

use super::Site;
use crate::Renegotiation;
use crate::load::load_in;

#[test]
fn a_key_without_effect_yet_is_reported_once_for_its_feature() {
    let site = Site::with(
        r#"{"policies": {"policy_connection_string": "http://d", "allow_explicit_policy_id": true},
            "storage": {"type": "redis", "host": "r"}, "cache_storage": {"host": "c"}}"#,
    );
    let keys: Vec<String> = site
        .warnings()
        .into_iter()
        .map(|warning| warning.key)
        .collect();
    assert_eq!(
        keys,
        [
            "policies.policy_connection_string, policies.allow_explicit_policy_id",
            "cache_storage.host"
        ]
    );
    assert_eq!(
        site.config().storage.expect("is written").addresses,
        ["r:6379"]
    );
}

/// IN-102, through the file, with the gateway's own ports added.
#[test]
fn the_white_list_knows_the_gateways_own_ports() {
    let config = Site::with(
        r#"{"listen_port": 8443, "control_api_port": 9443, "http_server_options": {"use_ssl": true},
            "ports_whitelist": {"tls": {"ranges": [{"from": 6000, "to": 6010}]}}}"#,
    )
    .config();
    for (protocol, port) in [
        ("https", 8443),
        ("https", 9443),
        ("tls", 6000),
        ("tls", 6010),
    ] {
        assert!(
            config.listen.ports.permits(protocol, port).is_ok(),
            "{protocol}:{port}"
        );
    }
    let refused = config
        .listen
        .ports
        .permits("tls", 6011)
        .expect_err("not listed");
    assert_eq!(refused.to_string(), "tls:6011 trying to open disabled port");
    assert!(
        Site::with(r#"{"disable_ports_whitelist": true}"#)
            .config()
            .listen
            .ports
            .permits("tcp", 1)
            .is_ok()
    );
}

#[test]
fn a_range_that_ends_before_it_begins_is_refused_with_its_place() {
    let error =
        Site::with(r#"{"ports_whitelist": {"tls": {"ranges": [{"from": 2, "to": 1}]}}}"#).error();
    assert_eq!(error.key, "ports_whitelist.tls.ranges[0]");
}

#[test]
fn a_control_port_equal_to_the_main_port_is_shared() {
    let config = Site::with(r#"{"listen_port": 8080, "control_api_port": 8080}"#).config();
    assert_eq!(config.listen.control_port, None);
    let config = Site::with(r#"{"control_api_port": 9090}"#).config();
    assert_eq!(config.listen.control_port, Some(9090));
}

#[test]
fn an_address_with_a_port_is_told_where_the_port_belongs() {
    for text in ["127.0.0.1:8080", "[::1]:8080"] {
        let error = Site::with(&format!("{{\"listen_address\": \"{text}\"}}")).error();
        assert_eq!(
            error.hint.as_deref(),
            Some("the port belongs in `listen_port`"),
            "{text}"
        );
    }
    assert!(
        Site::with(r#"{"listen_address": "[::]"}"#)
            .config()
            .listen
            .address
            .is_some()
    );
}

/// Decision 17.
#[test]
fn host_names_are_lower_case_and_without_a_trailing_dot() {
    let config =
        Site::with(r#"{"hostname": "API.Example.com.", "control_api_hostname": "Admin"}"#).config();
    assert_eq!(config.listen.hostname.as_deref(), Some("api.example.com"));
    assert_eq!(config.listen.control_hostname.as_deref(), Some("admin"));
}

/// Decision 8.
#[test]
fn the_tyk_key_forces_no_renegotiation() {
    let own = r#""portcullis": {"proxy_ssl_renegotiation": "freely"}"#;
    assert_eq!(
        Site::with(&format!("{{{own}}}"))
            .config()
            .upstream
            .renegotiation,
        Renegotiation::Freely
    );
    let forced = Site::with(&format!(
        "{{{own}, \"proxy_ssl_disable_renegotiation\": true}}"
    ));
    assert_eq!(forced.config().upstream.renegotiation, Renegotiation::Never);
}

#[test]
fn an_upstream_timeout_above_the_answers_deadline_is_reported() {
    assert_eq!(
        Site::with(r#"{"proxy_default_timeout": 120}"#)
            .warning()
            .key,
        "proxy_default_timeout"
    );
}

/// OUT-113, OUT-114
#[test]
fn certificates_of_an_external_service_come_from_files_or_from_the_store() {
    let error = |mtls: &str| {
        let text = format!(
            "{{\"external_services\": {{\"oauth\": {{\"mtls\": {{\"enabled\": true{mtls}}}}}}}}}"
        );
        Site::with(&text)
            .load()
            .err()
            .map(|problems| problems.as_slice().last().expect("one").message.clone())
    };
    assert_eq!(
        error(r#", "cert_file": "a", "key_file": "b", "cert_id": "c""#).as_deref(),
        Some("cannot specify both file-based and certificate store configuration")
    );
    assert_eq!(
        error(r#", "cert_file": "a""#).as_deref(),
        Some("both cert_file and key_file must be specified for file-based configuration")
    );
    assert_eq!(
        error("").as_deref(),
        Some("mTLS enabled but no certificate configuration provided")
    );
    assert_eq!(error(r#", "ca_file": "a""#), None);
    assert_eq!(error(r#", "insecure_skip_verify": true"#), None);
}

#[test]
fn addresses_of_proxies_must_be_some_and_are_not_shown() {
    let text = r#"{"external_services": {"global": {"https_proxy": "my-proxy:hunter2"}}}"#;
    let error = Site::with(text).error();
    assert_eq!(error.key, "external_services.global.https_proxy");
    assert_eq!(
        error.message,
        "failed to configure proxy: invalid HTTPS proxy URL: it does not begin with http:// or https://"
    );
    assert!(!error.to_string().contains("hunter2"));
}

/// A test that fails for its proxy would take upstreams out that are well.
#[test]
fn a_wrong_proxy_of_uptime_tests_is_a_warning_and_they_are_done_without() {
    let text =
        r#"{"external_services": {"health": {"proxy": {"http_proxy": "://invalid-proxy"}}}}"#;
    let config = Site::with(text).config();
    let proxy = &config.external_services.health.proxy;
    assert_eq!((proxy.http_proxy.as_ref(), proxy.names_any), (None, true));
}

#[test]
fn versions_spoken_with_a_service_must_leave_one() {
    let site = |mtls: &str| {
        Site::with(&format!(
            r#"{{"external_services": {{"webhooks": {{"mtls": {{{mtls}}}}}}}}}"#
        ))
    };
    for (mtls, key) in [
        (r#""tls_max_version": "1.1""#, "tls_max_version"),
        (
            r#""tls_min_version": "1.3", "tls_max_version": "1.2""#,
            "tls_min_version",
        ),
    ] {
        let error = site(mtls).error();
        assert_eq!(error.key, format!("external_services.webhooks.mtls.{key}"));
    }
    let warning = site(r#""tls_min_version": "1.0""#).warning();
    assert_eq!(
        warning.key,
        "external_services.webhooks.mtls.tls_min_version"
    );
}

/// The texts of outbound cases 124 and 125, reported at the start.
#[test]
fn tls_versions_of_redis_must_exist_and_be_in_order() {
    assert_eq!(
        Site::with(r#"{"storage": {"tls_max_version": "1.4"}}"#)
            .error()
            .key,
        "storage.tls_max_version"
    );
    let error =
        Site::with(r#"{"storage": {"tls_min_version": "1.3", "tls_max_version": "1.2"}}"#).error();
    assert!(
        error
            .message
            .starts_with("MinVersion is higher than MaxVersion"),
        "{error}"
    );
}

#[test]
fn relative_paths_are_found_beside_the_file_when_not_in_the_working_directory() {
    let site = Site::without_file();
    let conf = site.root.path().join("etc");
    std::fs::create_dir_all(conf.join("apis")).expect("directory");
    std::fs::write(
        conf.join("my.conf"),
        r#"{"app_path": "apis", "portcullis": {"data_dir": "store"}}"#,
    )
    .expect("file");
    let loaded = load_in(
        site.root.path(),
        Some(Path::new("etc/my.conf")),
        site.env.clone(),
    )
    .expect("right");
    assert_eq!(loaded.config.definitions.app_path, conf.join("apis"));
    assert_eq!(loaded.config.definitions.data_dir, conf.join("store"));
    std::fs::create_dir_all(site.root.path().join("apis")).expect("directory");
    let loaded = load_in(
        site.root.path(),
        Some(Path::new("etc/my.conf")),
        site.env.clone(),
    )
    .expect("right");
    assert_eq!(
        loaded.config.definitions.app_path,
        site.root.path().join("apis")
    );
}
