//! Who may ask: looked at before any route, for every request.
//!
//! Invariant: without a token only names of this very machine are answered (no DNS rebinding), and a page of
//! another origin gets nothing, not even over WebSocket, which browsers do not protect by themselves.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use crate::config::http::Token;

const POLICY: &str = "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// What every answer says to browsers.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// What a request must fulfil.
pub(super) struct Guard {
    /// Where the server listens.
    pub(super) listen: SocketAddr,
    /// What requests must carry.
    pub(super) token: Option<Token>,
}

/// Lets a request pass or answers it, and adds the headers that browsers heed.
pub(super) async fn pass(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = match guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

impl Guard {
    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let headers = request.headers();
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
        if self.listen.ip().is_loopback() && !self.is_own_name(host) {
            let message = "this address is for this machine only: use http://localhost or http://127.0.0.1";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "wrong_host", message));
        }
        if let Some(origin) = headers.get(header::ORIGIN) {
            let ours = ["http://", "https://"].iter().any(|scheme| {
                origin.to_str().ok().and_then(|o| o.strip_prefix(scheme)).is_some_and(|o| o == host)
            });
            if !ours {
                let message = "pages of other sites may not read this";
                return Err(ApiError::new(StatusCode::FORBIDDEN, "wrong_origin", message));
            }
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let message = format!("{} is not supported: this API only reads, use GET", request.method());
            return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "bad_method", message));
        }
        if has_body(headers) {
            let message = "no request here has a body";
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_refused", message));
        }
        match &self.token {
            Some(token) if !is_public(request.uri()) && !carries(token, request) => {
                let message = "a token is needed: send it as \"Authorization: Bearer <token>\"";
                Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorised", message))
            }
            _ => Ok(()),
        }
    }

    fn is_own_name(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
        name.eq_ignore_ascii_case("localhost")
            || name == "127.0.0.1"
            || name == "::1"
            || name == self.listen.ip().to_string()
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// The page itself holds no secret, and a browser cannot send a token when it opens an address: the page asks
/// for the token.
fn is_public(uri: &Uri) -> bool {
    super::page::PATHS.contains(&uri.path())
}

fn carries(token: &Token, request: &Request) -> bool {
    let mut sent = request.headers().get_all(header::AUTHORIZATION).into_iter();
    if let (Some(value), None) = (sent.next(), sent.next()) {
        return value
            .to_str()
            .ok()
            .and_then(|v| v.split_once(' '))
            .is_some_and(|(scheme, t)| scheme.eq_ignore_ascii_case("bearer") && token.is(t.trim()));
    }
    // Neither a browser's WebSocket nor a video player can set headers; addresses end up in histories and
    // logs, so this is for the live picture alone.
    let uri = request.uri();
    uri.path().starts_with("/v1/sources/")
        && uri.path().ends_with("/live")
        && Query::<Offered>::try_from_uri(uri).is_ok_and(|Query(offered)| token.is(&offered.token))
}

/// The part of a query that may hold a token.
#[derive(serde::Deserialize)]
struct Offered {
    token: String,
}
