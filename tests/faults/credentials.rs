//! Cells: certificates whose time is over or has not come, and a password that is changed.

use aimass_core::runtime::files::write_atomically;
use harness::broker::BrokerSetup;
use harness::certificates::Validity;

use crate::rig::Rig;

/// A broker whose certificate is no good now is named with the reason; a renewed one is believed without a restart
/// of the agent.
async fn is_named_and_healed(validity: Validity, words: &[&str]) {
    let broker = BrokerSetup::new().tls_valid(validity).side_door().start().await;
    let (port, ca) = (broker.side_port(), broker.certificates().ca.clone());
    let mut rig = Rig::with(broker, port).await;
    // The certificate is for localhost.
    rig.url = Some(format!("mqtts://localhost:{}", rig.way.port()));
    rig.broker_lines.push_str(&format!("ca_file = \"{}\"\n", ca.display()));
    let accepted = rig.fill(200).await;
    let agent = rig.agent();
    let said = Rig::says(&agent, "No connection to the broker").await;
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
    let tries = rig.way.connections();
    assert!(tries < 10, "{tries} tries until the first word: a tight loop");
    rig.broker.stop().await;
    rig.broker.renew_certificates();
    rig.broker.start().await;
    rig.subscriber.wait_subscribed(2).await;
    rig.settle(agent, &accepted).await;
}

#[tokio::test]
async fn an_expired_certificate_is_reported_and_a_renewed_one_accepted_without_a_restart() {
    is_named_and_healed(Validity::Expired, &["expired", "clock"]).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_yet_valid_is_reported_with_the_clock() {
    is_named_and_healed(Validity::NotYet, &["not valid yet", "clock"]).await;
}

#[tokio::test]
async fn a_changed_password_locks_the_node_out_until_its_file_changes_too() {
    let broker = BrokerSetup::new().user("board", "old").user("desk", "desk").start().await;
    let port = broker.port();
    let subscriber = harness::subscriber::Subscriber::as_user(port, crate::rig::ALL, "desk", "desk").await;
    let way = harness::proxy::Proxy::to(port).await;
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    write_atomically(&password, b"new\n").unwrap();
    let broker_lines =
        format!("username = \"board\"\npassword_file = \"{}\"\nconnect_timeout_s = 2\n", password.display());
    let delivery = harness::delivery::DeliveryCheck::new();
    let (more, url, store) = (String::new(), None, None);
    let mut rig = Rig { broker, way, subscriber, delivery, folder, broker_lines, more, url, store };
    let accepted = rig.fill(100).await;
    let agent = rig.agent();
    let said = Rig::says(&agent, "No connection to the broker").await;
    assert!(said.contains("board") && said.contains("password_file"), "{said}");
    assert!(!said.contains("new\n"), "{said}");
    write_atomically(&password, b"old\n").unwrap();
    rig.settle(agent, &accepted).await;
}
