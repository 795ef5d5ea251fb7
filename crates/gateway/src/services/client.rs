//! The client of one service: one call at a time from request to whole answer, connections kept between.
//!
//! Invariant: a kept connection is used only while everything it was made with is as it was.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, StatusCode, Uri,
    header::{AUTHORIZATION, PROXY_AUTHORIZATION, USER_AGENT},
    uri::Authority,
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use percent_encoding::percent_decode_str;
use portcullis_config::Secret;
use portcullis_store::Certificates;
use tokio::sync::Mutex;

use super::{
    connect::{Connector, Ends, Target, Ways, basic},
    failure::CallError,
    material::{Access, Material},
    proxies::Proxies,
    settings::{Limits, Settings, Tls},
};
use crate::links::{Contacts, Kind, Place, Verified, own};

/// What servers know us by, unless the request says something else.
const AGENT: HeaderValue = HeaderValue::from_static("portcullis");

/// A client of a service. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    kind: Kind,
    contacts: Contacts,
    proxies: Proxies,
    tls: Arc<Tls>,
    limits: Limits,
    access: Arc<Access>,
    ready: ArcSwapOption<Ready>,
    /// Held while new material is read.
    renewing: Mutex<()>,
}

/// Connections, and what they are made with.
struct Ready {
    ways: Arc<Ways>,
    http: legacy::Client<Connector, Full<Bytes>>,
}

/// How a client behaves towards servers, as far as that is known without reading anything.
pub(crate) struct Bearing {
    /// How they are verified.
    pub(crate) verified: Verified,
    /// The certificate that is shown, in DER.
    pub(crate) own: Option<Arc<[u8]>>,
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Header fields.
    pub fields: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Client {
    /// A client that has read and connected nothing yet.
    pub(super) fn new(
        settings: Settings,
        passphrase: Secret,
        store: Certificates,
        contacts: Contacts,
    ) -> Self {
        let Settings {
            kind,
            proxies,
            tls,
            limits,
        } = settings;
        Self(Arc::new(Inner {
            kind,
            contacts,
            proxies,
            tls: Arc::new(tls),
            limits,
            access: Arc::new(Access { store, passphrase }),
            ready: ArcSwapOption::empty(),
            renewing: Mutex::new(()),
        }))
    }

    /// Sends a request, whose address is an absolute `http://` or `https://` one, and waits for the whole
    /// answer, at most as long as calls of this service may take.
    ///
    /// # Errors
    /// [`CallError`]; with [`CallError::Settings`] and [`CallError::Way`] nothing was asked.
    pub async fn call(&self, request: Request<Bytes>) -> Result<Answer, CallError> {
        self.call_within(request, self.0.limits.total).await
    }

    /// The same with another time limit.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_within(
        &self,
        request: Request<Bytes>,
        limit: Duration,
    ) -> Result<Answer, CallError> {
        let target = Target::of(request.uri()).ok_or_else(|| {
            CallError::Settings(
                "what is called is no absolute http:// or https:// address".to_owned(),
            )
        })?;
        if self.0.tls.required && !target.secure {
            return Err(CallError::Settings(format!(
                "{0}.enabled asks for TLS, and http://{1} is without: call it by https://, or set \
                 {0}.enabled to false",
                self.0.tls.keys.block,
                target.place()
            )));
        }
        let exchange = Box::pin(self.exchange(request, &target));
        let answered = tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or_else(|_| {
                Err(CallError::Slow {
                    place: target.place(),
                    limit,
                })
            });
        match &answered {
            // The way notes its own failures, and an answer that is too large is one.
            Ok(_) | Err(CallError::Way(_) | CallError::TooLarge { .. }) => {}
            Err(error) => {
                let ends = self.ends(&target).contacts(&self.0.contacts);
                ends.note_failure(error);
            }
        }
        answered
    }

    fn ends(&self, target: &Target) -> Ends<Place> {
        let Inner { kind, proxies, .. } = &*self.0;
        let proxy = proxies.choose(target.secure, &target.host, target.port);
        Ends::of(*kind, proxy, target)
    }

    /// The places to which connections are made for a target.
    pub(crate) fn places_to(&self, target: &Target) -> impl Iterator<Item = Place> {
        let ends = self.ends(target);
        ends.proxy.into_iter().chain(ends.target)
    }

    /// How it behaves towards servers.
    pub(crate) fn bearing(&self) -> Bearing {
        let ready = self.0.ready.load();
        let client = ready
            .as_ref()
            .and_then(|ready| ready.ways.material.target.as_ref().ok());
        match client {
            Some(client) => Bearing {
                verified: Verified::by(client),
                own: own(client),
            },
            None => Bearing {
                verified: Verified::plainly(!self.0.tls.skip_verify, None),
                own: None,
            },
        }
    }

    async fn exchange(
        &self,
        mut request: Request<Bytes>,
        target: &Target,
    ) -> Result<Answer, CallError> {
        let ready = self.ready().await?;
        login_by_field(&mut request);
        let fields = request.headers_mut();
        fields.entry(USER_AGENT).or_insert(AGENT);
        if !target.secure
            && let Some(login) = ready
                .ways
                .proxy_to(target)
                .and_then(|proxy| proxy.login.as_ref())
        {
            fields.insert(PROXY_AUTHORIZATION, basic(login));
        }
        let place = target.place();
        let keys = &self.0.tls.keys;
        let response = ready
            .http
            .request(request.map(Full::new))
            .await
            .map_err(|error| CallError::of(&error, &place, keys))?;
        let (parts, body) = response.into_parts();
        let largest = self.0.limits.largest;
        let body = Limited::new(body, largest)
            .collect()
            .await
            .map_err(|error| match error.is::<LengthLimitError>() {
                true => CallError::TooLarge {
                    place: place.clone(),
                    largest,
                },
                false => CallError::of(&*error, &place, keys),
            })?;
        Ok(Answer {
            status: parts.status,
            fields: parts.headers,
            body: body.to_bytes(),
        })
    }

    /// Connections made with what files and store hold now.
    async fn ready(&self) -> Result<Arc<Ready>, CallError> {
        let Inner {
            ready,
            access,
            tls,
            renewing,
            ..
        } = &*self.0;
        let current = async || {
            let ready = ready.load_full()?;
            ready
                .ways
                .material
                .is_current(access)
                .await
                .then_some(ready)
        };
        if let Some(ready) = current().await {
            return Ok(ready);
        }
        let _turn = renewing.lock().await;
        if let Some(ready) = current().await {
            return Ok(ready);
        }
        let before = ready.load_full().map(|ready| ready.ways.material.clone());
        let is_first = before.is_none();
        let material = Material::load(tls, access, before)
            .await
            .map_err(|said| CallError::Settings(format!("failed to configure TLS: {said}")))?;
        if tls.skip_verify && is_first {
            tracing::warn!(
                key = tls.keys.skip_verify,
                "THE CERTIFICATES OF THIS SERVICE'S SERVERS ARE NOT VERIFIED: whoever is in between reads and \
                 changes what is asked and answered"
            );
        }
        let new = Arc::new(self.with(material));
        ready.store(Some(new.clone()));
        Ok(new)
    }

    fn with(&self, material: Material) -> Ready {
        let limits = &self.0.limits;
        let ways = Arc::new(Ways {
            kind: self.0.kind,
            contacts: self.0.contacts.clone(),
            proxies: self.0.proxies.clone(),
            material: Arc::new(material),
            handshake: limits.handshake,
            keys: self.0.tls.keys.clone(),
        });
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits.idle)
            .pool_max_idle_per_host(limits.idle_per_host)
            .build(Connector(ways.clone()));
        Ready { ways, http }
    }
}

/// Moves name and password of the address into a field, where servers look for them.
fn login_by_field(request: &mut Request<Bytes>) {
    let Some((login, host)) = request
        .uri()
        .authority()
        .and_then(|authority| authority.as_str().rsplit_once('@'))
    else {
        return;
    };
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let login = match login.split_once(':') {
        Some((user, password)) => format!("{}:{}", decoded(user), decoded(password)),
        None => format!("{}:", decoded(login)),
    };
    let mut parts = request.uri().clone().into_parts();
    parts.authority = host.parse::<Authority>().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    let fields = request.headers_mut();
    fields
        .entry(AUTHORIZATION)
        .or_insert_with(|| basic(&Secret::new(login)));
}
