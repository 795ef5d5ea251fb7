//! What stands in the way of a definition's wish for a place in a routing table.

use portcullis_apidef::Protocol;

use crate::template::PatternError;

/// A problem found while a table was built. The table stands all the same; other APIs are
/// untouched.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RouteProblem {
    /// Another API, earlier in file order, has the same host and listen path.
    #[error(
        "api `{api_id}`: the listen path `{listen_path}` on {host} belongs to api `{kept_by}`; it is served on `{moved_to}` instead, choose another listen_path"
    )]
    DuplicatePath {
        /// The later API.
        api_id: String,
        /// What both want.
        listen_path: String,
        /// Domain, or `any host`.
        host: String,
        /// The earlier API.
        kept_by: String,
        /// Where the later API is mounted.
        moved_to: String,
    },
    /// The listen path does not compile. The API is quarantined.
    #[error("api `{api_id}`: listen_path `{listen_path}` is not usable, the api is quarantined")]
    ListenPath {
        /// The API.
        api_id: String,
        /// Its listen path.
        listen_path: String,
        /// Why.
        #[source]
        source: PatternError,
    },
    /// The domain does not compile. The API is quarantined; no host leads to it.
    #[error("api `{api_id}`: domain `{domain}` is not usable, the api is quarantined")]
    Domain {
        /// The API.
        api_id: String,
        /// Its domain.
        domain: String,
        /// Why.
        #[source]
        source: PatternError,
    },
    /// `url_versioning_pattern` does not compile. The API is quarantined.
    #[error("api `{api_id}`: url_versioning_pattern is not usable, the api is quarantined")]
    VersionPattern {
        /// The API.
        api_id: String,
        /// Why.
        #[source]
        source: PatternError,
    },
    /// The gateway's `hostname` does not compile: APIs without a domain are not routed.
    #[error("hostname `{hostname}` is not usable, no api without a domain is routed")]
    Hostname {
        /// The option's value.
        hostname: String,
        /// Why.
        #[source]
        source: PatternError,
    },
    /// The domain's expression holds a colon, so it is compared with the port of the `Host`.
    #[error(
        "api `{api_id}`: domain `{domain}` holds a colon, so it is compared with the port the client sends; a (?:…) group counts too"
    )]
    DomainSeesPort {
        /// The API.
        api_id: String,
        /// Its domain.
        domain: String,
    },
    /// No request path can match: it would be cleaned or refused before.
    #[error(
        "api `{api_id}`: listen_path `{listen_path}` holds an escaped slash, a backslash, a double slash or a dot segment; no request reaches it"
    )]
    UnreachablePath {
        /// The API.
        api_id: String,
        /// Its listen path.
        listen_path: String,
    },
    /// `/<api_id>/` is another API's listen path.
    #[error("api `{api_id}`: the second mount `{path}` is not made, it belongs to api `{kept_by}`")]
    ApiIdPathTaken {
        /// The API whose second mount is not made.
        api_id: String,
        /// `/<api_id>/`.
        path: String,
        /// Who has the path.
        kept_by: String,
    },
    /// The port speaks another protocol. The API is not reachable.
    #[error(
        "api `{api_id}`: wants {wanted:?} on port {port}, which speaks {spoken:?}; it is not reachable"
    )]
    ProtocolConflict {
        /// The API.
        api_id: String,
        /// The port.
        port: u16,
        /// What the API wants.
        wanted: Protocol,
        /// What the main port, or the first API on the port, speaks.
        spoken: Protocol,
    },
    /// Another TCP service, earlier in file order, has the same domain. The API is not
    /// reachable.
    #[error(
        "api `{api_id}`: {host} on port {port} belongs to api `{kept_by}`; it is not reachable"
    )]
    DuplicateService {
        /// The later API.
        api_id: String,
        /// The port.
        port: u16,
        /// Domain, or `any host`.
        host: String,
        /// The earlier API.
        kept_by: String,
    },
    /// A TCP service is chosen by its exact name. The API is not reachable.
    #[error(
        "api `{api_id}`: domain `{domain}` is a pattern; a tcp or tls service needs a literal name, it is not reachable"
    )]
    ServiceDomainPattern {
        /// The API.
        api_id: String,
        /// Its domain.
        domain: String,
    },
}

impl RouteProblem {
    /// The API it is about; `None` for the gateway's own options.
    #[must_use]
    pub fn api_id(&self) -> Option<&str> {
        match self {
            Self::DuplicatePath { api_id, .. }
            | Self::ListenPath { api_id, .. }
            | Self::Domain { api_id, .. }
            | Self::VersionPattern { api_id, .. }
            | Self::DomainSeesPort { api_id, .. }
            | Self::UnreachablePath { api_id, .. }
            | Self::ApiIdPathTaken { api_id, .. }
            | Self::ProtocolConflict { api_id, .. }
            | Self::DuplicateService { api_id, .. }
            | Self::ServiceDomainPattern { api_id, .. } => Some(api_id),
            Self::Hostname { .. } => None,
        }
    }

    /// Whether the API was quarantined because of it.
    #[must_use]
    pub fn quarantines(&self) -> bool {
        matches!(
            self,
            Self::ListenPath { .. } | Self::Domain { .. } | Self::VersionPattern { .. }
        )
    }

    /// The whole cause as one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
