//! Servers of crates, in this process.

use std::{io, path::PathBuf};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use axum_extra::response::FileStream;
use bytes::Bytes;
use futures_util::stream::Empty;
use tower_http::services::ServeDir;

pub(crate) fn serve_dir(root: PathBuf) -> Router {
    Router::new().fallback_service(ServeDir::new(root))
}

pub(crate) fn file_stream(root: PathBuf) -> Router {
    Router::new().route("/{*path}", get(stream)).with_state(root)
}

/// As the documentation of `FileStream` shows it: one range with a first byte.
async fn stream(State(root): State<PathBuf>, Path(path): Path<String>, fields: HeaderMap) -> Response {
    let path = root.join(path);
    let range = fields.get(header::RANGE).and_then(|range| range.to_str().ok()?.strip_prefix("bytes="));
    let range = range.and_then(|range| range.split_once('-')).and_then(|(first, last)| {
        let last = if last.is_empty() { Some(0) } else { last.parse().ok() };
        Some((first.parse().ok()?, last?))
    });
    let answer = match range {
        Some((first, last)) => {
            FileStream::<Empty<io::Result<Bytes>>>::try_range_response(path, first, last).await
        }
        None => FileStream::from_path(path).await.map(IntoResponse::into_response),
    };
    answer.unwrap_or_else(|_| StatusCode::NOT_FOUND.into_response())
}
