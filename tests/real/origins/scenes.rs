//! The requests of clients to each server, in each mode.

use std::ops::Range;

use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE};

use crate::origins::{
    asking::{Answer, Ask},
    bench::{Bench, Stage},
    site::{EMPTY, FILM, LENGTH, MISSING, PLAYLIST, film},
    verdict::Want,
};

/// Plays all scenes. The film changes twice.
pub(crate) async fn play(bench: &mut Bench) {
    for mode in MODES {
        cold(bench, mode).await;
        conditions(bench, mode).await;
        others(bench, mode).await;
    }
    let mut stages = Vec::new();
    for mode in MODES {
        stages.push(warm(bench, mode).await);
    }
    for version in [1, 2] {
        let olds = old(bench).await;
        bench.change(version).await;
        for (stage, old) in stages.iter().zip(&olds) {
            changed(bench, stage, old).await;
        }
    }
}

pub(crate) const MODES: [&str; 4] = ["auto", "whole", "progressive", "sliced"];

/// Each of these requests meets an empty store. Then the next client asks the same, and one asks for the whole.
async fn cold(bench: &mut Bench, mode: &'static str) {
    let head = Stage::new(mode, "cold head");
    bench.first(&head, "first", Ask::head(FILM), Want::Whole).await;
    bench.then(&head, "again", Ask::head(FILM), Want::Whole).await;
    for (scene, range, want) in ranges() {
        let stage = Stage::new(mode, scene);
        bench.first(&stage, "first", Ask::get(FILM).range(range), want.clone()).await;
        bench.then(&stage, "again", Ask::get(FILM).range(range), want).await;
        bench.first(&stage, "whole", Ask::get(FILM), Want::Whole).await;
    }
}

/// Requests with conditions meet an empty store.
async fn conditions(bench: &mut Bench, mode: &'static str) {
    let plain = bench.direct(&Ask::get(FILM)).await;
    for (scene, ask, want) in conditional(&plain) {
        let stage = Stage::new(mode, scene);
        bench.first(&stage, "first", ask.clone(), want.clone()).await;
        bench.then(&stage, "again", ask, want).await;
    }
}

/// Other files: one without content, a text, and one that is not there.
async fn others(bench: &mut Bench, mode: &'static str) {
    let empty = Stage::new(mode, "empty file");
    bench.first(&empty, "first", Ask::get(EMPTY), Want::Whole).await;
    bench.then(&empty, "again", Ask::get(EMPTY), Want::Whole).await;
    bench.then(&empty, "head", Ask::head(EMPTY), Want::Whole).await;
    // RFC 9110 §14.1.2 calls a suffix satisfiable, and no Content-Range can say so of an empty file.
    for (scene, range, want) in [
        ("empty file by range", "bytes=0-", Want::Unsatisfiable),
        ("empty file by suffix", "bytes=-5", Want::Whole),
    ] {
        let stage = Stage::new(mode, scene);
        bench.first(&stage, "first", Ask::get(EMPTY).range(range), want.clone()).await;
        bench.then(&stage, "again", Ask::get(EMPTY).range(range), want).await;
    }
    let list = Stage::new(mode, "playlist");
    bench.first(&list, "first", Ask::get(PLAYLIST), Want::Whole).await;
    bench.then(&list, "again", Ask::get(PLAYLIST), Want::Whole).await;
    bench.then(&list, "head", Ask::head(PLAYLIST), Want::Whole).await;
    bench.then(&list, "part", Ask::get(PLAYLIST).range("bytes=7-99"), Want::Part(7..100)).await;
    let gzip = || Ask::get(PLAYLIST).with(ACCEPT_ENCODING, "gzip");
    bench.first(&list, "gzip", gzip(), Want::Coded).await;
    bench.then(&list, "gzip again", gzip(), Want::Coded).await;
    let coded = Stage::new(mode, "playlist by gzip");
    bench.first(&coded, "first", gzip(), Want::Coded).await;
    bench.then(&coded, "again", gzip(), Want::Coded).await;
    bench.first(&coded, "without", Ask::get(PLAYLIST), Want::Whole).await;
    let coded = Stage::new(mode, "playlist by gzip and range");
    bench.first(&coded, "first", gzip().range("bytes=7-99"), Want::Part(7..100)).await;
    bench.then(&coded, "again", gzip().range("bytes=7-99"), Want::Part(7..100)).await;
    let missing = Stage::new(mode, "missing file");
    bench.first(&missing, "first", Ask::get(MISSING), Want::AsDirect).await;
    bench.then(&missing, "again", Ask::get(MISSING), Want::AsDirect).await;
    bench.then(&missing, "part", Ask::get(MISSING).range("bytes=0-99"), Want::AsDirect).await;
}

/// All of these requests meet the whole film.
async fn warm(bench: &mut Bench, mode: &'static str) -> Stage {
    let stage = Stage::new(mode, "warm");
    let plain = bench.first(&stage, "first", Ask::get(FILM), Want::Whole).await;
    bench.then(&stage, "whole", Ask::get(FILM), Want::Whole).await;
    bench.then(&stage, "head", Ask::head(FILM), Want::Whole).await;
    for (scene, range, want) in ranges() {
        bench.then(&stage, scene, Ask::get(FILM).range(range), want).await;
    }
    if let Some(plain) = plain {
        for (scene, ask, want) in conditional(&plain) {
            bench.then(&stage, scene, ask, want).await;
        }
    }
    bench.then(&stage, "reload", Ask::get(FILM).with(CACHE_CONTROL, "max-age=0"), Want::Whole).await;
    let part = Ask::get(FILM).range("bytes=1500000-1899999").with(CACHE_CONTROL, "max-age=0");
    bench.then(&stage, "reload of a part", part, Want::Part(MIDDLE)).await;
    stage
}

/// A store with the whole film, and one with a part of it, before the film changes.
struct Old {
    whole: Stage,
    part: Stage,
    tag: Option<String>,
}

async fn old(bench: &mut Bench) -> Vec<Old> {
    let mut olds = Vec::new();
    for mode in MODES {
        let whole = Stage::new(mode, "changed, whole stored");
        let plain = bench.first(&whole, "before", Ask::get(FILM), Want::Whole).await;
        let part = Stage::new(mode, "changed, part stored");
        let middle = Ask::get(FILM).range("bytes=1500000-1899999");
        bench.first(&part, "before", middle, Want::Part(MIDDLE)).await;
        olds.push(Old { whole, part, tag: plain.and_then(|plain| plain.field("etag")) });
    }
    olds
}

/// The film has changed.
async fn changed(bench: &mut Bench, warm: &Stage, old: &Old) {
    let length = film(bench.version()).len();
    let scene = if length == LENGTH { "changed" } else { "changed in length" };
    let stage = Stage { scene, ..warm.clone() };
    let anew = |ask: Ask| ask.with(CACHE_CONTROL, "max-age=0");
    bench.first(&stage, "reload", anew(Ask::get(FILM)), Want::Whole).await;
    bench.then(&stage, "whole", Ask::get(FILM), Want::Whole).await;
    bench.then(&stage, "hard reload", Ask::get(FILM).with(CACHE_CONTROL, "no-cache"), Want::Whole).await;
    bench.then(&stage, "reload of a head", anew(Ask::head(FILM)), Want::Whole).await;
    let open = Ask::get(FILM).range("bytes=2900000-");
    let end = 2_900_000..length;
    let ends = 2_900_000..LENGTH;
    bench.first(&old.whole, "reload of a part", anew(open.clone()), Want::Part(end.clone())).await;
    if let Some(tag) = &old.tag {
        bench.first(&old.whole, "If-Range", anew(open.clone()).with(IF_RANGE, tag), Want::Whole).await;
        let ask = anew(Ask::get(FILM)).with(IF_NONE_MATCH, tag);
        bench.then(&old.whole, "If-None-Match", ask, Want::Whole).await;
    }
    bench.first_of_either(&old.part, "another part", open, ends).await;
    bench
        .first_of_either(&old.part, "this part", Ask::get(FILM).range("bytes=1500000-1899999"), MIDDLE)
        .await;
    bench.first(&old.part, "reload", anew(Ask::get(FILM)), Want::Whole).await;
}

fn ranges() -> [(&'static str, &'static str, Want); 8] {
    [
        ("middle", "bytes=1500000-1899999", Want::Part(MIDDLE)),
        ("one byte", "bytes=0-0", Want::Part(0..1)),
        ("from the start", "bytes=0-", Want::Part(0..LENGTH)),
        ("to the end", "bytes=2900000-", Want::Part(2_900_000..LENGTH)),
        ("suffix", "bytes=-200000", Want::Part(LENGTH - 200_000..LENGTH)),
        ("suffix longer than the file", "bytes=-9999999", Want::Part(0..LENGTH)),
        ("two ranges", "bytes=100-199,2000000-2099999", Want::Parts(vec![100..200, 2_000_000..2_100_000])),
        ("beyond the end", "bytes=9000000-9000009", Want::Unsatisfiable),
    ]
}

/// Requests with the validators of an answer, and with others.
fn conditional(plain: &Answer) -> Vec<(&'static str, Ask, Want)> {
    let middle = || Ask::get(FILM).range("bytes=1500000-1899999");
    let mut all = vec![
        ("If-Range, other tag", middle().with(IF_RANGE, "\"other\""), Want::Whole),
        ("If-None-Match, other tag", Ask::get(FILM).with(IF_NONE_MATCH, "\"other\""), Want::Whole),
        ("If-Modified-Since, long ago", Ask::get(FILM).with(IF_MODIFIED_SINCE, LONG_AGO), Want::Whole),
    ];
    if let Some(tag) = plain.field("etag") {
        let binds = if tag.starts_with('"') { Want::Part(MIDDLE) } else { Want::Whole };
        all.push(("If-Range", middle().with(IF_RANGE, &tag), binds));
        all.push(("If-None-Match", Ask::get(FILM).with(IF_NONE_MATCH, &tag), Want::Unmodified));
        all.push(("If-None-Match, head", Ask::head(FILM).with(IF_NONE_MATCH, &tag), Want::Unmodified));
    }
    if let Some(date) = plain.field("last-modified") {
        all.push(("If-Range by date", middle().with(IF_RANGE, &date), Want::Part(MIDDLE)));
        all.push(("If-Modified-Since", Ask::get(FILM).with(IF_MODIFIED_SINCE, &date), Want::Unmodified));
    }
    all
}

const MIDDLE: Range<usize> = 1_500_000..1_900_000;
const LONG_AGO: &str = "Mon, 01 Jan 2024 00:00:00 GMT";
