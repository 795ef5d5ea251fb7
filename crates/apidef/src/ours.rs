//! Our own keys: the `portcullis` member of a Classic definition, `x-portcullis` of an OAS one.

use crate::api::ClientIdentity;
use crate::authentication::{Authentication, Bearer, Methods};
use crate::reader::Node;

/// What the upstream is told of client certificates: `client_identity`, a list of field names.
pub(crate) fn client_identity(ours: &Node<'_, '_>) -> ClientIdentity {
    let node = ours.at("client_identity");
    let mut told = ClientIdentity::default();
    for entry in node.elements() {
        match entry.string().to_ascii_lowercase().as_str() {
            "client-cert" => told.certificate = true,
            "client-cert-chain" => told.chain = true,
            "x-forwarded-client-cert" => told.forwarded = true,
            other => entry.error(
                format!("unknown field {other:?}"),
                "Client-Cert, Client-Cert-Chain or X-Forwarded-Client-Cert",
                "",
            ),
        }
    }
    told
}

/// Has handshakes ask for the client certificates that tokens may be bound to (RFC 8705):
/// `certificate_bound_tokens`.
pub(crate) fn bind_tokens(ours: &Node<'_, '_>, authentication: &mut Authentication) {
    let node = ours.at("certificate_bound_tokens");
    let wanted = node.bool();
    let bearer = match authentication {
        Authentication::Required(Methods { bearer, .. }) => bearer.as_mut(),
        Authentication::Keyless => None,
    };
    match bearer {
        Some(Bearer::Jwt(jwt)) => jwt.asks_for_certificates = wanted,
        Some(Bearer::Oauth(oauth)) => oauth.asks_for_certificates = wanted,
        None if wanted => node.warn("has no effect without JWT authentication or external OAuth"),
        None => {}
    }
}
