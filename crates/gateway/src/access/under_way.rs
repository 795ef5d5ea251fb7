//! Lookups under way: requests that ask for the same at the same time share one.
//!
//! Invariants:
//! - Whoever comes after a key or policy has changed does not share a lookup that began before.
//! - A lookup that ends without an answer, because whoever made it is gone or it failed midway, is made
//!   again by one of those who wait.
//! - Control side only: a worker takes no lock.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OnceCell;

use super::known::Claim;

/// Lookups under way: what is looked for, and what comes of it.
pub struct UnderWay<S, T>(Mutex<HashMap<S, Arc<OnceCell<T>>>>);

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sought {
    /// The organisation.
    pub org: String,
    /// What was presented.
    pub presented: Claim,
    /// How many changes of keys there have been.
    pub epoch: u64,
    /// The address of the policies that are applied; whoever looks for something holds them.
    pub policies: usize,
}

impl<S, T> Default for UnderWay<S, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: Clone + Eq + Hash, T: Clone> UnderWay<S, T> {
    /// The outcome of `look_up`, or of the same that somebody else is at.
    pub async fn share(&self, sought: S, look_up: impl Future<Output = T>) -> T {
        let outcome = self.under_way().entry(sought.clone()).or_default().clone();
        let part = Part {
            lookups: self,
            sought,
            outcome,
        };
        part.outcome.get_or_init(|| look_up).await.clone()
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<S, Arc<OnceCell<T>>>> {
        // An entry more or less does no harm.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes part in a lookup; the first to leave with an answer, and the last to leave without one, ends it.
struct Part<'l, S: Clone + Eq + Hash, T: Clone> {
    lookups: &'l UnderWay<S, T>,
    sought: S,
    outcome: Arc<OnceCell<T>>,
}

impl<S: Clone + Eq + Hash, T: Clone> Drop for Part<'_, S, T> {
    fn drop(&mut self) {
        let mut under_way = self.lookups.under_way();
        let is_this = under_way
            .get(&self.sought)
            .is_some_and(|outcome| Arc::ptr_eq(outcome, &self.outcome));
        // The table has one, this one has another.
        let is_last = Arc::strong_count(&self.outcome) <= 2;
        if is_this && (is_last || self.outcome.initialized()) {
            under_way.remove(&self.sought);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::atomic::{AtomicU32, Ordering},
    };

    use tokio::{
        sync::Semaphore,
        task::{JoinHandle, JoinSet, yield_now},
    };

    use super::*;

    fn sought(presented: &str) -> Sought {
        Sought {
            org: "default".to_owned(),
            presented: Claim::Token(presented.to_owned()),
            epoch: 0,
            policies: 0,
        }
    }

    /// Begins to look for a token.
    async fn begin<T: Clone + Send + Sync + 'static>(
        lookups: &Arc<UnderWay<Sought, T>>,
        look_up: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let lookups = lookups.clone();
        let begun = tokio::spawn(async move { lookups.share(sought("a token"), look_up).await });
        // There is one thread: it is under way when this goes on.
        yield_now().await;
        begun
    }

    #[tokio::test]
    async fn a_burst_makes_one_lookup_and_a_later_request_makes_another() {
        let lookups = Arc::new(UnderWay::default());
        let (made, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
        let ask = |presented| {
            let (lookups, made, gate) = (lookups.clone(), made.clone(), gate.clone());
            async move {
                let look_up = async {
                    let before = made.fetch_add(1, Ordering::Relaxed);
                    gate.acquire().await.expect("never closed").forget();
                    before
                };
                lookups.share(sought(presented), look_up).await
            }
        };
        let mut burst: JoinSet<u32> = (0..100).map(|_| ask("a token")).collect();
        yield_now().await;
        let other = tokio::spawn(ask("another"));
        yield_now().await;
        assert_eq!(made.load(Ordering::Relaxed), 2);
        gate.add_permits(2);
        while let Some(found) = burst.join_next().await {
            assert_eq!(found.expect("it ends well"), 0);
        }
        assert_eq!(other.await.expect("it ends well"), 1);
        gate.add_permits(1);
        assert_eq!(ask("a token").await, 2, "nothing is kept");
        assert!(lookups.under_way().is_empty());
    }

    #[tokio::test]
    async fn who_comes_after_a_change_looks_for_himself() {
        let lookups = Arc::new(UnderWay::default());
        let before = begin(&lookups, pending()).await;
        for (epoch, policies) in [(1, 0), (0, 1)] {
            let after = Sought {
                epoch,
                policies,
                ..sought("a token")
            };
            assert_eq!(lookups.share(after, async { "changed" }).await, "changed");
        }
        assert!(!before.is_finished());
    }

    #[tokio::test]
    async fn those_who_wait_for_one_that_is_cancelled_or_fails_look_themselves() {
        let lookups = Arc::new(UnderWay::default());
        let cancelled = begin(&lookups, pending()).await;
        let failing = begin(&lookups, async {
            panic!("a defect, as this test wants it")
        })
        .await;
        let waiting = begin(&lookups, async { "found" }).await;
        assert!(!failing.is_finished() && !waiting.is_finished());
        cancelled.abort();
        assert!(failing.await.is_err_and(|error| error.is_panic()));
        assert_eq!(waiting.await.expect("it ends well"), "found");
        assert!(lookups.under_way().is_empty());
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_lookup_that_everybody_gave_up() {
        let lookups = Arc::new(UnderWay::<Sought, ()>::default());
        let one = begin(&lookups, pending()).await;
        let other = begin(&lookups, pending()).await;
        for (asked, left) in [(other, 1), (one, 0)] {
            asked.abort();
            assert!(asked.await.is_err_and(|error| error.is_cancelled()));
            assert_eq!(lookups.under_way().len(), left);
        }
    }
}
