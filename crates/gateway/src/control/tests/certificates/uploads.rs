//! What is taken in, what is refused, and what is stored of it.

use super::*;

const NO_PEM: &str = "Failed to decode certificate. It should be PEM encoded.";

/// ST-2, ST-21
#[tokio::test]
async fn an_upload_is_answered_with_its_id_and_listed_in_order() {
    let node = Node::new();
    let (a, b) = (pair(), pair());
    let (print_a, print_b) = (print(&a.certificate), print(&b.certificate));
    node.upload("1", a.certificate_pem()).await.is(
        200,
        &format!("{{\"id\":\"1{print_a}\",\"status\":\"ok\",\"message\":\"Certificate added\"}}\n"),
    );
    assert_eq!(
        node.stored_text(&format!("1{print_a}")).await,
        a.certificate_pem()
    );
    assert_eq!(node.index("1").await, Some(vec![format!("raw-1{print_a}")]));
    node.certificate("1", b.certificate_pem()).await;
    node.get("/tyk/certs?org_id=1").await.is(
        200,
        &format!("{{\"certs\":[\"1{print_a}\",\"1{print_b}\"]}}\n"),
    );
    // The path of an upload names nothing.
    let reply = node
        .ask(
            Method::POST,
            "/tyk/certs/anything?org_id=2",
            b.certificate_pem(),
        )
        .await;
    assert_eq!(reply.json()["id"], format!("2{print_b}"));
}

/// ST-3, ST-4
#[tokio::test]
async fn a_key_is_stored_encrypted_and_last_and_does_not_change_the_id() {
    let node = Node::new();
    let pair = pair();
    for text in [
        pair.certificate_pem() + &pair.key_pem(),
        pair.key_pem() + &pair.certificate_pem(),
    ] {
        let id = node.certificate("1", text).await;
        assert_eq!(id, format!("1{}", print(&pair.certificate)));
        let stored = node.stored_text(&id).await;
        let key = stored.strip_prefix(&pair.certificate_pem()).unwrap();
        assert!(
            key.starts_with(
                "\n-----BEGIN ENCRYPTED PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,"
            ),
            "{key}"
        );
        node.ask(Method::DELETE, &format!("/tyk/certs/{id}"), "")
            .await;
    }
}

/// ST-5, ST-6, ST-7
#[tokio::test]
async fn a_certificate_that_is_there_stays_until_it_is_deleted() {
    let node = Node::new();
    let pair = pair();
    let whole = pair.certificate_pem() + &pair.key_pem();
    let id = node.certificate("1", pair.certificate_pem()).await;
    for text in [&pair.certificate_pem(), &whole] {
        node.upload("1", text)
            .await
            .refuses(403, &format!("Certificate with {id} id already exists"));
    }
    let path = format!("/tyk/certs/{id}");
    assert_eq!(node.get(&path).await.json()["has_private"], false);
    node.ask(Method::DELETE, &path, "")
        .await
        .is(200, "{\"status\":\"ok\",\"message\":\"removed\"}\n");
    assert_eq!(node.certificate("1", whole).await, id);
    assert_eq!(node.get(&path).await.json()["has_private"], true);
}

/// ST-8, ST-9
#[tokio::test]
async fn an_organisation_is_part_of_the_id_as_it_was_written() {
    let node = Node::new();
    let pair = pair();
    let print = print(&pair.certificate);
    let reply = node
        .ask(Method::POST, "/tyk/certs", pair.certificate_pem())
        .await;
    assert_eq!(reply.json()["id"], print);
    let engine = node.stores.engine();
    assert_eq!(
        engine.keys_with_prefix("cert-").await.unwrap(),
        [format!("cert-raw-{print}")]
    );
    for (written, org) in [
        ("1", "1"),
        ("2", "2"),
        ("A%20b", "A b"),
        ("default", "default"),
    ] {
        let id = node.certificate(written, pair.certificate_pem()).await;
        assert_eq!(id, format!("{org}{print}"));
        let path = format!("/tyk/certs/{}", id.replace(' ', "%20"));
        assert_eq!(node.get(&path).await.json()["id"], id);
    }
}

/// ST-10, ST-11, ST-12, ST-13, ST-14, ST-17, ST-19, and the last line of the messages of an upload.
#[tokio::test]
async fn an_upload_that_is_refused_is_told_why() {
    let node = Node::new();
    let (rsa, other, ec) = (
        pair_of(Algorithm::Rsa2048),
        pair_of(Algorithm::Rsa2048),
        pair(),
    );
    let ca = make_ca("Root", Algorithm::P256, 30).unwrap();
    let leaf = make_server(&ca, &["leaf.test"], Algorithm::P256, 30).unwrap();
    let (cert, key) = (rsa.certificate_pem(), rsa.key_pem());
    let broken = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n".to_owned();
    for (text, message) in [
        (String::new(), NO_PEM),
        ("hello".to_owned(), NO_PEM),
        (key.clone(), NO_PEM),
        (
            cert.clone() + &other.key_pem(),
            "tls: private key does not match public key",
        ),
        (
            cert.clone() + &ec.key_pem(),
            "tls: private key type does not match public key type",
        ),
        (cert.clone() + &key + &key, "Found multiple private keys"),
        (
            cert.clone() + &public_key(&rsa),
            "Public keys can't be combined with certificates",
        ),
        (
            ca.certificate_pem() + &leaf.certificate_pem() + &leaf.key_pem(),
            "tls: private key does not match public key",
        ),
        (
            public_key(&rsa) + &key,
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks \
             of the following types: [PUBLIC KEY]",
        ),
        (broken + &cert, "x509: malformed tbs certificate"),
    ] {
        node.upload("1", text).await.refuses(403, message);
    }
    node.get("/tyk/certs?org_id=1")
        .await
        .is(200, "{\"certs\":null}\n");
}

/// ST-15
#[tokio::test]
async fn an_expired_certificate_anywhere_is_refused() {
    let node = Node::new();
    let (expired, key) = certificate(&[(Nid::COMMONNAME, "old")], &[], -1);
    let key = String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let valid = pair().certificate_pem();
    for text in [
        pem(&expired),
        pem(&expired) + &key,
        valid.clone() + &pem(&expired),
    ] {
        node.upload("1", text)
            .await
            .refuses(403, "certificate is expired");
    }
}

/// ST-18, ST-20
#[tokio::test]
async fn a_chain_keeps_its_order_and_text_around_it_is_dropped() {
    let node = Node::new();
    let (root, intermediate) = (
        make_ca("Root", Algorithm::P256, 30).unwrap(),
        make_ca("Intermediate", Algorithm::P256, 30).unwrap(),
    );
    let leaf = make_server(&intermediate, &["leaf.test"], Algorithm::P256, 30).unwrap();
    let parts = [
        leaf.certificate_pem(),
        intermediate.certificate_pem(),
        root.certificate_pem(),
    ];
    let id = node
        .certificate("1", parts.concat() + &leaf.key_pem())
        .await;
    assert_eq!(id, format!("1{}", print(&leaf.certificate)));
    let stored = node.stored_text(&id).await;
    assert!(stored.starts_with(&format!("{}\n-----BEGIN ENCRYPTED", parts.join("\n"))));
    // The fingerprint is that of the first certificate, as the id is.
    let shown = node.get(&format!("/tyk/certs/{id}")).await.json();
    assert_eq!(shown["fingerprint"], print(&leaf.certificate));

    let plain = pair().certificate_pem();
    let dressed = format!("Bag Attributes\r\n    friendlyName: x\r\n{plain}").replace('\n', "\r\n");
    let id = node.certificate("2", dressed).await;
    assert_eq!(node.stored_text(&id).await, plain);
    node.upload("2", &plain)
        .await
        .refuses(403, &format!("Certificate with {id} id already exists"));
}

/// ST-47, ST-48: ours loads Ed25519 as well.
#[tokio::test]
async fn keys_of_every_encoding_are_taken_and_read_back() {
    let node = Node::new();
    let (rsa, ec, ed) = (
        pair_of(Algorithm::Rsa2048),
        pair(),
        pair_of(Algorithm::Ed25519),
    );
    let text = |pem: Vec<u8>| String::from_utf8(pem).unwrap();
    let pkcs1 = text(rsa.key.rsa().unwrap().private_key_to_pem().unwrap());
    let sec1 = text(ec.key.ec_key().unwrap().private_key_to_pem().unwrap());
    let parameters =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    for (org, pair, key) in [
        ("1", &rsa, pkcs1),
        ("2", &rsa, rsa.key_pem()),
        ("1", &ec, format!("{parameters}{sec1}")),
        ("2", &ec, ec.key_pem()),
        ("1", &ed, ed.key_pem()),
    ] {
        let id = node.certificate(org, pair.certificate_pem() + &key).await;
        let shown = node.get(&format!("/tyk/certs/{id}")).await;
        assert_eq!(
            (shown.status(), &shown.json()["has_private"]),
            (200, &json!(true))
        );
    }
}

/// ST-49
#[tokio::test]
async fn a_key_that_is_already_encrypted_is_refused() {
    let node = Node::new();
    let pair = pair();
    let cipher = openssl::symm::Cipher::aes_256_cbc();
    let ec = pair.key.ec_key().unwrap();
    for key in [
        pair.key.private_key_to_pem_pkcs8_passphrase(cipher, b"x"),
        ec.private_key_to_pem_passphrase(cipher, b"x"),
    ] {
        let key = String::from_utf8(key.unwrap()).unwrap();
        node.upload("1", pair.certificate_pem() + &key)
            .await
            .refuses(403, "tls: failed to parse private key");
    }
}

/// IN-85
#[tokio::test]
async fn what_may_not_be_stored_is_refused_with_403() {
    let node = Node::new();
    let (pair, other) = (pair_of(Algorithm::Rsa2048), pair_of(Algorithm::Rsa2048));
    let (expired, _) = certificate(&[(Nid::COMMONNAME, "old")], &[], -1);
    let id = node.certificate("1", pair.certificate_pem()).await;
    let bad = "-----BEGIN CERTIFICATE-----\nYmFkIGFzbjE=\n-----END CERTIFICATE-----\n";
    for (text, message) in [
        (String::new(), NO_PEM.to_owned()),
        ("no pem".to_owned(), NO_PEM.to_owned()),
        (bad.to_owned(), "x509: malformed certificate".to_owned()),
        (
            pair.certificate_pem() + &other.key_pem(),
            "tls: private key does not match public key".to_owned(),
        ),
        (
            pair.certificate_pem(),
            format!("Certificate with {id} id already exists"),
        ),
        (pem(&expired), "certificate is expired".to_owned()),
    ] {
        node.upload("1", text).await.refuses(403, &message);
    }
}
