//! Portcullis: `portcullis gateway` with one worker and Classic API definitions from files; with many
//! certificates, they are in its embedded store.

use std::fs;
use std::path::Path;

use portcullis_pki::Upload;
use portcullis_store::{Condition, Embedded, Engine, Lifetime};
use serde_json::json;
use tokio::task::JoinSet;

use super::{Peer, ask_version};
use crate::certificate::many;
use crate::error::Error;
use crate::lab::{Clients, Lab, Site, free_port, listen_path};
use crate::process::Invocation;

/// Its name, which every ratio refers to.
pub(crate) const NAME: &str = "ours";

/// The Control API's secret in the measured configuration.
pub(crate) const SECRET: &str = "benchmark";

/// The organisation of stored certificates.
pub(crate) const ORG: &str = "bench";

/// Entries written at a time, so that many share one flush to the disk.
const AT_ONCE: usize = 2000;

pub(super) struct Ours;

impl Peer for Ours {
    fn name(&self) -> &'static str {
        NAME
    }

    fn loads_definitions(&self) -> bool {
        true
    }

    fn serves_many_certificates(&self) -> bool {
        true
    }

    fn version(&self, lab: &Lab) -> Result<String, Error> {
        ask_version(self.name(), &lab.programs.portcullis, "version")
    }

    fn set_up(&self, site: &Site<'_>) -> Result<Invocation, Error> {
        let apps = site.dir.join("apps");
        fs::create_dir_all(&apps).map_err(Error::io(format!("create {}", apps.display())))?;
        let listed = listed(site)?;
        for api in 0..site.apis {
            let path = if site.apis == 1 {
                "/".to_owned()
            } else {
                listen_path(api)
            };
            site.write(
                format!("apps/api-{api:05}.json"),
                &definition(site, api, &path, listed.as_deref()),
            )?;
        }
        let mut certificates = vec![json!(site.lab.pair.both)];
        if !site.certificates.is_empty() {
            certificates.extend(ids(&site.certificates)?.into_iter().map(|id| json!(id)));
            fill(&site.dir.join("data"), &site.certificates)?;
        }
        let mut conf = json!({
            "listen_address": "127.0.0.1",
            "listen_port": site.port,
            "secret": SECRET,
            "app_path": apps,
            "http_server_options": {
                "use_ssl": true,
                "enable_http2": true,
                "min_version": 771,
                "max_version": 772,
                "ssl_certificates": certificates
            },
            "portcullis": {"workers": 1, "data_dir": site.dir.join("data")}
        });
        if site.behind.is_tls() {
            conf["proxy_ssl_max_version"] = 772.into();
            conf["portcullis"]["upstream_ca"] = json!({"*": site.lab.pair.authority});
        }
        if site.behind.is_afresh() {
            conf["proxy_close_connections"] = true.into();
            conf["security"] =
                json!({"certificates": {"upstream": {"*": site.lab.pair.client_both}}});
        }
        if site.clients != Clients::Anybody {
            // The handshake demands a certificate only where the Control API is elsewhere.
            conf["control_api_port"] = free_port()?.into();
        }
        if let Some(port) = site.redis {
            conf["storage"] = json!({"type": "redis", "host": "127.0.0.1", "port": port});
        }
        let conf = site.write("tyk.conf", &format!("{conf:#}"))?;
        Ok(Invocation::of(&site.lab.programs.portcullis)
            .arg("gateway")
            .arg("--conf")
            .arg(conf))
    }
}

fn definition(site: &Site<'_>, api: usize, path: &str, listed: Option<&[String]>) -> String {
    let definition = json!({
        "name": format!("API {api}"),
        "api_id": format!("api-{api:05}"),
        "org_id": "bench",
        "active": true,
        "use_keyless": true,
        "use_mutual_tls_auth": listed.is_some(),
        "client_certificates": listed.unwrap_or_default(),
        "version_data": {
            "not_versioned": true,
            "versions": {"Default": {"name": "Default"}}
        },
        "proxy": {
            "listen_path": path,
            "target_url": target(site),
            "strip_listen_path": true
        }
    });
    format!("{definition:#}")
}

/// The URL of the upstream.
fn target(site: &Site<'_>) -> String {
    let address = site.upstream();
    match site.behind.is_tls() {
        true => format!("https://{address}/"),
        false => format!("http://{address}/"),
    }
}

/// The allow list of the API; its entries are in the store, but for the run's client.
fn listed(site: &Site<'_>) -> Result<Option<Vec<String>>, Error> {
    let pair = &site.lab.pair;
    Ok(match site.clients {
        Clients::Anybody => None,
        Clients::OfAuthority => Some(vec![pair.authority.display().to_string()]),
        Clients::Listed(count) => {
            // One more than is stored. All have one name: a handshake tells the client every name that is on a
            // list, and what that costs is not what the check costs.
            let others = many(count, |_| "listed".to_owned())?;
            let mut list = ids(&others)?;
            fill(&site.dir.join("data"), &others)?;
            list.truncate(count - 1);
            list.push(pair.client.0.display().to_string());
            Some(list)
        }
    })
}

/// The ids that certificates have in the store, in their order, and that of the one uploaded later.
fn ids(certificates: &[String]) -> Result<Vec<String>, Error> {
    let uploads = certificates.iter().map(|pair| upload(pair));
    uploads.map(|upload| Ok(upload?.id(ORG))).collect()
}

fn upload(pair: &str) -> Result<Upload, Error> {
    Upload::parse(pair.as_bytes(), 0).map_err(|error| Error::Store(error.to_string()))
}

/// Puts all but the last certificate into an embedded store, as uploads would.
fn fill(directory: &Path, certificates: &[String]) -> Result<(), Error> {
    // A runtime of its own: this thread drives another.
    let filling = || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .map_err(Error::io("start threads"))?;
        runtime.block_on(async {
            let store =
                Embedded::open(directory).map_err(|error| Error::Store(error.to_string()))?;
            let engine = Engine::Embedded(store);
            let mut writing = JoinSet::new();
            let (_, stored) = certificates.split_last().expect("there are some");
            for pair in stored {
                let upload = upload(pair)?;
                let name = format!("cert-raw-{}", upload.id(ORG));
                let text = upload.to_stored(SECRET)?;
                let engine = engine.clone();
                writing.spawn(async move {
                    let written = engine
                        .set(&name, text.into(), Lifetime::Forever, Condition::Always)
                        .await;
                    written.map_err(|error| Error::Store(error.to_string()))
                });
                if writing.len() >= AT_ONCE
                    && let Some(done) = writing.join_next().await
                {
                    done.expect("writing does not panic")?;
                }
            }
            while let Some(done) = writing.join_next().await {
                done.expect("writing does not panic")?;
            }
            Ok(())
        })
    };
    std::thread::scope(|scope| scope.spawn(filling).join().expect("filling does not panic"))
}
