//! `/tyk/cache`: what is remembered of upstreams' answers, and of the keys of tokens, is forgotten.

use http::StatusCode;
use portcullis_store::{Engine, Signal, Signals, StoreError};

use super::answer::{self, Answer};

/// How many entries are removed at a time.
const BATCH: usize = 1000;

/// Forgets the answers of an API.
pub(super) async fn invalidate(engine: &Engine, api: &str) -> Answer {
    match remove(engine, api).await {
        Ok(()) => invalidated(),
        Err(error) => {
            tracing::error!(api_id = api, "the cache was not emptied: {error}");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            answer::error(status, "Cache invalidation failed")
        }
    }
}

/// Has every node fetch the keys of tokens anew.
pub(super) async fn forget_key_sets(signals: &Signals, api: &str) -> Answer {
    if let Err(error) = signals.send(&Signal::JwksDropped(api.to_owned())).await {
        tracing::warn!(
            api_id = api,
            "other nodes were not told to fetch the keys of tokens anew, they do so in their time: {error}"
        );
    }
    invalidated()
}

fn invalidated() -> Answer {
    answer::ok("cache invalidated")
}

async fn remove(engine: &Engine, api: &str) -> Result<(), StoreError> {
    let names = engine.keys_with_prefix(&format!("cache-{api}")).await?;
    for batch in names.chunks(BATCH) {
        engine.remove(batch).await?;
    }
    Ok(())
}
