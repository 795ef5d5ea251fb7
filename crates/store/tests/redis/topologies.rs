//! The contract, whatever stands behind the address.

use std::collections::BTreeSet;

use bytes::Bytes;
use portcullis_config::{Redis as Config, Secret};
use portcullis_pki::make::Algorithm;
use portcullis_store::{Condition, Lifetime, StoreError, Window};

use crate::{
    contract,
    kit::{Authority, at_last, open_up, settings},
    servers::{Server, Watched, cluster},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_users_and_databases_keeps_the_contract() {
    let server = Server::start(&[
        "--user",
        "gateway",
        "on",
        ">open-sesame",
        "~*",
        "&*",
        "+@all",
        "--user",
        "default",
        "off",
    ]);
    let engine = open_up(Config {
        username: "gateway".into(),
        password: Secret::new("open-sesame"),
        database: 3,
        ..settings(&server.address())
    })
    .await;
    contract::every_rule(&engine, "contract-").await;
}

/// OUT-122
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_client_certificates_keeps_the_contract() {
    let authority = Authority::new();
    let server = Server::start_with_tls(&authority.server(&["127.0.0.1"]), true, &[]);
    authority.client("gateway", Algorithm::P256);
    let engine = open_up(authority.settings_of(&server.address(), "gateway")).await;
    contract::every_rule(&engine, "contract-").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_three_keeps_the_contract_and_uses_every_node() {
    let nodes = cluster();
    let addresses = nodes.iter().map(Server::address).collect();
    let engine = open_up(Config {
        addresses,
        enable_cluster: true,
        ..settings("")
    })
    .await;
    contract::every_rule(&engine, "contract-").await;

    let names: Vec<String> = (0..60).map(|n| format!("spread-{n}")).collect();
    for name in &names {
        let value = Bytes::from(name.clone());
        engine
            .set(name, value, Lifetime::Forever, Condition::Always)
            .await
            .unwrap();
    }
    for node in &nodes {
        let here = node.ask(&["KEYS", "spread-*"]).lines().count();
        assert!(here > 0 && here < names.len(), "{here} of {}", names.len());
    }
    let found: BTreeSet<String> = engine
        .keys_with_prefix("spread-")
        .await
        .unwrap()
        .into_iter()
        .collect();
    assert_eq!(found, names.iter().cloned().collect());
    assert_eq!(engine.remove(&names).await.unwrap(), names.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_leads_to_the_primary_and_after_a_fail_over_to_the_next() {
    let mut watched = Watched::start();
    let engine = open_up(Config {
        master_name: Some("main".into()),
        ..settings(&watched.sentinel.address())
    })
    .await;
    contract::every_rule(&engine, "contract-").await;
    let value = |text: &'static str| Bytes::from_static(text.as_bytes());
    engine
        .set("kept", value("1"), Lifetime::Forever, Condition::Always)
        .await
        .unwrap();
    // `WAIT` speaks of its own connection's writes alone, so the replica itself is asked.
    at_last(
        async || match watched.replica.ask(&["GET", "kept"]).as_str() {
            "1" => Ok(()),
            _ => Err(StoreError::Entry {
                name: "kept".into(),
                reason: "has not reached the replica".into(),
            }),
        },
    )
    .await;

    watched.primary.kill();
    // Writes begin to work again on the replica that has become the primary.
    at_last(async || {
        engine
            .set("new", value("2"), Lifetime::Forever, Condition::Always)
            .await
    })
    .await;
    assert_eq!(
        at_last(async || engine.get("kept").await).await,
        Some(value("1"))
    );
    assert_eq!(watched.replica.ask(&["GET", "new"]), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_told_from_a_primary() {
    let watched = Watched::start();
    let engine = open_up(settings(&watched.replica.address())).await;
    let written = engine
        .set("k", Bytes::new(), Lifetime::Forever, Condition::Always)
        .await;
    let error = written.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("READONLY"), "{error}");
    assert!(error.to_string().contains("name the primary"), "{error}");
}

/// What a Tyk node finds, and what it left.
#[tokio::test(flavor = "multi_thread")]
async fn entries_have_the_types_a_fleet_expects() {
    let server = Server::start(&[]);
    let engine = open_up(settings(&server.address())).await;
    engine
        .list_append("cert-org-index", &["raw-1".into(), "raw-2".into()])
        .await
        .unwrap();
    assert_eq!(
        server.ask(&["LRANGE", "cert-org-index", "0", "-1"]),
        "raw-1\nraw-2"
    );
    let minute = std::time::Duration::from_secs(60);
    engine.count("quota-1", 1, Some(minute)).await.unwrap();
    assert_eq!(server.ask(&["INCR", "quota-1"]), "2");
    let left: u64 = server.ask(&["TTL", "quota-1"]).parse().unwrap();
    assert!((50..=60).contains(&left), "{left} s");
    let at = |nanos| std::time::UNIX_EPOCH + std::time::Duration::from_nanos(nanos);
    let window = Window {
        per: minute,
        most: 3,
        blocks: true,
    };
    for moment in [1_000_000_000, 1_000_000_000, 2_000_000_000] {
        let slide = engine.slide("rate-limit-1", at(moment), window).await;
        assert!(slide.unwrap().allowed);
    }
    assert_eq!(server.ask(&["TYPE", "rate-limit-1"]), "zset");
    assert_eq!(server.ask(&["ZCARD", "rate-limit-1"]), "3");
    assert_eq!(
        server.ask(&["ZSCORE", "rate-limit-1", "2000000000"]),
        "2000000000"
    );
    let left: u64 = server.ask(&["TTL", "rate-limit-1"]).parse().unwrap();
    assert!((50..=60).contains(&left), "{left} s");
    assert_eq!(server.ask(&["GET", "rate-limit-1.BLOCKED"]), "1");
    let left: u64 = server
        .ask(&["TTL", "rate-limit-1.BLOCKED"])
        .parse()
        .unwrap();
    assert!((50..=60).contains(&left), "{left} s");
}
