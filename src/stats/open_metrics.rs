//! The figures as text, in the format that Prometheus scrapes.
//!
//! `OpenMetrics` 1.0.0.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use super::{Counts, Latencies, Stats};

impl Stats {
    /// Writes all figures in the text format that Prometheus scrapes
    /// ([OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/)), with `cache` as a label.
    ///
    /// # Errors
    ///
    /// The errors of the writer. A `String` has none.
    ///
    /// ```
    /// # use tower_video_cache::{MokaStore, VideoCacheLayer};
    /// # let stats = VideoCacheLayer::new(MokaStore::new(1 << 30)?).handle().stats();
    /// let mut text = String::new();
    /// stats.open_metrics("videos", &mut text).expect("a String takes any text");
    /// assert!(text.contains("video_cache_requests_total{cache=\"videos\",outcome=\"hit\"} 0\n"));
    /// assert!(text.ends_with("# EOF\n"));
    /// # Ok::<(), tower_video_cache::Error>(())
    /// ```
    pub fn open_metrics(&self, cache: &str, text: &mut impl Write) -> fmt::Result {
        let mut page = Page { cache: Label(cache), text };
        let (counts, latencies, single, gauges) = (by_word(self), by_time(self), alone(self), gauges(self));
        for (name, label, help, counts) in counts {
            page.family("counter", name, help)?;
            for (word, count) in counts.iter() {
                page.sample(&format_args!("{name}_total"), &[(label, word)], &count)?;
            }
        }
        for (name, label, help, latencies) in latencies {
            page.family("histogram", name, help)?;
            for (word, latency) in latencies.iter() {
                for (bound, count) in latency.buckets() {
                    let le = Bound(bound).to_string();
                    page.sample(&format_args!("{name}_bucket"), &[(label, word), ("le", &le)], &count)?;
                }
                page.sample(&format_args!("{name}_count"), &[(label, word)], &latency.count())?;
                page.sample(&format_args!("{name}_sum"), &[(label, word)], &Seconds(latency.total()))?;
            }
        }
        for (name, help, count) in single {
            if let Some(count) = count {
                page.family("counter", name, help)?;
                page.sample(&format_args!("{name}_total"), &[], &count)?;
            }
        }
        for (name, help, count) in gauges {
            if let Some(count) = count {
                page.family("gauge", name, help)?;
                page.sample(&format_args!("{name}"), &[], &count)?;
            }
        }
        writeln!(page.text, "# EOF")
    }
}

fn by_word(stats: &Stats) -> [(&'static str, &'static str, &'static str, &Counts); 9] {
    [
        ("requests", "outcome", "Requests by outcome.", &stats.requests),
        ("answers", "mark", "Answers that were stored or collapsed.", &stats.marks),
        ("refusals", "detail", "Answers by the detail of Cache-Status.", &stats.refusals),
        ("response_body_bytes", "source", "Bytes of bodies that left.", &stats.response_bytes),
        ("bodies", "end", "Bodies that began, and how they ended.", &stats.bodies),
        ("inner_requests", "for", "Calls of the inner service.", &stats.inner_requests),
        ("inner_body_bytes", "for", "Bytes of bodies of the inner service.", &stats.inner_bytes),
        ("store_calls", "op", "Calls of the store.", &stats.store_calls),
        ("store_errors", "op", "Calls of the store that failed.", &stats.store_errors),
    ]
}

fn by_time(stats: &Stats) -> [(&'static str, &'static str, &'static str, &Latencies); 3] {
    [
        ("first_byte_seconds", "outcome", "Time from a request to its answer.", &stats.first_byte),
        ("fill_duration_seconds", "end", "Time that fills took.", &stats.fill_durations),
        ("store_duration_seconds", "op", "Time that calls of the store took.", &stats.store_latency),
    ]
}

fn alone(stats: &Stats) -> [(&'static str, &'static str, Option<u64>); 7] {
    [
        ("fills", "Fills that were begun.", Some(stats.fills)),
        ("followers", "Requests that waited for a fill of another request.", Some(stats.followers)),
        ("damaged_chunks", "Chunks that failed their checksum.", Some(stats.damaged_chunks)),
        ("lost_chunks", "Chunks of stored responses that the store lost.", Some(stats.lost_chunks)),
        ("healed_chunks", "Lost chunks that were fetched again.", Some(stats.healed_chunks)),
        ("purges", "Purges of the log that this node has learned of.", Some(stats.purges)),
        ("store_evicted_bytes", "Bytes that the store dropped to make room.", stats.store_evicted_bytes),
    ]
}

fn gauges(stats: &Stats) -> [(&'static str, &'static str, Option<u64>); 7] {
    [
        ("fills_in_flight", "Fills under way.", Some(stats.fills_under_way)),
        ("reserved_bytes", "Bytes of the store that fills have reserved.", Some(stats.reserved_bytes)),
        ("bodies_in_flight", "Bodies on their way to clients.", Some(stats.bodies_under_way())),
        ("store_left_alone", "Whether the store is left alone.", Some(stats.store_is_left_alone.into())),
        (
            "purge_log_unreadable",
            "Whether the log of purges could not be read.",
            Some(stats.purge_log_is_unreadable.into()),
        ),
        ("store_capacity_bytes", "Bytes that the store can hold.", stats.store_capacity),
        ("store_weight_bytes", "Bytes that the store holds.", stats.store_weight),
    ]
}

struct Page<'a, W> {
    cache: Label<'a>,
    text: &'a mut W,
}

impl<W: Write> Page<'_, W> {
    fn family(&mut self, kind: &str, name: &str, help: &str) -> fmt::Result {
        writeln!(self.text, "# TYPE {PREFIX}{name} {kind}")?;
        // The unit is the end of the name.
        if let Some(unit) = ["seconds", "bytes"].iter().find(|unit| name.ends_with(*unit)) {
            writeln!(self.text, "# UNIT {PREFIX}{name} {unit}")?;
        }
        writeln!(self.text, "# HELP {PREFIX}{name} {help}")
    }

    fn sample(
        &mut self,
        name: &dyn fmt::Display,
        labels: &[(&str, &str)],
        value: &dyn fmt::Display,
    ) -> fmt::Result {
        write!(self.text, "{PREFIX}{name}{{cache=\"{}\"", self.cache)?;
        for (label, word) in labels {
            write!(self.text, ",{label}=\"{word}\"")?;
        }
        writeln!(self.text, "}} {value}")
    }
}

const PREFIX: &str = "video_cache_";

/// A duration in seconds.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}

/// The bound of a bucket, as short as a number with a point can be.
struct Bound(Duration);

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == Duration::MAX { f.write_str("+Inf") } else { write!(f, "{:?}", self.0.as_secs_f64()) }
    }
}

/// The value of a label, escaped.
struct Label<'a>(&'a str);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
