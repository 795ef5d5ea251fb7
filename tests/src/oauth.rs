//! An OAuth provider: it says what tokens are good (RFC 7662) and grants tokens (RFC 6749), in clear text, behind
//! TLS, or to those alone who have a certificate.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openssl::{
    base64::decode_block,
    ssl::{SslAcceptor, SslAcceptorBuilder, SslVerifyMode},
    x509::store::X509StoreBuilder,
};
use portcullis_pki::make::Pair;
use serde_json::{Value, json};

use crate::{
    certs,
    gateway::{api, with},
    upstream::{Talk, Upstream, acceptor},
    wire::Message,
};

/// What the gateway is called at a provider.
pub const CLIENT: &str = "the gateway";

/// How it proves that.
pub const CLIENT_SECRET: &str = "a secret & more";

/// A provider.
pub struct Provider {
    server: Upstream,
    state: Arc<Mutex<State>>,
    secure: bool,
}

#[derive(Default)]
struct State {
    /// What is said of tokens that are good.
    tokens: Vec<(String, Value)>,
    /// The forms of calls so far.
    forms: Vec<Form>,
    /// Tokens granted so far.
    granted: usize,
    /// What a grant says beside its token.
    terms: Value,
    /// This and nothing else is answered.
    instead: Option<String>,
    /// The client's name and secret are taken in the body only.
    in_body: bool,
    /// Nothing is answered.
    silent: bool,
}

/// A form that was sent.
#[derive(Debug, Clone)]
pub struct Form {
    /// Where it was sent to.
    pub path: String,
    /// Its fields.
    pub fields: Vec<(String, String)>,
    /// The client's name and secret in `Authorization`.
    pub login: Option<(String, String)>,
}

impl Form {
    fn of(request: &Message) -> Self {
        let decoded = |bytes: &[u8]| {
            form_urlencoded::parse(bytes)
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect::<Vec<_>>()
        };
        let login = request.field("authorization").and_then(|value| {
            let bytes = decode_block(value.strip_prefix("Basic ")?).ok()?;
            let text = String::from_utf8(bytes).ok()?.replace(':', "=");
            decoded(text.as_bytes()).pop()
        });
        Self {
            path: request.target().to_owned(),
            fields: decoded(&request.body),
            login,
        }
    }

    /// A field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Provider {
    /// In clear text.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start() -> Self {
        Self::listen(None)
    }

    /// Behind TLS, with a certificate of the tests' authority.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start_tls() -> Self {
        Self::listen(Some(acceptor(certs::localhost()).build()))
    }

    /// Behind TLS, for those alone who have a certificate of this authority.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start_mutual(authority: &Pair) -> Self {
        let mut settings = acceptor(certs::localhost());
        demand(&mut settings, authority);
        Self::listen(Some(settings.build()))
    }

    fn listen(acceptor: Option<SslAcceptor>) -> Self {
        let state = Arc::new(Mutex::new(State {
            terms: json!({"token_type": "Bearer", "expires_in": 600}),
            ..State::default()
        }));
        let shared = state.clone();
        let script = move |talk: &mut Talk| {
            while let Some(request) = talk.request() {
                match lock(&shared).answer(&Form::of(&request)) {
                    Some(answer) => talk.send(answer),
                    None => talk.stall(),
                }
            }
        };
        let secure = acceptor.is_some();
        let server = match acceptor {
            Some(acceptor) => Upstream::start_tls(acceptor, script),
            None => Upstream::start(script),
        };
        Self {
            server,
            state,
            secure,
        }
    }

    /// Says this of a token from now on, and that it is good.
    pub fn vouch(&self, token: &str, claims: Value) {
        let claims = with(json!({"active": true}), claims);
        let mut state = self.state();
        state.tokens.retain(|(known, _)| known != token);
        state.tokens.push((token.to_owned(), claims));
    }

    /// Says of a token that it is not good from now on.
    pub fn revoke(&self, token: &str) {
        self.state().tokens.retain(|(known, _)| known != token);
    }

    /// Answers this and nothing else from now on: status line, and body.
    pub fn answer_instead(&self, status: &str, body: &str) {
        let length = body.len();
        self.state().instead = Some(format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
    }

    /// Answers as it did at first.
    pub fn recover(&self) {
        let mut state = self.state();
        (state.instead, state.silent) = (None, false);
    }

    /// Does not answer from now on.
    pub fn fall_silent(&self) {
        self.state().silent = true;
    }

    /// Says this beside the tokens it grants.
    pub fn grant_with(&self, terms: Value) {
        self.state().terms = terms;
    }

    /// Takes the client's name and secret in the body only.
    pub fn take_secrets_in_body(&self) {
        self.state().in_body = true;
    }

    /// The forms it was sent so far.
    pub fn forms(&self) -> Vec<Form> {
        self.state().forms.clone()
    }

    /// How many tokens it granted so far; they are called `granted-1`, `granted-2` and so on.
    pub fn granted(&self) -> usize {
        self.state().granted
    }

    /// The server behind it.
    pub fn server(&self) -> &Upstream {
        &self.server
    }

    /// One of its URLs.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.server.address())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn answer(&mut self, form: &Form) -> Option<String> {
        self.forms.push(form.clone());
        if self.silent {
            return None;
        }
        if let Some(instead) = &self.instead {
            return Some(instead.clone());
        }
        let by_body = (form.field("client_id"), form.field("client_secret"));
        let by_body = by_body == (Some(CLIENT), Some(CLIENT_SECRET));
        let login = form.login.as_ref();
        let by_field =
            login.is_some_and(|(name, secret)| (&**name, &**secret) == (CLIENT, CLIENT_SECRET));
        // A client with a certificate and without a secret is known by the certificate.
        let by_certificate = form.field("client_secret").is_none() && login.is_none();
        if !(by_body || by_certificate || by_field && !self.in_body) {
            return Some(answer("401 No", &json!({"error": "invalid_client"})));
        }
        Some(if form.path.starts_with("/introspect") {
            let token = form.field("token").unwrap_or_default();
            let known = self.tokens.iter().find(|(known, _)| known == token);
            let said = known.map_or(json!({"active": false}), |(_, claims)| claims.clone());
            answer("200 OK", &said)
        } else {
            self.granted += 1;
            let token = json!({"access_token": format!("granted-{}", self.granted)});
            answer("200 OK", &with(token, self.terms.clone()))
        })
    }
}

fn answer(status: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Lets in nobody without a certificate of this authority.
fn demand(settings: &mut SslAcceptorBuilder, authority: &Pair) {
    let mut trusted = X509StoreBuilder::new().expect("a store");
    trusted
        .add_cert(authority.certificate.clone())
        .expect("an authority");
    settings.set_cert_store(trusted.build());
    settings.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
}

/// A definition like [`api`] whose callers need a token that is good at a URL; `more` adds to how it is asked.
pub fn introspecting(name: &str, target_url: &str, url: &str, more: Value) -> Value {
    let introspection = with(
        json!({
            "enabled": true, "url": url, "client_id": CLIENT, "client_secret": CLIENT_SECRET,
        }),
        more,
    );
    with(
        api(name, &format!("/{name}/"), target_url),
        json!({
            "use_keyless": false,
            "external_oauth": {"enabled": true, "providers": [{"introspection": introspection}]},
        }),
    )
}

/// A definition like [`api`] that shows its upstream a token from a URL; `more` adds to how it is had.
pub fn with_token(name: &str, target_url: &str, url: &str, more: Value) -> Value {
    let request = with(
        json!({"client_id": CLIENT, "client_secret": CLIENT_SECRET, "token_url": url}),
        more,
    );
    with(
        api(name, &format!("/{name}/"), target_url),
        json!({"upstream_auth": {"enabled": true, "oauth": {
            "enabled": true, "allowed_authorize_types": ["clientCredentials"],
            "client_credentials": request,
        }}}),
    )
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
