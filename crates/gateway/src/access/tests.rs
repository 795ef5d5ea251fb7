//! Sessions in use, before a real store.

use std::{sync::Arc, time::Duration};

use portcullis_apidef::{
    policies::{Policy, PolicySet},
    session::{SecretText, Session},
};
use portcullis_pki::Fingerprint;
use portcullis_store::{Condition, Embedded, Engine, Lifetime, signals::Signal};
use tokio::task::{JoinSet, yield_now};

use super::{
    Access, Lookup, MOST_LOOKUPS,
    count::{Counting, Quota, QuotaLeft, Rate},
    known::Claim,
    live::LiveSession,
    memory::{Known, Memory, Presented, Terms},
    refusal::Refused,
};
use crate::{
    services::{Service, Services},
    stores::Stores,
    watch::Reading,
};

struct Bench {
    access: Arc<Access>,
    stores: Stores,
    engine: Engine,
    policies: Arc<PolicySet>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = Engine::Embedded(Embedded::open(dir.path()).expect("a store"));
        let conf = dir.path().join("tyk.conf");
        std::fs::write(&conf, r#"{"secret": "a secret of the tests"}"#).expect("it is written");
        let config = portcullis_config::load(Some(&conf), [])
            .expect("valid")
            .config;
        let stores = Stores::on(engine.clone(), &config);
        let services = Services::new(&config, stores.certificates());
        let providers = services.client(Service::Oauth).clone();
        Self {
            access: Access::new(&config, &stores, providers, 1).expect("random numbers"),
            stores,
            engine,
            policies: Arc::default(),
            _dir: dir,
        }
    }

    async fn put(&self, name: &str, session: &str) {
        self.engine
            .set(
                &format!("apikey-{name}"),
                session.to_owned().into(),
                Lifetime::Forever,
                Condition::Always,
            )
            .await
            .expect("it is written");
    }

    async fn find(&self, token: &str) -> Option<Arc<LiveSession>> {
        let token = Claim::Token(token.to_owned());
        self.ask(&token).await
    }

    async fn ask(&self, presented: &Claim) -> Option<Arc<LiveSession>> {
        match self.access.find("default", presented, &self.policies).await {
            Lookup::Found(session) => Some(session),
            Lookup::Nobody => None,
            Lookup::Away => panic!("the store is there"),
        }
    }
}

#[tokio::test]
async fn a_session_is_read_once_until_its_key_changes() {
    let bench = Bench::new();
    assert!(bench.find("mykey").await.is_none());
    bench.put("mykey", r#"{"alias": "one"}"#).await;
    let first = bench.find("mykey").await.expect("a session");
    bench.put("mykey", r#"{"alias": "two"}"#).await;
    let again = bench.find("mykey").await.expect("a session");
    assert!(Arc::ptr_eq(&first, &again));
    for name in ["mykey", "another name"] {
        bench.access.keys_changed(&[name.to_owned()]);
    }
    assert!(first.is_stale());
    let next = bench.find("mykey").await.expect("a session");
    assert_eq!(next.alias, "two");
    bench.access.anything_changed();
    assert!(next.is_stale());
}

#[tokio::test]
async fn a_key_that_is_presented_in_two_forms_has_one_session_in_use() {
    let bench = Bench::new();
    bench.put("defaultmykey", "{}").await;
    let by_token = bench.find("defaultmykey").await.expect("a session");
    let by_name = bench.find("mykey").await.expect("a session");
    assert!(by_token.is_stale() || Arc::ptr_eq(&by_token, &by_name));
    let again = bench.find("defaultmykey").await.expect("a session");
    assert!(Arc::ptr_eq(&again, &by_name));
    bench.access.keys_changed(&["defaultmykey".to_owned()]);
    assert!(by_name.is_stale());
}

#[tokio::test]
async fn a_policy_that_changes_or_goes_takes_effect_on_sessions_in_use() {
    let mut bench = Bench::new();
    let policy = |rate: u32| {
        let text = format!(
            r#"{{"org_id": "", "rate": {rate}, "per": 1, "active": true,
                "access_rights": {{"a": {{"api_id": "a"}}}}}}"#
        );
        Policy::from_json(text.as_bytes()).expect("a policy").0
    };
    let set = |rate| {
        let mut set = PolicySet::default();
        set.insert("p", policy(rate));
        Arc::new(set)
    };
    bench.put("mykey", r#"{"apply_policies": ["p"]}"#).await;
    assert!(
        bench.find("mykey").await.is_none(),
        "nobody knows the policy"
    );
    let rate = |session: &LiveSession| {
        let right = session.access.right("a", "", 0).expect("a right");
        right.rate("GET", "/").expect("a rate").requests
    };
    bench.policies = set(5);
    let session = bench.find("mykey").await.expect("a session");
    assert_eq!(rate(&session), 5.0);
    bench.policies = set(7);
    let session = bench.find("mykey").await.expect("a session");
    assert_eq!(rate(&session), 7.0);
}

#[tokio::test]
async fn counters_outlive_the_sessions_that_count_in_them() {
    let bench = Bench::new();
    bench
        .put(
            "mykey",
            r#"{"rate": 1, "per": 600, "access_rights": {"a": {}}}"#,
        )
        .await;
    let now = bench.access.clock.now();
    let first = bench.find("mykey").await.expect("a session");
    assert!(first.rates[0].0.take(now, 600.0, 1));
    bench.access.keys_changed(&["mykey".to_owned()]);
    drop(first);
    let next = bench.find("mykey").await.expect("a session");
    assert!(!next.rates[0].0.take(now, 600.0, 1));
}

#[tokio::test]
async fn a_password_that_was_right_is_known_until_it_changes_or_its_time_is_over() {
    let bench = Bench::new();
    bench
        .put("anna", r#"{"basic_auth_data": {"password": "one"}}"#)
        .await;
    let session = bench.find("anna").await.expect("a session");
    let (right, wrong) = (SecretText::new("one"), SecretText::new("two"));
    let memory = Some(Duration::from_secs(60));
    let access = &bench.access;
    assert!(!access.verify(&session, wrong.clone(), memory).await);
    assert!(access.verify(&session, right.clone(), memory).await);
    let now = access.clock.now();
    assert!(session.knows(&access.key, &right, now));
    assert!(!session.knows(&access.key, &wrong, now));
    assert!(!session.knows(&access.key, &right, now + Duration::from_secs(61)));
    // A new password is not taken for the old one.
    access.keys_changed(&["anna".to_owned()]);
    bench
        .put("anna", r#"{"basic_auth_data": {"password": "two"}}"#)
        .await;
    let session = bench.find("anna").await.expect("a session");
    assert!(!session.knows(&access.key, &right, now));
}

fn rate(name: &str, most: u64) -> Option<Rate> {
    Some(Rate {
        name: name.to_owned(),
        per: 600.0,
        most,
    })
}

fn quota(most: i64) -> Option<Quota> {
    Some(Quota {
        name: "quota-k".to_owned(),
        most,
        renewal: Some(Duration::from_secs(600)),
    })
}

#[tokio::test]
async fn a_request_refused_by_its_rate_gives_its_place_in_the_quota_back() {
    let bench = Bench::new();
    let wanted = || Counting {
        rate: rate("rate-limit-k", 2),
        quota: quota(3),
        ..Counting::default()
    };
    for remaining in [2, 1] {
        let left = bench.access.count(wanted()).await.expect("it passes");
        assert_eq!(left.map(|left| left.remaining), Some(remaining));
    }
    assert_eq!(bench.access.count(wanted()).await, Err(Refused::Rate));
    let only_quota = || Counting {
        quota: quota(3),
        ..Counting::default()
    };
    let last = bench.access.count(only_quota()).await.expect("it passes");
    assert!(
        matches!(last, Some(QuotaLeft { most: 3, remaining: 0, renews }) if renews > 0),
        "{last:?}"
    );
    assert_eq!(bench.access.count(only_quota()).await, Err(Refused::Quota));
}

#[tokio::test]
async fn the_rate_of_an_api_is_counted_beside_that_of_the_key() {
    let bench = Bench::new();
    let wanted = |key: &str| Counting {
        rate: rate(key, 5),
        api_rate: rate("rate-limit-api", 2),
        ..Counting::default()
    };
    assert_eq!(bench.access.count(wanted("a")).await, Ok(None));
    assert_eq!(bench.access.count(wanted("b")).await, Ok(None));
    assert_eq!(bench.access.count(wanted("a")).await, Err(Refused::ApiRate));
}

#[tokio::test]
async fn a_password_of_nobody_waits_in_line_for_hashing_as_any_other_does() {
    let bench = Bench::new();
    let place = bench.access.hashing.acquire().await.expect("never closed");
    let judged = bench.access.verify_nobody(SecretText::new("guess"));
    tokio::pin!(judged);
    tokio::select! {
        biased;
        () = &mut judged => panic!("judged without a place"),
        () = yield_now() => {}
    }
    drop(place);
    judged.await;
}

/// A certificate's id and its claim.
fn certificate() -> (String, Claim) {
    let fingerprint = Fingerprint::of_der(b"a certificate");
    let claim = Claim::of("default", Presented::Certificate(fingerprint));
    (claim.text().to_owned(), claim)
}

impl Bench {
    /// Stores or removes what stands for a certificate.
    async fn set_certificate(&self, id: &str, is_there: bool) {
        let entry = format!("cert-raw-{id}");
        if is_there {
            let (text, always) = ("a certificate".into(), Condition::Always);
            let set = self.engine.set(&entry, text, Lifetime::Forever, always);
            assert!(set.await.expect("it is written"));
        } else {
            let removed = self.engine.remove(&[entry]).await;
            assert_eq!(removed.expect("it is removed"), 1);
        }
        self.access.certificate_changed(id);
    }
}

fn is_stored(session: &LiveSession) -> bool {
    session.certificate.as_ref().is_some_and(|own| own.stored)
}

#[tokio::test]
async fn a_certificate_that_comes_or_goes_makes_what_is_known_of_its_key_void() {
    let bench = Bench::new();
    let (id, claim) = certificate();
    bench
        .put(&id, &format!(r#"{{"certificate": "{id}"}}"#))
        .await;
    let absent = bench.ask(&claim).await.expect("a session");
    assert!(!is_stored(&absent));
    bench.set_certificate("default-another", true).await;
    assert!(!absent.is_stale(), "that concerns others");
    for there in [true, false, true] {
        let before = bench.ask(&claim).await.expect("a session");
        bench.set_certificate(&id, there).await;
        assert!(before.is_stale());
        let now = bench.ask(&claim).await.expect("a session");
        assert_eq!(is_stored(&now), there);
        let again = bench.ask(&claim).await.expect("a session");
        assert!(Arc::ptr_eq(&now, &again), "it is read once");
    }
}

#[tokio::test]
async fn a_key_has_one_session_in_use_whether_its_token_or_its_certificate_is_presented() {
    let bench = Bench::new();
    let (id, claim) = certificate();
    bench.set_certificate(&id, true).await;
    bench
        .put(&id, &format!(r#"{{"certificate": "{id}"}}"#))
        .await;
    let by_token = bench.find(&id).await.expect("a session");
    assert!(is_stored(&by_token));
    let by_certificate = bench.ask(&claim).await.expect("a session");
    let again = bench.find(&id).await.expect("a session");
    assert!(Arc::ptr_eq(&by_certificate, &again));
    // A token is no certificate, whatever it consists of.
    let other = Claim::Certificate(format!("{id}0"));
    assert!(bench.ask(&other).await.is_none());
}

/// IN-65
#[tokio::test]
async fn an_entry_that_names_another_certificate_is_mended_once_its_own_is_presented() {
    let bench = Bench::new();
    let (id, claim) = certificate();
    bench
        .put(&id, r#"{"certificate": "fooBar", "alias": "kept"}"#)
        .await;
    let by_token = bench.find(&id).await.expect("a session");
    assert!(!is_stored(&by_token));
    // A certificate that nobody has stored mends nothing.
    assert!(!is_stored(&bench.ask(&claim).await.expect("a session")));
    let mut signals = bench.stores.signals().subscribe();
    bench.set_certificate(&id, true).await;
    let session = bench.ask(&claim).await.expect("a session");
    assert!(is_stored(&session), "nobody waits for the entry");
    assert_eq!(session.stored.certificate, id);
    let told = signals.recv().await.expect("a signal");
    assert!(matches!(told, Signal::KeysChanged(names) if names.contains(&id)));
    let entry = bench.engine.get(&format!("apikey-{id}")).await;
    let text = entry.expect("it answers").expect("it is there");
    let entry = Session::from_json(&text).expect("a session");
    assert_eq!((entry.certificate, entry.alias), (id, "kept".to_owned()));
}

#[tokio::test]
async fn a_session_that_is_read_again_hears_of_the_next_change_too() {
    let bench = Bench::new();
    let (id, claim) = certificate();
    bench.set_certificate(&id, true).await;
    bench.put(&id, "{}").await;
    let mut session = bench.ask(&claim).await.expect("a session");
    let again =
        async |known: &LiveSession| match bench.access.read_again(known, &bench.policies).await {
            Reading::Session(session) => session,
            Reading::Gone | Reading::Unknown => panic!("it is there"),
        };
    for there in [false, true] {
        bench.set_certificate(&id, there).await;
        assert!(session.is_stale());
        session = again(&session).await;
        assert_eq!(is_stored(&session), there);
    }
    bench.access.keys_changed(std::slice::from_ref(&id));
    assert!(session.is_stale());
}

/// Decision 20: a certificate that another node removed in silence is missed within a minute.
#[tokio::test]
async fn that_a_certificate_is_stored_is_asked_every_minute_however_long_keys_are_remembered() {
    let bench = Bench::new();
    let (id, claim) = certificate();
    bench.set_certificate(&id, true).await;
    bench.put(&id, "{}").await;
    bench.put("mykey", "{}").await;
    let by_certificate = bench.ask(&claim).await.expect("a session");
    let by_token = bench.find("mykey").await.expect("a session");
    let terms = Terms {
        fresh: Duration::from_secs(3600),
        grace: Duration::from_secs(3600),
    };
    let (memory, now) = (Memory::default(), by_certificate.loaded);
    let [one, other] = ["one", "other"].map(Presented::Token);
    memory.keep("", one, by_certificate, now, terms);
    memory.keep("", other, by_token, now, terms);
    let later = now + Duration::from_secs(61);
    let look = |presented, at| memory.look("", presented, at, 0, terms);
    assert!(matches!(look(one, now), Known::Session(_)));
    assert!(matches!(look(one, later), Known::Old(_)));
    assert!(matches!(look(other, later), Known::Session(_)));
}

#[tokio::test]
async fn a_password_for_a_key_without_one_is_judged_as_long_as_any_and_is_wrong() {
    let bench = Bench::new();
    bench.put("mykey", "{}").await;
    let session = bench.find("mykey").await.expect("a session");
    assert_eq!(bench.access.compared_with(&session).hash, "bcrypt");
    for guess in ["", "guess"] {
        let guess = SecretText::new(guess);
        assert!(!bench.access.verify(&session, guess, None).await);
    }
}

#[tokio::test]
async fn requests_that_come_together_with_a_new_token_share_one_session() {
    let bench = Bench::new();
    bench.put("mykey", "{}").await;
    let place = bench
        .access
        .lookups
        .acquire_many(MOST_LOOKUPS.try_into().expect("few"))
        .await
        .expect("never closed");
    let burst: JoinSet<_> = (0..2 * MOST_LOOKUPS)
        .map(|_| {
            let (access, policies) = (bench.access.clone(), bench.policies.clone());
            async move {
                let token = Claim::Token("mykey".to_owned());
                match access.find("default", &token, &policies).await {
                    Lookup::Found(session) => session,
                    Lookup::Nobody | Lookup::Away => panic!("it is there"),
                }
            }
        })
        .collect();
    yield_now().await;
    drop(place);
    let sessions = burst.join_all().await;
    assert!(
        sessions
            .iter()
            .all(|session| Arc::ptr_eq(session, &sessions[0]))
    );
}
