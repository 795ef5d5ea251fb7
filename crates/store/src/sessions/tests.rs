//! Keys and organisations in an embedded store: what is found, what is told, what is left behind.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use portcullis_config::Identity;

use super::*;
use crate::{Condition, Embedded, Signal, hash::HashFunction};

struct Store {
    sessions: Sessions,
    engine: Engine,
    signals: Signals,
    _dir: tempfile::TempDir,
}

fn store(change: impl FnOnce(&mut Identity)) -> Store {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::Embedded(Embedded::open(dir.path()).unwrap());
    let loaded = portcullis_config::load_text(Path::new("tyk.conf"), "{}", []).unwrap();
    let mut identity = loaded.config.identity;
    change(&mut identity);
    let signals = Signals::unsigned(engine.clone());
    Store {
        sessions: Sessions::new(engine.clone(), identity, signals.clone()),
        engine,
        signals,
        _dir: dir,
    }
}

fn session(json: &str) -> Session {
    Session::from_json(json.as_bytes()).unwrap()
}

const NO_API: ApiLifetime = ApiLifetime {
    lifetime: None,
    respects_expiration: false,
};

#[tokio::test]
async fn a_key_is_stored_under_its_token_and_found_by_it_and_by_its_custom_name() {
    let store = store(|identity| identity.hash_key_function = Some("murmur64".to_owned()));
    let token = store.sessions.compose("default", "mykey");
    let key = store.sessions.key(&token);
    let written = session(r#"{"rate":5,"org_id":"default"}"#);
    assert!(
        store
            .sessions
            .save(&key, &written, NO_API, Write::New)
            .await
            .unwrap()
    );
    let stored = store
        .engine
        .get(&format!("apikey-{token}"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stored, r#"{"rate":5,"org_id":"default"}"#);
    for presented in [&token, "mykey"] {
        let found = store
            .sessions
            .find("default", presented)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (found.token.as_str(), found.name.as_str()),
            (token.as_str(), token.as_str())
        );
        assert_eq!(found.session, written);
    }
    assert_eq!(store.sessions.find("other", "mykey").await.unwrap(), None);
}

#[tokio::test]
async fn a_hashed_key_is_stored_under_the_hash_its_token_names() {
    let store = store(|identity| {
        identity.hash_keys = true;
        identity.hash_key_function = Some("sha256".to_owned());
    });
    let key = store
        .sessions
        .key(store.sessions.compose("default", "mykey"));
    store
        .sessions
        .save(&key, &Session::default(), NO_API, Write::New)
        .await
        .unwrap();
    let name = "103870ea2b2743f8a275d1e65e917ff9e44ebfae66eade42ae92f2195bb3f5c0";
    assert_eq!(store.sessions.names("").await.unwrap(), [name]);
    assert!(
        store
            .sessions
            .get(&store.sessions.key_by_name(name))
            .await
            .unwrap()
            .is_some()
    );
}

/// ST-103, ST-104 (the lookup)
#[tokio::test]
async fn the_32_bit_hash_finds_a_token_with_something_appended_and_no_other_does() {
    for (function, found) in [("murmur32", true), ("murmur64", false), ("sha256", false)] {
        let store = store(|identity| {
            identity.hash_keys = true;
            identity.hash_key_function = Some(function.to_owned());
        });
        let token = store.sessions.compose("default", "mykey");
        let key = store.sessions.key(&token);
        store
            .sessions
            .save(&key, &Session::default(), NO_API, Write::New)
            .await
            .unwrap();
        let longer = store
            .sessions
            .find("default", &format!("{token}abc"))
            .await
            .unwrap();
        assert_eq!(longer.is_some(), found, "{function}");
    }
}

/// ST-105 (the lookup)
#[tokio::test]
async fn keys_of_a_former_hash_function_are_found_where_it_is_a_fallback() {
    let former = store(|identity| {
        identity.hash_keys = true;
        identity.hash_key_function = Some("murmur64".to_owned());
    });
    for org in ["default", "5e9d9544a1dcd60001d0ed20"] {
        let certificate = format!("{org}{}", "a".repeat(64));
        for id in ["mykey", "user", &certificate] {
            let key = former.sessions.key(former.sessions.compose(org, id));
            former
                .sessions
                .save(&key, &Session::default(), NO_API, Write::New)
                .await
                .unwrap();
        }
        let changed = |fallback: &[&str]| {
            let mut identity = former.sessions.identity().clone();
            identity.hash_key_function = Some("sha256".to_owned());
            identity.hash_key_function_fallback =
                fallback.iter().map(|name| (*name).to_owned()).collect();
            Sessions::new(former.engine.clone(), identity, former.signals.clone())
        };
        let (without, with) = (changed(&[]), changed(&["murmur64"]));
        for name in ["mykey", "user"] {
            assert!(
                without.find(org, name).await.unwrap().is_none(),
                "{org} {name}"
            );
            assert!(
                with.find(org, name).await.unwrap().is_some(),
                "{org} {name}"
            );
        }
        assert!(
            without
                .find_certificate(org, &certificate)
                .await
                .unwrap()
                .is_none()
        );
        assert!(
            with.find_certificate(org, &certificate)
                .await
                .unwrap()
                .is_some()
        );
    }
}

#[tokio::test]
async fn a_key_that_was_deleted_is_not_brought_back_by_who_read_it_before() {
    let store = store(|_| {});
    let key = store.sessions.key("defaultmykey");
    let session = session(r#"{"rate":1}"#);
    assert!(
        !store
            .sessions
            .save(&key, &session, NO_API, Write::Known)
            .await
            .unwrap()
    );
    assert_eq!(store.sessions.get(&key).await.unwrap(), None);
    store
        .sessions
        .save(&key, &session, NO_API, Write::New)
        .await
        .unwrap();
    // Without an end as well, which a fleet's own nodes lose.
    assert!(
        store
            .sessions
            .save(&key, &Session::default(), NO_API, Write::Known)
            .await
            .unwrap()
    );
    assert_eq!(
        store.sessions.get(&key).await.unwrap(),
        Some(Session::default())
    );
}

#[tokio::test]
async fn removing_a_key_removes_its_counters() {
    let store = store(|_| {});
    let key = store.sessions.key("defaultmykey");
    let session = session(r#"{"access_rights":{"a":{"allowance_scope":"gold"}}}"#);
    store
        .sessions
        .save(&key, &session, NO_API, Write::New)
        .await
        .unwrap();
    let counters = [
        "quota-defaultmykey",
        "quota-a-defaultmykey",
        "quota-gold-defaultmykey",
    ];
    for counter in counters {
        store.engine.count(counter, 3, None).await.unwrap();
    }
    let used = store
        .sessions
        .used_quotas(&key, &["", "gold", "none"])
        .await
        .unwrap();
    assert_eq!(used, [Some(3), Some(3), None]);
    assert!(store.sessions.remove(&key, &session).await.unwrap());
    for counter in counters {
        assert!(!store.engine.exists(counter).await.unwrap(), "{counter}");
    }
    assert!(!store.sessions.remove(&key, &session).await.unwrap());
}

#[tokio::test]
async fn every_change_is_told_under_every_name_the_key_may_be_remembered_by() {
    for hash_keys in [false, true] {
        let store = store(|identity| {
            identity.hash_keys = hash_keys;
            identity.hash_key_function = Some("sha256".to_owned());
        });
        let mut heard = store.signals.subscribe();
        store.signals.listen();
        let token = store.sessions.compose("default", "mykey");
        let key = store.sessions.key(&token);
        store
            .sessions
            .save(&key, &Session::default(), NO_API, Write::New)
            .await
            .unwrap();
        let signal = tokio::time::timeout(Duration::from_secs(10), heard.recv());
        let expected = if hash_keys {
            let remembered = |text: &str| HashFunction::Murmur64.hex(text);
            vec![
                key.name().to_owned(),
                remembered(&token),
                remembered("mykey"),
            ]
        } else {
            vec![token, "mykey".to_owned()]
        };
        assert_eq!(
            signal.await.unwrap().unwrap(),
            Signal::KeysChanged(expected)
        );
    }
}

#[tokio::test]
async fn what_is_no_session_is_an_error_with_the_name_masked() {
    let store = store(|_| {});
    let value = Bytes::from_static(b"{\"rate\":\"hunter2\"}");
    let set = store.engine.set(
        "apikey-defaultmykey",
        value,
        crate::Lifetime::Forever,
        Condition::Always,
    );
    set.await.unwrap();
    let error = store
        .sessions
        .find("default", "mykey")
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "the entry apikey-****ykey of the store is no session: rate: expected a number, found a string"
    );
    assert_eq!(
        format!("{:?}", store.sessions.key("defaultmykey")),
        "Key(****ykey)"
    );
}

#[tokio::test]
async fn a_list_leaves_counters_out_and_begins_as_asked() {
    let store = store(|_| {});
    for name in ["org1a", "org1b", "org2a", "quota-x", "rate-limit-y"] {
        let key = store.sessions.key_by_name(name);
        store
            .sessions
            .save(&key, &Session::default(), NO_API, Write::New)
            .await
            .unwrap();
    }
    assert_eq!(
        store.sessions.names("").await.unwrap(),
        ["org1a", "org1b", "org2a"]
    );
    assert_eq!(
        store.sessions.names("org1").await.unwrap(),
        ["org1a", "org1b"]
    );
}

#[tokio::test]
async fn what_is_too_short_is_not_looked_up_for_a_client() {
    let store = store(|identity| identity.min_token_length = 4);
    for name in ["abc", "abcd"] {
        let key = store.sessions.key_by_name(name);
        store
            .sessions
            .save(&key, &Session::default(), NO_API, Write::New)
            .await
            .unwrap();
    }
    assert!(store.sessions.find("", "abc").await.unwrap().is_none());
    assert!(store.sessions.look_up("", "abc").await.unwrap().is_some());
    assert!(store.sessions.find("", "abcd").await.unwrap().is_some());
}

#[tokio::test]
async fn organisations_are_never_hashed_and_no_keys() {
    let store = store(|identity| identity.hash_keys = true);
    let limits = session(r#"{"quota_max":5}"#);
    store
        .sessions
        .save_organisation("acme", &limits)
        .await
        .unwrap();
    assert!(store.engine.exists("orgkey.acme").await.unwrap());
    assert_eq!(
        store.sessions.organisation("acme").await.unwrap(),
        Some(limits)
    );
    assert_eq!(store.sessions.organisations("").await.unwrap(), ["acme"]);
    assert!(store.sessions.names("").await.unwrap().is_empty());
    assert!(store.sessions.remove_organisation("acme").await.unwrap());
    assert!(!store.sessions.remove_organisation("acme").await.unwrap());
    assert_eq!(store.sessions.organisation("acme").await.unwrap(), None);
}

#[tokio::test]
async fn a_found_session_is_amended_unless_somebody_has_changed_it_since() {
    let store = store(|identity| identity.hash_key_function = Some("murmur64".to_owned()));
    let key = store
        .sessions
        .key(store.sessions.compose("default", "mykey"));
    let save = async |json: &str| {
        let session = session(json);
        store
            .sessions
            .save(&key, &session, NO_API, Write::New)
            .await
    };
    assert!(save(r#"{"rate":5}"#).await.unwrap());
    let find = async || {
        store
            .sessions
            .find("default", "mykey")
            .await
            .unwrap()
            .unwrap()
    };
    let (found, amended) = (find().await, session(r#"{"rate":5,"alias":"amended"}"#));
    let mut heard = store.signals.subscribe();
    assert!(store.sessions.amend(&found, &amended).await.unwrap());
    assert_eq!(find().await.session, amended);
    let told = heard.recv().await.unwrap();
    assert!(matches!(told, Signal::KeysChanged(names) if names.contains(&key.name().to_owned())));

    // What was found is not what is stored any more: whoever changed that keeps the last word.
    assert!(!store.sessions.amend(&found, &session("{}")).await.unwrap());
    assert_eq!(find().await.session, amended);
    store.sessions.remove(&key, &amended).await.unwrap();
    assert!(!store.sessions.amend(&found, &amended).await.unwrap());
    assert_eq!(store.sessions.get(&key).await.unwrap(), None);
}
