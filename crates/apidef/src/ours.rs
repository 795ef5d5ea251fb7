//! Our own keys: the `portcullis` member of a Classic definition, `x-portcullis` of an OAS one.

use crate::reader::Node;

/// Whether the API asks for TLS renegotiation towards its upstream.
pub(crate) fn renegotiates(ours: &Node<'_, '_>) -> bool {
    let node = ours.at("proxy_ssl_renegotiation");
    match node.string() {
        "" | "never" => false,
        "once" | "freely" => true,
        other => {
            node.error(
                format!("unknown value {other:?}"),
                "never, once or freely",
                "",
            );
            false
        }
    }
}
