//! `/tyk/cache`: what is remembered of upstreams' answers is forgotten.

use http::StatusCode;
use portcullis_store::{Engine, StoreError};

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

/// Says that nothing is remembered any more.
pub(super) fn invalidated() -> Answer {
    answer::ok("cache invalidated")
}

async fn remove(engine: &Engine, api: &str) -> Result<(), StoreError> {
    let names = engine.keys_with_prefix(&format!("cache-{api}")).await?;
    for batch in names.chunks(BATCH) {
        engine.remove(batch).await?;
    }
    Ok(())
}
