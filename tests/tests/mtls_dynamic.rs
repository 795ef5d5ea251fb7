//! APIs whose session is the client certificate's (Certificate Auth), and keys that are bound to
//! certificates.

use std::{sync::OnceLock, thread, time::Duration};

use portcullis_pki::make::Pair;
use portcullis_tests::{
    echo::Echo,
    gateway::{Builder, Gateway, api, with},
    keys::{session, token_api},
    mtls::{Call, Outcome, call, early, expired, expiring, id, not_allowed, self_signed, upload},
    ports::free_port,
    redis::Redis,
    tls::s_client,
    wait::{PATIENCE, eventually, within},
};
use serde_json::{Value, json};

const DISALLOWED: &str = "Access to this API has been disallowed";
const WANTED: &str = "Client certificate required";
const LISTED: &str = "Client TLS certificate is required";

/// A definition whose session is the certificate's.
fn dynamic(name: &str, echo: &Echo) -> Value {
    with(
        token_api(name, &format!("/{name}/"), &echo.url()),
        json!({"auth_configs": {"authToken": {"use_certificate": true}}}),
    )
}

/// The same with an allow list, or without Certificate Auth.
fn listing(definition: Value, allowed: &[&Pair]) -> Value {
    let pems: Vec<String> = allowed.iter().map(|pair| pair.certificate_pem()).collect();
    with(
        definition,
        json!({"use_mutual_tls_auth": true, "client_certificates": pems}),
    )
}

/// An OAS definition with this `authentication`.
fn oas(name: &str, echo: &Echo, authentication: &Value) -> Value {
    json!({
        "openapi": "3.0.3", "info": {"title": name, "version": "1"}, "paths": {},
        "components": {"securitySchemes": {"t": {"type": "apiKey", "in": "header", "name": "Authorization"}}},
        "x-tyk-api-gateway": {
            "info": {"id": name, "name": name, "orgId": "default", "state": {"active": true}},
            "server": {
                "listenPath": {"value": format!("/{name}/"), "strip": true},
                "authentication": authentication,
            },
            "upstream": {"url": echo.url()},
        },
    })
}

/// Makes a key; its token.
#[track_caller]
fn key(gateway: &Gateway, session: &Value) -> String {
    let made = gateway
        .change("POST", "/tyk/keys/create", session)
        .expect(200);
    made.json()["key"].as_str().expect("a token").to_owned()
}

/// Makes a key of a certificate, with what `more` says.
#[track_caller]
fn key_of(gateway: &Gateway, pair: &Pair, apis: &[&str], more: Value) -> String {
    let of = with(json!({"certificate": id(pair)}), more);
    key(gateway, &session(apis, of))
}

fn remove(gateway: &Gateway, path: &str) {
    gateway.change("DELETE", path, &Value::Null).expect(200);
}

/// What becomes of a request with a certificate, a token, both or neither.
fn ask(gateway: &Gateway, path: &str, pair: Option<&Pair>, token: Option<&str>) -> Outcome {
    let call = call(gateway);
    let call = pair.map_or(call.clone(), |pair| call.with(&[pair]));
    let call: Call<'_> = token.map_or(call.clone(), |token| call.field("Authorization", token));
    call.get(path)
}

fn refused(status: u16, message: &str) -> (u16, String) {
    (status, message.to_owned())
}

/// IN-51, IN-52, IN-53, IN-54, IN-55, IN-56, IN-64, IN-92, IN-93, IN-94; recommendations 9 and 10;
/// decision 7.
#[test]
fn a_certificate_opens_what_its_key_opens_and_no_token_stands_in_for_it() {
    let echo = Echo::start("up");
    let clear = free_port();
    let authentication = |more: Value| with(json!({"enabled": true}), more);
    let old = json!({"securitySchemes": {"t": {"enabled": true, "enableClientCertificate": true}}});
    let off = with(old.clone(), json!({"certificateAuth": {"enabled": false}}));
    let alone = json!({"certificateAuth": {"enabled": true}});
    let gateway = Gateway::builder()
        .tls()
        .config(json!({
            "hash_keys": true, "hash_key_function": "sha256",
            "ports_whitelist": {"http": {"ports": [clear]}},
        }))
        .api("dyn", &dynamic("dyn", &echo))
        .api(
            "clear",
            &with(
                dynamic("clear", &echo),
                json!({"listen_port": clear, "protocol": "http"}),
            ),
        )
        .api("off", &oas("off", &echo, &authentication(off)))
        .api("old", &oas("old", &echo, &authentication(old)))
        .api("alone", &oas("alone", &echo, &authentication(alone)))
        .start();
    let apis = ["dyn", "clear", "off", "old", "alone"];
    let [known, stored, unknown] = ["known", "stored", "unknown"].map(self_signed);
    for pair in [&known, &stored] {
        upload(&gateway, gateway.port(), &pair.certificate_pem());
    }
    let token = key_of(&gateway, &known, &apis, json!({}));

    for opens in ["/dyn/", "/old/", "/alone/"] {
        for call in [call(&gateway), call(&gateway).tls12()] {
            assert_eq!(call.with(&[&known]).get(opens).status(), 200, "{opens}");
        }
        let wrong = ask(&gateway, opens, Some(&known), Some("nobody-has-this"));
        assert_eq!(wrong.status(), 200, "a token is not even looked at");
        let id = id(&known);
        for token in [None, Some(token.as_str()), Some(id.as_str())] {
            let nobody = ask(&gateway, opens, None, token);
            assert_eq!(nobody.refusal(), refused(401, WANTED), "{opens} {token:?}");
        }
        for pair in [&stored, &unknown] {
            let other = ask(&gateway, opens, Some(pair), Some(&token));
            assert_eq!(other.refusal(), refused(401, DISALLOWED));
        }
    }
    // Switched off in so many words: a token is all there is to it.
    assert_eq!(ask(&gateway, "/off/", None, Some(&token)).status(), 200);
    let nobody = ask(&gateway, "/off/", Some(&known), None);
    assert_eq!(
        nobody.refusal(),
        refused(401, "Authorization field missing")
    );
    let in_clear = gateway
        .curl()
        .header("Authorization", &token)
        .send(&format!("http://127.0.0.1:{clear}/clear/"))
        .expect(401);
    assert_eq!(in_clear.json()["error"], WANTED);

    for (pair, message) in [
        (expired("past"), "Certificate has expired"),
        (early("future"), "Certificate is not yet valid"),
    ] {
        key_of(&gateway, &pair, &apis, json!({}));
        let outside = ask(&gateway, "/dyn/", Some(&pair), None);
        assert_eq!(outside.refusal(), refused(403, message));
    }

    let again = session(&apis, json!({"certificate": id(&known)}));
    let again = gateway
        .change("POST", "/tyk/keys/create", &again)
        .expect(500);
    assert_eq!(
        again.json()["message"],
        format!("Failed to create key - Key with given certificate already found:{token}")
    );
    let log = gateway.log().text();
    assert!(!log.contains(&token), "{log}");
}

/// A key of a certificate is a key: rights, state, expiry, limits, and what becomes of it takes effect at
/// once, also on a connection that is open.
#[test]
fn the_key_of_a_certificate_says_what_it_opens_how_often_and_for_how_long() {
    let echo = Echo::start("up");
    let policy = json!({
        "id": "one", "org_id": "default", "rate": 1, "per": 600, "active": true,
        "access_rights": {"dyn": {"api_id": "dyn", "api_name": "dyn", "versions": ["Default"]}},
    });
    let gateway = Gateway::builder()
        .tls()
        .config(json!({
            "policies": {"policy_path": "policies"},
            "override_messages": {"auth.cert_mismatch": {"message": "Who are you?", "code": 418}},
        }))
        .file("policies/one.json", &policy.to_string())
        .api("dyn", &dynamic("dyn", &echo))
        .start();
    let pairs = ["elsewhere", "asleep", "over", "rated", "counted", "good"].map(self_signed);
    for pair in &pairs {
        upload(&gateway, gateway.port(), &pair.certificate_pem());
    }
    let [elsewhere, asleep, over, rated, counted, good] = &pairs;
    key_of(&gateway, elsewhere, &["other"], json!({}));
    key_of(&gateway, asleep, &["dyn"], json!({"is_inactive": true}));
    key_of(&gateway, over, &["dyn"], json!({"expires": 2}));
    key_of(&gateway, rated, &[], json!({"apply_policies": ["one"]}));
    let quota = json!({"quota_max": 1, "quota_renewal_rate": 600});
    key_of(&gateway, counted, &["dyn"], quota);
    let token = key_of(&gateway, good, &["dyn"], json!({}));
    let dyn_of = |pair| ask(&gateway, "/dyn/", Some(pair), None);
    for (pair, status, message) in [
        (elsewhere, 403, DISALLOWED),
        (asleep, 403, "Key is inactive, please renew"),
        (over, 401, "Key has expired, please renew"),
    ] {
        assert_eq!(dyn_of(pair).refusal(), refused(status, message));
    }
    for (pair, status, message) in [
        (rated, 429, "Rate Limit Exceeded"),
        (counted, 403, "Quota exceeded"),
    ] {
        assert_eq!(dyn_of(pair).status(), 200);
        assert_eq!(dyn_of(pair).refusal(), refused(status, message));
    }

    assert_eq!(dyn_of(good).status(), 200);
    let path = format!("/tyk/keys/{token}");
    let asleep = json!({"certificate": id(good), "is_inactive": true});
    gateway
        .change("PUT", &path, &session(&["dyn"], asleep))
        .expect(200);
    assert_eq!(dyn_of(good).status(), 403);
    remove(&gateway, &path);
    assert_eq!(dyn_of(good).refusal(), refused(418, "Who are you?"));
    gateway.wait_log("no key belongs to this certificate");
    // Made again, it is known at once.
    key_of(&gateway, good, &["dyn"], json!({}));
    assert_eq!(dyn_of(good).status(), 200);
}

/// IN-57, IN-58, IN-60, IN-61, IN-62, IN-65, IN-76; recommendation 11. The store is written to from
/// outside, as somebody else of a fleet may.
#[test]
fn where_that_is_allowed_a_token_takes_the_place_of_the_certificate_of_its_key() {
    let (redis, echo) = (Redis::start(), Echo::start("up"));
    let clear = free_port();
    let past = expired("past");
    let list = json!({"client_certificates": [id(&past)]});
    let gateway = Gateway::builder()
        .tls()
        .config(redis.configuration())
        // What is written into the store without a word is seen soon.
        .config(json!({
            "local_session_cache": {"cached_session_timeout": 1},
            "security": {"allow_unsafe_dynamic_mtls_token": true},
            "ports_whitelist": {"http": {"ports": [clear]}},
        }))
        .api("dyn", &dynamic("dyn", &echo))
        .api(
            "clear",
            &with(
                dynamic("clear", &echo),
                json!({"listen_port": clear, "protocol": "http"}),
            ),
        )
        .api(
            "past",
            &with(listing(token_api("past", "/past/", &echo.url()), &[]), list),
        )
        .start();
    gateway.wait_log("A TOKEN IS ENOUGH");
    let apis = ["dyn", "clear", "past"];
    let [one, two, gone] = ["one", "two", "gone"].map(self_signed);
    for pair in [&one, &two] {
        upload(&gateway, gateway.port(), &pair.certificate_pem());
    }
    let token = key_of(&gateway, &one, &apis, json!({}));
    assert_eq!(token, id(&one), "the older form of tokens");
    let plain = key(&gateway, &session(&apis, json!({})));
    let orphan = key_of(&gateway, &gone, &apis, json!({}));

    let dyn_by = |pair, token| ask(&gateway, "/dyn/", pair, token);
    for (pair, token) in [
        (Some(&one), None),
        (None, Some(&token)),
        (None, Some(&plain)),
        (Some(&one), Some(&token)),
        (Some(&one), Some(&plain)),
    ] {
        assert_eq!(dyn_by(pair, token.map(String::as_str)).status(), 200);
    }
    for (pair, token, status, message) in [
        (Some(&two), Some(token.as_str()), 401, DISALLOWED),
        (Some(&one), Some("nobody-has-this"), 403, DISALLOWED),
        (None, Some("nobody-has-this"), 403, DISALLOWED),
        (None, Some(orphan.as_str()), 403, DISALLOWED),
        (Some(&one), Some(orphan.as_str()), 403, DISALLOWED),
        (None, None, 403, "Key is inactive, please renew"),
    ] {
        let outcome = dyn_by(pair, token);
        assert_eq!(outcome.refusal(), refused(status, message), "{token:?}");
    }
    let in_clear = |token: &str, status| {
        let url = format!("http://127.0.0.1:{clear}/clear/");
        let call = gateway.curl().header("Authorization", token);
        call.send(&url).expect(status)
    };
    in_clear(&token, 200);
    in_clear("nobody-has-this", 403);

    // The field is wrong until the certificate itself comes along.
    let entry = format!("apikey-{token}");
    let named = || -> Value {
        let session: Value = serde_json::from_str(&redis.ask(&["GET", &entry])).expect("a session");
        session["certificate"].clone()
    };
    let wrong = session(&apis, json!({"certificate": "fooBar", "alias": "kept"}));
    redis.ask(&["SET", &entry, &wrong.to_string(), "EX", "500"]);
    eventually("the changed entry has been read", || {
        dyn_by(None, Some(&token)).status() == 403
    });
    eventually("the field is mended", || {
        assert_eq!(dyn_by(Some(&one), None).status(), 200);
        named() == id(&one)
    });
    let session_now: Value = serde_json::from_str(&redis.ask(&["GET", &entry])).unwrap();
    assert_eq!(session_now["alias"], "kept");
    let left: i64 = redis.ask(&["TTL", &entry]).parse().expect("seconds");
    assert!(
        (400..=500).contains(&left),
        "it lives no longer than before"
    );
    eventually("the token alone is enough again", || {
        dyn_by(None, Some(&token)).status() == 200
    });

    // Bound to what is listed by an id that leads nowhere: it never could be uploaded.
    let bound = session(
        &apis,
        json!({"mtls_static_certificate_bindings": [id(&past)]}),
    );
    redis.ask(&["SET", "apikey-boundtopast", &bound.to_string()]);
    let late = ask(&gateway, "/past/", Some(&past), Some("boundtopast"));
    assert_eq!(late.refusal(), (403, not_allowed(&past)));
}

/// IN-59, IN-68, IN-69, IN-70, IN-71, IN-72, IN-73, IN-74, IN-75, IN-77, IN-78, IN-79, IN-80
#[test]
fn a_key_bound_to_certificates_needs_one_of_them_where_a_list_is_enforced() {
    let echo = Echo::start("up");
    let [one, two, three] = ["one", "two", "three"].map(self_signed);
    let gateway = Gateway::builder()
        .tls()
        .config(json!({"security": {"allow_unsafe_dynamic_mtls_token": true}}))
        .api("both", &listing(dynamic("both", &echo), &[&one, &two]))
        .api(
            "list",
            &listing(token_api("list", "/list/", &echo.url()), &[&one, &two]),
        )
        .api(
            "only",
            &listing(token_api("only", "/only/", &echo.url()), &[&one]),
        )
        .api("free", &token_api("free", "/free/", &echo.url()))
        .start();
    for pair in [&one, &two, &three] {
        upload(&gateway, gateway.port(), &pair.certificate_pem());
    }
    let apis = ["both", "list", "only", "free"];
    let bound = |to: &[&Pair]| {
        let ids: Vec<String> = to.iter().map(|pair| id(pair)).collect();
        session(&apis, json!({"mtls_static_certificate_bindings": ids}))
    };
    let [to_one, to_two, to_three, to_both] = [
        bound(&[&one]),
        bound(&[&two]),
        bound(&[&three]),
        bound(&[&one, &two]),
    ]
    .map(|session| key(&gateway, &session));
    let free = key(&gateway, &session(&apis, json!({})));
    let of_one = key_of(&gateway, &one, &apis, json!({}));
    let of_three = key_of(&gateway, &three, &apis, json!({}));
    let (listed, mismatch) = (refused(403, LISTED), refused(401, DISALLOWED));
    let foreign = (403, not_allowed(&three));
    let unlisted = (403, not_allowed(&two));

    for (path, pair, token, refusal) in [
        ("/both/", Some(&one), &of_one, None),
        ("/both/", Some(&one), &to_one, None),
        ("/both/", Some(&one), &to_three, Some(&mismatch)),
        ("/both/", Some(&three), &of_three, Some(&foreign)),
        ("/both/", None, &of_one, Some(&listed)),
        ("/list/", Some(&one), &to_one, None),
        ("/list/", Some(&two), &to_one, Some(&mismatch)),
        ("/list/", None, &to_one, Some(&listed)),
        ("/list/", Some(&one), &to_both, None),
        ("/list/", Some(&two), &to_both, None),
        ("/list/", Some(&one), &free, None),
        ("/list/", Some(&two), &free, None),
        ("/only/", Some(&two), &to_two, Some(&unlisted)),
        // Without a list a key is as good as its token.
        ("/free/", None, &to_three, None),
        ("/free/", Some(&two), &to_one, None),
    ] {
        let outcome = ask(&gateway, path, pair, Some(token));
        match refusal {
            None => assert_eq!(outcome.status(), 200, "{path} {token}"),
            Some(refusal) => assert_eq!(outcome.refusal(), *refusal, "{path} {token}"),
        }
    }
    let unknown = ask(&gateway, "/both/", Some(&one), Some("nobody-has-this"));
    assert_eq!(unknown.refusal(), refused(403, DISALLOWED));
    for token in [None, Some("nobody-has-this")] {
        let outcome = ask(&gateway, "/only/", Some(&two), token);
        assert_eq!(outcome.refusal(), unlisted, "{token:?}");
    }

    // What a key may be bound to.
    let to = |ids: &[&str]| session(&apis, json!({"mtls_static_certificate_bindings": ids}));
    let create = |ids: &[&str], message: &str| {
        let answer = gateway.change("POST", "/tyk/keys/create", &to(ids));
        assert_eq!(answer.expect(400).json()["message"], message);
    };
    for foreign in [
        "nonexistent-cert-id",
        "../../../../etc/passwd",
        &id(&one).replace("default", "other"),
    ] {
        create(&[foreign], &format!("invalid certificate ID: {foreign}"));
    }
    let absent = id(&self_signed("absent"));
    create(&[&absent], &format!("certificate not found: {absent}"));
    let path = format!("/tyk/keys/{to_one}");
    let (first, second) = (id(&one), id(&two));
    for (ids, status) in [
        (vec![&*first, &*second], 200),
        (vec![&*first, &*absent], 400),
        (vec![&*first], 200),
        (vec![], 200),
    ] {
        gateway.change("PUT", &path, &to(&ids)).expect(status);
    }
    assert_eq!(
        ask(&gateway, "/list/", Some(&two), Some(&to_one)).status(),
        200,
        "bound no longer"
    );
}

/// IN-66, IN-67
#[test]
fn the_server_name_leads_to_the_api_of_its_domain_or_pattern() {
    let echo = Echo::start("up");
    let bound = |name: &str, domain: &str| with(dynamic(name, &echo), json!({"domain": domain}));
    let gateway = Gateway::builder()
        .tls()
        .config(json!({"enable_custom_domains": true}))
        .api("test1", &bound("test1", "localhost"))
        .api("test2", &bound("test2", "{?:host1|host2}"))
        .api("open", &api("open", "/open/", &echo.url()))
        .start();
    let [known, unknown] = ["known", "unknown"].map(self_signed);
    upload(&gateway, gateway.port(), &known.certificate_pem());
    key_of(&gateway, &known, &["test1", "test2"], json!({}));
    for (path, hosts) in [
        ("/test1/", &["localhost"][..]),
        ("/test2/", &["host1", "host2"]),
    ] {
        let by_address = call(&gateway).nameless().get(path);
        assert_eq!(by_address.status(), 404, "{path}");
        for host in hosts {
            let at = || call(&gateway).named(host);
            assert_eq!(
                at().with(&[&unknown]).get(path).refusal(),
                refused(401, DISALLOWED)
            );
            assert_eq!(at().get(path).refusal(), refused(401, WANTED));
            assert_eq!(at().with(&[&known]).get(path).status(), 200);
        }
    }
}

fn node(redis: &Redis, echo: &Echo) -> Builder {
    Gateway::builder()
        .tls()
        .config(redis.configuration())
        .config(json!({"hash_keys": true, "hash_key_function": "murmur64"}))
        .api("dyn", &dynamic("dyn", echo))
}

/// IN-63, on the node that deletes it and on another. Sessions are remembered for ten seconds; a deletion
/// does not wait for that.
#[test]
fn a_certificate_that_is_deleted_opens_nothing_here_at_once_and_soon_on_other_nodes() {
    let (redis, echo) = (Redis::start(), Echo::start("up"));
    let nodes = [node(&redis, &echo).start(), node(&redis, &echo).start()];
    let [a, b] = &nodes;
    let client = self_signed("client");
    upload(a, a.port(), &client.certificate_pem());
    key_of(a, &client, &["dyn"], json!({}));
    let open = |node: &Gateway| ask(node, "/dyn/", Some(&client), None);
    for node in &nodes {
        eventually("the key is known", || open(node).status() == 200);
    }
    let entry = format!("/tyk/certs/{}", id(&client));
    remove(a, &entry);
    assert_eq!(open(a).refusal(), refused(403, DISALLOWED));
    let told = within(Duration::from_secs(9), || open(b).status() == 403);
    assert!(told, "sooner than a remembered key would be forgotten");
    // It may come back.
    upload(b, b.port(), &client.certificate_pem());
    assert_eq!(open(b).status(), 200);
    eventually("the first node was told", || open(a).status() == 200);
}

/// What is open for a client ends with its certificate, its key and the certificate's validity; also when
/// the key was read again meanwhile.
#[test]
fn an_open_exchange_ends_with_the_certificate_or_the_key_that_let_it_in() {
    let echo = Echo::start("up");
    echo.hold();
    let gateway = Gateway::builder()
        .tls()
        .api("dyn", &dynamic("dyn", &echo))
        .start();
    let pairs = ["deleted", "keyless", "stays"].map(self_signed);
    let over = OnceLock::new();
    let make = |pair: &Pair| {
        upload(&gateway, gateway.port(), &pair.certificate_pem());
        key_of(&gateway, pair, &["dyn"], json!({}))
    };
    let tokens = pairs.each_ref().map(make);
    thread::scope(|scope| {
        let gateway = &gateway;
        let hold = |pair| {
            let before = echo.waiting();
            let asking = scope.spawn(move || ask(gateway, "/dyn/held", Some(pair), None));
            eventually("the upstream has the request", || echo.waiting() > before);
            asking
        };
        let [first, second, third] = pairs.each_ref().map(hold);
        for (pair, token) in pairs.iter().zip(&tokens) {
            let changed = json!({"certificate": id(pair), "alias": "changed"});
            let changed = session(&["dyn"], changed);
            let path = format!("/tyk/keys/{token}");
            gateway.change("PUT", &path, &changed).expect(200);
        }
        remove(gateway, &format!("/tyk/certs/{}", id(&pairs[0])));
        assert_eq!(first.join().unwrap(), Outcome::Closed);
        gateway.wait_log("open exchange ended: the certificate that the key belongs to is not in");
        remove(gateway, &format!("/tyk/keys/{}", tokens[1]));
        assert_eq!(second.join().unwrap(), Outcome::Closed);
        let over = over.get_or_init(|| expiring("over", 10));
        make(over);
        assert_eq!(hold(over).join().unwrap(), Outcome::Closed);
        gateway.wait_log("open exchange ended: the client certificate has expired");
        echo.release();
        assert_eq!(third.join().unwrap().status(), 200);
    });
}

/// Known certificates go on for a bounded time; nobody else passes.
#[test]
fn without_its_store_a_gateway_serves_the_certificates_it_knows_and_nobody_else() {
    let (mut redis, echo) = (Redis::start(), Echo::start("up"));
    let gateway = node(&redis, &echo)
        .config(json!({
            "local_session_cache": {"cached_session_timeout": 1},
            "portcullis": {"session_grace": 3},
        }))
        .start();
    let [known, unknown] = ["known", "unknown"].map(self_signed);
    for pair in [&known, &unknown] {
        upload(&gateway, gateway.port(), &pair.certificate_pem());
        key_of(&gateway, pair, &["dyn"], json!({}));
    }
    let open = |pair| ask(&gateway, "/dyn/", Some(pair), None);
    assert_eq!(open(&known).status(), 200);
    redis.kill();
    assert_eq!(open(&known).status(), 200);
    assert_eq!(
        open(&unknown).refusal(),
        refused(503, "Key store is not available")
    );
    eventually("its grace is over", || open(&known).status() == 503);
    redis.revive();
    let forgotten = within(PATIENCE, || open(&known).status() == 401);
    assert!(forgotten, "the store is asked again once it is back");
}

#[test]
fn certificates_are_keys_over_http2_and_in_resumed_sessions_as_well() {
    let echo = Echo::start("up");
    let gateway = Gateway::builder()
        .tls()
        .config(json!({"http_server_options": {"enable_http2": true}}))
        .api("dyn", &dynamic("dyn", &echo))
        .start();
    let [known, unknown] = ["known", "unknown"].map(self_signed);
    for (name, pair) in [("known", &known), ("unknown", &unknown)] {
        let both = [pair.certificate_pem(), pair.key_pem()].concat();
        gateway.write(&format!("{name}.pem"), &both);
    }
    upload(&gateway, gateway.port(), &known.certificate_pem());
    let token = key_of(&gateway, &known, &["dyn"], json!({}));
    let file = |name: &str| gateway.path(name).display().to_string();

    for (name, status) in [("known.pem", 200), ("unknown.pem", 401)] {
        let curl = gateway
            .curl()
            .arguments(&["--http2", "--cert", &file(name)]);
        let answer = curl.send(&gateway.url("/dyn/"));
        assert_eq!(
            (answer.status, answer.http_version.as_str()),
            (status, "2"),
            "{name}"
        );
    }

    let request = "GET /dyn/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let said = |version: &str, verb: &str| {
        let (certificate, session) = (file("known.pem"), file(version));
        let arguments = ["-servername", "localhost", version, "-cert", &certificate];
        let arguments = [&arguments[..], &["-key", &certificate, verb, &session]].concat();
        s_client(gateway.address(), &arguments, request).text
    };
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(said(version, "-sess_out").contains("HTTP/1.1 200"));
        let resumed = said(version, "-sess_in");
        assert!(resumed.contains("\nReused, TLSv1"), "{resumed}");
        assert!(resumed.contains("HTTP/1.1 200"), "{resumed}");
    }
    remove(&gateway, &format!("/tyk/keys/{token}"));
    for version in ["-tls1_2", "-tls1_3"] {
        let resumed = said(version, "-sess_in");
        assert!(resumed.contains("\nReused, TLSv1"), "{resumed}");
        assert!(resumed.contains("HTTP/1.1 401"), "{resumed}");
    }
}
