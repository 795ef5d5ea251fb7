//! Prometheus text format, version 0.0.4.
//!
//! Our numbers live in per-worker arrays that no client library can read without shared, locked
//! series, so the text is written here; the format is four kinds of line.

use std::fmt::{Display, Write};

use super::histogram::{BOUNDS, Distribution};

/// A page of metrics being written.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    /// Begins a family. `kind` is `counter`, `gauge` or `histogram`.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    /// One value of the family begun last.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        self.labels(labels, None);
        self.line(format_args!(" {value}"));
    }

    /// A family of a single value without labels.
    pub(super) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// One histogram of the family begun last.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        distribution: &Distribution,
    ) {
        let mut count = 0;
        for (place, bucket) in distribution.buckets.iter().enumerate() {
            count += bucket;
            let bound = BOUNDS
                .get(place)
                .map_or_else(|| "+Inf".to_owned(), |micros| seconds(*micros));
            let _ = write!(self.0, "{name}_bucket");
            self.labels(labels, Some(("le", &bound)));
            self.line(format_args!(" {count}"));
        }
        let _ = write!(self.0, "{name}_sum");
        self.labels(labels, None);
        self.line(format_args!(" {}", seconds(distribution.micros)));
        let _ = write!(self.0, "{name}_count");
        self.labels(labels, None);
        self.line(format_args!(" {count}"));
    }

    /// The finished text.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn labels(&mut self, labels: &[(&str, &str)], last: Option<(&str, &str)>) {
        let mut separator = '{';
        for (name, value) in labels.iter().copied().chain(last) {
            self.0.push(separator);
            separator = ',';
            self.0.push_str(name);
            self.0.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        if separator == ',' {
            self.0.push('}');
        }
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.0.write_fmt(text);
        self.0.push('\n');
    }
}

/// Microseconds as seconds, exactly, without needless zeros.
pub(super) fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact() {
        assert_eq!(
            [0, 100, 1_000_000, 2_500_000, 30_000_000].map(seconds),
            ["0", "0.0001", "1", "2.5", "30"]
        );
    }

    #[test]
    fn label_values_are_escaped() {
        let mut page = Page::default();
        page.sample("m", &[("a", "x\"y\\z\nw"), ("b", "")], 1);
        assert_eq!(page.finish(), "m{a=\"x\\\"y\\\\z\\nw\",b=\"\"} 1\n");
    }

    #[test]
    fn a_histogram_is_cumulative() {
        let mut distribution = Distribution::default();
        distribution.record(100);
        distribution.record(200);
        distribution.record(60_000_000);
        let mut page = Page::default();
        page.histogram("d", &[], &distribution);
        let text = page.finish();
        assert!(
            text.contains("d_bucket{le=\"0.0001\"} 1\nd_bucket{le=\"0.00025\"} 2\n"),
            "{text}"
        );
        assert!(
            text.contains("d_bucket{le=\"30\"} 2\nd_bucket{le=\"+Inf\"} 3\n"),
            "{text}"
        );
        assert!(text.ends_with("d_sum 60.0003\nd_count 3\n"), "{text}");
    }
}
