//! What is read from the file, and how the file is found.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Site;
use crate::load::load_in;
use crate::{Origin, ProxyProtocol, Renegotiation, Severity, load_text};

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
    assert!(config.secret_is_default() && config.key_passphrase_is_default());
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
    assert_eq!(found[0].0, "listen_port", "the report follows the file");
    assert_eq!(
        found[5].0, "control_api_port",
        "the environment comes after it"
    );
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
    let named = Site::with(r#"{"SSLForceCommonNameCheck": true}"#).config();
    assert!(named.upstream.force_common_name_check);
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

#[test]
fn a_text_at_hand_is_read_without_touching_its_file() {
    let path = Path::new("/nowhere/tyk.conf");
    let loaded = load_text(path, r#"{"listen_port": 7, "app_path": "apis"}"#, []).expect("right");
    assert_eq!(
        (loaded.config.listen.port, loaded.path.as_deref()),
        (7, Some(path))
    );
    assert_eq!(
        loaded.config.definitions.app_path,
        Path::new("/nowhere/apis")
    );
}

#[test]
fn strict_reading_takes_a_warning_for_an_error() {
    let strict = |text| {
        load_text(Path::new("tyk.conf"), text, [])
            .expect("right")
            .strict()
    };
    assert!(strict("{}").is_ok());
    let problems = strict(r#"{"unknown": 1}"#).expect_err("a warning is an error");
    assert_eq!(problems.errors().count(), 1);
}

#[test]
fn a_key_cannot_break_out_of_its_line() {
    let warning = Site::with("{\"a\\nerror: b\": 1}").warning();
    assert_eq!(warning.key, "a\\nerror: b");
    let long = Site::with(&format!("{{\"{}\": 1}}", "x".repeat(100_000))).warning();
    assert!(long.to_string().len() < 1000);
}

#[test]
fn zero_in_the_certificate_monitor_means_the_default_and_there_is_no_floor() {
    let with = |days: u32, check: u64, event: u64| {
        let text = format!(
            r#"{{"security": {{"certificate_expiry_monitor": {{"warning_threshold_days": {days},
                "check_cooldown_seconds": {check}, "event_cooldown_seconds": {event}}}}}}}"#
        );
        let loaded = Site::with(&text).load().expect("right");
        assert_eq!(loaded.warnings, []);
        let monitor = loaded.config.security.expiry_monitor;
        let seconds = (monitor.check_cooldown, monitor.event_cooldown);
        (
            monitor.warning_threshold_days,
            seconds.0.as_secs(),
            seconds.1.as_secs(),
        )
    };
    assert_eq!(with(0, 0, 0), (30, 3600, 86_400));
    assert_eq!(with(60, 1, 2), (60, 1, 2));
}
