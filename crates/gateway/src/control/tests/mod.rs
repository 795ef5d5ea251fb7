//! The Control API through [`ControlApi::handle`], on a real directory of definitions.

#![expect(
    clippy::needless_pass_by_value,
    reason = "bodies are written where they are sent"
)]

mod access;
mod apis;
mod certificates;
mod health;
mod inventory;
mod keys;
mod oas;
mod org_keys;
mod policies;

use std::{
    fs,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response};
use portcullis_apidef::parse_files;
use portcullis_config::{GatewayConfig, Resolver};
use serde_json::{Value, json};
use tempfile::TempDir;

use portcullis_store::{Embedded, Engine};

use super::{ControlApi, ControlRequest, LoadedSet, QuarantineEntry, Readiness, Runtime};
use crate::{
    definitions::Definitions, flight::FlightRecorder, links::Links, observe::Registry,
    policies::PolicyReader, stores::Stores,
};

const SECRET: &str = "not-the-default";

/// A gateway without traffic: its reloads read the directory, as the real one's do.
struct Node {
    dir: TempDir,
    api: ControlApi,
    runtime: Arc<Loader>,
    registry: Arc<Registry>,
    stores: Stores,
}

struct Loader {
    app_path: PathBuf,
    policies: Mutex<(PolicyReader, Resolver)>,
    loaded: Mutex<Arc<LoadedSet>>,
    readiness: Mutex<Readiness>,
    reloads: AtomicUsize,
    waited_for: AtomicUsize,
}

impl Loader {
    fn load(&self) {
        let read = Definitions::read(&self.app_path).unwrap();
        let files = parse_files(&read.files);
        let quarantine = files.iter().filter_map(|file| {
            let errors = file.result.as_ref().err()?;
            Some(QuarantineEntry {
                api_id: String::new(),
                name: String::new(),
                file: file.name.clone(),
                reason: errors[0].to_string(),
            })
        });
        let quarantine = quarantine.collect();
        let mut reader = self.policies.lock().unwrap();
        let (reader, resolver) = &mut *reader;
        let policies = reader.read(resolver);
        let mut loaded = self.loaded.lock().unwrap();
        *loaded = Arc::new(LoadedSet {
            generation: loaded.generation + 1,
            files: Arc::new(files),
            policies: policies.set,
            quarantine,
            closed: Vec::new(),
            doubtful_crls: Vec::new(),
        });
    }
}

impl Runtime for Loader {
    fn loaded(&self) -> Arc<LoadedSet> {
        self.loaded.lock().unwrap().clone()
    }
    fn readiness(&self) -> Readiness {
        *self.readiness.lock().unwrap()
    }
    fn request_reload(&self) {
        self.reloads.fetch_add(1, Ordering::Relaxed);
        self.load();
    }
    fn reload_and_wait(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.waited_for.fetch_add(1, Ordering::Relaxed);
            self.load();
        })
    }
}

impl Node {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// A node whose configuration is changed by `change`.
    fn with(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let app_path = dir.path().join("apps");
        fs::create_dir(&app_path).unwrap();
        let conf = dir.path().join("tyk.conf");
        let text = json!({ "secret": SECRET, "app_path": app_path });
        fs::write(&conf, text.to_string()).unwrap();
        let mut config = portcullis_config::load(Some(&conf), []).unwrap().config;
        change(&mut config);
        let runtime = Arc::new(Loader {
            app_path,
            policies: Mutex::new((
                PolicyReader::new(&config.definitions),
                Resolver::new(config.references.clone(), config.base.clone(), |_| None),
            )),
            loaded: Mutex::default(),
            readiness: Mutex::new(Readiness::Ready),
            reloads: AtomicUsize::new(0),
            waited_for: AtomicUsize::new(0),
        });
        let registry = Arc::new(Registry::new("0.0.0"));
        let data = Embedded::open(&dir.path().join("data")).unwrap();
        let stores = Stores::on(Engine::Embedded(data), &config);
        let links = Links::of_nothing(&config, &stores);
        let api = ControlApi::new(
            Arc::new(config),
            runtime.clone(),
            registry.clone(),
            stores.clone(),
            FlightRecorder::start(&tokio::runtime::Handle::current()).1,
            links,
        );
        Self {
            dir,
            api,
            runtime,
            registry,
            stores,
        }
    }

    /// With the secret.
    async fn ask(&self, method: Method, target: &str, body: impl ToString) -> Reply {
        let mut request = request(method, target, body);
        request
            .headers
            .insert("X-Tyk-Authorization", HeaderValue::from_static(SECRET));
        self.send(request).await
    }

    async fn get(&self, target: &str) -> Reply {
        self.ask(Method::GET, target, "").await
    }

    /// Without the secret.
    async fn stranger(&self, method: Method, target: &str) -> Reply {
        self.send(request(method, target, "")).await
    }

    async fn send(&self, request: ControlRequest) -> Reply {
        Reply(self.api.handle(request).await)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("apps").join(name)
    }

    fn write(&self, name: &str, text: impl ToString) {
        fs::write(self.path(name), text.to_string()).unwrap();
        self.runtime.load();
    }

    fn stored(&self, name: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path(name)).unwrap()).unwrap()
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("")).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn request(method: Method, target: &str, body: impl ToString) -> ControlRequest {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    ControlRequest {
        method,
        path: path.to_owned(),
        query,
        headers: HeaderMap::new(),
        body: Bytes::from(body.to_string()),
        peer: [127, 0, 0, 1].into(),
        tls: true,
        admitted: None,
        barred_leaf: None,
    }
}

/// An answer, taken apart.
struct Reply(Response<Bytes>);

impl Reply {
    fn status(&self) -> u16 {
        self.0.status().as_u16()
    }
    fn text(&self) -> &str {
        std::str::from_utf8(self.0.body()).unwrap()
    }
    fn json(&self) -> Value {
        serde_json::from_str(self.text()).unwrap()
    }
    fn header(&self, name: &str) -> &str {
        self.0
            .headers()
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
    /// Status and exact body.
    #[track_caller]
    fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status(), self.text()), (status, body));
    }
    /// Status and the error body with this message.
    #[track_caller]
    fn refuses(&self, status: u16, message: &str) {
        self.is(
            status,
            &format!("{{\"status\":\"error\",\"message\":{}}}\n", json!(message)),
        );
        assert_eq!(self.header("content-type"), "application/json");
    }
    /// The answer to a change.
    #[track_caller]
    fn says(&self, action: &str, id: &str) {
        self.is(
            200,
            &format!("{{\"key\":\"{id}\",\"status\":\"ok\",\"action\":\"{action}\"}}\n"),
        );
    }
}

fn classic(id: &str) -> Value {
    json!({
        "api_id": id, "name": "An API", "org_id": "default", "use_keyless": true, "active": true,
        "proxy": { "listen_path": format!("/{id}/"), "target_url": "http://upstream.test/", "strip_listen_path": true }
    })
}

fn oas(id: &str) -> Value {
    json!({
        "openapi": "3.0.3",
        "info": { "title": "An API", "version": "1" },
        "paths": { "/things": { "get": { "responses": { "200": { "description": "a > b & c" } } } } },
        "x-tyk-api-gateway": {
            "info": { "id": id, "name": "An API", "state": { "active": true } },
            "server": { "listenPath": { "value": format!("/{id}/"), "strip": true } },
            "upstream": { "url": "http://upstream.test/" }
        }
    })
}
