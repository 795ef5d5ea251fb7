//! The certificate store on the embedded engine; its entries are those that a Tyk fleet would find.

use portcullis_pki::make::{Algorithm, Pair, make_ca, make_server};
use tempfile::TempDir;

use super::*;
use crate::Embedded;

struct Store {
    dir: TempDir,
    certificates: Certificates,
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::Embedded(Embedded::open(dir.path()).unwrap());
        let signals = Signals::unsigned(engine.clone());
        let certificates = Certificates::new(engine, Secret::new("secret"), signals);
        Self { dir, certificates }
    }

    fn engine(&self) -> &Engine {
        &self.certificates.0.engine
    }

    /// The same store with another secret.
    fn with_secret(&self, secret: &str) -> Certificates {
        let signals = Signals::unsigned(self.engine().clone());
        Certificates::new(self.engine().clone(), Secret::new(secret), signals)
    }

    async fn write(&self, name: &str, value: &str) {
        let value = Bytes::copy_from_slice(value.as_bytes());
        self.engine()
            .set(name, value, Lifetime::Forever, Condition::Always)
            .await
            .unwrap();
    }

    async fn index(&self, org: &str) -> Option<Vec<String>> {
        self.engine()
            .list(&format!("cert-{org}-index"))
            .await
            .unwrap()
    }

    async fn marker(&self, org: &str) -> Option<Bytes> {
        let name = format!("cert-{org}-index-migrated");
        self.engine().get(&name).await.unwrap()
    }
}

fn pair() -> Pair {
    let ca = make_ca("Store CA", Algorithm::P256, 30).unwrap();
    make_server(&ca, &["localhost"], Algorithm::P256, 30).unwrap()
}

fn bundle(pair: &Pair) -> String {
    pair.certificate_pem() + &pair.key_pem()
}

/// Whether there is an entry, and whether it has its key.
async fn look(certificates: &Certificates, id: &str) -> Option<bool> {
    let found = certificates
        .read(&[id.to_owned()], |_, stored| match stored {
            Stored::Entry(entry) => Some(entry.has_private_key()),
            Stored::Absent | Stored::Unreadable(_) => None,
        })
        .await
        .unwrap();
    found[0]
}

#[tokio::test]
async fn an_upload_becomes_an_entry_and_a_member_of_its_organisation_s_index() {
    let store = Store::new();
    let pair = pair();
    let id = store
        .certificates
        .add("1", bundle(&pair).as_bytes())
        .await
        .unwrap();
    assert_eq!(store.index("1").await, Some(vec![format!("raw-{id}")]));
    let name = format!("cert-raw-{id}");
    let value = store.engine().get(&name).await.unwrap().unwrap();
    let text = std::str::from_utf8(&value).unwrap();
    assert!(text.starts_with(&pair.certificate_pem()));
    assert!(text.contains(
        "\n\n-----BEGIN ENCRYPTED PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,"
    ));
    assert!(text.ends_with("\n-----END ENCRYPTED PRIVATE KEY-----\n"));
    assert_eq!(
        store.engine().lifetime(&name).await.unwrap(),
        Some(Lifetime::Forever)
    );
    assert_eq!(look(&store.certificates, &id).await, Some(true));
    assert_eq!(
        store
            .certificates
            .raw(&["none".to_owned(), id])
            .await
            .unwrap(),
        [None, Some(value)]
    );
}

#[tokio::test]
async fn an_entry_is_never_overwritten_and_makes_room_when_it_is_removed() {
    let store = Store::new();
    let pair = pair();
    let (plain, whole) = (pair.certificate_pem(), bundle(&pair));
    let id = store.certificates.add("1", plain.as_bytes()).await.unwrap();
    for text in [&plain, &whole] {
        let error = store
            .certificates
            .add("1", text.as_bytes())
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("Certificate with {id} id already exists")
        );
    }
    assert_eq!(look(&store.certificates, &id).await, Some(false));
    assert_eq!(store.index("1").await.map(|members| members.len()), Some(1));
    store.certificates.remove(&id, None).await.unwrap();
    assert_eq!(look(&store.certificates, &id).await, None);
    store.certificates.add("1", whole.as_bytes()).await.unwrap();
    assert_eq!(look(&store.certificates, &id).await, Some(true));
}

/// Two uploads of one certificate at the same time: one is stored, the other is told so.
#[tokio::test]
async fn of_two_uploads_at_once_one_wins() {
    let store = Store::new();
    let text = bundle(&pair());
    let (one, other) = tokio::join!(
        store.certificates.add("1", text.as_bytes()),
        store.certificates.add("1", text.as_bytes())
    );
    assert_eq!(u8::from(one.is_ok()) + u8::from(other.is_ok()), 1);
    assert_eq!(store.index("1").await.map(|members| members.len()), Some(1));
}

#[tokio::test]
async fn organisations_have_entries_of_their_own_and_none_has_no_index() {
    let store = Store::new();
    let text = pair().certificate_pem();
    let bare = store.certificates.add("", text.as_bytes()).await.unwrap();
    assert_eq!(bare.len(), 64);
    assert_eq!(store.index("").await, None);
    for org in ["1", "2"] {
        let id = store.certificates.add(org, text.as_bytes()).await.unwrap();
        assert_eq!(id, format!("{org}{bare}"));
        assert_eq!(store.certificates.list(org).await.unwrap(), [id]);
    }
}

#[tokio::test]
async fn entries_without_an_index_are_found_once() {
    let store = Store::new();
    let text = pair().certificate_pem();
    let print = "ab".repeat(32);
    store.write(&format!("cert-raw-9{print}"), &text).await;
    assert_eq!(
        store.certificates.list("9").await.unwrap(),
        [format!("9{print}")]
    );
    assert_eq!(store.index("9").await, Some(vec![format!("raw-9{print}")]));
    assert_eq!(store.marker("9").await.as_deref(), Some(&b"1"[..]));

    store.write("cert-8-index-migrated", "1").await;
    store.write(&format!("cert-raw-8{print}"), &text).await;
    assert!(store.certificates.list("8").await.unwrap().is_empty());
    assert_eq!(store.index("8").await, None);
}

/// Reading needs no writing: neither the index nor the mark that it has been made.
#[tokio::test]
async fn entries_are_listed_while_the_store_takes_no_writes() {
    let store = Store::new();
    let print = "cd".repeat(32);
    store.write(&format!("cert-raw-7{print}"), "x").await;
    let (file, aside) = (
        store.dir.path().join("store.redb"),
        store.dir.path().join("aside"),
    );
    std::fs::rename(&file, &aside).unwrap();
    for _ in 0..2 {
        assert_eq!(
            store.certificates.list("7").await.unwrap(),
            [format!("7{print}")]
        );
        assert!(store.certificates.list("6").await.unwrap().is_empty());
    }
    assert_eq!(store.index("7").await, None);
    assert_eq!(store.marker("7").await, None);
}

/// An index that is something else refuses a place in it, and so the entry.
#[tokio::test]
async fn an_upload_that_cannot_be_listed_leaves_no_entry() {
    let store = Store::new();
    store.write("cert-1-index", "no list").await;
    let text = pair().certificate_pem();
    let error = store
        .certificates
        .add("1", text.as_bytes())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("cert-1-index"), "{error}");
    assert!(store.certificates.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_organisation_does_not_swallow_one_whose_name_begins_like_its_own() {
    let store = Store::new();
    let print = "01".repeat(32);
    // A pattern would take the last two for something else than names.
    for org in ["1", "12", "*", "1*"] {
        store.write(&format!("cert-raw-{org}{print}"), "x").await;
    }
    for org in ["*", "1", "12"] {
        assert_eq!(
            store.certificates.list(org).await.unwrap(),
            [format!("{org}{print}")]
        );
    }
    assert!(store.certificates.list("123").await.unwrap().is_empty());
    assert_eq!(store.marker("123").await.as_deref(), Some(&b"1"[..]));
}

#[tokio::test]
async fn without_an_organisation_all_are_listed_every_time() {
    let store = Store::new();
    let text = pair().certificate_pem();
    let mut ids = Vec::new();
    for org in ["", "1", "2"] {
        ids.push(store.certificates.add(org, text.as_bytes()).await.unwrap());
    }
    ids.sort();
    for _ in 0..2 {
        assert_eq!(store.certificates.list("").await.unwrap(), ids);
    }
    assert_eq!(store.marker("").await, None);
    assert_eq!(store.index("").await, None);
}

/// Another organisation than the id's leaves nothing behind either.
#[tokio::test]
async fn a_removed_entry_leaves_every_index_that_lists_it() {
    let store = Store::new();
    let text = pair().certificate_pem();
    for org in [None, Some("1"), Some("2"), Some("")] {
        let id = store.certificates.add("1", text.as_bytes()).await.unwrap();
        store.certificates.remove(&id, org).await.unwrap();
        assert!(
            store.certificates.list("1").await.unwrap().is_empty(),
            "{org:?}"
        );
        assert_eq!(look(&store.certificates, &id).await, None);
    }
    for unknown in ["", "missing", &"f".repeat(64), "é"] {
        store.certificates.remove(unknown, None).await.unwrap();
    }
}

#[tokio::test]
async fn under_another_secret_an_entry_with_a_key_is_unreadable_and_one_without_is_not() {
    let store = Store::new();
    let (with, without) = (pair(), pair());
    let with = store
        .certificates
        .add("1", bundle(&with).as_bytes())
        .await
        .unwrap();
    let without = store
        .certificates
        .add("1", without.certificate_pem().as_bytes())
        .await
        .unwrap();
    let other = store.with_secret("another");
    let seen = other
        .read(&[with, without], |_, stored| format!("{stored:?}"))
        .await
        .unwrap();
    assert_eq!(seen[0], "Unreadable(Secret)");
    assert!(seen[1].starts_with("Entry(Certificate("), "{}", seen[1]);
}

/// Whether this node listens to the others or not.
#[tokio::test]
async fn a_change_is_told_once_and_what_was_refused_is_not() {
    for listens in [true, false] {
        let store = Store::new();
        let signals = &store.certificates.0.signals;
        let listener = listens.then(|| signals.listen());
        let mut heard = signals.subscribe();
        let text = pair().certificate_pem();
        let id = store.certificates.add("1", text.as_bytes()).await.unwrap();
        for refused in [&text, "hello"] {
            let result = store.certificates.add("1", refused.as_bytes()).await;
            result.unwrap_err();
        }
        store.certificates.remove(&id, None).await.unwrap();
        let changed = Signal::CertificateChanged { id };
        assert_eq!(heard.recv().await.unwrap(), changed);
        assert_eq!(heard.recv().await.unwrap(), changed);
        // The next one is this, so there were no others.
        signals.send(&Signal::Reload).await.unwrap();
        assert_eq!(heard.recv().await.unwrap(), Signal::Reload);
        if let Some(listener) = listener {
            listener.abort();
        }
    }
}

#[tokio::test]
async fn many_entries_are_read_in_order() {
    let store = Store::new();
    let text = pair().certificate_pem();
    let mut ids = Vec::new();
    for number in 0..BATCH + 3 {
        ids.push(format!("{number}x"));
        if number % 2 == 0 {
            store.write(&format!("cert-raw-{number}x"), &text).await;
        }
    }
    let seen = store
        .certificates
        .read(&ids, |id, stored| {
            matches!(stored, Stored::Entry(_)).then(|| id.to_owned())
        })
        .await
        .unwrap();
    let expected: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(number, id)| (number % 2 == 0).then(|| id.clone()))
        .collect();
    assert_eq!(seen, expected);
    assert!(store.dir.path().exists());
}
