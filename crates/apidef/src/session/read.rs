//! From JSON text to a session.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use super::{
    AccessRight, AllowedUrl, BasicAuthData, EndpointLimit, JwtData, Limit, MethodLimit, Monitor,
    SecretText, Session, members::SESSION,
};
use crate::{
    json::from_json,
    members::canonicalise,
    reader::Node,
    report::{DefinitionError, Report},
};

/// A date nobody set, as Go writes it.
const NO_DATE: &str = "0001-01-01T00:00:00Z";

/// JSON-RPC and MCP rules, which are kept as they are.
const REMOTE_CALLS: [&str; 4] = [
    "json_rpc_methods",
    "json_rpc_methods_access_rights",
    "mcp_access_rights",
    "mcp_primitives",
];

/// Why a text is no session: every reason there is. No value is named, it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.join("; "))]
pub struct SessionError {
    /// The reasons, each with the member it is about.
    pub problems: Vec<String>,
}

impl Session {
    /// Reads the text of a session.
    ///
    /// # Errors
    /// [`SessionError`] for anything but an object whose members have their types.
    pub fn from_json(text: &[u8]) -> Result<Self, SessionError> {
        let alone = |problem: String| SessionError {
            problems: vec![problem],
        };
        let text = std::str::from_utf8(text).map_err(|error| alone(error.to_string()))?;
        Self::from_value(from_json(text).map_err(alone)?)
    }

    fn from_value(mut value: Value) -> Result<Self, SessionError> {
        let report = Report::default();
        canonicalise(&mut value, &SESSION, &report);
        let session = read(&Node::root(&value, &report));
        report.finish().map_err(|errors| SessionError {
            problems: errors.iter().map(problem).collect(),
        })?;
        Ok(session)
    }
}

impl<'de> Deserialize<'de> for Session {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

fn problem(error: &DefinitionError) -> String {
    match error.path.as_str() {
        "definition" => error.problem.clone(),
        _ => error.to_string(),
    }
}

fn read(node: &Node<'_, '_>) -> Session {
    let text = |name| node.at(name).string().to_owned();
    let secret = |name| SecretText::new(node.at(name).string());
    let integer = |name| integer(&node.at(name));
    let number = |name| node.at(name).number();
    let flag = |name| node.at(name).bool();
    let basic_auth = node.at("basic_auth_data");
    let created = text("date_created");
    Session {
        last_check: integer("last_check"),
        allowance: number("allowance"),
        rate: number("rate"),
        per: number("per"),
        throttle_interval: number("throttle_interval"),
        throttle_retry_limit: integer("throttle_retry_limit"),
        max_query_depth: integer("max_query_depth"),
        date_created: if created == NO_DATE {
            String::new()
        } else {
            created
        },
        expires: integer("expires"),
        quota_max: integer("quota_max"),
        quota_renews: integer("quota_renews"),
        quota_remaining: integer("quota_remaining"),
        quota_renewal_rate: integer("quota_renewal_rate"),
        access_rights: rights(&node.at("access_rights")),
        org_id: text("org_id"),
        oauth_client_id: text("oauth_client_id"),
        oauth_keys: node
            .at("oauth_keys")
            .text_members()
            .into_iter()
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .collect(),
        certificate: text("certificate"),
        mtls_static_certificate_bindings: node.at("mtls_static_certificate_bindings").strings(),
        basic_auth_data: BasicAuthData {
            password: SecretText::new(basic_auth.at("password").string()),
            hash: basic_auth.at("hash_type").string().to_owned(),
        },
        jwt_data: JwtData {
            secret: SecretText::new(node.at("jwt_data").at("secret").string()),
        },
        hmac_enabled: flag("hmac_enabled"),
        enable_http_signature_validation: flag("enable_http_signature_validation"),
        hmac_string: secret("hmac_string"),
        rsa_certificate_id: text("rsa_certificate_id"),
        is_inactive: flag("is_inactive"),
        apply_policy_id: text("apply_policy_id"),
        apply_policies: node.at("apply_policies").strings(),
        data_expires: integer("data_expires"),
        monitor: Monitor {
            trigger_limits: node
                .at("monitor")
                .at("trigger_limits")
                .elements()
                .map(|limit| limit.number())
                .collect(),
        },
        enable_detailed_recording: flag("enable_detailed_recording")
            | flag("enable_detail_recording"),
        meta_data: values(&node.at("meta_data")),
        tags: node.at("tags").strings(),
        alias: text("alias"),
        last_updated: text("last_updated"),
        id_extractor_deadline: integer("id_extractor_deadline"),
        session_lifetime: integer("session_lifetime"),
        post_expiry_action: text("post_expiry_action"),
        post_expiry_grace_period: integer("post_expiry_grace_period"),
        smoothing: node.at("smoothing").value().cloned(),
    }
}

/// Rights by API.
pub(crate) fn rights(node: &Node<'_, '_>) -> BTreeMap<String, AccessRight> {
    node.members()
        .map(|(api, right)| (api.to_owned(), access_right(&right)))
        .collect()
}

/// Any values by name.
pub(crate) fn values(node: &Node<'_, '_>) -> BTreeMap<String, Value> {
    node.members()
        .map(|(name, member)| {
            let value = member.value().cloned().unwrap_or(Value::Null);
            (name.to_owned(), value)
        })
        .collect()
}

/// A whole number, 0 when absent.
pub(crate) fn integer(node: &Node<'_, '_>) -> i64 {
    node.integer(i64::MIN..=i64::MAX).unwrap_or_default()
}

fn access_right(node: &Node<'_, '_>) -> AccessRight {
    let text = |name| node.at(name).string().to_owned();
    AccessRight {
        api_name: text("api_name"),
        api_id: text("api_id"),
        versions: node.at("versions").strings(),
        allowed_urls: node
            .at("allowed_urls")
            .elements()
            .map(|entry| AllowedUrl {
                url: entry.at("url").string().to_owned(),
                methods: entry.at("methods").strings(),
            })
            .collect(),
        restricted_types: objects(&node.at("restricted_types")),
        allowed_types: objects(&node.at("allowed_types")),
        limit: limit(&node.at("limit")),
        field_access_rights: objects(&node.at("field_access_rights")),
        disable_introspection: node.at("disable_introspection").bool(),
        allowance_scope: text("allowance_scope"),
        endpoints: node
            .at("endpoints")
            .elements()
            .map(|endpoint| EndpointLimit {
                path: endpoint.at("path").string().to_owned(),
                methods: endpoint
                    .at("methods")
                    .elements()
                    .map(|method| MethodLimit {
                        name: method.at("name").string().to_owned(),
                        limit: limit(&method.at("limit")),
                    })
                    .collect(),
            })
            .collect(),
        remote_calls: REMOTE_CALLS
            .iter()
            .filter_map(|name| Some((*name, node.at(name).value()?.clone())))
            .collect(),
    }
}

fn objects(node: &Node<'_, '_>) -> Vec<Value> {
    node.elements()
        .filter_map(|element| element.value().cloned())
        .collect()
}

fn limit(node: &Node<'_, '_>) -> Limit {
    let integer = |name| integer(&node.at(name));
    let number = |name| node.at(name).number();
    Limit {
        rate: number("rate"),
        per: number("per"),
        smoothing: node.at("smoothing").value().cloned(),
        throttle_interval: number("throttle_interval"),
        throttle_retry_limit: integer("throttle_retry_limit"),
        max_query_depth: integer("max_query_depth"),
        quota_max: integer("quota_max"),
        quota_renews: integer("quota_renews"),
        quota_remaining: integer("quota_remaining"),
        quota_renewal_rate: integer("quota_renewal_rate"),
    }
}
