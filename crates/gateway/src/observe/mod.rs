//! What the gateway says about itself: metrics and the access log.
//!
//! ```text
//! WorkerCounters   one per worker; plain numbers with a single writer
//! Registry         all of them and what the control side knows, as Prometheus text
//! AccessRecord     one request, borrowed from whoever served it
//! AccessLog        records to lines, lines to a thread that may be slow
//! ResponseFlag     why a request failed, for both
//! ```
//!
//! Invariant: nothing here ever makes a worker wait. Counting is a load and a store; a line that
//! finds no room is dropped and counted.

mod access;
mod counters;
mod events;
mod exposition;
mod flag;
mod histogram;
mod process;
mod registry;
mod text;
mod trace;

pub use access::{
    AccessLog, AccessLogWriter, AccessRecord, RecordApi, RecordError, RecordKey, RecordTls,
};
pub use counters::WorkerCounters;
pub use events::{EventCounters, Outcome};
pub use flag::ResponseFlag;
pub use registry::{ApiTotals, CertificateExpiry, CrlExpiry, Registry};
pub use trace::{is_traceparent, trace_id};

#[cfg(test)]
mod tests {
    use super::{Registry, ResponseFlag};

    /// Everything that can be looked for stands on the page for people.
    #[test]
    fn the_documentation_names_every_metric_field_flag_and_reason() {
        let page = include_str!("../../../../docs/observability.md");
        let registry = Registry::new("1");
        let metrics = registry.render();
        let families = metrics
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let families = families
            .filter(|name| !name.starts_with("process_"))
            .map(str::to_owned);
        let flags = ResponseFlag::all()
            .flat_map(|flag| [flag.flag(), flag.detail()])
            .map(str::to_owned);
        let reasons = super::counters::REASONS.into_iter().map(str::to_owned);
        let fields = super::access::field_names().into_iter().map(str::to_owned);
        for name in families.chain(flags).chain(reasons).chain(fields) {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }
}
