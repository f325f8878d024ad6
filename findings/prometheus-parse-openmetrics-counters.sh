#!/usr/bin/env bash
# prometheus-parse takes the counters of OpenMetrics for untyped samples, and leaves a histogram's count and sum beside it.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "see"
version = "0.1.0"
edition = "2021"
[dependencies]
prometheus-parse = "=0.2.5"
TOML
cat > src/main.rs <<'RS'
use prometheus_parse::{Scrape, Value};
fn kinds(text: &str) -> Vec<String> {
    let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let mut kinds: Vec<_> = scrape.samples.iter().map(|sample| {
        let kind = match sample.value {
            Value::Counter(_) => "counter", Value::Gauge(_) => "gauge", Value::Histogram(_) => "histogram",
            Value::Summary(_) => "summary", Value::Untyped(_) => "untyped",
        };
        format!("{} {kind}", sample.metric)
    }).collect();
    kinds.sort();
    kinds
}
fn main() {
    let openmetrics = kinds("# TYPE asked counter\n# HELP asked Requests.\nasked_total 3\n# TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\nwait_seconds_bucket{le=\"1.0\"} 1\nwait_seconds_bucket{le=\"+Inf\"} 1\nwait_seconds_count 1\nwait_seconds_sum 0.5\n# EOF\n");
    let older = kinds("# TYPE asked_total counter\nasked_total 3\n");
    println!("OpenMetrics 1.0.0: {openmetrics:?}\nthe format before: {older:?}");
    let seen = openmetrics == ["asked_total untyped", "wait_seconds histogram", "wait_seconds_count untyped", "wait_seconds_sum untyped"];
    std::process::exit(i32::from(!(seen && older == ["asked_total counter"])));
}
RS
cat <<'TEXT'
version: crates.io prometheus-parse 0.2.5
behaviour: It reads the text of OpenMetrics 1.0.0 without an error, and gives each counter as an untyped sample: in that
  format, the name after `# TYPE` lacks the `_total` that the sample has. Of a histogram it joins the buckets, and gives the
  count and the sum as two untyped samples more. One expects a counter, as from the format before, and one histogram. A
  program that picks its figures by their type finds no counter.
output seen:
TEXT
timeout 500 cargo run --quiet
