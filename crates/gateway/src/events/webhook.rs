//! Calls webhooks: real HTTP and HTTPS, again after a while when a receiver is away.
//!
//! Invariants:
//! - A call ends: every attempt has a time limit, and their number is bounded.
//! - What `external_services.webhooks` asks for is there, or nobody is called.
//! - Within a webhook's cool-down the same event is told it once, by all nodes of a store together; an
//!   event that never arrived does not count.
//! - What a receiver's address, fields and answers hold never gets into a log.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use openssl::hash::{MessageDigest, hash};
use portcullis_store::{Condition, Engine, Lifetime};

use super::{certificate::CertificateFacts, event::Event, handlers::Hook};
use crate::{
    observe::Outcome,
    services::{CallError, Client},
};

/// How long after each failed attempt the next one is made.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// How a webhook says that it did not take an event.
enum Failed {
    /// It may take it later.
    Passing(String),
    /// It will not.
    Lasting(String),
}

/// Whoever calls webhooks.
pub struct Caller {
    engine: Engine,
    client: Client,
}

impl Caller {
    /// A caller that remembers in a store what was told.
    pub fn new(engine: Engine, client: Client) -> Self {
        Self { engine, client }
    }

    /// Tells a webhook of an event.
    pub async fn tell(&self, hook: &Hook, event: &Event) -> Outcome {
        let (webhook, kind) = (hook.label.as_str(), event.kind.name());
        let claim = hook
            .cooldown
            .map(|cooldown| (remembered_as(hook, event), cooldown));
        if let Some((name, cooldown)) = &claim
            && !self.is_first(name, *cooldown).await
        {
            tracing::debug!(webhook, event = kind, "webhook knows already");
            return Outcome::Suppressed;
        }
        let body = Bytes::from(hook.body(event));
        let mut pauses = PAUSES.iter();
        let reason = loop {
            let reason = match attempt(&self.client, hook, body.clone()).await {
                Ok(()) => return Outcome::Delivered,
                Err(Failed::Lasting(reason)) => break reason,
                Err(Failed::Passing(reason)) => reason,
            };
            let Some(pause) = pauses.next() else {
                break reason;
            };
            tracing::info!(webhook, event = kind, again_in = ?pause, "webhook did not take the event: {reason}");
            tokio::time::sleep(*pause).await;
        };
        tracing::error!(
            webhook,
            event = kind,
            api_id = event.api_id,
            certificate = event.certificate().map(CertificateFacts::masked_id),
            "webhook was not told, and will not be told of this again: {reason}"
        );
        if let Some((name, _)) = claim {
            // Where the store is away, the next such event is suppressed for the cool-down.
            let _ = self.engine.remove(&[name]).await;
        }
        Outcome::Failed
    }

    /// Whether nobody has told it within the cool-down. A store that is away keeps nobody from being told.
    async fn is_first(&self, name: &str, cooldown: Duration) -> bool {
        let lifetime = Lifetime::For(cooldown);
        let claimed = self
            .engine
            .set(
                name,
                Bytes::from_static(b"1"),
                lifetime,
                Condition::IfAbsent,
            )
            .await;
        claimed.unwrap_or_else(|error| {
            tracing::warn!(%error, "whether a webhook was told before is not known; it is told");
            true
        })
    }
}

/// The store's name for the fact that a webhook was told of an event: of what the event is about, not of
/// the body, whose wording changes by the hour. The receiver belongs to it, so that two webhooks of one
/// event are both told.
fn remembered_as(hook: &Hook, event: &Event) -> String {
    let text = format!("{}|{} {}", event.identity(), hook.method, hook.address);
    let digest = hash(MessageDigest::md5(), text.as_bytes());
    let digits: String = match &digest {
        Ok(digest) => digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        // A library that refuses MD5 altogether; then no other node has such names either.
        Err(_) => {
            let digest = openssl::sha::sha256(text.as_bytes());
            digest[..16]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        }
    };
    format!("webhook.cache.{digits}")
}

async fn attempt(client: &Client, hook: &Hook, body: Bytes) -> Result<(), Failed> {
    let mut request = Request::new(body);
    *request.method_mut() = hook.method.clone();
    *request.uri_mut() = hook.address.clone();
    request.headers_mut().clone_from(&hook.fields);
    let answer = client.call(request).await.map_err(|error| match error {
        CallError::Settings(reason) => Failed::Lasting(format!(
            "mTLS configuration failed for webhooks. Webhook delivery will be skipped to maintain \
             security: {reason}"
        )),
        CallError::TooLarge { .. } => Failed::Lasting(error.to_string()),
        CallError::Way(_) | CallError::Slow { .. } | CallError::Broken { .. } => {
            Failed::Passing(error.to_string())
        }
    })?;
    let status = answer.status;
    match status.as_u16() {
        200..300 => Ok(()),
        408 | 425 | 429 | 500.. => Err(Failed::Passing(format!("it answers {}", status.as_u16()))),
        300..400 => Err(Failed::Lasting(format!(
            "it answers {}, and webhooks do not follow redirections; give its final address",
            status.as_u16()
        ))),
        status => Err(Failed::Lasting(format!("it answers {status}"))),
    }
}
