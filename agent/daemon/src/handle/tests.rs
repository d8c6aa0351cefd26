//! Requests without a controller, with a slow one, and with one that ends.

use aimass_core::runtime::clock::{Clock, SystemClock};

use super::testing::{TestNode, record};
use super::*;
use crate::pipeline::views::{SourceFacts, SourceView};

fn dock() -> Arc<SourceView> {
    let now = SystemClock::new().wall();
    Arc::new(SourceView::new("dock".parse().unwrap(), SourceFacts::default(), now))
}

#[tokio::test]
async fn a_request_is_executed_and_its_outcome_returned() {
    let (_node, handle, requests) = TestNode::new(vec![dock()], None);
    let done = record(requests);
    assert_eq!(handle.restart_source("dock".parse().unwrap()).await, Ok(()));
    assert_eq!(handle.set_analysed("dock".parse().unwrap(), false).await, Ok(()));
    assert_eq!(*done.lock().unwrap(), ["restart dock", "analyse dock false"]);
}

#[tokio::test]
async fn a_source_that_does_not_exist_is_refused_before_it_reaches_the_controller() {
    let (_node, handle, mut requests) = TestNode::new(vec![dock()], None);
    let error = handle.restart_source("yard".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), "unknown_source");
    assert!(error.to_string().contains("dock"), "{error}");
    assert!(requests.try_recv().is_err(), "nothing was sent");
}

#[tokio::test]
async fn a_full_queue_is_busy_and_a_controller_that_ends_is_stopping() {
    let (_node, handle, requests) = TestNode::new(vec![], None);
    let waiting: Vec<_> = (0..REQUEST_QUEUE)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.open_sources().await })
        })
        .collect();
    // The queue is full as soon as each of them was polled once.
    while handle.requests.capacity() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(handle.close_sources().await, Err(RequestError::Busy));
    drop(requests);
    for outcome in waiting {
        assert_eq!(outcome.await.unwrap(), Err(RequestError::Stopping));
    }
    assert_eq!(handle.reload().await, Err(RequestError::Stopping));
}
