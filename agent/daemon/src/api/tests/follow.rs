//! The stream of events: no gap, no double, and no pity with the slow.

use super::*;

/// Reads server-sent events, whatever the chunks they come in.
struct Feed {
    stream: TcpStream,
    text: String,
}

impl Feed {
    async fn open(node: &Node, query: &str, more: &str) -> Self {
        let mut feed =
            Feed { stream: node.send(&format!("/v1/events?{query}"), more).await, text: String::new() };
        let head = feed.until("\r\n\r\n").await;
        assert!(head.contains("200 OK") && head.contains("text/event-stream"), "{head}");
        feed
    }

    async fn until(&mut self, end: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            if let Some(at) = self.text.find(end) {
                let rest = self.text.split_off(at + end.len());
                return std::mem::replace(&mut self.text, rest);
            }
            let n = expect(self.stream.read(&mut bytes)).await.unwrap();
            assert!(n > 0, "the stream ended after {:?}", self.text);
            self.text.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
        }
    }

    /// The next event's fields, without chunk sizes and comments.
    async fn next(&mut self) -> (String, serde_json::Value) {
        loop {
            let block = self.until("\n\n").await;
            let field =
                |name: &str| block.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
            if let Some(data) = field("data:") {
                let id = field("id:").or(field("event:")).unwrap();
                return (id, serde_json::from_str(&data).unwrap());
            }
        }
    }
}

async fn settle(node: &Node, followers: usize) {
    let text = format!("aimass_http_followers_count {followers}\n");
    expect(async {
        while !String::from_utf8(node.get("/metrics").await.body).unwrap().contains(&text) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumed_stream_has_neither_gap_nor_double_while_events_are_accepted() {
    let node = Arc::new(Node::start().await);
    for seq in 1..=500 {
        node.accept(event(seq, "dock", Kind::Object));
    }
    // All the while, events are accepted at full speed: reading the log and listening overlap.
    let accepting = tokio::spawn({
        let node = node.clone();
        async move {
            for seq in 501..=3000 {
                node.accept(event(seq, "dock", Kind::Object));
                if seq % 8 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    let mut last = 100;
    // The client breaks off again and again and resumes where it was.
    while last < 3000 {
        let mut feed = Feed::open(&node, "follow=true", &format!("Last-Event-ID: {last}\r\n")).await;
        for _ in 0..400 {
            if last == 3000 {
                break;
            }
            let (id, data) = feed.next().await;
            if id == "missed" {
                // Allowed only to who fell behind while listening; resuming repairs it.
                break;
            }
            assert_eq!((id, data["seq"].as_u64().unwrap()), ((last + 1).to_string(), last + 1));
            last += 1;
        }
    }
    accepting.await.unwrap();
}

#[tokio::test]
async fn an_event_between_subscription_and_log_comes_once() {
    let node = Node::start().await;
    for seq in 1..=3 {
        node.accept(event(seq, "dock", Kind::Object));
    }
    let mut feed = Feed::open(&node, "after_seq=1", "Accept: text/event-stream\r\n").await;
    assert_eq!(feed.next().await.0, "2");
    assert_eq!(feed.next().await.0, "3");
    // Sent again, as if it had been announced late.
    node.node.events.send(Arc::new(event(3, "dock", Kind::Object))).unwrap();
    node.accept(event(4, "dock", Kind::Object));
    assert_eq!(feed.next().await.0, "4");
}

#[tokio::test]
async fn a_stream_brings_only_what_was_asked_for() {
    let node = Node::start().await;
    let mut feed = Feed::open(&node, "follow=true&source=dock&kind=line", "").await;
    node.accept(event(1, "dock", Kind::Object));
    node.accept(event(2, "yard", Kind::Line));
    node.accept(event(3, "dock", Kind::Line));
    assert_eq!(feed.next().await.0, "3");
}

#[tokio::test]
async fn who_reads_too_slowly_holds_nobody_up_and_is_told_how_many_it_missed() {
    let node = Node::start().await;
    let mut slow = Feed::open(&node, "follow=true", "").await;
    let mut quick = Feed::open(&node, "follow=true", "").await;
    // More than sockets and queues hold, and nobody reads `slow`.
    let mut big = event(0, "dock", Kind::Object);
    big.what.attributes.insert("note".into(), "x".repeat(40_000).into());
    for seq in 1..=600 {
        big.seq = seq;
        node.accept(big.clone());
        assert_eq!(quick.next().await.0, seq.to_string());
    }
    let (mut got, mut missed) = (0, 0);
    while got + missed < 600 {
        match slow.next().await {
            (id, data) if id == "missed" => missed += data["count"].as_u64().unwrap(),
            _ => got += 1,
        }
    }
    assert!(missed > 0 && got > 0 && got + missed == 600, "{got} {missed}");
}

#[tokio::test]
async fn a_resume_from_very_long_ago_gets_all_of_it_page_by_page() {
    let node = Node::start().await;
    let last = super::super::events::PAGE as u64 * 3 + 7;
    for seq in 1..=last {
        node.node.history.events.lock().unwrap().push(event(seq, "dock", Kind::Object));
    }
    let mut feed = Feed::open(&node, "after_seq=4&follow=true", "").await;
    let mut since = Feed::open(&node, "since=2023-11-14T22:13:25Z&follow=true", "").await;
    for seq in 5..=last {
        assert_eq!(feed.next().await.0, seq.to_string());
        assert_eq!(since.next().await.0, seq.to_string());
    }
    node.accept(event(last + 1, "dock", Kind::Object));
    assert_eq!(feed.next().await.0, (last + 1).to_string());
}

#[tokio::test]
async fn followers_are_limited_and_their_places_come_back() {
    let node = Node::start().await;
    let mut feeds = Vec::new();
    for _ in 0..MAX_FOLLOWERS {
        feeds.push(Feed::open(&node, "follow=true", "").await);
    }
    node.get("/v1/events?follow=true").await.error(503, "too_many_followers");
    drop(feeds);
    settle(&node, 0).await;
    Feed::open(&node, "follow=true", "").await;
}

#[tokio::test]
async fn the_stop_ends_streams_and_the_server() {
    let node = Node::start().await;
    let mut feed = Feed::open(&node, "follow=true", "").await;
    node.stop.cancel();
    expect(node.task).await.unwrap();
    let mut rest = Vec::new();
    expect(feed.stream.read_to_end(&mut rest)).await.unwrap();
}
