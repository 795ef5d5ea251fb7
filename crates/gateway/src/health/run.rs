//! One run of a test: a request by the client for tests, or a raw connection.
//!
//! Invariant: a test that cannot be run as it is configured has failed; it is never run some weaker way.

use std::{
    future::poll_fn,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header::CONNECTION};
use portcullis_apidef::{TestStep, UptimeTest};
use portcullis_tls::{
    client::ClientConfig,
    failure::UpstreamTlsFailure,
    stream::{HandshakeError, TlsStream},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::host::Test;
use crate::{
    proxy::{dial::Way, pool::EndpointTls},
    services::Client,
};

/// How long a raw connection may take of which nothing is said.
const RAW: Duration = Duration::from_secs(10);

/// What a run brought.
#[derive(Debug)]
pub struct Report {
    /// Status of the answer; 200 for a raw connection that went well, 0 for no answer.
    pub status: u16,
    /// How long it took.
    pub took: Duration,
    /// Why it failed.
    pub failure: Option<String>,
}

/// Runs a test once. `limit` is for requests of which nothing is said.
pub async fn run(test: &Test, client: &Client, limit: Option<Duration>) -> Report {
    let begun = Instant::now();
    let outcome = match test.asked.is_raw() {
        true => {
            let limit = test.asked.timeout.unwrap_or(RAW);
            let asked = timeout(limit, raw(test)).await;
            let asked =
                asked.unwrap_or_else(|_| Err(format!("not done within {} s", limit.as_secs_f32())));
            asked.map(|()| 200)
        }
        false => request(&test.asked, client, test.asked.timeout.or(limit)).await,
    };
    let (status, failure) = match outcome {
        Ok(200) => (200, None),
        Ok(status) => (
            status,
            Some(format!("it answers {status}, and only 200 is well")),
        ),
        Err(reason) => (0, Some(reason)),
    };
    Report {
        status,
        took: begun.elapsed(),
        failure,
    }
}

async fn request(
    asked: &UptimeTest,
    client: &Client,
    limit: Option<Duration>,
) -> Result<u16, String> {
    let query = asked
        .target
        .query
        .as_deref()
        .map(|query| format!("?{query}"));
    let address = format!("{}{}", asked.url(), query.unwrap_or_default());
    let mut builder = Request::builder()
        .uri(address)
        .method(match &*asked.request.method {
            "" => Method::GET,
            method => method
                .parse()
                .map_err(|_| "its method is none".to_owned())?,
        });
    for (name, value) in &asked.request.headers {
        builder = builder.header(name, value);
    }
    let mut request = builder
        .body(Bytes::from(asked.request.body.clone()))
        .map_err(|error| format!("it cannot be asked: {error}"))?;
    // A connection from before says little about whether one can be had now.
    request
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    let answer = match limit {
        Some(limit) => client.call_within(request, limit).await,
        None => client.call(request).await,
    };
    answer
        .map(|answer| answer.status.as_u16())
        .map_err(|error| error.to_string())
}

async fn raw(test: &Test) -> Result<(), String> {
    match test.endpoint.as_ref().map(|endpoint| &endpoint.way) {
        None | Some(Way::Direct) => {}
        Some(Way::Barred(reason)) => return Err(format!("its proxy cannot be used: {reason}")),
        // What can be reached straight may not be by the proxy, and the other way round.
        Some(Way::Forwarded(_) | Way::Tunnelled(_)) => {
            return Err(
                "connections are not tested through the proxy of the API; test by https://"
                    .to_owned(),
            );
        }
    }
    let target = &test.asked.target;
    let mut socket = TcpStream::connect((&*target.host, target.port))
        .await
        .map_err(|error| format!("cannot connect: {error}"))?;
    if test.asked.proxy_protocol {
        let header = proxy_header(socket.local_addr(), socket.peer_addr());
        socket
            .write_all(header.as_bytes())
            .await
            .map_err(|error| format!("cannot send: {error}"))?;
    }
    match test.endpoint.as_ref().map(|endpoint| &endpoint.tls) {
        None | Some(EndpointTls::Clear) => talk(socket, &test.asked.steps).await,
        Some(EndpointTls::Unready(failure)) => Err(failure.to_string()),
        Some(EndpointTls::Client(tls, _)) => {
            let stream = secure(tls, &target.host, socket).await?;
            talk(stream, &test.asked.steps).await
        }
    }
}

async fn secure(
    tls: &ClientConfig,
    host: &str,
    socket: TcpStream,
) -> Result<TlsStream<TcpStream>, String> {
    let session = tls.session(host).map_err(|error| error.to_string())?;
    let mut stream = TlsStream::new(session, socket).map_err(|error| error.to_string())?;
    match poll_fn(|cx| stream.poll_handshake(cx)).await {
        Ok(()) => Ok(stream),
        Err(HandshakeError::Tls(error)) => {
            let failure = UpstreamTlsFailure::of(&error, stream.ssl(), host, SystemTime::now());
            Err(format!(
                "TLS failed: {}",
                failure.map_or_else(|| error.to_string(), |failure| failure.to_string())
            ))
        }
        Err(HandshakeError::Transport(error)) => Err(format!("TLS failed: {error}")),
        Err(HandshakeError::ClearText) => Err("it does not speak TLS".to_owned()),
    }
}

/// What comes is never shown: it may be anything.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    steps: &[TestStep],
) -> Result<(), String> {
    for step in steps {
        match step {
            TestStep::Send(text) => {
                let sent = stream.write_all(text.as_bytes()).await;
                let sent = match sent {
                    Ok(()) => stream.flush().await,
                    failed => failed,
                };
                sent.map_err(|error| format!("cannot send: {error}"))?;
            }
            TestStep::Expect(text) => {
                let mut came = vec![0; text.len()];
                stream
                    .read_exact(&mut came)
                    .await
                    .map_err(|error| format!("what is expected does not come: {error}"))?;
                if came != text.as_bytes() {
                    return Err("it says something else than is expected".to_owned());
                }
            }
        }
    }
    Ok(())
}

/// Version 1 of the header: we speak for ourselves.
fn proxy_header(ours: std::io::Result<SocketAddr>, theirs: std::io::Result<SocketAddr>) -> String {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            let family = if ours.is_ipv4() { "TCP4" } else { "TCP6" };
            format!(
                "PROXY {family} {} {} {} {}\r\n",
                ours.ip(),
                theirs.ip(),
                ours.port(),
                theirs.port()
            )
        }
        _ => "PROXY UNKNOWN\r\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, net::TcpListener, sync::Arc};

    use portcullis_config::ProxyAddress;
    use serde_json::json;

    use super::*;
    use crate::{
        health::doubles,
        proxy::{
            hop::Hop,
            pool::{Endpoint, Http2Use},
        },
    };

    /// A test of a raw connection that leads this way.
    fn leading(way: Way, port: u16) -> Test {
        let list = json!([{"url": format!("tcp://127.0.0.1:{port}")}]);
        let tests = doubles::tests(&doubles::host(), &list);
        let test = &tests[0];
        let endpoint = Endpoint {
            id: 0,
            host: "127.0.0.1".into(),
            port,
            authority: "127.0.0.1".into(),
            tls: EndpointTls::Clear,
            http2: Http2Use::Never,
            way,
            switching: None,
            dial: RAW,
            keep: 0,
            max_age: None,
            contact: Arc::default(),
        };
        Test {
            api_id: test.api_id.clone(),
            asked: test.asked.clone(),
            host: test.host.clone(),
            endpoint: Some(Arc::new(endpoint)),
            handlers: test.handlers.clone(),
            state: test.state.clone(),
        }
    }

    #[tokio::test]
    async fn a_connection_that_a_proxy_leads_to_is_not_made_straight() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let port = listener.local_addr().expect("it is bound").port();
        let proxy = ProxyAddress::parse("http://127.0.0.1:1").expect("an address");
        for (way, said) in [
            (Way::Barred("no proxy".into()), "no proxy"),
            (
                Way::Tunnelled(Arc::new(Hop::new(&proxy, None))),
                "test by https://",
            ),
        ] {
            let failure = raw(&leading(way, port)).await.expect_err("it fails");
            assert!(failure.contains(said), "{failure}");
        }
        let none = listener.accept().expect_err("nobody came");
        assert_eq!(none.kind(), ErrorKind::WouldBlock);
        let straight = raw(&leading(Way::Direct, port)).await;
        assert_eq!(straight, Ok(()));
    }
}
