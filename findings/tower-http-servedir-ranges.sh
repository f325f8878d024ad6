#!/usr/bin/env bash
# ServeDir of tower-http sends strong ETags, ignores If-Range, and refuses many a range that it could serve.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; mkdir src www
head -c 1000 /dev/zero | tr '\0' A > www/film.mp4
cat > Cargo.toml <<'TOML'
[package]
name = "see"
version = "0.1.0"
edition = "2021"
[dependencies]
http = "=1.5.0"
http-body-util = "=0.1.5"
tokio = { version = "=1.54.1", features = ["macros", "rt"] }
tower = { version = "=0.5.3", features = ["util"] }
tower-http = { version = "=0.7.1", features = ["fs"] }
TOML
cat > src/main.rs <<'RS'
use http_body_util::{BodyExt, Empty};
use tower::ServiceExt;
async fn ask(fields: &[(&str, &str)]) -> (u16, String, usize) {
    let mut request = http::Request::builder().uri("/film.mp4");
    for (name, value) in fields { request = request.header(*name, *value); }
    let request = request.body(Empty::<&'static [u8]>::new()).unwrap();
    let (head, body) = tower_http::services::ServeDir::new("www").oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let tag = head.headers.get("etag").map_or("none", |tag| tag.to_str().unwrap()).to_owned();
    println!("{fields:?} -> {}, ETag: {tag}, {} bytes {:?}", head.status, body.len(), String::from_utf8_lossy(&body[..body.len().min(3)]));
    (head.status.as_u16(), tag, body.len())
}
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (_, old, _) = ask(&[]).await;
    std::fs::write("www/film.mp4", "B".repeat(1000)).unwrap();
    let (status, new, size) = ask(&[("range", "bytes=500-"), ("if-range", &old)]).await;
    let mut seen = vec![];
    for range in ["bytes=0-1,4-5", "bytes=0-5,3-8", "bytes=-5000", "BYTES=0-1", "lines=0-1"] { seen.push(ask(&[("range", range)]).await.0); }
    std::process::exit(i32::from(!((status, size) == (206, 500) && old != new && old.starts_with('"') && seen == [416; 5])));
}
RS
cat <<'TEXT'
version: crates.io tower-http 0.7.1 (ServeDir)
behaviour: With the tag of the file before in If-Range, ServeDir sends a 206 of the new file; RFC 9110 section 13.1.5 has
  a 200 there. Two ranges, apart or overlapping, a suffix longer than the file, `BYTES=` and an unknown unit get a 416;
  sections 14.1 and 14.2 have all of them served or ignored. A cache before it must compare the tag of each part with
  that of the parts it has, and must ask for one plain range or the whole, never hand on the client's Range.
output seen:
TEXT
timeout 500 cargo run --quiet
