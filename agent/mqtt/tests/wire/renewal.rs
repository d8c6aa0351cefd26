//! Certificates and passwords that are renewed, or are out of their time.

use std::time::Duration;

use aimass_core::runtime::files::write_atomically;
use aimass_mqtt::{BrokerConfig, Extras, LinkErrorKind};
use harness::broker::BrokerSetup;
use harness::certificates::Validity;
use harness::subscriber::Subscriber;

use crate::memory_outbox::MemoryOutbox;
use crate::rig::{Rig, SOON, config};

fn eager() -> Extras {
    Extras { files_every: Duration::from_millis(20), ..Extras::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_taken_without_a_will_and_without_a_loss() {
    let broker = BrokerSetup::new().client_certificates().start().await;
    let c = broker.certificates();
    let (cert, key) = (broker.folder().join("own.pem"), broker.folder().join("own.key"));
    let put = |from: &std::path::Path, to: &std::path::Path| {
        write_atomically(to, &std::fs::read(from).unwrap()).unwrap();
    };
    put(&c.client, &cert);
    put(&c.client_key, &key);
    let config = BrokerConfig {
        ca_file: Some(c.ca.clone()),
        cert_file: Some(cert.clone()),
        key_file: Some(key.clone()),
        ..config(&broker.url())
    };
    let rig = Rig::with_extras(config, MemoryOutbox::new(), eager(), |_| {});
    rig.online().await;
    // Half of a pair does not fit: the connection stays.
    put(&c.renewed_client.1, &key);
    rig.outbox.accept_many(300);
    rig.outbox.drained_to(0, SOON).await;
    assert_eq!(rig.link.status().borrow().reconnects, 0);
    put(&c.renewed_client.0, &cert);
    rig.status("a connection with the new pair", |s| s.reconnects == 1).await;
    rig.outbox.accept_many(300);
    rig.outbox.drained_to(0, SOON).await;
    let log = broker.log().unwrap();
    log.expect("the link said goodbye", SOON, |l| l.contains("Received DISCONNECT from aimass-site-node"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_password_is_used_at_once_and_no_will_is_published() {
    let broker = BrokerSetup::new().user("dock", "one").user("eyes", "open").start().await;
    let file = broker.folder().join("secret");
    write_atomically(&file, b"one").unwrap();
    let subscriber = Subscriber::as_user(broker.port(), "aimass/v1/site/node/status", "eyes", "open").await;
    let config = BrokerConfig {
        username: Some("dock".into()),
        password_file: Some(file.clone()),
        ..config(&broker.url())
    };
    let rig = Rig::with_extras(config, MemoryOutbox::new(), eager(), |_| {});
    rig.online().await;
    write_atomically(&file, b"two").unwrap();
    let error = rig.status("the new one is tried", |s| s.last_error.is_some()).await.last_error.unwrap();
    assert_eq!(error.kind(), LinkErrorKind::NotAuthorised, "{error}");
    write_atomically(&file, b"one").unwrap();
    rig.status("the right one again", |s| s.reconnects == 1).await;
    let online = |all: &[harness::subscriber::Message]| {
        all.iter().filter(|m| m.json()["state"] == "online").count() >= 2
    };
    let all = subscriber.expect_all("two births", SOON, online).await;
    assert!(all.iter().all(|m| m.json()["state"] != "offline"), "a will was published: {all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_s_expired_certificate_is_named_with_what_the_clock_says() {
    for (validity, said) in [
        (Validity::Expired, "has expired at 2002-01-01"),
        (Validity::NotYet, "is not valid yet, not before 2091-01-01"),
    ] {
        let broker = BrokerSetup::new().tls_valid(validity).start().await;
        for (clock_ok, remedy) in
            [(true, "and is synchronised"), (false, "is NOT synchronised: set the clock")]
        {
            let config =
                BrokerConfig { ca_file: Some(broker.certificates().ca.clone()), ..config(&broker.url()) };
            let extras = Extras { clock_ok: Box::new(move || clock_ok), ..Extras::default() };
            let rig = Rig::with_extras(config, MemoryOutbox::new(), extras, |_| {});
            let error = rig.status("an error", |s| s.last_error.is_some()).await.last_error.unwrap();
            assert_eq!(error.kind(), LinkErrorKind::CertificateTime, "{error}");
            let text = error.to_string();
            assert!(
                text.contains("the broker's certificate") && text.contains(said) && text.contains(remedy),
                "{text}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_expired_certificate_is_named_as_ours() {
    let broker = BrokerSetup::new().client_certificates().start().await;
    let c = broker.certificates();
    let (cert, key) = c.expired_client.clone();
    let config = BrokerConfig {
        ca_file: Some(c.ca.clone()),
        cert_file: Some(cert),
        key_file: Some(key),
        ..config(&broker.url())
    };
    let rig = Rig::with(config, MemoryOutbox::new());
    let error = rig.status("an error", |s| s.last_error.is_some()).await.last_error.unwrap();
    assert_eq!(error.kind(), LinkErrorKind::CertificateTime, "{error}");
    assert!(error.to_string().contains("our certificate (cert_file) has expired"), "{error}");
}
