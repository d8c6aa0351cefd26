//! The HTTP API and the page: what people and programs on this machine can see of the node.
//!
//! One task accepts connections; each connection and each viewer is a task of its own, all on the tokio
//! runtime, JPEG encoding on its blocking threads. Invariant: everything here reads [`crate::pipeline::views`] and
//! nothing waits for it: a slow viewer loses pictures and is told how many events it missed. All queues are
//! one or two dozen entries long, connections and viewers are counted and limited.
//!
//! Any path but the page's own files asks for the token when there is one. `?token=` is accepted for
//! the live picture alone, because a browser's WebSocket and video players cannot set headers.

mod auth;
mod error;
mod jpeg_cache;
mod page;
mod query;
mod server;
#[cfg(test)]
mod tests;
mod v1;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use error::{HttpError, HttpErrorKind};
pub use server::{Server, bind, serve};

use crate::handle::NodeHandle;
use crate::health::metrics::{self, HttpFigures};
use error::ApiError;
use jpeg_cache::Pictures;
use v1::{events, live, sources};

/// People who watch live pictures at the same time.
pub const MAX_VIEWERS: usize = 16;
/// Programs that follow the events at the same time.
pub const MAX_FOLLOWERS: usize = 32;

/// What the routes share.
pub(crate) struct App {
    node: NodeHandle,
    pictures: Pictures,
    viewers: Arc<Semaphore>,
    followers: Arc<Semaphore>,
    missed_events: AtomicU64,
    /// Streams that outlive the function that answered.
    streams: TaskTracker,
    stop: CancellationToken,
}

type Shared = State<Arc<App>>;

impl App {
    fn new(node: NodeHandle, stop: CancellationToken) -> Self {
        App {
            node,
            pictures: Pictures::default(),
            viewers: Arc::new(Semaphore::new(MAX_VIEWERS)),
            followers: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
            missed_events: AtomicU64::new(0),
            streams: TaskTracker::new(),
            stop,
        }
    }

    fn figures(&self) -> HttpFigures {
        HttpFigures {
            viewers: MAX_VIEWERS - self.viewers.available_permits(),
            followers: MAX_FOLLOWERS - self.followers.available_permits(),
            missed_events_total: self.missed_events.load(Ordering::Relaxed),
            pictures_total: self.pictures.encoded_total(),
        }
    }
}

fn routes(app: Arc<App>, guard: auth::Guard) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/app.js", get(page::app))
        .route("/events.js", get(page::events))
        .route("/overlay.js", get(page::overlay))
        .route("/style.css", get(page::style))
        .route("/healthz", get(healthz))
        .route("/metrics", get(prometheus))
        .route("/v1/sources", get(sources::list))
        .route("/v1/sources/{id}", get(sources::one))
        .route("/v1/sources/{id}/frame.jpg", get(live::still))
        .route("/v1/sources/{id}/live", get(live::live))
        .route("/v1/events", get(events::events))
        .fallback(nowhere)
        .with_state(app)
        .layer(axum::middleware::from_fn_with_state(Arc::new(guard), auth::pass))
}

async fn healthz(State(app): Shared, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let health = app.node.health();
    let status = if health.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, axum::Json(health)).into_response())
}

async fn prometheus(State(app): Shared, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let text = metrics::render(&app.node.health(), &app.figures());
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn nowhere() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "nothing is here: the API is under /v1, the page at /")
}
