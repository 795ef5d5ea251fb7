//! The thread on which snapshots are built and taken apart.
//!
//! Invariants:
//! - What it does, it does one after the other.
//! - It gives way to everybody who serves, but for what has to be in effect at once.

use tokio::sync::oneshot;

use crate::engine::Loader;

/// A thread of its own for the loader, which runs when nobody who serves wants the core: building
/// or taking apart thousands of APIs takes tens of milliseconds, and a request should not wait for
/// them. Its share grows with the time that traffic leaves.
pub struct LoaderThread(std::sync::mpsc::Sender<Job>);

type Job = Box<dyn FnOnce(&mut Loader) + Send>;

impl LoaderThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(mut loader: Loader) -> std::io::Result<Self> {
        let (sender, jobs) = std::sync::mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || {
                give_way();
                while let Ok(job) = jobs.recv() {
                    // A defect costs one reload, not all that follow.
                    let run = std::panic::AssertUnwindSafe(|| job(&mut loader));
                    let _ = std::panic::catch_unwind(run);
                }
            })?;
        Ok(Self(sender))
    }

    /// Has something done; `None` when doing it panicked.
    pub async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Loader) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.tell(move |loader| {
            // Whoever asked waits, or is gone with the process.
            let _ = answer.send(work(loader));
        });
        answered.await.ok()
    }

    /// Has something short done without giving way; `None` when doing it panicked.
    pub async fn ask_at_once<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Loader) -> T + Send + 'static,
    ) -> Option<T> {
        self.ask(|loader| {
            let _pressed = Pressed::until_dropped();
            work(loader)
        })
        .await
    }

    /// Has something done that nobody waits for.
    pub fn tell(&self, work: impl FnOnce(&mut Loader) + Send + 'static) {
        // The thread lives as long as this sender.
        let _ = self.0.send(Box::new(work));
    }
}

/// While it lives, this thread runs like any other.
struct Pressed;

impl Pressed {
    fn until_dropped() -> Self {
        compete();
        Self
    }
}

impl Drop for Pressed {
    fn drop(&mut self) {
        give_way();
    }
}

/// Lets every other thread go first (`SCHED_IDLE`). Where the system does not allow it, the work is
/// done all the same.
fn give_way() {
    #[cfg(target_os = "linux")]
    schedule(thread_priority::NormalThreadSchedulePolicy::Idle);
}

/// Lets this thread have its share again.
fn compete() {
    #[cfg(target_os = "linux")]
    schedule(thread_priority::NormalThreadSchedulePolicy::Other);
}

#[cfg(target_os = "linux")]
fn schedule(policy: thread_priority::NormalThreadSchedulePolicy) {
    use thread_priority::{
        ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
    };
    let policy = ThreadSchedulePolicy::Normal(policy);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
}
