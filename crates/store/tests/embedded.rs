//! The embedded engine keeps the contract.

mod contract;

use portcullis_store::{Embedded, Engine};

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_engine_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::Embedded(Embedded::open(directory.path()).unwrap());
    contract::every_rule(&engine, "contract-").await;
}
