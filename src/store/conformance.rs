//! The test suite that every [`Store`] must pass.
//!
//! Give [`check`] an empty store, or a store whose keys under `conformance/` and `p/conformance/` may be overwritten. The
//! check panics with a sentence that names the broken promise of the contract.
//!
//! ```
//! # #[cfg(feature = "moka")] {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! use tower_video_cache::{conformance, MokaStore};
//!
//! conformance::check(&MokaStore::new(64 << 20).unwrap()).await;
//! # });
//! # }
//! ```

use std::{
    future::Future,
    pin::pin,
    slice,
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;

use super::{Lease, PutNew, Store};

/// Checks each promise of the [`Store`] contract in turn.
///
/// The store needs room for 4 MiB. The contract lets a store forget a value at any time, so the check passes a store
/// that forgets some values. It fails a store that keeps no value at all.
///
/// # Panics
///
/// At the first promise that the store breaks.
pub async fn check<S: Store>(store: &S) {
    an_absent_key_is_none(store).await;
    a_value_comes_back_whole(store).await;
    a_value_of_any_size_comes_back_whole(store).await;
    the_last_value_put_wins(store).await;
    a_removed_key_is_none(store).await;
    keys_alike_are_kept_apart(store).await;
    the_longest_key_is_a_key(store).await;
    a_value_over_the_limit_is_never_cut(store).await;
    racing_puts_leave_one_whole_value(store).await;
    a_dropped_put_leaves_a_whole_value(store).await;
    a_lease_is_one_holders(store).await;
    a_new_value_is_one_writers(store).await;
}

async fn an_absent_key_is_none<S: Store>(store: &S) {
    let got = store.get("conformance/absent").await;
    assert!(matches!(got, Ok(None)), "get of a key never put is Ok(None), not {}", shown(&got));
}

async fn a_value_comes_back_whole<S: Store>(store: &S) {
    let mut kept = 0;
    for index in 0..16_u8 {
        let key = format!("conformance/value-{index}");
        put(store, &key, pattern(1000, index)).await;
        kept += usize::from(expect_one_of(store, &key, &[pattern(1000, index)]).await);
    }
    assert!(kept > 0, "of 16 values of 1000 bytes, at least one can be got right after its put");
}

async fn a_value_of_any_size_comes_back_whole<S: Store>(store: &S) {
    let chunk = (1 << 20) + 40;
    let largest =
        store.max_value_size().map_or(chunk, |limit| usize::try_from(limit).unwrap_or(chunk).min(chunk));
    for length in [0, 1, 255, 65_536, largest] {
        let key = format!("conformance/length-{length}");
        put(store, &key, pattern(length, 3)).await;
        expect_one_of(store, &key, &[pattern(length, 3)]).await;
    }
}

async fn the_last_value_put_wins<S: Store>(store: &S) {
    for (round, length) in [1000, 10, 2000].into_iter().enumerate() {
        let value = pattern(length, u8::try_from(round).unwrap_or(0));
        put(store, "conformance/overwritten", value.clone()).await;
        expect_one_of(store, "conformance/overwritten", &[value]).await;
    }
}

async fn a_removed_key_is_none<S: Store>(store: &S) {
    let key = "conformance/removed";
    put(store, key, pattern(100, 1)).await;
    for time in ["first", "second"] {
        let removed = store.remove(key).await;
        assert!(removed.is_ok(), "the {time} remove of a key is Ok, not {removed:?}");
        let got = store.get(key).await;
        assert!(matches!(got, Ok(None)), "get of a removed key is Ok(None), not {}", shown(&got));
    }
    let never = store.remove("conformance/never-put").await;
    assert!(never.is_ok(), "remove of a key never put is Ok, not {never:?}");
}

async fn keys_alike_are_kept_apart<S: Store>(store: &S) {
    // A store that turns keys into files must cope with a key that is the folder of another key.
    let keys =
        ["conformance/a", "conformance/a/b", "conformance/a/b/0", "conformance/a.b", "conformance/a-b_"];
    for (index, key) in keys.iter().enumerate() {
        put(store, key, pattern(64, u8::try_from(index).unwrap_or(0))).await;
    }
    for (index, key) in keys.iter().enumerate() {
        expect_one_of(store, key, &[pattern(64, u8::try_from(index).unwrap_or(0))]).await;
    }
}

async fn the_longest_key_is_a_key<S: Store>(store: &S) {
    let one = format!("conformance/{:0>116}", 1);
    let other = format!("conformance/{:0>116}", 2);
    put(store, &one, pattern(64, 1)).await;
    put(store, &other, pattern(64, 2)).await;
    expect_one_of(store, &one, &[pattern(64, 1)]).await;
    expect_one_of(store, &other, &[pattern(64, 2)]).await;
}

async fn a_value_over_the_limit_is_never_cut<S: Store>(store: &S) {
    let Some(over) = store.max_value_size().and_then(|limit| usize::try_from(limit.checked_add(1)?).ok())
    else {
        return;
    };
    // No chunk is as large as such a limit.
    if over > 64 << 20 {
        return;
    }
    let key = "conformance/too-large";
    if store.put(key, pattern(over, 5)).await.is_ok() {
        expect_one_of(store, key, &[pattern(over, 5)]).await;
    }
}

async fn racing_puts_leave_one_whole_value<S: Store>(store: &S) {
    let key = "conformance/raced";
    let values = [pattern(5000, 1), pattern(300, 2), pattern(70_000, 3)];
    let [first, second, third] = values.clone();
    let raced = tokio::join!(store.put(key, first), store.put(key, second), store.put(key, third));
    assert!(raced.0.is_ok() && raced.1.is_ok() && raced.2.is_ok(), "puts of one key at the same time are Ok");
    expect_one_of(store, key, &values).await;
}

async fn a_dropped_put_leaves_a_whole_value<S: Store>(store: &S) {
    let key = "conformance/dropped";
    let (before, after) = (pattern(40_000, 1), pattern(90_000, 2));
    put(store, key, before.clone()).await;
    {
        let mut dropped = pin!(store.put(key, after.clone()));
        // One poll begins the call, and probably leaves it half done.
        let _ = dropped.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    expect_one_of(store, key, &[before, after]).await;
}

async fn a_lease_is_one_holders<S: Store>(store: &S) {
    let key = "conformance/lease";
    let (one, other) = ("1".repeat(32), "2".repeat(32));
    let _ = store.remove(key).await;
    if matches!(store.lease(key, &one, A_MINUTE).await, Ok(Lease::NotOffered)) {
        return;
    }
    expect_lease(store, &other, Lease::Taken, "while another holder has it").await;
    expect_renewed(store, &one, true).await;
    expect_renewed(store, &other, false).await;
    expect_released(store, &other).await;
    expect_lease(store, &other, Lease::Taken, "after a release by another holder").await;
    expect_released(store, &one).await;
    expect_renewed(store, &one, false).await;
    expect_lease(store, &other, Lease::Granted, "after it was released").await;
    expect_lease(store, &one, Lease::Taken, "while another holder has it").await;
    let removed = store.remove(key).await;
    assert!(removed.is_ok(), "remove of a lease is Ok, not {removed:?}");
    expect_lease(store, &one, Lease::Granted, "after its key was removed").await;
    expect_released(store, &one).await;
}

async fn expect_lease<S: Store>(store: &S, holder: &str, lease: Lease, when: &str) {
    let got = store.lease("conformance/lease", holder, A_MINUTE).await;
    assert!(matches!(got, Ok(got) if got == lease), "a lease is {lease:?} {when}, not {got:?}");
}

async fn expect_renewed<S: Store>(store: &S, holder: &str, renewed: bool) {
    let got = store.renew("conformance/lease", holder, A_MINUTE).await;
    assert!(
        matches!(got, Ok(got) if got == renewed),
        "renew of a lease is Ok(true) for its holder and Ok(false) for others, here Ok({renewed}), not {got:?}"
    );
}

async fn expect_released<S: Store>(store: &S, holder: &str) {
    let released = store.release("conformance/lease", holder).await;
    assert!(released.is_ok(), "release of a lease, held or not, is Ok, not {released:?}");
}

async fn a_new_value_is_one_writers<S: Store>(store: &S) {
    let (key, value, other) = ("p/conformance/new", pattern(300, 1), pattern(500, 2));
    let removed = store.remove(key).await;
    assert!(removed.is_ok(), "remove of a key never put is Ok, not {removed:?}");
    let first = store.put_new(key, value.clone()).await;
    if matches!(first, Ok(PutNew::NotOffered)) {
        expect_put_new(store, key, value.clone(), PutNew::NotOffered, "after it was not offered").await;
        let got = store.get(key).await;
        assert!(matches!(got, Ok(None)), "a put of a new value that is not offered keeps none");
        return;
    }
    assert!(
        matches!(first, Ok(PutNew::Created)),
        "a put of a new value is Created under a key never put, not {first:?}"
    );
    expect_one_of(store, key, slice::from_ref(&value)).await;
    expect_put_new(store, key, other.clone(), PutNew::Exists, "while the key has a value").await;
    expect_one_of(store, key, slice::from_ref(&value)).await;
    let (either, put) = ([value, other.clone()], store.put(key, other.clone()).await);
    expect_put_new(store, key, pattern(700, 3), PutNew::Exists, "while the key has a value").await;
    expect_one_of(store, key, if put.is_ok() { slice::from_ref(&other) } else { &either }).await;
    let removed = store.remove(key).await;
    assert!(removed.is_ok(), "remove of a new value is Ok, not {removed:?}");
    expect_put_new(store, key, other.clone(), PutNew::Created, "after the value was removed").await;
    expect_one_of(store, key, &[other]).await;
    for round in 0..4 {
        racing_puts_of_a_new_value_create_one(store, &format!("p/conformance/raced-{round}")).await;
    }
}

async fn racing_puts_of_a_new_value_create_one<S: Store>(store: &S, key: &str) {
    let _ = store.remove(key).await;
    let value = |racer: u8| pattern(4000 + usize::from(racer), racer);
    // Boxed, because eight calls in one future are large.
    let put = |racer| Box::pin(store.put_new(key, value(racer)));
    let raced = tokio::join!(put(0), put(1), put(2), put(3), put(4), put(5), put(6), put(7));
    let raced = [raced.0, raced.1, raced.2, raced.3, raced.4, raced.5, raced.6, raced.7];
    let is = |put: &Result<_, _>, expected| matches!(put, Ok(put) if *put == expected);
    let created: Vec<_> = (0..)
        .zip(&raced)
        .filter(|(_, put)| is(put, PutNew::Created))
        .map(|(racer, _)| value(racer))
        .collect();
    let others = raced.iter().filter(|put| is(put, PutNew::Exists)).count();
    assert!(
        (created.len(), others) == (1, 7),
        "one of eight puts of a new value at the same time is Created, and the others are Exists, not {raced:?}"
    );
    expect_one_of(store, key, &created).await;
}

async fn expect_put_new<S: Store>(store: &S, key: &str, value: Bytes, expected: PutNew, when: &str) {
    let put = store.put_new(key, value).await;
    assert!(
        matches!(put, Ok(put) if put == expected),
        "a put of a new value is {expected:?} {when}, not {put:?}"
    );
}

async fn put<S: Store>(store: &S, key: &str, value: Bytes) {
    let length = value.len();
    let put = store.put(key, value).await;
    assert!(put.is_ok(), "put of {length} bytes under {key} is Ok, not {put:?}");
}

/// Whether the store has a value. If so, the value must be one of those that were put.
#[expect(clippy::panic, reason = "the suite panics at a broken promise")]
async fn expect_one_of<S: Store>(store: &S, key: &str, values: &[Bytes]) -> bool {
    let got = store.get(key).await;
    match &got {
        Ok(None) => false,
        Ok(Some(value)) if values.contains(value) => true,
        _ => {
            let lengths: Vec<_> = values.iter().map(Bytes::len).collect();
            panic!(
                "get of {key} gives a value of {lengths:?} bytes as it was put, or None, not {}",
                shown(&got)
            )
        }
    }
}

/// Longer than the check runs.
const A_MINUTE: Duration = Duration::from_secs(60);

fn shown(got: &Result<Option<Bytes>, crate::BoxError>) -> String {
    match got {
        Ok(None) => "Ok(None)".to_owned(),
        Ok(Some(value)) => format!("another value, of {} bytes", value.len()),
        Err(error) => format!("the error {error}"),
    }
}

/// `length` bytes in which every byte value occurs, different for each `seed`.
fn pattern(length: usize, seed: u8) -> Bytes {
    let all: Vec<u8> = (0..=u8::MAX).map(|byte| byte.wrapping_mul(31).wrapping_add(seed)).collect();
    let mut bytes = Bytes::from(all.repeat(length.div_ceil(all.len())));
    bytes.truncate(length);
    bytes
}
