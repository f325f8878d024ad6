//! Whole requests against a layer whose store and inner service are in memory.

use std::{
    future::poll_fn,
    pin::{pin, Pin},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{header, HeaderMap, HeaderName, Method, Request, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::{
    origin::Origin,
    script::{Script, Settings, Step},
    shelf::{Hand, Shelf},
    verdict::{Judge, Viewed},
};
use crate::{
    engine::{Config, Engine},
    ChunkSize, Policy, VideoCache,
};

/// `data` is a script: settings, and up to 6 requests with what the inner service would answer to each.
///
/// # Panics
///
/// If an answer is neither what the inner service has just answered, nor one that a cache may give by RFC 9110 and 9111.
pub fn request(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    assert!(runtime.is_ok(), "{runtime:?}");
    if let Ok(runtime) = runtime {
        runtime.block_on(play(Script::read(data)));
    }
}

async fn play(script: Script) {
    let (origin, clock) = (Origin::new(), Hand::new());
    let shelf = Shelf::new(script.settings.can_alter, script.settings.capacity);
    let service = VideoCache::new(origin.clone(), Arc::new(engine(&script.settings, &shelf, &clock)));
    let mut judge = Judge::default();
    for step in script.steps {
        let now = clock.moved(step.elapsed);
        if let Some(number) = step.evict {
            shelf.evict(number);
            judge.evicted = true;
        }
        let (asked, first) = {
            let mut world = origin.world();
            world.now = now;
            world.turn(step.answer.clone());
            (asked(&step, &world.seen, now), world.calls.len())
        };
        let viewed = view(service.clone(), asked.clone()).await;
        // What was begun behind the answer ends before the world turns.
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        let mut world = origin.world();
        judge.judge(&world, first, &asked.into_parts().0, viewed.as_ref());
        for name in [header::ETAG, header::LAST_MODIFIED, header::DATE] {
            let value = viewed.as_ref().and_then(|viewed| viewed.headers.get(&name));
            if let Some(value) = value.cloned() {
                world.seen.insert(name, value);
            }
        }
    }
}

/// Made without the layer's setters: each of them makes an engine anew, and a run should not take a millisecond.
fn engine(settings: &Settings, shelf: &Shelf, clock: &Hand) -> Engine {
    let statuses = settings.statuses.iter().filter_map(|code| StatusCode::from_u16(*code).ok());
    let mut policy = Policy::default()
        .default_ttl(Duration::from_secs(settings.default_ttl))
        .max_size(settings.max_size)
        .statuses(statuses);
    if settings.any_media {
        policy = policy.media(["*/*"]);
    }
    let mut config = Config::new(clock.clone());
    config.policy = policy;
    config.chunk_size = ChunkSize::new(settings.chunk_size).unwrap_or_default();
    Engine::new(config, Arc::new(shelf.clone()))
}

fn asked(step: &Step, seen: &HeaderMap, now: u64) -> Request<String> {
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
    request
}

/// The answer to a request, with all of its body; `None` if the inner service's error came instead.
async fn view(mut service: VideoCache<Origin>, request: Request<String>) -> Option<Viewed> {
    poll_fn(|cx| service.poll_ready(cx)).await.ok()?;
    let (parts, body) = service.call(request).await.ok()?.into_parts();
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
    Some(viewed)
}

async fn next<B: Body<Data = Bytes>>(mut body: Pin<&mut B>) -> Option<Result<Bytes, ()>> {
    let frame = poll_fn(|cx| body.as_mut().poll_frame(cx)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()).map_err(drop))
}

/// More than the steps that anything in the layer takes without waiting.
const TURNS: u32 = 16;

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
