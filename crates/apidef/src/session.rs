//! Sessions: what a key may do, as stored under its name (store sheet 4.1).
//!
//! A session is written by many hands (our nodes, Tyk's, a Dashboard) and read by all of them, so
//! its JSON form is part of the contract: members keep their names and order, zero values are left
//! out, unknown members are passed over. The token is never inside.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a key may do, and how much of it is left.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Unix seconds of the last look at a limit, as older nodes keep it.
    #[serde(skip_serializing_if = "is_zero")]
    pub last_check: i64,
    /// What older limiters had left.
    #[serde(skip_serializing_if = "is_zero_float")]
    pub allowance: f64,
    /// Requests in [`Session::per`]; 0 or less is no limit.
    #[serde(skip_serializing_if = "is_zero_float")]
    pub rate: f64,
    /// Seconds.
    #[serde(skip_serializing_if = "is_zero_float")]
    pub per: f64,
    /// Seconds between two tries of a request over its rate; 0 or less is no throttling.
    #[serde(skip_serializing_if = "is_zero_float")]
    pub throttle_interval: f64,
    /// How often it is tried again.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttle_retry_limit: i64,
    /// Depth of GraphQL queries.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_query_depth: i64,
    /// When it was made, RFC 3339.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub date_created: String,
    /// Unix seconds after which it is worth nothing; 0 or less is never.
    #[serde(skip_serializing_if = "is_zero")]
    pub expires: i64,
    /// Requests in a quota period; -1 is no quota.
    #[serde(skip_serializing_if = "is_zero")]
    pub quota_max: i64,
    /// Unix seconds at which the quota starts anew.
    #[serde(skip_serializing_if = "is_zero")]
    pub quota_renews: i64,
    /// What is left of it.
    #[serde(skip_serializing_if = "is_zero")]
    pub quota_remaining: i64,
    /// Length of a quota period in seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub quota_renewal_rate: i64,
    /// What it opens, by `api_id`; empty is every API.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "or_default"
    )]
    pub access_rights: BTreeMap<String, AccessRight>,
    /// The organisation it belongs to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub org_id: String,
    /// OAuth client it was made for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub oauth_client_id: String,
    /// Tokens of OAuth clients.
    #[serde(skip_serializing_if = "Map::is_empty", deserialize_with = "or_default")]
    pub oauth_keys: Map<String, Value>,
    /// The certificate it was made for, as an id of the store.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// Certificates of which one must come along, as ids of the store.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub mtls_static_certificate_bindings: Vec<String>,
    /// Password of basic authentication.
    #[serde(skip_serializing_if = "BasicAuthData::is_empty")]
    pub basic_auth_data: BasicAuthData,
    /// Secret of tokens signed for this key.
    #[serde(skip_serializing_if = "JwtData::is_empty")]
    pub jwt_data: JwtData,
    /// It signs its requests.
    #[serde(skip_serializing_if = "is_false")]
    pub hmac_enabled: bool,
    /// It signs its requests with its own key.
    #[serde(skip_serializing_if = "is_false")]
    pub enable_http_signature_validation: bool,
    /// The secret it signs with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hmac_string: String,
    /// The public key it signs with, as an id of the store.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rsa_certificate_id: String,
    /// It opens nothing until somebody wakes it up.
    #[serde(skip_serializing_if = "is_false")]
    pub is_inactive: bool,
    /// The one policy of older definitions.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub apply_policy_id: String,
    /// Policies, by id.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub apply_policies: Vec<String>,
    /// Unix seconds after which its data is worth nothing.
    #[serde(skip_serializing_if = "is_zero")]
    pub data_expires: i64,
    /// When quota triggers tell somebody.
    #[serde(skip_serializing_if = "Monitor::is_empty")]
    pub monitor: Monitor,
    /// Its requests are recorded whole.
    #[serde(skip_serializing_if = "is_false", alias = "enable_detail_recording")]
    pub enable_detailed_recording: bool,
    /// Whatever its owner wants to know of it.
    #[serde(skip_serializing_if = "Map::is_empty", deserialize_with = "or_default")]
    pub meta_data: Map<String, Value>,
    /// Names it is grouped under.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// A human name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub alias: String,
    /// Unix seconds of the last change, as text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_updated: String,
    /// Unix seconds until which an id may be taken from a cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub id_extractor_deadline: i64,
    /// Seconds its entry lives in the store.
    #[serde(skip_serializing_if = "is_zero")]
    pub session_lifetime: i64,
    /// `retain` or `delete`: what becomes of its entry when it has expired.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub post_expiry_action: String,
    /// Seconds it is retained after it has expired; -1 is without end.
    #[serde(skip_serializing_if = "is_zero")]
    pub post_expiry_grace_period: i64,
    /// Limits that rise with use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<Value>,
}

/// What a session may do on one API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccessRight {
    /// The API's name.
    pub api_name: String,
    /// The API's id.
    pub api_id: String,
    /// Versions it opens; empty is every one.
    #[serde(deserialize_with = "or_default")]
    pub versions: Vec<String>,
    /// Paths and methods it opens; empty is every one.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub allowed_urls: Vec<AllowedUrl>,
    /// Limits on this API alone.
    #[serde(skip_serializing_if = "Limit::is_zero")]
    pub limit: Limit,
    /// Whose counters its limits use: empty the session's, an API id that API's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub allowance_scope: String,
    /// Rate limits of single endpoints.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub endpoints: Vec<EndpointLimit>,
    /// GraphQL, JSON-RPC and MCP rules, as written: kept, not enforced here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One path a session may use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllowedUrl {
    /// Regular expression.
    pub url: String,
    /// Upper-case methods.
    #[serde(deserialize_with = "or_default")]
    pub methods: Vec<String>,
}

/// Rate and quota of one scope.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limit {
    /// As [`Session::rate`].
    #[serde(skip_serializing_if = "is_zero_float")]
    pub rate: f64,
    /// As [`Session::per`].
    #[serde(skip_serializing_if = "is_zero_float")]
    pub per: f64,
    /// As [`Session::throttle_interval`].
    #[serde(skip_serializing_if = "is_zero_float")]
    pub throttle_interval: f64,
    /// As [`Session::throttle_retry_limit`].
    #[serde(skip_serializing_if = "is_zero")]
    pub throttle_retry_limit: i64,
    /// As [`Session::max_query_depth`].
    #[serde(skip_serializing_if = "is_zero")]
    pub max_query_depth: i64,
    /// As [`Session::quota_max`].
    #[serde(skip_serializing_if = "is_zero")]
    pub quota_max: i64,
    /// As [`Session::quota_renews`].
    #[serde(skip_serializing_if = "is_zero")]
    pub quota_renews: i64,
    /// As [`Session::quota_remaining`].
    #[serde(skip_serializing_if = "is_zero")]
    pub quota_remaining: i64,
    /// As [`Session::quota_renewal_rate`].
    #[serde(skip_serializing_if = "is_zero")]
    pub quota_renewal_rate: i64,
    /// As [`Session::smoothing`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<Value>,
}

/// The rate limit of one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointLimit {
    /// Regular expression.
    pub path: String,
    /// Limits by method.
    #[serde(deserialize_with = "or_default")]
    pub methods: Vec<MethodLimit>,
}

/// The rate limit of one method of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MethodLimit {
    /// Upper-case method.
    pub name: String,
    /// Its rate.
    pub limit: Limit,
}

/// A password at rest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BasicAuthData {
    /// The hash, or the password itself when there is no `hash_type`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// How it was hashed.
    #[serde(skip_serializing_if = "String::is_empty", rename = "hash_type")]
    pub hash: String,
}

/// The secret of tokens signed for a key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JwtData {
    /// The secret.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub secret: String,
}

/// When quota triggers tell somebody.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Monitor {
    /// Percentages of the quota.
    #[serde(deserialize_with = "or_default")]
    pub trigger_limits: Vec<f64>,
}

impl Limit {
    /// Nothing is limited.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl BasicAuthData {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl JwtData {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Monitor {
    fn is_empty(&self) -> bool {
        self.trigger_limits.is_empty()
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn is_zero_float(number: &f64) -> bool {
    *number == 0.0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// `null` is the default, as Go reads it.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
