//! The whole way from text and environment to a configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::load::load_in;
use crate::{
    GatewayConfig, Loaded, LogFormat, Origin, Problem, Problems, ProxyProtocol, Renegotiation,
    Severity,
};

/// A directory with a configuration file, and an environment.
struct Site {
    root: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Site {
    fn with(text: &str) -> Self {
        let site = Self::without_file();
        std::fs::write(site.root.path().join("tyk.conf"), text).expect("file");
        site
    }

    fn without_file() -> Self {
        Self {
            root: tempfile::tempdir().expect("temporary directory"),
            env: Vec::new(),
        }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn load(&self) -> Result<Loaded, Problems> {
        load_in(self.root.path(), None, self.env.clone())
    }

    fn config(&self) -> GatewayConfig {
        self.load()
            .unwrap_or_else(|problems| panic!("{problems}"))
            .config
    }

    fn warnings(&self) -> Vec<Problem> {
        self.load()
            .unwrap_or_else(|problems| panic!("{problems}"))
            .warnings
    }

    fn problems(&self) -> Problems {
        self.load()
            .expect_err("the configuration is wrong on purpose")
    }

    /// The only error there is.
    fn error(&self) -> Problem {
        let problems = self.problems();
        let errors: Vec<&Problem> = problems.errors().collect();
        assert_eq!(errors.len(), 1, "{problems}");
        errors[0].clone()
    }

    /// The only warning there is.
    fn warning(&self) -> Problem {
        let warnings = self.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:#?}");
        warnings[0].clone()
    }
}

fn env_config(name: &str, value: &str) -> GatewayConfig {
    Site::with("{}").env(name, value).config()
}

// Defaults.

#[test]
fn an_empty_file_means_the_documented_defaults() {
    let site = Site::with("{}");
    let loaded = site.load().expect("defaults are right");
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.path, Some(site.root.path().join("tyk.conf")));
    let config = loaded.config;
    assert_eq!(
        (
            config.listen.port,
            config.listen.control_port,
            config.listen.address
        ),
        (8080, None, None)
    );
    assert!(config.secret_is_default());
    assert_eq!(config.key_passphrase(), &config.security.secret);
    assert_eq!(config.server.read_timeout, Duration::from_secs(120));
    assert_eq!(config.server.write_timeout, Duration::from_secs(120));
    assert_eq!(
        (config.server.tls.min_version, config.server.tls.max_version),
        (None, None)
    );
    assert_eq!(config.upstream.default_timeout, Duration::from_secs(30));
    assert_eq!(config.upstream.renegotiation, Renegotiation::Never);
    assert_eq!(config.control.liveness_path, "/hello");
    assert_eq!(config.control.readiness_path, "/ready");
    assert_eq!(
        config.control.graceful_shutdown_timeout,
        Duration::from_secs(30)
    );
    assert_eq!(config.definitions.data_dir, site.root.path().join("data"));
    assert_eq!(config.definitions.app_path, site.root.path().join("apps/"));
    assert!(config.definitions.watch_app_path);
    assert_eq!((config.workers, config.storage), (None, None));
    assert_eq!(
        config.limits.ticket_rotation,
        Some(Duration::from_secs(12 * 3600))
    );
    assert_eq!(config.limits.max_handshakes_per_address, Some(100));
    assert_eq!(config.limits.idle_timeout, Duration::from_secs(120));
    assert_eq!(config.listen.proxy_protocol, ProxyProtocol::Off);
}

#[test]
fn zero_and_less_mean_the_default_where_the_table_says_so() {
    let config = Site::with(
        r#"{"http_server_options": {"read_timeout": 0, "write_timeout": -5, "max_request_body_size": 0},
            "proxy_default_timeout": -1, "max_conn_time": -1, "reload_interval": 0,
            "portcullis": {"ticket_rotation": 0, "max_handshakes_per_address": 0}}"#,
    )
    .config();
    assert_eq!(config.server.read_timeout, Duration::from_secs(120));
    assert_eq!(config.server.write_timeout, Duration::from_secs(120));
    assert_eq!(config.server.max_request_body_size, None);
    assert_eq!(config.upstream.default_timeout, Duration::from_secs(30));
    assert_eq!(config.upstream.max_connection_age, Some(Duration::ZERO));
    assert_eq!(config.definitions.reload_interval, Duration::from_secs(1));
    assert_eq!(config.limits.ticket_rotation, None);
    assert_eq!(config.limits.max_handshakes_per_address, None);
}

/// The fraction of `proxy_default_timeout` is kept (outbound sheet, section 1).
#[test]
fn a_fraction_of_a_second_is_kept() {
    let config = Site::with(r#"{"proxy_default_timeout": 1.9}"#).config();
    assert_eq!(config.upstream.default_timeout, Duration::from_millis(1900));
}

/// `flush_interval` counts milliseconds (inbound sheet, contradiction 27).
#[test]
fn the_flush_interval_is_in_milliseconds() {
    let config = Site::with(r#"{"http_server_options": {"flush_interval": 250}}"#).config();
    assert_eq!(
        config.server.flush_interval,
        Some(Duration::from_millis(250))
    );
}

// The file.

#[test]
fn keys_match_whatever_their_case_but_underscores_count() {
    let site = Site::with(
        r#"{"Listen_Port": 1, "HTTP_Server_Options": {"Use_SSL": true}, "listenport": 2}"#,
    );
    let loaded = site.load().expect("right");
    assert_eq!(loaded.config.listen.port, 1);
    assert!(loaded.config.server.use_ssl);
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(
        loaded.warnings[0].hint.as_deref(),
        Some("did you mean `listen_port`?")
    );
}

#[test]
fn null_means_not_set_at_every_level() {
    let config = Site::with(
        r#"{"listen_port": null, "security": null, "http_server_options": {"use_ssl": null}}"#,
    )
    .config();
    assert_eq!(config.listen.port, 8080);
}

#[test]
fn every_problem_is_reported_at_once_with_line_key_and_what_is_accepted() {
    let site = Site::with(
        "{\n  \"listen_port\": \"8080\",\n  \"listn_address\": \"\",\n  \"http_server_options\": {\n    \"read_timeout\": 1.5,\n    \"ssl_ciphers\": \"A\"\n  },\n  \"portcullis\": {\"workers\": 0}\n}",
    )
    .env("TYK_GW_CONTROLAPIPORT", "70000");
    let problems = site.problems();
    let file = |line| Origin::File {
        path: site.root.path().join("tyk.conf"),
        line: Some(line),
    };
    let found: Vec<_> = problems
        .as_slice()
        .iter()
        .map(|p| (p.key.as_str(), p.origin.clone(), p.severity))
        .collect();
    for expected in [
        ("listen_port", file(2), Severity::Error),
        ("listn_address", file(3), Severity::Warning),
        ("http_server_options.read_timeout", file(5), Severity::Error),
        ("http_server_options.ssl_ciphers", file(6), Severity::Error),
        ("portcullis.workers", file(8), Severity::Error),
        (
            "control_api_port",
            Origin::Env("TYK_GW_CONTROLAPIPORT".to_owned()),
            Severity::Error,
        ),
    ] {
        assert!(found.contains(&expected), "{expected:?} in {found:#?}");
    }
    assert_eq!(found.len(), 6);
    let quoted = problems
        .errors()
        .find(|problem| problem.key == "listen_port")
        .expect("is there");
    assert_eq!(quoted.value.as_deref(), Some("\"8080\""));
    assert_eq!(quoted.hint.as_deref(), Some("remove the quotes"));
    assert!(
        quoted
            .accepted
            .as_deref()
            .is_some_and(|text| text.contains("65535"))
    );
}

/// A version in quotes is a wrong type and stops the start (outbound sheet, section 0).
#[test]
fn a_tls_version_by_name_is_refused() {
    let error = Site::with(r#"{"http_server_options": {"min_version": "1.2"}}"#).error();
    assert_eq!(error.key, "http_server_options.min_version");
    assert!(
        error
            .accepted
            .is_some_and(|accepted| accepted.contains("771"))
    );
}

#[test]
fn broken_json_is_reported_together_with_what_is_wrong_in_the_environment() {
    let problems = Site::with("{\n  \"listen_port\": 8080,,\n}")
        .env("TYK_GW_LISTENPORT", "x")
        .problems();
    let text = problems.to_string();
    assert!(
        text.contains("tyk.conf:2") && text.contains("line 2, column 23") && text.contains('^'),
        "{text}"
    );
    assert!(text.contains("TYK_GW_LISTENPORT"), "{text}");
}

#[test]
fn a_group_that_is_no_object_is_an_error() {
    assert_eq!(Site::with(r#"{"security": []}"#).error().key, "security");
}

#[test]
fn a_repeated_key_takes_its_last_value_and_is_reported() {
    let site = Site::with("{\"listen_port\": 1,\n\"LISTEN_PORT\": 2}");
    assert_eq!(site.config().listen.port, 2);
    assert_eq!(
        site.warning().origin,
        Origin::File {
            path: site.root.path().join("tyk.conf"),
            line: Some(1)
        }
    );
}

/// The other spellings of contradictions 1, 2, 3 and 4 of the outbound sheet.
#[test]
fn other_spellings_of_a_key_are_read_as_well() {
    let site = Site::with(
        r#"{"proxy": {"enable_http2": true, "ssl_max_version": 772},
            "security": {"certificate": {"upstream": {"*": "a.pem"}}},
            "certificates": {"dashboard_api": ["ca.pem"]}}"#,
    );
    let config = site.config();
    assert!(config.upstream.enable_http2);
    assert_eq!(config.upstream.tls.max_version, Some(772));
    assert_eq!(
        config.security.upstream_certificates,
        [("*".to_owned(), "a.pem".to_owned())]
    );
    assert_eq!(config.security.dashboard_certificates, ["ca.pem"]);
    assert_eq!(
        Site::with(r#"{"SSLForceCommonNameCheck": true}"#)
            .error()
            .key,
        "ssl_force_common_name_check"
    );
}

#[test]
fn the_canonical_spelling_wins_over_the_other_and_the_conflict_is_reported() {
    for text in [
        r#"{"proxy_enable_http2": true, "proxy": {"enable_http2": false}}"#,
        r#"{"proxy": {"enable_http2": false}, "proxy_enable_http2": true}"#,
    ] {
        let site = Site::with(text);
        assert!(site.config().upstream.enable_http2, "{text}");
        assert_eq!(site.warning().key, "proxy.enable_http2");
    }
}

#[test]
fn a_feature_that_is_not_here_is_named_once_and_only_when_it_is_on() {
    let site = Site::with(
        r#"{"enable_analytics": true, "analytics_config": {"type": "rpc"}, "enable_jsvm": false, "monitor": {"enable_trigger_monitors": false}}"#,
    )
    .env("TYK_GW_ENABLEJSVM", "false");
    let warning = site.warning();
    assert_eq!(warning.key, "enable_analytics, analytics_config");
    assert!(warning.message.contains("analytics records"), "{warning}");
}

#[test]
fn a_comment_key_is_unknown_and_warned_about() {
    let warning = Site::with(r#"{"_comment": "hunter2"}"#).warning();
    assert_eq!(warning.key, "_comment");
    assert!(
        !warning.to_string().contains("hunter2"),
        "the value of an unknown key might be a secret"
    );
}

// Finding the file.

#[test]
fn a_file_that_was_asked_for_must_exist() {
    let site = Site::with("{}");
    let missing = Path::new("other.conf");
    let problems =
        load_in(site.root.path(), Some(missing), site.env.clone()).expect_err("it does not exist");
    let text = problems.to_string();
    assert!(
        text.contains(&site.root.path().join(missing).display().to_string()),
        "{text}"
    );
}

#[test]
fn the_file_in_the_home_directory_is_found() {
    let site = Site::without_file();
    let home = site.root.path().join("home");
    let file = home.join(".config/tyk/tyk.conf");
    std::fs::create_dir_all(file.parent().expect("has a parent")).expect("directory");
    std::fs::write(&file, "{\"listen_port\": 7}").expect("file");
    let loaded = site
        .env("HOME", &home.display().to_string())
        .load()
        .expect("right");
    assert_eq!((loaded.path, loaded.config.listen.port), (Some(file), 7));
}

#[test]
fn without_any_file_the_error_tells_how_to_make_one() {
    if PathBuf::from("/etc/tyk/tyk.conf").exists() {
        return;
    }
    let error = Site::without_file().error();
    assert!(
        error
            .hint
            .is_some_and(|hint| hint.contains("portcullis quickstart"))
    );
}

#[test]
fn the_file_can_be_left_out_for_the_environment_alone() {
    let site =
        Site::with("{\"listen_port\": 1, \"broken\": }").env("TYK_GW_OMITCONFIGFILE", "TRUE");
    let loaded = site
        .env("TYK_GW_LISTENADDRESS", "::1")
        .load()
        .expect("the file is not read");
    assert_eq!((loaded.path, loaded.config.listen.port), (None, 8080));
    assert_eq!(
        loaded.config.listen.address,
        Some(std::net::Ipv6Addr::LOCALHOST.into())
    );
}

// The environment.

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

// Secrets and references.

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

// What is not built yet.

#[test]
fn a_protection_that_is_not_built_yet_keeps_the_gateway_from_starting() {
    for text in [
        r#"{"security": {"control_api_use_mutual_tls": true}}"#,
        r#"{"security": {"pinned_public_keys": {"*": "id"}}}"#,
        r#"{"ssl_force_common_name_check": true}"#,
    ] {
        assert!(
            Site::with(text)
                .error()
                .message
                .contains("not available yet"),
            "{text}"
        );
    }
    assert_eq!(
        Site::with(r#"{"security": {"control_api_use_mutual_tls": false}}"#).warnings(),
        []
    );
}

#[test]
fn a_key_without_effect_yet_is_reported_once_for_its_feature() {
    let site = Site::with(
        r#"{"hash_keys": true, "min_token_length": 5, "storage": {"type": "redis", "host": "r"}}"#,
    );
    let keys: Vec<String> = site
        .warnings()
        .into_iter()
        .map(|warning| warning.key)
        .collect();
    assert_eq!(keys, ["storage.host", "hash_keys, min_token_length"]);
    assert_eq!(
        site.config().storage.expect("is written").addresses,
        ["r:6379"]
    );
}

// Several keys together.

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
