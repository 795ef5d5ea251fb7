//! Sessions: what a key may do, as stored under its name.
//!
//! A session is written by many hands (our nodes, Tyk's, a Dashboard) and read by all of them, so
//! its JSON form is part of the contract:
//! - Members keep their names and order; zero values are left out; maps are sorted by name; a
//!   number without a fraction is written without one.
//! - Names are read in any case, unknown members are passed over, `null` is the zero value, and a
//!   member of the wrong type makes the whole session unreadable: it opens nothing.
//!
//! The token is never inside. Secrets that are have a type that does not print them.

mod members;
mod read;
mod secret;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::Value;

#[cfg(test)]
pub(crate) use self::members::SESSION;
pub(crate) use self::{
    members::RIGHT,
    read::{integer, rights, values},
};
pub use self::{read::SessionError, secret::SecretText};

/// What a key may do, and how much of it is left.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Session {
    /// Unix seconds of the last look at a limit, as older nodes keep it.
    #[serde(skip_serializing_if = "is_zero")]
    pub last_check: i64,
    /// What older limiters had left.
    #[serde(skip_serializing_if = "is_zero_float", serialize_with = "number")]
    pub allowance: f64,
    /// Requests in [`Session::per`]; 0 or less is no limit.
    #[serde(skip_serializing_if = "is_zero_float", serialize_with = "number")]
    pub rate: f64,
    /// Seconds.
    #[serde(skip_serializing_if = "is_zero_float", serialize_with = "number")]
    pub per: f64,
    /// Seconds between two tries of a request over its rate; 0 or less is no throttling.
    #[serde(skip_serializing_if = "is_zero_float", serialize_with = "number")]
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
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub access_rights: BTreeMap<String, AccessRight>,
    /// The organisation it belongs to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub org_id: String,
    /// OAuth client it was made for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub oauth_client_id: String,
    /// Tokens of OAuth clients.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub oauth_keys: BTreeMap<String, String>,
    /// The certificate it was made for, as an id of the store.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// Certificates of which one must come along, as ids of the store.
    #[serde(skip_serializing_if = "Vec::is_empty")]
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
    #[serde(skip_serializing_if = "SecretText::is_empty")]
    pub hmac_string: SecretText,
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub apply_policies: Vec<String>,
    /// Unix seconds after which its data is worth nothing.
    #[serde(skip_serializing_if = "is_zero")]
    pub data_expires: i64,
    /// When quota triggers tell somebody.
    #[serde(skip_serializing_if = "Monitor::is_empty")]
    pub monitor: Monitor,
    /// Its requests are recorded whole.
    #[serde(skip_serializing_if = "is_false")]
    pub enable_detailed_recording: bool,
    /// Whatever its owner wants to know of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub meta_data: BTreeMap<String, Value>,
    /// Names it is grouped under.
    #[serde(skip_serializing_if = "Vec::is_empty")]
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
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AccessRight {
    /// The API's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_name: String,
    /// The API's id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_id: String,
    /// Versions it opens; empty is every one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// Paths and methods it opens; empty is every one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_urls: Vec<AllowedUrl>,
    /// GraphQL types and fields it closes: kept, merged, not enforced here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restricted_types: Vec<Value>,
    /// GraphQL types and fields it opens: kept, merged, not enforced here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_types: Vec<Value>,
    /// Limits on this API alone.
    #[serde(skip_serializing_if = "Limit::is_zero")]
    pub limit: Limit,
    /// GraphQL depths by field: kept, merged, not enforced here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub field_access_rights: Vec<Value>,
    /// GraphQL introspection is closed: kept, not enforced here.
    #[serde(skip_serializing_if = "is_false")]
    pub disable_introspection: bool,
    /// Whose counters its limits use: empty the session's, an API id that API's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub allowance_scope: String,
    /// Rate limits of single endpoints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointLimit>,
    /// JSON-RPC and MCP rules, as written and by name: kept, not enforced here.
    #[serde(flatten)]
    pub remote_calls: BTreeMap<&'static str, Value>,
}

/// One path a session may use.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AllowedUrl {
    /// Regular expression.
    pub url: String,
    /// Upper-case methods.
    pub methods: Vec<String>,
}

/// Rate and quota of one scope.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Limit {
    /// As [`Session::rate`].
    #[serde(skip_serializing_if = "is_zero_float", serialize_with = "number")]
    pub rate: f64,
    /// As [`Session::per`].
    #[serde(skip_serializing_if = "is_zero_float", serialize_with = "number")]
    pub per: f64,
    /// As [`Session::smoothing`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<Value>,
    /// As [`Session::throttle_interval`].
    #[serde(skip_serializing_if = "is_zero_float", serialize_with = "number")]
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
}

/// The rate limit of one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EndpointLimit {
    /// Regular expression.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Limits by method.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<MethodLimit>,
}

/// The rate limit of one method of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MethodLimit {
    /// Upper-case method.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its rate.
    pub limit: Limit,
}

/// A password at rest.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BasicAuthData {
    /// The hash, or the password itself when there is no `hash_type`.
    #[serde(skip_serializing_if = "SecretText::is_empty")]
    pub password: SecretText,
    /// How it was hashed.
    #[serde(skip_serializing_if = "String::is_empty", rename = "hash_type")]
    pub hash: String,
}

/// The secret of tokens signed for a key.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct JwtData {
    /// The secret.
    #[serde(skip_serializing_if = "SecretText::is_empty")]
    pub secret: SecretText,
}

/// When quota triggers tell somebody.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Monitor {
    /// Percentages of the quota.
    #[serde(serialize_with = "numbers")]
    pub trigger_limits: Vec<f64>,
}

impl Session {
    /// The ids of its policies: the list, else the one of older definitions.
    pub fn policy_ids(&self) -> Vec<&str> {
        if self.apply_policies.is_empty() {
            Some(self.apply_policy_id.as_str())
                .filter(|id| !id.is_empty())
                .into_iter()
                .collect()
        } else {
            self.apply_policies.iter().map(String::as_str).collect()
        }
    }

    /// It signs in with a user name and a password.
    pub fn has_password(&self) -> bool {
        !self.basic_auth_data.password.is_empty()
    }

    /// Its rate and quota as those of one scope.
    pub fn limit(&self) -> Limit {
        Limit {
            rate: self.rate,
            per: self.per,
            smoothing: self.smoothing.clone(),
            throttle_interval: self.throttle_interval,
            throttle_retry_limit: self.throttle_retry_limit,
            max_query_depth: self.max_query_depth,
            quota_max: self.quota_max,
            quota_renews: self.quota_renews,
            quota_remaining: self.quota_remaining,
            quota_renewal_rate: self.quota_renewal_rate,
        }
    }

    /// The JSON text that goes into the store.
    pub fn to_json(&self) -> String {
        // Names are texts and numbers are finite: there always is one.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Limit {
    /// Nothing is limited. Smoothing alone limits nothing.
    pub fn is_zero(&self) -> bool {
        let bare = Self {
            smoothing: self.smoothing.clone(),
            ..Self::default()
        };
        *self == bare
    }

    /// Seconds between two requests at the limit; 0 when there is none.
    pub fn interval(&self) -> f64 {
        if self.rate <= 0.0 || self.per <= 0.0 {
            0.0
        } else {
            self.per / self.rate
        }
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

/// Largest number up to which every whole number is a double.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// `100` rather than `100.0`, as Go writes it.
pub(crate) fn number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if number.fract() == 0.0 && number.abs() <= WHOLE {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within range")]
        serializer.serialize_i64(*number as i64)
    } else {
        serializer.serialize_f64(*number)
    }
}

fn numbers<S: Serializer>(list: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
    struct Item(f64);
    impl Serialize for Item {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            number(&self.0, serializer)
        }
    }
    serializer.collect_seq(list.iter().copied().map(Item))
}

#[cfg(test)]
mod tests;
