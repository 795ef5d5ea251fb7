//! Servers and proxies for the tests of clients: the real `openssl s_server`, and servers that keep connections
//! and remember what they saw.

use std::{
    future::poll_fn,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use openssl::{
    nid::Nid,
    ssl::{Ssl, SslAcceptor, SslMethod, SslStream, SslVerifyMode},
    x509::store::X509StoreBuilder,
};
use portcullis_pki::make::Pair;
use portcullis_tls::stream::TlsStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A running `openssl s_server -www`, which answers each request with what it knows of the connection; gone
/// when dropped.
pub struct SServer {
    process: Child,
    port: u16,
}

impl SServer {
    /// Starts one in a directory, with `server.pem` and `server.key` of it and more arguments.
    pub fn start(dir: &Path, more: &[&str]) -> Self {
        let mut process = Command::new("openssl")
            .args(["s_server", "-accept", "0.0.0.0:0", "-www"])
            .args(["-cert", "server.pem", "-key", "server.key"])
            .args(more)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let mut said = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let port = said
            .by_ref()
            .find_map(|line| {
                line.ok()?
                    .strip_prefix("ACCEPT ")?
                    .rsplit(':')
                    .next()?
                    .parse()
                    .ok()
            })
            .expect("s_server says where it listens");
        // What it says further must not fill the pipe.
        thread::spawn(move || said.for_each(drop));
        Self { process, port }
    }

    /// Its address by a name.
    pub fn at(&self, host: &str) -> String {
        format!("https://{}/", self.place(host))
    }

    /// A name and its port.
    pub fn place(&self, host: &str) -> String {
        format!("{host}:{}", self.port)
    }
}

impl Drop for SServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server that answers each request with who asked, on which connection, and remembers the requests.
pub struct Server {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    _ends: mpsc::Sender<()>,
}

/// A connection in the clear or not.
trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

impl Server {
    /// In clear text.
    pub fn plain() -> Self {
        Self::start(|socket| Some((Box::new(socket), "nobody".to_owned())))
    }

    /// With TLS; clients must show a certificate of this authority.
    pub fn mutual(server: &Pair, authority: &Pair) -> Self {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_certificate(&server.certificate).unwrap();
        acceptor.set_private_key(&server.key).unwrap();
        let mut trusted = X509StoreBuilder::new().unwrap();
        trusted.add_cert(authority.certificate.clone()).unwrap();
        acceptor.set_cert_store(trusted.build());
        acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        acceptor.set_session_id_context(b"tests").unwrap();
        let acceptor = acceptor.build();
        Self::start(move |socket| {
            let stream = acceptor.accept(socket).ok()?;
            let name = presented(&stream);
            Some((Box::new(stream), name))
        })
    }

    fn start(
        secure: impl Fn(TcpStream) -> Option<(Box<dyn Duplex>, String)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (ends, ended) = mpsc::channel();
        let (seen, secure) = (requests.clone(), Arc::new(secure));
        thread::spawn(move || {
            for (number, socket) in listener.incoming().enumerate() {
                if ended.try_recv() == Err(mpsc::TryRecvError::Disconnected) {
                    return;
                }
                let (Ok(socket), secure, seen) = (socket, secure.clone(), seen.clone()) else {
                    return;
                };
                thread::spawn(move || {
                    let Some((mut stream, name)) = secure(socket) else {
                        return;
                    };
                    while let Some(head) = head(&mut stream) {
                        seen.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(head);
                        let text = format!("{name} {number}");
                        let answer = format!(
                            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                            text.len()
                        );
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            requests,
            _ends: ends,
        }
    }

    /// Heads of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.clone()
    }
}

/// The common name of the certificate a client showed.
fn presented(stream: &SslStream<TcpStream>) -> String {
    let certificate = stream.ssl().peer_certificate();
    let name = certificate.as_ref().and_then(|certificate| {
        let mut names = certificate.subject_name().entries_by_nid(Nid::COMMONNAME);
        names.next()?.data().to_string().ok()
    });
    name.unwrap_or_else(|| "nobody".to_owned())
}

/// A message's head; `None` when there is no more.
pub fn head(stream: &mut dyn Read) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// A proxy that makes tunnels to wherever it is asked for, and answers itself what it is asked in the clear.
pub struct Proxy {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// One that answers CONNECT with this line when it is not 200.
    pub fn start(connect: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = heads.clone();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (Ok(mut socket), seen) = (socket, seen.clone()) else {
                    return;
                };
                thread::spawn(move || {
                    let head = head(&mut socket)?;
                    let target = head.split(' ').nth(1)?.to_owned();
                    let is_connect = head.starts_with("CONNECT ");
                    seen.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(head);
                    if !is_connect {
                        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nby proxy.";
                        return socket.write_all(answer.as_bytes()).ok();
                    }
                    socket
                        .write_all(format!("HTTP/1.1 {connect}\r\n\r\n").as_bytes())
                        .ok()?;
                    if !connect.starts_with("200") {
                        return Some(());
                    }
                    splice(socket, TcpStream::connect(target).ok()?)
                });
            }
        });
        Self { address, heads }
    }

    /// Heads of what it was asked so far.
    pub fn heads(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.clone()
    }
}

/// A proxy that is spoken to by TLS, asks who is there, and makes tunnels.
pub struct SecureProxy {
    pub port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl SecureProxy {
    /// Starts one on the runtime of the test.
    pub async fn start(server: &Pair) -> Self {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_certificate(&server.certificate).unwrap();
        acceptor.set_private_key(&server.key).unwrap();
        acceptor.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
        let acceptor = acceptor.build();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = heads.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let mut ssl = Ssl::new(acceptor.context()).unwrap();
                ssl.set_accept_state();
                tokio::spawn(Self::serve(ssl, socket, seen.clone()));
            }
        });
        Self { port, heads }
    }

    async fn serve(
        ssl: Ssl,
        socket: tokio::net::TcpStream,
        seen: Arc<Mutex<Vec<String>>>,
    ) -> Option<()> {
        let mut stream = TlsStream::new(ssl, socket).ok()?;
        poll_fn(|cx| stream.poll_handshake(cx)).await.ok()?;
        let shown = stream.ssl().peer_certificate().is_some();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).ok()?;
        let target = head.split(' ').nth(1)?.to_owned();
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(format!("{head}certificate shown: {shown}"));
        stream.write_all(b"HTTP/1.1 200 Fine\r\n\r\n").await.ok()?;
        stream.flush().await.ok()?;
        let mut server = tokio::net::TcpStream::connect(target).await.ok()?;
        tokio::io::copy_bidirectional(&mut stream, &mut server)
            .await
            .ok()?;
        Some(())
    }

    /// What it was asked so far, and whether a certificate was shown.
    pub fn heads(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.clone()
    }
}

fn splice(client: TcpStream, server: TcpStream) -> Option<()> {
    let (mut to, mut from) = (server.try_clone().ok()?, client.try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (server, client);
    let _ = std::io::copy(&mut from, &mut to);
    to.shutdown(Shutdown::Both).ok()
}
