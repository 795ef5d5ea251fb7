//! Bytes moved both ways once HTTP is over: switched protocols and raw TCP services.
//!
//! Each side is read only when the other has taken what was read before. The end of one side is
//! passed on as the end of the other's input, so a half-closed connection keeps answering.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll, ready},
};

use portcullis_tls::buffer::Chunk;

use crate::transport::Transport;

/// Bytes moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// From the first side to the second.
    pub up: u64,
    /// From the second side to the first.
    pub down: u64,
}

/// One direction.
struct Direction {
    held: Chunk,
    moved: u64,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Moving,
    Ending,
    Ended,
}

/// Moves bytes until both sides have ended or one fails. `early` are bytes read from either side
/// before.
///
/// # Errors
/// What the failing side says; what was moved until then is lost to the caller.
pub async fn relay(
    client: &mut Transport,
    client_early: Chunk,
    upstream: &mut Transport,
    upstream_early: Chunk,
) -> io::Result<Moved> {
    let mut up = Direction::new(client_early);
    let mut down = Direction::new(upstream_early);
    poll_fn(|cx| {
        let up_done = up.poll(cx, client, upstream)?.is_ready();
        let down_done = down.poll(cx, upstream, client)?.is_ready();
        if up_done && down_done {
            return Poll::Ready(Ok(Moved {
                up: up.moved,
                down: down.moved,
            }));
        }
        Poll::Pending
    })
    .await
}

impl Direction {
    fn new(held: Chunk) -> Self {
        Self {
            held,
            moved: 0,
            state: State::Moving,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Transport,
        to: &mut Transport,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(to.poll_finish(cx))?;
                    self.state = State::Ended;
                }
                State::Moving if !self.held.is_empty() => {
                    let n = ready!(to.poll_push(cx, self.held.data()))?;
                    self.held.consume(n);
                    self.moved += n as u64;
                }
                State::Moving => match from.poll_fill(cx, &mut self.held) {
                    Poll::Ready(Ok(0)) => self.state = State::Ending,
                    Poll::Ready(Ok(_)) => {}
                    // A TLS peer that leaves without goodbye has still left.
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        self.state = State::Ending;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        ready!(to.poll_flush(cx))?;
                        return Poll::Pending;
                    }
                },
            }
        }
    }
}
