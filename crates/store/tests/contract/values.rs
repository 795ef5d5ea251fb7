//! Rules of values: written, read, removed, found by name.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use portcullis_store::{Condition, Engine, Lifetime, StoreError};

use super::{names, put, text};

/// Nothing is taken for text, for an end of text or for an escape.
pub async fn are_kept_byte_for_byte(engine: &Engine, prefix: &str) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let large = every_byte.repeat(2_000);
    for (end, value) in [
        ("empty", Vec::new()),
        ("zero", vec![0]),
        ("every", every_byte),
        ("large", large),
        ("lines", b"-----BEGIN\r\n\n\\n\"'\xff".to_vec()),
    ] {
        let key = format!("{prefix}{end}");
        put(engine, &key, value.clone()).await;
        assert_eq!(
            engine.get(&key).await.unwrap(),
            Some(Bytes::from(value)),
            "{end}"
        );
    }
    // Names are taken as they are, too.
    let odd = format!("{prefix}{{a}} *?[b]\\ \u{e9}\n");
    put(engine, &odd, "odd").await;
    assert_eq!(text(engine, &odd).await.as_deref(), Some("odd"));
}

/// One answer for each name, absent ones and repeated ones too; what is no value counts as absent.
pub async fn of_several_entries_come_in_the_order_asked_for(engine: &Engine, prefix: &str) {
    assert_eq!(engine.get_many(&[]).await.unwrap(), []);
    put(engine, &format!("{prefix}a"), "A").await;
    put(engine, &format!("{prefix}b"), "B").await;
    let list = format!("{prefix}list");
    engine.list_append(&list, &["x".to_owned()]).await.unwrap();
    let keys = names(prefix, ["b", "none", "a", "b", "list"]);
    let value = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    assert_eq!(
        engine.get_many(&keys).await.unwrap(),
        [value("B"), None, value("A"), value("B"), None]
    );

    let many: Vec<String> = (0..2_000).map(|n| format!("{prefix}n{n}")).collect();
    join_all(
        many.iter()
            .step_by(2)
            .map(|key| put(engine, key, key.clone())),
    )
    .await;
    let values = engine.get_many(&many).await.unwrap();
    assert_eq!(values.len(), many.len());
    for (n, (key, value)) in many.iter().zip(values).enumerate() {
        let expected = (n % 2 == 0).then(|| Bytes::from(key.clone()));
        assert_eq!(value, expected, "{key}");
    }
}

/// Bytes, not characters; `None` only for what is not there.
pub async fn have_lengths_in_bytes(engine: &Engine, prefix: &str) {
    assert_eq!(engine.lengths(&[]).await.unwrap(), []);
    put(engine, &format!("{prefix}empty"), "").await;
    put(engine, &format!("{prefix}text"), "\u{e9}\u{e9}").await;
    let keys = names(prefix, ["text", "none", "empty"]);
    assert_eq!(
        engine.lengths(&keys).await.unwrap(),
        [Some(4), None, Some(0)]
    );
}

/// A condition that does not hold changes nothing and says so.
pub async fn are_written_only_under_their_condition(engine: &Engine, prefix: &str) {
    let key = format!("{prefix}key");
    let set = async |value: &'static str, condition| {
        let value = Bytes::from_static(value.as_bytes());
        let written = engine.set(&key, value, Lifetime::Forever, condition).await;
        (written.unwrap(), text(engine, &key).await)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(set("1", Condition::IfPresent).await, (false, None));
    assert_eq!(set("2", Condition::IfAbsent).await, (true, some("2")));
    assert_eq!(set("3", Condition::IfAbsent).await, (false, some("2")));
    assert_eq!(set("4", Condition::IfPresent).await, (true, some("4")));
    assert_eq!(set("5", Condition::Always).await, (true, some("5")));
    // An entry of any type is an entry.
    let list = format!("{prefix}list");
    engine.list_append(&list, &["x".to_owned()]).await.unwrap();
    let absent = engine
        .set(&list, Bytes::new(), Lifetime::Forever, Condition::IfAbsent)
        .await;
    assert!(!absent.unwrap());
    assert_eq!(
        engine.list(&list).await.unwrap(),
        Some(vec!["x".to_owned()])
    );
}

/// Of many that create an entry at the same time, one is told that it did.
pub async fn are_created_by_one_of_many_at_once(engine: &Engine, prefix: &str) {
    let key = format!("{prefix}key");
    let attempts = (0..50).map(|n| {
        let value = Bytes::from(n.to_string());
        engine.set(&key, value, Lifetime::Forever, Condition::IfAbsent)
    });
    let created: Vec<usize> = join_all(attempts)
        .await
        .into_iter()
        .enumerate()
        .filter_map(|(n, created)| created.unwrap().then_some(n))
        .collect();
    let [winner] = created[..] else {
        panic!("created by {created:?}");
    };
    assert_eq!(text(engine, &key).await, Some(winner.to_string()));
}

/// Removing says how many there were, of any type; each counts once.
pub async fn are_gone_once_removed(engine: &Engine, prefix: &str) {
    assert_eq!(engine.remove(&[]).await.unwrap(), 0);
    put(engine, &format!("{prefix}a"), "A").await;
    put(engine, &format!("{prefix}kept"), "K").await;
    let list = format!("{prefix}list");
    engine.list_append(&list, &["x".to_owned()]).await.unwrap();
    engine.count(&format!("{prefix}n"), 1, None).await.unwrap();
    let keys = names(prefix, ["a", "list", "n", "none", "a"]);
    assert_eq!(engine.remove(&keys).await.unwrap(), 3);
    assert_eq!(engine.remove(&keys).await.unwrap(), 0);
    for key in &keys {
        assert!(!engine.exists(key).await.unwrap(), "{key}");
    }
    assert_eq!(engine.list(&list).await.unwrap(), None);
    assert!(engine.exists(&format!("{prefix}kept")).await.unwrap());
}

/// Values, lists and counters alike; `*`, `?`, `[` and `\` stand for themselves.
pub async fn are_found_by_a_prefix_taken_literally(engine: &Engine, prefix: &str) {
    let found = async |end: &str| {
        let mut names = engine
            .keys_with_prefix(&format!("{prefix}{end}"))
            .await
            .unwrap();
        names.sort();
        let ends = names
            .iter()
            .map(|name| name.strip_prefix(prefix).unwrap().to_owned());
        ends.collect::<Vec<_>>()
    };
    assert!(found("").await.is_empty());
    for end in ["a*1", "ab1", "a?2", "a[b]3", "b", "a\\4"] {
        put(engine, &format!("{prefix}{end}"), end).await;
    }
    engine
        .list_append(&format!("{prefix}a*list"), &["x".to_owned()])
        .await
        .unwrap();
    engine
        .count(&format!("{prefix}a*n"), 1, None)
        .await
        .unwrap();
    assert_eq!(found("a*").await, ["a*1", "a*list", "a*n"]);
    assert_eq!(found("a?").await, ["a?2"]);
    assert_eq!(found("a[b]").await, ["a[b]3"]);
    assert_eq!(found("a\\").await, ["a\\4"]);
    assert_eq!(found("b").await, ["b"]);
    assert_eq!(found("c").await.len(), 0);
    assert_eq!(found("").await.len(), 8);

    let many: Vec<String> = (0..3_000).map(|n| format!("{prefix}many-{n}")).collect();
    join_all(many.iter().map(|key| put(engine, key, ""))).await;
    assert_eq!(found("many-").await.len(), many.len());
}

/// A value is replaced where it still stands, and lives on for as long as it would have.
pub async fn are_replaced_only_by_who_knows_them(engine: &Engine, prefix: &str) {
    let [key, list] = ["a", "list"].map(|end| format!("{prefix}{end}"));
    let replace = async |key: &str, before: &'static str, after: &'static str| {
        let [before, after] = [before, after].map(|text| Bytes::from_static(text.as_bytes()));
        engine.replace(key, before, after).await
    };
    assert!(
        !replace(&key, "", "one").await.unwrap(),
        "nothing stands there"
    );
    assert!(!engine.exists(&key).await.unwrap());
    put(engine, &key, "one").await;
    assert!(!replace(&key, "two", "three").await.unwrap());
    assert_eq!(text(engine, &key).await.as_deref(), Some("one"));
    assert!(replace(&key, "one", "two").await.unwrap());
    assert_eq!(text(engine, &key).await.as_deref(), Some("two"));
    let forever = engine.lifetime(&key).await.unwrap();
    assert_eq!(forever, Some(Lifetime::Forever));

    let hour = Duration::from_secs(3600);
    let written = engine
        .set(&key, "two".into(), Lifetime::For(hour), Condition::Always)
        .await;
    assert!(written.unwrap());
    assert!(replace(&key, "two", "three").await.unwrap());
    let left = engine.lifetime(&key).await.unwrap();
    assert!(
        matches!(left, Some(Lifetime::For(left)) if left <= hour && left > hour / 2),
        "{left:?}"
    );

    engine.list_append(&list, &["x".to_owned()]).await.unwrap();
    let refused = replace(&list, "x", "y").await;
    assert!(
        matches!(refused, Err(StoreError::Entry { .. })),
        "{refused:?}"
    );
}
