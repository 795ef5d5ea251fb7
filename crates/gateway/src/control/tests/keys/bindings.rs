//! Certificates that belong to keys.

use portcullis_pki::make::{Algorithm, make_ca};

use super::*;

impl Node {
    /// Stores a certificate of the organisation `1`; its id.
    async fn stored_certificate(&self, name: &str) -> String {
        let ca = make_ca(name, Algorithm::P256, 30).unwrap();
        let pem = ca.certificate.to_pem().unwrap();
        self.stores.certificates().add("1", &pem).await.unwrap()
    }
}

/// ST-97
#[tokio::test]
async fn a_key_of_a_certificate_may_get_another_that_is_stored() {
    let node = node(|_| {});
    let (one, two) = (
        node.stored_certificate("One").await,
        node.stored_certificate("Two").await,
    );
    let token = node.created(session(json!({"certificate": one}))).await;
    let target = format!("/tyk/keys/{token}");
    let change = |id: &str| node.update(&target, session(json!({"certificate": id})));
    change(&two).await.says("modified", &token);
    let stored = node.entry(&format!("apikey-{token}")).await.unwrap();
    assert_eq!(
        stored["certificate"], two,
        "the token stays that of the first"
    );
    change("")
        .await
        .refuses(400, "Key cannot be used without a certificate");
    change("1unknown")
        .await
        .refuses(400, "Key must be used with an existent certificate");
}

/// ST-98, ST-99
#[tokio::test]
async fn a_key_is_bound_only_to_stored_certificates_of_its_organisation() {
    let node = node(|_| {});
    let id = node.stored_certificate("One").await;
    let bound = |to: &str| session(json!({"mtls_static_certificate_bindings": [to]}));
    for target in ["/tyk/keys/create", "/tyk/keys", "/tyk/keys/mykey"] {
        for foreign in [&format!("2{}", &id[1..]), "../../etc/passwd"] {
            let message = format!("invalid certificate ID: {foreign}");
            node.post(target, bound(foreign))
                .await
                .refuses(400, &message);
        }
        let unknown = format!("1{}", "0".repeat(64));
        let message = format!("certificate not found: {unknown}");
        node.post(target, bound(&unknown))
            .await
            .refuses(400, &message);
        assert_eq!(
            node.post(target, bound(&id)).await.status(),
            200,
            "{target}"
        );
    }
}

/// ST-100
#[tokio::test]
async fn a_change_asks_only_about_bindings_that_are_new() {
    let node = node(|_| {});
    let id = node.stored_certificate("One").await;
    let bound = |ids: &[&str]| session(json!({"mtls_static_certificate_bindings": ids}));
    let token = node.created(bound(&[&id])).await;
    node.stores.certificates().remove(&id, None).await.unwrap();
    let target = format!("/tyk/keys/{token}");
    node.update(&target, bound(&[&id]))
        .await
        .says("modified", &token);
    let unknown = format!("1{}", "0".repeat(64));
    node.update(&target, bound(&[&id, &unknown]))
        .await
        .refuses(400, &format!("certificate not found: {unknown}"));
}
