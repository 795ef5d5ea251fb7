//! `GET /tyk/certs/inventory`, an endpoint of ours.

use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use portcullis_config::GatewayConfig;
use portcullis_store::StoreError;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    answer::{self, Answer},
    parameter,
    runtime::LoadedSet,
    writing::Query,
};
use crate::{
    inventory::{Known, Loss, Source, UsedBy, collect, one, organisation},
    stores::Stores,
};

/// The answer.
#[derive(Serialize)]
struct Page {
    certificates: Vec<Row>,
}

/// One certificate.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    source: Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    subject: String,
    issuer: String,
    dns_names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_left: Option<i64>,
    is_ca: bool,
    has_private: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    used_by: Vec<UsedBy>,
    without_it: Vec<Loss>,
    #[serde(skip_serializing_if = "Option::is_none")]
    when_it_expires: Option<String>,
}

/// Answers.
pub(super) async fn answer(
    config: &GatewayConfig,
    loaded: &LoadedSet,
    stores: &Stores,
    query: &Query,
) -> Answer {
    let expiring = match parameter(query, "expiring").map(str::parse::<i64>) {
        None => None,
        Some(Ok(days)) if days >= 0 => Some(days),
        Some(_) => {
            let message = "expiring must be a number of days, such as expiring=30";
            return answer::error(StatusCode::BAD_REQUEST, message);
        }
    };
    match page(config, loaded, stores, query, expiring).await {
        Ok(page) => answer::shown(&page),
        Err(error) => {
            tracing::error!("the inventory of certificates cannot be made: {error}");
            answer::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
        }
    }
}

async fn page(
    config: &GatewayConfig,
    loaded: &LoadedSet,
    stores: &Stores,
    query: &Query,
    expiring: Option<i64>,
) -> Result<Page, StoreError> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
    let org = parameter(query, "org_id").unwrap_or_default();
    let known = match parameter(query, "id") {
        Some(id) => Vec::from_iter(one(config, loaded, stores, id).await?),
        None => collect(config, loaded, stores.certificates(), org).await?,
    };
    let certificates = known
        .into_iter()
        .filter(|known| belongs(known, org))
        .map(|known| Row::of(known, now))
        .filter(|row| expiring.is_none_or(|days| row.days_left.is_some_and(|left| left < days)))
        .collect();
    Ok(Page { certificates })
}

/// Whether a certificate is an organisation's: its entries of the store.
fn belongs(known: &Known, org: &str) -> bool {
    org.is_empty() || matches!(&known.source, Source::Store { id } if organisation(id) == Some(org))
}

impl Row {
    fn of(known: Known, now: i64) -> Self {
        let facts = known.facts;
        let in_use = !known.used_by.is_empty();
        let not_after = facts.as_ref().map(|facts| date(facts.not_after));
        let when_it_expires = not_after.as_ref().filter(|_| in_use).map(|date| {
            let users: Vec<String> = known.used_by.iter().map(ToString::to_string).collect();
            format!(
                "from {date} on, whoever verifies certificates refuses it; it is used by {}",
                users.join(", ")
            )
        });
        Self {
            source: known.source,
            fingerprint: facts.as_ref().map(|facts| facts.fingerprint.to_string()),
            not_before: facts.as_ref().map(|facts| date(facts.not_before)),
            not_after,
            days_left: facts.as_ref().map(|facts| facts.days_left(now)),
            is_ca: facts.as_ref().is_some_and(|facts| facts.is_ca),
            has_private: known.has_private,
            problem: known.problem,
            used_by: known.used_by,
            without_it: known.losses,
            when_it_expires,
            subject: facts
                .as_ref()
                .map_or(String::new(), |facts| facts.subject_cn.clone()),
            issuer: facts
                .as_ref()
                .map_or(String::new(), |facts| facts.issuer_cn.clone()),
            dns_names: facts.map_or_else(Vec::new, |facts| facts.dns_names),
        }
    }
}

/// RFC 3339, UTC.
fn date(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_default()
}
