//! Reloads: what changes, what stays, and that nobody notices.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::symlink,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use portcullis_tests::{
    curl::Response,
    echo::Echo,
    gateway::{Builder, Gateway, api, with},
    ports::free_port,
    raw,
    wait::eventually,
};
use serde_json::{Value, json};

/// The body of the answer that stands for an API that is quarantined.
const NOT_AVAILABLE: &str = "API is not available";

fn watched(echo: &Echo) -> Builder {
    Gateway::builder().api("first", &api("first", "/first/", &echo.url()))
}

/// A gateway that looks at its files only when it is told to.
fn unwatched(echo: &Echo) -> Builder {
    watched(echo).config(json!({"portcullis": {"watch_app_path": false}}))
}

fn upstream(response: &Response) -> Option<String> {
    (response.status == 200).then(|| response.json()["upstream"].as_str().unwrap().to_owned())
}

/// What `GET /tyk/apis/quarantine` says about the definition in a file.
fn quarantined(gateway: &Gateway, file: &str) -> Option<String> {
    let list = gateway.control("/tyk/apis/quarantine").expect(200).json();
    let entries = list
        .as_array()
        .or_else(|| list["quarantine"].as_array())
        .expect("a list")
        .clone();
    let entry = entries.into_iter().find(|entry| entry["file"] == file)?;
    Some(entry["reason"].as_str().expect("a reason").to_owned())
}

#[test]
fn a_signal_puts_added_changed_and_removed_definitions_in_force() {
    let (echo, other) = (Echo::start("echo"), Echo::start("other"));
    let gateway = unwatched(&echo).start();
    gateway.write_api("first", &api("first", "/first/", &other.url()));
    gateway.write_api("second", &api("second", "/second/", &other.url()));
    assert_eq!(
        upstream(&gateway.get("/first/")).as_deref(),
        Some("echo"),
        "nothing happens before the signal"
    );
    gateway.get("/second/").expect(404);

    gateway.reload();
    assert_eq!(upstream(&gateway.get("/first/")).as_deref(), Some("other"));
    assert_eq!(upstream(&gateway.get("/second/")).as_deref(), Some("other"));

    gateway.remove_api("first");
    gateway.reload();
    gateway.get("/first/").expect(404);
    gateway.get("/second/").expect(200);
}

#[test]
fn the_directory_of_definitions_is_watched() {
    let (echo, other) = (Echo::start("echo"), Echo::start("other"));
    let gateway = watched(&echo).start();
    gateway.write_api("second", &api("second", "/second/", &echo.url()));
    eventually("the added API", || gateway.get("/second/").status == 200);
    gateway.write_api("second", &api("second", "/second/", &other.url()));
    eventually("the changed API", || {
        upstream(&gateway.get("/second/")).as_deref() == Some("other")
    });
    gateway.remove_api("second");
    eventually("the removed API", || gateway.get("/second/").status == 404);
    gateway.get("/first/").expect(200);
}

#[test]
fn a_directory_of_definitions_may_be_swapped_as_a_whole() {
    let (one, two) = (Echo::start("one"), Echo::start("two"));
    let builder = Gateway::builder()
        .config(json!({"app_path": "current"}))
        .file(
            "releases/1/api.json",
            &api("api", "/api/", &one.url()).to_string(),
        )
        .file(
            "releases/2/api.json",
            &api("api", "/api/", &two.url()).to_string(),
        );
    symlink("releases/1", builder.path("current")).unwrap();
    let gateway = builder.start();
    assert_eq!(upstream(&gateway.get("/api/")).as_deref(), Some("one"));
    symlink("releases/2", gateway.path("next")).unwrap();
    fs::rename(gateway.path("next"), gateway.path("current")).unwrap();
    eventually("the new release", || {
        upstream(&gateway.get("/api/")).as_deref() == Some("two")
    });
}

#[test]
fn definitions_that_are_links_into_a_swapped_directory_are_watched_too() {
    let (one, two) = (Echo::start("one"), Echo::start("two"));
    // As Kubernetes mounts a ConfigMap.
    let builder = Gateway::builder()
        .file(
            "apps/..1/api.json",
            &api("api", "/api/", &one.url()).to_string(),
        )
        .file(
            "apps/..2/api.json",
            &api("api", "/api/", &two.url()).to_string(),
        );
    symlink("..1", builder.path("apps/..data")).unwrap();
    symlink("..data/api.json", builder.path("apps/api.json")).unwrap();
    let gateway = builder.start();
    assert_eq!(upstream(&gateway.get("/api/")).as_deref(), Some("one"));
    symlink("..2", gateway.path("apps/..new")).unwrap();
    fs::rename(gateway.path("apps/..new"), gateway.path("apps/..data")).unwrap();
    eventually("the new contents", || {
        upstream(&gateway.get("/api/")).as_deref() == Some("two")
    });
}

#[test]
fn a_definition_that_turns_bad_answers_503_on_its_path_while_others_serve_until_it_is_mended() {
    let echo = Echo::start("echo");
    let root = Echo::start("root");
    let gateway = unwatched(&echo)
        .api("second", &api("second", "/second/", &echo.url()))
        .api("root", &api("root", "/", &root.url()))
        .start();
    for broken in [
        "{\"name\": ",
        "{\"api_id\": \"second\", \"active\": \"perhaps\"}",
    ] {
        gateway.write("apps/second.json", broken);
        gateway.reload();
        let refused = gateway.get("/second/x").expect(503);
        assert_eq!(refused.json()["error"], NOT_AVAILABLE);
        assert!(quarantined(&gateway, "second.json").is_some());
        assert_eq!(upstream(&gateway.get("/first/")).as_deref(), Some("echo"));
        assert_eq!(
            upstream(&gateway.get("/elsewhere")).as_deref(),
            Some("root")
        );
    }
    gateway.wait_log("second.json: API is quarantined");
    assert_eq!(
        root.served(),
        2,
        "nothing meant for the broken API went elsewhere"
    );

    gateway.write_api("second", &api("second", "/second/", &echo.url()));
    gateway.reload();
    gateway.get("/second/").expect(200);
    assert_eq!(quarantined(&gateway, "second.json"), None);
}

#[test]
fn a_definition_that_was_never_right_keeps_its_path_when_it_names_one() {
    let (echo, root) = (Echo::start("echo"), Echo::start("root"));
    let wrong = with(
        api("wrong", "/wrong/", &echo.url()),
        json!({"active": "perhaps"}),
    );
    let gateway = watched(&echo)
        .api("root", &api("root", "/", &root.url()))
        .api("wrong", &wrong)
        .start();
    let reason = quarantined(&gateway, "wrong.json").expect("it is quarantined");
    assert!(reason.contains("active"), "{reason}");
    gateway.get("/wrong/").expect(503);
    assert_eq!(
        root.served(),
        0,
        "nothing meant for the broken API went elsewhere"
    );
}

#[test]
fn a_definition_that_asks_for_a_protection_that_is_not_built_is_quarantined_by_its_name_and_never_served()
 {
    let echo = Echo::start("guarded");
    let asked = [
        (
            "signed",
            json!({"use_keyless": false, "auth": {"validate_signature": true}}),
            "HMAC or HTTP signature authentication",
        ),
        (
            "body",
            json!({"use_keyless": false, "use_basic_auth": true, "basic_auth": {"extract_from_body": true}}),
            "basic authentication with credentials in the body",
        ),
        (
            "either",
            json!({
                "use_keyless": false, "use_basic_auth": true, "use_standard_auth": true,
                "security_requirements": [["token"], ["basic"]],
            }),
            "alternatives between authentication methods",
        ),
        (
            "dynamic",
            json!({"use_keyless": false, "use_basic_auth": true, "auth": {"use_certificate": true}}),
            "Certificate Auth without the token method",
        ),
        (
            "allowed",
            json!({"enable_ip_whitelisting": true, "allowed_ips": ["10.0.0.1"]}),
            "IP address allow or block list",
        ),
        (
            "blocked",
            json!({"enable_ip_blacklisting": true, "blacklisted_ips": ["127.0.0.1"]}),
            "IP address allow or block list",
        ),
        (
            "credentialed",
            json!({"request_signing": {"is_enabled": true}}),
            "signature of requests towards the upstream",
        ),
    ];
    let mut builder = watched(&echo);
    for (name, more, _) in &asked {
        builder = builder.api(
            name,
            &with(api(name, &format!("/{name}/"), &echo.url()), more.clone()),
        );
    }
    let gateway = builder.start();
    for (name, _, feature) in asked {
        let refused = gateway.get(&format!("/{name}/")).expect(503);
        assert_eq!(refused.json()["error"], NOT_AVAILABLE);
        let reason = quarantined(&gateway, &format!("{name}.json"))
            .unwrap_or_else(|| panic!("{name} is not listed"));
        assert!(reason.contains(feature), "{name}: {reason}");
        gateway.wait_log(&format!("{name}.json: API is quarantined"));
    }
    assert_eq!(echo.served(), 0);
    gateway.get("/first/").expect(200);
}

#[test]
fn a_request_under_way_ends_on_the_snapshot_it_began_with_though_its_api_is_gone() {
    let echo = Echo::start("echo");
    let gateway = Arc::new(unwatched(&echo).start());
    echo.hold();
    let asking = gateway.clone();
    let request = thread::spawn(move || asking.get("/first/held"));
    eventually("the request is at the upstream", || echo.waiting() == 1);
    gateway.remove_api("first");
    gateway.reload();
    gateway.get("/first/").expect(404);
    assert!(!request.is_finished());
    echo.release();
    assert_eq!(upstream(&request.join().unwrap()).as_deref(), Some("echo"));
}

#[test]
fn twenty_reloads_under_traffic_break_no_connection_and_no_request() {
    let echo = Echo::start("echo");
    let gateway = Arc::new(
        Gateway::builder()
            .tls()
            .api("first", &api("first", "/first/", &echo.url()))
            .start(),
    );
    let (over, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut clients = Vec::new();
    for number in 0..6 {
        let (gateway, over, served) = (gateway.clone(), over.clone(), served.clone());
        clients.push(thread::spawn(move || {
            let mut wire = raw::secure(&gateway);
            while !over.load(Ordering::Acquire) {
                // Half of the clients keep their connection, the others open new ones all the time.
                if number % 2 == 0 {
                    wire = raw::secure(&gateway);
                }
                wire.send(raw::get("/first/", &[]));
                let answer = wire.message().expect("no connection breaks");
                assert_eq!(answer.status(), 200);
                served.fetch_add(1, Ordering::AcqRel);
            }
        }));
    }
    for round in 0..20 {
        let before = served.load(Ordering::Acquire);
        let more = api("more", &format!("/more-{round}/"), &echo.url());
        gateway.write_api("more", &more);
        gateway.reload();
        gateway.get(&format!("/more-{round}/")).expect(200);
        eventually("traffic goes on", || {
            served.load(Ordering::Acquire) > before + 6
        });
    }
    over.store(true, Ordering::Release);
    for client in clients {
        client.join().expect("no client met an error");
    }
}

#[test]
fn ports_open_and_close_with_the_apis_that_want_them() {
    let echo = Echo::start("own");
    let port = free_port();
    let gateway = unwatched(&echo)
        .config(json!({"disable_ports_whitelist": true}))
        .start();
    let url = format!("http://127.0.0.1:{port}/");
    let own: Value = with(api("own", "/", &echo.url()), json!({"listen_port": port}));
    for _ in 0..2 {
        assert_eq!(gateway.curl().send(&url).exit, 7, "nobody listens");
        gateway.write_api("own", &own);
        gateway.reload();
        gateway.curl().send(&url).expect(200);
        gateway.remove_api("own");
        gateway.reload();
        // Workers close their sockets in their own time.
        eventually("the port is closed", || gateway.curl().send(&url).exit == 7);
    }
}

#[test]
fn a_reload_that_cannot_read_the_definitions_changes_nothing() {
    let echo = Echo::start("echo");
    let gateway = unwatched(&echo).start();
    fs::rename(gateway.path("apps"), gateway.path("away")).unwrap();
    let mark = gateway.log().mark();
    gateway.reload();
    let line = gateway.log().wait_since(mark, "reload failed");
    assert!(line.contains("app_path") && line.contains("apps"), "{line}");
    gateway.get("/first/").expect(200);
    fs::rename(gateway.path("away"), gateway.path("apps")).unwrap();
    gateway.remove_api("first");
    gateway.reload();
    gateway.get("/first/").expect(404);
}

#[test]
fn a_kept_connection_sees_what_is_in_force_with_each_request() {
    let echo = Echo::start("echo");
    let gateway = unwatched(&echo).start();
    let mut wire = raw::plain(&gateway);
    wire.socket()
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    for (status, present) in [(200, true), (404, false), (200, true)] {
        match present {
            true => gateway.write_api("first", &api("first", "/first/", &echo.url())),
            false => gateway.remove_api("first"),
        }
        gateway.reload();
        wire.send(raw::get("/first/", &[]));
        assert_eq!(
            wire.message().expect("the connection is open").status(),
            status
        );
    }
}

#[test]
fn reloads_while_h2load_runs_fail_none_of_its_requests() {
    const REQUESTS: &str = "4000";
    let echo = Echo::start("echo");
    let gateway = Gateway::builder()
        .tls()
        .config(json!({"http_server_options": {"enable_http2": true}}))
        .api("first", &api("first", "/first/", &echo.url()))
        .start();
    let mut load = Command::new("h2load")
        .args([
            "-n",
            REQUESTS,
            "-c",
            "4",
            "-m",
            "8",
            &gateway.url("/first/"),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("h2load is installed");
    let mut reloads = 0;
    while load.try_wait().unwrap().is_none() {
        gateway.write_api(
            "more",
            &api("more", &format!("/more-{reloads}/"), &echo.url()),
        );
        gateway.reload();
        reloads += 1;
    }
    let said = String::from_utf8(load.wait_with_output().unwrap().stdout).unwrap();
    let expected = format!("{REQUESTS} done, {REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout");
    assert!(
        said.contains(&expected) && said.contains(&format!("{REQUESTS} 2xx")),
        "{said}"
    );
    assert!(reloads >= 3, "only {reloads} reloads went on beside it");
}

#[test]
fn a_port_that_is_taken_keeps_one_api_away_until_a_reload_finds_it_free() {
    let echo = Echo::start("own");
    let port = free_port();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let gateway = unwatched(&echo)
        .config(json!({"disable_ports_whitelist": true}))
        .api(
            "own",
            &with(api("own", "/", &echo.url()), json!({"listen_port": port})),
        )
        .start();
    let line = gateway.wait_log(&format!("cannot listen on 127.0.0.1:{port}"));
    assert!(line.contains("ERROR"), "{line}");
    gateway.get("/first/").expect(200);
    drop(taken);
    gateway.reload();
    gateway
        .curl()
        .send(&format!("http://127.0.0.1:{port}/"))
        .expect(200);
}
