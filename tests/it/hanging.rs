//! Clients do not pay for a store that hangs: the cache leaves such a store alone for a while.

use std::time::Duration;

use http::Method;
use tokio::time::{Instant, advance};
use tower_video_cache::{Fault, Operation};

use crate::rig::{Call, Gate, Nodes, PATH, Rig, Script, Step, Trouble, movie, seconds, settle};

const LENGTH: usize = 5500;

/// Longer than a call of the store may take.
const TOO_LONG: Fault = Fault::Slow(Duration::from_millis(2500));

fn film() -> Script {
    Script::movie(PATH, LENGTH).header("cache-control", "max-age=60")
}

/// The video is stored, and three others can be put.
async fn stored(film: Script) -> Rig {
    let rig = Rig::new().script(PATH, film).movie("/1", 900).movie("/2", 900).movie("/3", 900);
    rig.get(PATH).send().await.whole(&movie(PATH, LENGTH));
    rig
}

/// Three puts at once take too long.
async fn are_put_slowly(rig: &Rig) {
    rig.store.spoil_from(Operation::Put, rig.store.calls(Operation::Put) + 1, TOO_LONG);
    let others: Vec<_> = ["/1", "/2", "/3"].map(|path| rig.get(path).start()).into();
    for other in others {
        other.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn slow_puts_cut_off_no_client_that_reads() {
    let rig = stored(film()).await;
    let mut reading = rig.get(PATH).reading().await;
    reading.next().await.unwrap().unwrap();
    are_put_slowly(&rig).await;
    reading.rest().await.whole(&movie(PATH, LENGTH));
    rig.get(PATH).send().await.is_hit().whole(&movie(PATH, LENGTH));
    rig.inner.was_called(4);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_begun_to_read_is_not_refused() {
    let rig = stored(film()).await;
    let mut reading = rig.get(PATH).reading().await;
    reading.next().await.unwrap().unwrap();
    let gets = rig.store.calls(Operation::Get);
    rig.store.spoil_from(Operation::Get, gets + 1, Fault::Hang);
    let others: Vec<_> = ["/1", "/2", "/3"].map(|path| rig.get(path).start()).into();
    for other in others {
        other.await.unwrap();
    }
    rig.store.heal();
    let calls = rig.inner.calls().len();
    reading.rest().await.whole(&movie(PATH, LENGTH));
    rig.inner.was_called(calls);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_could_not_be_read_is_not_removed() {
    let gate = Gate::shut();
    let known = || film().header("etag", "\"v1\"").honours_conditions();
    let rig = stored(known()).await;
    rig.clock.advance(seconds(100));
    rig.inner.answer(PATH, known().held_by(&gate));
    let validated = rig.get(PATH).start();
    gate.reached_by(1).await;
    are_put_slowly(&rig).await;
    let removes = rig.store.calls(Operation::Remove);
    gate.open();
    validated.await.unwrap().whole(&movie(PATH, LENGTH));
    assert_eq!(rig.store.calls(Operation::Remove), removes);
    rig.store.heal();
    advance(seconds(10)).await;
    rig.inner.answer(PATH, known());
    let next = rig.get(PATH).send().await;
    next.whole(&movie(PATH, LENGTH));
    assert!(next.cache_status().contains("fwd-status=304"), "{}", next.cache_status());
}

#[tokio::test(start_paused = true)]
async fn a_failed_remove_is_tried_again_by_one_request_at_a_time() {
    let rig = Rig::new().movie(PATH, 900);
    rig.get(PATH).send().await;
    for operation in [Operation::Get, Operation::Put, Operation::Remove] {
        rig.store.spoil_from(operation, 1, Fault::Hang);
    }
    rig.ask(Method::PUT, PATH).send().await;
    let mut waits = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        rig.get(PATH).send().await.whole(&movie(PATH, 900));
        waits.push(began.elapsed());
    }
    waits.sort();
    assert!(waits[15].is_zero(), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_remove_is_tried_again_though_no_client_asks() {
    let nodes = Nodes::new(2);
    nodes.inner.answer(PATH, film());
    nodes[0].get(PATH).send().await.whole(&movie(PATH, LENGTH));
    nodes[0].store.spoil_from(Operation::Remove, 1, Fault::Error);
    nodes[0].ask(Method::DELETE, PATH).send().await;
    // However long the store fails, the record is removed a second after the store is well again.
    tokio::time::sleep(seconds(100)).await;
    nodes[0].store.heal();
    tokio::time::sleep(seconds(1)).await;
    let status = nodes[1].get(PATH).send().await.cache_status().to_owned();
    assert!(status.contains("fwd=uri-miss"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_remove_is_made_good_after_the_first_call_that_is_answered() {
    let nodes = Nodes::new(2);
    nodes.inner.answer(PATH, film());
    nodes.inner.answer("/1", Script::movie("/1", 900));
    nodes[0].get(PATH).send().await;
    for operation in [Operation::Get, Operation::Put, Operation::Remove] {
        nodes[0].store.spoil_from(operation, 1, Fault::Error);
    }
    nodes[0].ask(Method::DELETE, PATH).send().await;
    // One try has failed. The next is due in almost a second, or when a request is answered.
    tokio::time::sleep(Duration::from_millis(1150)).await;
    nodes[0].store.heal();
    nodes[0].get("/1").send().await;
    settle().await;
    let status = nodes[1].get(PATH).send().await.cache_status().to_owned();
    assert!(status.contains("fwd=uri-miss"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_request_waits_once_for_a_store_that_hangs() {
    let nodes = Nodes::new(1);
    nodes.inner.answer(PATH, film());
    for operation in [Operation::Get, Operation::Put, Operation::Remove] {
        nodes[0].store.spoil_from(operation, 1, Fault::Hang);
    }
    let began = Instant::now();
    nodes[0].ask(Method::DELETE, PATH).send().await;
    assert_eq!(began.elapsed(), seconds(2));
}

#[tokio::test(start_paused = true)]
async fn a_fill_of_another_node_whose_lease_could_not_be_removed_is_not_believed_later() {
    let nodes = Nodes::new(2);
    let gate = Gate::shut();
    let of = |path| Script::movie(path, LENGTH).header("cache-control", "max-age=600");
    nodes.inner.answer_each(
        PATH,
        [of("/old").step(2, Step::Wait(gate.clone())), Script::absent().status(204), of("/new")],
    );
    let before = nodes[0].get(PATH).start();
    gate.reached_by(1).await;
    nodes[1].store.spoil_from(Operation::Remove, 1, Fault::Error);
    nodes[1].ask(Method::DELETE, PATH).send().await;
    nodes[1].store.heal();
    let after = nodes[1].get(PATH).start();
    tokio::time::sleep(seconds(1)).await;
    gate.open();
    before.await.unwrap().whole(&movie("/old", LENGTH));
    after.await.unwrap().whole(&movie("/new", LENGTH));
    nodes[1].get(PATH).send().await.is_hit().whole(&movie("/new", LENGTH));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_checked_after_the_put_is_lost() {
    let nodes = Nodes::new(2);
    let gate = Gate::shut();
    let of = |path| Script::movie(path, LENGTH).header("cache-control", "max-age=600");
    nodes.inner.answer_each(
        PATH,
        [of("/old").step(4, Step::Wait(gate.clone())), Script::absent().status(204), of("/new")],
    );
    let before = nodes[0].get(PATH).start();
    gate.reached_by(1).await;
    let puts = nodes[0].store.calls(Operation::Put);
    nodes[0].store.spoil_from(Operation::Put, puts + 1, Fault::Slow(seconds(1)));
    gate.open();
    // The two remaining chunks are put, and the record is on its way.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(nodes[0].store.calls(Operation::Put) - puts, 3);
    nodes[1].ask(Method::DELETE, PATH).send().await;
    nodes.leases.spoil(Call::Renew, Trouble::Error);
    before.await.unwrap().whole(&movie("/old", LENGTH));
    nodes.leases.mend();
    nodes[0].store.heal();
    nodes[1].get(PATH).send().await.whole(&movie("/new", LENGTH));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_checked_before_the_put_leaves_the_stored_response() {
    let nodes = Nodes::new(1);
    let known = || film().header("etag", "\"v1\"").honours_conditions();
    nodes.inner.answer(PATH, known());
    nodes[0].get(PATH).send().await.whole(&movie(PATH, LENGTH));
    nodes.clock.advance(seconds(100));
    nodes.leases.spoil(Call::Renew, Trouble::Error);
    nodes[0].get(PATH).send().await.whole(&movie(PATH, LENGTH));
    nodes.leases.mend();
    let next = nodes[0].get(PATH).send().await;
    next.whole(&movie(PATH, LENGTH));
    assert!(next.cache_status().contains("fwd-status=304"), "{}", next.cache_status());
}

#[tokio::test(start_paused = true)]
async fn a_remove_that_is_tried_again_takes_no_lease_of_a_later_fill() {
    let nodes = Nodes::new(1);
    let gate = Gate::shut();
    let new = Script::movie("/new", LENGTH).step(2, Step::Wait(gate.clone()));
    nodes.inner.answer_each(PATH, [film(), Script::absent().status(204), new]);
    nodes[0].get(PATH).send().await.whole(&movie(PATH, LENGTH));
    // The DELETE removes a lease and the record. Each further try removes only the record.
    let removes = nodes[0].store.calls(Operation::Remove);
    for nth in [1, 2, 5, 6, 7] {
        nodes[0].store.spoil(Operation::Remove, removes + nth, Fault::Error);
    }
    nodes[0].ask(Method::DELETE, PATH).send().await;
    let first = nodes[0].get(PATH).start();
    gate.reached_by(1).await;
    tokio::time::sleep(seconds(3)).await;
    let second = nodes[0].get(PATH).start();
    settle().await;
    assert!(nodes[0].store.calls(Operation::Remove) - removes > 5, "the remove was tried again");
    gate.open();
    for viewer in [first, second] {
        viewer.await.unwrap().whole(&movie("/new", LENGTH));
    }
    nodes[0].get(PATH).send().await.is_hit().whole(&movie("/new", LENGTH));
    nodes.inner.was_called(3);
}
