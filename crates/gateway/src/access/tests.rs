//! Sessions in use, before a real store.

use std::{sync::Arc, time::Duration};

use portcullis_apidef::{
    policies::{Policy, PolicySet},
    session::SecretText,
};
use portcullis_store::{Condition, Embedded, Engine, Lifetime};

use super::{
    Access, Lookup,
    count::{Counting, Quota, QuotaLeft, Rate},
    known::Claim,
    live::LiveSession,
    refusal::Refused,
};
use crate::stores::Stores;

struct Bench {
    access: Arc<Access>,
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
        Self {
            access: Access::new(&config, &stores, 1).expect("random numbers"),
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
        () = tokio::task::yield_now() => {}
    }
    drop(place);
    judged.await;
}
