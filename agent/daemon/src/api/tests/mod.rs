//! A real listener, a fake node behind it, and a client that speaks bare HTTP.

mod api;
mod follow;
mod watch;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::event::{Event, EventData, Kind, Phase, Severity};
use aimass_core::frame::{CaptureTime, Frame, Picture, TimeSource};
use aimass_core::geometry::{Point, Polygon, Region};
use aimass_core::id::Name;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::http::HttpConfig;
use crate::handle::testing::TestNode;
use crate::pipeline::views::{Overlay, OverlayTrack, Shape, Shapes, SourceFacts, SourceView};

/// Fails the test when something takes far too long.
async fn expect<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it takes too long")
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn event(seq: u64, source: &str, kind: Kind) -> Event {
    Event {
        schema: 2,
        id: ulid::Ulid::from_parts(seq, 1),
        boot: ulid::Ulid::nil(),
        seq,
        replay: false,
        clock_synchronized: true,
        site: name("warehouse-1"),
        node: name("dock-3"),
        config_version: 7,
        what: EventData {
            time: Timestamp::from_second(1_700_000_000 + seq as i64).unwrap(),
            time_source: TimeSource::Clock,
            source: name(source),
            kind,
            phase: Phase::Began,
            severity: Severity::Info,
            label: "person".into(),
            score: Some(0.9),
            region: None,
            track: Some(seq),
            occurrence_id: None,
            zone: None,
            line: None,
            attributes: BTreeMap::new(),
            model: None,
            evidence: None,
        },
    }
}

/// A picture of one colour.
fn frame(seq: u64, size: (u32, u32)) -> Frame {
    let rgb = [200, 40, 50].repeat((size.0 * size.1) as usize);
    Frame {
        source: name("dock"),
        seq,
        capture_time: CaptureTime {
            wall: Timestamp::from_second(1_700_000_000).unwrap(),
            wall_source: TimeSource::Clock,
            elapsed: Duration::from_millis(seq),
        },
        picture: Picture::from_rgb(size, rgb).unwrap(),
    }
}

/// A server and the node that it shows.
struct Node {
    address: SocketAddr,
    node: TestNode,
    dock: Arc<SourceView>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Node {
    async fn start() -> Self {
        Self::with(HttpConfig { listen: "127.0.0.1:0".parse().unwrap(), ..HttpConfig::default() }).await
    }

    async fn with(config: HttpConfig) -> Self {
        let corners = |points: &[[f32; 2]]| Polygon(points.iter().copied().map(Point::from).collect());
        let shapes = Shapes {
            zones: vec![Shape { id: name("bay"), points: corners(&[[0.0, 0.0], [0.5, 0.0], [0.5, 1.0]]) }],
            lines: vec![Shape { id: name("door"), points: corners(&[[0.1, 0.6], [0.9, 0.6]]) }],
            masks: vec![],
        };
        let chain = vec!["detect".to_owned()];
        let facts = SourceFacts { fps_wanted: 5.0, chain, shapes, ..SourceFacts::default() };
        let dock = Arc::new(SourceView::new(name("dock"), facts, Timestamp::UNIX_EPOCH));
        let (node, handle, _requests) = TestNode::new(vec![dock.clone()], None);
        let server = bind(&config).await.unwrap();
        let stop = CancellationToken::new();
        let address = server.address();
        let task = tokio::spawn(server.run(handle, stop.clone()));
        Node { address, node, dock, stop, task }
    }

    /// Stores an event, then announces it.
    fn accept(&self, event: Event) {
        self.node.history.events.lock().unwrap().push(event.clone());
        self.node.events.send(Arc::new(event)).ok();
    }

    /// Puts a problem into the health, or removes it.
    fn set_healthy(&self, healthy: bool) {
        let mut health = self.node.health.lock().unwrap();
        health.healthy = healthy;
        health.problems = if healthy { vec![] } else { vec!["dock: stalled".to_owned()] };
    }

    /// Sends a request; `more` are further header lines, each with its line end.
    async fn send(&self, path: &str, more: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let host = if more.contains("Host:") { String::new() } else { format!("Host: {}\r\n", self.address) };
        let request = format!("GET {path} HTTP/1.1\r\n{host}{more}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// The whole answer.
    async fn get_with(&self, path: &str, more: &str) -> Answer {
        let mut stream = self.send(path, more).await;
        let mut bytes = Vec::new();
        expect(stream.read_to_end(&mut bytes)).await.unwrap();
        Answer::from(&bytes)
    }

    async fn get(&self, path: &str) -> Answer {
        self.get_with(path, "").await
    }
}

/// An answer with a content-length.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn from(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("an end of the head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: bytes[end + 4..].to_vec() }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Checks that this is an error as documented, and returns its message.
    fn error(&self, status: u16, kind: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.json()["error"]["kind"], kind);
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }
}
