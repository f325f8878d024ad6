//! Whole requests against a layer whose store and inner service are in memory.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header, request::Parts};
use http_body::Body;
use tokio::{
    runtime::Handle,
    task::yield_now,
    time::{Instant, sleep},
};
use tower::{Layer, Service};
use tower_video_cache::{ChunkSize, Limits, Policy, Retry, Statuses, VideoCache, VideoCacheLayer};

use super::{
    heard::judged,
    ledger::Ledger,
    modes::Modes,
    origin::{Origin, VIEWER},
    script::{Script, Settings, Step},
    shelf::{Hand, Shelf},
    verdict::{End, Judge, View, Viewed},
};

/// `data` is a script: settings, and up to 6 requests, each with the inner service's answer to it. The requests come
/// one after the other or together.
///
/// # Panics
///
/// If an answer is neither the inner service's latest, nor one that a cache may give by RFC 9110 and 9111.
pub fn request(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    assert!(runtime.is_ok(), "{runtime:?}");
    if let Ok(runtime) = runtime {
        runtime.block_on(play(Script::read(data)));
    }
}

async fn play(script: Script) {
    let Script { settings, steps } = script;
    let (origin, clock) = (Origin::new(), Hand::new());
    let shelf = Shelf::new(settings.can_alter, settings.capacity);
    let layer = layer(&settings, &shelf, &clock);
    let service = layer.layer(origin.clone());
    origin.world().delay = settings.delay;
    let mut judge = Judge::of(&settings);
    let mut ledger = Ledger::default();
    let (mut steps, mut viewer) = (steps.into_iter().peekable(), 0);
    while let Some(step) = steps.next() {
        let now = clock.moved(step.elapsed);
        if let Some(number) = step.evict {
            shelf.evict(number);
            judge.evicted = true;
        }
        shelf.expect(&step.mishaps);
        judge.evicted |= !step.mishaps.is_empty();
        let (first, failed) = {
            let mut world = origin.world();
            world.now = now;
            (world.calls.len(), world.failures.len())
        };
        let mut crowd = Vec::new();
        let mut next = Some(step);
        while let Some(step) = next {
            let mut world = origin.world();
            world.turn(viewer, step.answer.clone());
            let asked = asked(&step, viewer, &world.seen, now);
            drop(world);
            let viewing = Some(Box::pin(view(service.clone(), asked.clone())));
            crowd.push((
                viewer,
                judged(asked.into_parts().0),
                Seat { viewing, leaves: step.leaves, end: None },
            ));
            viewer += 1;
            next = steps.next_if(|step| step.together);
        }
        let began = Instant::now();
        poll_fn(|cx| seated(&mut crowd, cx)).await;
        assert!(began.elapsed() < PATIENCE, "an answer had to wait for a timeout");
        // Work that continues after an answer ends before the next step.
        settle(&shelf).await;
        let views = crowd.into_iter().map(|(viewer, request, seat)| View {
            viewer,
            request,
            end: seat.end.unwrap_or(End::Left),
        });
        let views: Vec<_> = views.collect();
        let mut world = origin.world();
        judge.judge(&world, first, failed, &views);
        ledger.add(&views);
        ledger.judge(&layer.handle().stats(), &world);
        for viewed in views.iter().filter_map(View::viewed) {
            for name in [header::ETAG, header::LAST_MODIFIED, header::DATE] {
                if let Some(value) = viewed.headers.get(&name) {
                    world.seen.insert(name, value.clone());
                }
            }
        }
    }
}

/// Waits until no work is left, except for one task that retries failed calls of the store later.
async fn settle(shelf: &Shelf) {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    for turn in 0..TURNS + WAITS {
        if tasks() == 0 {
            return;
        }
        if turn < TURNS {
            yield_now().await;
        } else {
            sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(tasks() <= usize::from(shelf.has_failed()), "background work does not end");
}

/// A client and its request.
struct Seat<F> {
    viewing: Option<F>,
    /// The client leaves after this many polls.
    leaves: Option<u8>,
    end: Option<End>,
}

impl<F: Future<Output = End> + Unpin> Seat<F> {
    fn poll(&mut self, cx: &mut Context<'_>) {
        let Some(viewing) = &mut self.viewing else { return };
        let leaves = self.leaves == Some(0);
        self.leaves = self.leaves.map(|polls| polls.saturating_sub(1));
        if leaves {
            self.end = Some(End::Left);
        } else if let Poll::Ready(end) = Pin::new(viewing).poll(cx) {
            self.end = Some(end);
        }
        if self.end.is_some() {
            self.viewing = None;
        } else if self.leaves == Some(0) {
            // This client may get no other wake-up.
            cx.waker().wake_by_ref();
        }
    }
}

/// Polls all clients until each has an answer, or has left.
fn seated<F: Future<Output = End> + Unpin>(
    crowd: &mut [(u64, Parts, Seat<F>)],
    cx: &mut Context<'_>,
) -> Poll<()> {
    for (_, _, seat) in crowd.iter_mut() {
        seat.poll(cx);
    }
    let all_have = crowd.iter().all(|(_, _, seat)| seat.end.is_some());
    if all_have { Poll::Ready(()) } else { Poll::Pending }
}

fn layer(settings: &Settings, shelf: &Shelf, clock: &Hand) -> VideoCacheLayer {
    let statuses: Vec<_> =
        settings.statuses.iter().filter_map(|code| StatusCode::from_u16(*code).ok()).collect();
    let statuses = if settings.any_status { Statuses::Any } else { statuses.into() };
    let seconds = Duration::from_secs;
    let (percent, limit) = settings.heuristics;
    let mut policy = Policy::default()
        .default_ttl(seconds(settings.default_ttl))
        .heuristics(percent, seconds(limit))
        .stale_while_revalidate(seconds(settings.stale_while_revalidate))
        .stale_if_error(seconds(settings.stale_if_error))
        .targeted_fields(settings.targeted.iter().map(|name| HeaderName::from_static(name)))
        .request_directives(settings.heeds)
        .store_set_cookie(settings.set_cookie)
        .max_ranges(settings.max_ranges)
        .max_size(settings.max_size)
        .stale_on_request(seconds(settings.sharing.stale_on_request))
        .share_with_authorized(settings.sharing.with_authorized)
        .invalidate(settings.sharing.invalidate)
        .statuses(statuses);
    if settings.any_media {
        policy = policy.media_types(["*/*"]);
    }
    let Modes { fill, read_ahead, abandon, resumes, most_slices, fill_ahead, most_fills, most_promised } =
        settings.modes;
    let max_lead = fill_ahead * u64::from(settings.chunk_size);
    let fill = fill.max_lead(max_lead).read_ahead(read_ahead).max_calls(most_slices);
    let limits = Limits::default().max_fills(most_fills);
    let limits = most_promised.map_or(limits, |bytes| limits.max_reserved(bytes));

    VideoCacheLayer::new(shelf.clone())
        .policy(policy)
        .clock(clock.clone())
        .chunk_size(ChunkSize::new(settings.chunk_size).unwrap_or_default())
        .fill(fill)
        .abandon(abandon)
        .limits(limits)
        .retry(Retry::default().attempts(resumes).first_delay(Duration::ZERO))
}

fn asked(step: &Step, viewer: u64, seen: &HeaderMap, now: u64) -> Request<String> {
    let is_read = step.method == Method::GET || step.method == Method::HEAD;
    let mut request = Request::new(String::from(if is_read { "" } else { "content" }));
    request.method_mut().clone_from(&step.method);
    request.uri_mut().clone_from(&step.uri);
    *request.version_mut() = step.version;
    for (name, value) in &step.fields {
        if let Some(value) = value.render(now, seen) {
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    request.headers_mut().insert(VIEWER, HeaderValue::from(viewer));
    request
}

/// The result of a request, with the whole body.
async fn view(mut service: VideoCache<Origin>, request: Request<String>) -> End {
    if poll_fn(|cx| service.poll_ready(cx)).await.is_err() {
        return End::Failed;
    }
    let Ok(answer) = service.call(request).await else { return End::Failed };
    let (parts, body) = answer.into_parts();
    let mut viewed = Viewed {
        status: parts.status,
        headers: parts.headers,
        promised: body.size_hint().exact(),
        body: Vec::new(),
        failed: false,
    };
    let mut body = pin!(body);
    while let Some(frame) = next(body.as_mut()).await {
        match frame {
            Ok(data) => viewed.body.extend_from_slice(&data),
            Err(()) => viewed.failed = true,
        }
    }
    End::Viewed(viewed)
}

async fn next<B: Body<Data = Bytes>>(mut body: Pin<&mut B>) -> Option<Result<Bytes, ()>> {
    let frame = poll_fn(|cx| body.as_mut().poll_frame(cx)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()).map_err(drop))
}

/// About as many steps as the layer takes without waiting.
const TURNS: u32 = 2000;

/// Milliseconds of the paused clock in which every wait ends, such as the half second for which the rest of a first part is kept
/// up.
const WAITS: u32 = 600;

/// No answer needs this long, except if the layer waits for something that does not come.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use proptest::{
        strategy::{Strategy, ValueTree},
        test_runner::{self, RngAlgorithm, TestRng, TestRunner},
    };

    use super::*;

    #[test]
    fn any_bytes_are_answered_by_the_book() {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        let mut runner = TestRunner::new_with_rng(test_runner::Config::default(), rng);
        let scripts = proptest::collection::vec(0_u8.., 0..400);
        for _ in 0..300 {
            request(&scripts.new_tree(&mut runner).unwrap().current());
        }
    }
}
