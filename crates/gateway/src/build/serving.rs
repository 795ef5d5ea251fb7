//! The TLS settings of ports: which certificates they serve, and what changes when one of them does.
//!
//! Invariants:
//! - The same references in the same places make the same slots; then certificates that are others are
//!   replaced one by one, and whatever was made for the rest stays.
//! - Slots are numbered in the order in which references are asked for here.

use std::sync::Arc;

use bytes::Bytes;
use portcullis_apidef::{Api, Protocol};
use portcullis_pki::{CertifiedKey, Reference};
use portcullis_tls::{Replacement, ServerConfig, ServerSettings, ServingSet};

use super::{BuildError, Builder, Finding, error, warning};
use crate::{
    certificates::{Failure, Found, StoredReference},
    clients::unix_now,
    snapshot::RunningApi,
};

/// The certificates of a port, and what serves them.
pub(super) struct Served {
    shape: Shape,
    config: ServerConfig,
}

/// Which reference each slot has.
#[derive(Default, PartialEq, Eq)]
struct Shape {
    /// `domain_name` of each of `http_server_options.certificates`, which come first.
    domains: Vec<String>,
    /// How many of `http_server_options.ssl_certificates` follow.
    listed: usize,
    /// Numbers of the references.
    references: Vec<usize>,
}

/// What certificates that came, changed or went make of the snapshot in force.
pub struct Update {
    /// Counts snapshots.
    pub generation: u64,
    /// TLS settings that are others.
    pub servers: Vec<(u16, ServerConfig)>,
    /// References whose certificate is another.
    pub changed: usize,
    /// Certificates that lists name or that upstreams have to do with are others, or came, or went: a
    /// reload takes them in.
    pub lists_changed: bool,
    /// References to entries of the certificate store that cannot be used.
    pub unreadable: usize,
    /// What is worth saying about it.
    pub findings: Vec<Finding>,
}

impl Builder {
    /// The TLS settings of a port: the same as before when its certificates are.
    pub(super) fn server(
        &mut self,
        port: u16,
        protocol: Protocol,
        order: &[Arc<RunningApi>],
        findings: &mut Vec<Finding>,
    ) -> Result<ServerConfig, BuildError> {
        let config = self.config.clone();
        let here =
            |api: &&Arc<Api>| api.active && api.listener.port.unwrap_or(config.listen.port) == port;
        let listed = &config.server.ssl_certificates;
        let of_apis = || {
            let apis = order.iter().map(|running| &running.api);
            apis.filter(here).flat_map(|api| {
                let references = api.server_certificates.iter();
                references.map(move |reference| (&api.id, reference))
            })
        };
        let references = listed
            .iter()
            .chain(of_apis().map(|(_, reference)| reference));
        self.certificates.prepare(references.map(String::as_str));

        let mut shape = Shape {
            listed: listed.len(),
            ..Shape::default()
        };
        let mut keys = Vec::new();
        let mut take = |builder: &Self,
                        place: &dyn Fn() -> String,
                        reference: &str,
                        found: Found<CertifiedKey>| {
            shape.references.push(found.number);
            keys.push(builder.noted(place, reference, found, findings));
        };
        for pair in &config.server.certificates {
            let found = self.certificates.of_pair(pair);
            let place = || "http_server_options.certificates".to_owned();
            take(self, &place, &pair.cert_file, found);
        }
        for reference in listed {
            let found = self.certificates.of_reference(reference);
            let place = || "http_server_options.ssl_certificates".to_owned();
            take(self, &place, reference, found);
        }
        for (api, reference) in of_apis() {
            let found = self.certificates.of_reference(reference);
            take(self, &|| format!("API {api}"), reference, found);
        }
        for pair in &config.server.certificates {
            shape.domains.push(pair.domain_name.clone());
        }

        let refused = |failure: &dyn std::fmt::Display| BuildError {
            problems: vec![error(&format!("TLS on port {port}"), failure.to_string())],
        };
        let policies = self.policies(port, order, findings)?;
        let server = match self.servers.get(&port) {
            Some(served) if served.shape == shape => {
                let replacements = differences(&served.config.settings().serving, keys);
                let mut server = served.config.clone();
                if !replacements.is_empty() {
                    let replaced = server.with_certificates(&replacements);
                    server = replaced.map_err(|failure| refused(&failure))?;
                }
                if !server.settings().policies.same_as(&policies) {
                    let asking = server.with_policies(policies);
                    server = asking.map_err(|failure| refused(&failure))?;
                }
                server
            }
            _ => {
                let settings = ServerSettings {
                    versions: self.versions,
                    ciphers: self.ciphers.clone(),
                    http2: config.server.enable_http2 && protocol == Protocol::Https,
                    serving: serving(&shape, keys),
                    policies,
                    tickets: self.tickets.clone(),
                };
                ServerConfig::new(settings).map_err(|failure| refused(&failure))?
            }
        };
        findings.extend(emptiness(port, &server));
        let config = server.clone();
        self.servers.insert(port, Served { shape, config });
        Ok(server)
    }

    /// Takes in what the store holds now under these ids. `None` when nothing that is served changes.
    pub fn update_certificates(&mut self, entries: &[(String, Option<Bytes>)]) -> Option<Update> {
        let mut changed = self.certificates.update(entries);
        changed.sort_unstable();
        let lists_changed =
            !self.listed.update(entries).is_empty() | self.endpoints.references.update(entries);
        let mut findings = Vec::new();
        for (id, _) in entries {
            if let Some(failure) = self.certificates.failure(id) {
                findings.push(error("certificate store", failure.to_owned()));
            }
        }
        let mut servers = Vec::new();
        for (port, served) in &mut self.servers {
            let replacements: Vec<Replacement> = (0..)
                .zip(&served.shape.references)
                .filter(|(_, number)| changed.binary_search(number).is_ok())
                .map(|(slot, number)| (slot, self.certificates.key(*number).cloned()))
                .collect();
            if replacements.is_empty() {
                continue;
            }
            match served.config.with_certificates(&replacements) {
                Ok(server) => {
                    findings.extend(emptiness(*port, &server));
                    served.config = server.clone();
                    servers.push((*port, server));
                }
                Err(failure) => {
                    findings.push(error(&format!("TLS on port {port}"), failure.to_string()));
                }
            }
        }
        if servers.is_empty() && findings.is_empty() && !lists_changed {
            return None;
        }
        self.generation += u64::from(!servers.is_empty());
        Some(Update {
            generation: self.generation,
            servers,
            changed: changed.len(),
            lists_changed,
            unreadable: self.unreadable(),
            findings,
        })
    }

    /// References that may be entries of the certificate store.
    pub fn stored_references(&self) -> Vec<StoredReference> {
        let mut stored = self.certificates.stored();
        stored.extend(self.listed.stored());
        stored.extend(self.endpoints.references.stored());
        stored.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        stored.dedup_by(|one, other| one.id == other.id);
        stored
    }

    /// True when certificates are left out or not up to date because the store gave no answer.
    pub fn waits_for_store(&self) -> bool {
        self.certificates.away().is_some()
            || self.listed.away().is_some()
            || self.endpoints.references.away().is_some()
    }

    /// What there is to say when the store gave no answer.
    pub(super) fn store_away(&self) -> Option<Finding> {
        let away = [
            self.certificates.away(),
            self.listed.away(),
            self.endpoints.references.away(),
        ];
        let waiting: usize = away.iter().flatten().map(|(_, waiting)| waiting).sum();
        let (failure, _) = away.into_iter().flatten().next()?;
        let message = format!(
            "{failure}; {waiting} references to certificates wait for it: what was read before stays in \
             use, the rest is left out until it answers"
        );
        Some(error("certificate store", message))
    }

    /// Says what is wrong with a certificate and hands out what can be used.
    fn noted(
        &self,
        place: &dyn Fn() -> String,
        reference: &str,
        found: Found<CertifiedKey>,
        findings: &mut Vec<Finding>,
    ) -> Option<Arc<CertifiedKey>> {
        match found.failure {
            Some(Failure::Said(failure)) => {
                let consequence = match &found.key {
                    Some(_) => "the certificate read before stays in use",
                    None => "it is left out",
                };
                findings.push(error(&place(), format!("{failure}; {consequence}")));
            }
            Some(Failure::StoreClosed) => findings.push(warning(
                &place(),
                format!(
                    "{reference} is no file, so it is an entry of the certificate store, which is not \
                     looked into here"
                ),
            )),
            // Said once for all of them.
            Some(Failure::StoreAway) | None => {}
        }
        if found.repaired {
            findings.push(warning(
                &place(),
                "inline PEM had lost its line breaks and was repaired".to_owned(),
            ));
        }
        let key = found.key?;
        let days = key.facts().days_left(unix_now());
        if days < i64::from(self.config.security.expiry_monitor.warning_threshold_days) {
            let name = match Reference::classify(reference) {
                Reference::Inline(_) => "inline PEM",
                _ => reference,
            };
            findings.push(warning(
                &place(),
                format!(
                    "Server certificate expiring soon: cert_name={} days_remaining={days} ({name})",
                    key.facts().subject_cn
                ),
            ));
        }
        Some(key)
    }
}

fn serving(shape: &Shape, keys: Vec<Option<Arc<CertifiedKey>>>) -> ServingSet {
    let mut set = ServingSet::builder();
    let mut keys = keys.into_iter();
    for (domain_name, key) in shape.domains.iter().zip(keys.by_ref()) {
        set.pair(domain_name, key);
    }
    for key in keys.by_ref().take(shape.listed) {
        set.listed(key);
    }
    for key in keys {
        set.of_api(key);
    }
    set.build()
}

/// The slots in which another certificate is wanted than there is.
fn differences(serving: &ServingSet, wanted: Vec<Option<Arc<CertifiedKey>>>) -> Vec<Replacement> {
    let same = |slot: u32, key: &Option<Arc<CertifiedKey>>| match (serving.slot(slot), key) {
        (Some(there), Some(wanted)) => Arc::ptr_eq(there, wanted),
        (None, None) => true,
        _ => false,
    };
    let slots = (0..).zip(wanted);
    slots.filter(|(slot, key)| !same(*slot, key)).collect()
}

fn emptiness(port: u16, server: &ServerConfig) -> Option<Finding> {
    server.settings().serving.is_empty().then(|| {
        error(
            &format!("port {port}"),
            "no usable certificate: every TLS handshake is refused (alert 112); name one in \
             http_server_options.ssl_certificates or certificates"
                .to_owned(),
        )
    })
}
