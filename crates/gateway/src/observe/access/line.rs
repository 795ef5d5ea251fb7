//! One line of the access log, as JSON or as `key=value` text.
//!
//! Invariant: whatever a value holds, the line stays one line, and no control character in it
//! reaches a terminal.

use std::io::Write;

use portcullis_config::LogFormat;

/// A line being written.
pub(super) struct Line {
    format: LogFormat,
    bytes: Vec<u8>,
}

impl Line {
    /// An empty line in this buffer.
    pub(super) fn new(format: LogFormat, mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        if format == LogFormat::Json {
            bytes.push(b'{');
        }
        Self { format, bytes }
    }

    /// A field whose value is text. What is not UTF-8 in it is replaced.
    pub(super) fn text(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        let quoted = self.format == LogFormat::Json || needs_quotes(value);
        if !quoted {
            self.bytes.extend_from_slice(value);
            return;
        }
        self.bytes.push(b'"');
        for piece in value.utf8_chunks() {
            piece
                .valid()
                .chars()
                .for_each(|character| self.escaped(character));
            if !piece.invalid().is_empty() {
                self.escaped(char::REPLACEMENT_CHARACTER);
            }
        }
        self.bytes.push(b'"');
    }

    /// A field whose value is a number.
    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        self.print(format_args!("{value}"));
    }

    /// A field whose value is true or false.
    pub(super) fn truth(&mut self, key: &str, value: bool) {
        self.key(key);
        self.print(format_args!("{value}"));
    }

    /// The line with its end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.format == LogFormat::Json {
            self.bytes.push(b'}');
        }
        self.bytes.push(b'\n');
        self.bytes
    }

    fn key(&mut self, key: &str) {
        match self.format {
            LogFormat::Json => {
                if self.bytes.len() > 1 {
                    self.bytes.push(b',');
                }
                self.print(format_args!("\"{key}\":"));
            }
            LogFormat::Text => {
                if !self.bytes.is_empty() {
                    self.bytes.push(b' ');
                }
                self.print(format_args!("{key}="));
            }
        }
    }

    fn escaped(&mut self, character: char) {
        match character {
            '"' => self.bytes.extend_from_slice(b"\\\""),
            '\\' => self.bytes.extend_from_slice(b"\\\\"),
            '\n' => self.bytes.extend_from_slice(b"\\n"),
            '\r' => self.bytes.extend_from_slice(b"\\r"),
            '\t' => self.bytes.extend_from_slice(b"\\t"),
            // Control characters of ASCII and Unicode, line separators, changes of direction.
            control
                if control.is_control()
                    || matches!(control, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                self.print(format_args!("\\u{:04x}", u32::from(control)));
            }
            plain => self
                .bytes
                .extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }

    fn print(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to memory cannot fail.
        let _ = self.bytes.write_fmt(text);
    }
}

fn needs_quotes(value: &[u8]) -> bool {
    value.is_empty()
        || value
            .iter()
            .any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'"' | b'\\' | b'='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: LogFormat, value: &[u8]) -> String {
        let mut line = Line::new(format, Vec::new());
        line.text("a", value);
        line.number("b", 1);
        line.truth("c", true);
        String::from_utf8(line.finish()).unwrap()
    }

    #[test]
    fn both_formats_hold_the_same_fields() {
        assert_eq!(
            line(LogFormat::Json, b"x"),
            "{\"a\":\"x\",\"b\":1,\"c\":true}\n"
        );
        assert_eq!(line(LogFormat::Text, b"x"), "a=x b=1 c=true\n");
        assert_eq!(line(LogFormat::Text, b"x y"), "a=\"x y\" b=1 c=true\n");
        assert_eq!(line(LogFormat::Text, b""), "a=\"\" b=1 c=true\n");
    }

    #[test]
    fn no_value_can_break_or_hide_a_line() {
        let nasty = "\"}\n{\\\u{1b}[2J\u{7f}\u{9b}\u{2028}\u{202e}".as_bytes();
        for format in [LogFormat::Json, LogFormat::Text] {
            let text = line(format, nasty);
            assert_eq!(text.matches('\n').count(), 1);
            assert!(text.trim_end().chars().all(|c| !c.is_control()), "{text:?}");
        }
        let value: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, nasty)).unwrap();
        assert_eq!(value["a"].as_str().unwrap().as_bytes(), nasty);
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        assert_eq!(
            line(LogFormat::Json, b"a\xff\xfeb"),
            "{\"a\":\"a\u{fffd}\u{fffd}b\",\"b\":1,\"c\":true}\n"
        );
    }
}
