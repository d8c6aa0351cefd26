//! Every way to a broker that sites use, and several brokers.

use aimass_mqtt::{BrokerConfig, LinkErrorKind};
use harness::broker::{Broker, BrokerSetup};
use harness::certificates::Certificates;
use harness::ports::{free_port, listens};
use harness::subscriber::Subscriber;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::memory_outbox::MemoryOutbox;
use crate::rig::{Rig, SOON, config, seqs};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_carries_everything() {
    let web = free_port();
    let broker =
        BrokerSetup::new().line(&format!("listener {web} 127.0.0.1\nprotocol websockets")).start().await;
    listens(web).await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let rig = Rig::at(&format!("ws://127.0.0.1:{web}"));
    rig.outbox.accept_many(300);
    rig.outbox.accept_with("dock", 100_000);
    rig.outbox.drained_to(0, SOON).await;
    let all = subscriber.expect_all("301 events", SOON, |all| seqs(all).len() == 301).await;
    assert!(seqs(&all).is_sorted());
    assert!(rig.link.status().borrow().url.ends_with("/mqtt"));
    assert_eq!(rig.link.stop(SOON).await.undelivered, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_with_tls_carries_everything_and_an_unknown_ca_is_named() {
    let web = free_port();
    let folder = tempfile::tempdir().unwrap();
    let c = Certificates::make(folder.path());
    let listener = format!(
        "listener {web} 127.0.0.1\nprotocol websockets\ncertfile {}\nkeyfile {}",
        c.server.display(),
        c.server_key.display()
    );
    let _broker = BrokerSetup::new().line(&listener).start().await;
    listens(web).await;
    let url = format!("wss://localhost:{web}/mqtt");
    let other = Certificates::make(&folder.path().join("other"));
    let rig = Rig::with(BrokerConfig { ca_file: Some(other.ca), ..config(&url) }, MemoryOutbox::new());
    let error = rig.status("an error", |s| s.last_error.is_some()).await.last_error.unwrap();
    assert_eq!(error.kind(), LinkErrorKind::Tls, "{error}");
    assert!(error.to_string().contains("ca_file"), "{error}");
    let rig = Rig::with(BrokerConfig { ca_file: Some(c.ca), ..config(&url) }, MemoryOutbox::new());
    rig.outbox.accept_many(50);
    rig.outbox.drained_to(0, SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_server_without_a_broker_is_named() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let read = client.read(&mut request).await.unwrap_or(0);
            assert!(request[..read].starts_with(b"GET /mqtt HTTP/1.1"));
            client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        }
    });
    let rig = Rig::at(&format!("ws://127.0.0.1:{port}"));
    let error = rig.status("an error", |s| s.last_error.is_some()).await.last_error.unwrap();
    server.abort();
    assert_eq!(error.kind(), LinkErrorKind::WebServer, "{error}");
    assert!(error.to_string().contains("404") && error.to_string().contains("path"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_first_broker_is_away_the_next_one_is_taken_and_the_status_says_which() {
    let nobody = format!("mqtt://127.0.0.1:{}", free_port());
    let mut second = Broker::plain().await;
    let third = Broker::plain().await;
    let several = BrokerConfig { fallback_urls: vec![second.url(), third.url()], ..config(&nobody) };
    let rig = Rig::with(several, MemoryOutbox::new());
    assert_eq!(rig.online().await.url, second.url());
    rig.outbox.accept_many(20);
    rig.outbox.drained_to(0, SOON).await;
    second.kill().await;
    rig.status("the third one", |s| s.state == aimass_mqtt::LinkState::Online && s.url == third.url()).await;
    rig.outbox.accept_many(20);
    rig.outbox.drained_to(0, SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_full_round_the_first_broker_is_tried_again() {
    let mut first = Broker::plain().await;
    first.stop().await;
    let nobody = format!("mqtt://127.0.0.1:{}", free_port());
    let rig = Rig::with(
        BrokerConfig { fallback_urls: vec![nobody.clone()], ..config(&first.url()) },
        MemoryOutbox::new(),
    );
    rig.status("the second one is tried", |s| s.url == nobody && s.last_error.is_some()).await;
    first.start().await;
    assert_eq!(rig.online().await.url, first.url());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_sees_the_client_id_that_is_set() {
    let broker = Broker::plain().await;
    let named = BrokerConfig { client_id: Some("gate.7".into()), ..config(&broker.url()) };
    let _rig = Rig::with(named, MemoryOutbox::new());
    broker.log().unwrap().expect("the client id", SOON, |l| l.contains("as gate.7 ")).await;
}
