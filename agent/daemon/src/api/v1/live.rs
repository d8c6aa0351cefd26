//! The live picture of a source: single frames, MJPEG, or WebSocket with what was found.
//!
//! Invariant: a viewer takes the newest frame when it is ready for one; nothing queues up for it, and nobody
//! waits for it. Each viewer is one task that holds one of [`crate::api::MAX_VIEWERS`] permits.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::frame::Frame;
use aimass_protocol::api::Caption;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;

use super::sources::{Id, find_camera};
use crate::api::error::ApiError;
use crate::api::{App, MAX_VIEWERS, Shared, query};
use crate::pipeline::views::{Overlay, SourceView};

/// Frames a second for a viewer that asks for nothing else.
const DEFAULT_FPS: f32 = 10.0;
const FPS: std::ops::RangeInclusive<f32> = 0.1..=30.0;
const SIDES: std::ops::RangeInclusive<u32> = 16..=16_384;
/// A peer that vanished without a word is found out when this cannot be delivered.
const PING_EVERY: Duration = Duration::from_secs(15);
const BOUNDARY: &str = "aimass-frame";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StillQuery {
    max_side: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LiveQuery {
    fps: Option<f32>,
    max_side: Option<u32>,
    /// Read by the guard.
    #[serde(rename = "token")]
    _token: Option<String>,
}

fn check_side(max_side: Option<u32>) -> Result<Option<u32>, ApiError> {
    match max_side {
        Some(side) if !SIDES.contains(&side) => {
            Err(ApiError::bad_query(format!("max_side: give {} to {} pixels", SIDES.start(), SIDES.end())))
        }
        side => Ok(side),
    }
}

pub(in crate::api) async fn still(State(app): Shared, Id(id): Id, uri: Uri) -> Result<Response, ApiError> {
    let max_side = check_side(query::parse::<StillQuery>(&uri)?.max_side)?;
    let source = find_camera(&app, &id)?;
    let Some(frame) = source.frames().borrow().clone() else {
        let status = source.status();
        let why = status.error.map(|e| format!(": {e}")).unwrap_or_default();
        let message = format!("no frame of this source yet, it is {}{why}", status.state);
        return Err(ApiError::unavailable("no_frame", message));
    };
    let (seq, time) = (frame.seq, frame.capture_time.wall);
    let encoded = app.pictures.get(&app.node, frame, max_side).await?;
    let headers = [
        ("content-type", "image/jpeg".to_owned()),
        ("x-frame", seq.to_string()),
        ("x-frame-time", format!("{time:.3}")),
    ];
    Ok((headers, encoded.jpeg).into_response())
}

pub(in crate::api) async fn live(
    State(app): Shared,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let asked: LiveQuery = query::parse(&uri)?;
    let fps = asked.fps.unwrap_or(DEFAULT_FPS);
    if !FPS.contains(&fps) {
        return Err(ApiError::bad_query(format!("fps: give {} to {}", FPS.start(), FPS.end())));
    }
    let max_side = check_side(asked.max_side)?;
    let source = find_camera(&app, &id)?;
    let viewer = |app: &Arc<App>| {
        let permit = app.viewers.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{MAX_VIEWERS} viewers are watching already: try again later");
            ApiError::unavailable("too_many_viewers", message)
        })?;
        Ok(Viewer::new(app.clone(), &source, fps, max_side, permit))
    };
    match upgrade {
        Ok(upgrade) => {
            let viewer = viewer(&app)?;
            let answer = upgrade
                .max_message_size(1024)
                .on_upgrade(move |socket| app.streams.clone().track_future(viewer.talk(socket)));
            Ok(answer)
        }
        Err(rejection) if headers.contains_key(header::UPGRADE) => {
            Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_upgrade", rejection.body_text()))
        }
        Err(_) => {
            let (parts, body) = mpsc::channel(3);
            app.streams.spawn(viewer(&app)?.send_parts(parts));
            let kind = format!("multipart/x-mixed-replace; boundary={BOUNDARY}");
            Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(ReceiverStream::new(body))).into_response())
        }
    }
}

/// Somebody who watches a source.
struct Viewer {
    app: Arc<App>,
    frames: watch::Receiver<Option<Frame>>,
    overlays: watch::Receiver<Arc<Overlay>>,
    pace: Interval,
    max_side: Option<u32>,
    shown: Option<(u64, Duration)>,
    _permit: OwnedSemaphorePermit,
}

impl Viewer {
    fn new(
        app: Arc<App>,
        source: &SourceView,
        fps: f32,
        max_side: Option<u32>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let mut pace = interval(Duration::from_secs_f32(1.0 / fps));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Viewer {
            app,
            frames: source.frames(),
            overlays: source.overlays(),
            pace,
            max_side,
            shown: None,
            _permit: permit,
        }
    }

    /// The newest frame, once the viewer may have another; `None` when the source is gone.
    async fn next(&mut self) -> Option<Frame> {
        self.pace.tick().await;
        loop {
            let newest = self.frames.borrow_and_update().clone();
            if let Some(frame) = newest {
                let key = (frame.seq, frame.capture_time.elapsed);
                if self.shown.replace(key) != Some(key) {
                    return Some(frame);
                }
            }
            self.frames.changed().await.ok()?;
        }
    }

    async fn jpeg(&self, frame: Frame) -> Option<Bytes> {
        match self.app.pictures.get(&self.app.node, frame, self.max_side).await {
            Ok(encoded) => Some(encoded.jpeg),
            Err(error) => {
                tracing::warn!(error = error.message, "a viewer's picture could not be encoded");
                None
            }
        }
    }

    async fn send_parts(mut self, parts: mpsc::Sender<Result<Bytes, Infallible>>) {
        loop {
            // Room for a whole part means that the last one was taken: only then is the newest frame chosen.
            let stop = self.app.stop.clone();
            let frame = tokio::select! {
                () = stop.cancelled() => return,
                () = parts.closed() => return,
                frame = async {
                    parts.reserve_many(3).await.ok()?;
                    self.next().await
                } => frame,
            };
            let Some(frame) = frame else { return };
            let Some(jpeg) = self.jpeg(frame).await else {
                return;
            };
            let head =
                format!("--{BOUNDARY}\r\ncontent-type: image/jpeg\r\ncontent-length: {}\r\n\r\n", jpeg.len());
            for bytes in [Bytes::from(head), jpeg, Bytes::from_static(b"\r\n")] {
                if parts.send(Ok(bytes)).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn talk(mut self, mut socket: WebSocket) {
        let stop = self.app.stop.clone();
        let mut ping = interval(PING_EVERY);
        let farewell = loop {
            let frame = tokio::select! {
                () = stop.cancelled() => break "the node stops",
                heard = socket.recv() => match heard {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => continue,
                },
                _ = ping.tick() => {
                    if socket.send(Message::Ping(Bytes::new())).await.is_err() {
                        return;
                    }
                    continue;
                }
                frame = self.next() => frame,
            };
            let Some(frame) = frame else {
                break "the source is gone";
            };
            let Some(caption) = self.caption(&frame) else {
                break "the caption could not be written";
            };
            let Some(jpeg) = self.jpeg(frame).await else {
                break "the picture could not be encoded";
            };
            for message in [Message::Text(caption.into()), Message::Binary(jpeg)] {
                let sent = tokio::select! {
                    () = stop.cancelled() => return,
                    sent = socket.send(message) => sent,
                };
                if sent.is_err() {
                    return;
                }
            }
        };
        let close = CloseFrame { code: close_code::AWAY, reason: farewell.into() };
        socket.send(Message::Close(Some(close))).await.ok();
    }

    fn caption(&self, frame: &Frame) -> Option<String> {
        let overlay = self.overlays.borrow().clone();
        let caption = Caption {
            frame: frame.seq,
            time: frame.capture_time.wall,
            width: frame.picture.width(),
            height: frame.picture.height(),
            overlay_frame: overlay.frame,
            motion: overlay.motion,
            tracks: Cow::Borrowed(&overlay.tracks),
            states: Cow::Borrowed(&overlay.states),
        };
        serde_json::to_string(&caption).ok()
    }
}
