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
mod exposition;
mod flag;
mod histogram;
mod process;
mod registry;
mod text;
mod trace;

pub use access::{AccessLog, AccessLogWriter, AccessRecord, RecordApi, RecordError, RecordTls};
pub use counters::WorkerCounters;
pub use flag::ResponseFlag;
pub use registry::{ApiTotals, CertificateExpiry, Registry};
pub use trace::{is_traceparent, trace_id};
