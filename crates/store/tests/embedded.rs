//! The embedded engine: the contract, and what is particular to one file.

mod contract;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use portcullis_store::{Condition, Embedded, Engine, Health, Inspection, Lifetime, StoreError};

fn open(directory: &Path) -> Engine {
    Engine::Embedded(Embedded::open(directory).unwrap())
}

/// Why a directory cannot be opened.
fn refusal(directory: &Path) -> String {
    match Embedded::open(directory) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    }
}

fn file_of(directory: &Path) -> PathBuf {
    directory.join("store.redb")
}

async fn put(engine: &Engine, key: &str, value: &str) -> Result<bool, StoreError> {
    let value = Bytes::copy_from_slice(value.as_bytes());
    engine
        .set(key, value, Lifetime::Forever, Condition::Always)
        .await
}

async fn text(engine: &Engine, key: &str) -> Option<String> {
    let value = engine.get(key).await.unwrap();
    value.map(|value| String::from_utf8(value.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_engine_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    contract::every_rule(&open(directory.path()), "contract-").await;
}

/// Values, lists, lifetimes and counts, the last ones too, over an orderly end.
#[tokio::test]
async fn what_was_stored_is_there_when_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    put(&engine, "value", "v").await.unwrap();
    let members = ["a".to_owned(), "b".to_owned()];
    engine.list_append("list", &members).await.unwrap();
    let hour = Duration::from_secs(3600);
    for by in [1, 2, 4] {
        engine.count("counter", by, Some(hour)).await.unwrap();
    }
    engine.close().await.unwrap();
    let error = engine.get("value").await.unwrap_err().to_string();
    assert!(error.contains("has been closed"), "{error}");
    assert!(put(&engine, "value", "w").await.is_err());

    let engine = open(directory.path());
    assert_eq!(text(&engine, "value").await.as_deref(), Some("v"));
    assert_eq!(engine.list("list").await.unwrap().unwrap(), members);
    assert_eq!(text(&engine, "counter").await.as_deref(), Some("7"));
    let lifetime = engine.lifetime("counter").await.unwrap();
    assert!(
        matches!(lifetime, Some(Lifetime::For(time)) if time > hour / 2),
        "{lifetime:?}"
    );
    // Letting go of the last handle is an orderly end as well.
    engine.count("counter", 1, None).await.unwrap();
    drop(engine);
    assert_eq!(
        text(&open(directory.path()), "counter").await.as_deref(),
        Some("8")
    );
}

/// Nobody but its owner reads it, whatever the umask is.
#[test]
fn the_store_is_its_owners() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a/data");
    let _engine = open(&directory);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&file_of(&directory)), 0o600);
    assert_eq!(mode(&directory.join("store.lock")), 0o600);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
}

/// Cut short at any length, overwritten, or no store at all: an error that says what to do, and the
/// file is as it was.
#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    for n in 0..200 {
        put(&engine, &format!("key-{n}"), &"x".repeat(500))
            .await
            .unwrap();
    }
    engine.close().await.unwrap();
    let file = file_of(directory.path());
    let whole = fs::read(&file).unwrap();

    let mut damaged: Vec<(String, Vec<u8>)> = [0, 1, 100, 4_096, 10_000, whole.len() - 1]
        .map(|len| (format!("{len} bytes left"), whole[..len].to_vec()))
        .into();
    for (from, to) in [(0, 8), (64, 320)] {
        let mut bytes = whole.clone();
        bytes[from..to].fill(0xff);
        damaged.push((format!("overwritten from {from} to {to}"), bytes));
    }
    // Older copies of a page lie about, so it is changed wherever it is found.
    let mut bytes = whole.clone();
    for at in 0..bytes.len() - 7 {
        if bytes[at..].starts_with(b"key-123") {
            bytes[at + 2] = b'z';
        }
    }
    assert!(bytes != whole);
    damaged.push(("a byte of an entry changed".to_owned(), bytes));
    damaged.push(("text".to_owned(), b"not a database\n".repeat(1_000)));

    for (what, bytes) in damaged {
        fs::write(&file, &bytes).unwrap();
        for reason in [
            refusal(directory.path()),
            Embedded::inspect(directory.path()).unwrap_err().to_string(),
        ] {
            for part in [
                &*file.to_string_lossy(),
                "portcullis.data_dir",
                "put a backup in its place",
            ] {
                assert!(reason.contains(part), "{what}: {part} in {reason}");
            }
        }
        assert!(fs::read(&file).unwrap() == bytes, "{what}");
    }

    fs::write(&file, &whole).unwrap();
    let engine = open(directory.path());
    assert_eq!(engine.keys_with_prefix("key-").await.unwrap().len(), 200);
}

/// Opened while it is damaged: everything fails with what to do, the file is as it was and nobody is shut
/// out; with a backup in its place it is opened by itself. Or without one: moved away, it begins anew.
#[tokio::test]
async fn a_store_that_cannot_be_opened_is_opened_once_it_has_been_mended() {
    for has_backup in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let engine = open(directory.path());
        put(&engine, "before", "v").await.unwrap();
        engine.close().await.unwrap();
        drop(engine);
        let file = file_of(directory.path());
        let whole = fs::read(&file).unwrap();
        let damaged = &whole[..whole.len() / 2];
        fs::write(&file, damaged).unwrap();

        let store = Embedded::open_when_mended(directory.path()).unwrap();
        let engine = Engine::Embedded(store);
        for error in [
            engine.get("before").await.unwrap_err(),
            put(&engine, "lost", "v").await.unwrap_err(),
            engine.count("counter", 1, None).await.unwrap_err(),
            Embedded::inspect(directory.path()).unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(error.contains("put a backup in its place"), "{error}");
        }
        let mut health = engine.health();
        assert!(matches!(&*health.borrow(), Health::Down { .. }));
        assert!(fs::read(&file).unwrap() == damaged);

        if has_backup {
            let backup = directory.path().join("backup");
            fs::write(&backup, &whole).unwrap();
            fs::rename(backup, &file).unwrap();
        } else {
            fs::rename(&file, directory.path().join("aside")).unwrap();
        }
        let is_up = health.wait_for(|health| *health == Health::Up);
        tokio::time::timeout(Duration::from_secs(30), is_up)
            .await
            .expect("it is opened")
            .unwrap();
        let kept = text(&engine, "before").await;
        assert_eq!(kept.as_deref(), has_backup.then_some("v"));
        put(&engine, "after", "v").await.unwrap();
        assert!(refusal(directory.path()).contains("in use by process"));
        engine.close().await.unwrap();
        assert_eq!(
            text(&open(directory.path()), "after").await.as_deref(),
            Some("v")
        );
    }
}

/// In another process's hands it is not waited for.
#[test]
fn a_store_that_another_has_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let _holder = open(directory.path());
    let refused = Embedded::open_when_mended(directory.path());
    assert!(matches!(refused, Err(StoreError::InUse { .. })));
}

/// A database of another program, and one of a layout to come.
#[test]
fn a_file_of_another_layout_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = file_of(directory.path());
    redb::Database::create(&file).unwrap().close().unwrap();
    let reason = refusal(directory.path());
    assert!(reason.contains("a database of another program"), "{reason}");

    let database = redb::Database::open(&file).unwrap();
    let transaction = database.begin_write().unwrap();
    let about = redb::TableDefinition::<&str, u64>::new("about");
    transaction
        .open_table(about)
        .unwrap()
        .insert("format", 2)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let reason = refusal(directory.path());
    assert!(
        reason.contains("it has format 2, this version reads format 1"),
        "{reason}"
    );
}

#[test]
fn a_look_changes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data");
    let look = || Embedded::inspect(&directory).unwrap();
    assert!(matches!(look(), Inspection::Absent));
    assert!(!directory.exists());
    let engine = open(&directory);
    assert!(matches!(look(), Inspection::InUse { .. }));
    drop(engine);
    let before = fs::read(file_of(&directory)).unwrap();
    assert!(matches!(look(), Inspection::Good));
    assert!(fs::read(file_of(&directory)).unwrap() == before);

    let in_the_way = parent.path().join("file");
    fs::write(&in_the_way, "").unwrap();
    assert!(refusal(&in_the_way).contains("portcullis.data_dir"));
}

/// What is looked into is a whole state of the store, however its gateway writes meanwhile, and is not
/// the store: nothing is made, nothing changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_looked_into_while_another_writes_it() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data");
    let aside = |directory: &Path| Engine::Embedded(Embedded::aside(directory).unwrap());
    assert_eq!(text(&aside(&directory), "number").await, None);
    assert!(!directory.exists());

    let engine = open(&directory);
    put(&engine, "number", "0").await.unwrap();
    put(&engine, "kept", "value").await.unwrap();
    let writing = engine.clone();
    let over = Arc::new(AtomicBool::new(false));
    let until = over.clone();
    let writer = tokio::spawn(async move {
        let mut number = 0;
        while !until.load(Ordering::Relaxed) {
            number += 1;
            put(&writing, "number", &number.to_string()).await.unwrap();
            put(&writing, &format!("filler-{number}"), &"x".repeat(2000))
                .await
                .unwrap();
        }
        number
    });
    let mut last = 0;
    while last < 30 {
        let seen = aside(&directory);
        assert_eq!(text(&seen, "kept").await.as_deref(), Some("value"));
        let number: u64 = text(&seen, "number").await.unwrap().parse().unwrap();
        assert!(number >= last, "{number} after {last}");
        last = number;
        let refused = put(&seen, "kept", "other").await.unwrap_err().to_string();
        assert!(refused.contains("not to be changed"), "{refused}");
    }
    over.store(true, Ordering::Relaxed);
    let number: u64 = writer.await.unwrap();
    assert_eq!(text(&engine, "number").await, Some(number.to_string()));
    assert_eq!(text(&engine, "kept").await.as_deref(), Some("value"));

    fs::write(file_of(&directory), "no database").unwrap();
    let refused = match Embedded::aside(&directory) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    };
    assert!(refused.contains("damaged"), "{refused}");
}

/// A file whose name is taken away is read on, written no more, and written again once it is back.
#[tokio::test]
async fn a_removed_file_is_read_on_and_nothing_is_acknowledged_into_the_void() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    put(&engine, "before", "v").await.unwrap();
    let (file, aside) = (file_of(directory.path()), directory.path().join("aside"));
    fs::rename(&file, &aside).unwrap();
    let error = put(&engine, "lost", "v").await.unwrap_err().to_string();
    assert!(error.contains("somebody has removed it"), "{error}");
    assert!(matches!(&*engine.health().borrow(), Health::Down { .. }));
    assert_eq!(text(&engine, "before").await.as_deref(), Some("v"));
    assert_eq!(text(&engine, "lost").await, None);
    // Counting needs no file.
    assert_eq!(engine.count("counter", 3, None).await.unwrap().value, 3);

    fs::rename(&aside, &file).unwrap();
    let mut health = engine.health();
    let is_up = health.wait_for(|health| *health == Health::Up);
    tokio::time::timeout(Duration::from_secs(30), is_up)
        .await
        .expect("it comes back")
        .unwrap();
    put(&engine, "after", "v").await.unwrap();
    engine.close().await.unwrap();
    let engine = open(directory.path());
    assert_eq!(text(&engine, "after").await.as_deref(), Some("v"));
    assert_eq!(text(&engine, "counter").await.as_deref(), Some("3"));
}

/// Cut short while it is open: what is asked of it fails with words, and none of it panics through.
#[tokio::test]
async fn a_file_cut_short_under_the_store_is_noticed_by_readers_and_writers() {
    for reads_first in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let engine = open(directory.path());
        let keys: Vec<String> = (0..300).map(|n| format!("key-{n}")).collect();
        for key in &keys {
            put(&engine, key, &"x".repeat(1_000)).await.unwrap();
        }
        engine.close().await.unwrap();
        let engine = open(directory.path());
        let file = fs::File::options()
            .write(true)
            .open(file_of(directory.path()))
            .unwrap();
        file.set_len(50_000).unwrap();
        if reads_first {
            let _ = engine.get_many(&keys).await;
        }
        let error = put(&engine, "key", "v").await.unwrap_err().to_string();
        assert!(error.contains("a backup in its place"), "{error}");
        let error = engine.get_many(&keys).await.unwrap_err().to_string();
        assert!(error.contains("a backup in its place"), "{error}");
        assert!(matches!(&*engine.health().borrow(), Health::Down { .. }));
        engine.close().await.unwrap();
        assert_eq!(file.metadata().unwrap().len(), 50_000);
    }
}

/// Many writers share a flush: a thousand at once take a small part of the flushes that a thousand one
/// by one would.
#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_share_a_flush() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let keys: Vec<String> = (0..1_000).map(|n| format!("key-{n}")).collect();
    let begun = Instant::now();
    for key in &keys[..20] {
        put(&engine, key, "v").await.unwrap();
    }
    let one = begun.elapsed() / 20;
    let begun = Instant::now();
    let writes = keys.iter().map(|key| put(&engine, key, "v"));
    let written = futures_util::future::join_all(writes).await;
    let all = begun.elapsed();
    assert!(written.into_iter().all(|written| written.unwrap()));
    assert!(all < one * 500, "{all:?} for all, {one:?} for one");
}
