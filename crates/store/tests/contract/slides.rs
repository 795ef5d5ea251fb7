//! Rules of sliding windows. The time is the caller's, so nothing here waits.

use std::time::{Duration, SystemTime};

use portcullis_store::Engine;

const PER: Duration = Duration::from_secs(60);

/// No more than allowed in any window, and one place for each request that leaves it.
pub async fn hold_no_more_than_allowed(engine: &Engine, key: &str) {
    let begin = SystemTime::now();
    let ask = async |after: u64| {
        let now = begin + Duration::from_secs(after);
        engine.slide(key, now, PER, 3).await.unwrap()
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
        let slide = engine.slide(key, now, PER, 2).await.unwrap();
        assert_eq!(slide.allowed, wanted);
    }
}
