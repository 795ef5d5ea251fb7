//! HTTP/1 framing, read strictly.
//!
//! What two programs on the way read differently is how requests are smuggled. So where RFC 9112
//! leaves a choice, this engine takes the strict one: what is ambiguous is refused with 400 and the
//! connection ends. It does no I/O; it is fed bytes and says what they mean, which is also how it
//! is fuzzed. The tokens of a head are found by `httparse`; everything that decides framing is here.
//!
//! Refused: Transfer-Encoding together with Content-Length, more than one of either, any coding but
//! `chunked`, a Content-Length that is not digits, bare LF anywhere, folded lines, white space
//! around field names, chunk sizes that are not plain hex, missing or repeated Host.

pub mod body;
pub mod head;
pub mod message;

pub use body::{BodyDecoder, Decoded, Framing};
pub use head::{HeadError, RequestHead, ResponseHead};
