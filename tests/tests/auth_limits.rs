//! How often a key and an API may be called.

use std::time::{Duration, Instant};

use portcullis_tests::{
    echo::Echo,
    gateway::{Gateway, api, with},
    keys::{error_of, session, token_api},
    wait::eventually,
};
use serde_json::{Value, json};

/// A gateway before two APIs, `t` and `u`, that ask for a token.
fn guarded(echo: &Echo) -> Gateway {
    Gateway::builder()
        .api("t", &token_api("t", "/t/", &echo.url()))
        .api("u", &token_api("u", "/u/", &echo.url()))
        .start()
}

fn rate(rate: u32, per: u32) -> Value {
    json!({"rate": rate, "per": per})
}

/// How many of so many calls at once get through.
fn passed_of(gateway: &Gateway, calls: usize, path: &str, token: &str) -> usize {
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..calls)
            .map(|_| scope.spawn(|| gateway.call(path, token).status))
            .collect();
        let statuses: Vec<u16> = calls
            .into_iter()
            .map(|call| call.join().expect("a call"))
            .collect();
        assert!(
            statuses.iter().all(|status| [200, 429].contains(status)),
            "{statuses:?}"
        );
        statuses.iter().filter(|status| **status == 200).count()
    })
}

#[test]
fn a_rate_is_exact_however_many_call_at_once_and_shared_by_all_apis_of_the_key() {
    let echo = Echo::start("up");
    let gateway = guarded(&echo);
    gateway.put_key("mykey", &session(&["t", "u"], rate(7, 600)));
    assert_eq!(passed_of(&gateway, 12, "/t/", "mykey"), 7);
    let refused = gateway.call("/u/", "mykey").expect(429);
    assert_eq!(error_of(&refused), "Rate Limit Exceeded");
    // Another key is another count.
    gateway.put_key("another", &session(&["t"], rate(7, 600)));
    gateway.call("/t/", "another").expect(200);
}

#[test]
fn a_rate_begins_anew_when_its_time_is_over() {
    let echo = Echo::start("up");
    let gateway = guarded(&echo);
    gateway.put_key("mykey", &session(&["t"], rate(1, 1)));
    gateway.call("/t/", "mykey").expect(200);
    eventually("a second has passed", || {
        gateway.call("/t/", "mykey").status == 200
    });
}

#[test]
fn a_change_of_the_key_does_not_give_its_rate_back() {
    let echo = Echo::start("up");
    let gateway = guarded(&echo);
    gateway.put_key("mykey", &session(&["t"], rate(2, 600)));
    assert_eq!(passed_of(&gateway, 3, "/t/", "mykey"), 2);
    gateway.put_key("mykey", &session(&["t"], rate(3, 600)));
    assert_eq!(passed_of(&gateway, 3, "/t/", "mykey"), 1);
}

#[test]
fn an_api_of_a_key_may_have_a_rate_of_its_own_and_so_may_an_endpoint() {
    let echo = Echo::start("up");
    let gateway = guarded(&echo);
    let endpoint = json!({"path": "^/slow", "methods": [{"name": "GET", "limit": rate(1, 600)}]});
    let own = json!({"t": {"limit": rate(2, 600), "endpoints": [endpoint]}});
    gateway.put_key(
        "mykey",
        &session(
            &["t", "u"],
            with(rate(3, 600), json!({"access_rights": own})),
        ),
    );
    gateway.call("/t/slow", "mykey").expect(200);
    gateway.call("/t/slow", "mykey").expect(429);
    assert_eq!(passed_of(&gateway, 4, "/t/", "mykey"), 2);
    assert_eq!(passed_of(&gateway, 5, "/u/", "mykey"), 3);
}

#[test]
fn a_throttled_request_waits_for_its_turn() {
    let echo = Echo::start("up");
    let gateway = guarded(&echo);
    let throttle = json!({"throttle_interval": 0.2, "throttle_retry_limit": 50});
    gateway.put_key("patient", &session(&["t"], with(rate(1, 1), throttle)));
    gateway.call("/t/", "patient").expect(200);
    let begun = Instant::now();
    gateway.call("/t/", "patient").expect(200);
    assert!(begun.elapsed() >= Duration::from_millis(200));
    let throttle = json!({"throttle_interval": 0.05, "throttle_retry_limit": 2});
    gateway.put_key("hasty", &session(&["t"], with(rate(1, 600), throttle)));
    gateway.call("/t/", "hasty").expect(200);
    let refused = gateway.call("/t/", "hasty").expect(429);
    assert_eq!(error_of(&refused), "Rate Limit Exceeded");
}

#[test]
fn a_quota_is_told_in_responses_and_refuses_what_is_over_it() {
    let echo = Echo::start("up");
    let gateway = guarded(&echo);
    let quota = json!({"quota_max": 3, "quota_renewal_rate": 3600});
    gateway.put_key("mykey", &session(&["t"], quota));
    for (protocol, left) in [
        ("--http1.1", "2"),
        ("--http2-prior-knowledge", "1"),
        ("--http1.1", "0"),
    ] {
        let passed = gateway
            .curl()
            .arguments(&[protocol])
            .header("Authorization", "mykey")
            .send(&gateway.url("/t/"))
            .expect(200);
        assert_eq!(passed.header("x-ratelimit-limit"), Some("3"));
        assert_eq!(passed.header("x-ratelimit-remaining"), Some(left));
        let renews: u64 = passed
            .header("x-ratelimit-reset")
            .and_then(|reset| reset.parse().ok())
            .expect("a time");
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970");
        assert!(renews > now.as_secs() + 3000 && renews <= now.as_secs() + 3601);
    }
    let refused = gateway.call("/t/", "mykey").expect(403);
    assert_eq!(error_of(&refused), "Quota exceeded");
    assert_eq!(echo.served(), 3);
}

#[test]
fn a_quota_starts_anew_and_one_of_minus_one_is_none() {
    let echo = Echo::start("up");
    let gateway = guarded(&echo);
    let quota = json!({"quota_max": 1, "quota_renewal_rate": 1});
    gateway.put_key("mykey", &session(&["t"], quota));
    gateway.call("/t/", "mykey").expect(200);
    eventually("the quota starts anew", || {
        gateway.call("/t/", "mykey").status == 200
    });
    gateway.put_key("free", &session(&["t"], json!({"quota_max": -1})));
    let passed = gateway.call("/t/", "free").expect(200);
    assert_eq!(passed.header("x-ratelimit-limit"), None);
}

#[test]
fn an_api_may_be_limited_as_a_whole_with_and_without_keys() {
    let echo = Echo::start("up");
    let limit = json!({"global_rate_limit": {"rate": 3, "per": 600}});
    let gateway = Gateway::builder()
        .api(
            "open",
            &with(api("open", "/open/", &echo.url()), limit.clone()),
        )
        .api("t", &with(token_api("t", "/t/", &echo.url()), limit))
        .start();
    assert_eq!(passed_of(&gateway, 5, "/open/", "anybody"), 3);
    let refused = gateway.get("/open/").expect(429);
    assert_eq!(error_of(&refused), "API Rate Limit Exceeded");
    gateway.put_key(
        "mykey",
        &session(&["t"], json!({"quota_max": 100, "quota_renewal_rate": 600})),
    );
    gateway.put_key("another", &session(&["t"], json!({})));
    gateway.call("/t/", "mykey").expect(200);
    gateway.call("/t/", "another").expect(200);
    gateway.call("/t/", "mykey").expect(200);
    for token in ["mykey", "another"] {
        assert_eq!(
            error_of(&gateway.call("/t/", token).expect(429)),
            "API Rate Limit Exceeded"
        );
    }
    // A reload does not give the rate back.
    gateway.reload();
    gateway.get("/open/").expect(429);
}

#[test]
fn an_api_may_leave_the_limits_of_keys_out() {
    let echo = Echo::start("up");
    let free = json!({"disable_rate_limit": true, "disable_quota": true});
    let gateway = Gateway::builder()
        .api("t", &with(token_api("t", "/t/", &echo.url()), free))
        .start();
    let limits = with(
        rate(1, 600),
        json!({"quota_max": 1, "quota_renewal_rate": 600}),
    );
    gateway.put_key("mykey", &session(&["t"], limits));
    for _ in 0..3 {
        gateway.call("/t/", "mykey").expect(200);
    }
}

#[test]
fn rates_counted_in_the_store_are_exact_too() {
    let echo = Echo::start("up");
    let gateway = Gateway::builder()
        .config(json!({"enable_redis_rolling_limiter": true}))
        .api("t", &token_api("t", "/t/", &echo.url()))
        .start();
    gateway.put_key("mykey", &session(&["t"], rate(4, 600)));
    assert_eq!(passed_of(&gateway, 8, "/t/", "mykey"), 4);
    let refused = gateway.call("/t/", "mykey").expect(429);
    assert_eq!(error_of(&refused), "Rate Limit Exceeded");
}
