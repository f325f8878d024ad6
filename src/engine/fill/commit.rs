//! The put that makes a response one that is found: its manifest, and the mark that its variants hang on.

use http::{header::HeaderName, HeaderMap, StatusCode};

use super::Fill;
use crate::{
    engine::{
        flight::Permit,
        lookup::{decoded, Decoded},
    },
    format::{
        key::{Generation, SelectingField, Slot},
        manifest::{Layout, Manifest, Record, Variants},
    },
    semantics::{cache_status::Refusal, freshness::Exchange, vary::Vary},
};

/// A response that is to be found from now on: its bytes are in the store.
pub(super) struct Draft {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) exchange: Exchange,
    pub(super) layout: Layout,
    pub(super) own_etag: bool,
}

impl Fill {
    /// Makes it a stored response, or says why not.
    pub(super) async fn commit(&self, draft: Draft, permit: &Permit) -> Result<(), Refusal> {
        let _committing = permit.commit().lock().await;
        if permit.is_revoked() {
            return Err(Refusal::Invalidated);
        }
        let (slot, selecting) = match Vary::of(&draft.headers) {
            Vary::Fields(names) => self.variant(&names).await?,
            Vary::Nothing => (self.target.primary.clone(), Vec::new()),
            Vary::Anything => return Err(Refusal::VaryAnything),
        };
        let Draft { status, headers, exchange, layout, own_etag } = draft;
        let key = self.target.key.clone();
        let manifest = Manifest { key, status, headers, selecting, exchange, layout, own_etag };
        let records = &self.engine.records;
        let put = records.put_record(&slot, &Record::Response(manifest)).await;
        let refusal = match put {
            // Whoever invalidates waits until this is over, and takes the key's own record out.
            Ok(()) if permit.is_revoked() => Refusal::Invalidated,
            Ok(()) => return Ok(()),
            Err(_) => Refusal::StoreFailed,
        };
        // A put that failed may have happened all the same: what is not committed must not be found.
        let _ = records.remove_record(&slot).await;
        Err(refusal)
    }

    /// The slot of the variant that this request selects, entered among the key's variants.
    async fn variant(&self, names: &[HeaderName]) -> Result<(Slot, Vec<SelectingField>), Refusal> {
        let known = decoded(&self.engine, &self.target.primary).await.ok().flatten();
        let known = match known.as_deref() {
            Some(Decoded::Variants(variants)) if variants.key == self.target.key => Some(variants),
            _ => None,
        };
        let variants = match known {
            Some(variants) if variants.selecting.first().is_some_and(|first| *first == names) => {
                variants.clone()
            }
            known => {
                let variants = self.with_selecting(known, names)?;
                let record = Record::Variants(variants.clone());
                let put = self.engine.records.put_record(&self.target.primary, &record).await;
                put.map_err(|_| Refusal::StoreFailed)?;
                variants
            }
        };
        let selecting = SelectingField::all(names, &self.asked.headers);
        Ok((Slot::variant(&self.target.key, variants.mark, &selecting), selecting))
    }

    /// The known variants with `names` put first, and no more sets of names than a lookup should try.
    fn with_selecting(&self, known: Option<&Variants>, names: &[HeaderName]) -> Result<Variants, Refusal> {
        let mark = match known {
            Some(known) => known.mark,
            None => Generation::random().ok_or(Refusal::StoreFailed)?,
        };
        let others = known.into_iter().flat_map(|known| &known.selecting).filter(|other| *other != names);
        let selecting = [names.to_vec()].into_iter().chain(others.cloned()).take(SELECTING_SETS).collect();
        Ok(Variants { key: self.target.key.clone(), mark, selecting })
    }
}

/// Sets of selecting fields kept for one key; an inner service that varies its `Vary` more than this is refilled.
const SELECTING_SETS: usize = 4;
