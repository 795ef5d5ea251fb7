//! The Control API's answers to definitions.

use portcullis_apidef::control::*;
use portcullis_apidef::*;
use serde_json::{Value, json};

const NEW_ID: &str = "0123456789abcdef0123456789abcdef";

fn classic() -> Value {
    json!({
        "name": "a", "api_id": "a1", "org_id": "default", "active": true, "use_keyless": true,
        "version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}},
        "proxy": {"listen_path": "/a/", "target_url": "http://127.0.0.1:9000/"}
    })
}

fn oas() -> Value {
    json!({
        "openapi": "3.0.3", "info": {"title": "a", "version": "1"},
        "paths": {"/pets/{id}": {"get": {"operationId": "pet", "parameters": [{"name": "id"}]}}},
        "x-tyk-api-gateway": {
            "info": {"name": "a", "orgId": "default", "state": {"active": true}},
            "server": {"listenPath": {"value": "/a/", "strip": true}},
            "upstream": {"url": "http://127.0.0.1:9000/"}
        }
    })
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn rejected<T: std::fmt::Debug>(result: Result<T, Rejection>) -> (u16, String) {
    let rejection = result.expect_err("must be refused");
    (rejection.status, rejection.message)
}

fn parsed(value: &Value) -> ParsedDefinition {
    parse_definition(&value.to_string(), None).unwrap_or_else(|e| panic!("{value}: {e:?}"))
}

#[test]
fn a_classic_definition_is_stored_under_its_id_or_a_new_one() {
    let accepted = classic_for_create(&mut nothing_replaced, &bytes(&classic()), NEW_ID).unwrap();
    assert_eq!(accepted.id, "a1");
    let files = accepted.files(&accepted.id);
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].name, "a1.json");
    assert!(parse_files(&files)[0].result.is_ok());

    let mut anonymous = classic();
    anonymous["api_id"] = "".into();
    let accepted = classic_for_create(&mut nothing_replaced, &bytes(&anonymous), NEW_ID).unwrap();
    assert_eq!(accepted.id, NEW_ID);
    assert_eq!(accepted.classic.value()["api_id"], NEW_ID);
}

/// ST-72a, broken JSON.
#[test]
fn an_empty_or_broken_body_is_malformed() {
    let malformed = (400, "Request malformed".to_owned());
    for body in [&b""[..], b"{", b"[]", b"\xff", br#"{"active":"yes"}"#] {
        assert_eq!(
            rejected(classic_for_create(&mut nothing_replaced, body, NEW_ID)),
            malformed
        );
        assert_eq!(
            rejected(classic_for_update(&mut nothing_replaced, body, "a", None)).0,
            400
        );
    }
    assert_eq!(
        rejected(oas_for_create(&mut nothing_replaced, b"{", NEW_ID)),
        malformed
    );
    let parameters = OasParameters::default();
    assert_eq!(
        rejected(oas_for_import(
            &mut nothing_replaced,
            b"{",
            &parameters,
            NEW_ID
        )),
        (400, "request malformed".to_owned())
    );
}

/// ST-54
#[test]
fn an_update_must_name_the_same_api_in_path_and_body() {
    let text =
        "Request APIID does not match that in Definition! For Update operations these must match.";
    let body = bytes(&classic());
    assert_eq!(
        rejected(classic_for_update(&mut nothing_replaced, &body, "x", None)),
        (400, text.to_owned())
    );
    assert!(classic_for_update(&mut nothing_replaced, &body, "a1", Some(Format::Classic)).is_ok());
    assert_eq!(
        rejected(classic_for_update(&mut nothing_replaced, &body, "", None)),
        (400, "Must specify an apiID to update".to_owned())
    );
    assert_eq!(
        rejected(classic_for_update(
            &mut nothing_replaced,
            &body,
            "a1",
            Some(Format::Oas)
        ))
        .1,
        "this API endpoint only supports Tyk Classic APIs; please use the appropriate Tyk OAS API endpoint"
    );
}

/// ST-57
#[test]
fn an_oas_create_needs_the_extension() {
    let body = public_oas(&oas());
    assert_eq!(
        rejected(oas_for_create(&mut nothing_replaced, &bytes(&body), NEW_ID)),
        (
            400,
            "the payload should contain x-tyk-api-gateway".to_owned()
        )
    );
}

/// ST-58
#[test]
fn schema_violations_are_listed_in_the_wording_of_the_validator() {
    let mut body = oas();
    body["paths"] = Value::Null;
    assert_eq!(
        rejected(oas_for_create(&mut nothing_replaced, &bytes(&body), NEW_ID)),
        (
            400,
            "paths: Invalid type. Expected: object, given: null".to_owned()
        )
    );
    body["info"].as_object_mut().unwrap().remove("version");
    body["x-tyk-api-gateway"]["info"]["state"] = json!({"active": "yes"});
    body["x-tyk-api-gateway"]["upstream"] = json!({});
    let (status, message) = rejected(oas_for_create(&mut nothing_replaced, &bytes(&body), NEW_ID));
    assert_eq!(status, 400);
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(
        lines,
        [
            "info: version is required",
            "paths: Invalid type. Expected: object, given: null",
            "x-tyk-api-gateway.info.state.active: Invalid type. Expected: boolean, given: string",
            "x-tyk-api-gateway.upstream: Must validate at least one schema (anyOf)",
            "x-tyk-api-gateway.upstream: url is required",
        ]
    );
    let mut body = oas();
    body["openapi"] = "2.0".into();
    assert!(
        rejected(oas_for_create(&mut nothing_replaced, &bytes(&body), NEW_ID))
            .1
            .starts_with("openapi: ")
    );
    body["x-tyk-api-gateway"] = json!([]);
    assert!(
        rejected(oas_for_create(&mut nothing_replaced, &bytes(&body), NEW_ID))
            .1
            .contains("x-tyk-api-gateway: Invalid type. Expected: object, given: array")
    );
}

/// ST-60
#[test]
fn a_classic_api_is_not_reached_through_the_oas_routes() {
    let text = "the supplied API definition is in OAS format, please use the Tyk classic format for this API";
    let body = bytes(&oas());
    assert_eq!(
        rejected(oas_for_update(
            &mut nothing_replaced,
            &body,
            "a1",
            Some(Format::Classic)
        )),
        (400, text.to_owned())
    );
    assert_eq!(
        rejected(oas_for_update(&mut nothing_replaced, &body, "a1", None)).0,
        404
    );
    let stored = Document::new(Format::Classic, &classic());
    let parameters = OasParameters::default();
    assert_eq!(
        rejected(oas_for_patch(
            &mut nothing_replaced,
            &body,
            &parameters,
            "a1",
            Some(&stored)
        ))
        .1,
        text
    );
    assert_eq!(
        rejected(oas_for_patch(
            &mut nothing_replaced,
            &body,
            &parameters,
            "a1",
            None
        ))
        .0,
        404
    );
}

/// ST-61
#[test]
fn a_classic_create_never_claims_to_be_oas() {
    for spelling in ["is_oas", "IS_OAS"] {
        let mut body = classic();
        body[spelling] = true.into();
        let accepted = classic_for_create(&mut nothing_replaced, &bytes(&body), NEW_ID).unwrap();
        assert_eq!(accepted.classic.value()["is_oas"], false);
        assert!(accepted.oas.is_none());
    }
}

/// ST-62
#[test]
fn an_import_must_not_bring_the_extension() {
    assert_eq!(
        rejected(oas_for_import(
            &mut nothing_replaced,
            &bytes(&oas()),
            &OasParameters::default(),
            NEW_ID
        )),
        (
            400,
            "the import payload should not contain x-tyk-api-gateway".to_owned()
        )
    );
}

/// ST-72a (data sources, load balancing)
#[test]
fn impossible_definitions_are_refused_with_the_known_reasons() {
    let mut body = classic();
    body["graphql"] = json!({"engine": {"data_sources": [{"name": "A"}, {"name": "a "}]}});
    assert_eq!(
        rejected(classic_for_create(&mut nothing_replaced, &bytes(&body), NEW_ID)),
        (400, "Validation of API Definition failed. Reason: duplicate data source names are not allowed.".to_owned())
    );
    let mut body = classic();
    body["proxy"]["enable_load_balancing"] = true.into();
    assert_eq!(
        rejected(classic_for_create(&mut nothing_replaced, &bytes(&body), NEW_ID)),
        (400, "Validation of API Definition failed. Reason: all load balancing targets have weight 0, at least one target must have weight > 0.".to_owned())
    );
    let mut body = classic();
    body["enable_ip_whitelisting"] = true.into();
    body["allowed_ips"] = json!(["10.0.0.0/33"]);
    let (status, message) = rejected(classic_for_create(
        &mut nothing_replaced,
        &bytes(&body),
        NEW_ID,
    ));
    assert_eq!(status, 400);
    assert!(message.contains("Reason: allowed_ips[0]: "), "{message}");
}

#[test]
fn ids_that_could_not_be_file_names_are_refused() {
    for id in ["a/b", "../x", "a b", "ä", "a\\b", "a%2f"] {
        let mut body = classic();
        body["api_id"] = id.into();
        assert_eq!(
            rejected(classic_for_create(
                &mut nothing_replaced,
                &bytes(&body),
                NEW_ID
            )),
            (400, "Invalid API ID".to_owned()),
            "{id}"
        );
        let mut body = oas();
        body["x-tyk-api-gateway"]["info"]["id"] = id.into();
        assert_eq!(
            rejected(oas_for_create(&mut nothing_replaced, &bytes(&body), NEW_ID)).1,
            "Invalid API ID"
        );
    }
    assert!(is_valid_id("aZ09._-~"));
    assert!(!is_valid_id(""));
}

#[test]
fn an_oas_api_is_stored_as_a_pair_whose_halves_agree() {
    let accepted = oas_for_create(&mut nothing_replaced, &bytes(&oas()), NEW_ID).unwrap();
    let files = accepted.files(&accepted.id);
    let names: Vec<&str> = files.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(
        names,
        [format!("{NEW_ID}.json"), format!("{NEW_ID}-oas.json")]
    );
    let loaded = parse_files(&files);
    assert_eq!(loaded.len(), 1);
    let definition = loaded[0].result.as_ref().unwrap();
    assert_eq!(definition.warnings, []);
    assert_eq!(definition.document.value()["is_oas"], true);
    assert_eq!(
        loaded[0].companion.as_ref().unwrap().value()["openapi"],
        "3.0.3"
    );
}

/// The switches an OAS definition has, each at its place under the extension.
fn switches() -> Vec<(&'static str, Value)> {
    let on = json!({"enabled": true});
    vec![
        (
            "server/clientCertificates",
            json!({"enabled": true, "allowlist": ["c"]}),
        ),
        ("server/ipAccessControl", json!({"enabled": true})),
        (
            "server/ipAccessControl",
            json!({"enabled": true, "block": ["10.0.0.1"]}),
        ),
        ("server/authentication", on.clone()),
        (
            "server/authentication",
            json!({"enabled": true, "hmac": on}),
        ),
        (
            "server/authentication",
            json!({"enabled": true, "oidc": on}),
        ),
        (
            "server/authentication",
            json!({"enabled": true, "custom": on}),
        ),
        (
            "server/authentication",
            json!({"enabled": true, "externalOAuth": {"enabled": true, "providers": [{"jwt": {
                "enabled": true, "signingMethod": "rsa", "source": "https://idp/keys",
                "identityBaseField": "u", "issuedAtValidationSkew": 1, "expiresAtValidationSkew": 2}}]}}),
        ),
        (
            "server/authentication",
            json!({"enabled": true, "baseIdentityProvider": "oauth_key", "securitySchemes": {"o": {
                "enabled": true, "header": {"enabled": true, "name": "X-Token"},
                "providers": [{"introspection": {"enabled": true, "url": "https://idp/ask",
                    "clientId": "i", "clientSecret": "s", "identityBaseField": "u",
                    "cache": {"enabled": true, "timeout": 9}}}]}}}),
        ),
        (
            "server/authentication",
            json!({"enabled": true, "certificateAuth": on}),
        ),
        (
            "server/authentication",
            json!({"enabled": true, "securitySchemes": {
            "t": {"enabled": true, "enableClientCertificate": true}}}),
        ),
        (
            "server/authentication",
            json!({"enabled": true, "securitySchemes": {
            "j": {"enabled": true, "jwksURIs": []}, "o": {"enabled": true, "allowedAuthorizeTypes": []}}}),
        ),
        (
            "server/authentication",
            json!({"enabled": true, "stripAuthorizationData": true, "baseIdentityProvider": "auth_token",
            "basic": {"enabled": true, "disableCaching": true},
            "token": {"enabled": true, "query": {"enabled": true, "name": "q"},
                "cookie": {"enabled": false, "name": "c"}, "header": {"enabled": false, "name": "X"}}}),
        ),
        (
            "server/authentication",
            json!({"enabled": true, "basic": {"cacheTTL": 7, "extractCredentialsFromBody": {"enabled": true}},
            "token": {"signatureValidation": {}}}),
        ),
        (
            "server/authentication",
            json!({"enabled": true, "customKeyLifetime": {"enabled": true, "value": "1h", "respectValidity": true}}),
        ),
        ("middleware/global/skipRateLimit", json!(true)),
        ("middleware/global/skipQuota", json!(true)),
        (
            "upstream/rateLimit",
            json!({"enabled": false, "rate": 5, "per": "1m"}),
        ),
        ("upstream/rateLimit", json!({})),
        (
            "server/customDomain",
            json!({"enabled": true, "name": "x.example", "certificates": ["c"]}),
        ),
        ("server/port", json!(9443)),
        ("server/protocol", json!("https")),
        ("info/expiration", json!("2030-01-01 00:00")),
        ("info/state", json!({"active": false, "internal": true})),
        (
            "info/versioning",
            json!({"enabled": true, "name": "v1", "default": "v2", "location": "url",
            "key": "k", "urlVersioningPattern": "v[0-9]+", "versions": [{"name": "v2", "id": "b"}]}),
        ),
        (
            "upstream/rateLimit",
            json!({"enabled": true, "rate": 0, "per": "1m"}),
        ),
        ("upstream/authentication", on.clone()),
        (
            "upstream/authentication",
            json!({"enabled": true, "basicAuth": {"username": "u", "password": "p"}}),
        ),
        (
            "upstream/authentication",
            json!({"oauth": {"allowedAuthorizeTypes": ["clientCredentials"], "clientCredentials": {
                "clientId": "i", "clientSecret": "s", "tokenUrl": "https://t", "scopes": ["a"],
                "header": {"enabled": true, "name": "X-Token"}, "extraMetadata": ["x"]}}}),
        ),
        (
            "upstream/authentication",
            json!({"enabled": true, "basicAuth": {"enabled": false, "username": "u"},
                "oauth": {"enabled": true, "allowedAuthorizeTypes": ["password"], "password": {
                "clientId": "i", "username": "u", "password": "p", "tokenUrl": "https://t"}}}),
        ),
        (
            "server/eventHandlers",
            json!([{"enabled": true, "trigger": "QuotaExceeded", "type": "log", "logPrefix": "p"}]),
        ),
        (
            "upstream/authentication",
            json!({"enabled": false, "requestSigning": on}),
        ),
        (
            "upstream/mutualTLS",
            json!({"enabled": true, "domainToCertificateMapping": [{"domain": "*", "certificate": "c"}]}),
        ),
        (
            "upstream/mutualTLS",
            json!({"enabled": false, "domainToCertificateMapping": [{"domain": "*", "certificate": "c"}]}),
        ),
        (
            "upstream/certificatePinning",
            json!({"enabled": true, "domainToPublicKeysMapping": [{"domain": "*", "publicKeys": ["k", "l"]}]}),
        ),
        (
            "upstream/tlsTransport",
            json!({"forceCommonNameCheck": true, "minVersion": "1.2", "maxVersion": "1.3", "ciphers": ["X"]}),
        ),
        (
            "upstream/proxy",
            json!({"enabled": true, "url": "http://p:1"}),
        ),
        (
            "upstream/proxy",
            json!({"enabled": false, "url": "http://p:1"}),
        ),
        (
            "upstream/uptimeTests",
            json!({"enabled": true, "hostDownRetestPeriod": "2s", "tests": [
                {"url": "http://h.test/x", "method": "POST", "headers": {"X": "y"}, "body": "eA==", "timeout": "100ms"},
                {"url": "tcp://h.test:1", "timeout": "2s", "enableProxyProtocol": true,
                 "commands": [{"name": "send", "message": "a"}]},
            ]}),
        ),
        (
            "upstream/uptimeTests",
            json!({"enabled": false, "tests": [{"url": "http://h.test"}]}),
        ),
        ("upstream/serviceDiscovery", on.clone()),
        ("upstream/preserveHostHeader", on.clone()),
        ("upstream/preserveTrailingSlash", on.clone()),
        (
            "upstream/enforceTimeout",
            json!({"enabled": true, "value": "250ms"}),
        ),
        (
            "upstream/loadBalancing",
            json!({"enabled": true, "skipUnavailableHosts": true, "targets": [{"url": "http://a:1", "weight": 2}, {"url": "http://b:1"}]}),
        ),
        ("middleware/global/prePlugins", json!([on])),
        ("middleware/global/prePlugin", json!({"plugins": [on]})),
        (
            "middleware/global/pluginConfig",
            json!({"bundle": {"enabled": true, "path": "b"}}),
        ),
        (
            "middleware/global/requestSizeLimit",
            json!({"enabled": true, "value": 0}),
        ),
        ("middleware/global/trafficLogs", json!({"enabled": false})),
        ("middleware/global/cors", on.clone()),
        ("middleware/global/cache", on.clone()),
        (
            "middleware/global/transformRequestHeaders",
            json!({"enabled": true, "add": [{"name": "x", "value": "y"}]}),
        ),
        ("middleware/mcpTools", json!({"t": {}})),
        ("middleware/operations/pet/allow", on.clone()),
        ("middleware/operations/pet/block", on.clone()),
        ("middleware/operations/nowhere/block", on.clone()),
        ("middleware/operations/pet/internal", on.clone()),
        ("middleware/operations/pet/ignoreAuthentication", on.clone()),
        (
            "middleware/operations/pet/rateLimit",
            json!({"enabled": true, "rate": 1, "per": "1s"}),
        ),
        (
            "middleware/operations/pet/requestSizeLimit",
            json!({"enabled": true, "value": 1}),
        ),
        ("middleware/operations/pet/validateRequest", on.clone()),
        ("middleware/operations/pet/virtualEndpoint", on.clone()),
        ("middleware/operations/pet/postPlugins", json!([on])),
        ("middleware/operations/pet/mockResponse", on.clone()),
        ("middleware/operations/pet/urlRewrite", on.clone()),
        (
            "middleware/operations/pet/enforceTimeout",
            json!({"enabled": true, "value": 3}),
        ),
        (
            "middleware/operations/pet/transformRequestBody",
            json!({"enabled": true, "format": "json", "body": ""}),
        ),
        ("middleware/operations/pet/circuitBreaker", on.clone()),
        (
            "middleware/operations/pet/circuitBreaker",
            json!({"enabled": true, "threshold": 0.5, "sampleSize": 10, "coolDownPeriod": 60, "halfOpenStateEnabled": true}),
        ),
        (
            "errorOverrides",
            json!({"enabled": true, "value": {"500": [{
                "match": {"flag": "URS", "messagePattern": "a.b", "bodyField": "c.d", "bodyValue": "e"},
                "response": {"statusCode": 502, "body": "{{.StatusCode}}", "message": "m", "headers": {"X": "y"}},
            }]}}),
        ),
        ("middleware/operations/pet/cache", on),
    ]
}

fn with_switch(pointer: &str, value: Value) -> Value {
    let mut document = oas();
    document["x-tyk-api-gateway"]["info"]["id"] = "a1".into();
    let mut place = &mut document["x-tyk-api-gateway"];
    for step in pointer.split('/') {
        place = &mut place[step];
    }
    *place = value;
    document
}

/// OUT-30 and the invariant of the pair: the Classic half is the same API as the OAS half.
#[test]
fn the_classic_view_of_every_setting_is_the_same_api() {
    for (pointer, value) in switches() {
        let document = with_switch(pointer, value);
        let view = classic_view(&document);
        let (a, b) = (parsed(&document), parsed(&view));
        assert_eq!(a.api, b.api, "{pointer}: {view:#}");
        assert!(
            !b.warnings.iter().any(|w| w.unknown_member),
            "{pointer}: {:?}",
            b.warnings
        );
        assert!(
            oas_for_create(&mut nothing_replaced, &bytes(&document), NEW_ID).is_ok(),
            "{pointer}"
        );
    }
}

#[test]
fn tls_versions_are_numbers_in_the_classic_view() {
    let document = with_switch(
        "upstream/tlsTransport",
        json!({"minVersion": "1.2", "maxVersion": "1.3"}),
    );
    let transport = &classic_view(&document)["proxy"]["transport"];
    assert_eq!(
        (&transport["ssl_min_version"], &transport["ssl_max_version"]),
        (&json!(771), &json!(772))
    );
    let document = with_switch("upstream/tlsTransport", json!({"minVersion": "9"}));
    assert_eq!(
        classic_view(&document)["proxy"]["transport"]["ssl_min_version"],
        0
    );
}

#[test]
fn credentials_towards_the_upstream_and_events_have_their_classic_names() {
    let document = with_switch(
        "upstream/authentication",
        json!({
            "enabled": true,
            "oauth": {"enabled": true, "allowedAuthorizeTypes": ["clientCredentials"],
                "clientCredentials": {"clientId": "i", "tokenUrl": "http://t"}}
        }),
    );
    let oauth = &classic_view(&document)["upstream_auth"]["oauth"];
    assert_eq!(
        oauth["allowed_authorize_types"],
        json!(["clientCredentials"])
    );
    assert_eq!(
        oauth["client_credentials"],
        json!({"client_id": "i", "token_url": "http://t"})
    );

    let document = with_switch(
        "server/eventHandlers",
        json!([
            {"enabled": true, "trigger": "CertificateExpired", "type": "webhook", "url": "http://w", "method": "POST"},
            {"enabled": true, "trigger": "CertificateExpired", "type": "log", "logPrefix": "p"}
        ]),
    );
    let events = &classic_view(&document)["event_handlers"]["events"]["CertificateExpired"];
    assert_eq!(events[0]["handler_name"], "eh_web_hook_handler");
    assert_eq!(events[0]["handler_meta"]["target_path"], "http://w");
    assert_eq!(
        events[1],
        json!({"handler_name": "eh_log_handler", "handler_meta": {"disabled": false, "prefix": "p"}})
    );
}

/// Streaming has no Classic form, so the pair would run without it.
#[test]
fn a_protection_the_classic_half_cannot_express_is_refused() {
    let mut document = oas();
    document["x-tyk-streaming"] = json!({"streams": {}});
    let (status, message) = rejected(oas_for_create(
        &mut nothing_replaced,
        &bytes(&document),
        NEW_ID,
    ));
    assert_eq!(status, 400);
    assert!(
        message.contains("GraphQL, MCP or streaming rules"),
        "{message}"
    );
}

fn parameters(query: &[(&str, &str)]) -> OasParameters {
    OasParameters::from_query(query.iter().copied()).unwrap()
}

#[test]
fn an_import_makes_an_active_api_out_of_a_plain_document() {
    let mut plain = public_oas(&oas());
    plain["servers"] =
        json!([{"url": "https://{h}.example/v1", "variables": {"h": {"default": "up"}}}]);
    let accepted = oas_for_import(
        &mut nothing_replaced,
        &bytes(&plain),
        &parameters(&[]),
        NEW_ID,
    )
    .unwrap();
    let api = parsed(&accepted.classic.value()).api;
    assert_eq!(
        (api.id.as_str(), api.name.as_str(), api.listen_path.as_str()),
        (NEW_ID, "a", "/")
    );
    assert!(api.active && api.strip_listen_path && !api.do_not_track);
    assert_eq!(api.upstream.targets[0].authority, "up.example");
    let extension = &accepted.oas.unwrap().value()["x-tyk-api-gateway"];
    assert_eq!(extension["server"]["contextVariables"]["enabled"], true);
    assert_eq!(
        extension["middleware"]["global"]["trafficLogs"]["enabled"],
        true
    );

    let query = [
        ("upstreamURL", "http://u:1"),
        ("listenPath", "/in/"),
        ("customDomain", "d.example"),
    ];
    let accepted = oas_for_import(
        &mut nothing_replaced,
        &bytes(&plain),
        &parameters(&query),
        NEW_ID,
    )
    .unwrap();
    let api = parsed(&accepted.classic.value()).api;
    assert_eq!(api.upstream.targets[0].authority, "u:1");
    assert_eq!(
        (api.listen_path.as_str(), api.domain.as_deref()),
        ("/in/", Some("d.example"))
    );

    // Without any upstream there is nothing to run.
    let plain = public_oas(&oas());
    let (status, message) = rejected(oas_for_import(
        &mut nothing_replaced,
        &bytes(&plain),
        &parameters(&[]),
        NEW_ID,
    ));
    assert_eq!(status, 400);
    assert!(message.contains("url is required"), "{message}");
}

#[test]
fn query_parameters_switch_protections_on() {
    let mut plain = public_oas(&oas());
    plain["paths"]["/x"] =
        json!({"post": {"responses": {"200": {"content": {"a/b": {"example": 1}}}}}});
    plain["components"] =
        json!({"securitySchemes": {"k": {"type": "apiKey", "in": "header", "name": "X-Key"}}});
    plain["security"] = json!([{"k": []}]);
    let up = ("upstreamURL", "http://u:1");
    for (key, protection) in [
        ("allowList", Protection::PathAccess),
        ("validateRequest", Protection::RequestValidation),
        ("mockResponse", Protection::RequestRouting),
    ] {
        let accepted = oas_for_import(
            &mut nothing_replaced,
            &bytes(&plain),
            &parameters(&[up, (key, "true")]),
            NEW_ID,
        )
        .unwrap();
        let api = parsed(&accepted.classic.value()).api;
        assert_eq!(api.protections, [protection], "{key}");
        let accepted = oas_for_import(
            &mut nothing_replaced,
            &bytes(&plain),
            &parameters(&[up, (key, "false")]),
            NEW_ID,
        )
        .unwrap();
        assert!(
            parsed(&accepted.classic.value()).api.protections.is_empty(),
            "{key}"
        );
    }
    let accepted = oas_for_import(
        &mut nothing_replaced,
        &bytes(&plain),
        &parameters(&[up, ("authentication", "true")]),
        NEW_ID,
    )
    .unwrap();
    let api = parsed(&accepted.classic.value()).api;
    let Authentication::Required(methods) = api.authentication else {
        panic!("keyless")
    };
    assert_eq!(methods.token.unwrap().header.as_deref(), Some("x-key"));
    let accepted = oas_for_import(
        &mut nothing_replaced,
        &bytes(&plain),
        &parameters(&[up, ("allowList", "true")]),
        NEW_ID,
    )
    .unwrap();
    assert_eq!(
        accepted.oas.unwrap().value()["paths"]["/x"]["post"]["operationId"],
        "xPOST"
    );
    assert!(OasParameters::from_query([("allowList", "yes")]).is_err());
    plain["security"] = json!([]);
    let query = parameters(&[up, ("authentication", "true")]);
    assert_eq!(
        rejected(oas_for_import(
            &mut nothing_replaced,
            &bytes(&plain),
            &query,
            NEW_ID
        ))
        .0,
        400
    );
}

#[test]
fn a_patch_without_the_extension_keeps_the_stored_one() {
    let mut stored = with_switch("server/clientCertificates", json!({"enabled": true}));
    stored["x-portcullis"] = json!({"enable_proxy_protocol": true});
    let stored = Document::new(Format::Oas, &stored);
    let mut body = public_oas(&oas());
    body["info"]["title"] = "renamed".into();
    let accepted = oas_for_patch(
        &mut nothing_replaced,
        &bytes(&body),
        &parameters(&[("listenPath", "/b/")]),
        "a1",
        Some(&stored),
    )
    .unwrap();
    let api = parsed(&accepted.classic.value()).api;
    assert_eq!(api.listen_path, "/b/");
    assert_eq!(api.client_certificates, Some(Vec::new()));
    assert!(api.listener.proxy_protocol);
    assert_eq!(accepted.oas.unwrap().value()["info"]["title"], "renamed");

    let with_extension = with_switch("server/port", json!(9000));
    let accepted = oas_for_patch(
        &mut nothing_replaced,
        &bytes(&with_extension),
        &parameters(&[]),
        "a1",
        Some(&stored),
    )
    .unwrap();
    let api = parsed(&accepted.classic.value()).api;
    assert_eq!(
        (api.listener.port, api.client_certificates),
        (Some(9000), None)
    );
}

#[test]
fn a_token_declared_in_a_query_or_cookie_is_looked_for_there_by_the_classic_half() {
    for (place, name) in [("query", "k"), ("cookie", "c"), ("header", "X-Key")] {
        let mut document = with_switch(
            "server/authentication",
            json!({"enabled": true, "securitySchemes": {"s": {"enabled": true}}}),
        );
        document["components"] =
            json!({"securitySchemes": {"s": {"type": "apiKey", "in": place, "name": name}}});
        // Accepting compares the two halves.
        let accepted = oas_for_create(&mut nothing_replaced, &bytes(&document), NEW_ID).unwrap();
        let api = parsed(&accepted.classic.value()).api;
        assert!(
            matches!(api.authentication, Authentication::Required(_)),
            "{place}"
        );
    }
}

#[test]
fn alternatives_between_methods_are_not_lost_in_the_classic_half() {
    let mut document = with_switch(
        "server/authentication",
        json!({"enabled": true, "securityProcessingMode": "compliant",
            "securitySchemes": {"t": {"enabled": true}, "b": {"enabled": true}}}),
    );
    document["components"] = json!({"securitySchemes": {
        "t": {"type": "apiKey", "in": "header", "name": "K"},
        "b": {"type": "http", "scheme": "basic"}}});
    let accepted = oas_for_create(&mut nothing_replaced, &bytes(&document), NEW_ID).unwrap();
    assert_eq!(
        parsed(&accepted.classic.value()).api.protections,
        [Protection::AuthenticationModes]
    );
}

#[test]
fn an_export_for_the_public_holds_no_gateway_settings() {
    let mut document = oas();
    document["x-portcullis"] = json!({});
    document["x-mine"] = 1.into();
    let public = public_oas(&document);
    assert!(public.get("x-tyk-api-gateway").is_none() && public.get("x-portcullis").is_none());
    assert_eq!(public["x-mine"], 1);
    assert_eq!(export_name(Some("a1"), false), "TykOasApiDef-a1.json");
    assert_eq!(export_name(Some("a1"), true), "oas-a1.json");
}

fn versions(query: &[(&str, &str)]) -> VersionParameters {
    VersionParameters::from_query(query.iter().copied())
}

#[test]
fn a_version_needs_a_name_and_a_base_that_can_have_one() {
    let base = parsed(&classic());
    let base = Some((&base, None));
    assert_eq!(
        add_version(&mut nothing_replaced, &versions(&[]), None, false, "n"),
        Ok(None)
    );
    let query = [("base_api_id", "a1")];
    assert_eq!(
        rejected(add_version(
            &mut nothing_replaced,
            &versions(&query),
            base,
            false,
            "n"
        )),
        (422, "The new version name is required".to_owned())
    );
    let query = [("base_api_id", "a1"), ("new_version_name", "v2")];
    let not_a_base = (400, "a1 is not a valid Base API version".to_owned());
    assert_eq!(
        rejected(add_version(
            &mut nothing_replaced,
            &versions(&query),
            None,
            false,
            "n"
        )),
        not_a_base
    );
    assert_eq!(
        rejected(add_version(
            &mut nothing_replaced,
            &versions(&query),
            base,
            true,
            "n"
        )),
        not_a_base
    );
    assert_eq!(
        rejected(add_version(
            &mut nothing_replaced,
            &versions(&query),
            base,
            false,
            "n"
        ))
        .1,
        "you need to provide a version name for the new Base API: a1"
    );
}

#[test]
fn a_version_is_added_to_a_base_of_either_format_and_listed() {
    let query = versions(&[
        ("base_api_id", "a1"),
        ("base_api_version_name", "v1"),
        ("new_version_name", "v2"),
        ("set_default", "true"),
    ]);
    let mut oas = oas();
    oas["x-tyk-api-gateway"]["info"]["id"] = "a1".into();
    for base in [classic(), oas] {
        let base = parsed(&base);
        let accepted = add_version(
            &mut nothing_replaced,
            &query,
            Some((&base, None)),
            false,
            "b1",
        )
        .unwrap()
        .unwrap();
        let base = parsed(&accepted.classic.value());
        let versioning = base.api.versioning.clone().unwrap();
        assert_eq!(versioning.base_name, "v1");
        assert_eq!(versioning.default, Some(VersionTarget::Api("b1".into())));
        assert_eq!(versioning.versions, [("v2".to_owned(), "b1".to_owned())]);
        assert_eq!(base_id("b1", [&base.api]), Some("a1"));
        assert_eq!(base_id("a1", [&base.api]), None);

        let mut child = classic();
        child["api_id"] = "b1".into();
        child["expiration"] = "2030-01-01 00:00".into();
        let child = parsed(&child);
        let listing = version_list(&base, |id| (id == "b1").then_some(&child));
        assert_eq!(
            serde_json::to_value(&listing).unwrap(),
            json!({"status": "success", "apis": [
                {"id": "a1", "name": "a", "versionName": "v1", "internal": false, "expirationDate": "", "isDefaultVersion": false},
                {"id": "b1", "name": "a", "versionName": "v2", "internal": false, "expirationDate": "2030-01-01 00:00", "isDefaultVersion": true}
            ]})
        );
    }
}

#[test]
fn hostile_bodies_never_panic() {
    let odd = [
        json!(null),
        json!(1),
        json!("x"),
        json!([]),
        json!({}),
        json!({"enabled": 1}),
    ];
    let stored = Document::new(Format::Oas, &with_switch("server/port", json!(1)));
    let query = parameters(&[
        ("upstreamURL", "http://u"),
        ("listenPath", "/x"),
        ("customDomain", "d"),
        ("authentication", "true"),
        ("allowList", "true"),
        ("mockResponse", "true"),
        ("validateRequest", "true"),
    ]);
    let places = [
        "",
        "info",
        "paths",
        "servers",
        "components",
        "security",
        "x-tyk-api-gateway",
        "x-tyk-api-gateway/info",
        "x-tyk-api-gateway/server",
        "x-tyk-api-gateway/upstream",
        "x-tyk-api-gateway/middleware",
        "x-tyk-api-gateway/server/listenPath",
        "x-tyk-api-gateway/server/authentication",
        "x-tyk-api-gateway/middleware/operations",
        "x-tyk-api-gateway/info/versioning",
        "x-tyk-api-gateway/info/id",
        "x-portcullis",
        "paths/~x",
        "paths/~x/get",
    ];
    for place in places {
        for value in &odd {
            let mut document = with_switch("server/port", json!(1));
            let mut target = &mut document;
            for step in place.split('/').filter(|s| !s.is_empty()) {
                target = &mut target[step];
            }
            *target = value.clone();
            let body = bytes(&document);
            let plain = bytes(&public_oas(&document));
            let _ = classic_view(&document);
            let _ = classic_for_create(&mut nothing_replaced, &body, NEW_ID);
            let _ = oas_for_create(&mut nothing_replaced, &body, NEW_ID);
            let _ = oas_for_update(&mut nothing_replaced, &body, "a1", Some(Format::Oas));
            for query in [&query, &OasParameters::default()] {
                let _ = oas_for_import(&mut nothing_replaced, &plain, query, NEW_ID);
                let _ = oas_for_patch(&mut nothing_replaced, &plain, query, "a1", Some(&stored));
                let _ = oas_for_patch(&mut nothing_replaced, &body, query, "a1", Some(&stored));
            }
        }
    }
}

/// What references stand for in the tests below.
fn values(text: &str) -> Option<Replaced> {
    let value = match text.strip_prefix("env://")? {
        "PATH" => "/by-value/",
        "URL" => "http://10.9.8.7:1/",
        "BAD" => "no url at all",
        name => {
            return Some(Replaced {
                text: text.to_owned(),
                values: Vec::new(),
                notes: vec![format!("the reference `env://{name}` is not set")],
            });
        }
    };
    Some(Replaced {
        text: value.to_owned(),
        values: vec![(text.to_owned(), value.to_owned())],
        notes: Vec::new(),
    })
}

/// A listen path and an upstream by reference are taken for what they stand for, and stored as they are
/// written, in both files of a pair.
#[test]
fn a_definition_is_judged_by_the_values_of_its_references_and_stored_as_it_is_written() {
    let mut body = classic();
    body["proxy"] = json!({"listen_path": "env://PATH", "target_url": "env://URL"});
    let accepted = classic_for_create(&mut values, &bytes(&body), NEW_ID).unwrap();
    let again = classic_for_update(&mut values, &bytes(&body), "a1", None).unwrap();
    for accepted in [accepted, again] {
        let stored = accepted.classic.value();
        assert_eq!(stored["proxy"]["listen_path"], "env://PATH");
        assert_eq!(stored["proxy"]["target_url"], "env://URL");
    }
    assert_eq!(
        rejected(classic_for_create(
            &mut nothing_replaced,
            &bytes(&body),
            NEW_ID
        ))
        .0,
        400
    );

    let mut body = oas();
    body["x-tyk-api-gateway"]["server"]["listenPath"]["value"] = "env://PATH".into();
    body["x-tyk-api-gateway"]["upstream"] = json!({"url": "env://URL"});
    let accepted = oas_for_create(&mut values, &bytes(&body), NEW_ID).unwrap();
    let stored = accepted.oas.unwrap().value();
    assert_eq!(stored["x-tyk-api-gateway"]["upstream"]["url"], "env://URL");
    let stored = accepted.classic.value();
    assert_eq!(stored["proxy"]["listen_path"], "env://PATH");
    assert_eq!(stored["proxy"]["target_url"], "env://URL");
}

/// The reference is named, its value is not.
#[test]
fn a_refused_definition_says_which_reference_has_no_value_and_never_the_value() {
    for (path, url, reason) in [
        (
            "env://PATH",
            "env://MISSING",
            "the reference `env://MISSING` is not set",
        ),
        ("env://PATH", "env://BAD", "(value of env://BAD)"),
    ] {
        let mut body = classic();
        body["proxy"] = json!({"listen_path": path, "target_url": url});
        let (status, message) = rejected(classic_for_create(&mut values, &bytes(&body), NEW_ID));
        assert_eq!(status, 400);
        assert!(message.contains(reason), "{message}");
        for value in ["no url at all", "10.9.8.7", "/by-value/"] {
            assert!(!message.contains(value), "{message}");
        }
    }
}
