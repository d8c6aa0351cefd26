//! The HTTP API of a running node.

use harness::TIMEOUT;
use harness::agent::Agent;
pub(crate) use harness::api::{address_of, get, get_json};

fn config(folder: &std::path::Path, listen: &str) -> String {
    format!(
        "[node]\nsite = \"test\"\nid = \"board\"\n[[camera]]\nid = \"a\"\nsource = \"test:\"\n[http]\nlisten = \"{listen}\"\n[store]\npath = \"{}\"\n",
        folder.join("agent.db").display()
    )
}

#[tokio::test]
async fn the_page_the_picture_the_figures_and_the_events_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Agent::run(&config(folder.path(), "127.0.0.1:0"));
    let address = address_of(&agent).await;
    harness::eventually("a picture", TIMEOUT, async || {
        let answer = get(&address, "/v1/sources/a/frame.jpg").await;
        (answer.status == 200 && answer.body.starts_with(&[0xff, 0xd8])).then_some(())
    })
    .await;
    let page = get(&address, "/").await;
    assert_eq!(page.status, 200);
    assert!(page.head.to_ascii_lowercase().contains("content-security-policy"), "{}", page.head);
    assert!(!String::from_utf8_lossy(&page.body).contains("https://"), "no foreign hosts");
    let metrics = String::from_utf8(get(&address, "/metrics").await.body).unwrap();
    assert!(metrics.lines().any(|l| l.starts_with("aimass_") && l.contains("source=\"a\"")), "{metrics}");
    assert_eq!(get(&address, "/v1/sources/nobody/frame.jpg").await.status, 404);
    assert_eq!(get(&address, "/v1/events?wrong=1").await.status, 400);
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
}

#[tokio::test]
async fn a_second_node_on_the_same_port_or_store_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Agent::run(&config(folder.path(), "127.0.0.1:0"));
    let address = address_of(&first).await;
    let other = tempfile::tempdir().unwrap();
    let mut same_port = Agent::run(&config(other.path(), &address));
    assert_eq!(same_port.wait(TIMEOUT).await.code(), Some(69));
    same_port
        .stderr()
        .expect("the address in the error", TIMEOUT, |l| l.starts_with("error:") && l.contains(&address))
        .await;
    let mut same_store = Agent::run(&config(folder.path(), "127.0.0.1:0"));
    assert_eq!(same_store.wait(TIMEOUT).await.code(), Some(69));
    same_store
        .stderr()
        .expect("the store in the error", TIMEOUT, |l| l.starts_with("error:") && l.contains("agent.db"))
        .await;
    first.terminate();
    assert!(first.wait(TIMEOUT).await.success());
}
