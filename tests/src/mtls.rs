//! Definitions with allow lists, and clients with certificates: one request, and what became of
//! it, be it an alert or an answer.

use std::net::{SocketAddr, TcpStream};

use openssl::{
    asn1::Asn1Time,
    hash::MessageDigest,
    ssl::{ErrorCode, SslStream, SslVersion},
    x509::X509,
};
use portcullis_pki::make::{self, Algorithm, Pair, Role, Template};
use serde_json::{Value, json};

use crate::{
    certs,
    echo::Echo,
    gateway::{Builder, Gateway, SECRET, api, with},
    ports::free_port,
    tls::{Client, Refused, s_client},
};

/// Days that client certificates are good for.
const DAYS: u32 = 90;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The handshake, or the first read after it, ended with this alert.
    Alert(u8),
    /// The connection ended without an alert and without an answer.
    Closed,
    /// This answer came.
    Answer {
        /// Status.
        status: u16,
        /// Body.
        body: String,
    },
}

/// A request by a client that may have a certificate.
#[derive(Clone)]
pub struct Call<'a> {
    address: SocketAddr,
    name: Option<&'a str>,
    host: Option<&'a str>,
    chain: Vec<&'a Pair>,
    fields: Vec<String>,
    tls12: bool,
}

/// A definition with an allow list.
pub fn listing(name: &str, listen_path: &str, echo: &Echo, entries: &Value) -> Value {
    with(
        api(name, listen_path, &echo.url()),
        json!({"use_mutual_tls_auth": true, "client_certificates": entries}),
    )
}

/// The same for one domain.
pub fn bound(definition: Value, domain: &str) -> Value {
    with(definition, json!({"domain": domain}))
}

/// TLS, custom domains, and the Control API on a port of its own.
pub fn separate() -> Builder {
    separate_on(free_port())
}

/// The same with the Control API on this port.
pub fn separate_on(control: u16) -> Builder {
    Gateway::builder()
        .tls()
        .config(json!({"enable_custom_domains": true, "control_api_port": control}))
}

/// A self-signed client pair without extended key usage, as many clients make it for themselves.
///
/// # Panics
/// When the library cannot make it.
pub fn self_signed(name: &str) -> Pair {
    self_signed_with(name, Algorithm::P256)
}

/// The same with a key of this kind.
///
/// # Panics
/// When the library cannot make it.
pub fn self_signed_with(name: &str, algorithm: Algorithm) -> Pair {
    let template = Template {
        name,
        alternatives: &[],
        role: Role::Leaf {
            server: false,
            client: false,
        },
        algorithm,
        days: DAYS,
    };
    make::make(&template, None).expect("a pair can be made")
}

/// An authority for clients.
///
/// # Panics
/// When the library cannot make it.
pub fn authority(name: &str) -> Pair {
    make::make_ca(name, Algorithm::P256, DAYS).expect("an authority can be made")
}

/// A client pair below an authority.
///
/// # Panics
/// When the library cannot make it.
pub fn issued(authority: &Pair, name: &str) -> Pair {
    make::make_client(authority, name, Algorithm::P256, DAYS).expect("a pair can be made")
}

/// A call to the gateway's main port by a client without certificate, with the server name `localhost`.
pub fn call(gateway: &Gateway) -> Call<'static> {
    call_to(gateway.address())
}

/// A call to an address.
pub fn call_to(address: SocketAddr) -> Call<'static> {
    Call {
        address,
        name: Some("localhost"),
        host: None,
        chain: Vec::new(),
        fields: Vec::new(),
        tls12: false,
    }
}

impl<'a> Call<'a> {
    /// With another server name, and `Host` alike.
    #[must_use]
    pub fn named(mut self, name: &'a str) -> Self {
        self.name = Some(name);
        self
    }

    /// Without a server name.
    #[must_use]
    pub fn nameless(mut self) -> Self {
        self.name = None;
        self
    }

    /// With another `Host` than the server name.
    #[must_use]
    pub fn host(mut self, host: &'a str) -> Self {
        self.host = Some(host);
        self
    }

    /// With a certificate and whatever is sent along with it.
    #[must_use]
    pub fn with<'b>(self, chain: &[&'b Pair]) -> Call<'b>
    where
        'a: 'b,
    {
        Call {
            chain: chain.to_vec(),
            ..self
        }
    }

    /// With a header field.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push(format!("{name}: {value}\r\n"));
        self
    }

    /// By TLS 1.2.
    #[must_use]
    pub fn tls12(mut self) -> Self {
        self.tls12 = true;
        self
    }

    fn client(&self) -> Client {
        let client = match self.name {
            Some(name) => Client::new().server_name(name),
            None => Client::new().no_server_name(),
        };
        client.set(|builder| {
            if self.tls12 {
                builder.set_max_proto_version(Some(SslVersion::TLS1_2))?;
            }
            let Some((leaf, along)) = self.chain.split_first() else {
                return Ok(());
            };
            builder.set_certificate(&leaf.certificate)?;
            builder.set_private_key(&leaf.key)?;
            for pair in along {
                builder.add_extra_chain_cert(pair.certificate.clone())?;
            }
            Ok(())
        })
    }

    /// The connection, once hands are shaken.
    ///
    /// # Errors
    /// [`Refused`] when the handshake fails.
    ///
    /// # Panics
    /// When there is no connection at all.
    pub fn connect(&self) -> Result<SslStream<TcpStream>, Refused> {
        self.client().connect(self.address)
    }

    /// What becomes of a GET.
    ///
    /// # Panics
    /// When there is no connection at all, or the answer is no HTTP.
    pub fn get(&self, path: &str) -> Outcome {
        let mut stream = match self.connect() {
            Ok(stream) => stream,
            Err(refused) => return refused.alert.map_or(Outcome::Closed, Outcome::Alert),
        };
        let host = self.host.or(self.name).unwrap_or("127.0.0.1");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{}\r\n",
            self.fields.concat()
        );
        // A server that has refused already need not take it.
        let _ = stream.ssl_write(request.as_bytes());
        let mut came = Vec::new();
        let mut buffer = [0; 4096];
        while !is_whole(&came) {
            match stream.ssl_read(&mut buffer) {
                Ok(n) => came.extend_from_slice(&buffer[..n]),
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => break,
                Err(error) => match Refused::of(&error).alert {
                    Some(alert) => return Outcome::Alert(alert),
                    None => break,
                },
            }
        }
        let text = String::from_utf8_lossy(&came);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(came.is_empty(), "half an answer: {text}");
            return Outcome::Closed;
        };
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Outcome::Answer {
            status: status.expect("a status line"),
            body: body.to_owned(),
        }
    }

    /// A GET of the Control API with the right secret.
    ///
    /// # Panics
    /// As [`Call::get`].
    pub fn control(self, path: &str) -> Outcome {
        self.field("X-Tyk-Authorization", SECRET).get(path)
    }

    /// How many authorities a server announces when it asks for a certificate; `None` when it does not
    /// ask.
    ///
    /// # Panics
    /// When `openssl` is not installed.
    pub fn announced(&self) -> Option<usize> {
        let mut arguments = vec![if self.tls12 { "-tls1_2" } else { "-tls1_3" }];
        match self.name {
            Some(name) => arguments.extend(["-servername", name]),
            None => arguments.push("-noservername"),
        }
        let said = s_client(self.address, &arguments, "").text;
        if !said.contains("Client Certificate Types:")
            && !said.contains("Requested Signature Algorithms:")
        {
            return None;
        }
        let names = said.split_once("Acceptable client certificate CA names\n");
        Some(names.map_or(0, |(_, names)| {
            let ends = |line: &&str| {
                ![
                    "Client Certificate Types:",
                    "Requested Signature Algorithms:",
                ]
                .iter()
                .any(|end| line.starts_with(end))
            };
            names.lines().take_while(ends).count()
        }))
    }
}

/// A self-signed client pair whose time was over a day ago.
///
/// # Panics
/// When the library cannot make it.
pub fn expired(name: &str) -> Pair {
    outside(name, -30, -1)
}

/// A self-signed client pair whose time begins tomorrow.
///
/// # Panics
/// When the library cannot make it.
pub fn early(name: &str) -> Pair {
    outside(name, 1, 30)
}

/// A self-signed client pair that is valid for so many seconds more.
///
/// # Panics
/// When the library cannot make it.
pub fn expiring(name: &str, seconds: i64) -> Pair {
    between(name, -86_400, seconds)
}

/// A self-signed client pair that is valid from and until so many days from now.
fn outside(name: &str, from: i64, to: i64) -> Pair {
    between(name, from * 86_400, to * 86_400)
}

/// The same in seconds.
fn between(name: &str, from: i64, to: i64) -> Pair {
    let Pair {
        certificate: template,
        key,
    } = self_signed(name);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.expect("after 1970").as_secs()).expect("a time");
    let at = |seconds: i64| Asn1Time::from_unix(now + seconds).expect("a time");
    let build = || -> Result<X509, openssl::error::ErrorStack> {
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        builder.set_serial_number(template.serial_number())?;
        builder.set_subject_name(template.subject_name())?;
        builder.set_issuer_name(template.subject_name())?;
        builder.set_pubkey(&key)?;
        builder.set_not_before(&at(from))?;
        builder.set_not_after(&at(to))?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(builder.build())
    };
    let certificate = build().expect("a certificate can be made");
    Pair { certificate, key }
}

/// Whether an answer of known length has arrived.
fn is_whole(came: &[u8]) -> bool {
    let text = String::from_utf8_lossy(came);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let length = name.eq_ignore_ascii_case("content-length");
        length.then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    length.is_some_and(|length| body.len() >= length)
}

impl Outcome {
    /// The status of an answer.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn status(&self) -> u16 {
        match self {
            Self::Answer { status, .. } => *status,
            other => panic!("no answer but {other:?}"),
        }
    }

    /// Status and `error` of an answer that refuses.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn refusal(&self) -> (u16, String) {
        let Self::Answer { status, body } = self else {
            panic!("no answer but {self:?}");
        };
        let value: Value = serde_json::from_str(body).unwrap_or_default();
        let error = value["error"].as_str().or(value["message"].as_str());
        (*status, error.unwrap_or(body).to_owned())
    }
}

/// Uploads a certificate of the organisation `default` over the port of the Control API; its id.
///
/// # Panics
/// When it is refused.
#[track_caller]
pub fn upload(gateway: &Gateway, port: u16, pem: &str) -> String {
    let secret = format!("X-Tyk-Authorization: {SECRET}");
    let url = gateway.url_on(port, "/tyk/certs?org_id=default");
    let made = gateway
        .curl()
        .arguments(&["-X", "POST", "-H", &secret, "--data-binary", pem])
        .send(&url)
        .expect(200);
    made.json()["id"].as_str().expect("an id").to_owned()
}

/// The id that a certificate has in the store of the organisation `default`.
pub fn id(pair: &Pair) -> String {
    format!("default{}", certs::fingerprint(&pair.certificate))
}

/// The sentence for a certificate that no entry lets pass.
pub fn not_allowed(pair: &Pair) -> String {
    let fingerprint = certs::fingerprint(&pair.certificate);
    format!("Certificate with SHA256 {fingerprint} not allowed")
}
