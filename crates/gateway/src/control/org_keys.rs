//! `/tyk/org/keys`: limits of whole organisations.

use bytes::Bytes;
use http::StatusCode;
use portcullis_apidef::session::Session;
use portcullis_store::{Sessions, StoreError};
use serde::Serialize;
use time::OffsetDateTime;

use super::{
    answer::{self, Answer},
    endpoint::OrganisationCall,
    parameter,
    runtime::LoadedSet,
    writing::Query,
};

/// Answers a call. `org` is empty where the path has none.
pub(super) async fn answer(
    call: OrganisationCall,
    sessions: &Sessions,
    loaded: &LoadedSet,
    org: &str,
    query: &Query,
    body: &Bytes,
) -> Answer {
    let result = match call {
        OrganisationCall::List => list(sessions, loaded, query).await,
        OrganisationCall::Show => show(sessions, org).await,
        OrganisationCall::Delete => delete(sessions, org).await,
        OrganisationCall::Add => return store(sessions, loaded, org, query, body, "added").await,
        OrganisationCall::Replace => {
            return store(sessions, loaded, org, query, body, "modified").await;
        }
    };
    result.unwrap_or_else(|error| {
        tracing::error!("the Control API cannot use the store of organisations: {error}");
        answer::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
    })
}

async fn list(
    sessions: &Sessions,
    loaded: &LoadedSet,
    query: &Query,
) -> Result<Answer, StoreError> {
    #[derive(Serialize)]
    struct List {
        keys: Vec<String>,
    }
    if loaded.parsed().next().is_none() {
        return Ok(answer::error(StatusCode::NOT_FOUND, "ORG not found"));
    }
    let filter = parameter(query, "filter").unwrap_or_default();
    let keys = sessions.organisations(filter).await?;
    Ok(answer::shown(&List { keys }))
}

async fn show(sessions: &Sessions, org: &str) -> Result<Answer, StoreError> {
    Ok(match sessions.organisation(org).await? {
        Some(session) => answer::shown(&session),
        None => answer::error(StatusCode::NOT_FOUND, "Org not found"),
    })
}

async fn delete(sessions: &Sessions, org: &str) -> Result<Answer, StoreError> {
    if !sessions.remove_organisation(org).await? {
        return Ok(answer::error(StatusCode::NOT_FOUND, "Org not found"));
    }
    tracing::info!(org, "organisation key removed");
    Ok(answer::changed(org, "deleted"))
}

async fn store(
    sessions: &Sessions,
    loaded: &LoadedSet,
    org: &str,
    query: &Query,
    body: &Bytes,
    action: &str,
) -> Answer {
    let mut session = match Session::from_json(body) {
        Ok(session) => session,
        Err(error) => {
            tracing::warn!(org, "Control API: a session was refused: {error}");
            return answer::error(StatusCode::BAD_REQUEST, "Request malformed");
        }
    };
    let has_api = loaded.parsed().any(|(_, parsed)| parsed.api.org_id == org);
    if !has_api && sessions.identity().suppress_default_org_store {
        let message = "No such organisation found in Active API list";
        return answer::error(StatusCode::NOT_FOUND, message);
    }
    let written = async {
        if parameter(query, "reset_quota") == Some("1") {
            sessions.reset_organisation_quota(org).await?;
            let now = OffsetDateTime::now_utc().unix_timestamp();
            session.quota_renews = now.saturating_add(session.quota_renewal_rate);
        }
        sessions.save_organisation(org, &session).await
    };
    match written.await {
        Ok(()) => {
            tracing::info!(org, "organisation key stored");
            answer::changed(org, action)
        }
        Err(error) => {
            tracing::error!(org, "organisation key not stored: {error}");
            let message = format!("Error writing to key store {error}");
            answer::error(StatusCode::INTERNAL_SERVER_ERROR, &message)
        }
    }
}
