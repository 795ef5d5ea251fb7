//! The JWT method of a Classic API.

use crate::authentication::Places;
use crate::jwt::{ClaimDemands, ClockRules, Jwt, JwtKeys, PolicyClaims, SigningMethod, claims};
use crate::reader::Node;

/// Reads the members that begin with `jwt_`; the token stands in `places`.
pub(super) fn jwt(root: &Node<'_, '_>, places: Places) -> Jwt {
    let nothing = root.at("no such member");
    Jwt {
        places,
        keys: JwtKeys::read(&root.at("jwt_source"), &root.at("jwt_jwks_uris")),
        method: SigningMethod::read(&root.at("jwt_signing_method")),
        skip_kid: root.at("jwt_skip_kid").bool(),
        identity: claims(&nothing, &root.at("jwt_identity_base_field")),
        policies: policies(root, &nothing),
        clock: clock(root),
        demands: ClaimDemands::default(),
        maps_client_ids: !root.at("idp_client_id_mapping_disabled").bool(),
        asks_for_certificates: false,
    }
}

fn policies(root: &Node<'_, '_>, nothing: &Node<'_, '_>) -> PolicyClaims {
    let client = root.at("jwt_client_base_field").string();
    let scopes = root.at("scopes");
    let newer = scopes.at("jwt");
    let older = root.at("jwt_scope_to_policy_mapping");
    let mapping = newer.at("scope_to_policy");
    let (mapping, claim) = if mapping.is_empty() {
        (older, root.at("jwt_scope_claim_name"))
    } else {
        (mapping, newer.at("scope_claim_name"))
    };
    PolicyClaims {
        named: claims(nothing, &root.at("jwt_policy_field_name")),
        client: (!client.is_empty()).then(|| client.to_owned()),
        default: root.at("jwt_default_policies").strings(),
        scope_claims: claims(nothing, &claim),
        scopes: mapping
            .text_members()
            .into_iter()
            .map(|(scope, policy)| (scope.to_owned(), policy.to_owned()))
            .collect(),
    }
}

fn clock(root: &Node<'_, '_>) -> ClockRules {
    let off = [
        "jwt_disable_expires_at_validation",
        "jwt_disable_issued_at_validation",
        "jwt_disable_not_before_validation",
    ];
    if root.at(off[0]).bool() {
        root.at(off[0])
            .warn("true accepts tokens long after they have expired");
    }
    ClockRules::read(
        [
            root.at("jwt_expires_at_validation_skew"),
            root.at("jwt_issued_at_validation_skew"),
            root.at("jwt_not_before_validation_skew"),
        ],
        off.map(|name| root.at(name).bool()),
    )
}
