//! Portcullis: `portcullis gateway` with one worker and Classic API definitions from files.

use std::fs;

use serde_json::json;

use super::{Peer, ask_version};
use crate::error::Error;
use crate::lab::{Lab, Site, listen_path};
use crate::process::Invocation;

/// Its name, which every ratio refers to.
pub(crate) const NAME: &str = "ours";

/// The Control API's secret in the measured configuration.
pub(crate) const SECRET: &str = "benchmark";

pub(super) struct Ours;

impl Peer for Ours {
    fn name(&self) -> &'static str {
        NAME
    }

    fn loads_definitions(&self) -> bool {
        true
    }

    fn version(&self, lab: &Lab) -> Result<String, Error> {
        ask_version(self.name(), &lab.programs.portcullis, "version")
    }

    fn set_up(&self, site: &Site<'_>) -> Result<Invocation, Error> {
        let apps = site.dir.join("apps");
        fs::create_dir_all(&apps).map_err(Error::io(format!("create {}", apps.display())))?;
        for api in 0..site.apis {
            let path = if site.apis == 1 {
                "/".to_owned()
            } else {
                listen_path(api)
            };
            site.write(
                format!("apps/api-{api:05}.json"),
                &definition(site, api, &path),
            )?;
        }
        let conf = json!({
            "listen_address": "127.0.0.1",
            "listen_port": site.port,
            "secret": SECRET,
            "app_path": apps,
            "http_server_options": {
                "use_ssl": true,
                "enable_http2": true,
                "min_version": 771,
                "max_version": 772,
                "ssl_certificates": [site.lab.pair.both]
            },
            "portcullis": {"workers": 1}
        });
        let conf = site.write("tyk.conf", &format!("{conf:#}"))?;
        Ok(Invocation::of(&site.lab.programs.portcullis)
            .arg("gateway")
            .arg("--conf")
            .arg(conf))
    }
}

fn definition(site: &Site<'_>, api: usize, path: &str) -> String {
    let definition = json!({
        "name": format!("API {api}"),
        "api_id": format!("api-{api:05}"),
        "org_id": "bench",
        "active": true,
        "use_keyless": true,
        "version_data": {
            "not_versioned": true,
            "versions": {"Default": {"name": "Default"}}
        },
        "proxy": {
            "listen_path": path,
            "target_url": format!("http://{}/", site.lab.upstream),
            "strip_listen_path": true
        }
    });
    format!("{definition:#}")
}
