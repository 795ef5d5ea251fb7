//! Deadlines of a worker, cheap enough to set several for each request.
//!
//! A runtime timer costs a lock and a place in a wheel; a request that finishes in
//! microseconds would pay for deadlines it never comes near. Here setting one writes a number,
//! waiting for one registers a slot the first time something is really waited for, and one
//! task a worker looks through the slots every [`TICK`]. Deadlines are therefore late by up to a tick, never early.
//!
//! Invariants:
//! - Nothing here is shared between threads.
//! - A slot lives as long as its [`Deadline`]; the sweep sleeps while there are none.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use slab::Slab;
use tokio::sync::Notify;

/// How often due deadlines are looked for.
pub const TICK: Duration = Duration::from_millis(50);

/// All deadlines of one worker.
pub struct Timers {
    slots: RefCell<Slab<Slot>>,
    wake_sweep: Notify,
    sweeping: Cell<bool>,
}

struct Slot {
    at: Option<Instant>,
    /// Ends at once when the worker drains: nobody is in the middle of anything.
    idle: bool,
    /// Set by the sweep, so that waiting never asks the clock.
    passed: bool,
    waker: Waker,
}

/// A point in time somebody may wait for, and move.
pub struct Deadline {
    timers: Rc<Timers>,
    at: Option<Instant>,
    idle: bool,
    key: Option<usize>,
}

/// A deadline passed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl Timers {
    /// No deadlines yet. [`Timers::sweep`] must run for any to fire.
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            slots: RefCell::new(Slab::new()),
            wake_sweep: Notify::new(),
            sweeping: Cell::new(false),
        })
    }

    /// A deadline that never passes until it is set.
    pub fn never(self: &Rc<Self>) -> Deadline {
        Deadline {
            timers: self.clone(),
            at: None,
            idle: false,
            key: None,
        }
    }

    /// Runs `work` until it is done or `after` has passed.
    ///
    /// # Errors
    /// [`Elapsed`].
    pub async fn within<F: Future>(
        self: &Rc<Self>,
        after: Duration,
        work: F,
    ) -> Result<F::Output, Elapsed> {
        self.never().limit(after, work).await
    }

    /// Like [`Timers::within`] for a wait in which nothing is going on: it also ends, as elapsed,
    /// when the worker drains.
    ///
    /// # Errors
    /// [`Elapsed`].
    pub async fn while_idle<F: Future>(
        self: &Rc<Self>,
        after: Duration,
        work: F,
    ) -> Result<F::Output, Elapsed> {
        self.never().limit_idle(after, work).await
    }

    /// Ends every idle wait now.
    pub fn end_idle(&self) {
        for (_, slot) in self
            .slots
            .borrow_mut()
            .iter_mut()
            .filter(|(_, slot)| slot.idle)
        {
            slot.passed = true;
            slot.waker.wake_by_ref();
        }
    }

    /// Wakes whoever waits for a deadline that has passed; runs as long as the worker.
    pub async fn sweep(&self) {
        loop {
            if self.slots.borrow().is_empty() {
                self.sweeping.set(false);
                self.wake_sweep.notified().await;
            }
            self.sweeping.set(true);
            tokio::time::sleep(TICK).await;
            let now = Instant::now();
            for (_, slot) in self.slots.borrow_mut().iter_mut() {
                if slot.at.is_some_and(|at| at <= now) {
                    slot.passed = true;
                    slot.waker.wake_by_ref();
                }
            }
        }
    }
}

impl Deadline {
    /// Moves the deadline to `after` from `now`.
    pub fn set(&mut self, now: Instant, after: Duration) {
        self.arm(now, after, false);
    }

    /// Moves the deadline to `after` from `now`; it also passes when the worker drains.
    pub fn set_idle(&mut self, now: Instant, after: Duration) {
        self.arm(now, after, true);
    }

    /// Ready once the deadline has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Elapsed> {
        let mut slots = self.timers.slots.borrow_mut();
        let Some(key) = self.key else {
            self.key = Some(slots.insert(Slot {
                at: self.at,
                idle: self.idle,
                passed: false,
                waker: cx.waker().clone(),
            }));
            drop(slots);
            if !self.timers.sweeping.replace(true) {
                self.timers.wake_sweep.notify_one();
            }
            return Poll::Pending;
        };
        let slot = &mut slots[key];
        if slot.passed {
            return Poll::Ready(Elapsed);
        }
        if !slot.waker.will_wake(cx.waker()) {
            slot.waker = cx.waker().clone();
        }
        Poll::Pending
    }

    /// Runs `work` until it is done or `after` has passed since it first had to wait.
    ///
    /// # Errors
    /// [`Elapsed`].
    pub async fn limit<F: Future>(
        &mut self,
        after: Duration,
        work: F,
    ) -> Result<F::Output, Elapsed> {
        self.limited(after, false, work).await
    }

    /// Like [`Deadline::limit`] for a wait in which nothing is going on: it also ends, as elapsed,
    /// when the worker drains.
    ///
    /// # Errors
    /// [`Elapsed`].
    pub async fn limit_idle<F: Future>(
        &mut self,
        after: Duration,
        work: F,
    ) -> Result<F::Output, Elapsed> {
        self.limited(after, true, work).await
    }

    async fn limited<F: Future>(
        &mut self,
        after: Duration,
        idle: bool,
        work: F,
    ) -> Result<F::Output, Elapsed> {
        let mut work = pin!(work);
        let mut armed = false;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if !std::mem::replace(&mut armed, true) {
                self.arm(Instant::now(), after, idle);
            }
            self.poll(cx).map(Err)
        })
        .await
    }

    /// Runs `work` until it is done or the deadline, wherever it was set, has passed.
    ///
    /// # Errors
    /// [`Elapsed`].
    pub async fn guard<F: Future>(&mut self, work: F) -> Result<F::Output, Elapsed> {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll(cx).map(Err),
        })
        .await
    }

    fn arm(&mut self, now: Instant, after: Duration, idle: bool) {
        self.at = now.checked_add(after);
        self.idle = idle;
        if let Some(key) = self.key {
            let slot = &mut self.timers.slots.borrow_mut()[key];
            (slot.at, slot.idle, slot.passed) = (self.at, idle, false);
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.timers.slots.borrow_mut().remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_worker<F: Future>(work: impl FnOnce(Rc<Timers>) -> F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let timers = Timers::new();
            let sweeper = timers.clone();
            tokio::task::spawn_local(async move { sweeper.sweep().await });
            work(timers).await
        })
    }

    #[test]
    fn work_that_finishes_in_time_registers_nothing() {
        on_worker(|timers| async move {
            assert_eq!(
                timers.within(Duration::from_secs(9), async { 7 }).await,
                Ok(7)
            );
            assert!(timers.slots.borrow().is_empty());
        });
    }

    #[test]
    fn work_that_never_finishes_ends_with_its_deadline_and_frees_its_slot() {
        on_worker(|timers| async move {
            let forever = std::future::pending::<()>();
            assert_eq!(
                timers.within(Duration::from_millis(1), forever).await,
                Err(Elapsed)
            );
            assert!(timers.slots.borrow().is_empty());
        });
    }

    #[test]
    fn draining_ends_idle_waits_and_leaves_busy_ones_alone() {
        on_worker(|timers| async move {
            let far = Duration::from_secs(3600);
            let idle = timers.while_idle(far, std::future::pending::<()>());
            let mut busy = pin!(timers.within(far, std::future::pending::<()>()));
            let mut idle = pin!(idle);
            let first = std::future::poll_fn(|cx| {
                assert!(busy.as_mut().poll(cx).is_pending());
                assert!(idle.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            });
            first.await;
            timers.end_idle();
            assert_eq!(idle.await, Err(Elapsed));
            std::future::poll_fn(|cx| {
                assert!(busy.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        });
    }
}
