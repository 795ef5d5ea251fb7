//! What can be typed: `check`, `version`, `--help`, and the ways of starting and stopping.

use portcullis_tests::{
    echo::Echo,
    gateway::{Gateway, Signal, api, with},
    program,
    wait::eventually,
};
use serde_json::json;

/// A row of the table that `check` prints, by the id of its API.
fn row<'t>(table: &'t str, id: &str) -> &'t str {
    let id = format!("({id})");
    table
        .lines()
        .find(|line| line.contains(&id))
        .unwrap_or_else(|| panic!("no row for {id} in\n{table}"))
}

#[test]
fn check_says_what_every_host_and_listen_path_would_do_and_opens_no_port() {
    let upstream = "http://upstream.test:9000/base";
    let gateway = Gateway::builder()
        .config(json!({"enable_custom_domains": true}))
        .api("served", &api("served", "/served/", upstream))
        .api(
            "hosted",
            &with(api("hosted", "/", upstream), json!({"domain": "own.test"})),
        )
        .api(
            "inactive",
            &with(
                api("inactive", "/inactive/", upstream),
                json!({"active": false}),
            ),
        );
    let ended = gateway.run(&["check"]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let served = row(&ended.output, "served");
    assert!(
        served.contains("/served/") && served.contains("served -> http://upstream.test:9000/base"),
        "{served}"
    );
    assert!(row(&ended.output, "hosted").contains("own.test"));
    let inactive = row(&ended.output, "inactive");
    assert!(
        inactive.contains("inactive") && !inactive.contains("->"),
        "{inactive}"
    );
}

#[test]
fn check_tells_every_problem_of_the_definitions_at_once_and_fails() {
    let upstream = "http://upstream.test:9000/";
    let gateway = Gateway::builder()
        .api("guarded", &with(api("guarded", "/guarded/", upstream), json!({"use_keyless": false, "enable_signature_checking": true})))
        .api("one", &api("one", "/same/", upstream))
        .api("two", &api("two", "/same/", upstream))
        .api("wrong", &with(api("wrong", "/wrong/", upstream), json!({"active": 7, "proxy": {"target_url": "::"}})))
        .file("apps/broken.json", "{")
        .config(json!({
            "http_server_options": {"use_ssl": true, "ssl_certificates": ["missing.pem"], "max_version": 772},
        }));
    let ended = gateway.run(&["check"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    for said in [
        "guarded.json: API is quarantined: it relies on what this version does not have yet: HMAC or HTTP signature authentication",
        "api `two`: the listen path `/same/`",
        "wrong.json: API is quarantined: ",
        "active: expected a boolean",
        "proxy.target_url",
        "broken.json: API is quarantined",
        "missing.pem",
    ] {
        assert!(
            ended.log.contains(said),
            "{said:?} is not in\n{}",
            ended.log
        );
    }
    assert!(row(&ended.output, "guarded").contains("quarantined"));
    assert!(row(&ended.output, "wrong").contains("quarantined"));
    assert!(row(&ended.output, "two").contains("/same/-two"));
}

#[test]
fn check_takes_unknown_members_of_definitions_for_errors_when_strict() {
    let definition = with(
        api("a", "/a/", "http://upstream.test/"),
        json!({"use_keylesss": true}),
    );
    let gateway = Gateway::builder().api("a", &definition);
    let lenient = gateway.run(&["check"]);
    assert_eq!(lenient.status.code(), Some(0), "{lenient:?}");
    assert!(
        lenient.log.contains("warning: a.json") && lenient.log.contains("use_keyless"),
        "{}",
        lenient.log
    );
    let strict = gateway.run(&["check", "--strict"]);
    assert_eq!(strict.status.code(), Some(1), "{strict:?}");
    assert!(strict.log.contains("error: a.json"), "{}", strict.log);
}

#[test]
fn an_extra_that_is_not_there_yet_is_named_and_the_api_is_served_without_it() {
    let classic = with(
        api("a", "/a/", "http://upstream.test/"),
        json!({"CORS": {"enable": true}, "enable_batch_request_support": true}),
    );
    let gateway = Gateway::builder().api("a", &classic);
    let lenient = gateway.run(&["check"]);
    assert_eq!(lenient.status.code(), Some(0), "{lenient:?}");
    for feature in ["CORS", "batch requests"] {
        let said = format!("warning: a.json: asks for {feature}, which");
        assert!(lenient.log.contains(&said), "{}", lenient.log);
    }
    assert!(!row(&lenient.output, "a").contains("quarantined"));
    let strict = gateway.run(&["check", "--strict"]);
    assert_eq!(strict.status.code(), Some(1), "{strict:?}");
    assert!(strict.log.contains("error: a.json: asks for CORS"));
}

#[test]
fn check_fails_with_the_text_a_start_would_fail_with() {
    let gateway = Gateway::builder()
        .config(json!({"http_server_options": {"min_version": 772, "max_version": 771}}));
    let checked = gateway.run(&["check"]);
    assert_eq!(checked.status.code(), Some(1));
    let said = "minTLS (0x304 / TLS 1.3) cannot be greater than maxTLS (0x303 / TLS 1.2)";
    assert!(checked.log.contains(said), "{}", checked.log);
    assert!(gateway.fail().log.contains(said));
}

#[test]
fn an_environment_variable_wins_over_the_file() {
    let gateway = Gateway::builder()
        .config(json!({"http_server_options": {"max_version": 771}}))
        .environment("TYK_GW_HTTPSERVEROPTIONS_MAXVERSION", "770");
    let ended = gateway.fail();
    assert!(
        ended
            .log
            .contains("is lower than the default minimum TLS version"),
        "{}",
        ended.log
    );
}

#[test]
fn the_version_names_the_program_and_its_tls_library() {
    let ended = program::run(&["version"]);
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success());
    assert!(
        said.starts_with("portcullis ") && said.contains("AWS-LC"),
        "{said}"
    );
    let short = String::from_utf8(program::run(&["--version"]).stdout).unwrap();
    assert_eq!(said.lines().next(), Some(short.trim()));
}

#[test]
fn every_verb_has_help_worth_reading_and_the_exit_statuses_stand_in_it() {
    let help = |arguments: &[&str]| {
        let ended = program::run(arguments);
        assert!(ended.status.success(), "{arguments:?}");
        String::from_utf8(ended.stdout).unwrap()
    };
    let all = help(&["--help"]);
    for verb in [
        "quickstart",
        "gateway",
        "check",
        "doctor",
        "cert",
        "version",
    ] {
        assert!(
            all.contains(&format!("\n  {verb} ")),
            "{verb} is not in\n{all}"
        );
        let own = help(&[verb, "--help"]);
        assert!(own.contains("Usage: portcullis"), "{own}");
    }
    assert!(
        all.contains("Exit status:") && all.contains("TYK_GW_"),
        "{all}"
    );
    assert_eq!(program::run(&["sing"]).status.code(), Some(2));
    assert_eq!(program::run(&[]).status.code(), Some(2));
}

#[test]
fn a_configuration_file_without_a_verb_starts_the_gateway() {
    let builder = Gateway::builder();
    let mut process = builder
        .command(&[])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let log = portcullis_tests::log::Log::of(process.stderr.take().unwrap());
    let ready = log.find(0, "gateway is ready", portcullis_tests::wait::PATIENCE);
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(ready.is_some(), "{}", log.text());
}

#[test]
fn a_configuration_file_that_is_missing_is_named() {
    let ended = program::run(&["gateway", "--conf", "/nowhere/tyk.conf"]);
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("/nowhere/tyk.conf"), "{said}");
}

#[test]
fn logs_are_json_when_asked_for() {
    let gateway = Gateway::builder()
        .config(json!({"log_format": "json"}))
        .start();
    let line: serde_json::Value =
        serde_json::from_str(&gateway.wait_log("gateway is ready")).unwrap();
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "gateway is ready");
}

#[test]
fn a_signal_to_stop_lets_requests_under_way_finish_and_ends_with_success() {
    let echo = Echo::start("echo");
    let mut gateway = Gateway::builder()
        .api("a", &api("a", "/a/", &echo.url()))
        .start();
    echo.hold();
    let (curl, url) = (gateway.curl(), gateway.url("/a/held"));
    let request = std::thread::spawn(move || curl.send(&url));
    eventually("the request is at the upstream", || echo.waiting() == 1);
    gateway.signal(Signal::TERM);
    gateway.wait_log("stopping: requests in flight may finish");
    assert!(gateway.is_running());
    echo.release();
    assert_eq!(request.join().unwrap().status, 200);
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_gateway_at_once() {
    let echo = Echo::start("echo");
    let mut gateway = Gateway::builder()
        .config(json!({"graceful_shutdown_timeout_duration": 600}))
        .api("a", &api("a", "/a/", &echo.url()))
        .start();
    echo.hold();
    let (curl, url) = (gateway.curl(), gateway.url("/a/held"));
    let request = std::thread::spawn(move || curl.send(&url));
    eventually("the request is at the upstream", || echo.waiting() == 1);
    gateway.signal(Signal::TERM);
    gateway.wait_log("stopping: requests in flight may finish");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert_eq!(request.join().unwrap().status, 0, "the request was cut");
}
