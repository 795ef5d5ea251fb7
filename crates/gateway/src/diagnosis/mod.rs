//! What would become of a client with a certificate: for `doctor`.
//!
//! Nothing is decided here. The policy of the handshake, the judgement of the chain, the route, the list
//! of the API and the key of a certificate are asked of the same values that a running gateway asks.
//!
//! Invariant: what is not known (an id of a store that cannot be looked into) is never told as a pass.

mod key;

use std::sync::Arc;

use portcullis_config::GatewayConfig;
use portcullis_pki::{PresentedChain, Refusal, names::distinguished_name};
use portcullis_policy::{Answer as RouteAnswer, Cleaning, clean_path, normalize_host};
use portcullis_store::StoreError;
use portcullis_tls::{
    ClientCertificate, HandshakeFailure,
    failure::alert_name,
    policy::Manner,
    server::{ClientRefused, RefusedFor},
    version::Version,
};
use serde::Serialize;

use crate::{
    aside::Aside,
    build::{Builder, Entries, ExplainedDomain, asked},
    clients::Barred,
    engine::Loader,
    flight::{Check, Stage},
    observe::Registry,
    run::{StartError, VERSION},
    snapshot::{HttpService, Port, RunningApi, Service, Snapshot},
};

/// Who comes, and what for.
pub struct Question<'q> {
    /// The name the client asks for.
    pub host: &'q str,
    /// The path it asks for.
    pub path: &'q str,
    /// The port; the main port unless another is meant.
    pub port: Option<u16>,
    /// What it presents.
    pub chain: Option<Arc<PresentedChain>>,
    /// When, in Unix seconds.
    pub at: i64,
}

/// How a step ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The client passes.
    Passes,
    /// It does not.
    Refused,
    /// It cannot be said.
    Unknown,
    /// Nothing was decided.
    Note,
}

/// One step on the client's way.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Its name.
    pub step: &'static str,
    /// How it ends.
    pub outcome: Outcome,
    /// In words.
    pub says: String,
}

/// What would become of a client.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// All in all.
    pub verdict: Outcome,
    /// Step by step.
    pub steps: Vec<Step>,
    /// The one thing to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

impl Default for Diagnosis {
    fn default() -> Self {
        Self::new()
    }
}

impl Diagnosis {
    /// Of nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            verdict: Outcome::Passes,
            steps: Vec::new(),
            change: None,
        }
    }

    /// Adds a step; the worst one so far is the verdict.
    pub fn step(&mut self, step: &'static str, outcome: Outcome, says: String) {
        self.verdict = match (self.verdict, outcome) {
            (Outcome::Refused, _) | (_, Outcome::Refused) => Outcome::Refused,
            (Outcome::Unknown, _) | (_, Outcome::Unknown) => Outcome::Unknown,
            (verdict, _) => verdict,
        };
        self.steps.push(Step {
            step,
            outcome,
            says,
        });
    }

    /// Advises a change, unless one was advised before.
    pub fn advise(&mut self, change: String) {
        self.change.get_or_insert(change);
    }
}

/// Looks at what would become of a client.
///
/// # Errors
/// As [`crate::check`].
pub fn diagnose(config: &GatewayConfig, question: &Question<'_>) -> Result<Diagnosis, StartError> {
    let config = Arc::new(config.clone());
    let aside = Aside::open(&config)?;
    let registry = Arc::new(Registry::new(VERSION));
    let builder = Builder::new(config.clone(), registry, aside.certificates())?.explaining();
    let mut loader = Loader::new(config.clone(), builder);
    let (built, _) = loader.load().map_err(StartError::Load)?;
    let mut diagnosis = Diagnosis::new();
    if let Err(error) = aside.stores() {
        diagnosis.step("store", Outcome::Note, not_looked_into(error));
    }
    let number = question.port.unwrap_or(config.listen.port);
    let Some(port) = built.snapshot.ports.get(&number) else {
        let open: Vec<String> = built
            .snapshot
            .ports
            .keys()
            .map(ToString::to_string)
            .collect();
        diagnosis.step(
            "port",
            Outcome::Refused,
            format!("nothing listens on port {number}"),
        );
        diagnosis.advise(format!("Use a port that is open: {}.", open.join(", ")));
        return Ok(diagnosis);
    };
    let host = normalize_host(question.host).into_owned();
    let explained = built.clients.iter().find(|one| one.port == number);
    let deciding = explained
        .map(|port| port.deciding(&host))
        .unwrap_or_default();
    let mut case = Case {
        question,
        host: &host,
        snapshot: &built.snapshot,
        config: &config,
        aside: &aside,
        builder: loader.builder(),
        diagnosis,
    };
    case.handshake(port, number, &deciding);
    match &*port.service {
        Service::Http(service) => case.request(port, service),
        Service::Tcp { table, apis } => {
            let name = Some(host.as_str()).filter(|name| !name.is_empty());
            let picked = table.pick(name).and_then(|route| apis.get(route.api_id()));
            match picked {
                Some(api) => case.list(port, api, Stage::Connection),
                None => case.nobody("no service of this port takes this name"),
            }
        }
    }
    Ok(case.diagnosis)
}

/// One client on its way.
struct Case<'c> {
    question: &'c Question<'c>,
    host: &'c str,
    snapshot: &'c Snapshot,
    config: &'c GatewayConfig,
    aside: &'c Aside,
    builder: &'c mut Builder,
    diagnosis: Diagnosis,
}

impl Case<'_> {
    fn handshake(&mut self, port: &Port, number: u16, deciding: &[&ExplainedDomain]) {
        let Some(tls) = &port.tls else {
            let says =
                format!("port {number} does not speak TLS: no client can present a certificate");
            self.diagnosis.step("handshake", Outcome::Note, says);
            return;
        };
        let policies = &tls.settings().policies;
        let Some(policy) = policies.list().get(policies.select(self.host)) else {
            return;
        };
        let titles: Vec<&str> = deciding.iter().map(|domain| domain.title()).collect();
        let says = match deciding {
            [] => format!(
                "no API is bound to `{}`: what holds for unknown names counts",
                self.host
            ),
            [domain] if domain.name.is_empty() => format!(
                "no domain fits `{}`, so APIs without one decide: {}",
                self.host, domain.rule
            ),
            [domain] => format!(
                "{} decides for `{}`: {}",
                domain.title(),
                self.host,
                domain.rule
            ),
            _ => format!("{} decide together for `{}`", titles.join(", "), self.host),
        };
        self.diagnosis.step("domain", Outcome::Note, says);
        for weakness in deciding.iter().flat_map(|domain| &domain.weakened) {
            self.diagnosis
                .step("weakened", Outcome::Note, weakness.clone());
        }
        let asks = asked(&policy.client_certificate);
        let ClientCertificate::Required { trust, manner, .. } = &policy.client_certificate else {
            self.diagnosis
                .step("handshake", Outcome::Passes, format!("it {asks}"));
            return;
        };
        let judged = match &self.question.chain {
            None => Err(ClientRefused::missing()),
            Some(chain) => trust
                .judge(chain, self.question.at)
                .map_err(|refusal| ClientRefused::judged(chain.clone(), refusal)),
        };
        let refused = match judged {
            Ok(_) => {
                let says = format!("it {asks}, and takes this one");
                self.diagnosis.step("handshake", Outcome::Passes, says);
                return;
            }
            Err(refused) => refused,
        };
        let revoked = matches!(refused.reason, RefusedFor::Judged(Refusal::Revoked { .. }));
        let unknown: Vec<String> = match self.question.chain {
            // Without a certificate, or with a revoked one, nothing in a store helps.
            None => Vec::new(),
            Some(_) if revoked => Vec::new(),
            Some(_) => self.unknown_of(port, deciding),
        };
        let failure = HandshakeFailure::refused(&refused);
        let alerts = alerts(&refused, *manner);
        if !unknown.is_empty() {
            let says = format!(
                "it {asks}; by files and inline PEM it would refuse this one with {alerts} ({refused})"
            );
            self.diagnosis.step("handshake", Outcome::Unknown, says);
            return;
        }
        let says = format!("it {asks}, and refuses with {alerts}: {refused}");
        self.diagnosis.step("handshake", Outcome::Refused, says);
        let remedy = Check::Handshake(failure.reason).remedy();
        self.diagnosis.advise(remedy.to_owned());
    }

    /// Ids of the store in the lists of some domains.
    fn unknown_of(&mut self, port: &Port, deciding: &[&ExplainedDomain]) -> Vec<String> {
        let ids: Vec<&str> = deciding
            .iter()
            .flat_map(|domain| &domain.apis)
            .map(|api| api.id.as_str())
            .collect();
        let running: Vec<&Arc<RunningApi>> = match &*port.service {
            Service::Http(service) => service.apis.iter().flatten().collect(),
            Service::Tcp { apis, .. } => apis.values().collect(),
        };
        let at = self.question.at;
        let asked = running
            .into_iter()
            .filter(|one| ids.contains(&&*one.api.id));
        let mut unknown: Vec<String> = asked
            .flat_map(|one| self.builder.entries(&one.api, None, at).unknown)
            .collect();
        if port.control && self.snapshot.control_list.is_some() {
            unknown.extend(self.builder.control_entries(None, at).unknown);
        }
        unknown
    }

    fn request(&mut self, port: &Port, service: &HttpService) {
        let cleaning = match self.config.server.skip_url_cleaning {
            true => Cleaning::KeepDoubleSlashes,
            false => Cleaning::Full,
        };
        let Ok(path) = clean_path(self.question.path, cleaning) else {
            return self.nobody("the path has no single reading: it is answered with 400");
        };
        if port.control && (path == "/tyk" || path.starts_with("/tyk/")) {
            return self.control_api(port);
        }
        let Some(found) = service.table.route(self.host, &path) else {
            return self.nobody("no API listens at this host and path: it is answered with 404");
        };
        let (RouteAnswer::Serve(_), Some(api)) =
            (&found.route().answer, &service.apis[found.index()])
        else {
            let says = format!(
                "API {} is quarantined and answers 503",
                found.route().api_id()
            );
            self.diagnosis.step("route", Outcome::Refused, says);
            self.diagnosis
                .advise("Run `portcullis check`, which says why.".to_owned());
            return;
        };
        let (id, name) = (&api.api.id, &api.api.name);
        let versions = match found.route().has_versions() {
            true => "; it has versions, of which the base is looked at",
            false => "",
        };
        let says = format!(
            "the path reaches API {name} ({id}) at {}{versions}",
            api.api.listen_path
        );
        self.diagnosis.step("route", Outcome::Note, says);
        self.list(port, api, Stage::Request);
    }

    fn list(&mut self, port: &Port, api: &Arc<RunningApi>, stage: Stage) {
        let Some(list) = &api.clients else {
            let authentication = &api.api.authentication;
            if let (true, Some(chain)) =
                (authentication.regards_certificates(), &self.question.chain)
                && let Err(barred) = unrevoked(api, chain, self.question.at)
            {
                let says = format!("refused with 403 `{barred}`: {}", barred.detail());
                self.diagnosis.step("revocation", Outcome::Refused, says);
                let remedy = Check::barred(stage, &barred).remedy();
                return self.diagnosis.advise(remedy.to_owned());
            }
            if authentication.takes_certificates() {
                return self.key(port, api);
            }
            let (outcome, says) = if authentication.asks_for_certificates() {
                (
                    Outcome::Unknown,
                    "it has no allow list; a token that is bound to a certificate has to come with that one",
                )
            } else {
                (
                    Outcome::Passes,
                    "it has no allow list: no certificate is asked for",
                )
            };
            return self.diagnosis.step("list", outcome, says.to_owned());
        };
        let (chain, at) = (self.question.chain.as_deref(), self.question.at);
        let judged = judge(list.allow_list(), port.tls.is_some(), chain, at);
        let entries = self.builder.entries(&api.api, chain, at);
        let place = format!("client_certificates of API {}", api.api.id);
        self.verdict(&place, stage, judged, &entries);
    }

    fn control_api(&mut self, port: &Port) {
        let says = "the path is the Control API's, which wants the secret besides";
        self.diagnosis.step("route", Outcome::Note, says.to_owned());
        let Some(list) = &self.snapshot.control_list else {
            let says = "it asks for no certificate".to_owned();
            return self.diagnosis.step("list", Outcome::Passes, says);
        };
        let (chain, at) = (self.question.chain.as_deref(), self.question.at);
        let judged = judge(list.allow_list(), port.tls.is_some(), chain, at);
        let entries = self.builder.control_entries(chain, at);
        let place = "security.certificates.control_api";
        self.verdict(place, Stage::ControlApi, judged, &entries);
    }

    fn verdict(
        &mut self,
        place: &str,
        stage: Stage,
        judged: Result<(), Barred>,
        entries: &Entries,
    ) {
        let barred = match judged {
            Ok(()) => {
                let by = entries.admits.as_deref().unwrap_or("its entries together");
                let says = format!("{place}: {by} lets it pass");
                return self.diagnosis.step("list", Outcome::Passes, says);
            }
            Err(barred) => barred,
        };
        let print = self
            .question
            .chain
            .as_ref()
            .map(|chain| chain.fingerprint().to_string());
        if let (Barred::NotAllowed(_), false) = (&barred, entries.unknown.is_empty()) {
            let ids = entries.unknown.join(", ");
            let named = print
                .as_ref()
                .is_some_and(|print| entries.unknown.iter().any(|id| id.ends_with(print)));
            let says = match named {
                true => format!(
                    "{place} names this very certificate by its id; it passes if the certificate store, \
                     which could not be looked into, holds it"
                ),
                false => format!(
                    "{place}: no file and no inline PEM lets it pass; these ids of the certificate store, \
                     which could not be looked into, count as unknown: {ids}"
                ),
            };
            self.diagnosis.step("list", Outcome::Unknown, says);
            self.diagnosis.advise(
                "Ask the running gateway which certificates it holds (`portcullis cert list`), or list the \
                 certificate as a file."
                    .to_owned(),
            );
            return;
        }
        if let (Barred::NotAllowed(_), Some(id)) = (
            &barred,
            print.and_then(|print| entries.absent.iter().find(|id| id.ends_with(&print))),
        ) {
            let says = format!(
                "{place}: refused with 403 `{barred}`: the list names it by its id, which the certificate store \
                 does not hold"
            );
            self.diagnosis.step("list", Outcome::Refused, says);
            let change =
                format!("Upload the certificate (`portcullis cert add`), whose id is {id}.");
            return self.diagnosis.advise(change);
        }
        let why = match &barred {
            Barred::Revoked(refusal) | Barred::RevocationUnknown(refusal) => format!(": {refusal}"),
            _ => String::new(),
        };
        let says = format!("{place}: refused with 403 `{barred}`{why}");
        self.diagnosis.step("list", Outcome::Refused, says);
        let change = match (&barred, &self.question.chain) {
            (Barred::NotAllowed(print), Some(chain)) => {
                let leaf = chain.leaf();
                let issuer = distinguished_name(leaf.issuer_name());
                format!("Add this certificate ({print}) or its issuer ({issuer}) to {place}.")
            }
            _ => Check::barred(stage, &barred).remedy().to_owned(),
        };
        self.diagnosis.advise(change);
    }

    fn nobody(&mut self, says: &str) {
        self.diagnosis
            .step("route", Outcome::Refused, says.to_owned());
        self.diagnosis.advise(
            "Run `portcullis check` for the hosts and paths there are, and give --host and --path one of \
             them."
                .to_owned(),
        );
    }
}

fn judge(
    list: &portcullis_policy::AllowList,
    tls: bool,
    chain: Option<&PresentedChain>,
    at: i64,
) -> Result<(), Barred> {
    match (tls, chain) {
        (false, _) => Err(Barred::NoTls),
        (true, None) => Err(Barred::NoCertificate),
        (true, Some(chain)) => match list.judge(chain, at) {
            Ok(_) => Ok(()),
            Err(refused) => Err(Barred::by(&refused, chain)),
        },
    }
}

/// Why ids of the store count as unknown.
pub fn not_looked_into(error: &StoreError) -> String {
    format!("the store cannot be looked into, so what it holds counts as unknown: {error}")
}

/// Whether nobody has revoked a certificate that is a key.
fn unrevoked(api: &RunningApi, chain: &PresentedChain, at: i64) -> Result<(), Barred> {
    let said = api.revocation.leaf(chain, std::iter::empty(), at);
    said.map(drop).map_err(Barred::revoked)
}

/// The alerts a client sees, by version where they differ.
fn alerts(refused: &ClientRefused, manner: Manner) -> String {
    let [old, new] = [Version::Tls12, Version::Tls13].map(|version| refused.alert(manner, version));
    match old == new {
        true => format!("alert {new} {}", alert_name(new)),
        false => format!(
            "alert {new} {} (in TLS 1.2 {old} {})",
            alert_name(new),
            alert_name(old)
        ),
    }
}
