//! Servers that are killed, paused, slow, full, or cut off in the middle of an answer.
//!
//! What was acknowledged is there afterwards, what is said tells what to do, and no restart is needed.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use portcullis_config::Redis as Config;
use portcullis_store::{Condition, Engine, Lifetime, StoreError};

use crate::{
    kit::{Proxy, at_last, down, down_because, open, open_up, settings, up},
    servers::Server,
};

/// Short, so that tests are; the rules are the same.
const TIMEOUT: Duration = Duration::from_millis(400);

fn impatient(address: &str) -> Config {
    Config {
        timeout: TIMEOUT,
        ..settings(address)
    }
}

async fn put(engine: &Engine, name: &str) -> Result<bool, StoreError> {
    let value = Bytes::from(name.to_owned());
    engine
        .set(name, value, Lifetime::Forever, Condition::Always)
        .await
}

/// An operation that ends with an error within the time for one, and some for a busy machine.
async fn fails_in_time(engine: &Engine) -> StoreError {
    let begun = Instant::now();
    let error = engine.get("k").await.unwrap_err();
    let took = begun.elapsed();
    assert!(took < TIMEOUT + Duration::from_secs(5), "{took:?}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_at_start_is_used_once_it_is_there() {
    let mut server = Server::start(&[]);
    server.kill();
    let engine = open(impatient(&server.address())).await;
    let reason = down(&engine).await;
    assert!(reason.contains("Connection refused"), "{reason}");
    let begun = Instant::now();
    assert!(matches!(
        put(&engine, "k").await,
        Err(StoreError::Away { .. })
    ));
    assert!(begun.elapsed() < TIMEOUT, "known to be away: no waiting");
    server.start_again();
    up(&engine).await;
    assert!(put(&engine, "k").await.unwrap());
}

/// Writers go on while the server is killed and started again; each name they were told is written is
/// there at the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_loses_nothing_that_was_acknowledged() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let engine = open_up(impatient(&server.address())).await;
    let (acknowledged, stop) = (
        Arc::new(Mutex::new(Vec::new())),
        Arc::new(AtomicBool::new(false)),
    );
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (engine, acknowledged, stop) = (engine.clone(), acknowledged.clone(), stop.clone());
            tokio::spawn(async move {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let name = format!("{writer}-{n}");
                    match put(&engine, &name).await {
                        Ok(_) => acknowledged.lock().unwrap().push(name),
                        Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            })
        })
        .collect();
    let written = || acknowledged.lock().unwrap().len();
    for _ in 0..3 {
        let before = written();
        at_last(async || {
            let reason = "nothing was written".to_owned();
            (written() > before + 50)
                .then_some(())
                .ok_or(StoreError::Away {
                    address: String::new(),
                    reason,
                })
        })
        .await;
        server.kill();
        down(&engine).await;
        server.start_again();
        up(&engine).await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let names = acknowledged.lock().unwrap().clone();
    let values = engine.get_many(&names).await.unwrap();
    for (name, value) in names.iter().zip(values) {
        assert_eq!(
            value,
            Some(Bytes::from(name.clone())),
            "{name} was acknowledged"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_is_away_until_it_goes_on() {
    let server = Server::start(&[]);
    let engine = open_up(impatient(&server.address())).await;
    server.pause();
    let error = fails_in_time(&engine).await.to_string();
    assert!(error.contains(&server.address()), "{error}");
    down_because(&engine, "no answer within 400ms").await;
    let error = fails_in_time(&engine).await;
    assert!(matches!(error, StoreError::Away { .. }), "{error:?}");
    server.resume();
    up(&engine).await;
    assert!(put(&engine, "k").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_waited_for_up_to_the_limit() {
    let server = Server::start(&[]);
    let proxy = Proxy::to(&server.address()).await;
    let engine = open_up(Config {
        timeout: Duration::from_secs(2),
        ..settings(&proxy.address)
    })
    .await;
    proxy.hold_up(Duration::from_millis(150));
    assert!(put(&engine, "k").await.unwrap());
    proxy.hold_up(Duration::from_secs(60));
    let error = engine.get("k").await.unwrap_err();
    assert!(
        matches!(error, StoreError::TimedOut { .. } | StoreError::Away { .. }),
        "{error:?}"
    );
    down(&engine).await;
    proxy.hold_up(Duration::ZERO);
    up(&engine).await;
    assert!(engine.get("k").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_still_reads_and_says_what_to_do() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let engine = open_up(impatient(&server.address())).await;
    put(&engine, "before").await.unwrap();
    assert_eq!(server.ask(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    let error = put(&engine, "after").await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    let error = error.to_string();
    assert!(
        error.contains("OOM") && error.contains("raise maxmemory"),
        "{error}"
    );
    assert!(engine.get("before").await.unwrap().is_some());
    assert_eq!(server.ask(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    assert!(put(&engine, "after").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_in_the_middle_is_no_answer() {
    let server = Server::start(&[]);
    let proxy = Proxy::to(&server.address()).await;
    let engine = open_up(impatient(&proxy.address)).await;
    let large = Bytes::from(vec![b'x'; 100_000]);
    engine
        .set("large", large.clone(), Lifetime::Forever, Condition::Always)
        .await
        .unwrap();
    proxy.cut_after(40_000);
    let error = engine.get("large").await.unwrap_err();
    assert!(
        matches!(error, StoreError::Away { .. } | StoreError::TimedOut { .. }),
        "{error:?}"
    );
    proxy.mend();
    let value = at_last(async || engine.get("large").await).await;
    assert_eq!(value, Some(large));
}

/// Each increase that was acknowledged happened, and happened once.
#[tokio::test(flavor = "multi_thread")]
async fn a_counter_is_not_increased_twice_by_one_call() {
    let server = Server::start(&[]);
    let proxy = Proxy::to(&server.address()).await;
    let engine = open_up(impatient(&proxy.address)).await;
    let (mut acknowledged, mut calls) = (0, 0);
    for _ in 0..3 {
        for _ in 0..10 {
            calls += 1;
            acknowledged += i64::from(engine.count("n", 1, None).await.is_ok());
        }
        proxy.cut_after(0);
        calls += 1;
        assert!(engine.count("n", 1, None).await.is_err());
        proxy.mend();
        at_last(async || engine.get("other").await).await;
    }
    let counted = engine.count("n", 0, None).await.unwrap().value;
    assert!(
        (acknowledged..=calls).contains(&counted),
        "{acknowledged} <= {counted} <= {calls}"
    );
}

/// A server that was started anew knows no scripts.
#[tokio::test(flavor = "multi_thread")]
async fn scripts_are_given_to_a_server_that_does_not_know_them() {
    let server = Server::start(&[]);
    let engine = open_up(impatient(&server.address())).await;
    assert_eq!(engine.count("n", 1, None).await.unwrap().value, 1);
    assert_eq!(server.ask(&["SCRIPT", "FLUSH"]), "OK");
    assert_eq!(engine.count("n", 1, None).await.unwrap().value, 2);
}
