//! What nodes tell each other over a server.

use portcullis_config::Secret;
use portcullis_store::{Health, Signal, Signals, signals::Rules};

use crate::{
    kit::{open_up, settings, up},
    servers::{PATIENCE, Server},
};

fn signals(engine: &portcullis_store::Engine, secret: &str) -> Signals {
    Signals::new(engine.clone(), Rules::with_secret(Secret::new(secret)))
}

async fn heard(receiver: &mut tokio::sync::broadcast::Receiver<Signal>) -> Signal {
    tokio::time::timeout(PATIENCE, receiver.recv())
        .await
        .expect("a signal in time")
        .unwrap()
}

/// Waits until so many connections listen to the channel of the fleet.
fn listened_to_by(server: &Server, count: usize) {
    server.ask_until(
        &["PUBSUB", "NUMSUB", "tyk.cluster.notifications"],
        |answer| answer.lines().last() == Some(&count.to_string()),
    );
}

/// ST-111, ST-112, ST-113
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_obeyed_when_its_signature_is_right() {
    let server = Server::start(&[]);
    let engine = open_up(settings(&server.address())).await;
    let signals = signals(&engine, "1234");
    let mut receiver = signals.subscribe();
    signals.listen();
    listened_to_by(&server, 1);
    let publish = |text: &str| {
        assert_eq!(
            server.ask(&["PUBLISH", "tyk.cluster.notifications", text]),
            "1"
        );
    };
    publish(r#"{"command":"GroupReload","payload":"","signature":"wrong","algorithm":5}"#);
    publish(r#"{"Command":"GroupReload"}"#);
    publish("no JSON");
    publish(
        r#"{"command":"KeySpaceUpdateNotification","payload":"abcd","signature":"3255bc443d461c2ff46d30f45d8e5b5afcf34f119d72ac9b16e28239a9165c5d","algorithm":5}"#,
    );
    // The first that is heard is the only one that was signed.
    assert_eq!(
        heard(&mut receiver).await,
        Signal::KeysChanged(vec!["abcd".into()])
    );
    signals.send(&Signal::Reload).await.unwrap();
    assert_eq!(heard(&mut receiver).await, Signal::Reload);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_hear_each_other_and_again_after_the_server_was_away() {
    let mut server = Server::start(&[]);
    let (one, other) = (
        open_up(settings(&server.address())).await,
        open_up(settings(&server.address())).await,
    );
    let (one_signals, other_signals) = (signals(&one, "s"), signals(&other, "s"));
    let mut receiver = other_signals.subscribe();
    other_signals.listen();
    listened_to_by(&server, 1);
    let changed = Signal::CertificateChanged { id: "1a".into() };
    one_signals.send(&changed).await.unwrap();
    assert_eq!(heard(&mut receiver).await, changed);

    server.kill();
    crate::kit::down(&other).await;
    let mut health = other.health();
    health.mark_unchanged();
    server.start_again();
    // Who has to look again for what it may have missed is told so.
    tokio::time::timeout(PATIENCE, health.wait_for(|health| *health == Health::Up))
        .await
        .unwrap()
        .unwrap();
    listened_to_by(&server, 1);
    up(&one).await;
    one_signals.send(&Signal::Reload).await.unwrap();
    assert_eq!(heard(&mut receiver).await, Signal::Reload);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens_who_does_not_want_to() {
    let server = Server::start(&[]);
    let engine = open_up(settings(&server.address())).await;
    let signals = signals(&engine, "s");
    signals.send(&Signal::Reload).await.unwrap();
    listened_to_by(&server, 0);
}
