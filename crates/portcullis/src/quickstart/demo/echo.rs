//! A request told back as JSON.

use http_body_util::{BodyExt, Full, Limited};
use hyper::{HeaderMap, body::Incoming};
use hyper::{Request, Response, StatusCode, body::Bytes, header::CONTENT_TYPE};
use serde_json::{Map, Value, json};

use super::door::Visitor;

/// The longest body that is told back; longer ones are only counted, up to a point.
const LONGEST: usize = 1 << 20;

/// Method, path, query, headers and body of a request, and the certificate it came with.
pub async fn of(request: Request<Incoming>, visitor: Option<&Visitor>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, LONGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            let text = format!("the demo upstream takes bodies up to {LONGEST} bytes");
            return answer(StatusCode::PAYLOAD_TOO_LARGE, &json!({"error": text}));
        }
    };
    let mut told = json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "headers": headers(&head.headers),
        "body": String::from_utf8_lossy(&body),
        "body_bytes": body.len(),
    });
    if let Some(visitor) = visitor {
        told["tls"] = visitor.version.into();
        told["client_certificate"] = visitor.certificate.clone();
    }
    answer(StatusCode::OK, &told)
}

fn answer(status: StatusCode, json: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{json:#}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        "application/json".parse().expect("a header value"),
    );
    response
}

/// A header that came several times has a list.
fn headers(headers: &HeaderMap) -> Value {
    let text =
        |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let told = headers.keys().map(|name| {
        let mut values: Vec<String> = headers.get_all(name).iter().map(text).collect();
        let value = if values.len() == 1 {
            Value::from(values.remove(0))
        } else {
            Value::from(values)
        };
        (name.to_string(), value)
    });
    Value::Object(told.collect::<Map<_, _>>())
}
