//! The node under a service manager: ready, watchdog, restarted when a part hangs, stopped cleanly.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use harness::TIMEOUT;
use harness::broker::Broker;
use harness::proxy::Proxy;
use harness::service::Service;
use harness::subscriber::{Message, Subscriber};

use crate::bikes;
use crate::clip_config;
use crate::delivery::{arrived, stored};

/// Short for a test, long for a machine that is busy with other tests.
const WATCHDOG: Duration = Duration::from_secs(8);

#[tokio::test]
async fn the_service_manager_is_notified_of_ready_watchdog_and_stopping() {
    let broker = Broker::plain().await;
    let folder = tempfile::tempdir().unwrap();
    let config = clip_config(&broker.url(), &folder.path().join("agent.db"), "test:");
    let mut service = Service::start(&config, WATCHDOG, &[]);
    service.until_ready().await;
    service.agent.stderr().expect("it runs when it says so", TIMEOUT, |l| l.contains("The node runs")).await;
    // Three intervals: a test picture, an idle store and an idle broker must not trip the watchdog.
    assert_eq!(service.watch(3 * WATCHDOG).await, None, "{:?}", service.notifications());
    assert!(
        service.notifications().iter().filter(|t| *t == "WATCHDOG=1").count() >= 3,
        "{:?}",
        service.notifications()
    );
    assert!(
        service.notifications().iter().any(|t| t == "STATUS=1 source, broker online"),
        "{:?}",
        service.notifications()
    );
    assert!(service.stop().await.success());
    let notifications = service.notifications();
    let at = |what: &str| {
        notifications.iter().position(|t| t == what).unwrap_or_else(|| panic!("{what} in {notifications:?}"))
    };
    assert!(at("READY=1") < at("WATCHDOG=1") && at("WATCHDOG=1") < at("STOPPING=1"), "{notifications:?}");
}

#[tokio::test]
async fn an_analyzer_that_hangs_ends_in_a_restart_and_no_accepted_event_is_lost() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let way = Proxy::to(broker.port()).await;
    way.set(|b| b.refuse = true).await;
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("agent.db");
    let config = clip_config(&way.url(), &store, &bikes("?realtime=false"));

    let mut service = Service::start(&config, WATCHDOG, &[("AIMASS_TEST_HANG_ANALYZER", "street:40")]);
    service.until_ready().await;
    let end = service.watch(2 * TIMEOUT).await;
    let log = service.agent.stderr().tail();
    assert_eq!(end.and_then(|e| e.signal()), Some(6), "the watchdog bites; it logged:\n{log}");
    assert!(log.contains("This analyzer hangs"), "{log}");
    assert!(
        service.notifications().iter().any(|t| t == "STATUS=no sign of life of an-street"),
        "{:?}",
        service.notifications()
    );
    let accepted = stored(&store);
    assert!(!accepted.is_empty(), "events before the hang; it logged:\n{log}");

    service.start_again(&[]);
    service.until_ready().await;
    way.set(|b| b.refuse = false).await;
    let everything = |all: &[Message]| accepted.keys().all(|seq| arrived(all).contains_key(seq));
    subscriber.expect_all("what was accepted before the hang", 2 * TIMEOUT, everything).await;
    service.agent.stderr().expect("the clip's end", 2 * TIMEOUT, |l| l.contains("source has ended")).await;
    assert!(service.stop().await.success());

    let expected = stored(&store);
    let ids = |id: &String| expected.values().filter(|e| *e == id).count();
    assert!(accepted.iter().all(|(seq, id)| expected.get(seq) == Some(id) && ids(id) == 1));
    let all = subscriber.expect_all("all events", TIMEOUT, |all| arrived(all).len() >= expected.len()).await;
    assert_eq!(arrived(&all), expected);
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for event in all.iter().filter(|m| m.topic.contains("/event/")) {
        *times.entry(event.json()["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert!(times.values().all(|n| *n == 1), "once each by id: {times:?}");
}
