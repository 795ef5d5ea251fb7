//! The keys that are this gateway's own. A real Tyk ignores them.

use super::{Section, at_least, own};
use crate::key::Kind;

pub(super) const OWN: Section = Section {
    title: "Own keys",
    about: "Everything under the object `portcullis`.",
    keys: &[
        own(
            "portcullis.workers",
            "WORKERS",
            Kind::Integer { min: 1, max: 1024 },
            "null",
            "Worker threads that carry traffic; unset means one per core.",
        ),
        own(
            "portcullis.data_dir",
            "DATA_DIR",
            Kind::Path,
            "\"data\"",
            "Directory of the embedded store, relative to the configuration file.",
        ),
        own(
            "portcullis.api_id_paths",
            "API_ID_PATHS",
            Kind::Bool,
            "false",
            "Serves every API a second time under `/<api_id>/`.",
        ),
        own(
            "portcullis.watch_app_path",
            "WATCH_APP_PATH",
            Kind::Bool,
            "true",
            "Reloads when a file in `app_path` changes.",
        ),
        own(
            "portcullis.strict_common_name",
            "STRICT_COMMON_NAME",
            Kind::Bool,
            "false",
            "The common-name check of an upstream verifies the chain as well.",
        )
        .not_yet("the common-name check"),
        own(
            "portcullis.proxy_ssl_renegotiation",
            "PROXY_SSL_RENEGOTIATION",
            Kind::Choice(&["never", "once", "freely"]),
            "\"never\"",
            "How often an upstream may renegotiate a TLS 1.2 connection.",
        )
        .not_yet("renegotiation; upstreams may never renegotiate"),
        own(
            "portcullis.proxy_protocol",
            "PROXY_PROTOCOL",
            Kind::BoolOrPorts,
            "false",
            "Listeners that expect a PROXY protocol header (version 1 or 2) before anything else: all, none or the listed ports.",
        ),
        own(
            "portcullis.handshake_timeout",
            "HANDSHAKE_TIMEOUT",
            Kind::DecimalSeconds(0),
            "10",
            "Longest time for a TLS handshake and for a PROXY header.",
        ),
        own(
            "portcullis.max_handshakes_per_address",
            "MAX_HANDSHAKES_PER_ADDRESS",
            at_least(0),
            "100",
            "TLS handshakes one address may have under way per worker; more are closed at once. 0 means no limit.",
        ),
        own(
            "portcullis.max_header_bytes",
            "MAX_HEADER_BYTES",
            Kind::Integer {
                min: 1024,
                max: 1_048_576,
            },
            "32768",
            "Longest request head; longer ones are refused with 431.",
        ),
        own(
            "portcullis.max_headers",
            "MAX_HEADERS",
            Kind::Integer {
                min: 1,
                max: 10_000,
            },
            "100",
            "Most header fields of a request; more are refused with 431.",
        ),
        own(
            "portcullis.header_timeout",
            "HEADER_TIMEOUT",
            Kind::DecimalSeconds(0),
            "10",
            "Longest time to receive a whole request head once it began.",
        ),
        own(
            "portcullis.idle_timeout",
            "IDLE_TIMEOUT",
            Kind::DecimalSeconds(0),
            "null",
            "How long a client connection may stay without a request; unset means `http_server_options.read_timeout`.",
        ),
        own(
            "portcullis.max_concurrent_streams",
            "MAX_CONCURRENT_STREAMS",
            Kind::Integer {
                min: 1,
                max: 100_000,
            },
            "250",
            "Requests one HTTP/2 client connection may have under way.",
        ),
        own(
            "portcullis.ticket_rotation",
            "TICKET_ROTATION",
            Kind::Seconds(0),
            "43200",
            "Age at which the keys of TLS session tickets are replaced; 0 switches resumption off.",
        ),
        own(
            "portcullis.access_log_format",
            "ACCESS_LOG_FORMAT",
            Kind::Choice(&["json", "text"]),
            "\"json\"",
            "Form of access log lines.",
        ),
        own(
            "portcullis.session_grace",
            "SESSION_GRACE",
            Kind::Seconds(0),
            "300",
            "How long a key that was read before goes on working while the store does not answer; 0 means not at all.",
        ),
        own(
            "portcullis.certificate_check_interval",
            "CERTIFICATE_CHECK_INTERVAL",
            Kind::Integer { min: 1, max: 60 },
            "30",
            "Seconds between two looks at certificates in use, for changes in a shared store that nobody told.",
        ),
        own(
            "portcullis.log_format",
            "LOG_FORMAT",
            Kind::Choice(&["", "json", "text"]),
            "\"\"",
            "Form of log lines; empty means what `log_format` says.",
        ),
    ],
};
