//! Who may call: tokens, users, and what their sessions open.

use portcullis_tests::{
    echo::Echo,
    gateway::{Gateway, api, with},
    keys::{error_of, session, token_api},
    wait::eventually,
};
use serde_json::{Value, json};

const DISALLOWED: &str = "Access to this API has been disallowed";

/// A gateway before one API `t` that asks for a token, with what `more` says of it.
fn guarded(echo: &Echo, more: Value) -> Gateway {
    let definition = with(token_api("t", "/t/", &echo.url()), more);
    Gateway::builder().api("t", &definition).start()
}

fn seconds_from_now(seconds: i64) -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(now.as_secs()).expect("a time") + seconds
}

#[test]
fn a_token_opens_an_api_and_without_one_it_stays_closed_over_both_protocols() {
    let echo = Echo::start("up");
    let gateway = guarded(&echo, json!({}));
    let token = gateway.put_key("mykey", &session(&["t"], json!({})));
    for protocol in ["--http1.1", "--http2-prior-knowledge"] {
        let call = |credential: Option<&str>| {
            let curl = gateway.curl().arguments(&[protocol]);
            let curl = match credential {
                Some(value) => curl.header("Authorization", value),
                None => curl,
            };
            curl.send(&gateway.url("/t/x"))
        };
        let missing = call(None).expect(401);
        assert_eq!(error_of(&missing), "Authorization field missing");
        assert_eq!(missing.header("www-authenticate"), None);
        let unknown = call(Some("nobody-has-this")).expect(403);
        assert_eq!(
            unknown.text(),
            format!("{{\n    \"error\": \"{DISALLOWED}\"\n}}")
        );
        call(Some(&token)).expect(200);
        call(Some(&format!("bearer {token}"))).expect(200);
        // A key with a name of its own is known by it too.
        call(Some("mykey")).expect(200);
    }
    assert_eq!(echo.served(), 6, "nothing refused reached the upstream");
    let log = gateway.log().text();
    assert!(
        !log.contains("nobody-has-this") && !log.contains(&token),
        "{log}"
    );
}

#[test]
fn a_token_stands_in_a_parameter_or_a_cookie_and_goes_no_further_where_it_is_stripped() {
    let echo = Echo::start("up");
    let gateway = guarded(
        &echo,
        json!({
            "strip_auth_data": true,
            "auth": {"auth_header_name": "X-Key", "use_param": true, "param_name": "key",
                "use_cookie": true, "cookie_name": "key"},
        }),
    );
    gateway.put_key("mykey", &session(&["t"], json!({})));
    let seen = |curl: portcullis_tests::curl::Curl, path: &str| {
        curl.send(&gateway.url(path)).expect(200).json()
    };
    let by_header = seen(gateway.curl().header("X-Key", "mykey"), "/t/a?b=c");
    assert_eq!(by_header["headers"].get("x-key"), None);
    assert_eq!(by_header["path"], "/a?b=c");
    let by_query = seen(gateway.curl(), "/t/a?b=%20c&key=mykey&d");
    assert_eq!(by_query["path"], "/a?b=%20c&d");
    let by_cookie = seen(
        gateway.curl().header("Cookie", "b=c; key=mykey; d=e"),
        "/t/a?key=wrong",
    );
    assert_eq!(by_cookie["headers"]["cookie"], "b=c; d=e");
    gateway.get("/t/a").expect(401);
}

#[test]
fn a_token_travels_on_where_nothing_says_otherwise() {
    let echo = Echo::start("up");
    let gateway = guarded(&echo, json!({}));
    gateway.put_key("mykey", &session(&["t"], json!({})));
    let seen = gateway.call("/t/", "mykey").expect(200).json();
    assert_eq!(seen["headers"]["authorization"], "mykey");
}

#[test]
fn a_key_that_sleeps_has_expired_or_opens_something_else_is_told_so() {
    let echo = Echo::start("up");
    let gateway = guarded(&echo, json!({}));
    for (name, session, status, message) in [
        (
            "asleep",
            session(&["t"], json!({"is_inactive": true})),
            403,
            "Key is inactive, please renew",
        ),
        ("elsewhere", session(&["other"], json!({})), 403, DISALLOWED),
        (
            "expired",
            session(&["t"], json!({"expires": seconds_from_now(-5)})),
            401,
            "Key has expired, please renew",
        ),
    ] {
        gateway.put_key(name, &session);
        let refused = gateway.call("/t/", name).expect(status);
        assert_eq!(error_of(&refused), message, "{name}");
    }
    gateway.put_key(
        "good",
        &session(&["t"], json!({"expires": seconds_from_now(600)})),
    );
    gateway.call("/t/", "good").expect(200);
    assert_eq!(echo.served(), 1);
}

#[test]
fn a_key_may_be_held_to_paths_and_methods() {
    let echo = Echo::start("up");
    let gateway = guarded(&echo, json!({}));
    let urls = json!([{"url": "^/pets/{id}$", "methods": ["GET", "HEAD"]}]);
    gateway.put_key(
        "petlover",
        &session(
            &["t"],
            json!({"access_rights": {"t": {"allowed_urls": urls}}}),
        ),
    );
    gateway.call("/t/pets/7", "petlover").expect(200);
    for (method, path) in [
        ("POST", "/t/pets/7"),
        ("GET", "/t/pets/7/owner"),
        ("GET", "/t/"),
        ("GET", "/t/pets%2F7"),
    ] {
        let refused = gateway
            .curl()
            .arguments(&["-X", method, "--path-as-is"])
            .header("Authorization", "petlover")
            .send(&gateway.url(path))
            .expect(403);
        assert_eq!(
            error_of(&refused),
            "Access to this resource has been disallowed",
            "{method} {path}"
        );
    }
    assert_eq!(echo.served(), 1);
}

/// Known sessions are used for ten seconds; a change does not wait for that.
///
/// ST-114
#[test]
fn a_changed_or_deleted_key_is_changed_or_gone_at_once() {
    let echo = Echo::start("up");
    for hashed in [false, true] {
        let gateway = Gateway::builder()
            .config(json!({"hash_keys": hashed, "hash_key_function": "murmur64"}))
            .api("t", &token_api("t", "/t/", &echo.url()))
            .start();
        let token = gateway.put_key("mykey", &session(&["t"], json!({})));
        gateway.call("/t/", &token).expect(200);
        gateway.call("/t/", "mykey").expect(200);
        gateway.put_key("mykey", &session(&["t"], json!({"is_inactive": true})));
        for presented in [token.as_str(), "mykey"] {
            gateway.call("/t/", presented).expect(403);
        }
        gateway.put_key("mykey", &session(&["t"], json!({})));
        gateway.call("/t/", &token).expect(200);
        gateway
            .change("DELETE", &format!("/tyk/keys/{token}"), &json!(null))
            .expect(200);
        for presented in [token.as_str(), "mykey"] {
            let refused = gateway.call("/t/", presented).expect(403);
            assert_eq!(error_of(&refused), DISALLOWED);
        }
        // A token nobody had a moment ago.
        gateway.put_key("mykey", &session(&["t"], json!({})));
        gateway.call("/t/", "mykey").expect(200);
    }
}

/// ST-103 ST-104
#[test]
fn the_old_hash_does_not_see_the_end_of_a_token_and_the_newer_ones_do() {
    let echo = Echo::start("up");
    for (function, status) in [("murmur32", 200), ("murmur64", 403)] {
        let gateway = Gateway::builder()
            .config(json!({"hash_keys": true, "hash_key_function": function}))
            .api("t", &token_api("t", "/t/", &echo.url()))
            .start();
        let made = gateway
            .change("POST", "/tyk/keys/create", &session(&["t"], json!({})))
            .expect(200);
        let token = made.json()["key"].as_str().expect("a token").to_owned();
        gateway.call("/t/", &token).expect(200);
        gateway.call("/t/", &format!("{token}abc")).expect(status);
    }
}

#[test]
fn a_short_token_is_nobodys() {
    let echo = Echo::start("up");
    let gateway = Gateway::builder()
        .config(json!({"min_token_length": 6}))
        .api("t", &token_api("t", "/t/", &echo.url()))
        .start();
    gateway.put_key("longer", &session(&["t"], json!({})));
    gateway.call("/t/", "longer").expect(200);
    gateway.call("/t/", "short").expect(403);
}

#[test]
fn a_key_without_rights_opens_its_organisation_where_master_keys_are_allowed() {
    let echo = Echo::start("up");
    let other = with(
        token_api("u", "/u/", &echo.url()),
        json!({"org_id": "other"}),
    );
    let gateway = Gateway::builder()
        .config(json!({"allow_master_keys": true}))
        .api("t", &token_api("t", "/t/", &echo.url()))
        .api("u", &other)
        .start();
    let token = gateway.put_key("master", &json!({"org_id": "default"}));
    gateway.call("/t/", &token).expect(200);
    gateway.call("/u/", &token).expect(403);
}

#[test]
fn texts_and_statuses_can_be_ones_own() {
    let echo = Echo::start("up");
    let own = json!({
        "auth.auth_field_missing": {"message": "Who are you?", "code": 418},
        "auth.key_not_found": {"message": "Never heard of you"},
    });
    let gateway = Gateway::builder()
        .config(json!({"override_messages": own}))
        .api("t", &token_api("t", "/t/", &echo.url()))
        .start();
    let missing = gateway.get("/t/").expect(418);
    assert_eq!(error_of(&missing), "Who are you?");
    let unknown = gateway.call("/t/", "nobody").expect(403);
    assert_eq!(error_of(&unknown), "Never heard of you");
}

#[test]
fn the_access_log_names_the_key_by_its_end_and_its_alias() {
    let echo = Echo::start("up");
    let gateway = Gateway::builder()
        .config(json!({"access_logs": {"enabled": true}}))
        .api("t", &token_api("t", "/t/", &echo.url()))
        .start();
    let token = gateway.put_key("mykey", &session(&["t"], json!({"alias": "Anna"})));
    gateway.call("/t/", &token).expect(200);
    let line = gateway.output().wait("\"path\":\"/t/\"");
    let record: Value = serde_json::from_str(&line).expect("a record");
    assert_eq!(record["alias"], "Anna");
    let masked = record["api_key"].as_str().expect("a key");
    assert_eq!(masked.len(), 8);
    assert_eq!(masked, format!("****{}", &token[token.len() - 4..]));
}

fn basic_api(echo: &Echo, more: Value) -> Value {
    with(
        api("b", "/b/", &echo.url()),
        with(
            json!({"use_keyless": false, "use_basic_auth": true, "name": "The API"}),
            more,
        ),
    )
}

fn user(password: &str) -> Value {
    session(&["b"], json!({"basic_auth_data": {"password": password}}))
}

#[test]
fn a_user_calls_with_name_and_password_and_is_asked_for_them() {
    let echo = Echo::start("up");
    let gateway = Gateway::builder()
        .config(json!({"hash_keys": true, "hash_key_function": "murmur64"}))
        .api("b", &basic_api(&echo, json!({})))
        .start();
    gateway
        .change("POST", "/tyk/keys/anna", &user("se:cret"))
        .expect(200);
    for _ in 0..3 {
        gateway.call_as("/b/", "anna", "se:cret").expect(200);
    }
    for (name, password) in [("anna", "wrong"), ("anna", ""), ("nobody", "se:cret")] {
        let refused = gateway.call_as("/b/", name, password).expect(401);
        assert_eq!(error_of(&refused), "User not authorised");
        assert_eq!(
            refused.header("www-authenticate"),
            Some("Basic realm=\"The API\"")
        );
    }
    let missing = gateway.get("/b/").expect(401);
    assert_eq!(error_of(&missing), "Authorization field missing");
    assert_eq!(
        missing.header("www-authenticate"),
        Some("Basic realm=\"The API\"")
    );
    let malformed = gateway.call("/b/", "Basic !!!").expect(400);
    assert!(error_of(&malformed).contains("auth data not encoded correctly"));
    // A new password is in force at once, whatever was remembered of the old one.
    gateway
        .change("PUT", "/tyk/keys/anna?username=true", &user("new"))
        .expect(200);
    gateway.call_as("/b/", "anna", "new").expect(200);
    gateway.call_as("/b/", "anna", "se:cret").expect(401);
    assert!(!gateway.log().text().contains("se:cret"));
}

#[test]
fn a_key_without_a_password_is_no_user() {
    let echo = Echo::start("up");
    let gateway = Gateway::builder()
        .api("b", &basic_api(&echo, json!({})))
        .start();
    gateway.put_key("tokenonly", &session(&["b"], json!({})));
    gateway.call_as("/b/", "tokenonly", "").expect(401);
    gateway.call_as("/b/", "tokenonly", "x").expect(401);
    assert_eq!(echo.served(), 0);
}

#[test]
fn of_several_methods_all_must_succeed_and_the_one_that_is_named_gives_the_session() {
    let echo = Echo::start("up");
    let both = json!({
        "use_standard_auth": true, "base_identity_provided_by": "basic_auth_user",
        "auth_configs": {"authToken": {"auth_header_name": "X-Key"}},
    });
    let gateway = Gateway::builder()
        .config(json!({"access_logs": {"enabled": true}}))
        .api("b", &basic_api(&echo, both))
        .start();
    let alias = |name: &str| json!({"alias": name});
    gateway
        .change(
            "POST",
            "/tyk/keys/anna",
            &with(user("secret"), alias("the user")),
        )
        .expect(200);
    gateway.put_key("mykey", &session(&["b"], alias("the token")));
    let call = |password: &str, token: Option<&str>| {
        let curl = gateway
            .curl()
            .arguments(&["--user", &format!("anna:{password}")]);
        let curl = match token {
            Some(token) => curl.header("X-Key", token),
            None => curl,
        };
        curl.send(&gateway.url("/b/"))
    };
    // Asked twice, before and after both are known.
    for _ in 0..2 {
        call("secret", Some("mykey")).expect(200);
        assert_eq!(
            error_of(&call("wrong", Some("mykey")).expect(401)),
            "User not authorised"
        );
        assert_eq!(
            error_of(&call("secret", None).expect(401)),
            "Authorization field missing"
        );
        assert_eq!(
            error_of(&call("secret", Some("other")).expect(403)),
            DISALLOWED
        );
    }
    let line = gateway
        .output()
        .wait("\"path\":\"/b/\",\"protocol\":\"HTTP/1.1\",\"status\":200");
    assert!(line.contains("the user"), "{line}");
}

#[test]
fn an_identity_of_a_method_that_is_off_lets_nobody_in() {
    let echo = Echo::start("up");
    let gateway = guarded(&echo, json!({"base_identity_provided_by": "jwt_claim"}));
    gateway.put_key("mykey", &session(&["t"], json!({})));
    let refused = gateway.call("/t/", "mykey").expect(400);
    assert!(error_of(&refused).starts_with("Session state is missing or unset!"));
}

#[test]
fn a_reload_that_opens_or_closes_an_api_takes_effect_for_keys_too() {
    let echo = Echo::start("up");
    let gateway = Gateway::builder()
        .api("t", &api("t", "/t/", &echo.url()))
        .start();
    gateway.get("/t/").expect(200);
    gateway.write_api("t", &token_api("t", "/t/", &echo.url()));
    eventually("the API asks for a token", || {
        gateway.get("/t/").status == 401
    });
}

#[test]
fn a_raw_service_that_asks_for_keys_is_quarantined() {
    let echo = Echo::start("up");
    let port = portcullis_tests::ports::free_port();
    let raw = with(
        token_api("raw", "/", &format!("tcp://{}", echo.address())),
        json!({"protocol": "tcp", "listen_port": port}),
    );
    let gateway = Gateway::builder().api("raw", &raw).start();
    let listed = gateway.control("/tyk/apis/quarantine").expect(200).text();
    assert!(
        listed.contains("keys and rate limits are for HTTP"),
        "{listed}"
    );
}
