//! Signals over an embedded store, and their golden vectors.

use openssl::{pkey::PKey, rsa::Rsa, sign::Signer};
use serde_json::json;

use super::*;
use crate::engine::Embedded;

fn rules(secret: &str) -> Rules {
    Rules::with_secret(Secret::new(secret))
}

fn engine() -> (tempfile::TempDir, Engine) {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::Embedded(Embedded::open(dir.path()).unwrap());
    (dir, engine)
}

#[test]
fn the_signature_is_the_digest_of_command_payload_and_secret() {
    let signature = |secret: &str, command: &str, payload: &str| {
        let text = rules(secret).signed(command, payload);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["algorithm"], 5);
        json["signature"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        signature("", "ApiUpdated", ""),
        "a7f1b0637a181bdb4f9ab91c04f3c6e7a84ff0f8f5143e93b8b6f013aaa09cf1"
    );
    assert_eq!(
        signature("1234", "KeySpaceUpdateNotification", "abcd"),
        "3255bc443d461c2ff46d30f45d8e5b5afcf34f119d72ac9b16e28239a9165c5d"
    );
}

#[test]
fn members_are_written_in_the_order_of_the_fleet() {
    let text = rules("").signed("ApiUpdated", "");
    assert!(
        text.starts_with(r#"{"command":"ApiUpdated","payload":"","signature":"a7f1"#),
        "{text}"
    );
    assert!(text.ends_with(r#"","algorithm":5}"#), "{text}");
}

/// ST-112, ST-113
#[test]
fn what_is_not_signed_right_is_not_believed_unless_everything_is() {
    let signed = rules("s").signed("GroupReload", "");
    assert!(rules("s").believed(&signed).is_ok());
    assert_eq!(
        rules("other").believed(&signed),
        Err(Refused::WrongSignature)
    );
    let wrong =
        json!({"command": "GroupReload", "payload": "", "signature": "wrong", "algorithm": 5});
    assert_eq!(
        rules("s").believed(&wrong.to_string()),
        Err(Refused::WrongSignature)
    );
    let unsigned = r#"{"Command":"GroupReload"}"#;
    assert_eq!(rules("s").believed(unsigned), Err(Refused::NoPublicKey));
    let all = rules("s").dangerous_unsigned();
    assert_eq!(
        all.believed(unsigned),
        Ok(("GroupReload".into(), String::new()))
    );
    assert!(matches!(
        all.believed("no json"),
        Err(Refused::Malformed(_))
    ));
}

#[test]
fn a_private_key_signs_the_payload_alone() {
    let private = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut signer = Signer::new(openssl::hash::MessageDigest::sha256(), &private).unwrap();
    let signature = signer.sign_oneshot_to_vec(b"payload").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("public.pem");
    std::fs::write(&path, private.public_key_to_pem().unwrap()).unwrap();
    let rules = rules("s").and_public_key(&path).unwrap();
    let message = |payload: &str| {
        json!({
            "command": "ApiUpdated", "payload": payload,
            "signature": openssl::base64::encode_block(&signature), "algorithm": 0,
        })
        .to_string()
    };
    assert!(rules.believed(&message("payload")).is_ok());
    assert_eq!(
        rules.believed(&message("other")),
        Err(Refused::WrongSignature)
    );
    std::fs::write(&path, "no key").unwrap();
    let error = Rules::with_secret(Secret::default())
        .and_public_key(&path)
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(
        text.contains("public.pem: it holds no PUBLIC KEY block"),
        "{text}"
    );
}

#[test]
fn commands_of_the_fleet_become_signals() {
    let read = |command: &str, payload: &str| Signal::read(command, payload, false);
    for command in [
        "ApiUpdated",
        "ApiAdded",
        "ApiRemoved",
        "PolicyChanged",
        "GroupReload",
    ] {
        assert_eq!(read(command, "ignored"), Ok(Some(Signal::Reload)));
    }
    assert_eq!(
        read("KeySpaceUpdateNotification", "a:hashed,b,,c"),
        Ok(Some(Signal::KeysChanged(vec![
            "a".into(),
            "b".into(),
            "c".into()
        ])))
    );
    assert_eq!(read("OAuthPurgeLapsedTokens", ""), Ok(None));
    assert_eq!(
        read("Nonsense", ""),
        Err("Unknown notification command".to_owned())
    );
    // A fleet's channel is no way to say what only our nodes say.
    assert!(read("CertificateChanged", "id").is_err());
    let load = r#"{"HostName":"h","ID":"i","LoadPerSec":0,"Percentage":0,"TagHash":"t"}"#;
    let Ok(Some(Signal::Load(load))) = read("NoticeGatewayDRLNotification", load) else {
        panic!("no load");
    };
    assert_eq!((load.load_per_sec, load.id.as_str()), (1, "i"));
}

/// ST-111
#[tokio::test]
async fn every_node_hears_a_signal_its_sender_included() {
    let (_dir, engine) = engine();
    let (one, two) = (
        Signals::new(engine.clone(), rules("s")),
        Signals::new(engine.clone(), rules("s")),
    );
    let stranger = Signals::new(engine, rules("not s"));
    let (mut at_one, mut at_two, mut at_stranger) =
        (one.subscribe(), two.subscribe(), stranger.subscribe());
    for signals in [&one, &two, &stranger] {
        signals.listen();
    }
    let sent = [
        Signal::Reload,
        Signal::KeysChanged(vec!["k".into()]),
        Signal::CertificateChanged { id: "1a".into() },
        Signal::ApiCacheDropped("api".into()),
        Signal::Load(NodeLoad {
            load_per_sec: 7,
            ..NodeLoad::default()
        }),
    ];
    for signal in &sent {
        one.send(signal).await.unwrap();
        assert_eq!(at_one.recv().await.unwrap(), *signal);
        assert_eq!(at_two.recv().await.unwrap(), *signal);
    }
    // Had it believed any, it would have heard those before its own.
    stranger
        .send(&Signal::JwksDropped("own".into()))
        .await
        .unwrap();
    assert_eq!(
        at_stranger.recv().await.unwrap(),
        Signal::JwksDropped("own".into())
    );
}

/// ST-115
#[tokio::test]
async fn a_management_node_ignores_how_busy_others_are() {
    let (_dir, engine) = engine();
    let node = Signals::new(engine.clone(), rules("s"));
    let management = Signals::new(engine, rules("s")).without_loads();
    let mut heard = management.subscribe();
    management.listen();
    node.send(&Signal::Load(NodeLoad::default())).await.unwrap();
    node.send(&Signal::Reload).await.unwrap();
    assert_eq!(heard.recv().await.unwrap(), Signal::Reload);
}
