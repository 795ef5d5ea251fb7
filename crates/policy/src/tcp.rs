//! Which service a raw TCP or TLS connection reaches.
//!
//! One service may own a port alone. Several share a TLS port by the server name the
//! client sends: the exact domain, else the service without a domain. A client that sends
//! no name reaches something only where there is no choice to make.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_apidef::Protocol;

use crate::candidate::{Candidate, port_protocols};
use crate::host::{HostRule, normalize_host};
use crate::problem::RouteProblem;
use crate::route::{Answer, Route};

/// The services of one raw TCP or TLS port.
#[derive(Debug, Default)]
pub struct TcpTable {
    routes: Vec<Route>,
    by_name: HashMap<Box<str>, usize>,
    anywhere: Option<usize>,
}

impl TcpTable {
    /// The services among `candidates`, in load order, on `port`. Domains count whatever
    /// `enable_custom_domains` says: they choose by name, they do not bind a `Host`.
    #[must_use]
    pub fn build(
        candidates: &[Candidate],
        port: u16,
        main_port: u16,
        default_protocol: Protocol,
    ) -> (Self, Vec<RouteProblem>) {
        let (mut table, mut problems) = (Self::default(), Vec::new());
        let protocols = port_protocols(candidates, main_port, default_protocol);
        let Some(&spoken @ (Protocol::Tcp | Protocol::Tls)) = protocols.get(&port) else {
            return (table, problems);
        };
        for candidate in candidates {
            let placed = !candidate.is_inactive() && !candidate.is_internal();
            if !placed || candidate.port(main_port) != port {
                continue;
            }
            let wanted = candidate.protocol(default_protocol);
            if wanted != spoken {
                let api_id = candidate.id().to_owned();
                problems.push(RouteProblem::ProtocolConflict {
                    api_id,
                    port,
                    wanted,
                    spoken,
                });
                continue;
            }
            if let Err(problem) = table.add(candidate, port) {
                problems.push(problem);
            }
        }
        (table, problems)
    }

    /// The service for a client that sent `server_name`, or none.
    #[must_use]
    pub fn pick(&self, server_name: Option<&str>) -> Option<&Route> {
        let index = match server_name {
            Some(name) => self
                .by_name
                .get(&*normalize_host(name))
                .copied()
                .or(self.anywhere)?,
            None if self.routes.len() == 1 => 0,
            None => return None,
        };
        self.routes.get(index)
    }

    /// The services, in load order.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    fn add(&mut self, candidate: &Candidate, port: u16) -> Result<(), RouteProblem> {
        let domain = candidate.domain();
        let index = self.routes.len();
        let name = match domain.map(HostRule::parse) {
            None => None,
            Some(Ok(HostRule::Exact { host, .. })) => Some(normalize_host(&host).into_owned()),
            Some(_) => {
                return Err(RouteProblem::ServiceDomainPattern {
                    api_id: candidate.id().to_owned(),
                    domain: domain.unwrap_or_default().to_owned(),
                });
            }
        };
        let taken = match &name {
            Some(name) => self.by_name.get(name.as_str()).copied(),
            None => self.anywhere,
        };
        if let Some(taken) = taken {
            return Err(RouteProblem::DuplicateService {
                api_id: candidate.id().to_owned(),
                port,
                host: name.map_or_else(|| "any host".to_owned(), |name| format!("`{name}`")),
                kept_by: self.routes[taken].api_id().to_owned(),
            });
        }
        match name {
            Some(name) => {
                self.by_name.insert(name.into_boxed_str(), index);
            }
            None => self.anywhere = Some(index),
        }
        self.routes.push(Route {
            answer: match candidate {
                Candidate::Ready(api) => Answer::Serve(Arc::clone(api)),
                Candidate::Quarantined(api) => Answer::Quarantined(Arc::clone(api)),
            },
            host: domain.map(Into::into),
            listen_path: "".into(),
            versions: None,
        });
        Ok(())
    }
}
