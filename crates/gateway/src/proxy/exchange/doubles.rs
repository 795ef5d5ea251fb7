//! A client and an upstream for tests: each does what its fields say.

use std::{
    future::Future,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::HeaderMap;

use super::{Bounds, Client, Patience, Upstream};
use crate::{
    http1::Framing,
    proxy::{client::ClientError, upstream::UpstreamError, view::ResponseView},
    timers::{Deadline, Timers},
};

/// A client.
pub struct TestClient {
    /// Its request is over; else it never goes on with it.
    pub asked: bool,
    /// So much of the response it takes, and no more.
    pub takes: usize,
    /// The status it was told.
    pub status: u16,
    /// What it took.
    pub got: Vec<u8>,
}

/// An upstream.
pub struct TestUpstream {
    /// The status it answers with, at once.
    pub status: u16,
    /// What it answers with.
    pub body: &'static [u8],
    /// Nothing more comes; else it is waited for.
    pub ends: bool,
}

impl TestClient {
    /// One that has asked and takes so much.
    pub fn taking(takes: usize) -> Self {
        Self {
            asked: true,
            takes,
            status: 0,
            got: Vec::new(),
        }
    }
}

impl Client for TestClient {
    fn poll_content(&mut self, _: &mut Context<'_>) -> Poll<Result<bool, ClientError>> {
        match self.asked {
            true => Poll::Ready(Ok(false)),
            false => Poll::Pending,
        }
    }

    fn content(&self) -> &[u8] {
        &[]
    }

    fn took(&mut self, _: usize) {}

    fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        None
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn begin(&mut self, view: &ResponseView<'_>) -> Result<(), ClientError> {
        self.status = view.status;
        Ok(())
    }

    fn poll_send(
        &mut self,
        _: &mut Context<'_>,
        content: &[u8],
    ) -> Poll<Result<usize, ClientError>> {
        let n = content.len().min(self.takes);
        if n == 0 {
            return Poll::Pending;
        }
        self.takes -= n;
        self.got.extend_from_slice(&content[..n]);
        Poll::Ready(Ok(n))
    }

    fn end(&mut self, _: Option<HeaderMap>) -> Result<(), ClientError> {
        Ok(())
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }
}

impl Upstream for TestUpstream {
    fn poll_send(
        &mut self,
        _: &mut Context<'_>,
        content: &[u8],
    ) -> Poll<Result<usize, UpstreamError>> {
        Poll::Ready(Ok(content.len()))
    }

    fn end(&mut self, _: Option<HeaderMap>) -> Result<(), UpstreamError> {
        Ok(())
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_head<R>(
        &mut self,
        _: &mut Context<'_>,
        on_head: impl FnOnce(&ResponseView<'_>) -> R,
    ) -> Poll<Result<R, UpstreamError>> {
        Poll::Ready(Ok(on_head(&ResponseView {
            status: self.status,
            reason: "",
            fields: &HeaderMap::new(),
            framing: Framing::UntilEnd,
        })))
    }

    fn poll_content(&mut self, _: &mut Context<'_>) -> Poll<Result<bool, UpstreamError>> {
        match (self.body.is_empty(), self.ends) {
            (false, _) => Poll::Ready(Ok(true)),
            (true, true) => Poll::Ready(Ok(false)),
            (true, false) => Poll::Pending,
        }
    }

    fn content(&self) -> &[u8] {
        self.body
    }

    fn took(&mut self, n: usize) {
        self.body = &self.body[n..];
    }

    fn take_trailers(&mut self) -> Option<HeaderMap> {
        None
    }
}

/// Little patience.
pub const BRIEF: Patience = Patience {
    head: Duration::from_millis(1),
    total: None,
    stall: Duration::from_millis(1),
};

/// No bounds.
pub const FREE: Bounds = Bounds {
    request_body: 0,
    switch: false,
    forwarded: false,
    login_field: None,
};

/// Runs `work` where deadlines pass.
pub fn timed<F: Future>(work: impl FnOnce(Instant, Deadline) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let timers = Timers::new();
        let sweeper = timers.clone();
        tokio::task::spawn_local(async move { sweeper.sweep().await });
        work(Instant::now(), timers.never()).await
    })
}
