//! What one worker counts.
//!
//! Every number has one writer, its worker; the control side only reads. So counting needs no
//! locked instruction, no lock and no allocation.
//!
//! Invariants:
//! - The number of an API ([`super::Registry::slot`]) never changes and is never given away
//!   again, so a reload moves no counter and loses no count.
//! - Room for a number exists in every worker before the number is handed out. Places never
//!   move: room grows by whole segments, each twice the one before.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use portcullis_tls::Negotiated;

use crate::flight::REFUSALS;

use super::{
    ResponseFlag,
    histogram::{Histogram, bump},
};

/// Status classes: `1xx` to `5xx`.
pub(super) const CLASSES: usize = 5;

/// Places in the first segment.
const FIRST_SEGMENT: usize = 64;

/// Segments; together they hold more places than there is memory.
const SEGMENTS: usize = 32;

/// Labels a failed handshake may have; what is none of them is counted as the last.
pub(super) const REASONS: [&str; 16] = [
    "no_shared_cipher",
    "protocol_version",
    "unrecognized_name",
    "no_application_protocol",
    "plain_http",
    "certificate_required",
    "certificate_expired",
    "certificate_untrusted",
    "certificate_revoked",
    "revocation_unknown",
    "certificate_refused",
    "client_alert",
    "bad_record",
    "eof",
    "timeout",
    "other",
];

/// TLS versions a finished handshake may have.
pub(super) const VERSIONS: [&str; 2] = ["TLSv1.2", "TLSv1.3"];

/// Everything one worker counts.
#[derive(Default)]
pub struct WorkerCounters {
    /// By status class.
    pub(super) total_time: [Histogram; CLASSES],
    pub(super) own_time: Histogram,
    pub(super) upstream_time: Histogram,
    pub(super) unrouted: ApiCounters,
    segments: [OnceLock<Box<[ApiCounters]>>; SEGMENTS],
    pub(super) opened: AtomicU64,
    pub(super) closed: AtomicU64,
    /// By version, full and resumed.
    pub(super) handshakes: [[AtomicU64; 2]; VERSIONS.len()],
    pub(super) handshake_failures: [AtomicU64; REASONS.len()],
    /// Refusals after handshakes, by [`REFUSALS`].
    pub(super) refusals: [AtomicU64; REFUSALS.len()],
}

/// Requests of one API.
#[derive(Default)]
pub(super) struct ApiCounters {
    /// Requests without a flag, by status class.
    pub(super) plain: [AtomicU64; CLASSES],
    /// Requests with one. Made when the first of them comes: most APIs never need it.
    pub(super) flagged: OnceLock<Box<[[AtomicU64; CLASSES]; ResponseFlag::COUNT]>>,
    pub(super) micros: AtomicU64,
    pub(super) upstream_micros: AtomicU64,
}

impl WorkerCounters {
    /// Counts a finished request.
    ///
    /// `slot` is the API's number, `None` when no API took the request. Durations are in
    /// microseconds: the whole exchange, and the part spent waiting for an upstream if one was
    /// asked. Only the owning worker calls this.
    #[inline]
    pub fn request(
        &self,
        slot: Option<usize>,
        status: u16,
        flag: Option<ResponseFlag>,
        duration: u64,
        upstream: Option<u64>,
    ) {
        let class = class(status);
        let waited = upstream.unwrap_or(0).min(duration);
        self.total_time[class].record(duration);
        self.own_time.record(duration - waited);
        if let Some(upstream) = upstream {
            self.upstream_time.record(upstream);
        }
        let api = slot
            .and_then(|slot| self.api(slot))
            .unwrap_or(&self.unrouted);
        match flag {
            None => bump(&api.plain[class], 1),
            Some(flag) => bump(
                &api.flagged.get_or_init(Box::default)[flag.index()][class],
                1,
            ),
        }
        bump(&api.micros, duration);
        bump(&api.upstream_micros, waited);
    }

    /// Counts an accepted connection.
    pub fn connection_opened(&self) {
        bump(&self.opened, 1);
    }

    /// Counts the end of a connection.
    pub fn connection_closed(&self) {
        bump(&self.closed, 1);
    }

    /// Counts a finished TLS handshake.
    pub fn handshake_done(&self, negotiated: &Negotiated) {
        self.handshake(negotiated.version, negotiated.resumed);
    }

    /// Counts a TLS handshake that failed, by the label of its reason.
    pub fn handshake_failed(&self, reason: &str) {
        let other = REASONS.len() - 1;
        let place = REASONS
            .iter()
            .position(|known| *known == reason)
            .unwrap_or(other);
        bump(&self.handshake_failures[place], 1);
    }

    /// Counts a client that was refused after its handshake, by the label of the check.
    pub fn client_refused(&self, reason: &str) {
        if let Some(place) = REFUSALS.iter().position(|known| *known == reason) {
            bump(&self.refusals[place], 1);
        }
    }

    fn handshake(&self, version: &str, resumed: bool) {
        let place = VERSIONS
            .iter()
            .position(|known| *known == version)
            .unwrap_or(0);
        bump(&self.handshakes[place][usize::from(resumed)], 1);
    }

    /// The counters of an API by its number; `None` when nobody made room for it.
    #[inline]
    pub(super) fn api(&self, slot: usize) -> Option<&ApiCounters> {
        let (segment, place) = locate(slot);
        self.segments.get(segment)?.get()?.get(place)
    }

    /// Makes room for all numbers up to this one. The control side calls this before it hands
    /// the number out.
    pub(super) fn make_room(&self, slot: usize) {
        for segment in 0..=locate(slot).0 {
            self.segments[segment].get_or_init(|| {
                (0..FIRST_SEGMENT << segment)
                    .map(|_| ApiCounters::default())
                    .collect()
            });
        }
    }
}

impl ApiCounters {
    /// Adds the requests of one flag (or none) to a sum over workers.
    pub(super) fn add_requests(&self, flag: Option<ResponseFlag>, sums: &mut [u64; CLASSES]) {
        let counts = match flag {
            None => Some(&self.plain),
            Some(flag) => self.flagged.get().map(|flagged| &flagged[flag.index()]),
        };
        for (sum, count) in sums.iter_mut().zip(counts.into_iter().flatten()) {
            *sum += count.load(Relaxed);
        }
    }
}

/// The place of a status in an array of classes. A status we cannot place is the gateway's fault.
#[inline]
fn class(status: u16) -> usize {
    match status {
        100..=599 => usize::from(status / 100) - 1,
        _ => CLASSES - 1,
    }
}

/// Segment and place of a number. Segment k holds `FIRST_SEGMENT << k` places.
#[inline]
fn locate(slot: usize) -> (usize, usize) {
    let blocks = slot / FIRST_SEGMENT + 1;
    let segment = blocks.ilog2() as usize;
    (segment, slot - FIRST_SEGMENT * ((1 << segment) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fill_segments_one_after_the_other() {
        assert_eq!(locate(0), (0, 0));
        assert_eq!(locate(63), (0, 63));
        assert_eq!(locate(64), (1, 0));
        assert_eq!(locate(191), (1, 127));
        assert_eq!(locate(192), (2, 0));
        let mut seen = std::collections::BTreeSet::new();
        for slot in 0..10_000 {
            let (segment, place) = locate(slot);
            assert!(place < FIRST_SEGMENT << segment, "{slot}");
            assert!(seen.insert((segment, place)), "{slot}");
        }
    }

    #[test]
    fn room_never_moves_what_has_been_counted() {
        let counters = WorkerCounters::default();
        counters.make_room(0);
        counters.request(Some(0), 200, None, 10, None);
        counters.make_room(5_000);
        counters.request(Some(0), 200, None, 10, None);
        counters.request(
            Some(5_000),
            502,
            Some(ResponseFlag::ConnectionRefused),
            10,
            Some(4),
        );
        let mut sums = [0; CLASSES];
        counters.api(0).unwrap().add_requests(None, &mut sums);
        assert_eq!(sums, [0, 2, 0, 0, 0]);
        let mut sums = [0; CLASSES];
        counters
            .api(5_000)
            .unwrap()
            .add_requests(Some(ResponseFlag::ConnectionRefused), &mut sums);
        assert_eq!(sums, [0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_number_without_room_is_counted_as_unrouted_and_not_lost() {
        let counters = WorkerCounters::default();
        counters.request(Some(usize::MAX / 2), 200, None, 10, None);
        counters.request(None, 404, None, 10, None);
        let mut sums = [0; CLASSES];
        counters.unrouted.add_requests(None, &mut sums);
        assert_eq!(sums, [0, 1, 0, 1, 0]);
    }

    #[test]
    fn an_unknown_handshake_reason_is_other() {
        let counters = WorkerCounters::default();
        counters.handshake_failed("something new");
        counters.handshake_failed("eof");
        let count = |reason: &str| {
            let place = REASONS.iter().position(|known| *known == reason).unwrap();
            counters.handshake_failures[place].load(Relaxed)
        };
        assert_eq!((count("other"), count("eof")), (1, 1));
    }

    #[test]
    fn any_status_has_a_class() {
        assert_eq!(
            [100, 204, 304, 499, 503, 0, 999].map(class),
            [0, 1, 2, 3, 4, 4, 4]
        );
    }
}
