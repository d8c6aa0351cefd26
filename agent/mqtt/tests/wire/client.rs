//! One errand through a real broker: publish, wait, leave.

use aimass_core::runtime::clock::SystemClock;
use aimass_mqtt::client::{OneShot, Outgoing};
use aimass_mqtt::{BrokerConfig, LinkError, LinkErrorKind};
use harness::broker::{Broker, BrokerSetup};
use harness::ports::free_port;
use harness::subscriber::Subscriber;

use crate::rig::SOON;

async fn connect(config: &BrokerConfig, client_id: &str) -> Result<OneShot, LinkError> {
    OneShot::connect(config, client_id.into(), SystemClock::shared(), true).await
}

fn message(topic: &str, payload: &str) -> Outgoing {
    Outgoing { topic: topic.into(), payload: payload.into(), ..Outgoing::default() }
}

#[tokio::test]
async fn what_was_acknowledged_is_with_the_broker_for_those_who_come_later() {
    let broker = Broker::plain().await;
    let mut shot = connect(&BrokerConfig::new(broker.url()), "errand").await.unwrap();
    shot.publish(Outgoing { retain: true, ..message("a/desired", "signed") }).await.unwrap();
    shot.close().await;
    let later = Subscriber::on(broker.port(), "a/#").await;
    let kept = later.expect(|m| m.topic == "a/desired").within(SOON).await;
    assert_eq!((kept.payload.as_slice(), kept.retained), (b"signed".as_slice(), true));
}

#[tokio::test]
async fn an_answer_is_told_from_others_by_its_correlation() {
    let broker = Broker::plain().await;
    let config = BrokerConfig::new(broker.url());
    let mut asks = connect(&config, "asks").await.unwrap();
    let mut answers = connect(&config, "answers").await.unwrap();
    asks.subscribe("reply").await.unwrap();
    answers.subscribe("command").await.unwrap();
    let question = Outgoing {
        response_topic: Some("reply".into()),
        correlation: Some(b"42".to_vec()),
        ..message("command", "snapshot?")
    };
    asks.publish(question).await.unwrap();
    let asked = answers.expect(SOON, |m| m.topic == "command").await.unwrap().unwrap();
    assert_eq!(asked.correlation.as_deref(), Some(b"42".as_slice()));
    answers.publish(message("reply", "for somebody else")).await.unwrap();
    answers.publish(Outgoing { correlation: asked.correlation, ..message("reply", "yes") }).await.unwrap();
    let answer = asks.expect(SOON, |m| m.correlation.as_deref() == Some(b"42")).await.unwrap().unwrap();
    assert_eq!(answer.payload, b"yes");
    let other = asks.expect(SOON, |_| true).await.unwrap().unwrap();
    assert_eq!(other.payload, b"for somebody else", "what did not fit goes on waiting");
    let none = asks.expect(std::time::Duration::from_millis(50), |_| true).await.unwrap();
    assert_eq!(none, None);
}

#[tokio::test]
async fn a_broker_that_refuses_is_told_by_name() {
    let nobody = BrokerConfig::new(format!("mqtt://127.0.0.1:{}", free_port()));
    let error = connect(&nobody, "errand").await.err().unwrap();
    assert_eq!(error.kind(), LinkErrorKind::Refused);
    let strict = BrokerSetup::new().user("ops", "secret").acl("user ops\ntopic read #\n").start().await;
    let error = connect(&BrokerConfig::new(strict.url()), "errand").await.err().unwrap();
    assert!(matches!(error.kind(), LinkErrorKind::BadCredentials | LinkErrorKind::NotAuthorised), "{error}");
    let password = strict.folder().join("ops.password");
    aimass_core::runtime::files::write_atomically(&password, b"secret\n").unwrap();
    let mut config = BrokerConfig::new(strict.url());
    (config.username, config.password_file) = (Some("ops".into()), Some(password));
    let mut shot = connect(&config, "errand").await.unwrap();
    let error = shot.publish(message("a/desired", "x")).await.unwrap_err();
    // Some brokers hang up instead of answering; the message says what it was about all the same.
    let kinds = [LinkErrorKind::NotAuthorised, LinkErrorKind::Lost, LinkErrorKind::Protocol];
    assert!(kinds.contains(&error.kind()), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("a/desired") && text.contains("access list"), "{text}");
}
