//! `portcullis doctor` and `check --store` look into the store, while its gateway has it open too.

use portcullis_pki::make::Pair;
use portcullis_tests::{
    doctor::{foretold, put, step},
    echo::Echo,
    gateway::{Gateway, api, with},
    keys::{session, token_api},
    mtls::{authority, bound, call, id, issued, listing, self_signed, separate_on, upload},
    ports::free_port,
    program,
    wait::eventually,
};
use serde_json::{Value, json};

#[test]
fn ids_of_the_store_are_looked_up_while_the_gateway_runs() {
    let echo = Echo::start("api");
    let ca = authority("Stored CA");
    let [leaf, gone, other] = ["leaf", "gone", "other"].map(self_signed);
    let below = issued(&ca, "below");
    let control = free_port();
    let list = json!([id(&leaf), id(&gone), id(&ca)]);
    let open = bound(api("open", "/open/", &echo.url()), "localhost");
    let gateway = separate_on(control)
        .api("a", &bound(listing("a", "/a/", &echo, &list), "localhost"))
        .api("open", &open)
        .start();
    for pair in [&leaf, &ca] {
        upload(&gateway, control, &pair.certificate_pem());
    }
    for (name, pair) in [
        ("leaf", &leaf),
        ("gone", &gone),
        ("other", &other),
        ("below", &below),
    ] {
        put(&gateway, name, pair);
    }
    let happens = |pair: &Pair| call(&gateway).with(&[pair]).get("/a/").status();
    for (name, pair) in [("leaf", &leaf), ("below", &below)] {
        eventually("the gateway knows", || happens(pair) == 200);
        let (verdict, told) = foretold(&gateway, "localhost", "/a/", Some(name));
        assert_eq!(verdict, "passes", "{told}");
    }
    let (verdict, told) = foretold(&gateway, "localhost", "/a/", Some("gone"));
    assert_eq!(
        (verdict.as_str(), happens(&gone)),
        ("refused", 403),
        "{told}"
    );
    assert!(step(&told, "list").contains("does not hold"), "{told}");
    assert!(
        told["change"].as_str().unwrap().contains(&id(&gone)),
        "{told}"
    );
    let (verdict, told) = foretold(&gateway, "localhost", "/a/", Some("other"));
    assert_eq!(
        (verdict.as_str(), happens(&other)),
        ("refused", 403),
        "{told}"
    );

    let check = |more: &[&str]| {
        let mut arguments = vec!["check", "--conf", "tyk.conf"];
        arguments.extend(more);
        let output = program::command(&arguments)
            .current_dir(gateway.dir())
            .output()
            .expect("the program runs");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = check(&[]);
    assert!(told.contains("is not looked into here"), "{told}");
    let told = check(&["--store"]);
    assert!(!told.contains("is not looked into here"), "{told}");
    assert!(
        told.contains(&id(&gone)) && !told.contains(&id(&leaf)),
        "{told}"
    );
}

#[test]
fn the_key_of_a_certificate_is_looked_up() {
    let echo = Echo::start("api");
    let dynamic = |name: &str| {
        let use_certificate = json!({"auth_configs": {"authToken": {"use_certificate": true}}});
        with(
            token_api(name, &format!("/{name}/"), &echo.url()),
            use_certificate,
        )
    };
    let gateway = Gateway::builder()
        .tls()
        .api("dyn", &dynamic("dyn"))
        .api("closed", &dynamic("closed"))
        .start();
    let [known, asleep, removed, stranger] =
        ["known", "asleep", "removed", "stranger"].map(self_signed);
    for pair in [&known, &asleep, &removed] {
        upload(&gateway, gateway.port(), &pair.certificate_pem());
        let asleep = json!({"certificate": id(pair), "is_inactive": std::ptr::eq(pair, &asleep)});
        let made = gateway.change("POST", "/tyk/keys/create", &session(&["dyn"], asleep));
        made.expect(200);
    }
    let path = format!("/tyk/certs/{}", id(&removed));
    gateway.change("DELETE", &path, &Value::Null).expect(200);
    for (name, path, pair, status, says) in [
        ("known", "/dyn/", &known, 200, "opens API dyn"),
        (
            "known",
            "/closed/",
            &known,
            403,
            "the key does not open this API",
        ),
        ("asleep", "/dyn/", &asleep, 403, "the key is switched off"),
        (
            "removed",
            "/dyn/",
            &removed,
            403,
            "is not in the certificate store",
        ),
        (
            "stranger",
            "/dyn/",
            &stranger,
            401,
            "no key belongs to this certificate",
        ),
    ] {
        put(&gateway, name, pair);
        let (verdict, told) = foretold(&gateway, "localhost", path, Some(name));
        assert_eq!(verdict == "passes", status == 200, "{told}");
        assert!(step(&told, "session").contains(says), "{told}");
        eventually("the gateway knows", || {
            call(&gateway).with(&[pair]).get(path).status() == status
        });
        if status != 200 {
            assert!(
                step(&told, "session").contains(&status.to_string()),
                "{told}"
            );
        }
    }
}

#[test]
fn what_a_store_that_is_away_holds_is_unknown() {
    let echo = Echo::start("api");
    let [client, other] = ["client", "other"].map(self_signed);
    let gateway = separate_on(free_port())
        .config(json!({"storage": {"type": "redis", "host": "127.0.0.1", "port": free_port()}}))
        .api(
            "a",
            &bound(listing("a", "/", &echo, &json!([id(&client)])), "localhost"),
        )
        .start();
    put(&gateway, "client", &client);
    put(&gateway, "other", &other);
    for (name, says) in [
        ("client", "names this very certificate".to_owned()),
        ("other", id(&client)),
    ] {
        let (verdict, told) = foretold(&gateway, "localhost", "/", Some(name));
        assert_eq!(verdict, "unknown", "{told}");
        assert!(step(&told, "list").contains(&says), "{told}");
        assert!(
            step(&told, "store").contains("cannot be looked into"),
            "{told}"
        );
    }
}
