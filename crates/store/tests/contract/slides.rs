//! Rules of sliding windows. The time is the caller's, so nothing here waits.

use std::time::{Duration, Instant, SystemTime};

use portcullis_store::{Engine, Lifetime, Window};

use super::PATIENCE;

const PER: Duration = Duration::from_secs(60);

fn window(most: u64) -> Window {
    Window {
        per: PER,
        most,
        blocks: false,
    }
}

/// No more than allowed in any window, and one place for each request that leaves it.
pub async fn hold_no_more_than_allowed(engine: &Engine, key: &str) {
    let begin = SystemTime::now();
    let ask = async |after: u64| {
        let now = begin + Duration::from_secs(after);
        engine.slide(key, now, window(3)).await.unwrap()
    };
    for (after, in_window) in [(0, 1), (10, 2), (20, 3)] {
        let slide = ask(after).await;
        assert!(slide.allowed, "{after} s");
        assert_eq!(slide.in_window, in_window, "{after} s");
    }
    for after in [30, 59] {
        let slide = ask(after).await;
        assert!(!slide.allowed, "{after} s");
        assert_eq!(slide.in_window, 3, "a refused request leaves no trace");
    }
    // The request at 0 s has left, the one at 10 s has not.
    assert!(ask(61).await.allowed);
    assert!(!ask(62).await.allowed);
}

/// Requests of the same moment count one by one.
pub async fn tell_requests_of_one_moment_apart(engine: &Engine, key: &str) {
    let now = SystemTime::now();
    for wanted in [true, true, false] {
        let slide = engine.slide(key, now, window(2)).await.unwrap();
        assert_eq!(slide.allowed, wanted);
    }
}

/// The request that fills a window leaves a marker, and while that is there nothing is let in, whatever
/// leaves the window; a window that blocks nothing does not mind.
pub async fn block_while_they_are_marked(engine: &Engine, key: &str) {
    let begin = SystemTime::now();
    let ask = async |after: u64, blocks: bool| {
        let window = Window {
            blocks,
            ..window(2)
        };
        let now = begin + Duration::from_secs(after);
        engine.slide(key, now, window).await.unwrap()
    };
    let marker = [format!("{key}.BLOCKED")];
    assert!(ask(0, true).await.allowed);
    assert_eq!(engine.remove(&marker).await.unwrap(), 0, "one is left");
    assert!(ask(10, true).await.allowed);
    if engine.is_shared() {
        // In a cluster nobody waits for it to be written.
        let begun = Instant::now();
        while !engine.exists(&marker[0]).await.unwrap() {
            assert!(begun.elapsed() < PATIENCE, "there is no marker");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let left = engine.lifetime(&marker[0]).await.unwrap();
        assert!(
            matches!(left, Some(Lifetime::For(left)) if left <= PER && left > PER / 2),
            "{left:?}"
        );
    }
    let refused = ask(61, true).await;
    assert!(!refused.allowed, "the first has left, the marker has not");
    assert_eq!(refused.in_window, 1);
    assert_eq!(engine.remove(&marker).await.unwrap(), 1);
    // In a cluster nobody waits until the place of the refused one is given back.
    let begun = Instant::now();
    while !ask(62, true).await.allowed {
        assert!(
            engine.is_shared() && begun.elapsed() < PATIENCE,
            "its place is not free"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let unmarked = ask(71, false).await;
    assert!(unmarked.allowed, "the one at 10 s has left");
    assert_eq!(unmarked.in_window, 2);
}
