//! A histogram of durations with fixed buckets and a single writer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Upper bounds of the buckets in microseconds; the last bucket has none. From a gateway's own
/// time (a tenth of a millisecond) to the longest timeouts.
pub(super) const BOUNDS: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// Adds to a number that only this thread writes.
///
/// A load and a store instead of a locked instruction: readers see some recent value, and
/// nothing is lost because nobody else writes.
#[inline]
pub(super) fn bump(number: &AtomicU64, by: u64) {
    number.store(number.load(Relaxed).wrapping_add(by), Relaxed);
}

/// Counts of one series.
#[derive(Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum: AtomicU64,
}

impl Histogram {
    /// Counts a duration in microseconds. Only the owning worker calls this.
    #[inline]
    pub(super) fn record(&self, micros: u64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        bump(&self.buckets[bucket], 1);
        bump(&self.sum, micros);
    }

    /// Adds what has been counted to a sum over workers.
    pub(super) fn add_to(&self, total: &mut Distribution) {
        for (sum, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Relaxed);
        }
        total.micros += self.sum.load(Relaxed);
    }
}

/// The sum of histograms, to be shown.
#[derive(Default, Clone)]
pub(super) struct Distribution {
    /// Counts, not cumulated.
    pub(super) buckets: [u64; BOUNDS.len() + 1],
    /// Sum of all values in microseconds.
    pub(super) micros: u64,
}

impl Distribution {
    /// Counts a duration that one thread at a time may count.
    pub(super) fn record(&mut self, micros: u64) {
        self.buckets[BOUNDS.partition_point(|bound| *bound < micros)] += 1;
        self.micros += micros;
    }

    /// How many values there are.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_to_that_bucket() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 30_000_000, 30_000_001] {
            histogram.record(micros);
        }
        let mut total = Distribution::default();
        histogram.add_to(&mut total);
        assert_eq!(total.buckets[..2], [2, 1]);
        assert_eq!(total.buckets[BOUNDS.len() - 1..], [1, 1]);
        assert_eq!((total.count(), total.micros), (5, 60_000_202));
    }
}
