//! A stored response of which some chunks are missing, made whole.
//!
//! RFC 9111 §3.3 (storing incomplete responses), §3.4 (combining partial content).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::{commit::Draft, Fill, Stored};
use crate::{
    engine::{
        flight::Permit,
        inner::Inner,
        lookup::Entry,
        purge::forget,
        supply::{Found, Line, Missing, Viewer},
    },
    error::BoxError,
    format::manifest::Manifest,
};

impl Fill {
    /// Fetches what is missing of `entry`, and no more. `None` if that cannot be; then it is as if nothing were stored.
    pub(super) async fn complete<S, A, B>(
        &self,
        inner: &mut Inner<S>,
        entry: &Arc<Entry>,
        permit: &Permit,
    ) -> Option<Stored>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        A: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Manifest { layout, .. } = entry.manifest;
        let engine = Arc::clone(&self.engine);
        let viewer = Viewer::new(engine, inner.take(), self.asked.clone(), Arc::clone(&self.target));
        let line = Line::new(Arc::new(viewer), Arc::clone(entry), layout.chunks());
        for index in 0..layout.chunks() {
            match line.sought(index).await {
                Ok(Found::Chunk(_)) => {}
                Err(Missing::Changed | Missing::NoParts(_)) => {
                    forget(&self.engine.records, entry).await;
                    return None;
                }
                Ok(Found::Elsewhere(_) | Found::End) | Err(Missing::Failed(_)) => return None,
            }
        }
        let draft = Draft { sparse: false, ..Draft::of(&entry.manifest) };
        self.commit(draft, permit).await.ok()?;
        let (generation, status) = (layout.generation, StatusCode::PARTIAL_CONTENT);
        Some(Stored { generation, status, withheld: HeaderMap::new() })
    }
}
