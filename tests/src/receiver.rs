//! Receivers of webhooks, and what it takes for one to be called: an API whose list holds a certificate that
//! ends, and a request that meets the list.

use std::sync::{Arc, Mutex, PoisonError};

use openssl::ssl::SslAcceptor;
use portcullis_pki::make::Pair;
use serde_json::{Value, json};

use crate::{
    echo::Echo,
    gateway::{Gateway, api, with},
    mtls::call,
    upstream::{Talk, Upstream},
    wait::eventually,
    wire::Message,
};

/// A receiver of webhooks.
pub struct Receiver {
    /// What it runs on.
    pub server: Upstream,
    got: Arc<Mutex<Vec<Message>>>,
}

impl Receiver {
    /// In clear text on a free port.
    pub fn start() -> Self {
        Self::on(0)
    }

    /// In clear text on this port.
    pub fn on(port: u16) -> Self {
        Self::with(|script| Upstream::start_on(port, script))
    }

    /// Behind TLS.
    pub fn tls(acceptor: SslAcceptor) -> Self {
        Self::with(|script| Upstream::start_tls(acceptor, script))
    }

    fn with(start: impl FnOnce(Box<dyn Fn(&mut Talk) + Send + Sync>) -> Upstream) -> Self {
        let got: Arc<Mutex<Vec<Message>>> = Arc::default();
        let shared = got.clone();
        let server = start(Box::new(move |talk| {
            while let Some(request) = talk.request() {
                let mut got = shared.lock().unwrap_or_else(PoisonError::into_inner);
                got.push(request);
                drop(got);
                talk.answer("thanks");
            }
        }));
        Self { server, got }
    }

    /// Its address, with something secret in it.
    pub fn url(&self) -> String {
        format!("{}/hook?token=secret", self.server.url())
    }

    /// What it was told so far.
    pub fn got(&self) -> Vec<Message> {
        let got = self.got.lock().unwrap_or_else(PoisonError::into_inner);
        got.clone()
    }

    /// Its messages once there are so many.
    ///
    /// # Panics
    /// When they do not come.
    pub fn wait(&self, count: usize) -> Vec<Message> {
        eventually("the webhook is called", || self.got().len() >= count);
        self.got()
    }
}

/// What Classic definitions call a webhook.
pub fn webhook(url: &str, more: Value) -> Value {
    let meta = with(json!({"method": "POST", "target_path": url}), more);
    json!({"handler_name": "eh_web_hook_handler", "handler_meta": meta})
}

/// What Classic definitions call a line in the log.
pub fn log(prefix: &str) -> Value {
    json!({"handler_name": "eh_log_handler", "handler_meta": {"prefix": prefix}})
}

/// An API whose list has these certificates, and whose handlers hear of both events.
pub fn watched(name: &str, echo: &Echo, clients: &[&Pair], handlers: &[Value]) -> Value {
    let entries: Vec<String> = clients.iter().map(|pair| pair.certificate_pem()).collect();
    with(
        api(name, &format!("/{name}/"), &echo.url()),
        json!({
            "use_mutual_tls_auth": true, "client_certificates": entries,
            "event_handlers": {"events": {
                "CertificateExpiringSoon": handlers, "CertificateExpired": handlers,
            }},
        }),
    )
}

fn metric(gateway: &Gateway, series: &str) -> u64 {
    let page = gateway.control("/metrics").expect(200).text();
    let start = format!("{series} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&start));
    line.and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no {series} in {page}"))
}

/// Events of a kind so far.
pub fn fired(gateway: &Gateway, event: &str) -> u64 {
    metric(
        gateway,
        &format!("portcullis_events_total{{event=\"{event}\"}}"),
    )
}

/// Calls of webhooks that ended like this so far.
pub fn webhooks(gateway: &Gateway, outcome: &str) -> u64 {
    let labels = format!("handler=\"webhook\",outcome=\"{outcome}\"");
    metric(
        gateway,
        &format!("portcullis_event_deliveries_total{{{labels}}}"),
    )
}

/// A request that meets the list, after which the list is looked at.
///
/// # Panics
/// When the request is refused.
pub fn use_and_look(gateway: &Gateway, client: &Pair, path: &str) {
    assert_eq!(call(gateway).with(&[client]).get(path).status(), 200);
    gateway.reload();
}
