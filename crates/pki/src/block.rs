//! One PEM block after the other, as the certificate store takes them from an upload, and a block
//! as the store writes it.
//!
//! Unlike [`pem`](crate::pem), which reads what people put into configuration and insists on every
//! block, this reader passes over what is no block at all, because that is how uploads have always
//! been read: text around blocks, a byte order mark, a block that is cut off or not base64.
//!
//! Invariants:
//! - Reading is linear in the length of the text, whatever it holds.
//! - [`Block::to_pem`] of a block that was read gives the same bytes for every spelling of it.

use openssl::base64;

use crate::wiped::Wiped;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Columns of base64 in a block that is written.
const COLUMNS: usize = 64;

/// A block.
#[derive(Clone)]
pub struct Block {
    /// What stands behind `BEGIN`, such as `CERTIFICATE`.
    pub label: String,
    /// Header lines in the order they are written in: `Proc-Type` first, then by name.
    pub headers: Vec<(String, String)>,
    /// What the base64 stands for; wiped from memory, since it may be a key in clear.
    pub bytes: Wiped,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block")
            .field("label", &self.label)
            .field("length", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl Block {
    /// A block without header lines.
    pub fn new(label: &str, bytes: Vec<u8>) -> Self {
        Self {
            label: label.to_owned(),
            headers: Vec::new(),
            bytes: Wiped::new(bytes),
        }
    }

    /// Whether it holds a private key, in clear or not.
    pub fn is_private_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }

    /// The value of a header line.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The block as text: header lines, base64 in lines of 64 columns, every line ended by `\n`.
    pub fn to_pem(&self) -> String {
        let mut text = format!("-----BEGIN {}-----\n", self.label);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\n"));
        }
        if !self.headers.is_empty() {
            text.push('\n');
        }
        // 48 bytes are 64 columns.
        for line in self.bytes.chunks(COLUMNS / 4 * 3) {
            text.push_str(&base64::encode_block(line));
            text.push('\n');
        }
        text.push_str(&format!("-----END {}-----\n", self.label));
        text
    }
}

/// The blocks of a text, which need not be UTF-8.
pub fn blocks(text: &[u8]) -> Blocks<'_> {
    Blocks {
        text,
        at: if text.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        },
        end: None,
    }
}

/// Walks over the blocks of a text.
pub struct Blocks<'a> {
    text: &'a [u8],
    /// Where the next line begins.
    at: usize,
    /// The first END line that was found at or behind `at`: many BEGINs before one END look for it once.
    end: Option<usize>,
}

impl Iterator for Blocks<'_> {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        while self.at < self.text.len() {
            let Some(label) = label_of(self.line()) else {
                continue;
            };
            let mut headers: Vec<(String, String)> = Vec::new();
            loop {
                let before = self.at;
                let line = self.line();
                match split_header(line) {
                    Some(header) => headers.push(header),
                    None => {
                        self.at = before;
                        break;
                    }
                }
            }
            // Without any END behind it, neither this BEGIN nor a later one has an end.
            let end = self.end_line()?;
            let after = &self.text[end + END.len()..];
            let line = trimmed(
                after
                    .split(|byte| *byte == b'\n')
                    .next()
                    .unwrap_or_default(),
            );
            if line.strip_suffix(DASHES) != Some(label) {
                continue;
            }
            let Some(bytes) = decode(&self.text[self.at..end]) else {
                continue;
            };
            self.at = end;
            self.line();
            return Some(Block {
                label: String::from_utf8_lossy(label).into_owned(),
                headers: in_order(headers),
                bytes,
            });
        }
        None
    }
}

impl<'a> Blocks<'a> {
    /// The line that begins here, without its end; the next one is the line behind it.
    fn line(&mut self) -> &'a [u8] {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n');
        let line = &rest[..length.unwrap_or(rest.len())];
        self.at += length.map_or(rest.len(), |length| length + 1);
        line
    }

    /// Where the first line from here on begins that begins with END.
    fn end_line(&mut self) -> Option<usize> {
        if let Some(end) = self.end.filter(|end| *end >= self.at) {
            return Some(end);
        }
        let mut at = self.at;
        loop {
            let rest = self.text.get(at..).filter(|rest| !rest.is_empty())?;
            if rest.starts_with(END) {
                self.end = Some(at);
                return self.end;
            }
            at += rest.iter().position(|byte| *byte == b'\n')? + 1;
        }
    }
}

/// The label of a line that begins a block.
fn label_of(line: &[u8]) -> Option<&[u8]> {
    trimmed(line).strip_prefix(BEGIN)?.strip_suffix(DASHES)
}

/// Without the white space at its end, which a carriage return is too.
fn trimmed(line: &[u8]) -> &[u8] {
    let end = line
        .iter()
        .rposition(|byte| !matches!(byte, b' ' | b'\t' | b'\r'))
        .map_or(0, |last| last + 1);
    &line[..end]
}

/// Base64 has no colon, so a line with one is a header line.
fn split_header(line: &[u8]) -> Option<(String, String)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Some((text(&line[..colon]), text(&line[colon + 1..])))
}

/// Each name once, with the value that came last.
fn in_order(mut headers: Vec<(String, String)>) -> Vec<(String, String)> {
    headers.reverse();
    headers.sort_by(|(one, _), (other, _)| {
        let rank = |name: &str| (name != "Proc-Type", name.to_owned());
        rank(one).cmp(&rank(other))
    });
    headers.dedup_by(|(later, _), (first, _)| later == first);
    headers
}

/// The bytes that padded base64 with line breaks stands for. Gives up at the first foreign byte.
fn decode(body: &[u8]) -> Option<Wiped> {
    let mut text = String::new();
    for byte in body {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'=' if text.len() % 4 >= 2 => text.push('='),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if !text.ends_with('=') => {
                text.push(char::from(*byte));
            }
            _ => return None,
        }
    }
    if text.is_empty() {
        return Some(Wiped::new(Vec::new()));
    }
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let bytes = base64::decode_block(&text).ok().map(Wiped::new);
    drop(Wiped::new(text.into_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<String> {
        blocks(text.as_bytes()).map(|block| block.label).collect()
    }

    #[test]
    fn every_spelling_of_a_block_is_written_the_same_way() {
        let plain = "-----BEGIN X-----\nAAEC\n-----END X-----\n";
        for text in [
            plain.to_owned(),
            plain.replace('\n', "\r\n"),
            format!("\u{feff}{plain}"),
            format!("Bag Attributes\n    friendlyName: x\n{plain}trailing"),
            plain.replace("AAEC", "A A\n\tEC\n"),
            plain.trim_end().to_owned(),
            plain.replace("-----\n", "-----  \n"),
        ] {
            let found: Vec<_> = blocks(text.as_bytes()).collect();
            assert_eq!(found.len(), 1, "{text:?}");
            assert_eq!(found[0].to_pem(), plain, "{text:?}");
            assert_eq!(&*found[0].bytes, [0, 1, 2]);
        }
    }

    #[test]
    fn lines_have_64_columns_and_header_lines_come_in_order() {
        let mut block = Block::new("X", vec![0; 49]);
        assert_eq!(
            block.to_pem(),
            format!(
                "-----BEGIN X-----\n{}\nAA==\n-----END X-----\n",
                "A".repeat(64)
            )
        );
        let text = "-----BEGIN X-----\nB: 2\nA: 1\nProc-Type: 4,ENCRYPTED\nB: 3\n\nAAEC\n-----END X-----\n";
        block = blocks(text.as_bytes()).next().unwrap();
        assert_eq!(
            block.to_pem(),
            "-----BEGIN X-----\nProc-Type: 4,ENCRYPTED\nA: 1\nB: 3\n\nAAEC\n-----END X-----\n"
        );
        assert_eq!(block.header("B"), Some("3"));
        assert_eq!(
            Block::new("X", Vec::new()).to_pem(),
            "-----BEGIN X-----\n-----END X-----\n"
        );
    }

    #[test]
    fn what_is_no_block_is_passed_over() {
        let good = "-----BEGIN GOOD-----\nAAEC\n-----END GOOD-----\n";
        for bad in [
            "-----BEGIN BAD-----\nA!EC\n-----END BAD-----\n",
            "-----BEGIN BAD-----\nAAE\n-----END BAD-----\n",
            "-----BEGIN BAD-----\nA===\n-----END BAD-----\n",
            "-----BEGIN BAD-----\nAA=C\n-----END BAD-----\n",
            "-----BEGIN BAD-----\nAAEC\n-----END OTHER-----\n",
            "-----BEGIN BAD-----\nAAEC\n",
            "-----BEGIN BAD----\nAAEC\n-----END BAD-----\n",
            "x -----BEGIN BAD-----\nAAEC\n-----END BAD-----\n",
            "-----BEGIN BAD-----\nAAEC\n-----END BAD----- x\n",
            "hello\n",
        ] {
            assert_eq!(labels(&format!("{bad}{good}")), ["GOOD"], "{bad}");
            assert_eq!(labels(&format!("{good}{bad}")), ["GOOD"], "{bad}");
        }
        assert!(labels("").is_empty());
        assert!(labels("-----BEGIN X-----").is_empty());
        assert!(labels("-----BEGIN X-----\nA: b").is_empty());
        assert_eq!(
            blocks(b"\xff\xfe\n-----BEGIN X-----\nAAEC\n-----END X-----").count(),
            1
        );
    }

    /// Megabytes of beginnings are read in one pass: done the square way this would take minutes.
    #[test]
    fn beginnings_without_an_end_cost_no_more_than_their_length() {
        let many = "-----BEGIN X-----\n".repeat(200_000);
        assert!(labels(&many).is_empty());
        assert!(labels(&format!("{many}-----END Y-----\n")).is_empty());
        assert!(labels(&format!("{many}!\n-----END X-----\n")).is_empty());
        assert_eq!(labels(&format!("{many}AAEC\n-----END X-----\n")), ["X"]);
        let headers = "-----BEGIN X:-----\n".repeat(200_000);
        assert!(labels(&format!("{headers}-----END Y-----\n")).is_empty());
    }

    #[test]
    fn debug_output_shows_no_content() {
        let shown = format!("{:?}", Block::new("PRIVATE KEY", b"secret".to_vec()));
        assert_eq!(shown, "Block { label: \"PRIVATE KEY\", length: 6, .. }");
    }
}
