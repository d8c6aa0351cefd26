//! The live picture: newest frame, encoded once, for a limited number of viewers.

use tokio_stream::StreamExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;

async fn watch(node: &Node, query: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(node.address).await.unwrap();
    let address = format!("ws://{}/v1/sources/dock/live{query}", node.address);
    expect(client_async(address, stream)).await.unwrap().0
}

/// The next caption and its picture.
async fn next(socket: &mut WebSocketStream<TcpStream>) -> (serde_json::Value, Vec<u8>) {
    let mut message = async || loop {
        match expect(socket.next()).await.unwrap().unwrap() {
            Message::Ping(_) => continue,
            other => return other,
        }
    };
    let caption = message().await;
    let picture = message().await;
    (serde_json::from_str(caption.to_text().unwrap()).unwrap(), picture.into_data().to_vec())
}

fn encoded(metrics: &[u8]) -> u64 {
    let text = std::str::from_utf8(metrics).unwrap();
    let line = text.lines().find(|l| l.starts_with("aimass_http_encoded_pictures_total ")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_websocket_brings_a_caption_and_then_the_picture_of_the_newest_frame() {
    let node = Node::start().await;
    node.dock.show_overlay(Overlay {
        frame: 6,
        motion: true,
        tracks: vec![OverlayTrack {
            id: 17,
            label: "person".into(),
            score: 0.91,
            region: Region { x: 0.25, y: 0.5, w: 0.125, h: 0.25 },
            path: vec![Point { x: 0.5, y: 0.5 }],
            points: vec![],
            zones: vec![name("bay")],
        }],
        states: BTreeMap::from([("line/door/in".to_owned(), 12.into())]),
    });
    node.dock.show_frame(frame(7, (320, 240)));
    let mut socket = watch(&node, "?max_side=200&fps=30").await;
    let (caption, picture) = next(&mut socket).await;
    assert_eq!((caption["frame"].as_u64(), caption["overlay_frame"].as_u64()), (Some(7), Some(6)));
    assert_eq!(caption["tracks"][0]["region"]["x"], 0.25);
    assert_eq!(caption["tracks"][0]["path"][0], serde_json::json!([0.5, 0.5]));
    assert_eq!(caption["states"]["line/door/in"], 12);
    assert_eq!(image::load_from_memory(&picture).unwrap().width(), 160);
    // Three come at once; the last of them is what is shown.
    for seq in 8..=10 {
        node.dock.show_frame(frame(seq, (320, 240)));
    }
    assert_eq!(next(&mut socket).await.0["frame"], 10);
}

#[tokio::test]
async fn a_frame_is_encoded_once_for_all_and_not_at_all_when_nobody_looks() {
    let node = Node::start().await;
    for seq in 0..50 {
        node.dock.show_frame(frame(seq, (320, 240)));
    }
    assert_eq!(encoded(&node.get("/metrics").await.body), 0);
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(watch(&node, "").await);
    }
    for socket in &mut sockets {
        assert_eq!(next(socket).await.0["frame"], 49);
    }
    node.get("/v1/sources/dock/frame.jpg").await;
    assert_eq!(encoded(&node.get("/metrics").await.body), 1);
}

#[tokio::test]
async fn without_an_upgrade_the_picture_is_mjpeg() {
    let node = Node::start().await;
    node.dock.show_frame(frame(1, (64, 48)));
    let mut stream = node.send("/v1/sources/dock/live?fps=30", "").await;
    let mut bytes = Vec::new();
    let count = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).filter(|w| *w == what).count();
    for seq in 2..=4 {
        while count(&bytes, &[0xFF, 0xD9, b'\r', b'\n']) < seq as usize - 1 {
            assert!(expect(stream.read_buf(&mut bytes)).await.unwrap() > 0);
        }
        node.dock.show_frame(frame(seq, (64, 48)));
    }
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("multipart/x-mixed-replace; boundary=aimass-frame"));
    assert_eq!(count(&bytes, b"--aimass-frame\r\ncontent-type: image/jpeg\r\ncontent-length: "), 3);
}

#[tokio::test]
async fn viewers_are_limited_and_their_places_come_back() {
    let node = Node::start().await;
    let mut sockets = Vec::new();
    for _ in 0..MAX_VIEWERS {
        sockets.push(watch(&node, "").await);
    }
    let message = node.get("/v1/sources/dock/live").await.error(503, "too_many_viewers");
    assert!(message.contains("16"));
    drop(sockets);
    expect(async {
        while !String::from_utf8(node.get("/metrics").await.body).unwrap().contains("viewers_count 0\n") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    watch(&node, "").await;
}

#[tokio::test]
async fn a_viewer_that_reads_nothing_holds_nobody_up() {
    let node = Node::start().await;
    let _dead = (watch(&node, "?fps=30").await, node.send("/v1/sources/dock/live?fps=30", "").await);
    let mut quick = watch(&node, "?fps=30").await;
    for seq in 0..40 {
        node.dock.show_frame(frame(seq, (640, 480)));
        assert_eq!(next(&mut quick).await.0["frame"], seq);
    }
}

#[tokio::test]
async fn viewers_are_told_when_the_source_is_gone_and_when_the_node_stops() {
    let mut node = Node::start().await;
    node.dock.show_frame(frame(1, (64, 48)));
    let mut socket = watch(&node, "").await;
    next(&mut socket).await;
    let gone = std::mem::replace(
        &mut node.dock,
        Arc::new(SourceView::new(name("yard"), SourceFacts::default(), Timestamp::UNIX_EPOCH)),
    );
    node.node.sources.send_replace(Arc::new(vec![]));
    drop(gone);
    let reason = async |socket: &mut WebSocketStream<TcpStream>| loop {
        if let Message::Close(Some(close)) = expect(socket.next()).await.unwrap().unwrap() {
            return close.reason.to_string();
        }
    };
    assert_eq!(reason(&mut socket).await, "the source is gone");

    let node = Node::start().await;
    let mut socket = watch(&node, "").await;
    node.stop.cancel();
    assert_eq!(reason(&mut socket).await, "the node stops");
    expect(node.task).await.unwrap();
}
