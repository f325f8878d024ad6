//! The features `metrics` and `tracing`, and the text for Prometheus, as others read them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write},
    sync::{Arc, Mutex},
};

use http::Method;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tower_video_cache::{Event, Fault, Fill, MetricsObserver, Operation};
use tracing::{
    Level, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{Layer, Registry, layer::Context, layer::SubscriberExt};

use crate::rig::{
    PATH, Rig, Script, movie,
    parted::{parted, truth},
    seconds,
};

/// Each metric with its labels, and the sum or the number of what was recorded.
fn recorded(snapshotter: &Snapshotter) -> BTreeMap<String, String> {
    let written = |(key, _, _, value): (metrics_util::CompositeKey, _, _, DebugValue)| {
        let labels = key.key().labels().map(|label| format!("{}={}", label.key(), label.value()));
        let labels: Vec<_> = labels.collect();
        let value = match value {
            DebugValue::Counter(count) => count.to_string(),
            DebugValue::Gauge(value) => value.to_string(),
            DebugValue::Histogram(values) => values.len().to_string(),
        };
        (format!("{} {}", key.key().name(), labels.join(",")), value)
    };
    snapshotter.snapshot().into_vec().into_iter().map(written).collect()
}

#[tokio::test]
async fn a_recorder_that_is_installed_after_the_layer_was_built_gets_the_figures_of_the_stats() {
    let rig = Rig::new()
        .fill(Fill::whole())
        .layer(|layer| layer.observer(MetricsObserver::new("edge")))
        .script(PATH, parted())
        .script("/private.mp4", Script::movie("/private.mp4", 900).header("cache-control", "private"));
    drop(rig.service());
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _installed = metrics::set_default_local_recorder(&recorder);

    rig.get(PATH).send().await.whole(&truth());
    rig.get(PATH).range("bytes=0-99").send().await;
    rig.get("/private.mp4").send().await;
    let gets = rig.store.calls(Operation::Get);
    rig.store.spoil(Operation::Get, gets + 4, Fault::Lost);
    rig.get(PATH).send().await;
    rig.get(PATH).send().await.whole(&truth());
    rig.store.spoil(Operation::Put, rig.store.calls(Operation::Put) + 1, Fault::Error);
    rig.get("/other.mp4").send().await;

    let (stats, written) = (rig.layer.handle().stats(), recorded(&snapshotter));
    let (mut text, mut compared) = (String::new(), 0);
    stats.open_metrics("edge", &mut text).unwrap();
    let parsed = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    for sample in &parsed.samples {
        let labels: BTreeMap<_, _> = sample.labels.iter().filter(|(label, _)| *label != "cache").collect();
        let labels: Vec<_> = labels.iter().map(|(label, word)| format!(",{label}={word}")).collect();
        let found = written.get(&format!("{} cache=edge{}", sample.metric, labels.join("")));
        // In the older format that this parser reads, the name of the type has the ending, too.
        let (prometheus_parse::Value::Untyped(count), Some(found)) = (&sample.value, found) else { continue };
        assert_eq!(count.to_string(), *found, "{sample:?}");
        compared += 1;
    }
    assert!(compared > 15, "{compared} of {written:?}");
    for (metric, count) in [
        ("video_cache_first_byte_seconds cache=edge,outcome=hit", stats.requests.of("hit")),
        ("video_cache_inner_body_bytes_total cache=edge,for=fill", stats.inner_bytes.of("fill")),
        ("video_cache_inner_body_bytes_total cache=edge,for=pass", stats.inner_bytes.of("pass")),
        ("video_cache_healed_chunks_total cache=edge", 1),
    ] {
        assert_eq!(written[metric], count.to_string(), "{metric}");
    }
}

/// The metrics need no request, so the cache keeps one only if somebody else looks at it.
#[tokio::test]
async fn the_metrics_are_the_same_beside_an_observer_that_looks_at_requests() {
    let mut all = Vec::new();
    for is_looked_at in [false, true] {
        let looked_at = Arc::new(Mutex::new(Vec::new()));
        let rig = Rig::new().movie(PATH, 2500).movie("/private.mp4", 900).layer(|layer| {
            let layer = layer.observer(MetricsObserver::new("edge"));
            let looked_at = Arc::clone(&looked_at);
            let observer = move |event: &Event<'_>| match event {
                Event::Answered { method, uri, .. } => {
                    looked_at.lock().unwrap().push(format!("answered {method} {uri}"));
                }
                Event::BodyEnded { method, uri, .. } => {
                    looked_at.lock().unwrap().push(format!("ended {method} {uri}"));
                }
                _ => {}
            };
            if is_looked_at { layer.observer(observer) } else { layer }
        });
        rig.inner
            .answer("/private.mp4", Script::movie("/private.mp4", 900).header("cache-control", "private"));
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let _installed = metrics::set_default_local_recorder(&recorder);
        for path in [PATH, PATH, "/private.mp4"] {
            rig.get(path).send().await;
        }
        rig.head(PATH).send().await;
        let written = recorded(&snapshotter);
        for (metric, value) in [
            ("video_cache_requests_total cache=edge,outcome=hit", "2"),
            ("video_cache_bodies_total cache=edge,end=whole", "3"),
            ("video_cache_response_body_bytes_total cache=edge,source=inner", "900"),
        ] {
            assert_eq!(written.get(metric).map(String::as_str), Some(value), "{metric} {written:?}");
        }
        all.push(written);
        let looked_at = std::mem::take(&mut *looked_at.lock().unwrap());
        let expected = [
            format!("answered GET {PATH}"),
            format!("ended GET {PATH}"),
            format!("answered GET {PATH}"),
            format!("ended GET {PATH}"),
            "answered GET /private.mp4".to_owned(),
            "ended GET /private.mp4".to_owned(),
            format!("answered HEAD {PATH}"),
        ];
        assert_eq!(looked_at, if is_looked_at { expected.to_vec() } else { Vec::new() });
    }
    assert_eq!(all[0], all[1]);
}

#[tokio::test]
async fn a_parser_of_others_reads_every_line_of_the_text_for_prometheus() {
    let rig = Rig::new().movie(PATH, 2500);
    rig.get(PATH).send().await;
    rig.get(PATH).send().await;
    let mut text = String::new();
    rig.layer.handle().stats().open_metrics("edge", &mut text).unwrap();
    let parsed = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let histograms = parsed.samples.iter().filter_map(|sample| match &sample.value {
        prometheus_parse::Value::Histogram(counts) => Some((sample, counts)),
        _ => None,
    });
    let hits = histograms.clone().find(|(sample, _)| sample.labels.get("outcome") == Some("hit")).unwrap();
    assert!(hits.1.iter().all(|bucket| bucket.count.to_string() == "1"), "{hits:?}");
    assert!(hits.1.last().is_some_and(|bucket| bucket.less_than.is_infinite()));
    // Of a histogram, the parser keeps the buckets as one sample, and the count and the sum as two.
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let buckets = text.lines().filter(|line| line.contains("_bucket{")).count();
    assert_eq!(parsed.samples.len(), lines.count() - buckets + histograms.count());
}

/// The spans and events that somebody hears of, each in a few words.
#[derive(Clone)]
struct Heard {
    most: Level,
    all: Arc<Mutex<Vec<String>>>,
}

impl<S: Subscriber> Layer<S> for Heard {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == "tower_video_cache" && *metadata.level() <= self.most
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        let mut written = format!("span {}", attributes.metadata().name());
        attributes.record(&mut Words(&mut written));
        self.all.lock().unwrap().push(written);
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut written = event.metadata().level().to_string();
        event.record(&mut Words(&mut written));
        self.all.lock().unwrap().push(written);
    }
}

struct Words<'a>(&'a mut String);

impl Visit for Words<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

/// Everything that is heard up to this level while the rig is used.
async fn heard(most: Level, rig: &Rig) -> Vec<String> {
    let heard = Heard { most, all: Arc::default() };
    // With one subscriber alone, a call site that another thread comes to first would stay off: tracing then asks only the
    // subscriber of that thread, which has none.
    let _another = tracing::Dispatch::new(Registry::default());
    let _hears = tracing::subscriber::set_default(Registry::default().with(heard.clone()));
    rig.get(PATH).send().await.whole(&movie(PATH, 2500));
    rig.get(&format!("{PATH}?token=secret")).send().await;
    rig.get(PATH).send().await.is_hit();
    rig.clock.advance(seconds(301));
    rig.get(PATH).send().await;
    rig.store.spoil(Operation::Put, rig.store.calls(Operation::Put) + 2, Fault::Corrupt);
    rig.ask(Method::DELETE, PATH).send().await;
    rig.get(PATH).send().await;
    std::mem::take(&mut *heard.all.lock().unwrap())
}

#[tokio::test]
async fn work_has_spans_trouble_has_events_and_each_answer_has_one_at_trace() {
    let rig =
        || Rig::new().script(PATH, Script::movie(PATH, 2500).header("etag", "\"v\"").honours_conditions());
    let all = heard(Level::TRACE, &rig()).await;
    let has = |heard: &[String], begin: &str, words: &str| {
        heard.iter().any(|line| line.starts_with(begin) && line.contains(words))
    };
    for (begin, words) in [
        ("span fill", "key=http"),
        ("span validate", "key=http"),
        ("span invalidate", PATH),
        ("DEBUG", "fill ended"),
        ("TRACE", "answered method=GET"),
        ("TRACE", "outcome=\"hit\""),
        ("TRACE", "body ended"),
    ] {
        assert!(
            has(&all, begin, words) || has(&all, begin, &words.replace("key=http", "key=")),
            "{begin} {words}: {all:#?}"
        );
    }
    assert!(all.iter().filter(|line| line.starts_with("TRACE")).all(|line| !line.contains("secret")));
    let quiet = heard(Level::WARN, &rig()).await;
    let levels: BTreeSet<_> = quiet.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert!(levels.iter().all(|level| *level == "WARN"), "{quiet:?}");
    assert!(has(&quiet, "WARN", "chunk damaged"), "{quiet:?}");
}
