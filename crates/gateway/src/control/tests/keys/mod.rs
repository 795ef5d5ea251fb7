//! `/tyk/keys` on an embedded store.

mod bindings;
mod changed;
mod created;
mod shown;

use portcullis_config::Identity;

use super::*;

/// Rights to one API.
fn rights() -> Value {
    json!({"a": {"api_id": "a", "api_name": "A", "versions": ["Default"]}})
}

/// A session of the organisation `1` with rights to one API, and these members.
fn session(members: Value) -> Value {
    let mut session = json!({"org_id": "1", "access_rights": rights()});
    for (name, value) in members.as_object().unwrap() {
        session[name] = value.clone();
    }
    session
}

/// A node whose keys are stored as `change` says.
fn node(change: impl FnOnce(&mut Identity)) -> Node {
    Node::with(|config| change(&mut config.identity))
}

fn hashing(function: &str) -> Node {
    node(|identity| {
        identity.hash_keys = true;
        identity.hash_key_function = Some(function.to_owned()).filter(|name| !name.is_empty());
    })
}

impl Node {
    async fn post(&self, target: &str, body: impl ToString) -> Reply {
        self.ask(Method::POST, target, body).await
    }

    async fn update(&self, target: &str, body: impl ToString) -> Reply {
        self.ask(Method::PUT, target, body).await
    }

    async fn delete(&self, target: &str) -> Reply {
        self.ask(Method::DELETE, target, "").await
    }

    /// Makes a key that must be taken; its token.
    async fn created(&self, body: Value) -> String {
        let reply = self.post("/tyk/keys/create", body).await;
        assert_eq!(reply.status(), 200, "{}", reply.text());
        reply.json()["key"].as_str().unwrap().to_owned()
    }

    /// The session stored under a name of the store.
    async fn entry(&self, name: &str) -> Option<Value> {
        let value = self.stores.engine().get(name).await.unwrap()?;
        Some(serde_json::from_slice(&value).unwrap())
    }

    async fn exists(&self, name: &str) -> bool {
        self.stores.engine().exists(name).await.unwrap()
    }
}

/// Percent encoding for tokens in paths.
fn path(token: &str) -> String {
    token.replace('=', "%3D").replace('+', "%2B")
}
