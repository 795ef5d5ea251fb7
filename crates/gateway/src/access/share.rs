//! This node's share of the traffic among the nodes that announce their load.
//!
//! Nodes say every two seconds how much they serve. A rate that is large enough is then split: each
//! node lets its part through without asking anybody. A node that falls silent is forgotten.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// A node that has said nothing for this long is gone.
const SILENCE: Duration = Duration::from_secs(10);

/// How many nodes there are and how large our part is; read by workers, written by one task.
#[derive(Debug)]
pub struct Share {
    /// As [`pack`] makes it.
    state: AtomicU64,
    /// Rates up to so many requests a second and node are counted together.
    threshold: f64,
}

/// What is known of the other nodes.
#[derive(Debug, Default)]
pub struct Others(HashMap<String, (u64, Instant)>);

/// How a rate is counted at this moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Counted {
    /// Here, with this part of the rate.
    Here(f64),
    /// By all nodes together.
    Together,
}

impl Share {
    /// The share of a node alone. Rates up to `threshold` requests a second and node are not split.
    pub fn new(threshold: usize) -> Self {
        Self {
            state: AtomicU64::new(pack(1, 1.0)),
            // Far below what a float holds exactly.
            threshold: threshold as f64,
        }
    }

    /// How a rate of so many requests in so many seconds is counted.
    pub fn of(&self, requests: f64, per: f64) -> Counted {
        let state = self.state.load(Ordering::Relaxed);
        let nodes = state >> 32;
        let part = f32::from_bits(u32::try_from(state & 0xffff_ffff).unwrap_or(0));
        if nodes <= 1 {
            return Counted::Here(requests);
        }
        // The number of nodes is small: nothing is lost.
        if nodes as f64 * self.threshold < requests / per {
            Counted::Here(requests * f64::from(part))
        } else {
            Counted::Together
        }
    }

    /// Takes over what is known now; `own` is our load.
    pub fn update(&self, own: u64, others: &mut Others, now: Instant) {
        others.0.retain(|_, (_, heard)| now - *heard < SILENCE);
        let own = own.max(1);
        let all: u64 = others.0.values().map(|(load, _)| *load).sum::<u64>() + own;
        let nodes = u64::try_from(others.0.len()).unwrap_or(u64::MAX - 1) + 1;
        // Loads are far below what a float holds exactly.
        let part = own as f64 / all as f64;
        self.state.store(pack(nodes, part), Ordering::Relaxed);
    }
}

impl Others {
    /// A node has said how much it serves in a second.
    pub fn heard(&mut self, node: String, load: u64, now: Instant) {
        self.0.insert(node, (load.max(1), now));
    }
}

fn pack(nodes: u64, part: f64) -> u64 {
    nodes.min(u64::from(u32::MAX)) << 32 | u64::from((part as f32).to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_alone_counts_every_rate_itself() {
        let share = Share::new(5);
        assert_eq!(share.of(1.0, 60.0), Counted::Here(1.0));
        share.update(0, &mut Others::default(), Instant::now());
        assert_eq!(share.of(500.0, 1.0), Counted::Here(500.0));
    }

    #[test]
    fn nodes_split_large_rates_by_their_load_and_count_small_ones_together() {
        let (share, mut others, now) = (Share::new(5), Others::default(), Instant::now());
        others.heard("b".into(), 300, now);
        share.update(100, &mut others, now);
        assert_eq!(share.of(100.0, 1.0), Counted::Here(25.0));
        assert_eq!(share.of(10.0, 1.0), Counted::Together);
        assert_eq!(share.of(100.0, 60.0), Counted::Together);
    }

    #[test]
    fn which_rates_are_large_is_configured() {
        let (share, mut others, now) = (Share::new(50), Others::default(), Instant::now());
        others.heard("b".into(), 1, now);
        share.update(1, &mut others, now);
        assert_eq!(share.of(100.0, 1.0), Counted::Together);
        assert_eq!(share.of(102.0, 1.0), Counted::Here(51.0));
    }

    #[test]
    fn a_node_that_falls_silent_is_forgotten() {
        let (share, mut others, now) = (Share::new(5), Others::default(), Instant::now());
        others.heard("b".into(), 1, now);
        share.update(1, &mut others, now);
        assert_eq!(share.of(1.0, 1.0), Counted::Together);
        share.update(1, &mut others, now + SILENCE);
        assert_eq!(share.of(1.0, 1.0), Counted::Here(1.0));
    }
}
