//! The setters of the layer, the values that they refuse, and the accessors of the service.

use std::num::NonZeroUsize;

use http::Method;
use tower_video_cache::{
    CacheKey, CacheStatus, ChunkSize, Fault, Fill, Limits, MokaStore, Operation, Policy, Timeouts, VideoCache,
};

use crate::rig::{CHUNK, Gate, PATH, Rig, Script, Step, movie, seconds, settle};

#[tokio::test]
async fn the_clones_of_a_layer_join_one_fill_and_a_setter_makes_a_cache_of_its_own() {
    let gate = Gate::shut();
    let mut rig = Rig::new().script(PATH, Script::movie(PATH, 2500).held_by(&gate));
    let one = rig.get(PATH).start();
    settle().await;
    rig.layer = rig.layer.clone();
    let joining = rig.get(PATH).start();
    settle().await;
    rig.inner.was_called(1);

    // The setter comes after the first service.
    let set = Rig { layer: rig.layer.clone().timeouts(Timeouts::default()), ..rig };
    let alone = set.get(PATH).start();
    settle().await;
    set.inner.was_called(2);
    gate.open();
    for viewer in [one, joining, alone] {
        viewer.await.unwrap().whole(&movie(PATH, 2500));
    }
    // Both find what is stored.
    set.get(PATH).send().await.whole(&movie(PATH, 2500)).is_hit();
    set.inner.was_called(2);
}

#[tokio::test]
async fn layers_that_setters_made_of_one_reserve_half_of_the_store_together() {
    let gate = Gate::shut();
    let held = Script::movie(PATH, 6000).step(3, Step::Wait(gate.clone()));
    // Half of the store has room for either of the two, and not for both.
    let rig = Rig::with_capacity(40_000).script(PATH, held).movie("/b.mp4", 7500);
    let first = rig.get(PATH).start();
    gate.reached_by(1).await;
    let other = rig.layer(|layer| layer.policy(Policy::default().max_ranges(7)));
    let answer = other.get("/b.mp4").send().await;
    answer.whole(&movie("/b.mp4", 7500));
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=no-room");
    gate.open();
    first.await.unwrap().whole(&movie(PATH, 6000));
    other.get("/b.mp4").send().await.whole(&movie("/b.mp4", 7500));
    other.get("/b.mp4").send().await.whole(&movie("/b.mp4", 7500)).is_hit();
}

#[tokio::test]
async fn a_handle_counts_what_the_services_of_its_layer_met() {
    let rig = Rig::new().script(PATH, Script::movie(PATH, 2500).honours_ranges().header("etag", "\"v1\""));
    let cache = rig.layer.handle();
    rig.store.spoil(Operation::Put, 2, Fault::Corrupt);
    rig.get(PATH).send().await.whole(&movie(PATH, 2500));
    assert!(cache.stats().damaged_chunks > 0);
    assert_eq!(cache.clone().stats(), rig.layer.handle().stats());
    let another = rig.layer(|layer| layer.limits(Limits::default().max_fills(NonZeroUsize::MIN)));
    assert_eq!(another.layer.handle().stats().damaged_chunks, 0);
}

#[tokio::test]
async fn a_service_with_default_settings_gives_access_to_the_inner_one() {
    let rig = Rig::new().movie(PATH, 2500);
    let mut service = VideoCache::new(rig.inner.clone(), MokaStore::new(1 << 20).unwrap());
    let rig = Rig { inner: service.get_ref().clone(), ..rig };
    rig.inner.was_called(0);
    *service.get_mut() = rig.inner.clone();
    for _ in 0..2 {
        Rig::ask_of(service.clone(), Method::GET, PATH).send().await.whole(&movie(PATH, 2500));
    }
    service.into_inner().was_called(1);
}

#[tokio::test]
async fn media_types_are_added_to_the_default_ones_or_replace_them() {
    let poster =
        || Script::movie("/a.webp", 100).without("content-type").header("content-type", "image/webp");
    for (policy, kept) in [
        (Policy::default(), [true, false]),
        (Policy::default().also_media_types(["image/webp"]), [true, true]),
        (Policy::default().media_types(["image/webp"]), [false, true]),
    ] {
        let rig = Rig::new().layer(|layer| layer.policy(policy));
        rig.inner.answer("/a.webp", poster());
        rig.inner.answer(PATH, Script::movie(PATH, 100));
        for (path, is_kept) in [PATH, "/a.webp"].into_iter().zip(kept) {
            rig.get(path).send().await.whole(&movie(path, 100));
            let again = rig.get(path).send().await;
            assert_eq!(again.cache_status().contains("; hit"), is_kept, "{path} {}", again.cache_status());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_because_the_store_hangs_says_so() {
    let rig =
        Rig::new().movie(PATH, 2500).layer(|layer| layer.timeouts(Timeouts::default().store(seconds(1))));
    rig.get(PATH).send().await.whole(&movie(PATH, 2500));
    let mut reading = rig.get(PATH).reading().await;
    reading.ready();
    rig.store.spoil_from(Operation::Get, rig.store.calls(Operation::Get) + 1, Fault::Hang);
    rig.inner.answer(PATH, Script::absent().fails());
    let answer = reading.rest().await;
    assert_eq!(answer.bytes, movie(PATH, 2500).slice(..CHUNK as usize));
    let error = answer.error.expect("the body ends with an error");
    assert!(error.is_timeout() && error.is_store() && !error.is_config(), "{error:?}");
}

#[test]
fn settings_out_of_their_bounds_are_refused_by_name() {
    for error in [
        ChunkSize::new(0).unwrap_err(),
        ChunkSize::try_from((64 << 20) + 1).unwrap_err(),
        MokaStore::new(0).unwrap_err(),
        CacheStatus::named("").unwrap_err(),
        CacheStatus::named("caché").unwrap_err(),
        "x".repeat(129).parse::<CacheStatus>().unwrap_err(),
    ] {
        assert!(error.is_config() && !error.is_store() && !error.is_timeout(), "{error}");
    }
}

#[test]
fn a_key_is_made_of_text_or_bytes() {
    let keys = [CacheKey::from("a"), CacheKey::from("a".to_owned()), CacheKey::from(vec![b'a'])];
    assert!(keys.iter().all(|key| *key == CacheKey::new("a")));
}

#[tokio::test]
async fn the_chunks_of_a_small_store_are_cut_so_that_two_fit() {
    // A chunk weighs 512 bytes more than it has, and half of the store holds 2100.
    let rig = Rig::with_capacity(4200).fill(Fill::sliced());
    let script = Script::movie(PATH, 3000).header("etag", "\"v1\"").honours_ranges();
    let rig = rig.layer(|layer| layer.chunk_size(ChunkSize::new(1 << 20).unwrap())).script(PATH, script);
    let part = || rig.get(PATH).range("bytes=0-9").send();
    part().await.partial(&movie(PATH, 3000), 0..10);
    rig.get(PATH).range("bytes=1500-1587").send().await.partial(&movie(PATH, 3000), 1500..1588).is_hit();
    part().await.partial(&movie(PATH, 3000), 0..10).is_hit();
    assert_eq!(rig.inner.ranges(PATH), ["bytes=0-1587"]);
}
