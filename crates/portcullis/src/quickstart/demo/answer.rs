//! What the demo upstream answers to a request.

use std::{convert::Infallible, time::Duration};

use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{
        ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
        UPGRADE,
    },
};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

use super::{door::Visitor, echo, paced::Paced};

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The answer to a request, of somebody who showed a certificate where it came by TLS.
pub async fn to(request: Request<Incoming>, visitor: Option<&Visitor>) -> Answer {
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/stream" | "/events" | "/ws" if !reading => {
            let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
            answer.headers_mut().insert(ALLOW, value("GET, HEAD"));
            answer
        }
        "/stream" => paced("text/plain; charset=utf-8", lines()),
        "/events" => paced("text/event-stream", events()),
        "/ws" => web_socket(request),
        _ => echo::of(request, visitor).await.map(BodyExt::boxed_unsync),
    }
}

fn lines() -> Paced {
    Paced::new(
        Duration::from_millis(200),
        (1..=10).map(|line| format!("line {line} of 10\n")),
    )
}

fn events() -> Paced {
    let event = |number| format!("id: {number}\nevent: tick\ndata: {{\"number\": {number}}}\n\n");
    Paced::new(Duration::from_secs(1), (1u64..).map(event))
}

fn paced(kind: &'static str, body: Paced) -> Answer {
    let mut answer = Response::new(body.boxed_unsync());
    answer.headers_mut().insert(CONTENT_TYPE, value(kind));
    answer
        .headers_mut()
        .insert(CACHE_CONTROL, value("no-store"));
    answer
}

/// Switches to WebSocket and sends every message back.
fn web_socket(mut request: Request<Incoming>) -> Answer {
    let asked = request
        .headers()
        .get(UPGRADE)
        .is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let key = request.headers().get(SEC_WEBSOCKET_KEY).filter(|_| asked);
    let Some(accept) = key.map(|key| derive_accept_key(key.as_bytes())) else {
        let mut answer = empty(StatusCode::UPGRADE_REQUIRED);
        answer.headers_mut().insert(UPGRADE, value("websocket"));
        return answer;
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgraded.await {
            Ok(stream) => {
                let socket =
                    WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, None)
                        .await;
                send_back(socket).await;
            }
            Err(error) => tracing::debug!(%error, "a switch to WebSocket failed"),
        }
    });
    let mut answer = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, value("upgrade"));
    headers.insert(UPGRADE, value("websocket"));
    if let Ok(accept) = accept.parse() {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    answer
}

async fn send_back(mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>) {
    use futures_util::{SinkExt, StreamExt};
    // Pings and the closing handshake are answered by the library while it reads.
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            break;
        }
    }
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Empty::new().boxed_unsync());
    *answer.status_mut() = status;
    answer
}

fn value(text: &'static str) -> hyper::header::HeaderValue {
    hyper::header::HeaderValue::from_static(text)
}
