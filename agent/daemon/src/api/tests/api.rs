//! Every route that answers at once, and everybody who must not get an answer.

use super::*;

#[tokio::test]
async fn health_is_200_while_all_is_well_and_503_with_the_problems_otherwise() {
    let node = Node::start().await;
    let well = node.get("/healthz").await;
    assert_eq!((well.status, well.json()["node"].as_str()), (200, Some("dock-3")));
    node.set_healthy(false);
    let ill = node.get("/healthz").await;
    assert_eq!((ill.status, ill.json()["problems"][0].as_str()), (503, Some("dock: stalled")));
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let node = Node::start().await;
    let answer = node.get("/metrics").await;
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"));
    assert!(String::from_utf8(answer.body).unwrap().contains("aimass_http_viewers_count 0\n"));
}

#[tokio::test]
async fn sources_are_listed_and_shown_one_by_one() {
    let node = Node::start().await;
    let list = node.get("/v1/sources").await.json();
    assert_eq!((list["site"].as_str(), list["node"].as_str()), (Some("warehouse-1"), Some("dock-3")));
    let one = node.get("/v1/sources/dock").await.json();
    assert_eq!(list["sources"][0], one);
    assert_eq!(one["status"]["state"], "connecting");
    assert_eq!(one["shapes"]["lines"][0]["id"], "door");
    assert_eq!(one["metrics"]["frames_received_total"], 250);
    assert_eq!(one["stream"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_frame_is_a_jpeg_once_there_is_one() {
    let node = Node::start().await;
    node.dock.set_status(
        crate::pipeline::views::ConnectionState::Failed,
        Some("dock: wrong password".into()),
        Timestamp::UNIX_EPOCH,
    );
    let message = node.get("/v1/sources/dock/frame.jpg").await.error(503, "no_frame");
    assert!(message.contains("wrong password"), "{message}");
    node.dock.show_frame(frame(4, (640, 480)));
    for (query, width) in [("", 640), ("?max_side=320", 320), ("?max_side=300", 160)] {
        let answer = node.get(&format!("/v1/sources/dock/frame.jpg{query}")).await;
        assert!(answer.head.contains("image/jpeg") && answer.head.contains("no-store"), "{}", answer.head);
        assert!(answer.head.contains("x-frame: 4"));
        let picture = image::load_from_memory(&answer.body).unwrap().to_rgb8();
        assert_eq!(picture.width(), width);
        assert!(picture.get_pixel(20, 20).0[0].abs_diff(200) < 9);
    }
    node.get("/v1/sources/dock/frame.jpg?max_side=3").await.error(400, "bad_query");
    node.get("/v1/sources/door/frame.jpg").await.error(404, "unknown_source");
}

#[tokio::test]
async fn events_are_listed_by_every_condition() {
    let node = Node::start().await;
    for seq in 1..=9 {
        let (source, kind) = if seq % 2 == 0 { ("yard", Kind::Line) } else { ("dock", Kind::Object) };
        node.accept(event(seq, source, kind));
    }
    let seqs = async |query: &str| {
        let answer = node.get(&format!("/v1/events{query}")).await.json();
        answer["events"].as_array().unwrap().iter().map(|e| e["seq"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(seqs("").await, (1..=9).collect::<Vec<_>>());
    let text = String::from_utf8(node.get("/v1/events?limit=1").await.body).unwrap();
    assert!(text.contains("\"score\":0.9,"), "{text}");
    assert_eq!(seqs("?limit=2").await, [8, 9]);
    assert_eq!(seqs("?after_seq=5&limit=2").await, [6, 7]);
    assert_eq!(seqs("?source=yard&kind=line").await, [2, 4, 6, 8]);
    assert_eq!(seqs("?since=2023-11-14T22:13:27Z").await, [7, 8, 9]);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_the_reason() {
    let node = Node::start().await;
    for (path, says) in [
        ("/v1/events?sauce=dock", "sauce"),
        ("/v1/events?limit=0", "1 to 1000"),
        ("/v1/events?limit=many", "limit"),
        ("/v1/events?kind=cat", "cat"),
        ("/v1/events?source=../x", "name"),
        ("/v1/events?since=yesterday", "since"),
        ("/v1/events?follow=true&limit=3", "no end"),
        ("/v1/sources/dock/live?fps=0", "0.1 to 30"),
        ("/v1/sources/dock/live?fps=NaN", "0.1 to 30"),
        ("/v1/sources?x=1", "x"),
        ("/healthz?x=1", "x"),
    ] {
        let message = node.get(path).await.error(400, "bad_query");
        assert!(message.contains(says), "{path}: {message}");
    }
    node.get_with("/v1/events?follow=true", "Last-Event-ID: x\r\n").await.error(400, "bad_query");
    node.get_with("/healthz", "Content-Length: 3\r\n").await.error(413, "body_refused");
    node.get_with("/v1/sources/dock/live", "Upgrade: websocket\r\n").await.error(400, "bad_upgrade");
}

#[tokio::test]
async fn no_path_leads_out_of_the_api() {
    let node = Node::start().await;
    for path in [
        "/../../etc/passwd",
        "/v1/sources/../../../etc/passwd",
        "/v1/sources/..%2f..%2fetc%2fpasswd",
        "/v1/sources/%2e%2e/frame.jpg",
        "/v1/sources/%ff",
        "/assets/app.js",
        "/app.js/",
        "/v2",
    ] {
        let answer = node.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.json()["error"]["kind"].is_string());
    }
}

#[tokio::test]
async fn the_page_is_there_and_names_no_foreign_host() {
    let node = Node::start().await;
    for (path, kind) in [("/", "text/html"), ("/app.js", "text/javascript"), ("/style.css", "text/css")] {
        let answer = node.get(path).await;
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains(&format!("content-type: {kind}; charset=utf-8")));
        for header in ["content-security-policy: default-src 'self'", "x-content-type-options: nosniff"] {
            assert!(answer.head.contains(header), "{path}: {header}");
        }
        assert!(!answer.head.contains("access-control"));
        let text = String::from_utf8(answer.body).unwrap();
        assert!(text.len() > 1000 && !text.contains("//cdn") && !text.contains("https://"), "{path}");
        for danger in ["innerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!text.contains(danger), "{path}: {danger}");
        }
    }
}

#[tokio::test]
async fn names_of_other_machines_are_not_answered_on_loopback() {
    let node = Node::start().await;
    for host in ["localhost", "LOCALHOST:9000", "127.0.0.1:8642", "[::1]:80", "[::1]"] {
        assert_eq!(node.get_with("/healthz", &format!("Host: {host}\r\n")).await.status, 200, "{host}");
    }
    for host in ["evil.example", "evil.example:8642", "127.0.0.1.evil.example", "localhost:x", "", "10.0.0.1"]
    {
        node.get_with("/healthz", &format!("Host: {host}\r\n")).await.error(403, "wrong_host");
    }
}

#[tokio::test]
async fn pages_of_other_origins_get_nothing_not_even_over_websocket() {
    let node = Node::start().await;
    let ours = format!("Origin: http://{}\r\n", node.address);
    assert_eq!(node.get_with("/v1/sources", &ours).await.status, 200);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for origin in ["http://evil.example", "null", "http://localhost.evil.example", "http://localhost:1"] {
        let more = format!("Origin: {origin}\r\n{upgrade}");
        node.get_with("/v1/sources/dock/live", &more).await.error(403, "wrong_origin");
    }
}

#[tokio::test]
async fn with_a_token_only_the_empty_page_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    aimass_core::runtime::files::write_atomically(&path, b"s3cret&s3cret+s3cret\n").unwrap();
    let listen = "0.0.0.0:0".parse().unwrap();
    let mut node = Node::with(HttpConfig { listen, token_file: Some(path) }).await;
    node.address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    node.dock.show_frame(frame(1, (64, 48)));
    for free in super::super::page::PATHS {
        assert_eq!(node.get(free).await.status, 200);
    }
    let good = "Host: dock-3.example\r\nAuthorization: Bearer s3cret&s3cret+s3cret\r\n";
    for path in
        ["/healthz", "/metrics", "/v1/sources", "/v1/sources/dock/frame.jpg", "/v1/events", "/nowhere"]
    {
        node.get(path).await.error(401, "unauthorised");
        node.get(&format!("{path}?token=s3cret%26s3cret%2Bs3cret")).await.error(401, "unauthorised");
        for bad in ["Bearer s3cret", "Basic s3cret&s3cret+s3cret", "s3cret&s3cret+s3cret", "Bearer "] {
            let more = format!("Authorization: {bad}\r\n");
            node.get_with(path, &more).await.error(401, "unauthorised");
        }
        assert_ne!(node.get_with(path, good).await.status, 401, "{path}");
    }
    node.get("/v1/sources/dock/live?token=wrong").await.error(401, "unauthorised");
    let mut live = node.send("/v1/sources/dock/live?token=s3cret%26s3cret%2Bs3cret", "").await;
    let mut begin = [0; 15];
    expect(live.read_exact(&mut begin)).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let node = Node::start().await;
    let config = HttpConfig { listen: node.address, token_file: None };
    let error = bind(&config).await.err().unwrap();
    assert_eq!(error.kind(), HttpErrorKind::Unavailable);
    assert!(
        error.to_string().contains(&node.address.to_string())
            && error.to_string().contains("another program")
    );
}

#[tokio::test]
async fn other_methods_are_refused() {
    let node = Node::start().await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream
        .write_all(b"DELETE /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    expect(stream.read_to_end(&mut bytes)).await.unwrap();
    Answer::from(&bytes).error(405, "bad_method");
}
