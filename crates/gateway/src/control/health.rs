//! Health: is the gateway alive, is it ready, and how its parts are.
//!
//! With the embedded store, what can fail is the directory of definitions: it is the part
//! `storage`. Traffic does not depend on it, so it never makes the gateway unready.

use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, StatusCode, header::ACCEPT};
use serde::Serialize;
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{sync::Mutex, task::JoinHandle};

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

/// Health of a gateway.
pub(super) struct Health {
    app_path: PathBuf,
    every: Duration,
    storage: Mutex<StorageCheck>,
}

/// The last look at the directory, and one that is still going on.
#[derive(Default)]
struct StorageCheck {
    last: Option<(Instant, Component)>,
    pending: Option<JoinHandle<std::io::Result<()>>>,
}

impl Health {
    /// Health of a gateway with this directory of definitions, looked at again after `every`.
    pub(super) fn new(app_path: PathBuf, every: Duration) -> Self {
        Self {
            app_path,
            every,
            storage: Mutex::default(),
        }
    }

    /// `/hello`: 200 for as long as there is somebody to say it.
    pub(super) async fn live(&self, headers: &HeaderMap) -> Answer {
        report("Tyk GW", &[self.storage().await], headers)
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
            Readiness::Starting => unready("A successful API reload did not happen"),
            Readiness::Ready => {
                let mut components = vec![self.storage().await];
                components.extend(quarantine(loaded));
                report("Tyk GW Ready", &components, headers)
            }
        }
    }

    /// The state of the embedded store, looked at when the last look is too old.
    async fn storage(&self) -> Component {
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
        let component = Component {
            name: "storage",
            status: if failure.is_none() {
                Status::Pass
            } else {
                Status::Fail
            },
            output: failure,
            component_type: "datastore",
            time: now(),
        };
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
        let lasting = Health::new(dir.path().to_owned(), Duration::from_secs(600));
        let fleeting = Health::new(dir.path().to_owned(), Duration::ZERO);
        assert_eq!(lasting.storage().await.status, Status::Pass);
        assert_eq!(fleeting.storage().await.status, Status::Pass);
        drop(dir);
        assert_eq!(lasting.storage().await.status, Status::Pass);
        let failed = fleeting.storage().await;
        assert_eq!(failed.status, Status::Fail);
        assert!(failed.output.unwrap().contains("cannot be read"));
    }
}
