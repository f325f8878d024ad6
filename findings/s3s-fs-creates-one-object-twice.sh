#!/usr/bin/env bash
# s3s-fs stores both of two PutObject with `If-None-Match: *` for one key whose bodies overlap.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; mkdir src root root/bucket
cat > Cargo.toml <<'TOML'
[package]
name = "see"
version = "0.1.0"
edition = "2021"
[dependencies]
bytes = "1"
futures = "0.3"
http = "1"
s3s = "=0.14.1"
s3s-fs = "=0.14.1"
tokio = { version = "1", features = ["rt", "macros", "sync"] }
TOML
cat > src/main.rs <<'RS'
use s3s::{dto::{ETagCondition, PutObjectInput, StreamingBlob}, S3, S3Request};
use tokio::sync::Barrier;
use std::sync::Arc;
/// A request whose body comes once the bodies of all requests are wanted.
fn put(text: &'static str, wanted: &Arc<Barrier>) -> S3Request<PutObjectInput> {
    let wanted = Arc::clone(wanted);
    let body = futures::stream::once(async move {
        wanted.wait().await;
        Ok::<_, std::io::Error>(bytes::Bytes::from_static(text.as_bytes()))
    });
    let input = PutObjectInput {
        bucket: "bucket".to_owned(), key: "new".to_owned(), if_none_match: Some(ETagCondition::Any),
        body: Some(StreamingBlob::wrap(Box::pin(body))), ..Default::default()
    };
    S3Request {
        input, method: http::Method::PUT, uri: "/bucket/new".parse().unwrap(), headers: http::HeaderMap::new(),
        extensions: http::Extensions::new(), credentials: None, region: None, service: None, trailing_headers: None,
    }
}
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let fs = s3s_fs::FileSystem::new("root").unwrap();
    let name = |end: s3s::S3Result<_>| match end {
        Ok(_) => "200".to_owned(),
        Err(error) => error.code().as_str().to_owned(),
    };
    let both = Arc::new(Barrier::new(2));
    let (one, two) = tokio::join!(fs.put_object(put("one", &both)), fs.put_object(put("two", &both)));
    let ends = [name(one), name(two)];
    let after = name(fs.put_object(put("three", &Arc::new(Barrier::new(1)))).await);
    println!("two at a time: {ends:?}, one after them: {after:?}, the object: {:?}", std::fs::read_to_string("root/bucket/new"));
    std::process::exit(i32::from(!(ends == ["200", "200"] && after == "PreconditionFailed")));
}
RS
cat <<'TEXT'
version: crates.io s3s-fs 0.14.1
behaviour: PutObject with `If-None-Match: *` looks for the object before it reads the body, and stores the object after
  that without another look. Two requests for one new key whose bodies overlap both get 200, and one object is lost. S3
  answers one of them with 412 or 409. One request after the other works, so a probe with two requests in a row finds
  nothing.
output seen:
TEXT
timeout 900 cargo run --quiet
