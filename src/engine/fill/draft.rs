//! A response to commit, and where its parts come from.

use http::{
    HeaderMap, StatusCode,
    header::{self, HeaderValue},
};

use crate::{
    format::{layout::Layout, manifest::Manifest},
    semantics::{
        freshness::{ByUri, Ended, Exchange},
        playlist::Playlist,
        purge::Membership,
    },
};

/// A response to commit. Its bytes are in the store.
pub(super) struct Draft {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) exchange: Exchange,
    pub(super) layout: Layout,
    pub(super) own_etag: bool,
    pub(super) sparse: bool,
    pub(super) withdrawn: bool,
    pub(super) purged: Option<Ended>,
    pub(super) membership: Membership,
    pub(super) digest: Option<u128>,
    /// The life that a manifest tells, once all of it has come.
    pub(super) playlist: Playlist,
    /// The facts that the URI of an earlier request told. `None` if this fill's own URI brought the response, or found
    /// it good.
    pub(super) by_uri: Option<ByUri>,
}

impl Draft {
    /// Drafts a response that comes from the inner service, without a tag or a digest of the cache's own.
    pub(super) fn new(
        status: StatusCode,
        headers: HeaderMap,
        exchange: Exchange,
        layout: Layout,
        membership: Membership,
    ) -> Self {
        Self {
            status,
            headers,
            exchange,
            layout,
            own_etag: false,
            sparse: false,
            withdrawn: false,
            purged: None,
            membership,
            digest: None,
            playlist: Playlist::Unknown,
            by_uri: None,
        }
    }

    /// Drafts a put of the same response again.
    pub(super) fn of(manifest: &Manifest) -> Self {
        let Manifest {
            status, exchange, layout, own_etag, sparse, withdrawn, purged, digest, playlist, ..
        } = *manifest;
        let (headers, by_uri) = (manifest.headers.clone(), Some(manifest.by_uri.clone()));
        let membership = manifest.membership.clone();
        #[rustfmt::skip]
        let draft = Self { status, headers, exchange, layout, own_etag, sparse, withdrawn, purged, membership, digest, playlist, by_uri };
        draft
    }

    /// Gives the response a tag of ours.
    pub(super) fn tag(&mut self, tag: u128) {
        // A quoted hexadecimal number is a valid field value.
        if let Ok(tag) = HeaderValue::try_from(format!("\"{tag:032x}\"")) {
            self.headers.insert(header::ETAG, tag);
            self.own_etag = true;
        }
    }
}
