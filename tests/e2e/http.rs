//! The HTTP API of a running node.

use harness::PATIENCE;
use harness::agent::Agent;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// Where the agent says that its API is.
pub(crate) async fn address_of(agent: &Agent) -> String {
    let line = agent.stderr().expect("the API's address", PATIENCE, |l| l.contains("page=http://")).await;
    let rest = line.split("page=http://").nth(1).unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

/// One request on a connection of its own.
pub(crate) async fn get(address: &str, path: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap_or_else(|e| panic!("{address}: {e}"));
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("{path}: no head"));
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = bytes[end + 4..].to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunked(&body);
    }
    Answer { status, head, body }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = bytes.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap().trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 2 + size + 2..];
    }
    whole
}

pub(crate) async fn get_json(address: &str, path: &str) -> Value {
    let answer = get(address, path).await;
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|e| panic!("{path}: {e}: {}", String::from_utf8_lossy(&answer.body)))
}

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
    harness::eventually("a picture", PATIENCE, async || {
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
    assert!(agent.wait(PATIENCE).await.success());
}

#[tokio::test]
async fn a_second_node_on_the_same_port_or_store_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Agent::run(&config(folder.path(), "127.0.0.1:0"));
    let address = address_of(&first).await;
    let other = tempfile::tempdir().unwrap();
    let mut same_port = Agent::run(&config(other.path(), &address));
    assert_eq!(same_port.wait(PATIENCE).await.code(), Some(69));
    same_port
        .stderr()
        .expect("the address in the error", PATIENCE, |l| l.starts_with("error:") && l.contains(&address))
        .await;
    let mut same_store = Agent::run(&config(folder.path(), "127.0.0.1:0"));
    assert_eq!(same_store.wait(PATIENCE).await.code(), Some(69));
    same_store
        .stderr()
        .expect("the store in the error", PATIENCE, |l| l.starts_with("error:") && l.contains("agent.db"))
        .await;
    first.terminate();
    assert!(first.wait(PATIENCE).await.success());
}
