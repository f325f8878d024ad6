//! Continues a body that died midway, from the byte where it died.
//!
//! RFC 9110 §14.2 (`Range`), §13.1.5 (`If-Range`).

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tokio::time::{sleep, timeout};
use tower_service::Service;

use super::task::FillTask;
use crate::{
    counters::Reason,
    engine::{
        fetch::{missing::pause, pour::Pour},
        inner::Inner,
    },
    error::BoxError,
    futures::{Raced, race},
    semantics::{
        partial::{Binding, Further, Question, further},
        range::ByteRange,
        storable::may_go_on,
    },
};

/// The facts of a response by which the cache can ask for the rest of its body.
pub(super) struct Resumable<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) binding: Option<&'a Binding>,
    /// Bytes of the whole, if the length is known.
    pub(super) length: Option<u64>,
    /// The range of the whole that the body is, up to the end if no other end is known.
    pub(super) range: ByteRange,
    /// How often the body failed so far.
    pub(super) failures: &'a mut u32,
}

impl FillTask {
    /// Continues the pour with another body, from the byte after the last one that came. Returns `false` if there is no
    /// such body, or after enough tries.
    pub(super) async fn resume<S, A, B>(
        &self,
        inner: &mut Inner<S>,
        of: Resumable<'_>,
        pour: &mut Pour<B>,
    ) -> bool
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        A: Default,
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let config = &self.engine.config;
        let start = of.range.start.saturating_add(pour.body.taken());
        let range = ByteRange { start, end: of.range.end };
        let Some(binding) = of.binding else {
            return false;
        };
        // More bytes do not mend a body that is too long.
        if range.start >= of.length.unwrap_or(u64::MAX).min(range.end) {
            return false;
        }
        let mut question = Question::Bound;
        while *of.failures < config.retry.attempts {
            sleep(pause(config.retry.first_delay, *of.failures)).await;
            *of.failures += 1;
            let mut asked = self.asked.clone();
            binding.ask(question, range, &mut asked.headers);
            self.engine.count_call(Reason::Resume);
            let calling =
                timeout(config.timeouts.inner_idle, inner.call(Request::from_parts(asked, A::default())));
            let answer = match race(self.share.yielded(), calling).await {
                Raced::First(()) => return false,
                Raced::Second(Ok(Ok(answer))) => answer,
                Raced::Second(_) => continue,
            };
            let (answer, body) = answer.into_parts();
            let stored = (of.headers, binding, of.length);
            match further(stored, (question, range), answer.status, &answer.headers) {
                // RFC 9111 §3: the first answer may be shared, and this one may not.
                Further::Part(_) if !may_go_on(&self.asked.headers, &answer.headers, &config.policy) => {
                    return false;
                }
                Further::Part(part) => {
                    pour.body.go_on(body, part.complete);
                    return true;
                }
                Further::Nothing => {}
                Further::Unproved | Further::Whole if question == Question::Bound => {
                    question = Question::Plain;
                }
                Further::Another | Further::Unproved | Further::Whole => return false,
            }
        }
        false
    }
}
