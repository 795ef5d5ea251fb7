//! One policy as JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::{
    json::from_json,
    members::{Inner, Shape, canonicalise},
    reader::Node,
    report::{DefinitionError, Report, Warning},
    session::{self, AccessRight, Limit},
};

/// What keys with this policy may do.
///
/// `active` is kept and has no effect: a policy that is written without it is in force as well.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Policy {
    /// Its id in a Dashboard's database, 24 hex digits; empty when it has none.
    #[serde(rename = "_id")]
    pub database_id: String,
    /// Its id.
    pub id: String,
    /// A human name.
    pub name: String,
    /// The organisation whose keys may have it.
    pub org_id: String,
    /// Requests in [`Policy::per`].
    #[serde(serialize_with = "session::number")]
    pub rate: f64,
    /// Seconds.
    #[serde(serialize_with = "session::number")]
    pub per: f64,
    /// Requests in a quota period; -1 is no quota.
    pub quota_max: i64,
    /// Length of a quota period in seconds.
    pub quota_renewal_rate: i64,
    /// Seconds between two tries of a request over its rate.
    #[serde(serialize_with = "session::number")]
    pub throttle_interval: f64,
    /// How often it is tried again.
    pub throttle_retry_limit: i64,
    /// Depth of GraphQL queries.
    pub max_query_depth: i64,
    /// What it opens, by `api_id`.
    #[serde(serialize_with = "null_when_empty")]
    pub access_rights: BTreeMap<String, AccessRight>,
    /// Keys sign their requests.
    pub hmac_enabled: bool,
    /// Keys sign their requests with a key of their own.
    pub enable_http_signature_validation: bool,
    /// Kept as written.
    pub active: bool,
    /// Its keys open nothing.
    pub is_inactive: bool,
    /// Names its keys are grouped under.
    #[serde(serialize_with = "list_or_null")]
    pub tags: Vec<String>,
    /// Seconds a new key lives; 0 or less is no limit.
    pub key_expires_in: i64,
    /// `retain` or `delete`: what becomes of a key's entry when it has expired.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub post_expiry_action: String,
    /// Seconds it is retained after it has expired; -1 is without end.
    pub post_expiry_grace_period: i64,
    /// Which parts of it count; none set is all of them.
    pub partitions: Partitions,
    /// Unix seconds of the last change, as text.
    pub last_updated: String,
    /// What its keys are told in addition.
    #[serde(serialize_with = "null_when_empty")]
    pub meta_data: BTreeMap<String, Value>,
    /// GraphQL rules, as written: kept, not enforced here.
    #[serde(rename = "graphql_access_rights", serialize_with = "null_when_empty")]
    pub graphql: BTreeMap<String, Value>,
    /// Limits that rise with use, as written.
    pub smoothing: Option<Value>,
}

/// Which parts of a policy count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Partitions {
    /// Its quota.
    pub quota: bool,
    /// Its rate limit and throttling.
    pub rate_limit: bool,
    /// Its depth of GraphQL queries.
    pub complexity: bool,
    /// Its access rights.
    pub acl: bool,
    /// Limits are those of each API, not of the policy.
    pub per_api: bool,
}

/// Why a text is no policy: every reason there is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct PolicyError {
    /// The reasons, each with the member it is about.
    pub problems: Vec<DefinitionError>,
}

pub(crate) const POLICY: Shape = Shape {
    leaves: &[
        "_id",
        "active",
        "enable_http_signature_validation",
        "graphql_access_rights",
        "hmac_enabled",
        "id",
        "is_inactive",
        "key_expires_in",
        "last_updated",
        "max_query_depth",
        "meta_data",
        "name",
        "org_id",
        "per",
        "post_expiry_action",
        "post_expiry_grace_period",
        "quota_max",
        "quota_renewal_rate",
        "rate",
        "smoothing",
        "tags",
        "throttle_interval",
        "throttle_retry_limit",
    ],
    inner: &[
        ("access_rights", Inner::Map(&session::RIGHT)),
        ("partitions", Inner::Object(&PARTITIONS)),
    ],
    foreign: &[],
};

const PARTITIONS: Shape = Shape {
    leaves: &["acl", "complexity", "per_api", "quota", "rate_limit"],
    inner: &[],
    foreign: &[],
};

impl Policy {
    /// Reads the text of one policy; what to know about it beside.
    ///
    /// # Errors
    /// [`PolicyError`] for anything but an object whose members have their types.
    pub fn from_json(text: &[u8]) -> Result<(Self, Vec<Warning>), PolicyError> {
        Self::from_value(tree(text)?)
    }

    /// Reads the text of a file that holds all policies by id, each by itself: one that is broken
    /// takes no other with it.
    ///
    /// # Errors
    /// [`PolicyError`] when the file as a whole is no JSON object.
    #[expect(clippy::type_complexity, reason = "one result for each id")]
    pub fn all_from_json(
        text: &[u8],
    ) -> Result<Vec<(String, Result<(Self, Vec<Warning>), PolicyError>)>, PolicyError> {
        let Value::Object(all) = tree(text)? else {
            return Err(unreadable(
                "expected an object of policies by id".to_owned(),
            ));
        };
        let policies = all.into_iter().map(|(id, value)| {
            let policy = Self::from_value(value).map(|(mut policy, warnings)| {
                if policy.id.is_empty() {
                    policy.id.clone_from(&id);
                }
                (policy, warnings)
            });
            (id, policy)
        });
        Ok(policies.collect())
    }

    fn from_value(mut value: Value) -> Result<(Self, Vec<Warning>), PolicyError> {
        let report = Report::default();
        canonicalise(&mut value, &POLICY, &report);
        let policy = read(&Node::root(&value, &report));
        let warnings = report
            .finish()
            .map_err(|problems| PolicyError { problems })?;
        Ok((policy, warnings))
    }

    /// What it is known by: its id, else that of the database; empty when it has neither.
    pub fn key(&self) -> &str {
        if self.id.is_empty() {
            &self.database_id
        } else {
            &self.id
        }
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
            quota_renewal_rate: self.quota_renewal_rate,
            ..Limit::default()
        }
    }
}

impl Partitions {
    /// Only some parts count.
    pub fn are_used(self) -> bool {
        self.quota || self.rate_limit || self.complexity || self.acl
    }
}

fn tree(text: &[u8]) -> Result<Value, PolicyError> {
    let text = std::str::from_utf8(text).map_err(|error| unreadable(error.to_string()))?;
    from_json(text).map_err(unreadable)
}

fn unreadable(problem: String) -> PolicyError {
    PolicyError {
        problems: vec![DefinitionError {
            path: "policy".to_owned(),
            problem,
            accepted: String::new(),
            hint: String::new(),
            kind: crate::ErrorKind::Unreadable,
        }],
    }
}

fn read(node: &Node<'_, '_>) -> Policy {
    let text = |name| node.at(name).string().to_owned();
    let integer = |name| session::integer(&node.at(name));
    let number = |name| node.at(name).number();
    let flag = |name| node.at(name).bool();
    let partitions = node.at("partitions");
    Policy {
        database_id: database_id(&node.at("_id")),
        id: text("id"),
        name: text("name"),
        org_id: text("org_id"),
        rate: number("rate"),
        per: number("per"),
        quota_max: integer("quota_max"),
        quota_renewal_rate: integer("quota_renewal_rate"),
        throttle_interval: number("throttle_interval"),
        throttle_retry_limit: integer("throttle_retry_limit"),
        max_query_depth: integer("max_query_depth"),
        access_rights: session::rights(&node.at("access_rights")),
        hmac_enabled: flag("hmac_enabled"),
        enable_http_signature_validation: flag("enable_http_signature_validation"),
        active: flag("active"),
        is_inactive: flag("is_inactive"),
        tags: node.at("tags").strings(),
        key_expires_in: integer("key_expires_in"),
        post_expiry_action: text("post_expiry_action"),
        post_expiry_grace_period: integer("post_expiry_grace_period"),
        partitions: Partitions {
            quota: partitions.at("quota").bool(),
            rate_limit: partitions.at("rate_limit").bool(),
            complexity: partitions.at("complexity").bool(),
            acl: partitions.at("acl").bool(),
            per_api: partitions.at("per_api").bool(),
        },
        last_updated: text("last_updated"),
        meta_data: session::values(&node.at("meta_data")),
        graphql: session::values(&node.at("graphql_access_rights")),
        smoothing: node.at("smoothing").value().cloned(),
    }
}

fn database_id(node: &Node<'_, '_>) -> String {
    let id = node.string();
    let is_hex = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !id.is_empty() && (id.len() != 24 || !is_hex) {
        node.error(
            "is no id of a database",
            "24 hex digits",
            "leave `_id` out and use `id`",
        );
    }
    id.to_owned()
}

/// An empty map of Go is `null` when nobody made it.
fn null_when_empty<T: Serialize, S: serde::Serializer>(
    map: &BTreeMap<String, T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    Some(map)
        .filter(|map| !map.is_empty())
        .serialize(serializer)
}

fn list_or_null<S: serde::Serializer>(list: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    Some(list)
        .filter(|list| !list.is_empty())
        .serialize(serializer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_policy_is_written_with_every_member_in_order() {
        let text = json!({"id": "gold", "org_id": "o", "Rate": 1000, "access_rights": {"a": {"api_id": "a", "versions": ["v1"]}},
            "partitions": {"ACL": true}, "key_expires_in": 60});
        let (policy, warnings) = Policy::from_json(text.to_string().as_bytes()).unwrap();
        assert_eq!(warnings, []);
        let expected = concat!(
            r#"{"_id":"","id":"gold","name":"","org_id":"o","rate":1000,"per":0,"quota_max":0,"quota_renewal_rate":0,"#,
            r#""throttle_interval":0,"throttle_retry_limit":0,"max_query_depth":0,"#,
            r#""access_rights":{"a":{"api_id":"a","versions":["v1"]}},"hmac_enabled":false,"#,
            r#""enable_http_signature_validation":false,"active":false,"is_inactive":false,"tags":null,"#,
            r#""key_expires_in":60,"post_expiry_grace_period":0,"#,
            r#""partitions":{"quota":false,"rate_limit":false,"complexity":false,"acl":true,"per_api":false},"#,
            r#""last_updated":"","meta_data":null,"graphql_access_rights":null,"smoothing":null}"#,
        );
        assert_eq!(serde_json::to_string(&policy).unwrap(), expected);
    }

    #[test]
    fn one_broken_policy_of_a_file_takes_no_other_with_it() {
        let text = json!({"good": {"rate": 1}, "bad": {"rate": "x"}, "named": {"id": "other"}});
        let all = Policy::all_from_json(text.to_string().as_bytes()).unwrap();
        let ids: Vec<_> = all
            .iter()
            .map(|(key, policy)| {
                (
                    key.as_str(),
                    policy.as_ref().ok().map(|(policy, _)| policy.id.as_str()),
                )
            })
            .collect();
        assert_eq!(
            ids,
            [
                ("good", Some("good")),
                ("bad", None),
                ("named", Some("other"))
            ]
        );
        let error = all[1].1.as_ref().unwrap_err().to_string();
        assert_eq!(error, "rate: expected a number, found a string");
        assert!(Policy::all_from_json(b"[]").is_err());
    }

    #[test]
    fn an_id_of_a_database_has_24_hex_digits() {
        let with = |id: &str| Policy::from_json(json!({ "_id": id }).to_string().as_bytes());
        assert_eq!(
            with("5e9d9544a1dcd60001d0ed20").unwrap().0.key(),
            "5e9d9544a1dcd60001d0ed20"
        );
        assert!(
            with("gold")
                .unwrap_err()
                .to_string()
                .contains("24 hex digits")
        );
    }

    #[test]
    fn a_slip_in_a_name_is_a_warning() {
        let (_, warnings) = Policy::from_json(br#"{"quota_mx": 5}"#).unwrap();
        assert!(
            warnings[0].message.contains("`quota_max`"),
            "{}",
            warnings[0]
        );
    }
}
