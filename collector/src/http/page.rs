//! The page and its assets, for every path that no API has. An API path that does not exist is a 404 in JSON, never
//! the page: a client that asks a wrong URL must not get HTML with status 200.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, Uri, header};

use super::envelope::{ApiError, ErrorType};

/// Prefixes that belong to APIs.
const API_PREFIXES: [&str; 6] = ["/api", "/v1", "/-", "/tempo", "/jaeger", "/metrics"];
/// Of a file whose name carries its content's hash.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Of everything else: ask whether it changed.
const ASK_AGAIN: &str = "no-cache";

/// Answers what no other route has.
pub(crate) async fn fallback(method: Method, uri: Uri) -> Response {
    let path = uri.path();
    let is_api = API_PREFIXES
        .iter()
        .any(|prefix| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    let file =
        if is_api || !matches!(method, Method::GET | Method::HEAD) { None } else { weir_dashboards::page_file(path) };
    match file {
        Some(file) => {
            let cache = if file.immutable { FOR_EVER } else { ASK_AGAIN };
            let headers = [
                (header::CONTENT_TYPE, file.content_type),
                (header::CACHE_CONTROL, cache),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (header::X_FRAME_OPTIONS, "SAMEORIGIN"),
            ];
            (headers, Body::from(file.bytes.into_owned())).into_response()
        }
        None if is_api => {
            ApiError { kind: ErrorType::NotFound, text: format!("there is no {method} {path} here") }.into_response()
        }
        None => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    }
}
