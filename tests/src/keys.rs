//! Keys of a gateway under test: APIs that ask for them, and the Control API that makes them.

use serde_json::{Value, json};

use crate::{
    curl::Response,
    gateway::{Gateway, SECRET, api, with},
};

/// What a refused request is told.
///
/// # Panics
/// When the answer is no error of the gateway.
#[track_caller]
pub fn error_of(response: &Response) -> String {
    response.json()["error"]
        .as_str()
        .expect("an error")
        .to_owned()
}

/// A definition like [`api`] whose callers need a token.
pub fn token_api(name: &str, listen_path: &str, target_url: &str) -> Value {
    with(
        api(name, listen_path, target_url),
        json!({"use_keyless": false, "use_standard_auth": true}),
    )
}

/// A session that opens the APIs of these ids, with what `more` says.
pub fn session(apis: &[&str], more: Value) -> Value {
    let rights: serde_json::Map<String, Value> = apis
        .iter()
        .map(|id| {
            let right = json!({"api_id": id, "api_name": id, "versions": ["Default"]});
            ((*id).to_owned(), right)
        })
        .collect();
    with(json!({"org_id": "default", "access_rights": rights}), more)
}

impl Gateway {
    /// Asks the Control API to change something.
    pub fn change(&self, method: &str, path: &str, body: &Value) -> Response {
        let secret = format!("X-Tyk-Authorization: {SECRET}");
        self.curl()
            .arguments(&["-X", method, "-H", &secret, "--data", &body.to_string()])
            .send(&self.url(path))
    }

    /// Makes or replaces a key with a name of its own; its token.
    ///
    /// # Panics
    /// When the Control API refuses.
    #[track_caller]
    pub fn put_key(&self, name: &str, session: &Value) -> String {
        let made = self
            .change("POST", &format!("/tyk/keys/{name}"), session)
            .expect(200);
        made.json()["key"].as_str().expect("a token").to_owned()
    }

    /// Calls a path with a token.
    pub fn call(&self, path: &str, token: &str) -> Response {
        self.curl()
            .header("Authorization", token)
            .send(&self.url(path))
    }

    /// Calls a path as a user.
    pub fn call_as(&self, path: &str, user: &str, password: &str) -> Response {
        self.curl()
            .arguments(&["--user", &format!("{user}:{password}")])
            .send(&self.url(path))
    }
}
