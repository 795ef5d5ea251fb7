//! Keys and limits in one Redis, to the byte: what a Tyk node finds there of ours, what is made of what
//! it wrote, and with whose certificates requests are counted.

use portcullis_pki::make::Pair;
use portcullis_tests::{
    certs,
    echo::Echo,
    gateway::{Gateway, api, with},
    keys::{error_of, session, token_api},
    mtls::{id, issued, upload},
    redis::Redis,
    wait::eventually,
};
use serde_json::{Value, json};

/// The key `mykey` of the organisation `default`, as murmur64 names it.
const MYKEY: &str = "apikey-20996d934a45f3af";

/// A gateway with an API for tokens at `/t/` and one for users at `/b/`.
fn node(redis: &Redis, echo: &Echo, more: Value) -> Gateway {
    let users = with(
        api("b", "/b/", &echo.url()),
        json!({"use_keyless": false, "use_basic_auth": true}),
    );
    Gateway::builder()
        .config(redis.configuration())
        .config(more)
        .api("t", &token_api("t", "/t/", &echo.url()))
        .api("b", &users)
        .start()
}

fn hashed(function: &str) -> Value {
    json!({"hash_keys": true, "hash_key_function": function})
}

fn stored(redis: &Redis, name: &str) -> Value {
    let text = redis.ask(&["GET", name]);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}: {text:?}"))
}

fn user(password: &str) -> Value {
    session(&["b"], json!({"basic_auth_data": {"password": password}}))
}

#[test]
fn a_key_that_is_made_has_the_name_the_lifetime_and_the_members_of_a_tyk_nodes() {
    let (redis, echo) = (Redis::start(), Echo::start("up"));
    let gateway = node(&redis, &echo, hashed("murmur64"));
    let limits = json!({"rate": 10, "per": 60, "alias": "ours"});
    gateway.put_key("mykey", &session(&["t"], limits));
    assert_eq!(redis.ask(&["KEYS", "apikey-*"]), MYKEY);
    assert_eq!(redis.ask(&["TYPE", MYKEY]), "string");
    assert_eq!(redis.ask(&["TTL", MYKEY]), "-1");
    let made = stored(&redis, MYKEY);
    assert_eq!(made["org_id"], "default");
    assert_eq!(made["alias"], "ours");
    assert_eq!(made["rate"], 10);
    assert_eq!(made["per"], 60);
    assert_eq!(made["access_rights"]["t"]["api_id"], "t");
    assert_eq!(made["access_rights"]["t"]["versions"], json!(["Default"]));
    assert!(made["last_updated"].is_string(), "{made}");
    assert!(made["date_created"].is_string(), "{made}");

    let short = session(&["t"], json!({"session_lifetime": 600}));
    gateway.put_key("mykey", &short);
    let left: i64 = redis.ask(&["TTL", MYKEY]).parse().expect("seconds");
    assert!((540..=600).contains(&left), "{left}");
}

#[test]
fn a_key_without_hashing_is_named_by_its_token() {
    let (redis, echo) = (Redis::start(), Echo::start("up"));
    let gateway = node(&redis, &echo, json!({"hash_keys": false}));
    let token = gateway.put_key("mykey", &session(&["t"], json!({})));
    assert_eq!(token, "defaultmykey");
    assert_eq!(redis.ask(&["KEYS", "apikey-*"]), "apikey-defaultmykey");
}

#[test]
fn a_user_is_stored_with_a_bcrypt_hash_in_place_of_the_password() {
    let (redis, echo) = (Redis::start(), Echo::start("up"));
    let gateway = node(&redis, &echo, hashed("murmur64"));
    gateway
        .change("POST", "/tyk/keys/mykey", &user("se:cret"))
        .expect(200);
    let made = stored(&redis, MYKEY);
    assert_eq!(made["basic_auth_data"]["hash_type"], "bcrypt");
    let hash = made["basic_auth_data"]["password"]
        .as_str()
        .expect("a hash");
    assert!(
        hash.starts_with("$2") && hash[3..].starts_with("$10$"),
        "{hash}"
    );
    assert_eq!(hash.len(), 60);
    gateway.call_as("/b/", "mykey", "se:cret").expect(200);
}

#[test]
fn an_organisations_session_is_named_by_the_organisation_and_never_hashed() {
    let (redis, echo) = (Redis::start(), Echo::start("up"));
    let gateway = node(&redis, &echo, hashed("murmur64"));
    gateway
        .change("POST", "/tyk/org/keys/acme", &json!({"org_id": "acme"}))
        .expect(200);
    assert_eq!(redis.ask(&["KEYS", "*acme*"]), "orgkey.acme");
    assert_eq!(stored(&redis, "orgkey.acme")["org_id"], "acme");
}

#[test]
fn a_session_that_a_tyk_node_wrote_opens_what_it_says_and_is_counted_under_its_name() {
    let (redis, echo) = (Redis::start(), Echo::start("up"));
    let theirs = json!({
        "last_check": 0, "allowance": 2, "rate": 2, "per": 600, "throttle_interval": -1,
        "throttle_retry_limit": -1, "max_query_depth": -1,
        "date_created": "2024-05-01T10:00:00.123456789Z", "expires": 0, "quota_max": -1,
        "access_rights": {"t": {"api_name": "t", "api_id": "t", "versions": ["Default"],
            "allowed_urls": [], "limit": null, "disable_introspection": false,
            "allowance_scope": ""}},
        "org_id": "default", "oauth_client_id": "", "oauth_keys": null,
        "certificate": "", "basic_auth_data": {"password": "", "hash_type": ""},
        "jwt_data": {"secret": ""}, "hmac_enabled": false, "is_inactive": false,
        "apply_policy_id": "", "monitor": {"trigger_limits": null}, "tags": [],
        "last_updated": "1714557600", "session_lifetime": 0,
    });
    assert_eq!(redis.ask(&["SET", MYKEY, &theirs.to_string()]), "OK");
    let together = json!({"enable_redis_rolling_limiter": true});
    let gateway = node(&redis, &echo, with(hashed("murmur64"), together));
    for _ in 0..2 {
        gateway.call("/t/", "mykey").expect(200);
    }
    let refused = gateway.call("/t/", "mykey").expect(429);
    assert_eq!(error_of(&refused), "Rate Limit Exceeded");
    let counter = MYKEY.replace("apikey-", "rate-limit-");
    assert_eq!(redis.ask(&["TYPE", &counter]), "zset");
    assert_eq!(redis.ask(&["ZCARD", &counter]), "2");
}

/// ST-105 (a custom key and a user)
#[test]
fn keys_under_an_earlier_hash_function_work_only_while_it_is_a_fallback() {
    let (redis, echo) = (Redis::start(), Echo::start("up"));
    let before = node(&redis, &echo, hashed("murmur64"));
    before.put_key("mykey", &session(&["t"], json!({})));
    before
        .change("POST", "/tyk/keys/anna", &user("secret"))
        .expect(200);
    drop(before);
    let changed = node(&redis, &echo, hashed("sha256"));
    changed.call("/t/", "mykey").expect(403);
    changed.call_as("/b/", "anna", "secret").expect(401);
    drop(changed);
    let fallback = json!({"hash_key_function_fallback": ["murmur64"]});
    let with_fallback = node(&redis, &echo, with(hashed("sha256"), fallback));
    with_fallback.call("/t/", "mykey").expect(200);
    with_fallback.call_as("/b/", "anna", "secret").expect(200);
}

#[test]
fn with_the_sentinel_limiter_a_marker_of_any_node_blocks_a_rate_and_ours_is_a_tyk_nodes() {
    let (redis, echo) = (Redis::start(), Echo::start("up"));
    let limited = with(
        token_api("t", "/t/", &echo.url()),
        json!({"global_rate_limit": {"rate": 1000, "per": 60}}),
    );
    let gateway = Gateway::builder()
        .config(redis.configuration())
        .config(hashed("murmur64"))
        .config(json!({"enable_sentinel_rate_limiter": true}))
        .api("t", &limited)
        .start();
    gateway.put_key("mykey", &session(&["t"], json!({"rate": 2, "per": 600})));
    let marker = MYKEY.replace("apikey-", "rate-limit-") + ".BLOCKED";
    let refused = || error_of(&gateway.call("/t/", "mykey").expect(429));

    // Another node has seen more of them than this one.
    let theirs = ["SET", &marker, "1", "NX", "EX", "600"];
    assert_eq!(redis.ask(&theirs), "OK");
    assert_eq!(refused(), "Rate Limit Exceeded");
    assert_eq!(redis.ask(&["DEL", &marker]), "1");

    gateway.call("/t/", "mykey").expect(200);
    assert_eq!(redis.ask(&["EXISTS", &marker]), "0", "one more may pass");
    gateway.call("/t/", "mykey").expect(200);
    assert_eq!(redis.ask(&["GET", &marker]), "1");
    let left: i64 = redis.ask(&["TTL", &marker]).parse().expect("seconds");
    assert!((540..=600).contains(&left), "{left}");
    // It decides alone: with the log gone there would be room.
    let log = marker.trim_end_matches(".BLOCKED").to_owned();
    assert_eq!(redis.ask(&["DEL", &log]), "1");
    assert_eq!(refused(), "Rate Limit Exceeded");
    assert_eq!(redis.ask(&["EXISTS", &log]), "0", "refused without a trace");
}

/// A gateway that counts every rate in the store, by a connection with these settings.
fn counting(redis: &Redis, echo: &Echo, mtls: Value) -> Gateway {
    let gateway = node(
        redis,
        echo,
        json!({
            "enable_redis_rolling_limiter": true,
            "external_services": {"storage": {"mtls": with(json!({"enabled": true}), mtls)}},
        }),
    );
    gateway.put_key("open", &session(&["t"], json!({})));
    gateway.put_key("rate", &session(&["t"], json!({"rate": 1, "per": 600})));
    gateway
}

/// OUT-126
#[test]
fn the_connection_that_counts_uses_its_own_authorities_and_nobody_passes_uncounted() {
    let (redis, echo) = (Redis::start_with_tls(), Echo::start("up"));
    let dir = tempfile::tempdir().expect("a directory");
    let other = dir.path().join("other.pem");
    let stranger = portcullis_pki::make::make_ca("Another CA", certs::Algorithm::P256, 90)
        .expect("a CA can be made");
    std::fs::write(&other, stranger.certificate_pem()).expect("a file of the test");
    let gateway = counting(&redis, &echo, json!({"ca_file": other}));
    // Keys come by the connection of `storage`, which trusts the server.
    gateway.call("/t/", "open").expect(200);
    gateway.call("/t/", "rate").expect(503);

    let gateway = counting(&redis, &echo, json!({"ca_file": redis.ca_file()}));
    gateway.call("/t/", "rate").expect(200);
    gateway.call("/t/", "rate").expect(429);
}

/// OUT-127
#[test]
fn the_connection_that_counts_may_skip_verification_where_the_store_does_not() {
    let (redis, echo) = (Redis::start_with_tls(), Echo::start("up"));
    let gateway = counting(&redis, &echo, json!({"insecure_skip_verify": true}));
    gateway.wait_log("external_services.storage.mtls.insecure_skip_verify");
    gateway.call("/t/", "rate").expect(200);
    gateway.call("/t/", "rate").expect(429);
}

#[test]
fn a_file_of_the_connection_that_counts_that_cannot_be_read_keeps_the_gateway_from_starting() {
    let redis = Redis::start_with_tls();
    let ended = Gateway::builder()
        .config(redis.configuration())
        .config(json!({"external_services": {"storage": {"mtls":
            {"enabled": true, "ca_file": "/nowhere/ca.pem"}}}}))
        .fail();
    for part in ["external_services.storage.mtls.ca_file", "/nowhere/ca.pem"] {
        assert!(ended.log.contains(part), "{}", ended.log);
    }
}

/// Recommendation 30: entries of the store that the other connection reads, taken up when they come, out when
/// they go.
#[test]
fn the_connection_that_counts_takes_its_certificates_from_the_store_and_is_none_without_them() {
    let (redis, echo) = (Redis::start_with_mutual_tls(), Echo::start("up"));
    let [first, second] = ["first", "second"].map(|name| issued(certs::ca(), name));
    let ids = |pair: &Pair| json!({"cert_id": id(pair), "ca_cert_ids": [id(certs::ca())]});
    let gateway = counting(&redis, &echo, ids(&first));
    // Keys come by the connection of `storage`, whose certificate is a file.
    gateway.call("/t/", "open").expect(200);
    gateway.call("/t/", "rate").expect(503);
    gateway.wait_log("certificate not found in store");
    upload(&gateway, gateway.port(), &certs::bundle(&first));
    // One authority that is not there yet is one that nobody trusts.
    gateway
        .wait_log("none of the entries in external_services.storage.mtls.ca_cert_ids can be used");
    gateway.call("/t/", "rate").expect(503);
    upload(&gateway, gateway.port(), &certs::ca().certificate_pem());
    eventually("requests are counted", || {
        gateway.call("/t/", "rate").status != 503
    });
    gateway.call("/t/", "rate").expect(429);
    // What is taken away is not used any more.
    let path = format!("/tyk/certs/{}", id(&first));
    gateway.change("DELETE", &path, &Value::Null).expect(200);
    eventually("nothing is counted", || {
        gateway.call("/t/", "rate").status == 503
    });
    gateway.call("/t/", "open").expect(200);

    // Started with everything there, it counts at once.
    upload(&gateway, gateway.port(), &certs::bundle(&second));
    let other = counting(&redis, &echo, ids(&second));
    other.call("/t/", "rate").expect(429);
}
