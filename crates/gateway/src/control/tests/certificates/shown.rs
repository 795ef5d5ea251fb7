//! What is listed and shown, and what is left after a deletion.

use super::*;

const NOT_FOUND: &str = "Certificate with given SHA256 fingerprint not found";

/// ST-1, IN-81
#[tokio::test]
async fn an_empty_store_lists_nothing() {
    let node = Node::new();
    let reply = node.get("/tyk/certs?org_id=1").await;
    reply.is(200, "{\"certs\":null}\n");
    assert_eq!(reply.header("content-type"), "application/json");
}

/// ST-16, ST-29
#[tokio::test]
async fn a_public_key_is_kept_as_it_is_and_shown_as_a_placeholder() {
    let node = Node::new();
    let pair = pair();
    let id = node.certificate("1", public_key(&pair)).await;
    let print = Fingerprint::of_der(&pair.key.public_key_to_der().unwrap()).to_string();
    assert_eq!(id, format!("1{print}"));
    assert_eq!(node.stored_text(&id).await, public_key(&pair));
    let empty = "\"Country\":null,\"Organization\":null,\"OrganizationalUnit\":null,\"Locality\":null,\
                 \"Province\":null,\"StreetAddress\":null,\"PostalCode\":null,\"SerialNumber\":\"\"";
    node.get(&format!("/tyk/certs/{id}")).await.is(
        200,
        &format!(
            "{{\"id\":\"{id}\",\"fingerprint\":\"\",\"has_private\":false,\
             \"issuer\":{{{empty},\"CommonName\":\"\",\"Names\":null,\"ExtraNames\":null}},\
             \"subject\":{{{empty},\"CommonName\":\"Public Key: {print}\",\"Names\":null,\"ExtraNames\":null}},\
             \"not_before\":\"0001-01-01T00:00:00Z\",\"not_after\":\"0001-01-01T00:00:00Z\",\"is_ca\":false}}\n"
        ),
    );
}

/// ST-22, ST-23, ST-24
#[tokio::test]
async fn a_detailed_listing_shows_eight_members_of_each() {
    let node = Node::new();
    node.get("/tyk/certs?org_id=1&mode=detailed")
        .await
        .is(200, "{\"certs\":[]}\n");
    let ca = make_ca("A CA", Algorithm::P256, 30).unwrap();
    let (named, _) = certificate(&[(Nid::COMMONNAME, "One")], &["One.test", "two.test"], 10);
    let (bare, _) = certificate(&[(Nid::COMMONNAME, "Bare")], &[], 10);
    let mut ids = Vec::new();
    for text in [pem(&named), pem(&bare), ca.certificate_pem()] {
        ids.push(node.certificate("1", text).await);
    }
    let reply = node.get("/tyk/certs?org_id=1&mode=detailed").await;
    let first = format!(
        "{{\"certs\":[{{\"id\":\"{}\",\"issuer_cn\":\"One\",\"subject_cn\":\"One\",\
         \"dns_names\":[\"One.test\",\"two.test\"],\"has_private\":false,\
         \"not_before\":\"2017-07-14T02:40:00Z\",\"not_after\":\"",
        ids[0]
    );
    assert!(reply.text().starts_with(&first), "{}", reply.text());
    let certs = reply.json()["certs"].clone();
    assert_eq!(certs[0].as_object().unwrap().len(), 8);
    assert_eq!(certs[1]["dns_names"], Value::Null);
    assert_eq!(certs[2]["is_ca"], true);
    assert_eq!(certs[1]["is_ca"], false);
    let ends = certs[0]["not_after"].as_str().unwrap();
    assert!(ends.len() == 20 && ends.ends_with('Z'), "{ends}");
    // Alone, a certificate without DNS names has no such member.
    let shown = node.get(&format!("/tyk/certs/{}", ids[1])).await.json();
    assert_eq!(shown.get("dns_names"), None);
}

/// ST-25, ST-30
#[tokio::test]
async fn a_certificate_is_shown_with_every_attribute_of_its_names() {
    let node = Node::new();
    let (cert, _) = certificate(
        &[
            (Nid::COUNTRYNAME, "CZ"),
            (Nid::ORGANIZATIONNAME, "R&D <x>"),
            (Nid::ORGANIZATIONALUNITNAME, "one"),
            (Nid::ORGANIZATIONALUNITNAME, "two"),
            (Nid::LOCALITYNAME, "Praha"),
            (Nid::STATEORPROVINCENAME, "Praha 1"),
            (Nid::SERIALNUMBER, "42"),
            (Nid::PKCS9_EMAILADDRESS, "a@b.test"),
            (Nid::COMMONNAME, "shown.test"),
        ],
        &["shown.test"],
        10,
    );
    let id = node.certificate("1", pem(&cert)).await;
    let reply = node.get(&format!("/tyk/certs/{id}")).await;
    let name = "{\"Country\":[\"CZ\"],\"Organization\":[\"R\\u0026D \\u003cx\\u003e\"],\
                \"OrganizationalUnit\":[\"one\",\"two\"],\"Locality\":[\"Praha\"],\"Province\":[\"Praha 1\"],\
                \"StreetAddress\":null,\"PostalCode\":null,\"SerialNumber\":\"42\",\
                \"CommonName\":\"shown.test\",\"Names\":[{\"Type\":[2,5,4,6],\"Value\":\"CZ\"},\
                {\"Type\":[2,5,4,10],\"Value\":\"R\\u0026D \\u003cx\\u003e\"},\
                {\"Type\":[2,5,4,11],\"Value\":\"one\"},{\"Type\":[2,5,4,11],\"Value\":\"two\"},\
                {\"Type\":[2,5,4,7],\"Value\":\"Praha\"},{\"Type\":[2,5,4,8],\"Value\":\"Praha 1\"},\
                {\"Type\":[2,5,4,5],\"Value\":\"42\"},\
                {\"Type\":[1,2,840,113549,1,9,1],\"Value\":\"a@b.test\"},\
                {\"Type\":[2,5,4,3],\"Value\":\"shown.test\"}],\"ExtraNames\":null}";
    let expected = format!(
        "{{\"id\":\"{id}\",\"fingerprint\":\"{}\",\"has_private\":false,\"issuer\":{name},\
         \"subject\":{name},\"not_before\":\"2017-07-14T02:40:00Z\",\"not_after\":\"",
        print(&cert)
    );
    assert!(reply.text().starts_with(&expected), "{}", reply.text());
    let end = "Z\",\"dns_names\":[\"shown.test\"],\"is_ca\":false}\n";
    assert!(reply.text().ends_with(end), "{}", reply.text());
}

/// ST-26, ST-27, ST-28
#[tokio::test]
async fn several_ids_give_an_array_in_their_order_and_one_that_is_missing_is_not_found() {
    let node = Node::new();
    let a = node.certificate("1", pair().certificate_pem()).await;
    let b = node.certificate("1", pair().certificate_pem()).await;
    let missing = format!("1{}", "f".repeat(64));
    let shown = node.get(&format!("/tyk/certs/{b},{a}")).await.json();
    assert_eq!((&shown[0]["id"], &shown[1]["id"]), (&json!(b), &json!(a)));
    let reply = node.get(&format!("/tyk/certs/{a},{missing}")).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(
        (&reply.json()[0]["id"], &reply.json()[1]),
        (&json!(a), &Value::Null)
    );
    for id in ["missing", &missing, &format!("2{}", &a[1..])] {
        node.get(&format!("/tyk/certs/{id}"))
            .await
            .refuses(404, NOT_FOUND);
    }
    node.get("/tyk/certs/missing,missing")
        .await
        .is(200, "[null,null]\n");
}

/// The id in this path names no file, whatever lies in the working directory.
#[tokio::test]
async fn an_id_is_never_taken_for_a_file() {
    let node = Node::new();
    // A usable certificate in the working directory, where a Tyk gateway would look.
    let mut file = tempfile::Builder::new()
        .suffix(".pem")
        .tempfile_in(".")
        .unwrap();
    let text = pair().certificate_pem();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    let name = file.path().file_name().unwrap().to_str().unwrap();
    assert!(fs::exists(name).unwrap());
    node.get(&format!("/tyk/certs/{name}"))
        .await
        .refuses(404, NOT_FOUND);
    node.write("a.pem", pair().certificate_pem());
    let file = node.path("a.pem").to_str().unwrap().replace('/', "%2F");
    let reply = node.get(&format!("/tyk/certs/{file}")).await;
    assert_eq!(reply.status(), 404);
}

/// ST-31, ST-32, ST-33, ST-34, ST-35
#[tokio::test]
async fn a_deletion_removes_one_entry_and_its_place_in_the_list() {
    let node = Node::new();
    let delete = async |target: String| {
        node.ask(Method::DELETE, &target, "")
            .await
            .is(200, "{\"status\":\"ok\",\"message\":\"removed\"}\n");
    };
    let a = node.certificate("1", pair().certificate_pem()).await;
    let b = node.certificate("1", pair().certificate_pem()).await;
    let c = node.certificate("1", pair().certificate_pem()).await;
    delete(format!("/tyk/certs/{a}?org_id=1")).await;
    node.get(&format!("/tyk/certs/{a}"))
        .await
        .refuses(404, NOT_FOUND);
    assert_eq!(
        node.index("1").await,
        Some(vec![format!("raw-{b}"), format!("raw-{c}")])
    );
    delete(format!("/tyk/certs/{}", "f".repeat(64))).await;
    delete("/tyk/certs/unknown".to_owned()).await;
    // A list is no id.
    delete(format!("/tyk/certs/{b},{c}")).await;
    node.get("/tyk/certs?org_id=1")
        .await
        .is(200, &format!("{{\"certs\":[\"{b}\",\"{c}\"]}}\n"));
    delete(format!("/tyk/certs/{b}")).await;
    delete(format!("/tyk/certs/{c}?org_id=")).await;
    assert_eq!(node.index("1").await, None);
    node.get("/tyk/certs?org_id=1")
        .await
        .is(200, "{\"certs\":null}\n");
}

/// ST-36, ST-37
#[tokio::test]
async fn other_methods_and_strangers_are_refused() {
    let node = Node::new();
    for (method, path) in [
        (Method::DELETE, "/tyk/certs"),
        (Method::PUT, "/tyk/certs"),
        (Method::PUT, "/tyk/certs/x"),
        (Method::PATCH, "/tyk/certs/x"),
    ] {
        node.ask(method, path, "")
            .await
            .refuses(405, "Method not supported");
    }
    for method in [Method::GET, Method::POST] {
        node.stranger(method, "/tyk/certs?org_id=1").await.refuses(
            403,
            "Attempted administrative access with invalid or missing key!",
        );
    }
}

/// ST-38, ST-39
#[tokio::test]
async fn entries_that_are_older_than_indexes_are_found_once() {
    let node = Node::new();
    let print = "ab".repeat(32);
    node.put(&format!("cert-raw-9{print}"), "x").await;
    node.get("/tyk/certs?org_id=9")
        .await
        .is(200, &format!("{{\"certs\":[\"9{print}\"]}}\n"));
    assert_eq!(node.index("9").await, Some(vec![format!("raw-9{print}")]));
    let engine = node.stores.engine();
    let marker = engine.get("cert-9-index-migrated").await.unwrap();
    assert_eq!(marker.as_deref(), Some(&b"1"[..]));

    node.put("cert-8-index-migrated", "1").await;
    node.put(&format!("cert-raw-8{print}"), "x").await;
    node.get("/tyk/certs?org_id=8")
        .await
        .is(200, "{\"certs\":null}\n");
}

/// ST-40: ours shows all of them every time.
#[tokio::test]
async fn a_listing_without_an_organisation_shows_all_every_time() {
    let node = Node::new();
    let text = pair().certificate_pem();
    let mut ids = Vec::new();
    for org in ["1", "2"] {
        ids.push(node.certificate(org, &text).await);
    }
    for _ in 0..2 {
        node.get("/tyk/certs")
            .await
            .is(200, &format!("{}\n", json!({ "certs": ids })));
    }
    let engine = node.stores.engine();
    assert!(!engine.exists("cert--index-migrated").await.unwrap());
}

/// ST-41
#[tokio::test]
async fn under_another_secret_an_entry_with_a_key_is_not_found_and_one_without_is() {
    let node = Node::new();
    let (with, without) = (pair(), pair());
    let with = node
        .certificate("1", with.certificate_pem() + &with.key_pem())
        .await;
    let without = node.certificate("1", without.certificate_pem()).await;
    let get = async |target: String| node.get_under_another_secret(&target).await;
    get(format!("/tyk/certs/{with}"))
        .await
        .refuses(404, NOT_FOUND);
    let shown = get(format!("/tyk/certs/{without}")).await;
    assert_eq!(
        (shown.status(), &shown.json()["id"]),
        (200, &json!(without))
    );
    // In a list of several it is null, and a detailed listing leaves it out.
    let several = get(format!("/tyk/certs/{with},{without}")).await.json();
    assert_eq!(several[0], Value::Null);
    let detailed = get("/tyk/certs?org_id=1&mode=detailed".to_owned())
        .await
        .json();
    assert_eq!(detailed["certs"].as_array().unwrap().len(), 1);
    assert_eq!(detailed["certs"][0]["id"], json!(without));
    let plain = get("/tyk/certs?org_id=1".to_owned()).await.json();
    assert_eq!(plain["certs"], json!([with, without]));
}

#[tokio::test]
async fn a_damaged_or_missing_entry_is_left_out_of_a_detailed_listing() {
    let node = Node::new();
    let good = node.certificate("1", pair().certificate_pem()).await;
    let (damaged, gone) = (
        node.certificate("1", pair().certificate_pem()).await,
        node.certificate("1", pair().certificate_pem()).await,
    );
    node.put(
        &format!("cert-raw-{damaged}"),
        "-----BEGIN CERTIFICATE-----\n",
    )
    .await;
    node.stores
        .engine()
        .remove(&[format!("cert-raw-{gone}")])
        .await
        .unwrap();
    let detailed = node.get("/tyk/certs?org_id=1&mode=detailed").await.json();
    assert_eq!(detailed["certs"].as_array().unwrap().len(), 1);
    assert_eq!(detailed["certs"][0]["id"], json!(good));
    node.get(&format!("/tyk/certs/{damaged}"))
        .await
        .refuses(404, NOT_FOUND);
}

/// IN-82, IN-83, IN-84
#[tokio::test]
async fn a_certificate_a_pair_and_an_authority_come_are_seen_and_go() {
    let node = Node::new();
    let (client, server, ca) = (
        pair(),
        pair(),
        make_ca("Root CA", Algorithm::P256, 30).unwrap(),
    );
    let uploads = [
        (client.certificate_pem(), &client.certificate, false, false),
        (
            server.certificate_pem() + &server.key_pem(),
            &server.certificate,
            true,
            false,
        ),
        (ca.certificate_pem(), &ca.certificate, false, true),
    ];
    let mut ids = Vec::new();
    for (text, certificate, has_private, is_ca) in uploads {
        let id = node.certificate("1", text).await;
        assert_eq!(id, format!("1{}", print(certificate)));
        let shown = node.get(&format!("/tyk/certs/{id}")).await.json();
        assert_eq!(shown["fingerprint"], print(certificate));
        assert_eq!(shown["has_private"], has_private);
        assert_eq!(shown["is_ca"], is_ca);
        ids.push(id);
    }
    let two = node
        .get(&format!("/tyk/certs/{},{}", ids[0], ids[1]))
        .await
        .json();
    assert_eq!(two.as_array().unwrap().len(), 2);
    let detailed = node.get("/tyk/certs?org_id=1&mode=detailed").await.json();
    for (index, (has_private, is_ca)) in [(false, false), (true, false), (false, true)]
        .into_iter()
        .enumerate()
    {
        let entry = &detailed["certs"][index];
        assert_eq!(
            (&entry["id"], &entry["has_private"], &entry["is_ca"]),
            (&json!(ids[index]), &json!(has_private), &json!(is_ca))
        );
    }
    for id in ids {
        let reply = node
            .ask(Method::DELETE, &format!("/tyk/certs/{id}?org_id=1"), "")
            .await;
        assert_eq!(reply.status(), 200);
    }
    node.get("/tyk/certs?org_id=1")
        .await
        .is(200, "{\"certs\":null}\n");
}

#[tokio::test]
async fn a_store_that_cannot_answer_is_503_and_nothing_is_stored() {
    let node = Node::new();
    // No list where the list of an organisation should be.
    node.put("cert-1-index", "x").await;
    let text = pair().certificate_pem();
    let listing = node.get("/tyk/certs?org_id=1").await;
    let upload = node.upload("1", &text).await;
    for reply in [&listing, &upload] {
        assert_eq!(reply.status(), 503, "{}", reply.text());
        let message = reply.json()["message"].to_string();
        assert!(message.contains("cert-1-index"), "{message}");
    }
    let engine = node.stores.engine();
    assert!(
        engine
            .keys_with_prefix("cert-raw-")
            .await
            .unwrap()
            .is_empty()
    );
    // Another organisation is none the worse for it.
    node.certificate("2", text).await;
}
