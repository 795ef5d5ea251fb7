//! Envoy: one worker thread beside its main thread, HTTP connection manager and router.

use serde_json::{Value, json};

use super::{Peer, ask_version};
use crate::error::Error;
use crate::lab::{Clients, Lab, Site};
use crate::process::Invocation;

pub(super) struct Envoy;

impl Peer for Envoy {
    fn name(&self) -> &'static str {
        "envoy"
    }

    fn version(&self, lab: &Lab) -> Result<String, Error> {
        ask_version(self.name(), &lab.programs.envoy, "--version")
    }

    fn set_up(&self, site: &Site<'_>) -> Result<Invocation, Error> {
        let upstream = site.upstream();
        let pair = &site.lab.pair;
        let mut conf = json!({"static_resources": {
            "listeners": [{
                "name": "clients",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": site.port}},
                "filter_chains": [{
                    "transport_socket": {
                        "name": "envoy.transport_sockets.tls",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                            "common_tls_context": {
                                "alpn_protocols": ["h2", "http/1.1"],
                                "tls_params": {
                                    "tls_minimum_protocol_version": "TLSv1_2",
                                    "tls_maximum_protocol_version": "TLSv1_3"
                                },
                                "tls_certificates": [{
                                    "certificate_chain": {"filename": pair.certificate},
                                    "private_key": {"filename": pair.key}
                                }]
                            }
                        }
                    },
                    "filters": [{
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                            "stat_prefix": "clients",
                            "codec_type": "AUTO",
                            // Makes it add X-Forwarded-For and X-Forwarded-Proto, as the others do.
                            "use_remote_address": true,
                            // What the others do not do, it need not do either.
                            "generate_request_id": false,
                            "http_filters": [{
                                "name": "envoy.filters.http.router",
                                "typed_config": {
                                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                                    "suppress_envoy_headers": true
                                }
                            }],
                            "route_config": {
                                "virtual_hosts": [{
                                    "name": "pages",
                                    "domains": ["*"],
                                    "routes": [{
                                        "match": {"prefix": "/"},
                                        "route": {"cluster": "pages", "timeout": "600s"}
                                    }]
                                }]
                            }
                        }
                    }]
                }]
            }],
            "clusters": [{
                "name": "pages",
                "type": "STATIC",
                "connect_timeout": "5s",
                "load_assignment": {
                    "cluster_name": "pages",
                    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                        "address": upstream.ip().to_string(), "port_value": upstream.port()
                    }}}}]}]
                }
            }]
        }});
        if site.clients != Clients::Anybody {
            let tls = &mut conf["static_resources"]["listeners"][0]["filter_chains"][0]["transport_socket"]
                ["typed_config"];
            tls["require_client_certificate"] = true.into();
            tls["common_tls_context"]["validation_context"] =
                json!({"trusted_ca": {"filename": pair.authority}});
        }
        let cluster = &mut conf["static_resources"]["clusters"][0];
        if site.behind.is_tls() {
            cluster["transport_socket"] = tls(site);
        }
        if site.behind.is_afresh() {
            cluster["typed_extension_protocol_options"] = json!({
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "common_http_protocol_options": {"max_requests_per_connection": 1},
                    "explicit_http_config": {"http_protocol_options": {}}
                }
            });
        }
        let conf = site.write("envoy.json", &format!("{conf:#}"))?;
        Ok(Invocation::of(&site.lab.programs.envoy)
            .arg("--config-path")
            .arg(conf)
            .arg("--concurrency")
            .arg("1")
            .arg("--disable-hot-restart")
            .arg("--log-level")
            .arg("error"))
    }
}

/// TLS towards the upstream.
fn tls(site: &Site<'_>) -> Value {
    let pair = &site.lab.pair;
    let mut common = json!({
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_2",
            "tls_maximum_protocol_version": "TLSv1_3"
        },
        "validation_context": {
            "trusted_ca": {"filename": pair.authority},
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "localhost"}}]
        }
    });
    if site.behind.is_afresh() {
        common["tls_certificates"] = json!([{
            "certificate_chain": {"filename": pair.client.0},
            "private_key": {"filename": pair.client.1}
        }]);
    }
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "localhost",
            "max_session_keys": 0,
            "common_tls_context": common
        }
    })
}
