//! Counters that are kept in the store: rates that nodes count together, and quotas.
//!
//! What a request needs is asked at once, so it waits for one round trip. When its rate refuses it, the
//! place it took in its quota is given back.

use std::time::{Duration, SystemTime};

use portcullis_policy::Throttle;
use portcullis_store::{Engine, StoreError, Window};

use super::refusal::Refused;

/// What is to be counted for a request.
#[derive(Debug, Clone, Default)]
pub struct Counting {
    /// The key's rate.
    pub rate: Option<Rate>,
    /// What a request over that rate does.
    pub throttle: Option<Throttle>,
    /// The key's quota.
    pub quota: Option<Quota>,
    /// The API's rate.
    pub api_rate: Option<Rate>,
    /// The API's rate is counted on this node, after the others have let the request pass.
    pub api_rate_here: Option<u64>,
}

/// A rate counted by all nodes together.
#[derive(Debug, Clone)]
pub struct Rate {
    /// Name of the counter.
    pub name: String,
    /// Seconds.
    pub per: f64,
    /// Requests in them.
    pub most: u64,
}

/// A quota.
#[derive(Debug, Clone)]
pub struct Quota {
    /// Name of the counter.
    pub name: String,
    /// Requests.
    pub most: i64,
    /// When it starts anew, `None` for never.
    pub renewal: Option<Duration>,
}

/// What is left of a quota, as responses tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaLeft {
    /// Requests in all.
    pub most: i64,
    /// Requests left.
    pub remaining: i64,
    /// Unix seconds at which it starts anew; 0 for never.
    pub renews: i64,
}

impl Counting {
    /// Nothing is to be counted.
    pub fn is_empty(&self) -> bool {
        self.rate.is_none() && self.quota.is_none() && self.api_rate.is_none()
    }
}

/// Where requests are counted.
#[derive(Clone, Copy)]
pub struct Counters<'a> {
    /// The connection for rates.
    pub rates: &'a Engine,
    /// The connection for quotas.
    pub quotas: &'a Engine,
    /// The request that uses a rate up blocks it for its whole time, with a marker other nodes see.
    pub blocks: bool,
}

/// Counts a request: whether it may pass, and what is left of its quota.
///
/// # Errors
/// When the store does not answer: whether it may pass is not known.
pub async fn count(
    counters: Counters<'_>,
    counting: &Counting,
    now: SystemTime,
) -> Result<Result<Option<QuotaLeft>, Refused>, StoreError> {
    let (rate, quota, api_rate) = tokio::join!(
        slide(counters, counting.rate.as_ref(), now),
        increase(counters.quotas, counting.quota.as_ref()),
        slide(counters, counting.api_rate.as_ref(), now),
    );
    let (rate, api_rate) = (rate?, api_rate?);
    if !rate {
        if let (Some(wanted), Ok(Some(_))) = (&counting.quota, &quota) {
            counters
                .quotas
                .count(&wanted.name, -1, wanted.renewal)
                .await?;
        }
        return Ok(Err(Refused::Rate));
    }
    let left = match (&counting.quota, quota?) {
        (Some(wanted), Some(counted)) => {
            if counted.value > wanted.most {
                return Ok(Err(Refused::Quota));
            }
            let unix = now
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            let renews = counted.renews_in.map_or(0, |after| {
                i64::try_from((unix + after).as_secs()).unwrap_or(i64::MAX)
            });
            Some(QuotaLeft {
                most: wanted.most,
                remaining: wanted.most - counted.value,
                renews,
            })
        }
        _ => None,
    };
    if !api_rate {
        return Ok(Err(Refused::ApiRate));
    }
    Ok(Ok(left))
}

async fn slide(
    counters: Counters<'_>,
    rate: Option<&Rate>,
    now: SystemTime,
) -> Result<bool, StoreError> {
    let Some(rate) = rate else { return Ok(true) };
    let window = Window {
        per: Duration::try_from_secs_f64(rate.per).unwrap_or(Duration::MAX),
        most: rate.most,
        blocks: counters.blocks,
    };
    let slide = counters.rates.slide(&rate.name, now, window).await?;
    Ok(slide.allowed)
}

async fn increase(
    engine: &Engine,
    quota: Option<&Quota>,
) -> Result<Option<portcullis_store::Count>, StoreError> {
    match quota {
        Some(quota) => engine.count(&quota.name, 1, quota.renewal).await.map(Some),
        None => Ok(None),
    }
}
