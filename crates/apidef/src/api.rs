//! The one internal type every API definition becomes.
//!
//! Classic and OAS documents meet here. Nothing behind this type knows which of the two
//! it was, so a rule is written once. The values are checked as far as a definition can be
//! checked alone; what needs the rest of the system (does the certificate exist, is the
//! port allowed, is the listen path taken) is decided when a snapshot is built.
//!
//! Invariants:
//! - `listen_path` starts with `/`, is cleaned, and holds no space.
//! - `protections` names everything the definition relies on to keep somebody out. A
//!   gateway that lacks one of them must not serve the API (decision 5).

use std::fmt;
use std::time::Duration;

use crate::authentication::{Authentication, Limits, SessionLifetime};
use crate::breakers::CircuitBreaker;
use crate::client_crls::ClientCrls;
use crate::client_rules::ClientRules;
use crate::error_overrides::ErrorOverride;
use crate::events::EventHandler;
use crate::session::SecretText;
use crate::upstream_auth::UpstreamAuth;
use crate::upstream_tls::UpstreamTls;
use crate::uptime::UptimeTest;

/// An API as the gateway runs it.
#[derive(Clone, PartialEq)]
pub struct Api {
    /// `api_id`, unique in a gateway.
    pub id: String,
    /// `org_id`, the owner.
    pub org_id: String,
    /// The human name.
    pub name: String,
    /// `active: false` is not served but still listed (decision 6).
    pub active: bool,
    /// Reachable only through another API (`tyk://` looping, version children).
    pub internal: bool,
    /// Where clients reach it.
    pub listener: ApiListener,
    /// Custom domain, `None` when absent or disabled. Literal or `{name:regex}` pattern,
    /// lower-cased where literal, without a trailing dot (decision 17).
    pub domain: Option<String>,
    /// Server certificates of the custom domain: references as written (id, path, inline PEM).
    /// Empty when the domain is disabled.
    pub server_certificates: Vec<String>,
    /// Certificates that are named for something else than to be served.
    pub named_certificates: Vec<NamedCertificate>,
    /// Listen path as matched: `/`-led, cleaned, trailing slash kept, `{name}` and
    /// `{name:regex}` segments as written.
    pub listen_path: String,
    /// Remove the matched listen path before the request goes upstream.
    pub strip_listen_path: bool,
    /// Where requests go.
    pub upstream: Upstream,
    /// Sub-versions of a base API.
    pub versioning: Option<Versioning>,
    /// Total deadline of an exchange (`global_enforce_timeout`).
    pub enforce_timeout: Option<Duration>,
    /// Per-path deadlines (`hard_timeouts`), first match wins.
    pub endpoint_timeouts: Vec<EndpointTimeout>,
    /// Breakers of single paths, first match wins.
    pub breakers: Vec<CircuitBreaker>,
    /// Tests of its upstreams.
    pub uptime_tests: Vec<UptimeTest>,
    /// Paths that nobody is asked to prove anything for (`ignored`, `ignoreAuthentication`).
    pub open_paths: Vec<OpenPath>,
    /// `CORS` or other request-changing extras are not here: see `unsupported`.
    /// Suppress the access log for this API (`do_not_track` / traffic logs disabled).
    pub do_not_track: bool,
    /// References of the client certificates that may pass, in a definition that has an allow list.
    /// An empty list lets nobody pass.
    pub client_certificates: Option<Vec<String>>,
    /// Typed entries of that list.
    pub client_rules: ClientRules,
    /// Lists of certificates that their issuers have revoked.
    pub client_crls: ClientCrls,
    /// What the upstream is told of the certificate of a client that passed.
    pub client_identity: ClientIdentity,
    /// Rules that replace its error answers, the first that fits wins.
    pub error_overrides: Vec<ErrorOverride>,
    /// Who is told what happens to it.
    pub event_handlers: Vec<EventHandler>,
    /// Whether callers must say who they are, and how.
    pub authentication: Authentication,
    /// How often it may be called.
    pub limits: Limits,
    /// How long sessions of its keys are stored.
    pub session_lifetime: SessionLifetime,
    /// Protections the definition asks for, by name. Non-empty in a build that lacks
    /// one means quarantine.
    pub protections: Vec<Protection>,
    /// Features asked for that only change how a request looks, not who may make it.
    /// Each is one warning (decision 4).
    pub unsupported: Vec<String>,
}

/// Server certificates may be inline PEM with its key, so only their number is shown.
impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("id", &self.id)
            .field("org_id", &self.org_id)
            .field("name", &self.name)
            .field("active", &self.active)
            .field("internal", &self.internal)
            .field("listener", &self.listener)
            .field("domain", &self.domain)
            .field("server_certificates", &self.server_certificates.len())
            .field("named_certificates", &self.named_certificates.len())
            .field("listen_path", &self.listen_path)
            .field("strip_listen_path", &self.strip_listen_path)
            .field("upstream", &self.upstream)
            .field("versioning", &self.versioning)
            .field("enforce_timeout", &self.enforce_timeout)
            .field("endpoint_timeouts", &self.endpoint_timeouts)
            .field("breakers", &self.breakers)
            .field("uptime_tests", &self.uptime_tests.len())
            .field("open_paths", &self.open_paths)
            .field("do_not_track", &self.do_not_track)
            .field(
                "client_certificates",
                &self.client_certificates.as_ref().map(Vec::len),
            )
            .field("client_rules", &self.client_rules)
            .field("client_crls", &self.client_crls)
            .field("client_identity", &self.client_identity)
            .field("error_overrides", &self.error_overrides)
            .field("event_handlers", &self.event_handlers)
            .field("authentication", &self.authentication)
            .field("limits", &self.limits)
            .field("session_lifetime", &self.session_lifetime)
            .field("protections", &self.protections)
            .field("unsupported", &self.unsupported)
            .finish()
    }
}

/// The fields by which an upstream is told of a client's certificate; none unless a definition asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientIdentity {
    /// `Client-Cert` (RFC 9440).
    pub certificate: bool,
    /// `Client-Cert-Chain` (RFC 9440).
    pub chain: bool,
    /// `X-Forwarded-Client-Cert`, as Envoy writes it.
    pub forwarded: bool,
}

/// A certificate that a definition names for something else than to be served.
#[derive(Clone, PartialEq, Eq)]
pub struct NamedCertificate {
    /// What for.
    pub role: CertificateRole,
    /// The host it is meant for, where it is for one.
    pub host: Option<String>,
    /// As written: id, path, inline PEM; of a pin several, separated by commas.
    pub reference: String,
}

/// Inline PEM may hold a key, so the reference is not shown.
impl fmt::Debug for NamedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedCertificate")
            .field("role", &self.role)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// What a definition names a certificate for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateRole {
    /// Clients that show it are let in.
    AllowList,
    /// It is shown to an upstream.
    UpstreamClient,
    /// An upstream must have its key.
    Pin,
    /// It vouches for upstreams.
    UpstreamAuthority,
}

/// The listener an API asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiListener {
    /// `None`: the gateway's main port.
    pub port: Option<u16>,
    /// `None`: `https` when `use_ssl`, else `http`.
    pub protocol: Option<Protocol>,
    /// PROXY protocol v1 or v2 is expected before anything else.
    pub proxy_protocol: bool,
}

/// What is spoken on an API's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Clear-text HTTP/1.1 (and h2c with prior knowledge).
    Http,
    /// HTTP over TLS.
    Https,
    /// Clear-text HTTP/2.
    H2c,
    /// Raw bytes, relayed.
    Tcp,
    /// Raw bytes over TLS.
    Tls,
}

/// Where an API's requests go and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// One or more targets; more than one is load balanced round robin, each repeated
    /// by its weight. Never empty.
    pub targets: Vec<Target>,
    /// A target whose host fails its tests is passed over (`check_host_against_uptime_tests`).
    pub skip_down: bool,
    /// Send the client's `Host` on instead of the target's.
    pub preserve_host_header: bool,
    /// `disable_strip_slash`: keep a final slash of the joined path.
    pub keep_final_slash: bool,
    /// TLS towards the upstream.
    pub tls: UpstreamTls,
    /// The forward proxy on the way to it.
    pub proxy: UpstreamProxy,
    /// What the gateway proves itself with in a header field.
    pub auth: Option<UpstreamAuth>,
}

/// The forward proxy an API names, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct UpstreamProxy {
    /// Its URL as written, which may hold a password; `None` leaves the choice to the environment.
    pub url: Option<SecretText>,
    /// The certificate the gateway shows to it, a reference as written.
    pub certificate: Option<SecretText>,
    /// Authorities that vouch for it instead of the system's, references as written.
    pub authorities: Vec<String>,
    /// The name it is asked for and verified by instead of its URL's host.
    pub server_name: Option<String>,
    /// 769–772, `None` means as towards the upstream.
    pub min_version: Option<u16>,
    /// 769–772, `None` means as towards the upstream.
    pub max_version: Option<u16>,
}

impl UpstreamProxy {
    /// Whether anything is said of TLS towards the proxy.
    pub fn speaks_of_tls(&self) -> bool {
        self.certificate.is_some()
            || !self.authorities.is_empty()
            || self.server_name.is_some()
            || self.min_version.is_some()
            || self.max_version.is_some()
    }
}

/// One upstream base URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// What is spoken.
    pub scheme: Scheme,
    /// Host name or IP literal without brackets, lower-cased. For [`Scheme::Loop`]: the API's
    /// id or name, as written.
    pub host: String,
    /// Port, the scheme's default when the URL had none; 0 for [`Scheme::Loop`].
    pub port: u16,
    /// The `Host` value as the URL wrote it (`host[:port]`, brackets kept).
    pub authority: String,
    /// Path of the URL, `/`-led, may be `/`.
    pub path: String,
    /// Query of the URL without `?`, merged before the client's.
    pub query: Option<String>,
}

/// Scheme of an upstream URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http://`, `ws://`
    Http,
    /// `https://`, `wss://`
    Https,
    /// `h2c://`
    H2c,
    /// `tcp://`
    Tcp,
    /// `tls://`
    Tls,
    /// `tyk://` – another API of this gateway.
    Loop,
}

/// Version routing of a base API (store sheet 3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioning {
    /// Where the version name stands in a request.
    pub location: VersionLocation,
    /// Name of the base itself.
    pub base_name: String,
    /// Which version answers when the request names none: `None` is an error to the client.
    pub default: Option<VersionTarget>,
    /// Unknown names go to the default instead of an error.
    pub fallback_to_default: bool,
    /// Remove the version from the request before it goes upstream.
    pub strip: bool,
    /// Version name to API id.
    pub versions: Vec<(String, String)>,
}

/// Where a request names its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionLocation {
    /// A header, lower-cased name.
    Header(String),
    /// A query parameter.
    Query(String),
    /// The first path segment after the listen path, optionally only when it matches the pattern.
    Path {
        /// `url_versioning_pattern`: only a segment that matches counts as a version.
        pattern: Option<String>,
    },
}

/// What a version name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionTarget {
    /// The base API itself.
    Base,
    /// Another API by id.
    Api(String),
}

/// A deadline for requests whose path and method match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointTimeout {
    /// Path regular expression as Tyk writes it, matched on the path after the listen path.
    /// `{name}` stands for one segment.
    pub path: String,
    /// Upper-case method, `None` for every method.
    pub method: Option<String>,
    /// The deadline.
    pub timeout: Duration,
}

/// A path of an API without authentication: neither its allow list nor a key is asked for, and no
/// key's limit counts (inbound sheet 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPath {
    /// As in [`EndpointTimeout::path`]; the whole path has to match.
    pub path: String,
    /// Upper-case method, `None` for every method.
    pub method: Option<String>,
    /// Whether capital letters in the path do not matter.
    pub ignore_case: bool,
}

/// A protection an API relies on. Serving without it would let somebody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protection {
    /// A method of authentication beside token and basic.
    Authentication(AuthMethod),
    /// Alternatives between methods, or several of one kind: one of them is to be enough.
    AuthenticationModes,
    /// IP allow or block lists.
    IpAccess,
    /// Allow, block or ignore lists of paths.
    PathAccess,
    /// Rate limits of endpoints.
    RateLimit,
    /// Request size limit.
    RequestSizeLimit,
    /// JSON or OAS request validation.
    RequestValidation,
    /// Upstream reached through a SOCKS proxy.
    SocksProxy,
    /// A signature of requests towards the upstream.
    UpstreamCredentials,
    /// Custom plugins or middleware that may refuse a request.
    Plugins,
    /// GraphQL, MCP or other protocol-level access rules.
    ProtocolRules,
    /// Rules that decide where a request goes: URL rewrites, mock responses, service
    /// discovery, target overrides. Without them a request reaches a place that was never
    /// meant to see it.
    RequestRouting,
    /// Several versions inside one Classic definition (`version_data.not_versioned: false`).
    InlineVersions,
    /// A date after which the API or its version must not answer.
    Expiry,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authentication(method) => return method.fmt(f),
            Self::AuthenticationModes => {
                "alternatives between authentication methods (securityProcessingMode: compliant), \
                 or several security schemes of one kind"
            }
            Self::IpAccess => "IP address allow or block list",
            Self::PathAccess => "path allow or block list",
            Self::RateLimit => "rate limit of an endpoint",
            Self::RequestSizeLimit => "request size limit",
            Self::RequestValidation => "request validation",
            Self::SocksProxy => {
                "SOCKS proxy towards the upstream (proxies whose URL begins with http:// or https:// \
                 can be used)"
            }
            Self::UpstreamCredentials => "signature of requests towards the upstream",
            Self::Plugins => "custom plugins",
            Self::ProtocolRules => "GraphQL, MCP or streaming rules",
            Self::RequestRouting => "URL rewrite, mock response or service discovery",
            Self::InlineVersions => "several versions inside one definition",
            Self::Expiry => "expiry date",
        })
    }
}

/// Authentication methods a definition may enable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AuthMethod {
    /// `use_standard_auth`, or no method at all on a non-keyless API.
    Token,
    /// Certificate Auth (dynamic mTLS).
    Certificate,
    /// Basic authentication.
    Basic,
    /// User name and password taken from a request's body.
    BasicInBody,
    /// HMAC or HTTP signature, of a request or of a token.
    Hmac,
    /// JWT.
    Jwt,
    /// OAuth 2, the gateway itself being the provider.
    OAuth,
    /// OpenID Connect.
    OpenId,
    /// Go plugin, coprocess or JavaScript authentication.
    Custom,
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "token authentication",
            Self::Certificate => {
                "Certificate Auth without the token method (switch that on: use_standard_auth, or a \
                 scheme of type apiKey)"
            }
            Self::Basic => "basic authentication",
            Self::BasicInBody => "basic authentication with credentials in the body",
            Self::Hmac => "HMAC or HTTP signature authentication",
            Self::Jwt => "JWT authentication",
            Self::OAuth => {
                "OAuth authentication with the gateway as the provider (access tokens of others are taken with \
                 external_oauth, or a scheme with `providers`)"
            }
            Self::OpenId => "OpenID Connect authentication",
            Self::Custom => "custom plugin authentication",
        })
    }
}
