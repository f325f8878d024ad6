//! Asks the inner service whether a stored response is still good.
//!
//! RFC 9111 §4.3 (validation), §4.3.3 (the answers), §4.3.4 (freshening), §4.3.5 (by a HEAD); RFC 5861 §4.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{
    Request, Response, StatusCode,
    header::{self, HeaderMap, HeaderValue},
    request,
};
use http_body::Body;
use tower_service::Service;

use super::{
    commit::strong_tag,
    delivery::{self, Delivery, Ended, Prior, Stored},
    draft::Draft,
    task::{Called, FillTask},
};
use crate::{
    engine::{
        inner::Inner,
        lookup::decoded,
        state::{
            entry::{Decoded, Entry},
            flight::{Landing, Permit},
            purges::Judgement,
        },
    },
    error::BoxError,
    format::manifest::{Manifest, Tagged},
    semantics::{
        cache_control::RequestDirectives,
        cache_status::Refusal,
        fields::{only, single_bytes},
        freshness::Exchange,
        partial::{is_of_the_same, of_the_whole},
        place::Place,
        storable::storable,
        validation::{ask, is_about, is_error, is_of_a_client, says_all},
    },
};

/// The verdict of the inner service's answer on a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A 304 for some other response, which tells nothing about this one (RFC 9111 §4.3.4).
    AboutAnother,
    /// An answer in its own right.
    New,
    /// An error, and the stored response may be used in its place (RFC 5861 §4).
    StandsIn,
    StillGood,
}

/// Builds the request that asks whether `entry` is still good: `asked` with the conditions of the entry's validators.
///
/// `asked` has no conditions of its own.
pub(crate) fn question(entry: &Entry, asked: &request::Parts) -> request::Parts {
    let mut asked = asked.clone();
    if !entry.manifest.own_etag {
        ask(&entry.manifest.headers, &mut asked.headers);
    }
    asked
}

/// Judges a stored response by the inner service's answer. `answer` is `None` if the inner service failed.
pub(crate) fn verdict(
    entry: &Entry,
    directives: &RequestDirectives,
    answer: Option<(StatusCode, &HeaderMap)>,
    now: SystemTime,
) -> Verdict {
    let manifest = &entry.manifest;
    match answer {
        Some((StatusCode::NOT_MODIFIED, headers)) if !manifest.own_etag => {
            if is_about(&manifest.headers, headers) { Verdict::StillGood } else { Verdict::AboutAnother }
        }
        Some((status, _)) if !is_error(status) => Verdict::New,
        _ if entry.stands_in(directives, now) => Verdict::StandsIn,
        _ => Verdict::New,
    }
}

impl FillTask {
    /// Asks whether `entry` is still good, and returns the answer to store in its place.
    ///
    /// # Errors
    ///
    /// The end of a fill that has no answer to store.
    pub(super) async fn validate<S, A, B>(
        &self,
        inner: &mut Inner<S>,
        entry: &Arc<Entry>,
        permit: &Permit,
    ) -> Result<Called<B, S::Error>, Ended<B, S::Error>>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        A: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let called = self.call(inner, question(entry, &self.asked)).await;
        let answer = match &called {
            Ok((answer, _)) => Some((answer.status(), answer.headers())),
            // Silence for so long is as good as an error (RFC 5861 §4).
            Err(_) => None,
        };
        let verdict = verdict(entry, &self.directives, answer, self.engine.config.clock.now());
        match (verdict, called) {
            (Verdict::StandsIn, called) => {
                let (status, refusal) = match called {
                    Ok((answer, _)) => (Some(answer.status()), Refusal::StaleIfError),
                    Err(Delivery::Late(_)) => (None, Refusal::StaleIfSilent),
                    Err(_) => (None, Refusal::StaleIfFailed),
                };
                let usable = Delivery::Usable(Arc::clone(entry), status, refusal);
                Err((Landing::StoodIn(entry.generation()), usable))
            }
            (Verdict::New, Ok((answer, exchange))) => {
                let (status, headers) = (answer.status(), answer.headers());
                if let Some(fields) = fields_of_the_same(entry, status, headers) {
                    let replaced = entry.replaced(&self.engine.config.policy, fields, exchange);
                    let renewed = self.renew(entry, replaced, (status, headers), exchange, permit).await;
                    if let Freshened::Stored(stored) = renewed {
                        return Err((Landing::Stored(stored.generation), Delivery::Stored(stored)));
                    }
                }
                Ok(Ok((answer, exchange)))
            }
            (Verdict::StillGood, Ok((answer, exchange))) => {
                let (answer, _) = answer.into_parts();
                match self.freshen(entry, &answer.headers, exchange, permit).await {
                    Freshened::Stored(stored) => {
                        Err((Landing::Stored(stored.generation), Delivery::Stored(stored)))
                    }
                    Freshened::Unstored(entry, refusal) => {
                        let landing = if refusal.is_of_the_client() {
                            Landing::ForOne(entry.generation())
                        } else {
                            delivery::landing(refusal)
                        };
                        Err((landing, Delivery::Usable(entry, Some(answer.status), refusal)))
                    }
                    Freshened::Forbidden => {
                        entry.forget(&self.engine.records).await;
                        Ok(self.call(inner, self.asked.clone()).await)
                    }
                }
            }
            (Verdict::AboutAnother, answer) => {
                // An inner service may wait for the end of one answer before it gives the next.
                drop(answer);
                Ok(self.call(inner, self.asked.clone()).await)
            }
            (_, called) => Ok(called),
        }
    }

    /// Asks whether this request selects the same bytes as another request of the key (RFC 9111 §4.1, §4.3.1).
    ///
    /// A 304 that names the other request's tag makes a variant of the same bytes. After any other 304, the fill asks
    /// again without conditions. The fill also asks again after a 304 that leaves out a field which the other request
    /// got.
    pub(super) async fn validate_any<S, A, B>(
        &self,
        inner: &mut Inner<S>,
        variants: &[Tagged],
        permit: &Permit,
    ) -> Result<Called<B, S::Error>, Ended<B, S::Error>>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        A: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut asked = self.asked.clone();
        let tags: Vec<_> = variants.iter().map(|variant| &variant.etag[..]).collect();
        if let Ok(tags) = HeaderValue::from_bytes(&tags.join(&b", "[..])) {
            asked.headers.insert(header::IF_NONE_MATCH, tags);
        }
        match self.call(inner, asked).await {
            Ok((answer, exchange)) if answer.status() == StatusCode::NOT_MODIFIED => {
                let (answer, _) = answer.into_parts();
                let variant = self.variant_of(variants, &answer.headers).await;
                if let Some(entry) =
                    variant.filter(|entry| says_all(&entry.manifest.headers, &answer.headers))
                {
                    if let Freshened::Stored(stored) =
                        self.freshen(&entry, &answer.headers, exchange, permit).await
                    {
                        return Err((Landing::Stored(stored.generation), Delivery::Stored(stored)));
                    }
                }
                Ok(self.call(inner, self.asked.clone()).await)
            }
            called => Ok(called),
        }
    }

    /// The stored variant that has the tag of the answer.
    async fn variant_of(&self, variants: &[Tagged], answer: &HeaderMap) -> Option<Arc<Entry>> {
        let etag = single_bytes(answer, &header::ETAG)?;
        let variant = variants.iter().find(|variant| variant.etag == etag)?;
        let record = decoded(&self.engine, &variant.slot).await.ok().flatten()?;
        match &*record {
            Decoded::Entry(entry)
                if entry.manifest.key == self.target.key && strong_tag(&entry.manifest) == Some(etag) =>
            {
                Some(Arc::clone(entry))
            }
            _ => None,
        }
    }

    /// Updates the stored response by the fields of a 304 (RFC 9111 §3.2).
    pub(crate) async fn freshen(
        &self,
        entry: &Arc<Entry>,
        answer: &HeaderMap,
        exchange: Exchange,
        permit: &Permit,
    ) -> Freshened {
        let updated = entry.updated(&self.engine.config.policy, answer, exchange);
        self.renew(entry, updated, (StatusCode::NOT_MODIFIED, answer), exchange, permit).await
    }

    /// Puts `entry` into the store again, with its fields as they are in `updated` by an answer with this status and
    /// these fields.
    async fn renew(
        &self,
        entry: &Arc<Entry>,
        updated: Entry,
        (came, answer): (StatusCode, &HeaderMap),
        exchange: Exchange,
        permit: &Permit,
    ) -> Freshened {
        // No answer brings back a response that a purge has found to be wrong, even if the purge came after the question.
        if self.engine.purges.judge(&entry.manifest) == Judgement::Gone {
            return Freshened::Forbidden;
        }
        let (policy, updated) = (&self.engine.config.policy, Arc::new(updated));
        let Manifest { status, headers, layout, .. } = &updated.manifest;
        let (asked, place) = (&self.asked.headers, Place::of(&self.asked));
        match storable(asked, &place, *status, headers, Some(layout.length), exchange, policy) {
            // The 304 tells the owner of a cookie that the response is good. Other clients ask for themselves.
            Ok(_) if updated.freshness.is_of_a_cookie() => {
                return Freshened::Unstored(updated, Refusal::Cookie);
            }
            Ok(_) => {}
            // RFC 9111 §3.5: an answer to credentials is not for other clients, but a response that was stored without
            // credentials still is. No client removes a response that other clients may use without asking.
            Err(refusal)
                if refusal.is_of_the_client() && is_of_a_client(&self.asked.headers)
                    || refusal == Refusal::SetCookie
                    || entry.freshness.is_fresh(exchange.received) =>
            {
                return Freshened::Unstored(updated, refusal);
            }
            Err(_) => return Freshened::Forbidden,
        }
        let withheld = self.withheld(headers);
        let membership = match came {
            StatusCode::NOT_MODIFIED => self.membership_after(&entry.manifest, headers, answer),
            _ => self.membership(*status, answer),
        };
        let headers = self.fields_to_store(headers, exchange.received);
        let (withdrawn, purged, by_uri) = (false, None, None);
        #[rustfmt::skip]
        let draft = Draft { headers, withdrawn, purged, membership, by_uri, ..Draft::of(&updated.manifest) };
        match self.commit(&draft, permit).await {
            Ok(slot) => {
                // With another `Vary`, the response is another variant. The variant before it is removed: a request
                // that waits for this generation must not find the old fields.
                if slot != entry.slot && !matches!(self.stored, Prior::Others(_)) {
                    entry.forget(&self.engine.records).await;
                }
                Freshened::Stored(Stored {
                    generation: layout.generation,
                    status: Some(came),
                    withheld: only(answer, &withheld),
                })
            }
            Err(refusal) => Freshened::Unstored(updated, refusal),
        }
    }
}

/// The fields of a 200 or 206 that is the stored response once more, as the 200 has them. Some servers look at `Range`
/// before `If-None-Match`, and some give no 304 at all.
fn fields_of_the_same(entry: &Entry, status: StatusCode, answer: &HeaderMap) -> Option<HeaderMap> {
    let Manifest { ref headers, layout, .. } = entry.manifest;
    let binding = entry.manifest.binding()?;
    is_of_the_same(headers, &binding, layout.length, status, answer).then(|| match status {
        StatusCode::PARTIAL_CONTENT => of_the_whole(answer, layout.length),
        _ => answer.clone(),
    })
}

/// The result of an update by an answer about the stored response.
pub(crate) enum Freshened {
    /// The updated fields say that the response may not be stored.
    Forbidden,
    Stored(Stored),
    /// The update is not stored. The response is good for the client that asked.
    Unstored(Arc<Entry>, Refusal),
}
