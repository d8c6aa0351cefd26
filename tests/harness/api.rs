//! The agent's HTTP API over plain sockets, so that a test sees the bytes that a client sees.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::TIMEOUT;
use crate::agent::Agent;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The code.
    pub status: u16,
    /// The head as it came.
    pub head: String,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

/// Where the agent says that its API is.
///
/// # Panics
/// It does not say so.
pub async fn address_of(agent: &Agent) -> String {
    let line = agent.stderr().expect("the API's address", TIMEOUT, |l| l.contains("page=http://")).await;
    let rest = line.split("page=http://").nth(1).unwrap_or_default();
    rest.split_whitespace().next().unwrap_or_default().to_owned()
}

/// One request on a connection of its own.
///
/// # Panics
/// There is no answer, or none that is HTTP.
#[expect(clippy::unwrap_used, reason = "test harness: a failure here is the test's failure")]
pub async fn get(address: &str, path: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap_or_else(|e| panic!("{address}: {e}"));
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("{path}: no head"));
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = bytes[end + 4..].to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunked(&body);
    }
    Answer { status, head, body }
}

#[expect(clippy::unwrap_used, reason = "test harness: a failure here is the test's failure")]
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

/// The same for what answers in JSON.
///
/// # Panics
/// It is none.
pub async fn get_json(address: &str, path: &str) -> Value {
    let answer = get(address, path).await;
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|e| panic!("{path}: {e}: {}", String::from_utf8_lossy(&answer.body)))
}

/// One source of `/healthz`.
///
/// # Panics
/// The node has no such source.
pub async fn source_health(address: &str, id: &str) -> Value {
    let health = get_json(address, "/healthz").await;
    let found = health["sources"].as_array().and_then(|all| all.iter().find(|s| s["id"] == id).cloned());
    found.unwrap_or_else(|| panic!("no source {id} in {health}"))
}
