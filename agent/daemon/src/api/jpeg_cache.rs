//! Pictures for viewers: each frame is encoded once for all who look, on a blocking thread, and only if
//! somebody looks.
//!
//! Invariant: one encoding at a time for each source and size; whoever comes meanwhile waits for its result.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aimass_core::frame::Frame;
use axum::body::Bytes;

use super::error::ApiError;
use crate::handle::NodeHandle;
use aimass_media::jpeg;

/// A frame as JPEG.
#[derive(Clone)]
pub(super) struct Encoded {
    /// Which frame, with its place on the source's timeline.
    key: (u64, std::time::Duration),
    pub(super) jpeg: Bytes,
}

/// The latest encoding of one source at one size.
type Place = Arc<tokio::sync::Mutex<Option<Encoded>>>;

/// The latest encodings.
#[derive(Default)]
pub(super) struct Pictures {
    places: Mutex<HashMap<(String, u32), Place>>,
    encoded: AtomicU64,
}

impl Pictures {
    /// Pictures encoded so far.
    pub(super) fn encoded_total(&self) -> u64 {
        self.encoded.load(Ordering::Relaxed)
    }

    /// The frame as JPEG, no side longer than `max_side` pixels.
    pub(super) async fn get(
        &self,
        node: &NodeHandle,
        frame: Frame,
        max_side: Option<u32>,
    ) -> Result<Encoded, ApiError> {
        let (width, height) = (frame.picture.width(), frame.picture.height());
        let factor = max_side.map_or(1, |side| jpeg::factor_for(width, height, side));
        let place = self.place(node, frame.source.as_str(), factor);
        let mut latest = place.lock().await;
        let key = (frame.seq, frame.capture_time.elapsed);
        if let Some(ready) = latest.as_ref().filter(|e| e.key == key) {
            return Ok(ready.clone());
        }
        // The memory of the last picture serves again unless a viewer still holds it.
        let old = latest.take().and_then(|e| e.jpeg.try_into_mut().ok());
        let mut out: Vec<u8> = old.map(Vec::from).unwrap_or_default();
        let encoding = tokio::task::spawn_blocking(move || {
            jpeg::encode(&frame.picture, factor, jpeg::QUALITY, &mut out).map(|()| out)
        });
        let failed = |problem: String| ApiError::unavailable("not_encoded", problem);
        let out = encoding.await.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
        self.encoded.fetch_add(1, Ordering::Relaxed);
        let encoded = Encoded { key, jpeg: Bytes::from(out) };
        *latest = Some(encoded.clone());
        Ok(encoded)
    }

    fn place(&self, node: &NodeHandle, source: &str, factor: u32) -> Place {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (source.to_owned(), factor);
        if let Some(place) = places.get(&key) {
            return place.clone();
        }
        // Sources that are gone leave nothing behind.
        places.retain(|(id, _), _| node.source(id).is_some());
        places.entry(key).or_default().clone()
    }
}
