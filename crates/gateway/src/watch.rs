//! Open exchanges of clients that may lose the right to them while they last: a download, a WebSocket, a
//! relayed connection.
//!
//! Every exchange that an allow list or a key let in is noted while it is open. One task a worker asks
//! again, a few times a second, what let it in: the lists that are in force now, of who may pass and of who
//! was revoked, the certificate's validity, the key. Between requests nothing is noted; the next request is checked as every request is.
//!
//! Invariants:
//! - An exchange ends within a second after a list in force, or the key in the store as signals tell of
//!   it, no longer lets its client pass; without signals, within [`READ_AGAIN`] and that second.
//! - A store that is away ends nothing: what it said last counts.
//! - Looking touches no lock and no storage; what has to be read is asked of the control side.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use slab::Slab;

use crate::{
    access::{
        certificate::{self, Came},
        live::LiveSession,
        refusal::Refused,
    },
    clients,
    proxy::view::Peer,
    snapshot::{RunningApi, Service, Snapshot},
    worker::Worker,
};

/// How often open exchanges are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How long a key is not read again that nobody said had changed.
const READ_AGAIN: Duration = Duration::from_secs(30);

/// The exchanges of one worker.
#[derive(Default)]
pub struct Watch {
    open: RefCell<Slab<Open>>,
    begun: Cell<u64>,
}

/// What let an exchange in.
#[derive(Clone)]
pub struct Admission {
    /// The client.
    pub peer: Rc<Peer>,
    /// The API, whose list was asked if it has one.
    pub api: Arc<RunningApi>,
    /// The key.
    pub session: Option<Arc<LiveSession>>,
}

/// The client has lost the right to the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked;

struct Open {
    admission: Admission,
    /// Tells this exchange from one that had its place before.
    number: u64,
    /// When its key was read, or when it was first looked at.
    read: Option<Instant>,
    reading: bool,
    revoked: bool,
    waker: Option<Waker>,
}

impl Admission {
    /// What let an exchange in; `None` where nothing did that could be taken away.
    pub fn of(
        peer: &Rc<Peer>,
        api: &Arc<RunningApi>,
        session: Option<&Arc<LiveSession>>,
    ) -> Option<Self> {
        (api.clients.is_some() || session.is_some()).then(|| Self {
            peer: peer.clone(),
            api: api.clone(),
            session: session.cloned(),
        })
    }
}

impl Watch {
    /// Runs an exchange until it is over or its client has lost the right to it.
    ///
    /// # Errors
    /// [`Revoked`]; the exchange has been dropped where it stood.
    pub async fn until_revoked<F: Future>(
        &self,
        admission: Option<Admission>,
        mut exchange: Pin<&mut F>,
    ) -> Result<F::Output, Revoked> {
        let Some(admission) = admission else {
            return Ok(exchange.await);
        };
        let place = self.note(admission);
        poll_fn(|cx| {
            if place.is_revoked(cx.waker()) {
                return Poll::Ready(Err(Revoked));
            }
            exchange.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    fn note(&self, admission: Admission) -> Place<'_> {
        let number = self.begun.get();
        self.begun.set(number + 1);
        let key = self.open.borrow_mut().insert(Open {
            admission,
            number,
            // Nobody asks the clock on a request's way.
            read: None,
            reading: false,
            revoked: false,
            waker: None,
        });
        Place { watch: self, key }
    }

    fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// Ends every exchange that a list or a key no longer lets pass; those whose key has to be read.
    fn look(&self, snapshot: &Snapshot, now: Instant) -> Vec<(usize, u64, Arc<LiveSession>)> {
        let mut to_read = Vec::new();
        for (key, open) in &mut *self.open.borrow_mut() {
            if open.revoked {
                continue;
            }
            if let Err(reason) = still_admitted(&open.admission, snapshot) {
                open.revoke(&reason);
                continue;
            }
            let Some(session) = &open.admission.session else {
                continue;
            };
            let read = *open.read.get_or_insert(now);
            if !open.reading && (session.is_stale() || now - read >= READ_AGAIN) {
                open.reading = true;
                to_read.push((key, open.number, session.clone()));
            }
        }
        to_read
    }

    /// Takes in what reading a key gave.
    fn has_read(&self, key: usize, number: u64, reading: Reading) {
        let mut all = self.open.borrow_mut();
        let Some(open) = all.get_mut(key).filter(|open| open.number == number) else {
            return;
        };
        open.reading = false;
        match reading {
            Reading::Session(session) => {
                open.read = Some(Instant::now());
                open.admission.session = Some(session);
            }
            Reading::Gone => open.revoke("its key is gone"),
            Reading::Unknown => {}
        }
    }
}

/// What reading a key again gave.
pub enum Reading {
    /// It is there.
    Session(Arc<LiveSession>),
    /// It is not, or cannot be used.
    Gone,
    /// The store did not say.
    Unknown,
}

impl Open {
    fn revoke(&mut self, reason: &str) {
        let Admission { peer, api, session } = &self.admission;
        let leaf = peer
            .client
            .as_ref()
            .map(|client| client.fingerprint().to_string());
        tracing::warn!(
            prefix = "access",
            client = %peer.address,
            api_id = %api.api.id,
            org_id = %api.api.org_id,
            certificate = leaf.as_deref(),
            key = session.as_ref().map(|session| session.masked.as_str()),
            "open exchange ended: {reason}"
        );
        self.revoked = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// An exchange's place; free again when dropped.
struct Place<'w> {
    watch: &'w Watch,
    key: usize,
}

impl Place<'_> {
    /// True once the exchange has to end; until then `waker` is woken when it has to.
    fn is_revoked(&self, waker: &Waker) -> bool {
        let mut all = self.watch.open.borrow_mut();
        let Some(open) = all.get_mut(self.key) else {
            return false;
        };
        if !open
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            open.waker = Some(waker.clone());
        }
        open.revoked
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.watch.open.borrow_mut().try_remove(self.key);
    }
}

/// Whether what let an exchange in lets it in by a snapshot, as far as it can be told at once.
fn still_admitted(admission: &Admission, snapshot: &Snapshot) -> Result<(), String> {
    let Admission { peer, api, session } = admission;
    // An API that is gone is judged as it was.
    let current = snapshot
        .ports
        .get(&peer.listener)
        .and_then(|port| match &*port.service {
            Service::Http(service) => service.versions.get(&api.api.id),
            Service::Tcp { apis, .. } => apis.get(&api.api.id),
        })
        .unwrap_or(api);
    clients::admit_to(current, peer).map_err(|barred| barred.detail())?;
    if let Some(session) = session {
        let right = session
            .access
            .right(&api.api.id, &api.api.org_id, clients::unix_now());
        right.map_err(|denial| Refused::from(denial).to_string())?;
        certificate::still_in_order(current, session, Came::by(peer).leaf())
            .map_err(|refused| refused.to_string())?;
    }
    Ok(())
}

/// Looks at the open exchanges of a worker for as long as it runs.
pub async fn keep(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(LOOK).await;
        if worker.watch.is_empty() {
            continue;
        }
        let held = worker.snapshot();
        for (key, number, session) in worker.watch.look(&held.snapshot, Instant::now()) {
            let (worker, policies) = (worker.clone(), held.snapshot.policies.clone());
            tokio::task::spawn_local(async move {
                let reading = worker.access.read_again(&session, &policies).await;
                worker.watch.has_read(key, number, reading);
            });
        }
    }
}
