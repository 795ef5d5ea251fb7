//! Several gateways on one Redis: they reload together, tell how busy they are, and do without it.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use portcullis_tests::{
    echo::Echo,
    gateway::{Builder, Gateway, api, with},
    redis::Redis,
    wait::eventually,
};
use serde_json::json;

/// A gateway on this Redis that looks at its files only when it is told to.
fn node(redis: &Redis, node_secret: &str) -> Builder {
    let own = json!({"node_secret": node_secret, "portcullis": {"watch_app_path": false}});
    Gateway::builder().config(with(redis.configuration(), own))
}

fn listeners(redis: &Redis, count: usize) {
    eventually("every node listens", || {
        let answer = redis.ask(&["PUBSUB", "NUMSUB", "tyk.cluster.notifications"]);
        answer.lines().last() == Some(&count.to_string())
    });
}

fn serves(gateway: &Gateway) -> bool {
    gateway.get("/new/").status == 200
}

/// ST-74
#[test]
fn a_reload_of_the_group_reaches_every_node_that_knows_the_secret() {
    let (redis, echo) = (Redis::start(), Echo::start("echo"));
    let one = node(&redis, "shared").start();
    let other = node(&redis, "shared").start();
    let stranger = node(&redis, "another").start();
    listeners(&redis, 3);
    for gateway in [&one, &other, &stranger] {
        gateway.write_api("new", &api("new", "/new/", &echo.url()));
    }
    let answer = one.control("/tyk/reload/group").expect(200);
    assert_eq!(answer.json(), json!({"status": "ok", "message": ""}));
    eventually("both serve the new API", || serves(&one) && serves(&other));
    stranger.wait_log("its signature is wrong");
    assert!(!serves(&stranger));
}

#[test]
fn a_node_tells_how_busy_it_is() {
    let redis = Redis::start();
    let mut listener = Command::new("redis-cli")
        .args([
            "-p",
            &redis.port().to_string(),
            "SUBSCRIBE",
            "tyk.cluster.notifications",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-cli runs");
    let _gateway = node(&redis, "shared").start();
    let lines = BufReader::new(listener.stdout.take().expect("piped")).lines();
    let said = lines
        .map_while(Result::ok)
        .find(|line| line.contains("NoticeGatewayDRLNotification"))
        .expect("it says so");
    let _ = listener.kill();
    let _ = listener.wait();
    let message: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(message["algorithm"], 5);
    let load: serde_json::Value =
        serde_json::from_str(message["payload"].as_str().expect("a text")).expect("JSON in a text");
    assert_eq!(load["LoadPerSec"], 1, "0 is sent as 1");
    for member in ["HostName", "ID"] {
        assert!(
            !load[member].as_str().expect("a text").is_empty(),
            "{member}"
        );
    }
}

#[test]
fn a_gateway_serves_without_its_store_and_reloads_when_that_is_back() {
    let (mut redis, echo) = (Redis::start(), Echo::start("echo"));
    redis.kill();
    let gateway = node(&redis, "shared")
        .api("first", &api("first", "/first/", &echo.url()))
        .start();
    gateway.get("/first/").expect(200);
    gateway.wait_log("the store is away");
    gateway.write_api("new", &api("new", "/new/", &echo.url()));
    assert!(!serves(&gateway), "nobody has asked for a reload");
    redis.revive();
    eventually("it loads again", || serves(&gateway));
}

#[test]
fn settings_of_the_store_that_cannot_be_right_keep_the_gateway_from_starting() {
    let half =
        json!({"storage": {"host": "127.0.0.1", "use_ssl": true, "cert_file": "client.pem"}});
    let ended = Gateway::builder().config(half).fail();
    assert_eq!(
        ended.status.code(),
        Some(1),
        "a mistake in the configuration"
    );
    assert!(ended.log.contains("storage.key_file"), "{}", ended.log);
}
