//! The JWT method of an OAS API: a scheme of `x-tyk-api-gateway` whose declaration says `http` and
//! `bearer`.

use crate::authentication::Places;
use crate::jwt::{
    ClaimDemands, ClaimRule, ClaimTest, ClockRules, Jwt, JwtKeys, PolicyClaims, SigningMethod,
    claims,
};
use crate::reader::Node;

/// Reads a scheme; the token stands in `places`.
pub(super) fn jwt(scheme: &Node<'_, '_>, places: Places) -> Jwt {
    Jwt {
        places,
        keys: JwtKeys::read(&scheme.at("source"), &scheme.at("jwksURIs")),
        method: SigningMethod::read(&scheme.at("signingMethod")),
        skip_kid: scheme.at("skipKid").bool(),
        identity: claims(&scheme.at("subjectClaims"), &scheme.at("identityBaseField")),
        policies: policies(scheme),
        clock: ClockRules::read(
            [
                scheme.at("expiresAtValidationSkew"),
                scheme.at("issuedAtValidationSkew"),
                scheme.at("notBeforeValidationSkew"),
            ],
            [false; 3],
        ),
        demands: ClaimDemands {
            issuers: scheme.at("allowedIssuers").strings(),
            audiences: scheme.at("allowedAudiences").strings(),
            subjects: scheme.at("allowedSubjects").strings(),
            id: scheme.at("jtiValidation").is_not_disabled(),
            rules: rules(&scheme.at("customClaimValidation")),
        },
        maps_client_ids: !scheme.at("idpClientIdMappingDisabled").bool(),
        asks_for_certificates: false,
    }
}

fn policies(scheme: &Node<'_, '_>) -> PolicyClaims {
    let client = scheme.at("clientBaseField").string();
    let scopes = scheme.at("scopes");
    PolicyClaims {
        named: claims(
            &scheme.at("basePolicyClaims"),
            &scheme.at("policyFieldName"),
        ),
        client: (!client.is_empty()).then(|| client.to_owned()),
        default: scheme.at("defaultPolicies").strings(),
        scope_claims: claims(&scopes.at("claims"), &scopes.at("claimName")),
        scopes: scopes
            .at("scopeToPolicyMapping")
            .elements()
            .map(|entry| {
                let text = |name| entry.at(name).string().to_owned();
                (text("scope"), text("policyId"))
            })
            .collect(),
    }
}

fn rules(rules: &Node<'_, '_>) -> Vec<ClaimRule> {
    let mut read = Vec::new();
    for (claim, rule) in rules.members() {
        let kind = rule.at("type");
        let allowed = || {
            let values = rule.at("allowedValues");
            values
                .elements()
                .filter_map(|v| v.value().cloned())
                .collect()
        };
        let test = match kind.string() {
            "required" => ClaimTest::Present,
            "exact_match" => ClaimTest::Equals(allowed()),
            "contains" => ClaimTest::Contains(allowed()),
            other => {
                kind.error(
                    format!("unknown kind of rule {other:?}"),
                    "required, exact_match or contains",
                    "",
                );
                continue;
            }
        };
        read.push(ClaimRule {
            claim: claim.to_owned(),
            test,
            only_warns: rule.at("nonBlocking").bool(),
        });
    }
    read
}
