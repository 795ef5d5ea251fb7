//! Certificates of the client and its authorities change while commands run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use portcullis_pki::make::Algorithm;
use portcullis_store::Engine;

use crate::{
    kit::{Authority, open_up},
    servers::{PATIENCE, Server},
};

/// Asks the store until it is dropped; every failure is one too many.
struct Traffic {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Traffic {
    fn to(engine: &Engine) -> Self {
        let (stop, asked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let tasks = (0..4)
            .map(|_| {
                let (engine, stop, asked) = (engine.clone(), stop.clone(), asked.clone());
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        engine
                            .count("asked", 1, None)
                            .await
                            .expect("no command fails");
                        asked.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                })
            })
            .collect();
        Self { stop, asked, tasks }
    }

    async fn ends_well(self, engine: &Engine) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let counted = engine.count("asked", 0, None).await.unwrap().value;
        assert_eq!(counted.unsigned_abs(), self.asked.load(Ordering::Relaxed));
    }
}

/// Ids of connections that the server has.
async fn connections(engine: &Engine, counter: &AtomicU64) -> u64 {
    engine.get("asked").await.unwrap();
    counter.load(Ordering::Relaxed)
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A way in front of the server that counts connections.
async fn counted(server: &str) -> (String, Arc<AtomicU64>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (
        listener.local_addr().unwrap().to_string(),
        Arc::new(AtomicU64::new(0)),
    );
    let (server, counter) = (server.to_owned(), count.clone());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            let server = server.clone();
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pair_is_used_without_a_failed_command() {
    let authority = Authority::new();
    let server = Server::start_with_tls(&authority.server(&["127.0.0.1"]), true, &[]);
    authority.client("gateway", Algorithm::P256);
    let (address, count) = counted(&server.address()).await;
    let engine = open_up(authority.settings_of(&address, "gateway")).await;
    let traffic = Traffic::to(&engine);
    let before = connections(&engine, &count).await;

    authority.client("gateway", Algorithm::Rsa2048);
    until("a connection with the new pair", || {
        count.load(Ordering::Relaxed) > before + 1
    })
    .await;
    let asked = traffic.asked.load(Ordering::Relaxed);
    until("traffic", || {
        traffic.asked.load(Ordering::Relaxed) > asked + 50
    })
    .await;
    traffic.ends_well(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_leave_the_connections_as_they_are() {
    let authority = Authority::new();
    let server = Server::start_with_tls(&authority.server(&["127.0.0.1"]), true, &[]);
    authority.client("gateway", Algorithm::P256);
    let (address, count) = counted(&server.address()).await;
    let engine = open_up(authority.settings_of(&address, "gateway")).await;
    let traffic = Traffic::to(&engine);

    // Broken text first, then a pair that the server does not accept: it is tried and not taken.
    std::fs::write(
        authority.path("gateway.pem"),
        "-----BEGIN CERTIFICATE-----\nno",
    )
    .unwrap();
    let asked = traffic.asked.load(Ordering::Relaxed);
    until("traffic", || {
        traffic.asked.load(Ordering::Relaxed) > asked + 100
    })
    .await;
    let before = connections(&engine, &count).await;
    authority.expired_client("gateway");
    until("an attempt", || count.load(Ordering::Relaxed) > before).await;
    let asked = traffic.asked.load(Ordering::Relaxed);
    until("traffic", || {
        traffic.asked.load(Ordering::Relaxed) > asked + 100
    })
    .await;

    // One that is accepted ends it.
    let before = connections(&engine, &count).await;
    authority.client("gateway", Algorithm::P256);
    until("a connection with the new pair", || {
        count.load(Ordering::Relaxed) > before + 1
    })
    .await;
    traffic.ends_well(&engine).await;
}
