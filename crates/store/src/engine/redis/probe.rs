//! Looking at a Redis over a connection of its own: whether it would serve, and if not, why.
//!
//! The client library tells little about a connection that does not come about, so this asks the
//! same questions step by step: reach it, speak TLS, log in, be answered. It blocks; whoever calls it
//! runs on a thread that may.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use native_tls::{HandshakeError, TlsConnector};
use portcullis_config::{Redis as Config, Secret};

use super::reason;

/// Longest answer that is looked at.
const LONGEST: usize = 4096;

/// The certificate of a server that serves, in DER; `None` without TLS.
pub(super) type Peer = Option<Box<[u8]>>;

/// Looks at every address until one serves; whose certificate that one has.
///
/// # Errors
/// Why the first of them does not.
pub(super) fn look(config: &Config, tls: Option<&TlsConnector>) -> Result<Peer, String> {
    let mut first = None;
    for address in &config.addresses {
        let looked = match &config.master_name {
            Some(name) => through_sentinel(config, tls, address, name),
            None => serves(config, tls, address),
        };
        match looked {
            Ok(peer) => return Ok(peer),
            Err(why) => first = first.or(Some(format!("{address}: {why}"))),
        }
    }
    Err(first.unwrap_or_else(|| "no address is configured".to_owned()))
}

fn serves(config: &Config, tls: Option<&TlsConnector>, address: &str) -> Result<Peer, String> {
    let mut way = Way::open(address, tls, config.timeout)?;
    way.log_in(&config.username, &config.password)?;
    if config.database > 0 && !config.enable_cluster {
        way.ask(&["SELECT", &config.database.to_string()])?;
    }
    way.ask(&["PING"])?;
    if config.enable_cluster {
        let info = way.ask(&["CLUSTER", "INFO"])?;
        if !info.contains("cluster_state:ok") {
            return Err(reason::of_answer("CLUSTERDOWN the cluster is down"));
        }
    }
    Ok(way.peer)
}

fn through_sentinel(
    config: &Config,
    tls: Option<&TlsConnector>,
    sentinel: &str,
    name: &str,
) -> Result<Peer, String> {
    let mut way =
        Way::open(sentinel, tls, config.timeout).map_err(|why| format!("the sentinel: {why}"))?;
    if !config.sentinel_password.is_empty() {
        way.ask(&["AUTH", config.sentinel_password.reveal()])
            .map_err(|why| format!("the sentinel: {why}; see storage.sentinel_password"))?;
    }
    let answer = way
        .ask(&["SENTINEL", "get-master-addr-by-name", name])
        .map_err(|why| format!("the sentinel: {why}"))?;
    // An array of two texts: `*2`, length, host, length, port.
    let lines: Vec<&str> = answer.split("\r\n").collect();
    let (Some(host), Some(port)) = (lines.get(2), lines.get(4)) else {
        return Err(format!(
            "the sentinel knows no primary named {name:?} (storage.master_name)"
        ));
    };
    let primary = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let mut way = Way::open(&primary, tls, config.timeout)
        .map_err(|why| format!("the primary {primary}: {why}"))?;
    let about = |why| format!("the primary {primary}: {why}");
    way.log_in(&config.username, &config.password)
        .map_err(about)?;
    let role = way.ask(&["ROLE"]).map_err(about)?;
    if !role.contains("master") {
        return Err(format!(
            "the sentinel names {primary}, which is a replica; a fail-over is under way"
        ));
    }
    Ok(way.peer)
}

/// A connection, with or without TLS.
trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

struct Way {
    stream: Box<dyn Both>,
    tls: bool,
    peer: Peer,
    patience: Duration,
}

impl Way {
    fn open(address: &str, tls: Option<&TlsConnector>, patience: Duration) -> Result<Self, String> {
        let places = address
            .to_socket_addrs()
            .map_err(|error| format!("its name cannot be resolved: {error}"))?;
        let mut last = "its name has no address".to_owned();
        for place in places {
            match TcpStream::connect_timeout(&place, patience) {
                Ok(stream) => {
                    let bounded = stream
                        .set_read_timeout(Some(patience))
                        .and_then(|()| stream.set_write_timeout(Some(patience)));
                    bounded.map_err(|error| error.to_string())?;
                    return Self::over(stream, address, tls, patience);
                }
                Err(error) => last = format!("cannot connect: {error}"),
            }
        }
        Err(last)
    }

    fn over(
        stream: TcpStream,
        address: &str,
        tls: Option<&TlsConnector>,
        patience: Duration,
    ) -> Result<Self, String> {
        let Some(connector) = tls else {
            return Ok(Self {
                stream: Box::new(stream),
                tls: false,
                peer: None,
                patience,
            });
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match connector.connect(host, stream) {
            Ok(stream) => {
                let certificate = stream.peer_certificate().ok().flatten();
                let der = certificate.and_then(|certificate| certificate.to_der().ok());
                Ok(Self {
                    stream: Box::new(stream),
                    tls: true,
                    peer: der.map(Into::into),
                    patience,
                })
            }
            Err(HandshakeError::Failure(error)) => Err(reason::of_tls(&error.to_string())),
            Err(HandshakeError::WouldBlock(_)) => Err(format!(
                "TLS failed: no answer within {patience:?}; does the port speak TLS (storage.use_ssl)?"
            )),
        }
    }

    fn log_in(&mut self, username: &str, password: &Secret) -> Result<(), String> {
        if password.is_empty() {
            return Ok(());
        }
        if username.is_empty() {
            self.ask(&["AUTH", password.reveal()])?;
        } else {
            self.ask(&["AUTH", username, password.reveal()])?;
        }
        Ok(())
    }

    /// Sends a command; its answer, as much of it as comes in one piece.
    fn ask(&mut self, words: &[&str]) -> Result<String, String> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        let sent = self
            .stream
            .write_all(command.as_bytes())
            .and_then(|()| self.stream.flush());
        sent.map_err(|error| self.failed(&error))?;
        let mut answer = vec![0; LONGEST];
        let length = self
            .stream
            .read(&mut answer)
            .map_err(|error| self.failed(&error))?;
        if length == 0 {
            let tls = if self.tls {
                ""
            } else {
                "; does it expect TLS (storage.use_ssl)?"
            };
            return Err(format!("it closed the connection without an answer{tls}"));
        }
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        match answer.strip_prefix('-') {
            Some(words) => Err(reason::of_answer(words.trim_end())),
            None if answer.starts_with(['+', ':', '$', '*']) => Ok(answer),
            None => Err("what answers there is no Redis".to_owned()),
        }
    }

    fn failed(&self, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("no answer within {:?}", self.patience)
            }
            // With TLS 1.3 a client certificate is judged after the handshake.
            _ if self.tls => reason::of_tls(&error.to_string()),
            _ => format!("{error}; does it expect TLS (storage.use_ssl)?"),
        }
    }
}
