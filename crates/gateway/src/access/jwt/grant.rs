//! From claims to what their token opens: whose it is, and by which policies.
//!
//! Invariants:
//! - Tokens of one person have one name in the store, on every node of a fleet and in Tyk: quotas and
//!   rates hold across tokens.
//! - A token opens what its policies open and nothing without one, or the one API whose provider vouches for it.

use openssl::{
    hash::{MessageDigest, hash},
    sha::sha256,
};
use portcullis_apidef::{
    Jwt, PolicyClaims,
    policies::PolicySet,
    session::{AccessRight, Session},
};
use serde_json::{Value, json};

use super::{claims::Claims, refusal::BearerProblem as Problem};

/// Claims in which identity providers name an OAuth client.
const CLIENT_CLAIMS: [&str; 3] = ["clientId", "cid", "client_id"];

/// What a token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The organisation of the API.
    pub org: String,
    /// Whose it is.
    pub identity: String,
    /// What it opens.
    pub opens: Opens,
    /// When it ends, Unix seconds.
    pub until: Option<i64>,
    /// The OAuth client it names; empty for none.
    pub client: String,
}

/// What a token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opens {
    /// What these policies open; at least one.
    Policies(Vec<String>),
    /// The API of this id.
    Api(String),
}

/// What somebody may do who brings a good access token and has no session in the store, as in Tyk: requests in
/// so many seconds.
const RATE: (f64, f64) = (10_000.0, 60.0);

impl Grant {
    /// The session, before policies are applied: what the store has, with what the token brings.
    pub(super) fn session(
        &self,
        stored: Option<Session>,
        key: &str,
        policies: &PolicySet,
    ) -> Session {
        match &self.opens {
            Opens::Policies(brought) => self.by_policies(brought, stored, key, policies),
            Opens::Api(api) => self.by_provider(api, stored),
        }
    }

    fn by_policies(
        &self,
        brought: &[String],
        stored: Option<Session>,
        key: &str,
        policies: &PolicySet,
    ) -> Session {
        let is_new = stored.is_none();
        let mut session = stored.unwrap_or_default();
        session.org_id.clone_from(&self.org);
        session.alias.clone_from(&self.identity);
        session.oauth_client_id.clone_from(&self.client);
        session.apply_policies = brought.to_vec();
        session.apply_policy_id.clear();
        session
            .meta_data
            .insert("TykJWTSessionID".to_owned(), json!(key));
        match self.until {
            Some(until) => session.expires = until,
            // A token without an end ends as its first policy says.
            None if is_new => {
                let first = brought.first().and_then(|id| policies.get(id));
                let lifetime = first.map_or(0, |policy| policy.key_expires_in);
                if lifetime > 0 {
                    session.expires = crate::clients::unix_now().saturating_add(lifetime);
                }
            }
            None => {}
        }
        session
    }

    /// A session that the store has says itself what it opens.
    fn by_provider(&self, api: &str, stored: Option<Session>) -> Session {
        let mut session = stored.unwrap_or_else(|| Session {
            rate: RATE.0,
            per: RATE.1,
            quota_max: -1,
            alias: self.identity.clone(),
            access_rights: [(
                api.to_owned(),
                AccessRight {
                    api_id: api.to_owned(),
                    ..AccessRight::default()
                },
            )]
            .into(),
            ..Session::default()
        });
        session.org_id.clone_from(&self.org);
        if let Some(until) = self.until
            && (session.expires <= 0 || until < session.expires)
        {
            session.expires = until;
        }
        session
    }
}

/// Whose token it is, by its claims alone.
///
/// # Errors
/// [`BearerProblem`](Problem) when it does not say.
pub fn identity<'c>(jwt: &Jwt, claims: &'c Claims) -> Result<&'c str, Problem> {
    named(jwt.identity.iter(), claims)
}

/// What the first of these claims that is there says, or `sub`.
///
/// # Errors
/// [`BearerProblem`](Problem) when none of them is there, or it is empty.
pub fn named<'c, 'n>(
    names: impl Iterator<Item = &'n String>,
    claims: &'c Claims,
) -> Result<&'c str, Problem> {
    for name in names.map(String::as_str).chain(["sub"]) {
        match claims.text(name) {
            Some("") => return Err(Problem::EmptyIdentity),
            Some(text) => return Ok(text),
            None => {}
        }
    }
    Err(Problem::NoIdentity)
}

/// Whose token it is where the key it names counts first: `kid`, else the claims.
///
/// # Errors
/// As [`identity`].
pub fn identity_by_key<'c>(
    jwt: &Jwt,
    key_id: Option<&'c str>,
    claims: &'c Claims,
) -> Result<&'c str, Problem> {
    match key_id.filter(|id| !jwt.skip_kid && !id.is_empty()) {
        Some(id) => Ok(id),
        None => identity(jwt, claims),
    }
}

/// The id that the key of a person's tokens has: what Tyk makes of an identity.
pub fn key_of(identity: &str) -> String {
    let digest = hash(MessageDigest::md5(), identity.as_bytes());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match digest {
        Ok(digest) => hex(&digest),
        // A library that refuses MD5 altogether; then no other node has such names either.
        Err(_) => hex(&sha256(identity.as_bytes())[..16]),
    }
}

/// The policy that a claim names.
pub fn base(rules: &PolicyClaims, claims: &Claims) -> Option<String> {
    let mut named = rules.named.iter().filter_map(|name| claims.text(name));
    named.find(|policy| !policy.is_empty()).map(str::to_owned)
}

/// The policies of a token.
///
/// # Errors
/// [`BearerProblem`](Problem) when there is none, or one that does not exist in the organisation.
pub fn policies(
    rules: &PolicyClaims,
    base: Option<String>,
    claims: &Claims,
    org: &str,
    known: &PolicySet,
) -> Result<Vec<String>, Problem> {
    let is_default = base.is_none();
    let mut ids = base.map_or_else(|| rules.default.clone(), |policy| vec![policy]);
    if !rules.scopes.is_empty() {
        let scopes = scopes(rules, claims);
        if !scopes.is_empty() {
            if is_default {
                // Whoever names scopes gets those and not what others get by default.
                ids.clear();
            }
            ids.extend(
                scopes
                    .iter()
                    .filter_map(|scope| rules.scopes.get(*scope))
                    .cloned(),
            );
            if ids.is_empty() {
                return Err(Problem::NoScope);
            }
        }
    }
    let mut unique: Vec<String> = Vec::with_capacity(ids.len());
    for id in ids {
        if !unique.contains(&id) {
            unique.push(id);
        }
    }
    if unique.is_empty() {
        return Err(Problem::NoPolicy);
    }
    let exists = |id: &String| known.get(id).is_some_and(|policy| policy.org_id == org);
    match unique.iter().all(exists) {
        true => Ok(unique),
        false => Err(Problem::UnknownPolicy),
    }
}

/// The OAuth client a token names.
pub fn client(jwt: &Jwt, claims: &Claims) -> String {
    let mut named = CLIENT_CLAIMS.iter().filter_map(|name| claims.text(name));
    match jwt.maps_client_ids {
        true => named.next().unwrap_or_default().to_owned(),
        false => String::new(),
    }
}

/// The scopes of a token: a text of several with spaces between them, or a list.
fn scopes<'c>(rules: &'c PolicyClaims, claims: &'c Claims) -> Vec<&'c str> {
    let configured = rules.scope_claims.iter().map(String::as_str);
    let mut names = configured.filter(|name| claims.at(name).is_some());
    let name = match names.next() {
        Some(name) => name,
        None if rules.scope_claims.is_empty() => "scope",
        None => return Vec::new(),
    };
    let mut found = Vec::new();
    match claims.at(name) {
        Some(Value::String(text)) => found.extend(text.split(' ')),
        Some(Value::Array(list)) => collect(list, &mut found),
        _ => {}
    }
    found
}

fn collect<'c>(list: &'c [Value], found: &mut Vec<&'c str>) {
    for element in list {
        match element {
            Value::String(text) => found.push(text),
            Value::Array(inner) => collect(inner, found),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
