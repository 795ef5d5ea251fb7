//! Memory for bytes in flight, borrowed from the worker and given back when empty.
//!
//! A gateway holds far more connections than it has bytes in hand. So a connection owns no
//! buffer: it borrows a [`Chunk`] from its thread's pool when bytes arrive and the chunk goes
//! back the moment the last byte is consumed. An idle connection costs its socket and its
//! TLS state, nothing else.
//!
//! Invariants:
//! - The pool is per thread, so taking and giving back is a push or pop, never a lock.
//! - A pool keeps at most [`POOL_LIMIT`] chunks and output buffers; beyond that memory is freed.
//! - Bytes of one connection are never shown to another: readers see only `start..end`,
//!   which covers what was written since the chunk was borrowed.

use std::cell::RefCell;

/// Size of a [`Chunk`] in bytes: what one read of a busy socket may bring, and the upper bound of
/// a request head.
pub const CHUNK_SIZE: usize = 128 * 1024;

/// An output buffer larger than this goes back to the allocator instead of the pool.
const OUTPUT_KEEP: usize = 512 * 1024;

/// Buffers a thread keeps for reuse, of each kind.
const POOL_LIMIT: usize = 32;

thread_local! {
    static CHUNKS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
    static OUTPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes received and not yet consumed. Holds memory only while it is not empty.
#[derive(Default)]
pub struct Chunk {
    memory: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Chunk {
    /// An empty chunk; borrows nothing yet.
    pub const fn new() -> Self {
        Self {
            memory: None,
            start: 0,
            end: 0,
        }
    }

    /// True when there is nothing to consume.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Number of bytes to consume.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// The bytes to consume.
    pub fn data(&self) -> &[u8] {
        match &self.memory {
            Some(memory) => &memory[self.start..self.end],
            None => &[],
        }
    }

    /// Takes `n` bytes off the front; the memory goes back to the pool with the last one.
    ///
    /// # Panics
    /// When `n` is more than [`Chunk::len`].
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len(), "consumed more than was received");
        self.start += n;
        if self.start == self.end {
            self.release();
        }
    }

    /// Room behind the data, borrowing memory or moving the data to the front when needed.
    /// Empty only when the chunk is full.
    pub fn space(&mut self) -> &mut [u8] {
        let memory = self.memory.get_or_insert_with(|| {
            CHUNKS
                .with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| vec![0; CHUNK_SIZE].into_boxed_slice())
        });
        if self.end == memory.len() && self.start > 0 {
            memory.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut memory[self.end..]
    }

    /// Records that `n` bytes of [`Chunk::space`] were filled.
    ///
    /// # Panics
    /// When `n` is more than the space there was.
    pub fn filled(&mut self, n: usize) {
        let capacity = self.memory.as_ref().map_or(0, |m| m.len());
        assert!(self.end + n <= capacity, "filled more than the space");
        self.end += n;
    }

    /// Gives the memory back when there is no data in it.
    pub fn release_if_empty(&mut self) {
        if self.is_empty() {
            self.release();
        }
    }

    /// Puts bytes in front of everything else, as if they had just been received.
    /// Returns false, changing nothing, when they do not fit.
    pub fn prefill(&mut self, bytes: &[u8]) -> bool {
        let space = self.space();
        if space.len() < bytes.len() || !bytes.is_empty() && !self.is_empty() {
            self.release_if_empty();
            return false;
        }
        self.space()[..bytes.len()].copy_from_slice(bytes);
        self.filled(bytes.len());
        self.release_if_empty();
        true
    }

    fn release(&mut self) {
        self.start = 0;
        self.end = 0;
        if let Some(memory) = self.memory.take() {
            CHUNKS.with_borrow_mut(|pool| {
                if pool.len() < POOL_LIMIT {
                    pool.push(memory);
                }
            });
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.release();
    }
}

/// Bytes collected for one write. Holds memory only while it is not empty.
#[derive(Default)]
pub struct Output {
    bytes: Vec<u8>,
    sent: usize,
}

impl Output {
    /// An empty output; borrows nothing yet.
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            sent: 0,
        }
    }

    /// True when nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Bytes waiting to be sent.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// What waits to be sent.
    pub fn data(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.writer().extend_from_slice(bytes);
    }

    /// The vector to append to, borrowed from the pool when there was none.
    pub fn writer(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0
            && let Some(pooled) = OUTPUTS.with_borrow_mut(Vec::pop)
        {
            self.bytes = pooled;
        }
        &mut self.bytes
    }

    /// Records that the first `n` waiting bytes are on their way; memory goes back with the last.
    ///
    /// # Panics
    /// When `n` is more than [`Output::len`].
    pub fn sent(&mut self, n: usize) {
        assert!(n <= self.len(), "sent more than was waiting");
        self.sent += n;
        if self.is_empty() {
            self.release();
        }
    }

    /// Forgets everything that waits.
    pub fn clear(&mut self) {
        self.release();
    }

    fn release(&mut self) {
        self.sent = 0;
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() == 0 || bytes.capacity() > OUTPUT_KEEP {
            return;
        }
        bytes.clear();
        OUTPUTS.with_borrow_mut(|pool| {
            if pool.len() < POOL_LIMIT {
                pool.push(bytes);
            }
        });
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_holds_memory_only_while_it_holds_bytes() {
        let mut chunk = Chunk::new();
        chunk.space()[..3].copy_from_slice(b"abc");
        chunk.filled(3);
        chunk.consume(1);
        assert_eq!(chunk.data(), b"bc");
        chunk.consume(2);
        assert!(chunk.memory.is_none());
    }

    #[test]
    fn a_full_chunk_makes_room_by_moving_what_is_left_to_the_front() {
        let mut chunk = Chunk::new();
        let all = chunk.space().len();
        chunk.filled(all);
        assert!(chunk.space().is_empty());
        chunk.consume(all - 2);
        assert_eq!(chunk.space().len(), all - 2);
        assert_eq!(chunk.len(), 2);
    }

    #[test]
    fn an_output_sends_in_order_and_forgets_what_was_sent() {
        let mut output = Output::new();
        output.push(b"hello ");
        output.push(b"world");
        output.sent(6);
        assert_eq!(output.data(), b"world");
        output.sent(5);
        assert!(output.is_empty());
        assert_eq!(output.bytes.capacity(), 0);
    }
}
