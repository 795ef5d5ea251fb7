//! A body whose pieces come one at a time.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Body, Bytes, Frame};
use tokio::time::{Interval, MissedTickBehavior};

/// Pieces of a body, one each time an interval passes; the first comes at once.
pub struct Paced {
    pieces: Box<dyn Iterator<Item = String> + Send>,
    interval: Interval,
}

impl Paced {
    /// A body of these pieces.
    pub fn new(every: Duration, pieces: impl Iterator<Item = String> + Send + 'static) -> Self {
        let mut interval = tokio::time::interval(every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            pieces: Box::new(pieces),
            interval,
        }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::ready!(self.interval.poll_tick(context));
        let piece = self.pieces.next();
        Poll::Ready(piece.map(|piece| Ok(Frame::data(Bytes::from(piece)))))
    }
}
