//! Health: is the gateway alive, is it ready, and how its parts are.
//!
//! With the embedded store there is one part, `storage`: the store and the directory of definitions.
//! Traffic goes on without them, so they never make the gateway unready. With a Redis there is the part
//! `redis`, and `storage` only when the directory has failed; a gateway whose Redis is away is not ready,
//! as a Tyk gateway is not.

use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, StatusCode, header::ACCEPT};
use portcullis_store::Health as StoreHealth;
use serde::Serialize;
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
};

use super::{
    answer::{self, Answer},
    runtime::{LoadedSet, Readiness},
};

/// A part that has not answered by then has failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a part or the whole is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Pass,
    Warn,
    Fail,
}

/// One part.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    #[serde(skip)]
    name: &'static str,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    component_type: &'static str,
    time: String,
}

impl Component {
    /// A part that keeps data, and what is wrong with it.
    fn datastore(name: &'static str, failure: Option<String>) -> Self {
        Self {
            name,
            status: match failure {
                None => Status::Pass,
                Some(_) => Status::Fail,
            },
            output: failure,
            component_type: "datastore",
            time: now(),
        }
    }
}

/// Health of a gateway.
pub(super) struct Health {
    app_path: PathBuf,
    every: Duration,
    store: watch::Receiver<StoreHealth>,
    is_shared: bool,
    storage: Mutex<StorageCheck>,
}

/// The last look at the directory, and one that is still going on.
#[derive(Default)]
struct StorageCheck {
    last: Option<(Instant, Component)>,
    pending: Option<JoinHandle<std::io::Result<()>>>,
}

impl Health {
    /// Health of a gateway with this directory of definitions, looked at again after `every`, and this
    /// store, which is a Redis if `is_shared`.
    pub(super) fn new(
        app_path: PathBuf,
        every: Duration,
        store: watch::Receiver<StoreHealth>,
        is_shared: bool,
    ) -> Self {
        Self {
            app_path,
            every,
            store,
            is_shared,
            storage: Mutex::default(),
        }
    }

    /// `/hello`: 200 for as long as there is somebody to say it.
    pub(super) async fn live(&self, headers: &HeaderMap) -> Answer {
        report("Tyk GW", &self.components().await, headers)
    }

    /// `/ready`: 503 until the first snapshot is in force and from the signal to stop on.
    pub(super) async fn ready(
        &self,
        readiness: Readiness,
        loaded: &LoadedSet,
        headers: &HeaderMap,
    ) -> Answer {
        let unready = |message| answer::error(StatusCode::SERVICE_UNAVAILABLE, message);
        match readiness {
            Readiness::Draining => unready("Gateway is shutting down"),
            _ if self.is_shared && self.store_failure().is_some() => {
                unready("Redis connection not available")
            }
            Readiness::Starting => unready("A successful API reload did not happen"),
            Readiness::Ready => {
                let mut components = self.components().await;
                components.extend(quarantine(loaded));
                components.extend(closed(loaded));
                components.extend(doubtful_crls(loaded));
                report("Tyk GW Ready", &components, headers)
            }
        }
    }

    /// Why the store cannot be used, if so.
    fn store_failure(&self) -> Option<String> {
        match &*self.store.borrow() {
            StoreHealth::Up => None,
            StoreHealth::Down { reason } => Some(reason.clone()),
        }
    }

    /// What the gateway depends on.
    async fn components(&self) -> Vec<Component> {
        let mut storage = self.definitions().await;
        let store = self.store_failure();
        if self.is_shared {
            let mut components = vec![Component::datastore("redis", store)];
            if storage.status != Status::Pass {
                components.push(storage);
            }
            return components;
        }
        if let Some(reason) = store {
            let reasons = storage.output.into_iter().chain([reason]);
            let reasons = reasons.collect::<Vec<_>>().join("\n");
            storage = Component::datastore("storage", Some(reasons));
        }
        vec![storage]
    }

    /// The state of the directory of definitions, looked at when the last look is too old.
    async fn definitions(&self) -> Component {
        let mut check = self.storage.lock().await;
        if let Some((at, component)) = &check.last
            && at.elapsed() < self.every
        {
            return component.clone();
        }
        let app_path = self.app_path.clone();
        // One look at a time: a file system that hangs must not use up threads.
        let pending = check.pending.get_or_insert_with(|| {
            tokio::task::spawn_blocking(move || std::fs::read_dir(app_path).map(drop))
        });
        let failure = match tokio::time::timeout(PATIENCE, pending).await {
            Err(_) => Some("the directory of API definitions does not answer".to_owned()),
            Ok(result) => {
                check.pending = None;
                match result {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(format!(
                        "the directory of API definitions cannot be read: {error}"
                    )),
                    Err(error) => Some(error.to_string()),
                }
            }
        };
        let component = Component::datastore("storage", failure);
        check.last = Some((Instant::now(), component.clone()));
        component
    }
}

/// APIs that are not served as written, if there are any.
fn quarantine(loaded: &LoadedSet) -> Option<Component> {
    if loaded.quarantine.is_empty() {
        return None;
    }
    let reasons: Vec<String> = loaded
        .quarantine
        .iter()
        .map(|entry| {
            let name = if entry.api_id.is_empty() {
                &entry.file
            } else {
                &entry.api_id
            };
            format!("{name}: {}", entry.reason)
        })
        .collect();
    Some(Component {
        name: "quarantine",
        status: Status::Warn,
        output: Some(reasons.join("\n")),
        component_type: "system",
        time: now(),
    })
}

/// APIs whose allow list lets nobody pass, if there are any.
fn closed(loaded: &LoadedSet) -> Option<Component> {
    if loaded.closed.is_empty() {
        return None;
    }
    Some(Component {
        name: "allow_lists",
        status: Status::Warn,
        output: Some(format!(
            "nobody can pass: no usable entry in the allow list of {}",
            loaded.closed.join(", ")
        )),
        component_type: "system",
        time: now(),
    })
}

/// Revocation lists that are not as they should be, if there are any.
fn doubtful_crls(loaded: &LoadedSet) -> Option<Component> {
    if loaded.doubtful_crls.is_empty() {
        return None;
    }
    Some(Component {
        name: "revocation_lists",
        status: Status::Warn,
        output: Some(loaded.doubtful_crls.join("\n")),
        component_type: "system",
        time: now(),
    })
}

fn report(description: &str, components: &[Component], headers: &HeaderMap) -> Answer {
    let details: Map<String, Value> = components
        .iter()
        .map(|component| (component.name.to_owned(), json!(component)))
        .collect();
    let body = json!({
        "status": overall(components),
        "version": concat!("v", env!("CARGO_PKG_VERSION")),
        "description": description,
        "details": details,
    });
    let mut answer = answer::shown(&body);
    // Tyk's type, unless somebody knows the more precise one.
    let precise = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    if precise.is_some_and(|accept| accept.contains("application/health+json")) {
        answer = answer::with_header(
            answer,
            http::header::CONTENT_TYPE,
            "application/health+json",
        );
    }
    answer
}

/// The whole fails when every part does, and is doubtful when any is not well.
fn overall(components: &[Component]) -> Status {
    let all = |status| {
        !components.is_empty()
            && components
                .iter()
                .all(|component| component.status == status)
    };
    if all(Status::Fail) {
        Status::Fail
    } else if components
        .iter()
        .all(|component| component.status == Status::Pass)
    {
        Status::Pass
    } else {
        Status::Warn
    }
}

fn now() -> String {
    let now = OffsetDateTime::from(SystemTime::now());
    now.replace_nanosecond(0)
        .unwrap_or(now)
        .format(&Rfc3339)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(status: Status) -> Component {
        Component {
            name: "x",
            status,
            output: None,
            component_type: "datastore",
            time: now(),
        }
    }

    /// One failing part of several is a warning, all failing is a failure.
    #[test]
    fn the_whole_fails_only_when_every_part_does() {
        use Status::{Fail, Pass, Warn};
        let of = |statuses: &[Status]| {
            overall(&statuses.iter().map(|s| component(*s)).collect::<Vec<_>>())
        };
        assert_eq!(of(&[]), Pass);
        assert_eq!(of(&[Pass]), Pass);
        assert_eq!(of(&[Fail]), Fail);
        assert_eq!(of(&[Fail, Pass]), Warn);
        assert_eq!(of(&[Pass, Warn]), Warn);
        assert_eq!(of(&[Fail, Fail]), Fail);
    }

    #[tokio::test]
    async fn a_look_is_repeated_only_when_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let store = watch::Sender::new(StoreHealth::Up);
        let health = |every| Health::new(dir.path().to_owned(), every, store.subscribe(), false);
        let lasting = health(Duration::from_secs(600));
        let fleeting = health(Duration::ZERO);
        assert_eq!(lasting.definitions().await.status, Status::Pass);
        assert_eq!(fleeting.definitions().await.status, Status::Pass);
        drop(dir);
        assert_eq!(lasting.definitions().await.status, Status::Pass);
        let failed = fleeting.definitions().await;
        assert_eq!(failed.status, Status::Fail);
        assert!(failed.output.unwrap().contains("cannot be read"));
    }

    /// The embedded store is part of `storage` and stops no traffic.
    #[tokio::test]
    async fn an_embedded_store_that_fails_is_told_and_the_gateway_is_ready() {
        let dir = tempfile::tempdir().unwrap();
        let store = watch::Sender::new(StoreHealth::Up);
        let every = Duration::from_secs(600);
        let health = Health::new(dir.path().to_owned(), every, store.subscribe(), false);
        let ready = async || {
            let loaded = LoadedSet::default();
            let answer = health
                .ready(Readiness::Ready, &loaded, &HeaderMap::new())
                .await;
            (
                answer.status().as_u16(),
                serde_json::from_slice::<Value>(answer.body()).unwrap(),
            )
        };
        assert_eq!(ready().await.1["status"], "pass");
        store.send_replace(StoreHealth::Down {
            reason: "no room".to_owned(),
        });
        let (status, body) = ready().await;
        assert_eq!((status, &body["status"]), (200, &json!("fail")));
        assert_eq!(body["details"]["storage"]["output"], "no room");
        store.send_replace(StoreHealth::Up);
        assert_eq!(ready().await.1["status"], "pass");
    }

    /// ST-76
    #[tokio::test]
    async fn a_gateway_whose_redis_is_away_is_alive_and_not_ready() {
        let dir = tempfile::tempdir().unwrap();
        let store = watch::Sender::new(StoreHealth::Up);
        let health = Health::new(
            dir.path().to_owned(),
            Duration::ZERO,
            store.subscribe(),
            true,
        );
        let (loaded, headers) = (LoadedSet::default(), HeaderMap::new());
        let body = |answer: &Answer| serde_json::from_slice::<Value>(answer.body()).unwrap();
        let hello = body(&health.live(&headers).await);
        assert_eq!(
            (
                &hello["status"],
                hello["details"].as_object().unwrap().len()
            ),
            (&json!("pass"), 1)
        );
        assert_eq!(hello["details"]["redis"]["componentType"], "datastore");

        store.send_replace(StoreHealth::Down {
            reason: "refused".to_owned(),
        });
        let hello = health.live(&headers).await;
        assert_eq!(hello.status(), StatusCode::OK);
        let hello = body(&hello);
        assert_eq!(
            (&hello["status"], &hello["details"]["redis"]["status"]),
            (&json!("fail"), &json!("fail"))
        );
        assert_eq!(hello["details"]["redis"]["output"], "refused");
        for readiness in [Readiness::Starting, Readiness::Ready] {
            let ready = health.ready(readiness, &loaded, &headers).await;
            assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(body(&ready)["message"], "Redis connection not available");
        }
        let other = Component::datastore("dashboard", None);
        let away = Component::datastore("redis", Some("refused".to_owned()));
        assert_eq!(overall(&[away, other]), Status::Warn);
        let draining = health.ready(Readiness::Draining, &loaded, &headers).await;
        assert_eq!(body(&draining)["message"], "Gateway is shutting down");

        // A directory that has failed is a part of its own, for as long as it has.
        store.send_replace(StoreHealth::Up);
        drop(dir);
        let hello = body(&health.live(&headers).await);
        assert_eq!(hello["status"], "warn");
        assert_eq!(hello["details"]["storage"]["status"], "fail");
    }
}
