//! What a line of the access log says about a request.
//!
//! Names are Tyk's where Tyk has the field; the others are ours. Latencies are whole milliseconds
//! as in Tyk; fields that end in `_us` hold the same in microseconds.

use std::{
    net::{IpAddr, SocketAddr},
    time::SystemTime,
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::line::Line;
use crate::observe::ResponseFlag;

/// One finished request. Everything is borrowed: nothing is copied unless the line is written.
#[derive(Debug, Clone)]
pub struct AccessRecord<'r> {
    /// When the request ended.
    pub at: SystemTime,
    /// Method as sent.
    pub method: &'r str,
    /// Path as sent. A query, should one be left in, is cut off.
    pub path: &'r str,
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub protocol: &'r str,
    /// The host the client named.
    pub host: &'r str,
    /// Status the client got.
    pub status: u16,
    /// Body bytes the client sent.
    pub request_bytes: u64,
    /// Body bytes the client got.
    pub response_bytes: u64,
    /// The client, as far as we trust what vouches for it.
    pub client: IpAddr,
    /// The other end of the connection, where it is known.
    pub remote: Option<SocketAddr>,
    /// `User-Agent`, empty when there was none.
    pub user_agent: &'r [u8],
    /// The API that took the request.
    pub api: Option<RecordApi<'r>>,
    /// TLS towards the client.
    pub tls: Option<RecordTls<'r>>,
    /// Where the request was sent: `scheme://host:port` and path.
    pub upstream_address: Option<&'r str>,
    /// Time spent waiting for the upstream, microseconds.
    pub upstream_micros: Option<u64>,
    /// The whole exchange, microseconds.
    pub total_micros: u64,
    /// Trace id of a valid `traceparent`.
    pub trace_id: Option<&'r str>,
    /// Who sent it.
    pub key: Option<RecordKey<'r>>,
    /// Why it failed, if it did.
    pub error: Option<RecordError<'r>>,
}

/// The API a request belongs to.
#[derive(Debug, Clone, Copy)]
pub struct RecordApi<'r> {
    /// `api_id`.
    pub id: &'r str,
    /// Its name.
    pub name: &'r str,
    /// `org_id`.
    pub org_id: &'r str,
}

/// The key a request came with.
#[derive(Debug, Clone, Copy)]
pub struct RecordKey<'r> {
    /// Its token, masked.
    pub masked: &'r str,
    /// Its human name, empty when it has none.
    pub alias: &'r str,
}

/// TLS between client and gateway.
#[derive(Debug, Clone, Copy)]
pub struct RecordTls<'r> {
    /// `TLSv1.2`, `TLSv1.3`.
    pub version: &'r str,
    /// The suite by its IANA name.
    pub cipher: &'r str,
    /// The host name of the ClientHello.
    pub server_name: Option<&'r str>,
    /// Whether a session was resumed.
    pub resumed: bool,
}

/// A failure on the way to or from the upstream.
#[derive(Debug, Clone, Copy)]
pub struct RecordError<'r> {
    /// Which.
    pub flag: ResponseFlag,
    /// `host[:port]` and path of the upstream.
    pub target: Option<&'r str>,
    /// Status of the upstream, when that is the failure.
    pub upstream_status: Option<u16>,
    /// When the upstream's certificate ends, in seconds since 1970, when that is the failure.
    pub cert_expiry: Option<i64>,
    /// Common name of that certificate.
    pub cert_subject: Option<&'r str>,
}

/// Which fields a line has; one bit for each name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields(u64);

impl Fields {
    /// All names, in the order of a line.
    pub(super) const NAMES: [&'static str; 34] = [
        "alias",
        "api_id",
        "api_key",
        "api_name",
        "client_ip",
        "host",
        "latency_total",
        "method",
        "org_id",
        "path",
        "protocol",
        "remote_addr",
        "status",
        "trace_id",
        "upstream_address",
        "upstream_latency",
        "user_agent",
        "response_flag",
        "response_code_details",
        "error_source",
        "error_target",
        "upstream_status",
        "tls_cert_expiry",
        "tls_cert_subject",
        "circuit_breaker_state",
        "request_bytes",
        "response_bytes",
        "latency_total_us",
        "upstream_latency_us",
        "latency_gateway",
        "tls_version",
        "tls_cipher",
        "tls_server_name",
        "tls_resumed",
    ];

    /// The fields a template names, all for an empty one; and the names that are none.
    pub(super) fn chosen(template: &[String]) -> (Self, Vec<&str>) {
        if template.is_empty() {
            return (Self(u64::MAX), Vec::new());
        }
        let (mut bits, mut unknown) = (0, Vec::new());
        for name in template {
            match Self::NAMES.iter().position(|known| known == name) {
                Some(place) => bits |= 1 << place,
                None => unknown.push(name.as_str()),
            }
        }
        (Self(bits), unknown)
    }

    fn has(self, name: &str) -> bool {
        self.0 == u64::MAX
            || Self::NAMES
                .iter()
                .position(|known| *known == name)
                .is_some_and(|place| self.0 >> place & 1 == 1)
    }
}

/// A line and the fields it may have.
struct Writer<'l> {
    fields: Fields,
    line: &'l mut Line,
}

impl AccessRecord<'_> {
    /// Writes the chosen fields. Time, level and prefix are always there; what does not apply to
    /// a request is left out.
    pub(super) fn write(&self, fields: Fields, line: &mut Line) {
        line.text("time", timestamp(self.at).as_bytes());
        line.text("level", b"info");
        line.text("prefix", b"access-log");
        let mut w = Writer { fields, line };
        if let Some(key) = &self.key {
            w.optional("alias", Some(key.alias).filter(|alias| !alias.is_empty()));
        }
        if let Some(api) = &self.api {
            w.text("api_id", api.id);
        }
        if let Some(key) = &self.key {
            w.text("api_key", key.masked);
        }
        if let Some(api) = &self.api {
            w.text("api_name", api.name);
        }
        w.show("client_ip", self.client);
        w.text("host", self.host);
        w.number("latency_total", self.total_micros / 1_000);
        w.text("method", self.method);
        if let Some(api) = &self.api {
            w.text("org_id", api.org_id);
        }
        w.text("path", without_query(self.path));
        w.text("protocol", self.protocol);
        if let Some(remote) = self.remote {
            w.show("remote_addr", remote);
        }
        w.number("status", self.status.into());
        w.optional("trace_id", self.trace_id);
        w.optional("upstream_address", self.upstream_address.map(without_query));
        w.number(
            "upstream_latency",
            self.upstream_micros.unwrap_or(0) / 1_000,
        );
        w.bytes("user_agent", self.user_agent);
        if let Some(error) = &self.error {
            error.write(&mut w);
        }
        w.number("request_bytes", self.request_bytes);
        w.number("response_bytes", self.response_bytes);
        w.number("latency_total_us", self.total_micros);
        if let Some(micros) = self.upstream_micros {
            w.number("upstream_latency_us", micros);
        }
        w.number(
            "latency_gateway",
            self.total_micros
                .saturating_sub(self.upstream_micros.unwrap_or(0))
                / 1_000,
        );
        if let Some(tls) = &self.tls {
            w.text("tls_version", tls.version);
            w.text("tls_cipher", tls.cipher);
            w.optional("tls_server_name", tls.server_name);
            w.truth("tls_resumed", tls.resumed);
        }
    }
}

impl RecordError<'_> {
    fn write(&self, w: &mut Writer<'_>) {
        w.text("response_flag", self.flag.flag());
        w.text("response_code_details", self.flag.detail());
        w.text("error_source", self.flag.source());
        w.optional("error_target", self.target.map(without_query));
        if let Some(status) = self.upstream_status {
            w.number("upstream_status", status.into());
        }
        if let Some(expiry) = self.cert_expiry {
            let text = OffsetDateTime::from_unix_timestamp(expiry)
                .ok()
                .and_then(|at| at.format(&Rfc3339).ok());
            w.optional("tls_cert_expiry", text.as_deref());
        }
        w.optional("tls_cert_subject", self.cert_subject);
        if self.flag == ResponseFlag::CircuitBreakerOpen {
            w.text("circuit_breaker_state", "OPEN");
        }
    }
}

impl Writer<'_> {
    fn text(&mut self, key: &str, value: &str) {
        self.bytes(key, value.as_bytes());
    }

    fn bytes(&mut self, key: &str, value: &[u8]) {
        if self.fields.has(key) {
            self.line.text(key, value);
        }
    }

    fn optional(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn show(&mut self, key: &str, value: impl std::fmt::Display) {
        if self.fields.has(key) {
            self.line.text(key, value.to_string().as_bytes());
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        if self.fields.has(key) {
            self.line.number(key, value);
        }
    }

    fn truth(&mut self, key: &str, value: bool) {
        if self.fields.has(key) {
            self.line.truth(key, value);
        }
    }
}

/// A query may hold tokens.
fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// Always of the same length, so that lines sort as text.
fn timestamp(at: SystemTime) -> String {
    let format = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
    );
    OffsetDateTime::from(at).format(format).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use portcullis_config::LogFormat;
    use serde_json::Value;

    use super::*;

    /// A request that went well.
    pub(in super::super) fn example() -> AccessRecord<'static> {
        AccessRecord {
            at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_120),
            method: "GET",
            path: "/orders/7",
            protocol: "HTTP/1.1",
            host: "api.example.com",
            status: 200,
            request_bytes: 0,
            response_bytes: 512,
            client: [192, 0, 2, 7].into(),
            remote: Some(([192, 0, 2, 7], 4711).into()),
            user_agent: b"curl/8",
            api: Some(RecordApi {
                id: "orders",
                name: "Orders",
                org_id: "default",
            }),
            tls: Some(RecordTls {
                version: "TLSv1.3",
                cipher: "TLS_AES_128_GCM_SHA256",
                server_name: Some("api.example.com"),
                resumed: true,
            }),
            upstream_address: Some("http://10.0.0.1:80/7"),
            upstream_micros: Some(2_500),
            key: Some(RecordKey {
                masked: "****cdef",
                alias: "anna",
            }),
            total_micros: 4_900,
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
            error: None,
        }
    }

    fn json(record: &AccessRecord<'_>, template: &[&str]) -> Value {
        let template: Vec<String> = template.iter().map(ToString::to_string).collect();
        let mut line = Line::new(LogFormat::Json, Vec::new());
        record.write(Fields::chosen(&template).0, &mut line);
        serde_json::from_slice(&line.finish()).unwrap()
    }

    #[test]
    fn a_line_has_the_keys_that_tools_for_tyk_read() {
        let value = json(&example(), &[]);
        assert_eq!(value["time"], "2023-11-14T22:13:20.120Z");
        assert_eq!(value["client_ip"], "192.0.2.7");
        assert_eq!(value["remote_addr"], "192.0.2.7:4711");
        assert_eq!(
            (&value["latency_total"], &value["upstream_latency"]),
            (&4.into(), &2.into())
        );
        assert_eq!(
            (&value["latency_total_us"], &value["upstream_latency_us"]),
            (&4900.into(), &2500.into())
        );
        assert_eq!(value["tls_version"], "TLSv1.3");
        assert_eq!(value["tls_resumed"], true);
        assert_eq!(value["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(value.get("response_flag").is_none());
    }

    #[test]
    fn every_named_field_can_appear_and_nothing_else_does() {
        let mut record = example();
        record.error = Some(RecordError {
            flag: ResponseFlag::CircuitBreakerOpen,
            target: Some("10.0.0.1:80/7"),
            upstream_status: Some(503),
            cert_expiry: Some(1_700_000_000),
            cert_subject: Some("upstream"),
        });
        let value = json(&record, &[]);
        let object = value.as_object().unwrap();
        for name in Fields::NAMES {
            assert!(object.contains_key(name), "{name}");
        }
        assert_eq!(object.len(), Fields::NAMES.len() + 3);
        assert_eq!(value["tls_cert_expiry"], "2023-11-14T22:13:20Z");
        assert_eq!(value["error_source"], "ReverseProxy");
    }

    #[test]
    fn a_template_chooses_fields_and_keeps_the_prefix() {
        let value = json(&example(), &["status", "path"]);
        let mut keys: Vec<_> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        keys.sort_unstable();
        assert_eq!(keys, ["level", "path", "prefix", "status", "time"]);
        let template = ["status".to_owned(), "nonsense".to_owned()];
        assert_eq!(Fields::chosen(&template).1, ["nonsense"]);
    }

    #[test]
    fn a_query_never_reaches_the_log() {
        let mut record = example();
        record.path = "/a?token=secret";
        record.upstream_address = Some("http://h/a?token=secret");
        assert!(!json(&record, &[]).to_string().contains("secret"));
    }
}
