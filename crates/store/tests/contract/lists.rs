//! Rules of lists: appended to, read, members removed.

use bytes::Bytes;
use futures_util::future::join_all;
use portcullis_store::{Engine, Lifetime, StoreError};

use super::{put, text};

fn owned(members: &[&str]) -> Vec<String> {
    members.iter().map(|member| (*member).to_owned()).collect()
}

/// Members come back in the order they were appended in, doubles included.
pub async fn keep_their_order(engine: &Engine, prefix: &str) {
    let key = format!("{prefix}list");
    assert_eq!(engine.list(&key).await.unwrap(), None);
    engine.list_append(&key, &owned(&["b", "a"])).await.unwrap();
    engine.list_append(&key, &[]).await.unwrap();
    engine
        .list_append(&key, &owned(&["", "b", "\u{e9}\n"]))
        .await
        .unwrap();
    assert_eq!(
        engine.list(&key).await.unwrap(),
        Some(owned(&["b", "a", "", "b", "\u{e9}\n"]))
    );
    // Nothing appended makes no list.
    let none = format!("{prefix}none");
    engine.list_append(&none, &[]).await.unwrap();
    assert!(!engine.exists(&none).await.unwrap());
}

/// All of them and nothing else, whatever their place; how many there were is told.
pub async fn lose_every_occurrence_of_a_member(engine: &Engine, prefix: &str) {
    let key = format!("{prefix}list");
    engine
        .list_append(&key, &owned(&["a", "b", "a", "c", "aa"]))
        .await
        .unwrap();
    assert_eq!(engine.list_remove(&key, "a").await.unwrap(), 2);
    assert_eq!(engine.list_remove(&key, "a").await.unwrap(), 0);
    assert_eq!(
        engine.list(&key).await.unwrap(),
        Some(owned(&["b", "c", "aa"]))
    );
    engine.list_append(&key, &owned(&["a"])).await.unwrap();
    assert_eq!(
        engine.list(&key).await.unwrap(),
        Some(owned(&["b", "c", "aa", "a"]))
    );
    assert_eq!(
        engine
            .list_remove(&format!("{prefix}none"), "a")
            .await
            .unwrap(),
        0
    );
}

/// An empty list is no entry, and its name is free.
pub async fn cease_to_exist_with_their_last_member(engine: &Engine, prefix: &str) {
    let key = format!("{prefix}list");
    engine.list_append(&key, &owned(&["a", "a"])).await.unwrap();
    assert!(engine.exists(&key).await.unwrap());
    assert_eq!(engine.list_remove(&key, "a").await.unwrap(), 2);
    assert!(!engine.exists(&key).await.unwrap());
    assert_eq!(engine.list(&key).await.unwrap(), None);
    assert!(engine.keys_with_prefix(prefix).await.unwrap().is_empty());
    put(engine, &key, "a value").await;
    assert_eq!(text(engine, &key).await.as_deref(), Some("a value"));
}

/// Each append is there once, and what was appended together stays together.
pub async fn lose_nothing_to_appends_at_once(engine: &Engine, prefix: &str) {
    let key = format!("{prefix}list");
    let appends = (0..50).map(|n| {
        let key = key.clone();
        async move {
            let pair = [format!("{n}-first"), format!("{n}-second")];
            engine.list_append(&key, &pair).await.unwrap();
        }
    });
    join_all(appends).await;
    let members = engine.list(&key).await.unwrap().unwrap();
    assert_eq!(members.len(), 100);
    for pair in members.chunks(2) {
        let number = pair[0].strip_suffix("-first").unwrap();
        assert_eq!(pair[1], format!("{number}-second"));
    }
}

/// An operation on an entry of another type is refused, names it, and changes nothing. Writing a
/// value over a list is no such operation.
pub async fn and_values_are_not_taken_for_each_other(engine: &Engine, prefix: &str) {
    let refused = |result: Result<(), StoreError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Entry { .. }), "{error:?}");
    };
    let (list, value) = (format!("{prefix}list"), format!("{prefix}value"));
    engine.list_append(&list, &owned(&["x"])).await.unwrap();
    put(engine, &value, "v").await;

    refused(engine.get(&list).await.map(drop));
    refused(engine.count(&list, 1, None).await.map(drop));
    refused(engine.list(&value).await.map(drop));
    refused(engine.list_append(&value, &owned(&["y"])).await);
    refused(engine.list_remove(&value, "v").await.map(drop));
    assert_eq!(engine.list(&list).await.unwrap(), Some(owned(&["x"])));
    assert_eq!(text(engine, &value).await.as_deref(), Some("v"));

    put(engine, &list, "now a value").await;
    assert_eq!(text(engine, &list).await.as_deref(), Some("now a value"));
    assert_eq!(engine.remove(std::slice::from_ref(&list)).await.unwrap(), 1);
    engine.list_append(&list, &owned(&["y"])).await.unwrap();
    assert_eq!(engine.list(&list).await.unwrap(), Some(owned(&["y"])));
}

/// A new entry and its place in a list: both are there, or neither is; an entry that exists keeps its
/// value and gets no second place.
pub async fn and_an_entry_come_together_or_not_at_all(engine: &Engine, prefix: &str) {
    let [entry, other, list, value] =
        ["entry", "other", "list", "value"].map(|end| format!("{prefix}{end}"));
    let create = async |entry: &str, text: &'static str, list: &str| {
        let text = Bytes::from_static(text.as_bytes());
        engine.create_listed(entry, text, list, "m").await
    };
    assert!(create(&entry, "first", &list).await.unwrap());
    assert!(!create(&entry, "second", &list).await.unwrap());
    assert_eq!(text(engine, &entry).await.as_deref(), Some("first"));
    assert_eq!(
        engine.lifetime(&entry).await.unwrap(),
        Some(Lifetime::Forever)
    );
    assert_eq!(engine.list(&list).await.unwrap(), Some(owned(&["m"])));
    // What is a list exists as well.
    assert!(!create(&list, "third", &list).await.unwrap());

    put(engine, &value, "v").await;
    let refused = create(&other, "fourth", &value).await;
    assert!(
        matches!(refused, Err(StoreError::Entry { .. })),
        "{refused:?}"
    );
    assert!(!engine.exists(&other).await.unwrap());
    assert_eq!(text(engine, &value).await.as_deref(), Some("v"));
}

/// Of many that make one entry at once, one does, and the list has it once.
pub async fn have_one_place_for_an_entry_made_by_many_at_once(engine: &Engine, prefix: &str) {
    let [entry, list] = ["entry", "list"].map(|end| format!("{prefix}{end}"));
    let created = join_all((0..20).map(|number: u8| {
        let value = Bytes::from(vec![number]);
        engine.create_listed(&entry, value, &list, "m")
    }))
    .await;
    let created = created.into_iter().filter(|made| *made.as_ref().unwrap());
    assert_eq!(created.count(), 1);
    assert_eq!(engine.list(&list).await.unwrap(), Some(owned(&["m"])));
}
