//! What the gateway listens on and how it speaks there.

use super::{ANY, Section, at_least, tyk};
use crate::key::Kind;

pub(super) const LISTENERS: Section = Section {
    title: "Listeners",
    about: "Addresses, ports and host names.",
    keys: &[
        tyk(
            "listen_port",
            "LISTENPORT",
            Kind::Port,
            "8080",
            "Main port. 0 lets the operating system pick one.",
        ),
        tyk(
            "listen_address",
            "LISTENADDRESS",
            Kind::Address,
            "\"\"",
            "Address every listener binds to; empty means every interface.",
        ),
        tyk(
            "hostname",
            "HOSTNAME",
            Kind::Text,
            "\"\"",
            "APIs without a custom domain answer only to this host name; empty means to any.",
        ),
        tyk(
            "enable_custom_domains",
            "ENABLECUSTOMDOMAINS",
            Kind::Bool,
            "false",
            "Routes by the custom domain of an API definition.",
        ),
        tyk(
            "close_connections",
            "CLOSECONNECTIONS",
            Kind::Bool,
            "false",
            "Closes every client connection after one answer.",
        ),
        tyk(
            "ports_whitelist",
            "PORTWHITELIST",
            Kind::PortRules,
            "{}",
            "Ports an API may open, by protocol; limits of a range belong to it. The main and the Control API port are always allowed. A variable holds the same JSON object.",
        ),
        tyk(
            "disable_ports_whitelist",
            "DISABLEPORTWHITELIST",
            Kind::Bool,
            "false",
            "Lets an API open any port.",
        ),
    ],
};

pub(super) const SERVER: Section = Section {
    title: "HTTP server",
    about: "TLS and HTTP towards clients, on every listener.",
    keys: &[
        tyk("http_server_options.use_ssl", "HTTPSERVEROPTIONS_USESSL", Kind::Bool, "false", "Speaks TLS on the main port, the Control API port and every API port without a protocol of its own."),
        tyk("http_server_options.certificates", "HTTPSERVEROPTIONS_CERTIFICATES", Kind::CertificatePairs, "[]", "Server certificates as pairs of PEM files. A variable holds the same JSON list."),
        tyk("http_server_options.ssl_certificates", "HTTPSERVEROPTIONS_SSLCERTIFICATES", Kind::TextList, "[]", "Server certificates with their keys: PEM files, inline PEM or certificate ids."),
        tyk("http_server_options.server_name", "HTTPSERVEROPTIONS_SERVERNAME", Kind::Text, "\"\"", "Name of the server.").inert("certificates are chosen by the name the client asks for"),
        tyk("http_server_options.min_version", "HTTPSERVEROPTIONS_MINVERSION", Kind::TlsVersion, "0", "Lowest TLS version: 771 is 1.2, 772 is 1.3; 0 means 771."),
        tyk("http_server_options.max_version", "HTTPSERVEROPTIONS_MAXVERSION", Kind::TlsVersion, "0", "Highest TLS version: 771 is 1.2, 772 is 1.3; 0 means 771."),
        tyk("http_server_options.ssl_ciphers", "HTTPSERVEROPTIONS_CIPHERS", Kind::TextList, "[]", "Cipher suites of TLS 1.2 by their IANA names; empty means the built-in choice. TLS 1.3 is not restricted by it."),
        tyk("http_server_options.ssl_insecure_skip_verify", "HTTPSERVEROPTIONS_SSLINSECURESKIPVERIFY", Kind::Bool, "false", "Skips verification of the Dashboard's certificate; nothing else.").not_yet("the Dashboard client"),
        tyk("http_server_options.skip_client_ca_announcement", "HTTPSERVEROPTIONS_SKIPCLIENTCAANNOUNCEMENT", Kind::Bool, "false", "Asks for client certificates without naming the accepted authorities."),
        tyk("http_server_options.enable_http2", "HTTPSERVEROPTIONS_ENABLEHTTP2", Kind::Bool, "false", "Offers HTTP/2 over TLS. Without TLS it is understood whatever stands here."),
        tyk("http_server_options.read_timeout", "HTTPSERVEROPTIONS_READTIMEOUT", Kind::Seconds(ANY), "120", "Longest time to receive a request of the Control API, and for an idle connection to stay; 0 or less means 120. Request bodies for upstreams are bounded by `write_timeout`."),
        tyk("http_server_options.write_timeout", "HTTPSERVEROPTIONS_WRITETIMEOUT", Kind::Seconds(ANY), "120", "Longest time a body may stand still in either direction, so that streams that move may last; 0 or less means 120."),
        tyk("http_server_options.enable_websockets", "HTTPSERVEROPTIONS_ENABLEWEBSOCKETS", Kind::Bool, "false", "Passes connection upgrades on; without it an upgrade request is an ordinary one."),
        tyk("http_server_options.flush_interval", "HTTPSERVEROPTIONS_FLUSHINTERVAL", Kind::Milliseconds(ANY), "0", "Longest time an answer's data may wait to be sent together.").inert("data is sent as soon as no more is at hand"),
        tyk("http_server_options.max_request_body_size", "HTTPSERVEROPTIONS_MAXREQUESTBODYSIZE", Kind::Bytes(0), "0", "Larger request bodies are refused with 413; 0 means no limit."),
        tyk("http_server_options.max_response_body_size", "HTTPSERVEROPTIONS_MAXRESPONSEBODYSIZE", Kind::Bytes(0), "0", "Larger answers of an upstream are refused; 0 means no limit.").not_yet("limits on answers"),
        tyk("http_server_options.xff_depth", "HTTPSERVEROPTIONS_XFFDEPTH", at_least(0), "0", "Which entry of `X-Forwarded-For`, counted from the right, is the client; 0 means the first.").not_yet("decisions by client address"),
        tyk("http_server_options.enable_strict_routes", "HTTPSERVEROPTIONS_ENABLESTRICTROUTES", Kind::Bool, "false", "A listen path `/foo` answers `/foo` and `/foo/…` but not `/foobar`."),
        tyk("http_server_options.enable_path_prefix_matching", "HTTPSERVEROPTIONS_ENABLEPATHPREFIXMATCHING", Kind::Bool, "false", "Endpoint patterns match only from the start of the path.").not_yet("rules for endpoints"),
        tyk("http_server_options.enable_path_suffix_matching", "HTTPSERVEROPTIONS_ENABLEPATHSUFFIXMATCHING", Kind::Bool, "false", "Endpoint patterns match only up to the end of the path.").not_yet("rules for endpoints"),
        tyk("http_server_options.skip_url_cleaning", "HTTPSERVEROPTIONS_SKIPURLCLEANING", Kind::Bool, "false", "Leaves `//` in a path; without it double slashes are joined before routing. Dot segments are always resolved."),
        tyk("http_server_options.skip_target_path_escaping", "HTTPSERVEROPTIONS_SKIPTARGETPATHESCAPING", Kind::Bool, "false", "Sends the path upstream as the client wrote it.").inert("that is how it is always sent"),
        tyk("http_server_options.override_defaults", "HTTPSERVEROPTIONS_OVERRIDEDEFAULTS", Kind::Bool, "false", "Switched the timeouts on in old versions.").inert("the timeouts always apply"),
        tyk("http_server_options.use_ssl_le", "HTTPSERVEROPTIONS_USELE_SSL", Kind::Bool, "false", "Fetched certificates from Let's Encrypt in old versions.").inert("a relic; give certificates in `ssl_certificates`"),
    ],
};
