//! Who is to blame for an exchange that stands still.

use std::time::Duration;

use super::{
    Cause, Done, Failure, Patience,
    doubles::{BRIEF, FREE, TestClient, TestUpstream, timed},
    run,
};
use crate::proxy::client::ClientError;

fn run_with(
    mut client: TestClient,
    mut upstream: TestUpstream,
    patience: Patience,
) -> Result<Done, Failure> {
    timed(|start, mut deadline| async move {
        run(
            &mut client,
            &mut upstream,
            patience,
            &FREE,
            start,
            &mut deadline,
        )
        .await
    })
}

fn answering(ends: bool) -> TestUpstream {
    TestUpstream {
        status: 200,
        body: b"content",
        ends,
    }
}

#[test]
fn a_client_that_does_not_take_the_response_is_the_one_that_failed() {
    let in_all = Patience {
        stall: Duration::from_secs(60),
        total: Some(Duration::from_millis(1)),
        ..BRIEF
    };
    for (takes, patience) in [(0, BRIEF), (3, BRIEF), (3, in_all)] {
        let failure = run_with(TestClient::taking(takes), answering(true), patience)
            .expect_err("the client takes no more");
        assert!(
            matches!(failure.cause, Cause::Client(ClientError::Stalled)),
            "{failure:?}"
        );
        assert_eq!(
            (failure.so_far.status, failure.so_far.sent),
            (200, takes as u64)
        );
    }
}

#[test]
fn a_client_that_does_not_go_on_with_its_request_is_as_well() {
    let client = TestClient {
        asked: false,
        ..TestClient::taking(100)
    };
    let failure = run_with(client, answering(false), BRIEF).expect_err("nobody goes on");
    assert!(
        matches!(failure.cause, Cause::Client(ClientError::Stalled)),
        "{failure:?}"
    );
}

#[test]
fn an_upstream_that_does_not_go_on_with_its_response_is_the_one_that_failed() {
    let failure =
        run_with(TestClient::taking(100), answering(false), BRIEF).expect_err("it does not end");
    assert!(matches!(failure.cause, Cause::Timeout), "{failure:?}");
    assert_eq!(failure.so_far.sent, 7);
    run_with(TestClient::taking(100), answering(true), BRIEF).expect("all of it");
}
