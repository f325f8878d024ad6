//! Several nodes over one store: by the store's leases, one node fills for all.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::{Layer, ServiceExt, limit::ConcurrencyLimitLayer};
use tower_video_cache::{Abandon, Fault, Fill, Limits, Operation, Policy, Retry, Timeouts};

use crate::rig::{Answer, Call, Gate, Nodes, PATH, Script, Step, Trouble, movie, seconds, settle};

/// Five chunks.
const LENGTH: usize = 5000;

/// The time for a few questions for another node's lease. The questions come at random times, half a second apart at
/// most.
const A_FEW_QUESTIONS: Duration = Duration::from_millis(1700);

fn truth() -> Bytes {
    movie(PATH, LENGTH)
}

fn known() -> Script {
    Script::movie(PATH, LENGTH).header("etag", "\"v1\"").honours_ranges().honours_conditions()
}

/// This many clients on each node, all at once.
fn crowd(nodes: &Nodes, each: usize) -> Vec<JoinHandle<Answer>> {
    nodes.all.iter().flat_map(|node| (0..each).map(|_| node.get(PATH).start())).collect()
}

async fn all(viewers: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for viewer in viewers {
        answers.push(viewer.await.unwrap());
    }
    answers
}

/// Has the first node store one variant and hold the fill of another at this step. The inner service then answers
/// with a 204, and after that with the new response. Returns the gate, and the request that waits for the second
/// variant.
async fn hold_a_variant(
    nodes: &Nodes,
    variant: impl Fn(&str) -> Script,
    step: usize,
) -> (Gate, JoinHandle<Answer>) {
    let gate = Gate::shut();
    let held = variant("/en").step(step, Step::Wait(gate.clone()));
    nodes.inner.answer_each(PATH, [variant("/de"), held, Script::absent().status(204), variant("/new")]);
    let get = |language: &str| nodes[0].get(PATH).header("accept-language", language);
    get("de").send().await.whole(&movie("/de", LENGTH));
    let waiting = get("en").start();
    gate.reached_by(1).await;
    (gate, waiting)
}

fn say(answers: &[Answer], word: &str) -> usize {
    answers.iter().filter(|answer| answer.cache_status().contains(word)).count()
}

#[tokio::test(start_paused = true)]
async fn a_crowd_on_every_node_is_one_call() {
    for mode in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
        let nodes = Nodes::new(4).layer(|layer| layer.fill(mode));
        let gate = Gate::shut();
        // A video without parts: in every mode, one call brings all of it.
        nodes.inner.answer(PATH, Script::movie(PATH, LENGTH).held_by(&gate));
        let viewers = crowd(&nodes, 50);
        gate.reached_by(1).await;
        settle().await;
        gate.open();
        let answers = all(viewers).await;
        for answer in &answers {
            answer.whole(&truth());
        }
        nodes.inner.was_called(1);
        let led = say(&answers, "; stored") + say(&answers, "; detail=storing");
        assert_eq!((led, say(&answers, "; collapsed")), (1, 199), "{mode:?}");
        assert_eq!(say(&answers, "fwd=uri-miss"), 200);
        settle().await;
        assert_eq!(nodes.leases.held(), 0);
        for node in &nodes.all {
            node.get(PATH).send().await.is_hit().whole(&truth());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_part_of_a_sliced_fill_is_one_call() {
    let nodes = Nodes::new(4).layer(|layer| layer.fill(Fill::sliced()));
    let gate = Gate::shut();
    nodes.inner.answer(PATH, known().held_by(&gate));
    let viewers = crowd(&nodes, 50);
    gate.reached_by(1).await;
    settle().await;
    nodes.inner.was_called(1);
    gate.open();
    let answers = all(viewers).await;
    for answer in &answers {
        answer.whole(&truth());
    }
    let ranges = nodes.inner.ranges(PATH);
    assert_eq!(ranges.iter().filter(|range| *range == "bytes=0-999").count(), 1, "{ranges:?}");
    assert_eq!((say(&answers, "; detail=storing"), say(&answers, "; collapsed")), (1, 199));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_costs_the_others_its_lease_and_no_more() {
    for (time, viewers) in [(10, 1), (3, 5)] {
        let nodes = Nodes::new(3).layer(|layer| layer.timeouts(Timeouts::default().lease(seconds(time))));
        nodes.inner.answer(PATH, known());
        nodes.leases.is_a_strangers(seconds(time));
        let begun = Instant::now();
        for answer in all(crowd(&nodes, viewers)).await {
            answer.whole(&truth());
        }
        let took = begun.elapsed();
        assert!(took >= seconds(time) && took < seconds(time) + A_FEW_QUESTIONS, "{took:?}");
        nodes.inner.was_called(1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_for_as_long_as_the_fill_takes() {
    for mode in [Fill::whole(), Fill::progressive()] {
        for held_at_its_head in [true, false] {
            let nodes =
                Nodes::new(3).layer(|layer| layer.fill(mode).timeouts(Timeouts::default().lease(seconds(3))));
            let gate = Gate::shut();
            let script = if held_at_its_head {
                known().held_by(&gate)
            } else {
                known().step(4, Step::Wait(gate.clone()))
            };
            nodes.inner.answer(PATH, script);
            let viewers = crowd(&nodes, 2);
            sleep(seconds(25)).await;
            nodes.inner.was_called(1);
            gate.open();
            for answer in all(viewers).await {
                answer.whole(&truth());
            }
            nodes.inner.was_called(1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_lost_its_lease_is_not_found_and_the_new_holders_fill_is() {
    for mode in [Fill::whole(), Fill::progressive()] {
        let nodes = Nodes::new(2).layer(|layer| layer.fill(mode));
        let gate = Gate::shut();
        let other = Script::movie("/new", LENGTH).header("etag", "\"v2\"");
        nodes.inner.answer_each(PATH, [known().step(5, Step::Wait(gate.clone())), other]);
        let slow = nodes[0].get(PATH).start();
        gate.reached_by(1).await;
        nodes.leases.expire();
        nodes[1].get(PATH).send().await.whole(&movie("/new", LENGTH));
        gate.open();
        let slow = slow.await.unwrap();
        slow.whole(&truth());
        if mode == Fill::whole() {
            assert!(slow.cache_status().contains("detail=lease-lost"), "{}", slow.cache_status());
        }
        for node in &nodes.all {
            node.get(PATH).send().await.is_hit().whole(&movie("/new", LENGTH));
        }
        nodes.inner.was_called(2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_loses_its_lease_while_it_commits_is_not_found() {
    for renewals in [1, 2, 3] {
        let nodes = Nodes::new(1);
        nodes.inner.answer_each(PATH, [known(), Script::movie("/new", LENGTH)]);
        nodes.leases.expire_after_renewals(renewals);
        nodes[0].get(PATH).send().await.whole(&truth());
        // After the last look at its lease, the fill is stored even if the lease is lost.
        let is_kept = renewals > 1;
        let expected = if is_kept { truth() } else { movie("/new", LENGTH) };
        nodes[0].get(PATH).send().await.whole(&expected);
        nodes.inner.was_called(if is_kept { 1 } else { 2 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_one_node_invalidates_is_put_back_by_no_other() {
    for mode in [Fill::whole(), Fill::progressive()] {
        let nodes = Nodes::new(2).layer(|layer| layer.fill(mode));
        let gate = Gate::shut();
        nodes.inner.answer_each(
            PATH,
            [
                known().step(5, Step::Wait(gate.clone())),
                Script::absent().status(204),
                Script::movie("/new", LENGTH),
            ],
        );
        let before = nodes[0].get(PATH).start();
        gate.reached_by(1).await;
        // This node has asked for no lease yet.
        nodes[1].ask(Method::DELETE, PATH).send().await;
        gate.open();
        before.await.unwrap().whole(&truth());
        settle().await;
        for node in &nodes.all {
            node.get(PATH).send().await.whole(&movie("/new", LENGTH));
        }
        nodes.inner.was_called(3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_variant_that_one_node_invalidates_is_put_back_by_no_other() {
    let nodes = Nodes::new(2);
    let variant = |path: &str| Script::movie(path, LENGTH).header("vary", "accept-language");
    let (gate, before) = hold_a_variant(&nodes, variant, 5).await;
    nodes[1].ask(Method::DELETE, PATH).send().await;
    gate.open();
    let before = before.await.unwrap();
    before.whole(&movie("/en", LENGTH));
    assert!(before.cache_status().contains("detail=lease-lost"), "{}", before.cache_status());
    for language in ["en", "de"] {
        let answer = nodes[1].get(PATH).header("accept-language", language).send().await;
        answer.whole(&movie("/new", LENGTH));
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidated_key_does_not_get_its_stored_variants_back_with_a_new_one() {
    let mut lost = 0;
    // Any put of the fill may be under way when the key is invalidated.
    for slow in 1..12 {
        let nodes = Nodes::new(2);
        let variant = |path: &str| {
            let tag = format!("\"{path}\"");
            Script::movie(path, LENGTH).header("vary", "accept-language").header("etag", &tag)
        };
        let (gate, before) = hold_a_variant(&nodes, variant, 0).await;
        let puts = nodes[0].store.calls(Operation::Put);
        nodes[0].store.spoil(Operation::Put, puts + slow, Fault::Slow(Duration::from_secs(1)));
        gate.open();
        sleep(Duration::from_millis(500)).await;
        nodes[1].ask(Method::DELETE, PATH).send().await;
        let before = before.await.unwrap();
        before.whole(&movie("/en", LENGTH));
        lost += usize::from(before.cache_status().contains("lease-lost"));
        for language in ["de", "en"] {
            let answer = nodes[1].get(PATH).header("accept-language", language).send().await;
            answer.whole(&movie("/new", LENGTH));
        }
    }
    assert!(lost > 2, "{lost}");
}

#[tokio::test(start_paused = true)]
async fn a_request_for_one_variant_does_not_wait_for_another() {
    let nodes = Nodes::new(2);
    let gate = Gate::shut();
    let variant = |path: &str| Script::movie(path, LENGTH).header("vary", "accept-language");
    let held = variant("/en").step(5, Step::Wait(gate.clone()));
    nodes.inner.answer_each(PATH, [variant("/de"), held, variant("/fr")]);
    let get = |node: usize, language: &str| nodes[node].get(PATH).header("accept-language", language);
    get(0, "de").send().await.whole(&movie("/de", LENGTH));
    let slow = get(0, "en").start();
    gate.reached_by(1).await;
    let begun = Instant::now();
    get(1, "fr").send().await.whole(&movie("/fr", LENGTH));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    gate.open();
    slow.await.unwrap().whole(&movie("/en", LENGTH));
    for (node, language) in [(0, "fr"), (1, "en"), (1, "de")] {
        let path = format!("/{language}");
        get(node, language).send().await.is_hit().whole(&movie(&path, LENGTH));
    }
    nodes.inner.was_called(3);
}

#[tokio::test(start_paused = true)]
async fn failing_leases_are_no_worse_than_none() {
    for call in [Call::Lease, Call::Renew, Call::Release] {
        for trouble in [Trouble::Error, Trouble::Hang, Trouble::Panic, Trouble::Unanswered] {
            for mode in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
                let nodes = Nodes::new(2).layer(|layer| layer.fill(mode));
                nodes.inner.answer(PATH, known());
                nodes.leases.spoil(call, trouble);
                let begun = Instant::now();
                let answer = nodes[0].get(PATH).send().await;
                answer.whole(&truth());
                let status = answer.cache_status();
                // A response that another node may have invalidated is not stored. The response is also not stored
                // once the client has waited for the store long enough.
                let is_kept = call != Call::Renew && !matches!((call, trouble), (Call::Lease, Trouble::Hang));
                let is_told_so = status.contains("; stored");
                assert!(is_kept || !is_told_so, "{call:?} {trouble:?} {mode:?} {status}");
                assert!(!is_kept || is_told_so || mode != Fill::whole(), "{call:?} {trouble:?} {status}");
                // The limit for a call of the store, and once more for a release that no request waits for.
                assert!(
                    begun.elapsed() <= Duration::from_millis(2600),
                    "{call:?} {trouble:?} {:?}",
                    begun.elapsed()
                );
                // The client may have had all of it before that.
                sleep(seconds(10)).await;
                let next = nodes[1].get(PATH).send().await;
                next.whole(&truth());
                assert!(!is_kept || next.cache_status().contains("; hit"), "{call:?} {trouble:?} {mode:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_request_goes_on_when_leases_fail() {
    for trouble in [Trouble::Error, Trouble::Hang, Trouble::Panic] {
        let nodes = Nodes::new(1);
        nodes.inner.answer(PATH, known());
        nodes.leases.is_a_strangers(seconds(1000));
        let viewer = nodes[0].get(PATH).start();
        sleep(seconds(3)).await;
        nodes.leases.spoil(Call::Lease, trouble);
        let begun = Instant::now();
        viewer.await.unwrap().whole(&truth());
        assert!(begun.elapsed() < seconds(3), "{trouble:?} {:?}", begun.elapsed());
        nodes[0].get(PATH).send().await.is_hit();
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_a_lease_gives_back_its_place_at_the_inner_service() {
    let nodes = Nodes::new(1);
    nodes.inner.answer(PATH, known());
    nodes.inner.answer("/b.mp4", Script::movie("/b.mp4", LENGTH));
    nodes.leases.is_a_strangers(seconds(10));
    let cache = nodes[0].layer.layer(ConcurrencyLimitLayer::new(1).layer(nodes.inner.clone()));
    let get = |path: &str| cache.clone().oneshot(Request::get(path).body(Full::default()).unwrap());
    let waiting = tokio::spawn(get(PATH));
    sleep(seconds(2)).await;
    let begun = Instant::now();
    let other = get("/b.mp4").await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!((other, begun.elapsed()), (movie("/b.mp4", LENGTH), Duration::ZERO));
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_was_given_up_leaves_no_lease_behind() {
    let nodes = Nodes::new(1);
    nodes.inner.answer(PATH, known());
    nodes.leases.is_a_strangers(seconds(1000));
    let viewer = nodes[0].get(PATH).start();
    settle().await;
    viewer.abort();
    settle().await;
    nodes.leases.expire();
    sleep(seconds(5)).await;
    assert_eq!(nodes.leases.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_one_unstorable_answer_at_most() {
    for script in [
        Script::movie(PATH, LENGTH).header("cache-control", "no-store"),
        Script::absent().status(404),
        Script::absent().status(503),
        Script::absent().fails(),
    ] {
        let nodes = Nodes::new(6);
        nodes.inner.answer(PATH, script.takes(seconds(3)));
        let ask = |node: &crate::rig::Rig| {
            let ask = node.get(PATH);
            tokio::spawn(async move {
                let begun = Instant::now();
                drop(ask.response().await);
                begun.elapsed()
            })
        };
        let viewers: Vec<_> = nodes.all.iter().map(ask).collect();
        let mut took = Vec::new();
        for viewer in viewers {
            took.push(viewer.await.unwrap());
        }
        took.sort();
        // The time of the first request's answer, of a few questions for the lease, and of the request's own answer.
        assert!(took[0] == seconds(3) && took[5] < seconds(6) + A_FEW_QUESTIONS, "{took:?}");
        nodes.inner.was_called(6);
        sleep(seconds(3)).await;
        assert_eq!(nodes.leases.held(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_could_not_be_stored_a_moment_ago_is_stored_once_it_can_be() {
    let nodes = Nodes::new(3);
    nodes.inner.answer(PATH, Script::absent().status(503).takes(seconds(1)));
    for answer in all(crowd(&nodes, 2)).await {
        assert_eq!(answer.status, 503);
    }
    let before = nodes.inner.calls().len();
    nodes.inner.answer(PATH, known().takes(seconds(1)));
    sleep(seconds(3)).await;
    for answer in all(crowd(&nodes, 2)).await {
        answer.whole(&truth());
    }
    nodes.inner.was_called(before + 1);
}

#[tokio::test(start_paused = true)]
async fn past_the_limit_for_followers_a_node_asks_for_itself() {
    let nodes = Nodes::new(2).layer(|layer| layer.timeouts(Timeouts::default().follower(seconds(5))));
    let gate = Gate::shut();
    nodes.inner.answer_each(PATH, [known().held_by(&gate), known()]);
    let slow = nodes[0].get(PATH).start();
    gate.reached_by(1).await;
    let begun = Instant::now();
    let answer = nodes[1].get(PATH).range("bytes=10-19").send().await;
    answer.partial(&truth(), 10..20);
    assert_eq!(begun.elapsed(), seconds(5));
    assert!(
        answer.cache_status().ends_with("fwd=uri-miss; detail=waited-too-long"),
        "{}",
        answer.cache_status()
    );
    gate.open();
    slow.await.unwrap().whole(&truth());
    nodes[1].get(PATH).send().await.is_hit().whole(&truth());
    nodes.inner.was_called(2);
}

#[tokio::test(start_paused = true)]
async fn past_the_limit_for_followers_a_stale_response_stands_in() {
    let policy = Policy::default().stale_if_error(seconds(600));
    let nodes = Nodes::new(2)
        .layer(|layer| layer.policy(policy.clone()).timeouts(Timeouts::default().follower(seconds(5))));
    let gate = Gate::shut();
    let cached = known().header("cache-control", "max-age=60");
    nodes.inner.answer_each(PATH, [cached.clone(), cached.held_by(&gate)]);
    nodes[0].get(PATH).send().await;
    nodes.clock.advance(seconds(70));
    let slow = nodes[0].get(PATH).start();
    gate.reached_by(1).await;
    let answer = nodes[1].get(PATH).send().await;
    answer.whole(&truth());
    assert!(answer.cache_status().contains("detail=stale-if-silent"), "{}", answer.cache_status());
    nodes.inner.was_called(2);
    gate.open();
    slow.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_stops_asking_for_a_lease_once_no_request_waits_for_it() {
    for abandon in [Abandon::Stop, Abandon::Finish] {
        let nodes = Nodes::new(2).layer(|layer| layer.abandon(abandon));
        let gate = Gate::shut();
        nodes.inner.answer(PATH, known().held_by(&gate));
        let slow = nodes[0].get(PATH).start();
        gate.reached_by(1).await;
        let viewer = nodes[1].get(PATH).start();
        sleep(seconds(2)).await;
        viewer.abort();
        settle().await;
        let asked = nodes.leases.asked().len();
        sleep(seconds(20)).await;
        assert_eq!(nodes.leases.asked().len(), asked, "{abandon:?}");
        gate.open();
        slow.await.unwrap().whole(&truth());
        nodes.inner.was_called(1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_response_is_validated_once_for_all_nodes() {
    for mode in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
        for is_still_good in [true, false] {
            let nodes = Nodes::new(4).layer(|layer| layer.fill(mode));
            let cached = known().header("cache-control", "max-age=60");
            nodes.inner.answer(PATH, cached.clone());
            nodes[0].get(PATH).send().await.whole(&truth());
            let before = nodes.inner.calls().len();
            nodes.clock.advance(seconds(70));
            let gate = Gate::shut();
            let other = Script::movie("/new", LENGTH).header("cache-control", "max-age=60");
            nodes.inner.answer(PATH, if is_still_good { cached } else { other }.held_by(&gate));
            let viewers = crowd(&nodes, 10);
            gate.reached_by(1).await;
            settle().await;
            gate.open();
            let answers = all(viewers).await;
            for answer in &answers {
                answer.whole(&if is_still_good { truth() } else { movie("/new", LENGTH) });
            }
            nodes.inner.was_called(before + 1);
            assert_eq!(nodes.inner.calls()[before].headers["if-none-match"], "\"v1\"");
            assert_eq!((say(&answers, "fwd=stale"), say(&answers, "; collapsed")), (40, 39), "{mode:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_in_the_background_is_made_by_one_node() {
    let policy = Policy::default().stale_while_revalidate(seconds(600));
    let nodes = Nodes::new(4).layer(|layer| layer.policy(policy.clone()));
    let cached = known().header("cache-control", "max-age=60");
    nodes.inner.answer(PATH, cached.clone());
    nodes[0].get(PATH).send().await;
    nodes.clock.advance(seconds(70));
    let gate = Gate::shut();
    nodes.inner.answer(PATH, cached.held_by(&gate));
    for _ in 0..3 {
        for answer in all(crowd(&nodes, 2)).await {
            answer.is_hit().whole(&truth());
        }
        settle().await;
    }
    gate.open();
    settle().await;
    nodes.inner.was_called(2);
    assert!(nodes[3].get(PATH).send().await.is_hit().cache_status().contains("ttl=60"));
    settle().await;
    nodes.inner.was_called(2);
    assert_eq!(nodes.leases.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_response_for_one_client_is_asked_for_by_each_and_all_at_once() {
    let nodes = Nodes::new(4);
    nodes.inner.answer(PATH, known().header("cache-control", "no-cache").takes(seconds(3)));
    let begun = Instant::now();
    for answer in all(crowd(&nodes, 2)).await {
        answer.whole(&truth());
    }
    assert!(begun.elapsed() < seconds(6) + A_FEW_QUESTIONS, "{:?}", begun.elapsed());
    let calls = nodes.inner.calls();
    assert_eq!(calls.len(), 8);
    assert_eq!(calls.iter().filter(|call| call.headers.contains_key("if-none-match")).count(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_response_stored_while_a_request_waited_answers_it_stale_or_not() {
    let nodes = Nodes::new(3);
    let gate = Gate::shut();
    let brief = Script::movie(PATH, LENGTH).header("cache-control", "max-age=1");
    nodes.inner.answer(PATH, brief.step(4, Step::Wait(gate.clone())));
    let viewers = crowd(&nodes, 3);
    gate.reached_by(1).await;
    settle().await;
    nodes.clock.advance(seconds(5));
    gate.open();
    for answer in all(viewers).await {
        answer.whole(&truth());
    }
    nodes.inner.was_called(1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_response_that_the_first_lookup_missed_is_not_taken_for_new() {
    let nodes = Nodes::new(1);
    nodes.inner.answer(PATH, known().header("cache-control", "max-age=60"));
    nodes[0].get(PATH).send().await;
    nodes.clock.advance(seconds(70));
    let gets = nodes[0].store.calls(Operation::Get);
    nodes[0].store.spoil(Operation::Get, gets + 1, Fault::Error);
    nodes[0].get(PATH).send().await.whole(&truth());
    nodes.inner.was_called(2);
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_with_its_fill_however_that_ends() {
    for script in [
        known(),
        known().panics(),
        known().step(4, Step::Panic),
        known().step(4, Step::Fail),
        known().fails(),
        Script::movie(PATH, LENGTH).header("content-length", "7"),
        known().header("cache-control", "private"),
    ] {
        for mode in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
            let nodes = Nodes::new(1).layer(|layer| layer.fill(mode).retry(Retry::default().attempts(0)));
            nodes.inner.answer(PATH, script.clone());
            let ask = nodes[0].get(PATH);
            drop(tokio::spawn(async move { drop(ask.response().await) }).await);
            settle().await;
            assert_eq!(nodes.leases.held(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_gone_are_fetched_again_under_a_lease() {
    for mode in [Fill::whole(), Fill::progressive()] {
        let nodes = Nodes::new(2).layer(|layer| layer.fill(mode));
        nodes.inner.answer(PATH, Script::movie(PATH, LENGTH));
        nodes[0].get(PATH).send().await.whole(&truth());
        // The first chunk is lost once it was read.
        let gets = nodes[0].store.calls(Operation::Get);
        nodes[0].store.spoil(Operation::Get, gets + 2, Fault::Lost);
        nodes[0].get(PATH).send().await.is_hit().whole(&truth());
        nodes[1].get(PATH).send().await.whole(&truth());
        nodes[0].get(PATH).send().await.is_hit().whole(&truth());
        nodes.inner.was_called(2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_one_node_stopped_is_completed_by_another() {
    let nodes = Nodes::new(3).layer(|layer| layer.abandon(Abandon::Stop));
    let gate = Gate::shut();
    nodes.inner.answer_each(PATH, [known().step(4, Step::Wait(gate.clone())), known().takes(seconds(1))]);
    let viewer = nodes[0].get(PATH).start();
    gate.reached_by(1).await;
    settle().await;
    let others = [nodes[1].get(PATH).start(), nodes[2].get(PATH).start()];
    settle().await;
    viewer.abort();
    for other in others {
        other.await.unwrap().whole(&truth());
    }
    assert_eq!(nodes.inner.ranges(PATH), ["", "bytes=2000-4999"]);
}

#[tokio::test]
async fn a_store_without_leases_is_asked_once() {
    let nodes = Nodes::new(1);
    nodes.leases.offers_none();
    for path in ["/a.mp4", "/b.mp4", "/c.mp4"] {
        nodes.inner.answer(path, Script::movie(path, LENGTH));
        nodes[0].get(path).send().await.whole(&movie(path, LENGTH));
    }
    assert_eq!(nodes.leases.asked().len(), 1);
}

/// Keeps the nodes from having leases, in one of several ways.
fn without_leases(nodes: Nodes, way: usize) -> Nodes {
    match way {
        0 => nodes.leases.offers_none(),
        1 => nodes.leases.spoil(Call::Lease, Trouble::Error),
        _ => return nodes.layer(|layer| layer.timeouts(Timeouts::default().lease(Duration::ZERO))),
    }
    nodes
}

#[tokio::test(start_paused = true)]
async fn without_leases_a_response_that_one_node_invalidates_is_put_back_by_no_other() {
    for (way, mode) in (0..3).flat_map(|way| [Fill::whole(), Fill::progressive()].map(|mode| (way, mode))) {
        // At each of the chunks, between them, and at the record: half a second for each.
        for moment in 0..14 {
            let nodes = without_leases(Nodes::new(2).layer(|layer| layer.fill(mode)), way);
            let gate = Gate::shut();
            let old = known().held_by(&gate);
            nodes.inner.answer_each(PATH, [old, Script::absent().status(204), Script::movie("/new", LENGTH)]);
            let puts = nodes[0].store.calls(Operation::Put);
            nodes[0].store.spoil_from(Operation::Put, puts + 1, Fault::Slow(Duration::from_millis(500)));
            let before = nodes[0].get(PATH).start();
            gate.reached_by(1).await;
            gate.open();
            sleep(Duration::from_millis(250 * moment + 10)).await;
            nodes[1].ask(Method::DELETE, PATH).send().await;
            nodes[0].store.heal();
            before.await.unwrap().whole(&truth());
            sleep(seconds(5)).await;
            for node in &nodes.all {
                let answer = node.get(PATH).send().await;
                assert!(answer.bytes == movie("/new", LENGTH), "{way} {mode:?} {moment}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_leases_invalidated_variants_do_not_come_back() {
    for slow in 1..12 {
        let nodes = without_leases(Nodes::new(2), 0);
        let variant = |path: &str| {
            let tag = format!("\"{path}\"");
            Script::movie(path, LENGTH).header("vary", "accept-language").header("etag", &tag)
        };
        let (gate, before) = hold_a_variant(&nodes, variant, 0).await;
        let puts = nodes[0].store.calls(Operation::Put);
        nodes[0].store.spoil(Operation::Put, puts + slow, Fault::Slow(Duration::from_secs(1)));
        gate.open();
        sleep(Duration::from_millis(500)).await;
        nodes[1].ask(Method::DELETE, PATH).send().await;
        before.await.unwrap().whole(&movie("/en", LENGTH));
        for language in ["de", "en"] {
            let answer = nodes[1].get(PATH).header("accept-language", language).send().await;
            answer.whole(&movie("/new", LENGTH));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_leases_neither_a_validation_nor_a_head_puts_back_an_invalidated_response() {
    for method in [Method::GET, Method::HEAD] {
        let nodes = without_leases(Nodes::new(2), 2);
        let gate = Gate::shut();
        nodes.inner.answer_each(
            PATH,
            [known(), known().held_by(&gate), Script::absent().status(204), Script::movie("/new", LENGTH)],
        );
        nodes[0].get(PATH).send().await.whole(&truth());
        nodes.clock.advance(seconds(301));
        let validating = nodes[0].ask(method.clone(), PATH).start();
        gate.reached_by(1).await;
        nodes[1].ask(Method::DELETE, PATH).send().await;
        gate.open();
        assert_eq!(validating.await.unwrap().status, 200);
        for node in &nodes.all {
            node.get(PATH).send().await.whole(&movie("/new", LENGTH));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_mark_keeps_no_fill_from_storing() {
    for way in 0..3 {
        let nodes = without_leases(Nodes::new(2), way);
        nodes.inner.answer_each(PATH, [Script::absent().status(204), known()]);
        nodes[1].ask(Method::DELETE, PATH).send().await;
        nodes[0].get(PATH).send().await.whole(&truth());
        nodes[1].get(PATH).send().await.is_hit().whole(&truth());
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_clock_is_ahead_makes_nothing_fresher_on_the_others() {
    let nodes = Nodes::new(1);
    let film = |path| Script::movie(path, LENGTH).header("cache-control", "max-age=5");
    let late = tower_video_cache::ManualClock::starting_at(crate::rig::noon());
    nodes.clock.advance(seconds(60));
    let other = nodes[0].layer.clone().clock(late.clone()).layer(nodes.inner.clone());
    let get = || async {
        let request = Request::get(PATH).body(Full::default()).unwrap();
        Answer::of(other.clone().oneshot(request).await.unwrap()).await
    };
    nodes.inner.answer_each(PATH, [film(PATH), film("/new")]);
    nodes[0].get(PATH).send().await.whole(&truth());
    late.advance(seconds(6));
    get().await.whole(&movie("/new", LENGTH));
    get().await.is_hit().whole(&movie("/new", LENGTH));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_could_not_be_released_is_released_once_the_store_answers_again() {
    for trouble in [Trouble::Error, Trouble::Hang, Trouble::Panic] {
        let nodes = Nodes::new(2);
        nodes.inner.answer(PATH, Script::absent().status(503));
        nodes.leases.spoil(Call::Release, trouble);
        assert_eq!(nodes[0].get(PATH).send().await.status, 503);
        sleep(seconds(5)).await;
        assert_eq!(nodes.leases.held(), 1);
        nodes.leases.mend();
        // One call may still hang, and the next comes a second later at the latest.
        sleep(seconds(3)).await;
        assert_eq!(nodes.leases.held(), 0, "{trouble:?}");
    }
}

#[tokio::test]
async fn a_lease_time_of_zero_asks_for_no_leases() {
    let nodes = Nodes::new(1).layer(|layer| layer.timeouts(Timeouts::default().lease(Duration::ZERO)));
    nodes.inner.answer(PATH, known());
    nodes[0].get(PATH).send().await.whole(&truth());
    assert_eq!(nodes.leases.asked().len(), 0);
}

/// The longest wait of clients on all nodes for the video once the gate is open. The first of them reached the
/// gate long before.
async fn served_after(nodes: &Nodes, gate: &Gate) -> Duration {
    let viewers = crowd(nodes, 2);
    gate.reached_by(1).await;
    sleep(seconds(2)).await;
    let begun = Instant::now();
    gate.open();
    for answer in all(viewers).await {
        answer.whole(&truth());
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_stored_response_is_found_though_its_lease_was_never_given_back() {
    for trouble in [Trouble::Error, Trouble::Hang, Trouble::Panic] {
        for mode in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
            let nodes = Nodes::new(3).layer(|layer| layer.fill(mode));
            let gate = Gate::shut();
            nodes.inner.answer(PATH, Script::movie(PATH, LENGTH).held_by(&gate));
            nodes.leases.spoil(Call::Release, trouble);
            let took = served_after(&nodes, &gate).await;
            assert!(took < A_FEW_QUESTIONS, "{trouble:?} {mode:?} {took:?}");
            nodes.inner.was_called(1);
        }
    }
}

/// Has the first node store two chunks and no more. After that, the inner service gives these answers.
async fn stopped_midway(nodes: &Nodes, then: impl IntoIterator<Item = Script>) {
    let gate = Gate::shut();
    let first = known().step(4, Step::Wait(gate.clone()));
    nodes.inner.answer_each(PATH, [first].into_iter().chain(then));
    let viewer = nodes[0].get(PATH).start();
    gate.reached_by(1).await;
    settle().await;
    viewer.abort();
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_validated_or_completed_response_is_found_though_its_lease_was_never_given_back() {
    for is_made_whole in [false, true] {
        let nodes = Nodes::new(2).layer(|layer| layer.abandon(Abandon::Stop));
        let gate = Gate::shut();
        let cached = known().header("cache-control", "max-age=60");
        if is_made_whole {
            stopped_midway(&nodes, [cached.held_by(&gate)]).await;
        } else {
            nodes.inner.answer_each(PATH, [cached.clone(), cached.held_by(&gate)]);
            nodes[0].get(PATH).send().await;
            nodes.clock.advance(seconds(70));
        }
        nodes.leases.spoil(Call::Release, Trouble::Error);
        let took = served_after(&nodes, &gate).await;
        assert!(took < A_FEW_QUESTIONS, "{took:?}");
        nodes.inner.was_called(2);
    }
}

#[tokio::test(start_paused = true)]
async fn each_request_waits_for_another_node_as_long_as_the_limit_says() {
    for mode in [Fill::whole(), Fill::progressive()] {
        let nodes =
            Nodes::new(2).layer(|layer| layer.fill(mode).timeouts(Timeouts::default().follower(seconds(5))));
        let gate = Gate::shut();
        nodes.inner.answer_each(PATH, [known().held_by(&gate), known()]);
        let slow = nodes[0].get(PATH).start();
        gate.reached_by(1).await;
        let mut viewers = Vec::new();
        for _ in 0..3 {
            viewers.push(nodes[1].get(PATH).start());
            sleep(seconds(2)).await;
        }
        // The first of them came six seconds ago, the second four.
        nodes.inner.was_called(2);
        sleep(Duration::from_millis(1500)).await;
        nodes.inner.was_called(3);
        gate.open();
        let answers = all(viewers).await;
        for answer in &answers {
            answer.whole(&truth());
        }
        assert_eq!((say(&answers, "waited-too-long"), say(&answers, "; collapsed")), (2, 1), "{mode:?}");
        slow.await.unwrap().whole(&truth());
        nodes.inner.was_called(3);
        settle().await;
        assert_eq!(nodes.leases.held(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_gives_up_at_its_limit_leaves_the_others_a_fill_to_wait_for() {
    for mode in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
        let nodes =
            Nodes::new(1).layer(|layer| layer.fill(mode).timeouts(Timeouts::default().follower(seconds(5))));
        nodes.inner.answer(PATH, Script::movie(PATH, LENGTH));
        nodes.leases.is_a_strangers(seconds(7));
        let first = nodes[0].get(PATH).start();
        sleep(seconds(4)).await;
        let second = nodes[0].get(PATH).start();
        let begun = Instant::now();
        assert!(first.await.unwrap().whole(&truth()).cache_status().ends_with("waited-too-long"));
        assert_eq!(begun.elapsed(), seconds(1));
        assert!(second.await.unwrap().whole(&truth()).cache_status().contains("; collapsed"));
        assert!(begun.elapsed() < seconds(3) + A_FEW_QUESTIONS, "{:?}", begun.elapsed());
        nodes[0].get(PATH).send().await.is_hit().whole(&truth());
        nodes.inner.was_called(2);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_all_give_up_at_their_limit_leave_no_fill() {
    let nodes = Nodes::new(1).layer(|layer| layer.timeouts(Timeouts::default().follower(seconds(5))));
    nodes.inner.answer(PATH, known());
    nodes.leases.is_a_strangers(seconds(1000));
    for answer in all(crowd(&nodes, 3)).await {
        answer.whole(&truth());
    }
    let asked = nodes.leases.asked().len();
    sleep(seconds(20)).await;
    assert_eq!(nodes.leases.asked().len(), asked);
    nodes.inner.was_called(3);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_a_lease_takes_no_place_among_the_fills() {
    let nodes = Nodes::new(1).layer(|layer| layer.limits(Limits::default().max_fills(NonZeroUsize::MIN)));
    let other = Script::movie("/b.mp4", LENGTH);
    let gate = Gate::shut();
    nodes.inner.answer(PATH, known());
    nodes.inner.answer("/b.mp4", other.clone().held_by(&gate));
    nodes.leases.is_a_strangers(seconds(10));
    let waiting = nodes[0].get(PATH).start();
    sleep(seconds(2)).await;
    let filling = nodes[0].get("/b.mp4").start();
    gate.reached_by(1).await;
    // The waiting request is over, and its place is another's now.
    let waiting = waiting.await.unwrap();
    assert!(waiting.whole(&truth()).cache_status().ends_with("fills-limit"), "{}", waiting.cache_status());
    settle().await;
    assert_eq!(nodes.leases.held(), 1);
    gate.open();
    assert!(filling.await.unwrap().cache_status().contains("; stored"));
    assert!(nodes[0].get(PATH).send().await.cache_status().contains("; stored"));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_another_node_completed_meanwhile_is_not_fetched_again() {
    for is_done_first in [true, false] {
        let nodes = Nodes::new(2).layer(|layer| layer.abandon(Abandon::Stop));
        let gates = [Gate::shut(), Gate::shut()];
        stopped_midway(&nodes, gates.iter().map(|gate| known().held_by(gate))).await;
        let mut viewers = vec![nodes[0].get(PATH).start(), nodes[0].get(PATH).start()];
        gates[0].reached_by(1).await;
        nodes.leases.expire();
        viewers.push(nodes[1].get(PATH).start());
        gates[1].reached_by(1).await;
        let order = if is_done_first { [1, 0] } else { [0, 1] };
        for index in order {
            gates[index].open();
            sleep(seconds(1)).await;
        }
        let answers = all(viewers).await;
        for answer in &answers {
            answer.whole(&truth());
        }
        assert!(answers[0].cache_status().contains("detail=lease-lost"), "{}", answers[0].cache_status());
        assert_eq!(say(&answers, "; stored"), 1, "{}", answers[2].cache_status());
        assert_eq!(nodes.inner.ranges(PATH), ["", "bytes=2000-4999", "bytes=2000-4999"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_could_not_be_renewed_for_its_time_is_over() {
    for trouble in [Trouble::Error, Trouble::Hang, Trouble::Panic] {
        for mode in [Fill::whole(), Fill::progressive()] {
            let nodes =
                Nodes::new(2).layer(|layer| layer.fill(mode).timeouts(Timeouts::default().lease(seconds(3))));
            let gate = Gate::shut();
            let changed = [Script::absent().status(204), Script::movie("/new", LENGTH)];
            let slow = known().step(5, Step::Wait(gate.clone()));
            nodes.inner.answer_each(PATH, [slow].into_iter().chain(changed));
            nodes.leases.spoil(Call::Renew, trouble);
            let before = nodes[0].get(PATH).start();
            gate.reached_by(1).await;
            sleep(seconds(4)).await;
            // The first node cannot learn that this request takes its lease away.
            nodes[1].ask(Method::DELETE, PATH).send().await;
            gate.open();
            let before = before.await.unwrap();
            before.whole(&truth());
            if mode == Fill::whole() {
                assert!(before.cache_status().contains("detail=lease-lost"), "{}", before.cache_status());
            }
            sleep(seconds(10)).await;
            nodes.leases.mend();
            for node in &nodes.all {
                node.get(PATH).send().await.whole(&movie("/new", LENGTH));
            }
            nodes.inner.was_called(3);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_could_not_be_renewed_counts_if_the_store_confirms_it_at_last() {
    let nodes = Nodes::new(2).layer(|layer| layer.timeouts(Timeouts::default().lease(seconds(3))));
    let gate = Gate::shut();
    nodes.inner.answer(PATH, known().step(5, Step::Wait(gate.clone())));
    nodes.leases.spoil(Call::Renew, Trouble::Unanswered);
    let viewers = crowd(&nodes, 2);
    gate.reached_by(1).await;
    // This is after one renewal past the lease's end, and before the next one.
    sleep(Duration::from_millis(4500)).await;
    nodes.leases.mend();
    gate.open();
    let answers = all(viewers).await;
    for answer in &answers {
        answer.whole(&truth());
    }
    assert_eq!(say(&answers, "; stored"), 1);
    nodes.inner.was_called(1);
}

#[tokio::test(start_paused = true)]
async fn while_one_node_refreshes_not_every_hit_on_the_others_asks_for_its_lease() {
    let policy = Policy::default().stale_while_revalidate(seconds(600));
    let nodes = Nodes::new(4)
        .layer(|layer| layer.policy(policy.clone()).timeouts(Timeouts::default().lease(seconds(9))));
    let cached = known().header("cache-control", "max-age=60");
    let gate = Gate::shut();
    nodes.inner.answer_each(PATH, [cached.clone(), cached.clone().held_by(&gate), cached]);
    nodes[0].get(PATH).send().await;
    nodes.clock.advance(seconds(70));
    nodes[0].get(PATH).send().await.is_hit();
    gate.reached_by(1).await;
    let before = nodes.leases.asked().len();
    let asked = || nodes.leases.asked().len() - before;
    for times in 1..4 {
        for _ in 0..10 {
            for answer in all(crowd(&nodes, 2)).await {
                answer.is_hit().whole(&truth());
            }
            settle().await;
        }
        assert_eq!(asked(), 3 * times, "each of the others asked once more");
        sleep(seconds(3)).await;
    }
    // A waiting request is not held back by the answers that the hits got.
    nodes[1].get(PATH).send().await.is_hit();
    settle().await;
    let now = asked();
    let waiting = nodes[1].get(PATH).header("cache-control", "max-age=0").start();
    settle().await;
    assert_eq!(asked(), now + 1);
    gate.open();
    waiting.await.unwrap().whole(&truth());
    nodes.inner.was_called(2);
    // The next refresh is not held back by the answer to the previous one either.
    nodes.clock.advance(seconds(70));
    nodes[1].get(PATH).send().await.is_hit();
    settle().await;
    nodes.inner.was_called(3);
}
