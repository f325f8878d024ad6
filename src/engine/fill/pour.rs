//! An inner body on its way into the store, chunk by chunk.

use bytes::Bytes;
use http_body::Body;
use xxhash_rust::xxh3::Xxh3;

use crate::{
    engine::{
        budget::Promise,
        collect::{Collected, Collector},
        Engine,
    },
    error::BoxError,
    format::manifest::Layout,
    semantics::cache_status::Refusal,
};

/// A body being put into the store.
pub(super) struct Pour<'a, B> {
    pub(super) engine: &'a Engine,
    /// What is in the store so far.
    pub(super) layout: Layout,
    pub(super) body: Collector<B>,
    pub(super) promise: Promise,
    /// The promise was made for the whole length at once.
    pub(super) promised_whole: bool,
    /// The sum that becomes the `ETag` of a response without a validator.
    pub(super) etag: Option<Xxh3>,
}

/// How a pour ended.
pub(super) enum Poured {
    All,
    Broken(Refusal),
    /// With the chunk that did not get into the store.
    Stopped(Refusal, Bytes),
}

impl<B> Pour<'_, B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Stores chunk after chunk, one in memory at a time.
    pub(super) async fn all(&mut self) -> Poured {
        // A chunk size is 32 bits, and so is the smallest usize that tokio runs on.
        let size = usize::try_from(self.layout.chunk_size).unwrap_or(usize::MAX);
        let records = &self.engine.records;
        for index in 0.. {
            let payload = match self.body.chunk(size, self.engine.config.idle_limit).await {
                Ok(Collected::Chunk(payload)) => payload,
                Ok(Collected::End) => break,
                Ok(Collected::Stalled(payload)) => {
                    return Poured::Stopped(Refusal::InnerStalled, payload.freeze());
                }
                Err(error) if error.is_truncated() => return Poured::Broken(Refusal::ChangedLength),
                Err(_) => return Poured::Broken(Refusal::InnerFailed),
            };
            let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
            if self.body.taken() > self.engine.config.policy.largest_body() {
                return Poured::Stopped(Refusal::TooLarge, payload.freeze());
            }
            let weight = length.saturating_add(CHUNK_OVERHEAD);
            if !self.promised_whole && !self.promise.grow(weight) {
                let in_all = self.promise.bytes().saturating_add(weight);
                let could_be = self.engine.budget.could_hold(in_all);
                let refusal = if could_be { Refusal::NoRoom } else { Refusal::TooLarge };
                return Poured::Stopped(refusal, payload.freeze());
            }
            if let Some(sum) = &mut self.etag {
                sum.update(&payload);
            }
            if let Err((in_hand, _)) = records.put_chunk(self.layout.generation, index, payload).await {
                return Poured::Stopped(Refusal::StoreFailed, in_hand);
            }
            self.layout.length = self.layout.length.saturating_add(length);
        }
        Poured::All
    }
}

/// What a chunk weighs in a store beside its bytes, about: its trailer, its key, the store's own bookkeeping.
pub(super) const CHUNK_OVERHEAD: u64 = 512;
