//! What the environment says.

use super::{Site, env_config};
use crate::LogFormat;

#[test]
fn the_environment_wins_over_the_file() {
    let site =
        Site::with(r#"{"listen_port": 1, "secret": "from file"}"#).env("TYK_GW_LISTENPORT", "2");
    let config = site.env("TYK_GW_SECRET", "from env").config();
    assert_eq!(
        (config.listen.port, config.security.secret.reveal()),
        (2, "from env")
    );
    assert!(!config.secret_is_default());
}

/// Variables carry field names, not keys (inbound sheet 1.1, outbound sheet 0).
#[test]
fn variables_are_named_after_fields_and_not_after_keys() {
    let config = Site::with("{}")
        .env("TYK_GW_HTTPSERVEROPTIONS_CIPHERS", "A, B")
        .env("TYK_GW_SECURITY_CERTIFICATES_API", "x")
        .env("TYK_GW_SECURITY_CERTIFICATES_DASHBOARD", "ca.pem")
        .env("TYK_GW_EXTERNALSERVICES_OAUTH_MTLS_CERTFILE", "/a.pem")
        .env("TYK_GW_MAXIDLECONNSPERHOST", "500")
        .config();
    assert_eq!(config.server.tls.ciphers, ["A", "B"]);
    assert_eq!(config.security.api_certificates, ["x"]);
    assert_eq!(config.security.dashboard_certificates, ["ca.pem"]);
    assert_eq!(
        config.external_services.oauth.mtls.cert_file,
        Some("/a.pem".into())
    );
    assert_eq!(config.upstream.max_idle_connections_per_host, Some(500));
    let warning = Site::with("{}")
        .env("TYK_GW_PROXY_SSL_CIPHERS", "A")
        .warning();
    assert_eq!(
        warning.hint.as_deref(),
        Some("did you mean TYK_GW_PROXYSSLCIPHERSUITES?")
    );
}

/// How the variable of outbound case 69 is read; that the certificate is shown is proven end to end.
#[test]
fn a_map_variable_gives_host_and_reference() {
    let config = env_config(
        "TYK_GW_SECURITY_CERTIFICATES_UPSTREAM",
        "*:/certs/default.pem,example.com:ID,example.org:8443:OTHER",
    );
    let expected = [
        ("*", "/certs/default.pem"),
        ("example.com", "ID"),
        ("example.org:8443", "OTHER"),
    ];
    assert_eq!(
        config.security.upstream_certificates,
        expected.map(|(host, id)| (host.to_owned(), id.to_owned()))
    );
}

#[test]
fn a_map_item_without_a_colon_is_named_unless_it_is_secret() {
    let error = Site::with("{}")
        .env("TYK_GW_SECURITY_CERTIFICATES_UPSTREAM", "a:b,oops")
        .error();
    assert_eq!(error.message, "invalid map item: \"oops\"");
    let error = Site::with("{}").env("TYK_GW_SECRETS", "hunter2").error();
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let key = "*:-----BEGIN PRIVATE KEY-----\nDEK-Info: AES,hunter2\n-----END PRIVATE KEY-----";
    let error = Site::with("{}")
        .env("TYK_GW_SECURITY_CERTIFICATES_UPSTREAM", key)
        .error();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn two_variables_hold_json() {
    let config = env_config(
        "TYK_GW_PORTWHITELIST",
        r#"{"tls": {"ranges": [{"from": 1, "to": 2}]}}"#,
    );
    assert!(config.listen.ports.permits("tls", 2).is_ok());
    let pairs = r#"[{"domain_name": "localhost", "cert_file": "a.crt", "key_file": "a.key"}]"#;
    let config = env_config("TYK_GW_HTTPSERVEROPTIONS_CERTIFICATES", pairs);
    assert_eq!(config.server.certificates[0].key_file, "a.key");
    let error = Site::with("{}")
        .env("TYK_GW_PORTWHITELIST", "http:80")
        .error();
    assert!(error.message.starts_with("is not JSON"), "{error}");
}

#[test]
fn both_names_of_external_services_are_read_and_the_reference_name_wins() {
    let site = Site::with("{}").env("TYK_GW_EXTERNAL_SERVICES_GLOBAL_ENABLED", "true");
    assert!(site.config().external_services.global.enabled);
    let site = site.env("TYK_GW_EXTERNALSERVICES_GLOBAL_ENABLED", "false");
    assert!(!site.config().external_services.global.enabled);
}

#[test]
fn truth_is_written_as_go_reads_it() {
    for (text, value) in [
        ("1", true),
        ("t", true),
        ("TRUE", true),
        ("0", false),
        ("False", false),
    ] {
        assert_eq!(
            env_config("TYK_GW_CLOSECONNECTIONS", text)
                .listen
                .close_connections,
            value,
            "{text}"
        );
    }
    assert_eq!(
        Site::with("{}")
            .env("TYK_GW_CLOSECONNECTIONS", "yes")
            .error()
            .key,
        "close_connections"
    );
}

#[test]
fn variables_of_the_program_itself_are_no_configuration() {
    let site = Site::with("{}")
        .env("PORTCULLIS_LOG", "debug")
        .env("PORTCULLIS_GATEWAY", "https://gateway:8443")
        .env("PORTCULLIS_SECRET", "of another gateway");
    assert_eq!(site.warnings(), []);
}

#[test]
fn our_own_keys_have_their_own_prefix() {
    let config = Site::with("{}")
        .env("PORTCULLIS_WORKERS", "3")
        .env("PORTCULLIS_PROXY_PROTOCOL", "8080, 9090")
        .env("PORTCULLIS_LOG_FORMAT", "json")
        .config();
    assert_eq!(config.workers, Some(3));
    assert!(
        config.listen.proxy_protocol.expected_on(9090)
            && !config.listen.proxy_protocol.expected_on(80)
    );
    assert_eq!(config.logs.format, LogFormat::Json);
    let warning = Site::with("{}").env("PORTCULLIS_WORKER", "3").warning();
    assert_eq!(
        warning.hint.as_deref(),
        Some("did you mean PORTCULLIS_WORKERS?")
    );
}

#[test]
fn variables_of_an_orchestrator_and_of_others_are_left_alone() {
    let site = Site::with("{}")
        .env("PORTCULLIS_SERVICE_HOST", "10.0.0.1")
        .env("PORTCULLIS_PORT", "tcp://10.0.0.1:8080")
        .env("TYK_GW_PORT_8080_TCP_ADDR", "10.0.0.1")
        .env("PATH", "/bin");
    assert_eq!(site.warnings(), []);
}
