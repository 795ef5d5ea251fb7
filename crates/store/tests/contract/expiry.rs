//! Rules of lifetimes: told, kept, replaced.

use std::time::Duration;

use bytes::Bytes;
use portcullis_store::{Condition, Engine, Lifetime};

use super::{gone, names, put, put_for, text};

/// Long enough for a test to come back while it lasts, short enough to be waited for.
const MOMENT: Duration = Duration::from_millis(60);

/// A lifetime is told while it lasts; without one there is no end.
pub async fn is_forever_unless_said_otherwise(engine: &Engine, prefix: &str) {
    let key = format!("{prefix}key");
    assert_eq!(engine.lifetime(&key).await.unwrap(), None);
    put(engine, &key, "v").await;
    assert_eq!(
        engine.lifetime(&key).await.unwrap(),
        Some(Lifetime::Forever)
    );
    let hour = Duration::from_secs(3600);
    put_for(engine, &key, "v", hour).await;
    match engine.lifetime(&key).await.unwrap() {
        Some(Lifetime::For(time)) => {
            assert!(
                time <= hour && time > hour - Duration::from_secs(60),
                "{time:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    let list = format!("{prefix}list");
    engine.list_append(&list, &["x".to_owned()]).await.unwrap();
    assert_eq!(
        engine.lifetime(&list).await.unwrap(),
        Some(Lifetime::Forever)
    );
}

/// What has expired is as if it had been removed.
pub async fn hides_an_entry_from_every_operation(engine: &Engine, prefix: &str) {
    let key = format!("{prefix}key");
    put_for(engine, &key, "old", MOMENT).await;
    gone(engine, &key).await;
    assert_eq!(text(engine, &key).await, None);
    assert_eq!(
        engine.get_many(&names(prefix, ["key"])).await.unwrap(),
        [None]
    );
    assert_eq!(
        engine.lengths(&names(prefix, ["key"])).await.unwrap(),
        [None]
    );
    assert_eq!(engine.lifetime(&key).await.unwrap(), None);
    assert!(engine.keys_with_prefix(prefix).await.unwrap().is_empty());
    assert_eq!(engine.remove(&names(prefix, ["key"])).await.unwrap(), 0);
    assert_eq!(engine.list(&key).await.unwrap(), None);

    let set = async |condition| {
        let value = Bytes::from_static(b"new");
        engine
            .set(&key, value, Lifetime::Forever, condition)
            .await
            .unwrap()
    };
    assert!(!set(Condition::IfPresent).await);
    assert!(set(Condition::IfAbsent).await);
    assert_eq!(text(engine, &key).await.as_deref(), Some("new"));
    assert_eq!(
        engine.lifetime(&key).await.unwrap(),
        Some(Lifetime::Forever)
    );
}

/// The last write says how long; an earlier end is forgotten, and a later one too.
pub async fn is_replaced_with_the_value(engine: &Engine, prefix: &str) {
    let (longer, shorter) = (format!("{prefix}longer"), format!("{prefix}shorter"));
    put_for(engine, &longer, "1", MOMENT).await;
    put(engine, &longer, "2").await;
    put_for(engine, &shorter, "1", Duration::from_secs(3600)).await;
    put_for(engine, &shorter, "2", MOMENT).await;
    // Written after `longer`'s first value: once this one is gone, that one would be.
    gone(engine, &shorter).await;
    assert_eq!(text(engine, &longer).await.as_deref(), Some("2"));
    // The name of what has expired may begin another type.
    engine
        .list_append(&shorter, &["x".to_owned()])
        .await
        .unwrap();
    assert_eq!(
        engine.lifetime(&shorter).await.unwrap(),
        Some(Lifetime::Forever)
    );
}
