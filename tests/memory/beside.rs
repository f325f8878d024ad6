//! Memory beside the store: for bodies that nobody reads, and for requests with large fields.

use std::{collections::VecDeque, sync::Mutex, time::UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_video_cache::{BoxError, ChunkSize, ManualClock, Store, VideoCacheLayer};

use crate::{HEAP, KIB, MIB, MODES, heap_of, runtime, turn};

/// Bodies that nobody reads, each of a video of its own.
const VIEWERS: u64 = 50;
const CHUNK: usize = 256 * KIB;
const LENGTH: usize = 8 * CHUNK;
/// Room for two of the videos.
const STORE: usize = 4 * MIB + 512 * KIB;

/// The memory of a body beside chunks: the request, the record of the response, and the body's own state.
const REST: usize = 16 * KIB;

fn layer(store: usize) -> VideoCacheLayer {
    VideoCacheLayer::new(Shelf { values: Mutex::default(), most: store })
        .chunk_size(ChunkSize::new(CHUNK.try_into().unwrap()).unwrap())
        .clock(ManualClock::starting_at(UNIX_EPOCH))
}

/// A store that holds this many bytes and no more, at any moment.
struct Shelf {
    values: Mutex<VecDeque<(String, Bytes)>>,
    most: usize,
}

impl Store for Shelf {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        let values = self.values.lock().unwrap();
        Ok(values.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone()))
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        self.remove(key).await?;
        let mut values = self.values.lock().unwrap();
        values.push_back((key.to_owned(), value));
        while values.iter().map(|(_, value)| value.len()).sum::<usize>() > self.most {
            values.pop_front();
        }
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        self.values.lock().unwrap().retain(|(known, _)| known != key);
        Ok(())
    }
}

/// Videos that share no buffer.
async fn movie(_: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, BoxError> {
    let response = Response::builder().header(header::CONTENT_TYPE, "video/mp4");
    Ok(response.header(header::CONTENT_LENGTH, LENGTH).body(Full::new(vec![7; LENGTH].into()))?)
}

#[test]
fn a_body_that_nobody_reads_holds_one_chunk_and_after_its_first_frame_none() {
    let _turn = turn();
    for (mode, range) in MODES
        .into_iter()
        .flat_map(|mode| ["bytes=0-", "bytes=5-", "bytes=0-9,1000000-1000009"].map(|range| (mode, range)))
    {
        let name = format!("{mode:?}, {range}");
        let runtime = runtime();
        let (service, mut bodies) = (layer(STORE).fill(mode).layer(service_fn(movie)), Vec::new());
        let before = HEAP.current_usage();
        runtime.block_on(async {
            for number in 0..VIEWERS {
                let ask = || Request::get(format!("/{number}")).body(Empty::new()).unwrap();
                // The video is stored as a whole first, so the later reads are hits.
                let stored = service.clone().oneshot(ask()).await.unwrap();
                stored.into_body().collect().await.unwrap();
                // The commit comes after the last byte.
                for _ in 0..100_000 {
                    let mut head = ask();
                    *head.method_mut() = Method::HEAD;
                    let told = service.clone().oneshot(head).await.unwrap();
                    if is_hit(&told) {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                let mut request = ask();
                request.headers_mut().insert(header::RANGE, range.parse().unwrap());
                let hit = service.clone().oneshot(request).await.unwrap();
                assert!(is_hit(&hit), "{name}");
                bodies.push(hit.into_body());
            }
            all_is_quiet().await;
        });
        let unread = HEAP.current_usage().saturating_sub(before).saturating_sub(STORE)
            / usize::try_from(VIEWERS).unwrap();
        println!("{name}: {} KiB for each body that nobody has read", unread / KIB);
        assert!(unread <= CHUNK + REST, "{name}: {} KiB", unread / KIB);

        runtime.block_on(async {
            for body in &mut bodies {
                // The first frame is the delimiter of a part, or the first chunk.
                for _ in 0..if range.contains(',') { 2 } else { 1 } {
                    body.frame().await.unwrap().unwrap();
                }
                assert!(!body.is_end_stream());
            }
            all_is_quiet().await;
        });
        let begun = HEAP.current_usage().saturating_sub(before).saturating_sub(STORE)
            / usize::try_from(VIEWERS).unwrap();
        println!("{name}: {} KiB for each body that nobody reads on", begun / KIB);
        assert!(begun <= REST, "{name}: {} KiB", begun / KIB);
    }
}

fn is_hit<T>(response: &Response<T>) -> bool {
    response.headers()["cache-status"].to_str().unwrap().contains("; hit")
}

/// Lets the tasks of fills and of the store end.
async fn all_is_quiet() {
    // Tasks on another thread may need a moment.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn large_request_fields_are_not_kept_when_a_response_may_not_be_stored() {
    large_fields("private", "cookie");
}

#[test]
fn large_request_fields_are_kept_in_the_store_alone() {
    large_fields("max-age=600", "cookie");
    large_fields("max-age=600", "x-a");
}

/// Requests, each with a large field that the response varies by.
#[track_caller]
fn large_fields(cache_control: &'static str, vary: &'static str) {
    const FIELD: usize = 100 * KIB;
    const REQUESTS: u64 = 1000;
    let _turn = turn();
    let inner = service_fn(move |_: Request<Empty<Bytes>>| {
        let response =
            Response::builder().header(header::CONTENT_TYPE, "video/mp4").header(header::VARY, vary);
        let response = response.header(header::CACHE_CONTROL, cache_control);
        std::future::ready(Ok::<_, BoxError>(response.body(Full::new(Bytes::from_static(b"x"))).unwrap()))
    });
    let service = layer(STORE).layer(inner);
    let grown = heap_of(&runtime(), async {
        for number in 0..REQUESTS {
            let value = format!("{number}={}", "a".repeat(FIELD));
            let request = Request::get(format!("/{number}")).header(vary, value).body(Empty::new()).unwrap();
            let response = service.clone().oneshot(request).await.unwrap();
            response.into_body().collect().await.unwrap();
        }
    });
    println!(
        "{cache_control}, by {vary}: {} KiB of heap beside the store",
        grown.saturating_sub(STORE) / KIB
    );
    assert!(grown <= STORE + 8 * MIB, "{} KiB of heap", grown / KIB);
}
