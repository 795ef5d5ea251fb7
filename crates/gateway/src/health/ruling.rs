//! What tests say of hosts: results are noted here, against the tests of the snapshot in force.
//!
//! Invariants:
//! - A host is what the tests in force say of it, however many runs end at once and whenever a reload comes.
//! - The lock is the control side's; no request waits for it, and nothing is waited for while it is held.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Health,
    host::{Change, Test},
};

/// The tests that count.
#[derive(Default)]
pub struct Ruling {
    in_force: Mutex<Arc<Health>>,
}

impl Ruling {
    /// From now on these tests count, and no others.
    pub fn adopt(&self, health: &Arc<Health>) {
        let mut in_force = self.lock();
        // Tests that are gone say nothing any more.
        health.hosts.iter().for_each(|host| health.recount(host));
        *in_force = health.clone();
    }

    /// Notes the result of a run that may have begun before the last reload: the test as it is now, and what the
    /// result changed. `None` when nobody asks for the test any more.
    pub fn note(
        &self,
        test: &Test,
        good: bool,
        in_a_row: u32,
    ) -> Option<(Arc<Test>, Option<Change>)> {
        let in_force = self.lock();
        let mut tests = in_force.tests.iter();
        let now = tests.find(|known| Arc::ptr_eq(&known.state, &test.state))?;
        let change = now.state.note(good, in_a_row);
        if change.is_some() {
            in_force.recount(&now.host);
        }
        Some((now.clone(), change))
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Health>> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::health::{
        Host,
        doubles::{host, tests},
    };

    /// So many tests of one host.
    fn tests_of(host: &Arc<Host>, count: usize) -> Vec<Arc<Test>> {
        let urls = (0..count).map(|n| json!({"url": format!("http://one.test/{n}")}));
        tests(host, &Value::from_iter(urls))
    }

    fn health(host: &Arc<Host>, tests: &[Arc<Test>]) -> Arc<Health> {
        Arc::new(Health {
            tests: tests.to_vec(),
            hosts: vec![host.clone()],
            ..Health::default()
        })
    }

    #[test]
    fn a_run_that_ends_after_its_test_was_taken_out_says_nothing() {
        let host = host();
        let tests = tests_of(&host, 2);
        let ruling = Ruling::default();
        ruling.adopt(&health(&host, &tests));
        ruling.adopt(&health(&host, &tests[..1]));
        assert!(ruling.note(&tests[1], false, 1).is_none());
        assert!(!host.is_down() && !tests[1].state.is_down());
        let (_, change) = ruling.note(&tests[0], false, 1).expect("it counts");
        assert_eq!((change, host.is_down()), (Some(Change::Down), true));
        ruling.adopt(&health(&host, &[]));
        assert!(!host.is_down(), "nobody tests it any more");
    }

    #[test]
    fn a_run_that_ends_after_a_reload_counts_for_the_test_as_it_is_now() {
        let host = host();
        let [before] = &tests_of(&host, 1)[..] else {
            panic!("one test")
        };
        let after = Arc::new(Test {
            api_id: before.api_id.clone(),
            asked: before.asked.clone(),
            host: host.clone(),
            endpoint: None,
            handlers: Arc::default(),
            state: before.state.clone(),
        });
        let ruling = Ruling::default();
        ruling.adopt(&health(&host, std::slice::from_ref(before)));
        ruling.adopt(&health(&host, std::slice::from_ref(&after)));
        let (told, change) = ruling.note(before, false, 1).expect("it counts");
        assert!(Arc::ptr_eq(&told, &after));
        assert_eq!((change, host.is_down()), (Some(Change::Down), true));
    }

    #[test]
    fn runs_that_end_at_once_leave_the_host_as_their_tests_say() {
        let host = host();
        let tests = tests_of(&host, 4);
        let ruling = Ruling::default();
        ruling.adopt(&health(&host, &tests));
        for good in [true, false] {
            std::thread::scope(|scope| {
                for test in &tests {
                    scope.spawn(|| {
                        for round in 0..2_001 {
                            ruling.note(test, good == (round % 2 == 0), 1);
                        }
                    });
                }
            });
            assert_eq!(host.is_down(), !good);
        }
    }
}
