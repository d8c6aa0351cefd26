//! The page: a few files, embedded. It uses nothing but the public API.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The paths that are answered without a token.
pub(super) const PATHS: [&str; 5] = ["/", "/app.js", "/events.js", "/overlay.js", "/style.css"];

const SCRIPT: &str = "text/javascript; charset=utf-8";

fn asset(kind: &'static str, text: &'static str) -> Response {
    // A browser may keep them, but must ask again: another version of the program has other files.
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}

pub(super) async fn index() -> Response {
    asset("text/html; charset=utf-8", include_str!("assets/index.html"))
}

pub(super) async fn app() -> Response {
    asset(SCRIPT, include_str!("assets/app.js"))
}

pub(super) async fn events() -> Response {
    asset(SCRIPT, include_str!("assets/events.js"))
}

pub(super) async fn overlay() -> Response {
    asset(SCRIPT, include_str!("assets/overlay.js"))
}

pub(super) async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("assets/style.css"))
}
