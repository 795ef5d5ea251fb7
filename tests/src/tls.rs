//! TLS clients: real `openssl s_client`, and one made of the `openssl` crate for what no program
//! can be told, such as which alert came.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Output, Stdio},
};

use openssl::{
    error::ErrorStack,
    ssl::{HandshakeError, SslConnector, SslConnectorBuilder, SslMethod, SslStream, SslVerifyMode},
    x509::X509,
};

use crate::wait::PATIENCE;

/// What `openssl s_client` said.
#[derive(Debug)]
pub struct Said {
    /// Its output.
    pub text: String,
    /// What it complained about.
    pub error: String,
}

impl Said {
    /// The number of the alert that ended the handshake.
    pub fn alert(&self) -> Option<u8> {
        let (_, rest) = self.error.split_once("SSL alert number ")?;
        rest.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .ok()
    }

    /// The first line that begins with `start`, without it.
    pub fn line(&self, start: &str) -> Option<&str> {
        self.text
            .lines()
            .find_map(|line| line.trim().strip_prefix(start))
            .map(str::trim)
    }
}

/// Runs `openssl s_client` against an address, sends it `input` and waits for the server to close
/// or, when there is no input, leaves after the handshake.
///
/// # Panics
/// When it is not installed.
pub fn s_client(address: SocketAddr, arguments: &[&str], input: &str) -> Said {
    let mut command = Command::new("timeout");
    command.args([
        &PATIENCE.as_secs().to_string(),
        "openssl",
        "s_client",
        "-connect",
        &address.to_string(),
    ]);
    command.args(arguments);
    if !input.is_empty() {
        command.arg("-ign_eof");
    }
    let mut client = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    // A client whose handshake failed does not read.
    let _ = client
        .stdin
        .take()
        .expect("asked for")
        .write_all(input.as_bytes());
    let Output { stdout, stderr, .. } = client.wait_with_output().expect("our own process");
    Said {
        text: String::from_utf8_lossy(&stdout).into_owned(),
        error: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// A TLS client that can be told everything.
pub struct Client {
    builder: SslConnectorBuilder,
    server_name: Option<String>,
}

/// How a handshake failed.
#[derive(Debug)]
pub struct Refused {
    /// The alert the server sent; none when it just closed.
    pub alert: Option<u8>,
    /// What the library said.
    pub text: String,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A client that sends `localhost` as server name and accepts every certificate.
    ///
    /// # Panics
    /// When the library has no TLS.
    pub fn new() -> Self {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).expect("a TLS client");
        builder.set_verify(SslVerifyMode::NONE);
        Self {
            builder,
            server_name: Some("localhost".to_owned()),
        }
    }

    /// Sends this server name.
    #[must_use]
    pub fn server_name(mut self, name: &str) -> Self {
        self.server_name = Some(name.to_owned());
        self
    }

    /// Sends no server name.
    #[must_use]
    pub fn no_server_name(mut self) -> Self {
        self.server_name = None;
        self
    }

    /// Changes anything else.
    ///
    /// # Panics
    /// When the library refuses.
    #[must_use]
    pub fn set(
        mut self,
        change: impl FnOnce(&mut SslConnectorBuilder) -> Result<(), ErrorStack>,
    ) -> Self {
        change(&mut self.builder).expect("the library knows the setting");
        self
    }

    /// Offers these protocols.
    #[must_use]
    pub fn alpn(self, names: &[&str]) -> Self {
        let wire: Vec<u8> = names
            .iter()
            .flat_map(|name| {
                let length = u8::try_from(name.len()).expect("protocol names are short");
                std::iter::once(length).chain(name.bytes())
            })
            .collect();
        self.set(|builder| builder.set_alpn_protos(&wire))
    }

    /// Connects and shakes hands.
    ///
    /// # Errors
    /// [`Refused`] when the handshake fails.
    ///
    /// # Panics
    /// When there is no connection at all.
    pub fn connect(self, address: SocketAddr) -> Result<SslStream<TcpStream>, Refused> {
        let stream = TcpStream::connect(address).expect("the server accepts");
        self.over(stream)
    }

    /// Shakes hands on a connection.
    ///
    /// # Errors
    /// [`Refused`] when the handshake fails.
    ///
    /// # Panics
    /// When the library refuses its settings.
    pub fn over(self, stream: TcpStream) -> Result<SslStream<TcpStream>, Refused> {
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time limit can be set");
        self.through(stream)
    }

    /// Shakes hands on anything that carries bytes and gives up by itself.
    ///
    /// # Errors
    /// [`Refused`] when the handshake fails.
    ///
    /// # Panics
    /// When the library refuses its settings.
    pub fn through<S: Read + Write>(self, stream: S) -> Result<SslStream<S>, Refused> {
        let mut configuration = self.builder.build().configure().expect("a connection");
        configuration.set_verify_hostname(false);
        configuration.set_use_server_name_indication(self.server_name.is_some());
        let name = self.server_name.as_deref().unwrap_or("nameless.invalid");
        configuration
            .connect(name, stream)
            .map_err(|error| match error {
                HandshakeError::Failure(failed) | HandshakeError::WouldBlock(failed) => {
                    Refused::of(failed.error())
                }
                HandshakeError::SetupFailure(error) => panic!("cannot begin a handshake: {error}"),
            })
    }

    /// The certificate a handshake is answered with.
    ///
    /// # Panics
    /// When the handshake fails.
    #[track_caller]
    pub fn certificate(self, address: SocketAddr) -> X509 {
        let stream = self.connect(address).expect("the handshake succeeds");
        stream
            .ssl()
            .peer_certificate()
            .expect("servers have a certificate")
    }
}

impl Refused {
    /// What an error of the library tells; also of one that a read met after the handshake.
    pub fn of(error: &openssl::ssl::Error) -> Self {
        // Reasons from 1000 on are alerts that came from the peer.
        let alert = error.ssl_error().and_then(|stack| {
            stack
                .errors()
                .iter()
                .find_map(|error| u8::try_from(error.reason_code() - 1000).ok())
        });
        Self {
            alert,
            text: error.to_string(),
        }
    }
}
