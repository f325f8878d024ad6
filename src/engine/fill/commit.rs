//! Commits a response: puts its manifest, and the mark that its variants hang on.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use http::header::{self, HeaderName};
use tokio::time::timeout;

use super::{draft::Draft, task::FillTask};
use crate::{
    clock::moment,
    engine::{
        lookup::decoded,
        state::{
            Engine,
            entry::{Decoded, Target},
            flight::Permit,
            lease::{Claim, Held},
            records::Waited,
        },
    },
    format::{
        key::{Generation, SelectingField, Slot, commit_key},
        manifest::{Manifest, Record, Tagged, Variants},
    },
    semantics::{cache_status::Refusal, etag::EntityTag, fields::single_bytes, vary::Vary},
    store::Lease,
};

impl FillTask {
    /// Commits a response, and returns its slot.
    ///
    /// # Errors
    ///
    /// The reason why the response was not committed.
    pub(super) async fn commit(&self, draft: &Draft, permit: &Permit) -> Result<Slot, Refusal> {
        if self.forgoes {
            return Err(Refusal::StoreFailed);
        }
        if self.has_had_its_time(draft) {
            return Err(Refusal::NeverFresh);
        }
        let _committing = permit.commit().lock().await;
        if permit.is_revoked() {
            return Err(Refusal::Invalidated);
        }
        let fence = self.fence(permit).await?;
        // Before the put: a record that cannot be confirmed would only have to be removed again.
        are_certain([permit.lease(), None]).await?;
        self.check_invalidation(permit).await?;
        if permit.lease().is_some() && !self.has_its_mark(permit.slot()).await {
            return Err(Refusal::LeaseLost);
        }
        let notes = self.engine.tombstones.notes();
        let manifest = self.manifest(draft)?;
        let slot = match Vary::of(&manifest.headers) {
            Vary::Fields(names) => self.variant(&names, &manifest).await?,
            _ => self.target.primary.clone(),
        };
        let record = Record::Response(manifest);
        let put = self.engine.records.put_record(&slot, &record).await;
        let asked = moment();
        let refusal = match put {
            // The invalidation waits until this commit is over, then removes the key's own record.
            Ok(()) if permit.is_revoked() => Refusal::Invalidated,
            Ok(()) => match self.confirm(permit, fence.as_ref()).await {
                Ok(()) => {
                    self.engine.tombstones.forget(&self.target.primary, notes);
                    return Ok(slot);
                }
                Err(refusal) => refusal,
            },
            Err(error) => {
                // A put that failed may have happened all the same, and a response without a commit must not be found.
                if !error.is_left_alone() {
                    let records = Arc::clone(&self.engine.records);
                    let removal = async move { drop(records.remove_record(&slot).await) };
                    self.unless_late(Waited::of(&error), removal).await;
                }
                return Err(Refusal::StoreFailed);
            }
        };
        let waited = self.engine.records.waited_since(asked);
        let undone = Commit {
            engine: Arc::clone(&self.engine),
            target: Arc::clone(&self.target),
            slot,
            record: record.encode(),
            is_leased: permit.lease().is_some(),
            fence,
        };
        self.unless_late(waited, undone.take_back()).await;
        Err(refusal)
    }

    /// Does the deed before the fill goes on, or in a task if the client has waited for the store long enough.
    async fn unless_late(&self, waited: Waited, deed: impl Future<Output = ()> + Send + 'static) {
        if self.engine.records.is_enough(self.waited.and(waited)) {
            drop(tokio::spawn(deed));
        } else {
            deed.await;
        }
    }

    /// Checks that the record may stay that was put.
    async fn confirm(&self, permit: &Permit, fence: Option<&Held>) -> Result<(), Refusal> {
        are_certain([permit.lease(), fence]).await?;
        self.check_invalidation(permit).await
    }

    /// Refuses the commit if the key was invalidated since the fill began, where no lease tells that.
    async fn check_invalidation(&self, permit: &Permit) -> Result<(), Refusal> {
        if permit.lease().is_some() {
            return Ok(());
        }
        self.seen.is_valid_still(&self.engine.records, &self.target.primary).await
    }

    /// Builds the manifest, with the field values by which the fill's request selects the response.
    pub(super) fn manifest(&self, draft: &Draft) -> Result<Manifest, Refusal> {
        let Draft {
            status,
            exchange,
            layout,
            own_etag,
            sparse,
            withdrawn,
            purged,
            digest,
            playlist,
            ref by_uri,
            ref headers,
            ref membership,
        } = *draft;
        let selecting = match Vary::of(headers) {
            Vary::Fields(names) => SelectingField::all(&names, &self.asked.headers),
            Vary::Nothing => Vec::new(),
            Vary::Anything => return Err(Refusal::VaryAnything),
        };
        let by_uri = by_uri.clone().unwrap_or_else(|| self.engine.config.by_uri(&self.asked, headers));
        let (key, headers, membership) = (self.target.key.clone(), headers.clone(), membership.clone());
        Ok(Manifest {
            key,
            status,
            headers,
            selecting,
            exchange,
            layout,
            own_etag,
            sparse,
            by_uri,
            withdrawn,
            purged,
            membership,
            digest,
            playlist,
        })
    }

    /// Enters a variant among the key's variants, and returns its slot.
    async fn variant(&self, names: &[HeaderName], manifest: &Manifest) -> Result<Slot, Refusal> {
        let known = decoded(&self.engine, &self.target.primary).await.ok().flatten();
        let is_true = !self.engine.tombstones.holds(&self.target.primary);
        let known = match known.as_deref().filter(|_| is_true) {
            Some(Decoded::Variants(variants)) if variants.key == self.target.key => Some(variants),
            _ => None,
        };
        let mark = match known {
            Some(known) => known.mark,
            None => Generation::random().ok_or(Refusal::StoreFailed)?,
        };
        let slot = Slot::variant(&self.target.key, mark, &manifest.selecting);
        let variants = Variants {
            key: self.target.key.clone(),
            mark,
            selecting: with_selecting(known, names),
            tagged: with_tag(known, &slot, strong_tag(manifest)),
        };
        if known != Some(&variants) {
            let record = Record::Variants(variants);
            let put = self.engine.records.put_record(&self.target.primary, &record).await;
            put.map_err(|_| Refusal::StoreFailed)?;
        }
        Ok(slot)
    }
}

/// A record that was put and may not stay.
struct Commit {
    engine: Arc<Engine>,
    target: Arc<Target>,
    slot: Slot,
    record: Bytes,
    is_leased: bool,
    fence: Option<Held>,
}

impl Commit {
    /// Removes the record that was just put, unless another node has put another one since.
    async fn take_back(self) {
        let (records, primary) = (&self.engine.records, &self.target.primary);
        let is_taken_back = match records.record(&self.slot).await {
            Ok(found) if found.as_ref() != Some(&self.record) => true,
            Ok(_) | Err(_) => records.remove_record(&self.slot).await.is_ok(),
        };
        // This commit may have put back the mark of variants that were removed.
        let may_be_back = !self.is_leased && self.slot != *primary;
        if !is_taken_back || may_be_back || are_certain([self.fence.as_ref(), None]).await.is_err() {
            self.engine.tombstones.take_out(records, primary).await;
        }
    }
}

/// Checks that this node still holds these leases, as far as there are any.
///
/// A node that invalidates a key removes the lease first, then the record. So either this commit sees that the lease is
/// gone, or the other node's removal comes after the put. If the store cannot tell, this commit may have been the one
/// to see it, so it is refused.
async fn are_certain(leases: [Option<&Held>; 2]) -> Result<(), Refusal> {
    for lease in leases.into_iter().flatten() {
        match lease.confirm().await {
            Some(true) => {}
            Some(false) => return Err(Refusal::LeaseLost),
            None => return Err(Refusal::StoreFailed),
        }
    }
    Ok(())
}

/// The known sets of names with `names` put first, and no more of them than a lookup should try.
fn with_selecting(known: Option<&Variants>, names: &[HeaderName]) -> Vec<Vec<HeaderName>> {
    let others = known.into_iter().flat_map(|known| &known.selecting).filter(|other| *other != names);
    [names.to_vec()].into_iter().chain(others.cloned()).take(SELECTING_SETS).collect()
}

/// The known tags with this variant's put first, and no more of them than a request should ask about.
fn with_tag(known: Option<&Variants>, slot: &Slot, etag: Option<&[u8]>) -> Vec<Tagged> {
    let known = known.map_or(&[][..], |known| &known.tagged);
    // The tag is not new, so the order need not change.
    if known.iter().any(|variant| variant.slot == *slot && Some(&variant.etag[..]) == etag) {
        return known.to_vec();
    }
    let mine = etag.map(|etag| Tagged { slot: slot.clone(), etag: etag.to_vec() });
    // One variant for each tag is enough to ask by: variants of the same bytes are as good as each other.
    let others = known.iter().filter(|other| other.slot != *slot && Some(&other.etag[..]) != etag);
    mine.into_iter().chain(others.cloned()).take(TAGS).collect()
}

/// Sets of selecting fields kept for one key; an inner service that varies its `Vary` more than this is refilled.
const SELECTING_SETS: usize = 4;

/// Tagged variants kept for one key.
const TAGS: usize = 8;

impl FillTask {
    /// Gets a lease of the key for the commit of a variant. An invalidation of the key can name this lease, but not the
    /// lease of the variant's flight.
    ///
    /// Until then, this node's knowledge of the key's own record may be old: another node may have removed the record.
    pub(super) async fn fence(&self, permit: &Permit) -> Result<Option<Held>, Refusal> {
        let primary = &self.target.primary;
        if permit.lease().is_none() || permit.slot() == primary {
            return Ok(None);
        }
        let Some(mut claim) =
            Claim::new(&self.engine.records, self.engine.config.timeouts.lease, commit_key(primary))
        else {
            return Ok(None);
        };
        let mut lease = claim.ask().await;
        if matches!(lease, Ok(Lease::Taken)) {
            // A commit is a few calls of the store.
            let waiting = timeout(self.engine.config.timeouts.store, claim.wait());
            lease = waiting.await.unwrap_or(Ok(Lease::Taken));
        }
        match lease {
            Ok(Lease::Granted) => Ok(Some(Held::of(claim))),
            Ok(Lease::Taken) => Err(Refusal::LeaseLost),
            Ok(Lease::NotOffered) => Ok(None),
            // An invalidation could not name this commit, so the commit could not tell that it was invalidated.
            Err(_) => Err(Refusal::StoreFailed),
        }
    }

    /// Whether the mark is still there that `slot` hangs on. The slot of a key itself needs no mark.
    pub(super) async fn has_its_mark(&self, slot: &Slot) -> bool {
        let Target { key, primary, .. } = &*self.target;
        if slot == primary {
            return true;
        }
        // A store that cannot tell does not forbid.
        let Ok(record) = decoded(&self.engine, primary).await else {
            return true;
        };
        let Some(Decoded::Variants(variants)) = record.as_deref() else {
            return false;
        };
        let place = |names: &Vec<_>| {
            Slot::variant(key, variants.mark, &SelectingField::all(names, &self.asked.headers))
        };
        variants.key == *key && variants.selecting.iter().any(|names| place(names) == *slot)
    }
}

/// The tag by which other variants may be found to have the same bytes: a strong tag of the inner service itself.
///
/// A response with a `Content-Encoding` has no such tag, because some inner services tag an encoded representation as
/// they tag the plain one.
pub(super) fn strong_tag(manifest: &Manifest) -> Option<&[u8]> {
    let etag = single_bytes(&manifest.headers, &header::ETAG)?;
    let is_strong = EntityTag::parse(etag).is_some_and(|tag| !tag.is_weak());
    let is_plain = !manifest.headers.contains_key(header::CONTENT_ENCODING);
    (is_strong && is_plain && !manifest.own_etag && etag.len() <= LONGEST_TAG).then_some(etag)
}

/// Tags longer than this are not kept with the key's variants, which are read at each request.
const LONGEST_TAG: usize = 128;
