//! Client certificates: the allow lists of APIs and of the Control API, and what handshakes on a port ask
//! for because of them (inbound sheet 4 and 5).
//!
//! Invariants:
//! - An entry that resolves to nothing lets nobody pass; a list without a usable entry lets nobody pass,
//!   and both are said (decision 5).
//! - A list whose entries are the same is the same value from one snapshot to the next, so what
//!   connections remember of it stays good.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use openssl::{sha::Sha256, x509::X509};
use portcullis_apidef::{Api, ClientMatch, ClientRules};
use portcullis_pki::{Fingerprint, Revocation};
use portcullis_policy::{AllowListBuilder, Deciding, Demand, Handshakes, Treatment};
use portcullis_tls::{ClientCertificate, ClientTrust, Manner, Policies, Policy, policy::Announced};

use super::{BuildError, Builder, Finding, error, told, warning};
use crate::{
    certificates::{Failure, ListedCertificates},
    clients::{ClientList, Watched},
    snapshot::RunningApi,
};

/// Most bytes of names that are announced: an extension holds 64 KiB, and clients that are told of
/// thousands of authorities give up.
const MOST_ANNOUNCED: usize = 32 * 1024;

/// The APIs of a port.
pub(super) struct Here<'a> {
    pub(super) apis: Vec<&'a Arc<RunningApi>>,
    pub(super) handshakes: Handshakes,
    /// They relay bytes.
    pub(super) raw: bool,
}

/// Who lets clients in on a port.
struct Vouching {
    listed: HashSet<Fingerprint>,
    keys: HashSet<[u8; 32]>,
    authorities: Vec<X509>,
    revocations: Vec<Arc<Revocation>>,
    names: Vec<Box<[u8]>>,
    /// Somebody trusted may find neither itself nor its issuer among the names.
    anonymous: bool,
    digest: Sha256,
}

impl Builder {
    /// The allow list of an API: its own entries and those of `security.certificates.apis`.
    pub(super) fn client_list(
        &mut self,
        api: &Api,
        revocation: &Arc<Revocation>,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Arc<ClientList>>, String> {
        let Some(own) = &api.client_certificates else {
            return Ok(None);
        };
        let config = self.config.clone();
        let place = format!("API {}", api.id);
        let everywhere = &config.security.api_certificates;
        let references = own.iter().chain(everywhere).map(String::as_str);
        self.list_of(
            &place,
            &api.id,
            references.collect(),
            &api.client_rules,
            revocation,
            findings,
        )
        .map(Some)
    }

    /// The list of `security.certificates.control_api`.
    ///
    /// # Errors
    /// [`BuildError`] when the library cannot take it; without it the Control API would be open.
    pub(super) fn control_list(
        &mut self,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Arc<ClientList>>, BuildError> {
        let config = self.config.clone();
        if !config.security.control_api_use_mutual_tls {
            return Ok(None);
        }
        let references = &config.security.control_api_certificates;
        let references = references.iter().map(String::as_str).collect();
        let key = "security.certificates.control_api";
        let (rules, revocation) = (ClientRules::default(), self.revocation_everywhere());
        let list = self.list_of(key, "", references, &rules, &revocation, findings);
        list.map(Some).map_err(|failure| refused(key, &failure))
    }

    fn list_of(
        &mut self,
        place: &str,
        owner: &str,
        references: Vec<&str>,
        rules: &ClientRules,
        revocation: &Arc<Revocation>,
        findings: &mut Vec<Finding>,
    ) -> Result<Arc<ClientList>, String> {
        let typed = rules.entries.iter().filter_map(|rule| match &rule.who {
            ClientMatch::Authority(reference) => Some(reference.0.as_str()),
            _ => None,
        });
        let vouching = rules.vouching.iter().map(|reference| reference.0.as_str());
        let all = references.iter().copied().chain(typed).chain(vouching);
        self.listed.prepare(all);
        let mut entries = AllowListBuilder::default();
        let mut named = Vec::new();
        let useless = |reference: &str, lacks: &str, findings: &mut Vec<Finding>| {
            let name = told(reference);
            let said = format!("allow list: {name} holds no {lacks}; nobody passes by this entry");
            findings.push(warning(place, said));
        };
        for reference in references {
            if let Some(certificates) = self.listed_of(place, reference, &mut named, findings)
                && !entries.entry(certificates.as_slice())
            {
                useless(reference, "certificate", findings);
            }
        }
        for rule in &rules.entries {
            let ClientMatch::Authority(reference) = &rule.who else {
                entries.rule(rule, &[]);
                continue;
            };
            if let Some(certificates) = self.listed_of(place, &reference.0, &mut named, findings)
                && !entries.rule(rule, certificates.as_slice())
            {
                useless(&reference.0, "certificate of an authority", findings);
            }
        }
        for reference in &rules.vouching {
            if let Some(certificates) = self.listed_of(place, &reference.0, &mut named, findings)
                && !entries.vouching(certificates.as_slice())
            {
                useless(&reference.0, "certificate of an authority", findings);
            }
        }
        let unvouched = entries.names_without_authority();
        if unvouched > 0 {
            findings.push(warning(
                place,
                format!(
                    "allow list: no authority vouches for its {unvouched} entries by name (dns, uri, email, dn), so \
                     nobody passes by them; name the authorities in portcullis.client_certificate_authorities"
                ),
            ));
        }
        entries.revocation(revocation.clone());
        let list = entries.build().map_err(|failure| {
            format!("its allow list of client certificates cannot be used: {failure}")
        })?;
        if list.is_empty() {
            findings.push(warning(
                place,
                "nobody can pass: its allow list of client certificates has no usable entry"
                    .to_owned(),
            ));
        }
        Ok(match self.lists.get(owner) {
            Some(before) if before.allow_list().digest() == list.digest() => before.clone(),
            _ => {
                let watched = named.iter().flat_map(|entry| Watched::of(entry.as_slice()));
                let list = Arc::new(ClientList::new(list, watched.collect()));
                self.lists.insert(owner.to_owned(), list.clone());
                list
            }
        })
    }

    /// The APIs of a port, and what they want of handshakes.
    pub(super) fn here<'a>(&self, port: u16, apis: &'a [Arc<RunningApi>]) -> Here<'a> {
        let listen = &self.config.listen;
        let apis: Vec<&Arc<RunningApi>> = apis
            .iter()
            .filter(|running| {
                let api = &running.api;
                api.active && api.listener.port.unwrap_or(listen.port) == port
            })
            .collect();
        let raw = apis.iter().any(|running| running.is_raw());
        let domains = listen.enable_custom_domains || raw;
        let handshakes = Handshakes::of(apis.iter().map(|running| {
            // A domain that binds no requests binds no handshakes.
            let domain = running.api.domain.as_deref().filter(|_| domains);
            (domain, treatment(running))
        }));
        Here {
            apis,
            handshakes,
            raw,
        }
    }

    /// What a reference of an allow list holds, as it was last read; what is wrong with it is said.
    fn listed_of(
        &mut self,
        place: &str,
        reference: &str,
        named: &mut Vec<Arc<ListedCertificates>>,
        findings: &mut Vec<Finding>,
    ) -> Option<Arc<ListedCertificates>> {
        let found = self.listed.of_reference(reference);
        if found.repaired {
            findings.push(warning(
                place,
                "inline PEM had lost its line breaks and was repaired".to_owned(),
            ));
        }
        match found.failure {
            Some(Failure::Said(failure)) => findings.push(warning(
                place,
                format!("allow list: {failure}; nobody passes by this entry"),
            )),
            Some(Failure::StoreClosed) => findings.push(warning(
                place,
                format!(
                    "allow list: {} is no file, so it is an entry of the certificate store, which is not looked \
                     into here",
                    told(reference)
                ),
            )),
            Some(Failure::StoreAway) | None => {}
        }
        named.extend(found.key.clone());
        found.key
    }

    /// What handshakes on a port ask of clients.
    ///
    /// # Errors
    /// [`BuildError`] when the library cannot take what is to be trusted.
    pub(super) fn policies(
        &self,
        port: u16,
        apis: &[Arc<RunningApi>],
        findings: &mut Vec<Finding>,
    ) -> Result<Policies, BuildError> {
        let config = &self.config;
        let Here {
            apis: here,
            handshakes,
            raw,
        } = self.here(port, apis);

        let control_port = config.listen.control_port.unwrap_or(config.listen.port);
        let control = port == control_port && !raw;
        let control_host = config
            .listen
            .control_hostname
            .as_deref()
            .filter(|name| !name.is_empty());
        if let (true, Some(list), None) = (control, &self.control_list, control_host) {
            let mut vouching = Vouching::new();
            vouching.add(list);
            let policy = vouching.policy(Demand::Require, Manner::Telling, port)?;
            if !here.is_empty() {
                findings.push(warning(
                    "security.control_api_use_mutual_tls",
                    format!(
                        "every connection to port {port} needs a client certificate of \
                         security.certificates.control_api, those to APIs as well; give the Control API a \
                         port (control_api_port) or a name (control_api_hostname) of its own"
                    ),
                ));
            }
            return Ok(Policies::new(policy));
        }

        let quiet = config.server.skip_client_ca_announcement;
        let of = |numbers: &[usize], downgraded: bool| {
            let domains = handshakes.domains();
            let demand = numbers.iter().map(|number| domains[*number].demand).max();
            let mut vouching = Vouching::new();
            for place in numbers.iter().flat_map(|number| &domains[*number].apis) {
                match &here[*place].clients {
                    Some(list) => vouching.add(list),
                    None => vouching.digest.update(&here[*place].revocation.digest()),
                }
            }
            let demand = in_force(demand.unwrap_or(Demand::Nothing), quiet, downgraded);
            match quiet {
                false => vouching.policy(demand, Manner::Telling, port),
                true => vouching.silent().policy(demand, Manner::Uniform, port),
            }
        };
        // Without a name of its own the Control API is behind every name.
        let shared = control && self.control_list.is_none() && control_host.is_none();
        let named = |host: &str| {
            shared || (control && self.control_list.is_none() && control_host == Some(host))
        };
        let without: Vec<usize> = handshakes.without_domain().into_iter().collect();
        let mut policies = Policies::new(of(&without, named(""))?);
        for (host, number) in handshakes.hosts() {
            policies.host(host, of(&[number], named(host))?);
        }
        if control && let Some(host) = control_host {
            let policy = match &self.control_list {
                Some(list) => {
                    let mut vouching = Vouching::new();
                    vouching.add(list);
                    vouching.policy(Demand::Require, Manner::Telling, port)?
                }
                None => match handshakes.decide(host) {
                    Deciding::Domain(number) => of(&[number], true)?,
                    Deciding::Patterns(numbers) => of(&numbers, true)?,
                    Deciding::Nobody => of(&[], true)?,
                },
            };
            policies.host(host, policy);
        }
        let patterns: Vec<usize> = handshakes.patterns().collect();
        if !patterns.is_empty() {
            // One policy for each pattern alone; where several match, one for all of them.
            let mut alone = HashMap::new();
            let mut described = String::new();
            for number in &patterns {
                let index = policies.add(of(&[*number], shared)?);
                alone.insert(*number, index);
                described += &format!("{} {index}\n", handshakes.domains()[*number].name);
            }
            let together = policies.add(of(&patterns, shared)?);
            described += &together.to_string();
            let find = move |host: &str| match handshakes.decide(host) {
                Deciding::Domain(number) => alone.get(&number).copied(),
                Deciding::Patterns(_) => Some(together),
                Deciding::Nobody => None,
            };
            policies.otherwise(&described, Arc::new(find));
        }
        if shared && !here.is_empty() && here.iter().all(|running| running.clients.is_some()) {
            findings.push(warning(
                "control_api_port",
                "All APIs are protected with mTLS, except for the control API. We recommend configuring the \
                 control API port or control hostname to ensure consistent security measures"
                    .to_owned(),
            ));
        }
        Ok(policies)
    }
}

/// What a handshake asks for, of what the APIs of a domain come to.
pub(super) fn in_force(demand: Demand, quiet: bool, downgraded: bool) -> Demand {
    match (quiet, demand) {
        (false, Demand::Require) if downgraded => Demand::Ask,
        (true, Demand::Nothing) => Demand::Ask,
        (_, demand) => demand,
    }
}

impl Vouching {
    fn new() -> Self {
        Self {
            listed: HashSet::new(),
            keys: HashSet::new(),
            authorities: Vec::new(),
            revocations: Vec::new(),
            names: Vec::new(),
            anonymous: false,
            digest: Sha256::new(),
        }
    }

    fn add(&mut self, list: &ClientList) {
        let list = list.allow_list();
        self.listed.extend(list.listed());
        self.keys.extend(list.keys());
        self.authorities.extend(list.authorities().cloned());
        self.revocations.push(list.revocation().clone());
        self.anonymous |= !list.announces_all();
        self.names.extend(list.names().iter().cloned());
        self.digest.update(&list.digest());
    }

    /// Without announcing anybody.
    fn silent(mut self) -> Self {
        self.names.clear();
        self
    }

    fn policy(mut self, demand: Demand, manner: Manner, port: u16) -> Result<Policy, BuildError> {
        self.names.sort_unstable();
        self.names.dedup();
        let length: usize = self.names.iter().map(|name| name.len()).sum();
        let announced: Announced = match self.anonymous || length > MOST_ANNOUNCED {
            true => Announced::default(),
            false => self.names.into(),
        };
        let client_certificate = match demand {
            Demand::Nothing => return Ok(Policy::open()),
            Demand::Ask => ClientCertificate::Asked { announced },
            Demand::Require => {
                let trust =
                    ClientTrust::new(self.listed, self.keys, self.authorities, self.revocations);
                let place = format!("client certificates on port {port}");
                ClientCertificate::Required {
                    trust: Arc::new(trust.map_err(|failure| refused(&place, &failure))?),
                    announced,
                    manner,
                }
            }
        };
        // Under other lists a session is another session.
        let digest = self.digest.finish();
        let partition = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Policy {
            client_certificate,
            partition,
        })
    }
}

fn refused(place: &str, failure: &dyn std::fmt::Display) -> BuildError {
    BuildError {
        problems: vec![error(place, failure.to_string())],
    }
}

/// How an API treats client certificates.
pub(super) fn treatment(running: &RunningApi) -> Treatment {
    if running.clients.is_some() {
        Treatment::AllowList
    } else if running.api.authentication.asks_for_certificates() {
        Treatment::Session
    } else {
        Treatment::Open
    }
}
