//! The access log: one line for each request.
//!
//! A worker lays a line out and leaves it in a bounded queue; one thread writes them. When the
//! queue is full the line is dropped and counted. When the log is off nothing is laid out.
//!
//! Invariants:
//! - A worker never waits for the log.
//! - A line holds no query string, no header but `User-Agent`, no body, and no control character.

mod line;
mod record;

use std::{
    io::{BufWriter, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use portcullis_config::{LogFormat, Logs};

pub use self::record::{AccessRecord, RecordApi, RecordError, RecordKey, RecordTls};
use self::{line::Line, record::Fields};

/// Lines that may wait for the writer.
const QUEUE: usize = 8_192;

/// Bytes a line usually fits in.
const USUAL_LINE: usize = 768;

/// Where workers leave their records. Clones share one queue.
#[derive(Clone)]
pub struct AccessLog(Option<Arc<Queue>>);

struct Queue {
    fields: Fields,
    format: LogFormat,
    lines: SyncSender<Vec<u8>>,
    dropped: AtomicU64,
}

/// The thread that writes. It ends, with everything written, when the last [`AccessLog`] is gone.
pub struct AccessLogWriter(Option<JoinHandle<()>>);

impl AccessLog {
    /// A log that takes nothing.
    pub fn disabled() -> Self {
        Self(None)
    }

    /// Starts the log a configuration asks for, on `sink`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        logs: &Logs,
        sink: impl Write + Send + 'static,
    ) -> std::io::Result<(Self, AccessLogWriter)> {
        Self::with_queue(logs, sink, QUEUE)
    }

    fn with_queue(
        logs: &Logs,
        sink: impl Write + Send + 'static,
        room: usize,
    ) -> std::io::Result<(Self, AccessLogWriter)> {
        if !logs.access_log {
            return Ok((Self::disabled(), AccessLogWriter(None)));
        }
        let (fields, unknown) = Fields::chosen(&logs.access_log_template);
        for name in unknown {
            tracing::warn!(
                key = "access_logs.template",
                value = name,
                accepted = Fields::NAMES.join(", "),
                "not a field of the access log, left out"
            );
        }
        let (lines, waiting) = sync_channel(room);
        let writer = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write(&waiting, sink))?;
        let queue = Queue {
            fields,
            format: logs.access_log_format,
            lines,
            dropped: AtomicU64::new(0),
        };
        Ok((Self(Some(Arc::new(queue))), AccessLogWriter(Some(writer))))
    }

    /// False when records go nowhere, so that nobody needs to gather one.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Takes a record, unless the writer has fallen too far behind.
    pub fn log(&self, record: &AccessRecord<'_>) {
        let Some(queue) = &self.0 else { return };
        let mut line = Line::new(queue.format, Vec::with_capacity(USUAL_LINE));
        record.write(queue.fields, &mut line);
        if queue.lines.try_send(line.finish()).is_err() {
            queue.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Lines dropped so far.
    pub fn dropped(&self) -> u64 {
        self.0
            .as_ref()
            .map_or(0, |queue| queue.dropped.load(Relaxed))
    }
}

impl AccessLogWriter {
    /// Waits until every line is written. All [`AccessLog`]s must be gone by then or this waits
    /// for them.
    pub fn join(self) {
        if let Some(thread) = self.0
            && thread.join().is_err()
        {
            tracing::error!("the access log ended early");
        }
    }
}

/// Every name a template may hold.
#[cfg(test)]
pub(super) fn field_names() -> [&'static str; Fields::NAMES.len()] {
    Fields::NAMES
}

/// Writes lines as they come and flushes whenever none is waiting.
fn write(waiting: &Receiver<Vec<u8>>, sink: impl Write) {
    let mut sink = BufWriter::with_capacity(64 * 1024, sink);
    let mut failing = false;
    while let Ok(first) = waiting.recv() {
        let mut result = sink.write_all(&first);
        while let Ok(line) = waiting.try_recv() {
            result = result.and_then(|()| sink.write_all(&line));
        }
        match result.and_then(|()| sink.flush()) {
            Ok(()) => failing = false,
            // Said once, not for every line: the log of errors may well be the same full disk.
            Err(error) if !failing => {
                failing = true;
                tracing::error!(%error, "the access log cannot be written");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::{record::tests::example, *};

    fn logs(format: LogFormat, template: &[&str]) -> Logs {
        Logs {
            level: portcullis_config::LogLevel::Info,
            format,
            access_log: true,
            access_log_format: format,
            access_log_template: template.iter().map(ToString::to_string).collect(),
            enable_key_logging: false,
        }
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_record_becomes_one_line_by_the_time_the_writer_ends() {
        let sink = Shared::default();
        let (log, writer) = AccessLog::start(&logs(LogFormat::Json, &[]), sink.clone()).unwrap();
        let other = log.clone();
        assert!(log.is_enabled());
        log.log(&example());
        other.log(&example());
        drop((log, other));
        writer.join();
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2);
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["prefix"], "access-log");
            assert_eq!(value["status"], 200);
        }
    }

    #[test]
    fn a_log_that_is_off_takes_nothing_and_ends_at_once() {
        let mut off = logs(LogFormat::Json, &[]);
        off.access_log = false;
        let sink = Shared::default();
        let (log, writer) = AccessLog::start(&off, sink.clone()).unwrap();
        assert!(!log.is_enabled());
        log.log(&example());
        writer.join();
        assert!(sink.0.lock().unwrap().is_empty());
    }

    /// Blocks in its first write until told to go on.
    struct Stuck {
        entered: mpsc::Sender<()>,
        go_on: Receiver<()>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.entered.send(());
            let _ = self.go_on.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn when_the_sink_is_stuck_lines_are_dropped_and_counted_and_nobody_waits() {
        let (entered, in_write) = mpsc::channel();
        let (release, go_on) = mpsc::channel();
        let (log, writer) =
            AccessLog::with_queue(&logs(LogFormat::Json, &[]), Stuck { entered, go_on }, 2)
                .unwrap();
        log.log(&example());
        in_write.recv().unwrap();
        // The writer now holds one line and is stuck; two more fit into the queue.
        for _ in 0..5 {
            log.log(&example());
        }
        assert_eq!(log.dropped(), 3);
        drop((log, release));
        writer.join();
    }
}
