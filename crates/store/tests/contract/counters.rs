//! Rules of counters: exact, renewed, readable.

use std::time::Duration;

use futures_util::future::join_all;
use portcullis_store::{Count, Engine, Lifetime, StoreError};

use super::{gone, put, put_for, text};

/// However many count at once, each is told a number of its own.
pub async fn count_every_increase_once(engine: &Engine, prefix: &str) {
    let key = format!("{prefix}n");
    let first = engine.count(&key, 5, None).await.unwrap();
    assert_eq!(
        first,
        Count {
            value: 5,
            renews_in: None
        }
    );
    let counts = join_all((0..200).map(|_| engine.count(&key, 1, None))).await;
    let mut values: Vec<i64> = counts
        .into_iter()
        .map(|count| count.unwrap().value)
        .collect();
    values.sort_unstable();
    assert_eq!(values, (6..=205).collect::<Vec<_>>());
    assert_eq!(engine.count(&key, -5, None).await.unwrap().value, 200);
    assert_eq!(engine.count(&key, 0, None).await.unwrap().value, 200);
}

/// The window runs from the first count; later ones do not move its end.
pub async fn start_anew_after_their_window(engine: &Engine, prefix: &str) {
    let (lasting, passing) = (format!("{prefix}lasting"), format!("{prefix}passing"));
    let hour = Duration::from_secs(3600);
    let first = engine.count(&lasting, 1, Some(hour)).await.unwrap();
    let second = engine.count(&lasting, 1, Some(hour * 2)).await.unwrap();
    assert_eq!((first.value, second.value), (1, 2));
    assert!(first.renews_in.unwrap() <= hour);
    assert!(second.renews_in.unwrap() <= first.renews_in.unwrap());
    assert!(matches!(
        engine.lifetime(&lasting).await.unwrap(),
        Some(Lifetime::For(time)) if time <= hour
    ));

    let moment = Duration::from_millis(60);
    assert_eq!(
        engine.count(&passing, 7, Some(moment)).await.unwrap().value,
        7
    );
    gone(engine, &passing).await;
    assert_eq!(text(engine, &passing).await, None);
    let anew = engine.count(&passing, 1, Some(hour)).await.unwrap();
    assert_eq!(anew.value, 1);
    assert!(anew.renews_in.unwrap() > moment);
}

/// Whatever reads or writes values reads and writes counters.
pub async fn are_values_of_digits(engine: &Engine, prefix: &str) {
    let key = format!("{prefix}n");
    engine
        .count(&key, 41, Some(Duration::from_secs(3600)))
        .await
        .unwrap();
    engine.count(&key, 1, None).await.unwrap();
    assert_eq!(text(engine, &key).await.as_deref(), Some("42"));
    assert_eq!(
        engine.lengths(std::slice::from_ref(&key)).await.unwrap(),
        [Some(2)]
    );
    assert!(engine.exists(&key).await.unwrap());

    // A value written over it counts on, with the lifetime it was written with.
    put(engine, &key, "-3").await;
    assert_eq!(
        engine
            .count(&key, 1, Some(Duration::from_secs(60)))
            .await
            .unwrap(),
        Count {
            value: -2,
            renews_in: None
        }
    );
    put_for(engine, &key, "0", Duration::from_secs(3600)).await;
    let count = engine.count(&key, 1, None).await.unwrap();
    assert_eq!(count.value, 1);
    assert!(count.renews_in.is_some());

    assert_eq!(engine.remove(std::slice::from_ref(&key)).await.unwrap(), 1);
    assert_eq!(engine.count(&key, 1, None).await.unwrap().value, 1);
}

/// Text, and numbers without room for the increase, are refused and stay as they are.
pub async fn refuse_what_is_no_number(engine: &Engine, prefix: &str) {
    let key = format!("{prefix}key");
    for value in [
        "many",
        "",
        "1.5",
        " 1",
        "9223372036854775807",
        "9223372036854775808",
    ] {
        put(engine, &key, value).await;
        let error = engine.count(&key, 1, None).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Entry { .. }),
            "{value}: {error:?}"
        );
        assert_eq!(text(engine, &key).await.as_deref(), Some(value));
    }
}
