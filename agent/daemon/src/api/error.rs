//! What goes wrong while serving, and what clients are told: always JSON with a kind and a message.

use std::io;
use std::net::SocketAddr;

use aimass_protocol::api::ErrorResponse;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::config::http::HttpConfigError;

/// What kind of thing keeps the server from serving, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpErrorKind {
    /// The configuration asks for what cannot be (exit code 65).
    Config,
    /// The address cannot be had now (exit code 69).
    Unavailable,
}

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] HttpConfigError),
    /// The address cannot be had.
    #[error("http: cannot listen on {address}: {}", bind_problem(.source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
}

impl HttpError {
    /// For programs.
    pub fn kind(&self) -> HttpErrorKind {
        match self {
            HttpError::Config(_) => HttpErrorKind::Config,
            HttpError::Bind { .. } => HttpErrorKind::Unavailable,
        }
    }
}

fn bind_problem(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program uses this port: stop it, or set http.listen to another port".into()
        }
        io::ErrorKind::PermissionDenied => {
            "no permission for this port: set http.listen to a port above 1023".into()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have this address: set http.listen to one that it has".into()
        }
        _ => error.to_string(),
    }
}

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        ApiError { status, kind, message: message.into() }
    }

    pub(super) fn bad_query(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_query", message)
    }

    pub(super) fn unavailable(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorResponse::new(self.kind, self.message))).into_response()
    }
}
