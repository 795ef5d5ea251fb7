//! Two gateways that share one Redis: keys and limits are the fleet's, not the node's.

use std::time::{Duration, Instant};

use portcullis_tests::{
    echo::Echo,
    gateway::{Gateway, Signal},
    keys::{error_of, session, token_api},
    redis::Redis,
    wait::{PATIENCE, eventually, within},
};
use serde_json::json;

fn node(redis: &Redis, echo: &Echo, more: serde_json::Value) -> Gateway {
    Gateway::builder()
        .config(json!({"hash_keys": true, "hash_key_function": "murmur64"}))
        .config(redis.configuration())
        .config(more)
        .api("t", &token_api("t", "/t/", &echo.url()))
        .start()
}

#[test]
fn a_key_made_on_one_node_works_on_the_other_until_it_is_deleted() {
    let (redis, echo) = (Redis::start(), Echo::start("up"));
    let (a, b) = (
        node(&redis, &echo, json!({})),
        node(&redis, &echo, json!({})),
    );
    // The other node has met this token before anybody had it.
    b.call("/t/", "mykey").expect(403);
    let token = a.put_key("mykey", &session(&["t"], json!({})));
    eventually("the other node knows the key", || {
        b.call("/t/", "mykey").status == 200
    });
    b.call("/t/", &token).expect(200);
    a.change("DELETE", &format!("/tyk/keys/{token}"), &json!(null))
        .expect(200);
    let gone = within(Duration::from_secs(5), || {
        b.call("/t/", &token).status == 403 && b.call("/t/", "mykey").status == 403
    });
    assert!(gone, "sooner than a remembered key would be forgotten");
}

#[test]
fn quotas_and_rates_counted_together_are_exact_over_nodes() {
    let (redis, echo) = (Redis::start(), Echo::start("up"));
    let together = json!({"enable_redis_rolling_limiter": true});
    let (a, b) = (
        node(&redis, &echo, together.clone()),
        node(&redis, &echo, together),
    );
    a.put_key(
        "quota",
        &session(&["t"], json!({"quota_max": 5, "quota_renewal_rate": 600})),
    );
    a.put_key("rate", &session(&["t"], json!({"rate": 5, "per": 600})));
    for (key, status, message) in [
        ("quota", 403, "Quota exceeded"),
        ("rate", 429, "Rate Limit Exceeded"),
    ] {
        for node in [&a, &b, &a, &b, &a] {
            node.call("/t/", key).expect(200);
        }
        for node in [&a, &b] {
            assert_eq!(error_of(&node.call("/t/", key).expect(status)), message);
        }
    }
}

#[test]
fn nodes_that_have_heard_of_each_other_count_small_rates_together() {
    let (redis, echo) = (Redis::start(), Echo::start("up"));
    let (a, b) = (
        node(&redis, &echo, json!({})),
        node(&redis, &echo, json!({})),
    );
    let mut attempt = 0;
    eventually("one request in all, whichever node is asked", || {
        attempt += 1;
        let key = format!("attempt{attempt}");
        a.put_key(&key, &session(&["t"], json!({"rate": 1, "per": 600})));
        a.call("/t/", &key).expect(200);
        b.call("/t/", &key).status == 429 && a.call("/t/", &key).status == 429
    });
}

/// Known keys go on for a bounded time; nobody else passes.
#[test]
fn without_its_store_a_gateway_serves_the_keys_it_knows_and_nobody_else() {
    let (mut redis, echo) = (Redis::start(), Echo::start("up"));
    // Remembered for a second only, so that the store is missed soon.
    let gateway = node(
        &redis,
        &echo,
        json!({"local_session_cache": {"cached_session_timeout": 1}}),
    );
    gateway.put_key("known", &session(&["t"], json!({})));
    gateway.put_key("other", &session(&["t"], json!({})));
    let quota = json!({"quota_max": 100, "quota_renewal_rate": 600});
    gateway.put_key("counted", &session(&["t"], quota));
    gateway.call("/t/", "known").expect(200);
    gateway.call("/t/", "counted").expect(200);
    redis.kill();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        gateway.call("/t/", "known").expect(200);
    }
    for key in ["other", "nobody", "counted"] {
        let refused = gateway.call("/t/", key).expect(503);
        assert_eq!(error_of(&refused), "Key store is not available", "{key}");
    }
    redis.revive();
    // Empty now: who was known is known no more.
    let forgotten = within(PATIENCE, || gateway.call("/t/", "known").status == 403);
    assert!(forgotten, "the store is asked again once it is back");
}

#[test]
fn a_store_that_hangs_holds_a_known_key_up_for_a_moment_and_lets_nobody_else_in() {
    let (redis, echo) = (Redis::start(), Echo::start("up"));
    let gateway = node(
        &redis,
        &echo,
        json!({"local_session_cache": {"cached_session_timeout": 1}}),
    );
    gateway.put_key("known", &session(&["t"], json!({})));
    gateway.call("/t/", "known").expect(200);
    redis.signal(Signal::STOP);
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < Duration::from_secs(4) {
        let call = Instant::now();
        gateway.call("/t/", "known").expect(200);
        slowest = slowest.max(call.elapsed());
    }
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
    gateway.call("/t/", "nobody").expect(503);
    redis.signal(Signal::CONT);
    let back = within(PATIENCE, || gateway.call("/t/", "nobody").status == 403);
    assert!(back, "the store answers again");
}

#[test]
fn a_known_key_does_not_outlive_its_grace() {
    let (mut redis, echo) = (Redis::start(), Echo::start("up"));
    let gateway = node(
        &redis,
        &echo,
        json!({
            "local_session_cache": {"cached_session_timeout": 1},
            "portcullis": {"session_grace": 1},
        }),
    );
    gateway.put_key("known", &session(&["t"], json!({})));
    gateway.call("/t/", "known").expect(200);
    redis.kill();
    eventually("its grace is over", || {
        gateway.call("/t/", "known").status == 503
    });
}
