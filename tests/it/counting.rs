//! The counters of `CacheHandle::stats` say what the answers say.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use tower_video_cache::{Fault, Fill, Operation, Stats, Store};

use crate::rig::{
    Answer, Gate, PATH, Rig, Script, Step, movie,
    parted::{parted, truth},
    seconds, settle,
};

fn stats(rig: &Rig) -> Stats {
    rig.layer.handle().stats()
}

/// The words of `Cache-Status` that the answers have, counted.
fn told(answers: &[Answer], word: &str) -> u64 {
    let is_told = |answer: &&Answer| {
        let mut parameters = answer.cache_status().split("; ");
        parameters.any(|parameter| parameter == word)
    };
    answers.iter().filter(is_told).count() as u64
}

#[tokio::test]
async fn requests_are_counted_by_the_words_of_their_cache_status() {
    let rig = Rig::new()
        .movie(PATH, 2500)
        .script("/stale.mp4", Script::movie("/stale.mp4", 900).header("cache-control", "max-age=1"))
        .script("/private.mp4", Script::movie("/private.mp4", 900).header("cache-control", "private"))
        .script("/broken.mp4", Script::movie("/broken.mp4", 900).cut(1));
    let mut answers = Vec::new();
    for path in [PATH, PATH, PATH, "/stale.mp4", "/private.mp4", "/private.mp4", "/broken.mp4"] {
        answers.push(rig.get(path).send().await);
    }
    answers.push(rig.get(PATH).range("bytes=0-99").send().await);
    answers.push(rig.get(PATH).header("cache-control", "no-store").send().await);
    answers.push(rig.get("/none.mp4").header("cache-control", "only-if-cached").send().await);
    answers.push(rig.ask(Method::OPTIONS, PATH).send().await);
    answers.push(rig.ask(Method::DELETE, "/other.mp4").send().await);
    answers.push(rig.head(PATH).send().await);
    rig.clock.advance(seconds(2));
    answers.push(rig.get("/stale.mp4").send().await);
    let stats = stats(&rig);
    assert_eq!(stats.requests.of("hit"), told(&answers, "hit"));
    for (word, count) in stats.requests.iter().filter(|(word, _)| !["hit", "generated"].contains(word)) {
        assert_eq!(count, told(&answers, &format!("fwd={word}")), "{word}");
    }
    assert_eq!(stats.requests.of("generated"), 1);
    assert_eq!(stats.requests.total(), answers.len() as u64);
    assert_eq!(stats.marks.of("stored"), told(&answers, "stored"));
    for (detail, count) in stats.refusals.iter() {
        assert_eq!(count, told(&answers, &format!("detail={detail}")), "{detail}");
    }
    assert!(stats.refusals.of("private") > 0 && stats.requests.of("hit") > 3);
    let bytes: u64 = answers.iter().map(|answer| answer.bytes.len() as u64).sum();
    assert_eq!(stats.response_bytes.total(), bytes);
    assert_eq!((told(&answers, "hit"), answers.len()), (4, 14));
    assert!((stats.hit_ratio().unwrap() - 4.0 / 14.0).abs() < 0.001);
}

#[tokio::test]
async fn the_bytes_of_the_inner_service_are_counted_by_the_reason_of_the_call() {
    let rig = Rig::new().fill(Fill::sliced()).script(PATH, parted());
    rig.get(PATH).range("bytes=0-0").send().await.partial(&truth(), 0..1);
    rig.get(PATH).send().await.whole(&truth());
    let sliced = stats(&rig);
    assert_eq!(sliced.inner_bytes.of("fill"), 1000, "the first chunk");
    assert_eq!(sliced.inner_bytes.of("slice"), 8500, "the chunks after it");
    assert_eq!(sliced.inner_bytes.total(), rig.inner.bytes_of(PATH));
    assert_eq!(sliced.inner_requests.total(), rig.inner.calls().len() as u64);

    // A chunk is lost, a body dies, a stale response is asked about, and a request passes.
    let rig = Rig::new().fill(Fill::whole()).script(PATH, parted().honours_conditions().dies_at(4200));
    rig.get(PATH).send().await.whole(&truth());
    let gets = rig.store.calls(Operation::Get);
    rig.store.spoil(Operation::Get, gets + 3, Fault::Lost);
    rig.get(PATH).send().await.whole(&truth());
    rig.clock.advance(seconds(301));
    rig.get(PATH).send().await.whole(&truth());
    rig.get(PATH).header("cache-control", "no-store").send().await.whole(&truth());
    let stats = stats(&rig);
    // The lost chunk, and no other.
    assert_eq!((stats.lost_chunks, stats.healed_chunks), (1, 1));
    for (reason, calls) in
        [("fill", 1), ("resume", 1), ("heal", 1), ("validate", 1), ("pass", 1), ("slice", 0)]
    {
        assert_eq!(stats.inner_requests.of(reason), calls, "{reason}");
    }
    assert_eq!(stats.inner_bytes.of("pass"), 9500);
    assert_eq!(stats.inner_bytes.of("heal"), 1000);
    assert_eq!(stats.inner_bytes.of("fill") + stats.inner_bytes.of("resume"), 9500);
    assert_eq!(stats.inner_bytes.total(), rig.inner.bytes_of(PATH));
    assert_eq!(stats.response_bytes.of("store"), 3 * 9500);
    assert_eq!(stats.response_bytes.of("inner"), 9500);
}

#[tokio::test]
async fn a_client_that_leaves_counts_for_what_it_got() {
    let rig = Rig::new().movie(PATH, 2500);
    rig.get(PATH).send().await;
    let mut reading = rig.get(PATH).reading().await;
    let got = reading.next().await.unwrap().unwrap().len() as u64;
    let during = stats(&rig);
    assert_eq!(
        (during.bodies_under_way(), during.response_bytes.total()),
        (1, 2500 + got),
        "bytes count as they leave"
    );
    drop(reading);
    let stats = stats(&rig);
    assert_eq!((stats.bodies.of("left"), stats.bodies.of("whole"), stats.bodies_under_way()), (1, 1, 0));
    assert_eq!(stats.response_bytes.total(), 2500 + got);
    assert!(got < 2500);
}

#[tokio::test]
async fn a_body_that_breaks_is_counted_and_its_bytes_are() {
    let gate = Gate::shut();
    let script = Script::movie(PATH, 9500).step(5, Step::Wait(gate.clone())).cut(8);
    let rig = Rig::new().fill(Fill::progressive()).script(PATH, script);
    let reading = rig.get(PATH).reading().await;
    assert!(stats(&rig).reserved_bytes >= 9500, "the room of the whole is reserved");
    gate.open();
    let answer = reading.rest().await;
    assert!(answer.error.is_some());
    let stats = stats(&rig);
    assert_eq!(stats.reserved_bytes, 0);
    assert_eq!((stats.bodies.of("broken"), stats.bodies_under_way()), (1, 0));
    assert_eq!(stats.response_bytes.total(), answer.bytes.len() as u64);
}

#[tokio::test]
async fn fills_and_followers_are_counted_while_they_wait() {
    let gate = Gate::shut();
    let rig = Rig::new().script(PATH, Script::movie(PATH, 2500).held_by(&gate));
    let waiting = [rig.get(PATH).start(), rig.get(PATH).start(), rig.get(PATH).start()];
    gate.reached_by(1).await;
    settle().await;
    let during = stats(&rig);
    assert_eq!((during.fills, during.fills_under_way, during.followers), (1, 1, 2));
    gate.open();
    for client in waiting {
        client.await.unwrap().whole(&movie(PATH, 2500));
    }
    let after = stats(&rig);
    assert_eq!((after.fills, after.fills_under_way, after.marks.of("collapsed")), (1, 0, 2));
    assert_eq!(after.reserved_bytes, 0);
    assert_eq!((after.fill_durations.all().count(), after.fill_durations.of("stored").count()), (1, 1));
}

#[tokio::test]
async fn calls_of_the_store_and_their_failures_are_counted() {
    let rig = Rig::new().movie(PATH, 2500);
    rig.store.spoil_from(Operation::Put, 1, Fault::Error);
    rig.get(PATH).send().await.whole(&movie(PATH, 2500));
    let stats = stats(&rig);
    for (operation, of_the_log, word) in [
        (Operation::Get, Operation::GetLog, "get"),
        (Operation::Put, Operation::PutLog, "put"),
        (Operation::Remove, Operation::RemoveLog, "remove"),
    ] {
        let calls = rig.store.calls(operation) + rig.store.calls(of_the_log);
        assert_eq!(stats.store_calls.of(word), calls, "{word}");
    }
    assert_eq!(stats.store_calls.of("put_new"), rig.store.calls(Operation::PutNew));
    assert_eq!(stats.store_errors.of("put"), stats.store_calls.of("put"));
    assert_eq!(stats.store_errors.of("get"), 0);
    assert_eq!(stats.refusals.of("store-failed"), 1);
    assert!(!stats.store_is_left_alone);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_an_answer_and_of_a_fill_is_counted_and_that_of_a_hit_is_none() {
    let gate = Gate::shut();
    let rig = Rig::new().script(PATH, Script::movie(PATH, 2500).held_by(&gate));
    let client = rig.get(PATH).start();
    gate.reached_by(1).await;
    tokio::time::advance(seconds(2)).await;
    gate.open();
    client.await.unwrap().whole(&movie(PATH, 2500));
    rig.get(PATH).send().await.is_hit();
    let stats = stats(&rig);
    for latency in [stats.first_byte.of("uri-miss"), stats.fill_durations.of("stored")] {
        assert_eq!((latency.count(), latency.percentile(50)), (1, Some(seconds(3))));
        assert!(latency.total() >= seconds(2), "{latency:?}");
    }
    let hits = stats.first_byte.of("hit");
    assert_eq!((hits.count(), hits.total()), (1, seconds(0)));
    assert_eq!(stats.first_byte.all().count(), stats.requests.total());
}

#[tokio::test]
async fn the_store_tells_what_it_holds() {
    let rig = Rig::new().movie(PATH, 9500);
    rig.get(PATH).send().await.whole(&movie(PATH, 9500));
    rig.store.get("m/any").await.unwrap();
    let stats = stats(&rig);
    assert_eq!(stats.store_capacity, rig.store.capacity());
    assert_eq!(stats.store_weight, rig.store.usage().map(|usage| usage.weight));
    assert_eq!(stats.store_evicted_bytes, Some(0));
}

#[tokio::test]
async fn an_error_of_the_inner_service_is_a_request_without_an_outcome() {
    let rig = Rig::new().script(PATH, Script::absent().fails());
    assert!(rig.get(PATH).response().await.is_err());
    assert_eq!((stats(&rig).requests.of("error"), stats(&rig).requests.total()), (1, 1));
}

#[tokio::test]
async fn the_text_for_a_monitoring_system_has_every_figure_once() {
    let rig = Rig::new().movie(PATH, 2500);
    assert_eq!(rig.get(PATH).send().await.status, StatusCode::OK);
    rig.get(PATH).send().await.is_hit();
    let mut text = String::new();
    stats(&rig).open_metrics("a \"b\\c\n", &mut text).unwrap();
    let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let names: BTreeSet<_> = samples.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
    assert_eq!(names.len(), samples.len(), "no figure comes twice");
    assert!(samples.iter().all(|line| line.contains(r#"{cache="a \"b\\c\n""#)), "{text}");
    let hits = r#"video_cache_requests_total{cache="a \"b\\c\n",outcome="hit"} 1"#;
    assert!(samples.contains(&hits), "{text}");
    // The page for operators names them all, and no other.
    let page = include_str!("../../docs/operating.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `video_cache_")?.split_once('`'));
    let rows: BTreeSet<_> = rows.map(|(name, _)| format!("video_cache_{name}")).collect();
    let families: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let names = families.iter().map(|family| match family.split_once(' ').unwrap() {
        (name, "counter") => format!("{name}_total"),
        (name, _) => name.to_owned(),
    });
    assert_eq!(rows, names.collect());
    let family = |line: &str| {
        let name = line.split('{').next().unwrap();
        let ends = ["_total", "_bucket", "_count", "_sum"];
        ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    let found: BTreeSet<_> = samples.iter().map(|line| family(line)).collect();
    let typed: BTreeSet<_> =
        families.iter().map(|family| family.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(found, typed);
    // The dashboard asks for each metric, and neither it nor a rule asks for another.
    let asked_for = |file: &str| -> BTreeSet<String> {
        let words = file.split(|byte: char| !byte.is_ascii_alphanumeric() && byte != '_');
        words.filter(|word| word.starts_with("video_cache_")).map(family).collect()
    };
    assert_eq!(asked_for(include_str!("../../docs/grafana.json")), typed);
    let in_rules = asked_for(include_str!("../../docs/alerts.yml"));
    assert!(in_rules.is_subset(&typed) && in_rules.len() > 5, "{in_rules:?}");
    assert!(text.ends_with("# EOF\n"));
}
