//! The events: a list from the log, or a stream that goes on (SSE).
//!
//! Invariant: a stream that resumes has neither gap nor double. It subscribes first, reads the log second,
//! and then leaves out what it sent already; this needs the log to show every event that was announced. A
//! reader that falls more than [`crate::pipeline::views::LIVE_EVENTS`] behind is told how many it missed.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aimass_core::event::{Event, Kind};
use aimass_core::id::Name;
use aimass_protocol::api::{ErrorResponse, EventsPage, MissedEvents};
use aimass_store::{EventQuery, StoreError};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::api::error::ApiError;
use crate::api::{App, MAX_FOLLOWERS, Shared, query};

/// Events of a list that asks for no number.
const DEFAULT_LIMIT: usize = 100;
/// The most events of a list.
const MAX_LIMIT: usize = 1000;
/// Past events that a stream takes from the log at a time.
pub(in crate::api) const PAGE: usize = 256;
/// The log is on disk: it answers within this, or the request fails.
const LOG_WITHIN: Duration = Duration::from_secs(10);
/// Messages that wait for a reader, besides what the sockets hold.
const QUEUE: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    since: Option<Timestamp>,
    after_seq: Option<u64>,
    limit: Option<usize>,
    source: Option<Name>,
    kind: Option<Kind>,
    #[serde(default)]
    follow: bool,
}

type Messages = mpsc::Sender<Result<sse::Event, Infallible>>;

pub(in crate::api) async fn events(
    State(app): Shared,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let asked: EventsQuery = query::parse(&uri)?;
    let accepts_stream = headers
        .get(header::ACCEPT)
        .and_then(|a| a.to_str().ok())
        .is_some_and(|a| a.split(',').any(|kind| kind.trim().starts_with("text/event-stream")));
    if asked.follow || accepts_stream {
        return follow(app, asked, &headers);
    }
    let limit = asked.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::bad_query(format!("limit: give 1 to {MAX_LIMIT}")));
    }
    let EventsQuery { since, after_seq, source, kind, .. } = asked;
    let query = EventQuery { since, after_seq: after_seq.unwrap_or(0), limit, source, kind };
    let events = match after_seq {
        Some(_) => within_time(app.node.events(query)).await?,
        None => within_time(app.node.newest_events(query)).await?,
    };
    Ok(Json(EventsPage { events }).into_response())
}

async fn within_time<T>(read: impl Future<Output = Result<T, StoreError>>) -> Result<T, ApiError> {
    let failed = |problem| ApiError::unavailable("log_unavailable", format!("the event log: {problem}"));
    match tokio::time::timeout(LOG_WITHIN, read).await {
        Ok(answer) => answer.map_err(|e| failed(e.to_string())),
        Err(_) => Err(failed(format!("no answer within {} s", LOG_WITHIN.as_secs()))),
    }
}

fn follow(app: Arc<App>, asked: EventsQuery, headers: &HeaderMap) -> Result<Response, ApiError> {
    if asked.limit.is_some() {
        return Err(ApiError::bad_query("limit: a stream has no end, leave it out"));
    }
    let resumed = match headers.get("last-event-id") {
        Some(id) => {
            let seq = id.to_str().ok().and_then(|id| id.parse().ok());
            Some(seq.ok_or_else(|| ApiError::bad_query("last-event-id: give the seq of an event"))?)
        }
        None => asked.after_seq,
    };
    let permit = app.followers.clone().try_acquire_owned().map_err(|_| {
        let message = format!("{MAX_FOLLOWERS} programs follow the events already: try again later");
        ApiError::unavailable("too_many_followers", message)
    })?;
    let (messages, body) = mpsc::channel(QUEUE);
    // A reader that names a time gets the log from its beginning.
    let resumed = resumed.or(asked.since.map(|_| 0));
    let follower = Follower {
        // Subscribed before the log is read, so that no event falls between.
        news: app.node.subscribe_events(),
        sent: resumed,
        wanted: EventQuery {
            since: asked.since,
            after_seq: resumed.unwrap_or(0),
            limit: PAGE,
            source: asked.source,
            kind: asked.kind,
        },
        app: app.clone(),
        messages,
        _permit: permit,
    };
    app.streams.spawn(follower.run());
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(ReceiverStream::new(body)).keep_alive(keep_alive).into_response())
}

/// A client that follows the events.
struct Follower {
    app: Arc<App>,
    news: broadcast::Receiver<Arc<Event>>,
    /// The latest `seq` that it has; `None` if it has none and wants new events only.
    sent: Option<u64>,
    /// What it wants, after the latest that it has.
    wanted: EventQuery,
    messages: Messages,
    _permit: OwnedSemaphorePermit,
}

/// The reader is gone, or the server stops.
struct Over;

impl Follower {
    async fn run(mut self) {
        let stop = self.app.stop.clone();
        tokio::select! {
            () = stop.cancelled() => (),
            _over = self.work() => (),
        }
    }

    async fn work(&mut self) -> Result<Infallible, Over> {
        let mut catching_up = self.sent.is_some();
        if catching_up {
            self.send_log().await?;
        }
        let messages = self.messages.clone();
        loop {
            let news = tokio::select! {
                () = messages.closed() => return Err(Over),
                news = self.news.recv() => news,
            };
            match news {
                Ok(event) => {
                    catching_up = false;
                    if self.wants(&event) {
                        self.send(&event).await?;
                    }
                }
                // While the log was read more came than waits for a reader: the log has it.
                Err(RecvError::Lagged(_)) if catching_up => self.send_log().await?,
                Err(RecvError::Lagged(count)) => self.send_missed(count).await?,
                Err(RecvError::Closed) => return Err(Over),
            }
        }
    }

    fn wants(&self, event: &Event) -> bool {
        let w = &self.wanted;
        event.seq > w.after_seq
            && w.since.is_none_or(|since| event.what.time >= since)
            && w.source.as_ref().is_none_or(|source| event.what.source == *source)
            && w.kind.is_none_or(|kind| event.what.kind == kind)
    }

    /// Sends what the log has beyond the latest that was sent, to its end.
    async fn send_log(&mut self) -> Result<(), Over> {
        loop {
            let events = match within_time(self.app.node.events(self.wanted.clone())).await {
                Ok(events) => events,
                Err(error) => {
                    let failed = ErrorResponse::new(error.kind, error.message);
                    self.document("failed", &failed).await?;
                    return Err(Over);
                }
            };
            for event in &events {
                self.send(event).await?;
            }
            if events.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// `count` events, or fewer of those that this reader wants, will not come.
    async fn send_missed(&mut self, count: u64) -> Result<(), Over> {
        self.app.missed_events.fetch_add(count, Ordering::Relaxed);
        self.document("missed", &MissedEvents { count, after_seq: self.sent }).await
    }

    async fn document(&self, name: &str, document: &impl Serialize) -> Result<(), Over> {
        let text = serde_json::to_string(document).unwrap_or_default();
        self.message(sse::Event::default().event(name).data(text)).await
    }

    async fn send(&mut self, event: &Event) -> Result<(), Over> {
        self.sent = Some(event.seq);
        self.wanted.after_seq = event.seq;
        let Ok(text) = serde_json::to_string(event) else {
            return Ok(());
        };
        self.message(sse::Event::default().id(event.seq.to_string()).data(text)).await
    }

    async fn message(&self, message: sse::Event) -> Result<(), Over> {
        self.messages.send(Ok(message)).await.map_err(|_| Over)
    }
}
