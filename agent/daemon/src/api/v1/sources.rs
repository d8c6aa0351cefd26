//! What can be seen of the sources: `/v1/sources` and `/v1/sources/{id}`.

use std::sync::Arc;

use aimass_protocol::api::{Source, Sources, Stream};
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::api::error::ApiError;
use crate::api::{App, Shared, query};
use crate::health::document::HealthDocument;
use crate::pipeline::views::{SourceKind, SourceView};

fn document(source: &SourceView, health: &HealthDocument) -> Source {
    let stream = source.stream().map(|s| Stream {
        width: s.width,
        height: s.height,
        fps: s.fps,
        description: s.description,
    });
    let facts = source.facts();
    Source {
        id: source.id.to_string(),
        kind: facts.kind,
        status: source.status(),
        stream,
        chain: facts.chain.clone(),
        shapes: facts.shapes.clone(),
        motion: source.motion.load(std::sync::atomic::Ordering::Relaxed),
        metrics: health.sources.iter().find(|h| h.id == source.id.as_str()).cloned(),
    }
}

/// The source that a path names. What is no text names no source.
pub(in crate::api) struct Id(pub(in crate::api) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let id = Path::<String>::from_request_parts(parts, state).await;
        id.map(|Path(id)| Id(id)).map_err(|_| unknown())
    }
}

fn unknown() -> ApiError {
    let message = "there is no source of this name: /v1/sources lists them";
    ApiError::new(StatusCode::NOT_FOUND, "unknown_source", message)
}

pub(in crate::api) fn find(app: &App, id: &str) -> Result<Arc<SourceView>, ApiError> {
    app.node.source(id).ok_or_else(unknown)
}

/// The camera of this name: who asks for pictures gets none of a microphone.
pub(in crate::api) fn find_camera(app: &App, id: &str) -> Result<Arc<SourceView>, ApiError> {
    let source = find(app, id)?;
    if source.facts().kind == SourceKind::Microphone {
        let message =
            "this source is a microphone: it has no pictures, and its sound does not leave the node";
        return Err(ApiError::new(StatusCode::NOT_FOUND, "no_pictures", message));
    }
    Ok(source)
}

pub(in crate::api) async fn list(State(app): Shared, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let sources = app.node.sources();
    let health = app.node.health();
    let documents = sources.iter().map(|s| document(s, &health)).collect();
    let list = Sources { site: health.site.clone(), node: health.node.clone(), sources: documents };
    Ok(Json(list).into_response())
}

pub(in crate::api) async fn one(State(app): Shared, Id(id): Id, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let source = find(&app, &id)?;
    let health = app.node.health();
    Ok(Json(document(&source, &health)).into_response())
}
