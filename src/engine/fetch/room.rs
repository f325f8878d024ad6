//! The room that the store has for a body that is poured into it.

use std::{future::pending, sync::Arc};

use tokio::time::{Instant, sleep_until};

use crate::{
    engine::state::{Engine, budget::Share, records::CHUNK_OVERHEAD},
    semantics::cache_status::Refusal,
};

/// The room for one body.
pub(crate) struct Room {
    /// The share with the bytes promised to the store. Without a share, no chunk is put.
    pub(crate) share: Option<Arc<Share>>,
    /// Whether the whole length was promised at once.
    pub(crate) is_for_all: bool,
    /// The bytes before this offset were promised.
    pub(super) promised: u64,
    pub(crate) pace: Pace,
}

/// How fast a body is poured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as it comes. If there is no room for the whole body, the pour stops.
    Own,
    /// No faster than the body is read, because there is no room for the whole of it.
    OfReaders,
    /// As fast as it comes. If there is no room for the whole body, no faster than it is read.
    OfReadersIfNeeded,
}

impl Room {
    /// The room that was promised by a share, for all of a body.
    pub(super) fn of(share: Option<Arc<Share>>) -> Self {
        Self { share, is_for_all: true, promised: 0, pace: Pace::Own }
    }

    /// Promises the bytes before `end` of the chunk that begins at `start`, unless they were promised before.
    pub(super) fn promise(
        &mut self,
        engine: &Engine,
        start: u64,
        end: u64,
        is_read: bool,
    ) -> Result<(), Refusal> {
        let is_first = self.promised <= start;
        let weight = end.saturating_sub(self.promised);
        if weight > 0 {
            let overhead = if is_first { CHUNK_OVERHEAD } else { 0 };
            self.make(engine, weight.saturating_add(overhead), is_read)?;
            self.promised = end;
        }
        Ok(())
    }

    /// Promises one more chunk to the store, unless all of them are promised already. If there is no room, a body
    /// that is read while it is poured goes on no faster than it is read.
    fn make(&mut self, engine: &Engine, weight: u64, is_read: bool) -> Result<(), Refusal> {
        let Some(share) = &self.share else {
            return Err(Refusal::NoRoom);
        };
        if self.is_for_all || self.pace == Pace::OfReaders || share.promise(weight) {
            return Ok(());
        }
        if is_read && self.pace == Pace::OfReadersIfNeeded {
            self.pace = Pace::OfReaders;
            return Ok(());
        }
        let in_all = share.promised().saturating_add(weight);
        let could_be = engine.budget.could_hold(in_all);
        Err(if could_be { Refusal::NoRoom } else { Refusal::TooLarge })
    }
}

/// Waits until the share has yielded to a fill that somebody waits for.
pub(super) async fn yielded(share: Option<&Arc<Share>>) {
    match share {
        Some(share) => share.yielded().await,
        None => pending().await,
    }
}

/// Waits until `moment` is past, if there is one.
pub(super) async fn past(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}
