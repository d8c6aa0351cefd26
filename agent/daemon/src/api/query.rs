//! Reading queries strictly: an unknown parameter is an error, so that a typing mistake never looks like an
//! empty answer.

use axum::extract::Query;
use axum::http::Uri;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// The query of a request.
pub(super) fn parse<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    match Query::try_from_uri(uri) {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => {
            let text = rejection.body_text();
            let text = text.rsplit("query string: ").next().unwrap_or(&text);
            Err(ApiError::bad_query(text))
        }
    }
}

/// For routes without parameters.
pub(super) fn none(uri: &Uri) -> Result<(), ApiError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    parse::<Nothing>(uri).map(drop)
}
