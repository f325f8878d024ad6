//! A hundred videos that are stored at the same time.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::Empty;
use tower::{Layer, ServiceExt, service_fn};
use tower_video_cache::{BoxError, ChunkSize, Fill, ManualClock, Timeouts, VideoCacheLayer};

use crate::{
    ANSWERS, KIB, MODES, heap_of,
    movie::{Answer, Gate, Movie},
    runtime,
    stores::Reel,
    turn,
};

#[test]
fn a_hundred_fills_at_once_hold_two_chunks_each() {
    let _turn = turn();
    for mode in MODES {
        for answer in ANSWERS {
            let ahead = if mode == Fill::sliced() && answer == Answer::InParts { READ_AHEAD } else { 0 };
            let most = 2 * CHUNK + ahead + REST;
            let layer = layer().fill(mode.read_ahead(READ_AHEAD.try_into().unwrap()));
            let each = heap_of(&runtime(), shown_at_once(layer, answer)) / usize::try_from(MOVIES).unwrap();
            println!("{mode:?} of {answer:?}: {} KiB of heap for each fill", each / KIB);
            assert!(each <= most, "{mode:?} of {answer:?}: {} KiB of {}", each / KIB, most / KIB);
        }
    }
}

fn layer() -> VideoCacheLayer {
    let layer =
        VideoCacheLayer::new(Reel::new()).chunk_size(ChunkSize::new(CHUNK.try_into().unwrap()).unwrap());
    let layer = layer.timeouts(Timeouts::default().store(Duration::from_secs(60)));
    layer.clock(ManualClock::starting_at(UNIX_EPOCH))
}

/// Has each video watched to its end, by a client of its own.
async fn shown_at_once(layer: VideoCacheLayer, answer: Answer) {
    let gate = Gate::for_movies(MOVIES);
    let inner = service_fn(move |request: Request<Empty<Bytes>>| {
        let number = request.uri().path().trim_start_matches('/').parse().unwrap();
        let film = answer.to(&request, Movie { number, length: LENGTH }, Some(Arc::clone(&gate)));
        std::future::ready(Ok::<_, BoxError>(film))
    });
    let service = &layer.layer(inner);
    join_all((0..MOVIES).map(|number| async move {
        let request = Request::get(format!("/{number}")).body(Empty::new()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        let status = response.headers()["cache-status"].to_str().unwrap();
        let is_on_its_way = status.ends_with("; detail=storing");
        assert!(is_on_its_way || !status.contains("detail"), "{status}");
        Movie { number, length: LENGTH }.watch(response.into_body()).await.unwrap();
    }))
    .await;
}

const MOVIES: u64 = 100;
/// Not a multiple of a chunk.
const LENGTH: u64 = (4 << 20) + 12_345;
const CHUNK: usize = 256 * KIB;
const READ_AHEAD: usize = 2 * CHUNK;
/// The memory of a fill beside chunks: its tasks, its records, its request and response.
const REST: usize = 32 * KIB;
