#!/usr/bin/env bash
# OpenDAL's fs service with `atomic_write_dir` creates one file "if it does not exist" for two writers.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "see"
version = "0.1.0"
edition = "2021"
[dependencies]
opendal = { version = "=0.59.5", default-features = false, features = ["services-fs"] }
tokio = { version = "=1.52.1", features = ["rt", "macros"] }
TOML
cat > src/main.rs <<'RS'
use opendal::{services::Fs, Operator};
/// Two writers of one new file write, and are then closed one after the other.
async fn race(fs: Fs) -> (bool, [Result<(), opendal::ErrorKind>; 2], String) {
    let op = Operator::new(fs).unwrap();
    let says = op.info().capability().write_with_if_not_exists;
    let open = || async { op.writer_with("new").if_not_exists(true).await };
    let (mut one, mut two) = (open().await.unwrap(), open().await.unwrap());
    let written = [one.write("one").await, two.write("two").await];
    let mut ends = [Ok(()), Ok(())];
    for ((end, written), writer) in ends.iter_mut().zip(written).zip([&mut one, &mut two]) {
        *end = match written {
            Ok(()) => writer.close().await.map(drop),
            Err(error) => Err(error),
        }.map_err(|error| error.kind());
    }
    (says, ends, String::from_utf8(op.read("new").await.unwrap().to_vec()).unwrap())
}
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let root = |name: &str| std::env::current_dir().unwrap().join(name).display().to_string();
    let plain = race(Fs::default().root(&root("plain"))).await;
    let atomic = race(Fs::default().root(&root("atomic")).atomic_write_dir(&root("drafts"))).await;
    println!("(capability, ends of both writers, file)\nwithout atomic_write_dir: {plain:?}\nwith atomic_write_dir:    {atomic:?}");
    let one_alone = plain.1.iter().filter(|end| end.is_ok()).count() == 1;
    let both = atomic.0 && atomic.1 == [Ok(()), Ok(())] && atomic.2 == "two";
    std::process::exit(i32::from(!(one_alone && both)));
}
RS
cat <<'TEXT'
version: crates.io opendal 0.59.5, service fs
behaviour: With `atomic_write_dir`, a write with `if_not_exists` looks for the file at the first write, and renames its
  draft over whatever is there when the writer is closed. Two writers that wrote before the first one was closed both end
  well, and the second text replaces the first. The capability `write_with_if_not_exists` is true all the same. Without
  `atomic_write_dir`, the second writer gets an error, as one expects of both.
output seen:
TEXT
timeout 900 cargo run --quiet
