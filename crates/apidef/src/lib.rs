//! API definitions: Classic and OAS documents become one [`Api`].
//!
//! ```text
//! files of app_path ─ parse_files ─┐
//! one text ─ parse_definition ─────┼─> ParsedDefinition { api, document, warnings }
//! bytes ─ parse_classic/parse_oas ─┘        or every DefinitionError of the text
//! Control API bodies ─ control::… ───> control::Accepted (files to store) or Rejection
//! a key's JSON ─ session::Session ─┐
//! policy files ─ policies::Policy ─┴─ policies::apply ─> the session in force
//! ```
//!
//! - [`Api`] is what the gateway runs; nothing behind it knows which format it came from.
//! - [`Document`] is what was written, every member of it, for reading and export.
//! - [`DefinitionError`] and [`Warning`] name the key path. One error quarantines the API;
//!   all errors of a text are found in one pass.
//! - [`control`] holds what the Control API decides about definitions, as pure functions; its
//!   table says which function belongs to which request.
//!
//! This crate reports which protections a definition asks for ([`Api::protections`]). It does
//! not know which of them the gateway has, so it never decides about quarantine.
//!
//! Architecture invariants: no file, socket or clock is touched here; and no text, however
//! broken, makes a function of this crate panic ([`parse_classic`] and [`parse_oas`] are the
//! entry points for fuzzing).

mod api;
mod authentication;
mod breakers;
mod classic;
mod client_crls;
mod client_rules;
pub mod control;
mod document;
mod duration;
mod error_overrides;
mod events;
mod facts;
mod json;
mod jwt;
mod listen_path;
mod members;
mod oas;
mod oauth;
mod ours;
mod place;
pub mod policies;
mod proxy;
mod reader;
mod report;
pub mod session;
mod source;
mod substitute;
mod target;
mod upstream_auth;
mod upstream_tls;
mod uptime;

pub use api::*;
pub use authentication::{
    Authentication, Basic, Bearer, Identity, Limits, Methods, Places, Rate, SessionLifetime,
};
pub use breakers::CircuitBreaker;
pub use client_crls::{ClientCrls, CrlMode};
pub use client_rules::{CertificateReference, ClientMatch, ClientRule, ClientRules};
pub use document::{Document, Format, ParsedDefinition, parse_classic, parse_oas};
pub use error_overrides::{
    BodyPart, ErrorAnswer, ErrorMatch, ErrorOverride, ErrorStatus, OVERRIDE_FLAGS,
    gateway_error_overrides,
};
pub use events::{EventAction, EventHandler, EventKind, Webhook, WebhookMethod};
pub use jwt::{
    ClaimDemands, ClaimRule, ClaimTest, ClockRules, Jwt, JwtKeys, KeySetUrl, PolicyClaims,
    SigningMethod, is_url,
};
pub use oauth::{ExternalOauth, Introspection, SignedTokens, TokenJudge};
pub use place::Place;
pub use report::{DefinitionError, ErrorKind, Warning};
pub use source::{
    DefinitionFile, SourceFile, is_definition_name, parse_definition, parse_files, parse_resolved,
};
pub use substitute::{Replace, Replaced, Resolved, nothing_replaced};
pub use upstream_auth::{TokenGrant, TokenRequest, UpstreamAuth, UpstreamCredential};
pub use upstream_tls::{Renegotiation, SYSTEM_AUTHORITIES, UpstreamTls};
pub use uptime::{TestRequest, TestStep, UptimeTest};
