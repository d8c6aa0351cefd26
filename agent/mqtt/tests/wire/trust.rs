//! Who is let in, and whom we trust.

use aimass_core::runtime::files::write_atomically;
use aimass_mqtt::{BrokerConfig, LinkErrorKind};
use harness::broker::{Broker, BrokerSetup};
use harness::certificates::Certificates;
use harness::ports::free_port;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::memory_outbox::MemoryOutbox;
use crate::rig::{Rig, SOON, config};

async fn fails(config: BrokerConfig, kind: LinkErrorKind) -> (Rig, String) {
    let rig = Rig::with(config, MemoryOutbox::new());
    let status = rig.status("an error", |s| s.last_error.is_some()).await;
    let error = status.last_error.unwrap();
    assert_eq!(error.kind(), kind, "{error}");
    (rig, error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_named_and_the_right_one_is_read_again_without_a_restart() {
    let broker = BrokerSetup::new().user("dock", "right").start().await;
    let file = broker.folder().join("secret");
    write_atomically(&file, b"wrong\n").unwrap();
    let config = BrokerConfig {
        username: Some("dock".into()),
        password_file: Some(file.clone()),
        ..config(&broker.url())
    };
    // Mosquitto calls a wrong password "not authorised".
    let (rig, said) = fails(config, LinkErrorKind::NotAuthorised).await;
    assert!(said.contains("\"dock\"") && said.contains("password_file") && !said.contains("wrong"), "{said}");
    write_atomically(&file, b"right\n").unwrap();
    rig.online().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_file_that_is_missing_is_named() {
    let broker = Broker::plain().await;
    let config = BrokerConfig {
        username: Some("dock".into()),
        password_file: Some("/nowhere/secret".into()),
        ..config(&broker.url())
    };
    let (_rig, said) = fails(config, LinkErrorKind::File).await;
    assert!(said.contains("password_file") && said.contains("/nowhere/secret"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_the_right_ca_delivers() {
    let broker = BrokerSetup::new().tls().start().await;
    let config = BrokerConfig { ca_file: Some(broker.certificates().ca.clone()), ..config(&broker.url()) };
    let rig = Rig::with(config, MemoryOutbox::new());
    rig.outbox.accept_many(50);
    rig.outbox.drained_to(0, SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_the_wrong_ca_is_refused_by_us() {
    let broker = BrokerSetup::new().tls().start().await;
    let other = Certificates::make(&broker.folder().join("other"));
    let config = BrokerConfig { ca_file: Some(other.ca), ..config(&broker.url()) };
    let (rig, said) = fails(config, LinkErrorKind::Tls).await;
    assert!(said.contains("ca_file"), "{said}");
    assert_eq!(rig.link.status().borrow().published_total, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_another_name_is_refused_by_us() {
    let broker = BrokerSetup::new().tls_for("other.example").start().await;
    let config = BrokerConfig { ca_file: Some(broker.certificates().ca.clone()), ..config(&broker.url()) };
    let (_rig, said) = fails(config, LinkErrorKind::Tls).await;
    assert!(said.contains("another name"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_asks_for_a_certificate_gets_ours_or_the_error_says_what_to_set() {
    let broker = BrokerSetup::new().client_certificates().start().await;
    let c = broker.certificates();
    let without = BrokerConfig { ca_file: Some(c.ca.clone()), ..config(&broker.url()) };
    let (rig, said) = fails(without.clone(), LinkErrorKind::Tls).await;
    assert!(said.contains("cert_file"), "{said}");
    drop(rig);
    let with =
        BrokerConfig { cert_file: Some(c.client.clone()), key_file: Some(c.client_key.clone()), ..without };
    Rig::with(with, MemoryOutbox::new()).online().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_to_a_plain_port_is_named() {
    let broker = Broker::plain().await;
    let ca = Certificates::make(&broker.folder().join("tls")).ca;
    let config =
        BrokerConfig { ca_file: Some(ca), ..config(&format!("mqtts://localhost:{}", broker.port())) };
    let (_rig, said) = fails(config, LinkErrorKind::Tls).await;
    assert!(said.contains("TLS port"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_does_not_exist_is_named() {
    fails(config("mqtts://no-such-host.invalid"), LinkErrorKind::Dns).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_speaks_only_the_old_version_is_named() {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let broker = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            // CONNACK of MQTT 3.1.1: unacceptable protocol version.
            client.write_all(&[0x20, 0x02, 0x00, 0x01]).await.unwrap();
        }
    });
    let (_rig, said) =
        fails(config(&format!("mqtt://127.0.0.1:{port}")), LinkErrorKind::ProtocolVersion).await;
    assert!(said.contains("MQTT 5"), "{said}");
    broker.abort();
}
