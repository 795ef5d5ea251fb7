//! What a port asks of clients and why, in words: for `check` and `doctor`.
//!
//! Invariant: what is told is computed by the functions that decide it in a running gateway.

use std::{collections::HashSet, sync::Arc};

use portcullis_apidef::{Api, ClientMatch, ClientRule};
use portcullis_pki::{Fingerprint, PresentedChain, Reference};
use portcullis_policy::{AllowListBuilder, Deciding, Demand, Domain, Handshakes, Treatment};
use portcullis_tls::{ClientCertificate, ServerConfig};

use super::{
    Builder,
    clients::{Here, in_force, treatment},
};
use crate::{certificates::Failure, snapshot::RunningApi};

/// What is enforced where nothing is.
const OPEN: &str = "open";

/// One port.
#[derive(Debug)]
pub struct ExplainedPort {
    /// Its number.
    pub port: u16,
    /// It speaks TLS.
    pub tls: bool,
    /// Its domains, each with what its handshakes ask for.
    pub domains: Vec<ExplainedDomain>,
    handshakes: Handshakes,
}

/// One domain of a port.
#[derive(Debug)]
pub struct ExplainedDomain {
    /// As it is written; empty for APIs without one.
    pub name: String,
    /// What the handshake asks for; without TLS nothing can be asked.
    pub asked: Demand,
    /// Why.
    pub rule: String,
    /// What makes it weaker than its lists.
    pub weakened: Vec<String>,
    /// Its APIs.
    pub apis: Vec<ExplainedApi>,
}

/// One API of a domain.
#[derive(Debug)]
pub struct ExplainedApi {
    /// `api_id`.
    pub id: String,
    /// The human name.
    pub name: String,
    /// Its listen path.
    pub path: String,
    /// What is enforced with each request.
    pub enforced: String,
    /// Its list lets nobody pass.
    pub closed: bool,
    /// The typed entries of its list.
    pub rules: Vec<ClientRule>,
}

/// How the entries of a list, one by one, take a client.
#[derive(Debug, Default)]
pub struct Entries {
    /// The first that lets it pass.
    pub admits: Option<String>,
    /// Ids of the certificate store, where that could not be looked into.
    pub unknown: Vec<String>,
    /// Ids that the certificate store does not hold.
    pub absent: Vec<String>,
}

impl ExplainedPort {
    /// The domains that decide about a host.
    #[must_use]
    pub fn deciding(&self, host: &str) -> Vec<&ExplainedDomain> {
        let numbers = match self.handshakes.decide(host) {
            Deciding::Domain(number) => vec![number],
            Deciding::Patterns(numbers) => numbers,
            Deciding::Nobody => Vec::new(),
        };
        let domains = numbers.into_iter();
        domains
            .filter_map(|number| self.domains.get(number))
            .collect()
    }

    /// Whether anything on this port looks at client certificates.
    #[must_use]
    pub fn looks_at_clients(&self) -> bool {
        let looks = |domain: &ExplainedDomain| {
            let open = |api: &ExplainedApi| api.enforced == OPEN;
            domain.asked != Demand::Nothing || !domain.apis.iter().all(open)
        };
        self.domains.iter().any(looks)
    }
}

impl ExplainedDomain {
    /// Its name, or what stands for none.
    #[must_use]
    pub fn title(&self) -> &str {
        if self.name.is_empty() {
            "any other host"
        } else {
            &self.name
        }
    }
}

impl Builder {
    pub(super) fn explain_clients(
        &self,
        port: u16,
        tls: Option<&ServerConfig>,
        control: bool,
        apis: &[Arc<RunningApi>],
    ) -> ExplainedPort {
        let Here {
            apis,
            handshakes,
            raw,
        } = self.here(port, apis);
        let config = &self.config;
        let quiet = config.server.skip_client_ca_announcement;
        let listen = &config.listen;
        let control = control && !raw;
        let named = listen.control_hostname.as_deref();
        let named = named.filter(|name| !name.is_empty());
        let everywhere = control && self.control_list.is_some() && named.is_none();
        let explain = |domain: &Domain| {
            let here: Vec<&RunningApi> = domain.apis.iter().map(|place| &**apis[*place]).collect();
            let shared = control
                && self.control_list.is_none()
                && named.is_none_or(|name| name == domain.name);
            let mut weakened = Vec::new();
            let asked = match (tls, everywhere) {
                (None, _) => Demand::Nothing,
                (Some(_), true) => Demand::Require,
                (Some(_), false) => in_force(domain.demand, quiet, shared),
            };
            let others: Vec<&str> = here
                .iter()
                .filter(|running| treatment(running) != Treatment::AllowList)
                .map(|running| running.api.id.as_str())
                .collect();
            let lists = here.len() - others.len();
            let rule = match (tls, everywhere, domain.demand) {
                (None, _, _) => "the port does not speak TLS",
                (_, true, _) => "the Control API behind every name has a list of its own",
                (_, _, Demand::Require) => "all its APIs have an allow list",
                (_, _, Demand::Ask) if lists > 0 => "some of its APIs have an allow list",
                (_, _, Demand::Ask) => "keys of an API are client certificates",
                (_, _, Demand::Nothing) if quiet => {
                    "skip_client_ca_announcement has everybody asked"
                }
                (_, _, Demand::Nothing) => "none of its APIs looks at client certificates",
            };
            if tls.is_none() && lists > 0 {
                weakened.push("without TLS no client can pass an allow list here".to_owned());
            }
            if tls.is_some() && !everywhere && lists > 0 {
                if !others.is_empty() {
                    weakened.push(format!(
                        "{} without an allow list turns requiring into asking",
                        others.join(", ")
                    ));
                }
                if shared && domain.demand == Demand::Require && !quiet {
                    weakened.push(
                        "the Control API on this name turns requiring into asking; give it a port \
                         (control_api_port) or a name (control_api_hostname) of its own"
                            .to_owned(),
                    );
                }
                if quiet {
                    weakened.push(
                        "skip_client_ca_announcement keeps back which authorities are trusted, so clients \
                         may choose a wrong certificate, and every refusal is alert 42"
                            .to_owned(),
                    );
                }
            }
            ExplainedDomain {
                name: domain.name.clone(),
                asked,
                rule: rule.to_owned(),
                weakened,
                apis: here.into_iter().map(explain_api).collect(),
            }
        };
        ExplainedPort {
            port,
            tls: tls.is_some(),
            domains: handshakes.domains().iter().map(explain).collect(),
            handshakes,
        }
    }

    /// How the entries of an API's list take a client, one by one.
    pub fn entries(&mut self, api: &Api, chain: Option<&PresentedChain>, at: i64) -> Entries {
        let config = self.config.clone();
        let own = api.client_certificates.iter().flatten();
        let everywhere = api.client_certificates.iter();
        let everywhere = everywhere.flat_map(|_| &config.security.api_certificates);
        let typed = api
            .client_rules
            .entries
            .iter()
            .filter_map(|rule| match &rule.who {
                ClientMatch::Authority(reference) => Some(&reference.0),
                _ => None,
            });
        let references = own.chain(everywhere).chain(typed);
        let references: Vec<&str> = references.map(String::as_str).collect();
        self.entries_of(&references, chain, at)
    }

    /// The same for the Control API's list.
    pub fn control_entries(&mut self, chain: Option<&PresentedChain>, at: i64) -> Entries {
        let config = self.config.clone();
        let references = &config.security.control_api_certificates;
        let references: Vec<&str> = references.iter().map(String::as_str).collect();
        self.entries_of(&references, chain, at)
    }

    fn entries_of(
        &mut self,
        references: &[&str],
        chain: Option<&PresentedChain>,
        at: i64,
    ) -> Entries {
        let mut entries = Entries::default();
        for (number, reference) in (1..).zip(references) {
            let found = self.listed.of_reference(reference);
            let name = match Reference::classify(reference) {
                Reference::Inline(_) => format!("entry {number} (inline PEM)"),
                _ => format!("entry {number} ({reference})"),
            };
            match (&found.failure, Reference::classify(reference)) {
                (Some(Failure::StoreClosed | Failure::StoreAway), _) => {
                    entries.unknown.push((*reference).to_owned());
                }
                (Some(Failure::Said(_)), Reference::StoreId(id)) if found.key.is_none() => {
                    entries.absent.push(id.to_owned());
                }
                _ => {}
            }
            let (Some(certificates), Some(chain)) = (found.key, chain) else {
                continue;
            };
            let mut alone = AllowListBuilder::default();
            alone.entry(certificates.as_slice());
            let admits = alone
                .build()
                .is_ok_and(|list| list.judge(chain, at).is_ok());
            if admits && entries.admits.is_none() {
                entries.admits = Some(name);
            }
        }
        entries
    }
}

fn explain_api(running: &RunningApi) -> ExplainedApi {
    let api = &running.api;
    let list = running.clients.as_ref().map(|list| list.allow_list());
    let enforced = match list {
        Some(list) if list.is_empty() => "allow list: nobody can pass".to_owned(),
        Some(list) => {
            let authorities: HashSet<Fingerprint> = list
                .authorities()
                .filter_map(|one| Fingerprint::of(one).ok())
                .collect();
            let leaves = list.listed().filter(|one| !authorities.contains(one));
            let mut said = format!(
                "allow list: {}, {}",
                counted(leaves.count(), "certificate", "certificates"),
                counted(authorities.len(), "authority", "authorities")
            );
            let (keys, names) = (list.keys().count(), list.entries_by_name());
            if keys + names > 0 {
                said += ", ";
                said += &counted(keys, "key", "keys");
                said += ", ";
                said += &counted(names, "name", "names");
            }
            said
        }
        None if treatment(running) == Treatment::Session => "the certificate's key".to_owned(),
        None => OPEN.to_owned(),
    };
    ExplainedApi {
        id: api.id.clone(),
        name: api.name.clone(),
        path: api.listen_path.clone(),
        enforced,
        closed: list.is_some_and(|list| list.is_empty()),
        rules: api.client_rules.entries.clone(),
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    let what = if count == 1 { one } else { many };
    format!("{count} {what}")
}

/// What a policy asks for, in words.
pub fn asked(policy: &ClientCertificate) -> &'static str {
    match policy {
        ClientCertificate::NotAsked => "asks for nothing",
        ClientCertificate::Asked { .. } => "asks for a certificate and takes any, or none",
        ClientCertificate::Required { .. } => "requires a certificate it trusts",
    }
}
