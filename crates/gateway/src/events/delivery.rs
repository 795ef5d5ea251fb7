//! From an event to those who hear of it.
//!
//! Log lines are written at once. Webhooks go through a queue to a task that calls several at a time, so
//! that one receiver that is away does not hold up the others.
//!
//! Invariant: [`Deliveries::fire`] never waits; what finds no room is dropped, counted and said.

use std::sync::Arc;

use portcullis_store::Engine;
use tokio::sync::{Semaphore, mpsc};

use super::{
    CertificateFacts, Event, Handlers,
    handlers::{Action, Hook},
    webhook::Caller,
};
use crate::{
    observe::{EventCounters, Outcome},
    services::Client,
};

/// Calls that wait.
const WAITING: usize = 256;

/// Calls at a time, pauses between attempts included.
const AT_A_TIME: usize = 16;

/// Tells handlers of events.
pub struct Deliveries {
    waiting: mpsc::Sender<Call>,
    counters: Arc<EventCounters>,
}

struct Call {
    hook: Arc<Hook>,
    event: Arc<Event>,
}

impl Deliveries {
    /// Starts the task that calls webhooks, on the runtime this is called on.
    pub fn start(client: Client, engine: Engine, counters: Arc<EventCounters>) -> Self {
        let caller = Arc::new(Caller::new(engine, client));
        let (waiting, mut calls) = mpsc::channel::<Call>(WAITING);
        let room = Arc::new(Semaphore::new(AT_A_TIME));
        let shared = counters.clone();
        tokio::spawn(async move {
            while let Ok(permit) = room.clone().acquire_owned().await {
                let Some(call) = calls.recv().await else {
                    return;
                };
                let (caller, counters) = (caller.clone(), shared.clone());
                tokio::spawn(async move {
                    let outcome = Box::pin(caller.tell(&call.hook, &call.event)).await;
                    counters.webhook(outcome);
                    drop(permit);
                });
            }
        });
        Self { waiting, counters }
    }

    /// Tells everybody who hears of this event.
    pub fn fire(&self, event: Event, handlers: &Handlers) {
        self.counters.fired(event.kind);
        let event = Arc::new(event);
        for action in handlers.of(event.kind) {
            match action {
                Action::Log(prefix) => {
                    let colon = if prefix.is_empty() { "" } else { ": " };
                    tracing::warn!(
                        prefix = "events",
                        event = event.kind.name(),
                        api_id = event.api_id,
                        cert_id = event.certificate().map(CertificateFacts::masked_id),
                        cert_role = event.certificate().map(|told| told.role),
                        "{prefix}{colon}{}",
                        event.message
                    );
                    self.counters.logged();
                }
                Action::Webhook(hook) => {
                    let call = Call {
                        hook: hook.clone(),
                        event: event.clone(),
                    };
                    if self.waiting.try_send(call).is_err() {
                        tracing::error!(
                            webhook = hook.label,
                            event = event.kind.name(),
                            "webhook is not told: {WAITING} calls are waiting already"
                        );
                        self.counters.webhook(Outcome::Dropped);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use portcullis_apidef::{EventKind, parse_classic};
    use portcullis_config::BasePaths;
    use portcullis_store::Embedded;
    use serde_json::json;

    use super::*;
    use crate::{
        observe::Registry,
        services::{Service, services_on},
    };

    /// On a runtime of one thread nobody takes from the queue before the test awaits.
    #[tokio::test]
    async fn what_finds_no_room_is_dropped_and_counted_and_nobody_waits() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::Embedded(Embedded::open(dir.path()).unwrap());
        // It accepts no connection and gives no answer.
        let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = format!("http://{}/", receiver.local_addr().unwrap());
        let definition = json!({
            "api_id": "a", "use_keyless": true,
            "proxy": {"listen_path": "/", "target_url": "http://up.test"},
            "event_handlers": {"events": {"CertificateExpired": [
                {"handler_name": "eh_web_hook_handler",
                 "handler_meta": {"method": "POST", "target_path": target}},
            ]}},
        });
        let api = parse_classic(definition.to_string().as_bytes())
            .unwrap()
            .api;
        let base = BasePaths {
            working_dir: dir.path().to_owned(),
            config_dir: dir.path().to_owned(),
        };
        let handlers = Handlers::prepare(&api, &base, &mut Vec::new());
        let registry = Registry::new("1");
        let client = services_on(dir.path(), &engine)
            .client(Service::Webhooks)
            .clone();
        let deliveries = Deliveries::start(client, engine, registry.events());
        for _ in 0..WAITING + 3 {
            deliveries.fire(Event::sample(EventKind::CertificateExpired), &handlers);
        }
        let page = registry.render();
        let name = "portcullis_event_deliveries_total";
        let dropped = format!("{name}{{handler=\"webhook\",outcome=\"dropped\"}} 3\n");
        assert!(page.contains(&dropped), "{page}");
    }
}
