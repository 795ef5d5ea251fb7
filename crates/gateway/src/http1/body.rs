//! Message bodies: where one ends, and what of the bytes at hand belongs to it.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::head::MAX_FIELDS;

/// How a message says where its body ends (RFC 9112, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; zero is "no body".
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
    /// Everything until the connection ends (responses only).
    UntilEnd,
}

/// What the bytes at hand mean.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Framing took the first `skip` bytes, the next `length` bytes are content. The caller
    /// consumes both and tells [`BodyDecoder::took`] the content it consumed.
    Content {
        /// Bytes of framing before the content.
        skip: usize,
        /// Bytes of content, at least one.
        length: usize,
    },
    /// Framing took the first `skip` bytes; more must arrive.
    More {
        /// Bytes of framing.
        skip: usize,
    },
    /// The body ended after `skip` bytes.
    End {
        /// Bytes of framing up to the end of the message.
        skip: usize,
    },
}

/// Why a body cannot be read; the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// A chunk size or its line end is malformed.
    #[error("malformed chunk")]
    Chunk,
    /// The trailers are malformed or too large.
    #[error("malformed trailers")]
    Trailers,
    /// The connection ended before the body did.
    #[error("body cut short")]
    Cut,
}

/// Finds the content of one message's body in the bytes as they arrive.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    trailers: Option<Box<HeaderMap>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Content bytes left of a known length.
    Length(u64),
    /// Until the connection ends.
    UntilEnd,
    /// At the start of a chunk-size line.
    Size,
    /// Content bytes left of a chunk.
    InChunk(u64),
    /// At the CRLF behind a chunk's content.
    ChunkEnd,
    /// In the trailer section.
    Trailers,
    /// The message is over.
    Ended,
}

/// Longest chunk-size line, extensions included.
const MAX_SIZE_LINE: usize = 256;

/// Largest trailer section in bytes.
const MAX_TRAILERS: usize = 8 * 1024;

impl BodyDecoder {
    /// A decoder at the start of a body.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Ended,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
            Framing::UntilEnd => State::UntilEnd,
        };
        Self {
            state,
            trailers: None,
        }
    }

    /// True when the body is over.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// The trailers, once the body is over.
    pub fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.trailers.take()
    }

    /// What the bytes at hand mean.
    ///
    /// # Errors
    /// [`BodyError::Chunk`], [`BodyError::Trailers`].
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, BodyError> {
        let mut skip = 0;
        loop {
            let rest = &bytes[skip..];
            match self.state {
                State::Ended => return Ok(Decoded::End { skip }),
                _ if rest.is_empty() => return Ok(Decoded::More { skip }),
                State::UntilEnd => {
                    return Ok(Decoded::Content {
                        skip,
                        length: rest.len(),
                    });
                }
                State::Length(left) | State::InChunk(left) => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    return Ok(Decoded::Content { skip, length });
                }
                State::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        skip += 2;
                        self.state = State::Size;
                    }
                    [b'\r'] => return Ok(Decoded::More { skip }),
                    _ => return Err(BodyError::Chunk),
                },
                State::Size => match size_line(rest)? {
                    None => return Ok(Decoded::More { skip }),
                    Some((0, line)) => {
                        skip += line;
                        self.state = State::Trailers;
                    }
                    Some((size, line)) => {
                        skip += line;
                        self.state = State::InChunk(size);
                    }
                },
                State::Trailers => match trailers(rest)? {
                    None => return Ok(Decoded::More { skip }),
                    Some((fields, length)) => {
                        skip += length;
                        self.trailers = fields;
                        self.state = State::Ended;
                    }
                },
            }
        }
    }

    /// Records that `n` bytes of content were consumed.
    pub fn took(&mut self, n: usize) {
        let n = n as u64;
        self.state = match self.state {
            State::Length(left) if left <= n => State::Ended,
            State::Length(left) => State::Length(left - n),
            State::InChunk(left) if left <= n => State::ChunkEnd,
            State::InChunk(left) => State::InChunk(left - n),
            other => other,
        };
    }

    /// The connection ended.
    ///
    /// # Errors
    /// [`BodyError::Cut`] unless that is how this body ends.
    pub fn connection_ended(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Ended => Ok(()),
            State::UntilEnd => {
                self.state = State::Ended;
                Ok(())
            }
            _ => Err(BodyError::Cut),
        }
    }
}

/// Size of the chunk and length of its line, `None` when the line is not complete.
fn size_line(bytes: &[u8]) -> Result<Option<(u64, usize)>, BodyError> {
    let window = &bytes[..bytes.len().min(MAX_SIZE_LINE)];
    let Some(lf) = memchr::memchr(b'\n', window) else {
        return if bytes.len() >= MAX_SIZE_LINE {
            Err(BodyError::Chunk)
        } else {
            Ok(None)
        };
    };
    let Some(line) = window[..lf].strip_suffix(b"\r") else {
        return Err(BodyError::Chunk);
    };
    let (size, extension) = match memchr::memchr(b';', line) {
        Some(at) => (&line[..at], &line[at..]),
        None => (line, &[][..]),
    };
    let no_controls = extension
        .iter()
        .all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f);
    if size.is_empty() || size.len() > 15 || !size.iter().all(u8::is_ascii_hexdigit) || !no_controls
    {
        return Err(BodyError::Chunk);
    }
    let value = size
        .iter()
        .fold(0u64, |value, digit| value << 4 | u64::from(hex(*digit)));
    Ok(Some((value, lf + 1)))
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

/// Trailer fields and the section's length, `None` when it is not complete.
#[expect(clippy::type_complexity, reason = "a private pair, read once")]
fn trailers(bytes: &[u8]) -> Result<Option<(Option<Box<HeaderMap>>, usize)>, BodyError> {
    if bytes.starts_with(b"\r\n") {
        return Ok(Some((None, 2)));
    }
    let window = &bytes[..bytes.len().min(MAX_TRAILERS)];
    let Some(end) = memchr::memmem::find(window, b"\r\n\r\n") else {
        let bare = memchr::memchr_iter(b'\n', window).any(|at| at == 0 || window[at - 1] != b'\r');
        return if bare || bytes.len() >= MAX_TRAILERS {
            Err(BodyError::Trailers)
        } else {
            Ok(None)
        };
    };
    let section = &window[..end + 4];
    if memchr::memchr_iter(b'\n', section).any(|at| at == 0 || section[at - 1] != b'\r') {
        return Err(BodyError::Trailers);
    }
    let mut parsed = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let Ok(httparse::Status::Complete((length, fields))) =
        httparse::parse_headers(section, &mut parsed)
    else {
        return Err(BodyError::Trailers);
    };
    if length != section.len() {
        return Err(BodyError::Trailers);
    }
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name =
            HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BodyError::Trailers)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| BodyError::Trailers)?;
        map.append(name, value);
    }
    Ok(Some((Some(Box::new(map)), length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in pieces of `step` and returns the content.
    fn read(
        framing: Framing,
        bytes: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, Option<Box<HeaderMap>>), BodyError> {
        let mut decoder = BodyDecoder::new(framing);
        let (mut held, mut content) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(step) {
            held.extend_from_slice(piece);
            loop {
                match decoder.decode(&held)? {
                    Decoded::Content { skip, length } => {
                        content.extend_from_slice(&held[skip..skip + length]);
                        held.drain(..skip + length);
                        decoder.took(length);
                    }
                    Decoded::More { skip } => {
                        held.drain(..skip);
                        break;
                    }
                    Decoded::End { .. } => return Ok((content, decoder.take_trailers())),
                }
            }
        }
        decoder.connection_ended()?;
        Ok((content, None))
    }

    #[test]
    fn chunks_are_joined_however_they_arrive() {
        let text = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n";
        for step in 1..=text.len() {
            let (content, trailers) = read(Framing::Chunked, text, step).expect("valid");
            assert_eq!(content, b"hello world", "{step}");
            assert_eq!(trailers.expect("trailers")["x-sum"], "1", "{step}");
        }
    }

    #[test]
    fn bad_chunks_are_refused() {
        for text in [
            "5\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "-5\r\nhello\r\n0\r\n\r\n",
            "\r\nhello\r\n0\r\n\r\n",
            "10000000000000000\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "5;a=\x01\r\nhello\r\n0\r\n\r\n",
        ] {
            assert_eq!(
                read(Framing::Chunked, text.as_bytes(), 64),
                Err(BodyError::Chunk),
                "{text:?}"
            );
        }
        for text in ["0\r\nA: b\n\r\n", "0\r\n: b\r\n\r\n", "0\r\nA : b\r\n\r\n"] {
            assert_eq!(
                read(Framing::Chunked, text.as_bytes(), 64),
                Err(BodyError::Trailers),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_body_cut_short_is_an_error_unless_the_end_is_the_frame() {
        assert_eq!(read(Framing::Length(5), b"hell", 9), Err(BodyError::Cut));
        assert_eq!(read(Framing::Chunked, b"5\r\nhell", 9), Err(BodyError::Cut));
        assert_eq!(
            read(Framing::UntilEnd, b"hell", 9).expect("valid").0,
            b"hell"
        );
    }
}
