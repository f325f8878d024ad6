//! Inner services that answer the cache's own questions badly, and clients' plain requests well. No client may notice.
//!
//! RFC 9110 §13.1.4, §13.1.5 (conditions of a further part), §14.2 (`Range`), §15.3.7 (206).

use std::ops::Range;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use tower::{Service, ServiceExt};
use tower_video_cache::{ChunkSize, Fill};

use crate::rig::{
    Answer, PATH, Rig, Script, movie,
    parted::{asked, tagged},
    settle,
};

/// Four chunks of 64 KiB, and a part of one.
const LENGTH: usize = 300_000;

const CHUNK: u32 = 64 << 10;

fn truth() -> Bytes {
    movie(PATH, LENGTH)
}

fn modes() -> [Fill; 4] {
    // Slices of one chunk, so that each answer needs further parts.
    [Fill::auto(), Fill::whole(), Fill::progressive(), Fill::sliced().read_ahead(CHUNK.into())]
}

fn rig(script: Script, mode: Fill) -> Rig {
    Rig::new().layer(|layer| layer.chunk_size(ChunkSize::new(CHUNK).unwrap())).fill(mode).script(PATH, script)
}

/// A server by the letter.
fn good() -> Script {
    tagged(&truth(), "\"v1\"").header("accept-ranges", "bytes")
}

fn empty(status: u16) -> Script {
    Script::of(&Bytes::new()).header("content-length", "0").status(status)
}

fn whole_alone() -> Script {
    Script::movie(PATH, LENGTH).header("etag", "\"v1\"")
}

/// The requests of clients, and the bytes that each wants.
const WISHES: [(Option<&str>, Range<usize>); 4] = [
    (None, 0..LENGTH),
    (Some("bytes=100000-"), 100_000..LENGTH),
    (Some("bytes=100000-199999"), 100_000..200_000),
    (Some("bytes=-100000"), LENGTH - 100_000..LENGTH),
];

/// Inner services that give parts to whoever asks for a range alone, and other answers to a question that names a
/// validator.
fn trouble_with_further_parts() -> Vec<(&'static str, Script)> {
    let further = |answer: Script| good().instead(header::IF_RANGE, answer);
    vec![
        ("the whole", further(whole_alone())),
        ("a redirection", further(empty(302).header("location", "/other"))),
        ("a bad request", further(empty(400))),
        ("forbidden", further(empty(403))),
        ("not acceptable", further(empty(406))),
        ("a failed condition", further(empty(412))),
        ("unsatisfiable, without a length", further(empty(416))),
        ("too many requests", further(empty(429))),
        ("an error", further(empty(500))),
        ("not implemented", further(empty(501))),
        ("a part that begins later", further(good().misplaces_parts(1))),
        ("a part elsewhere", further(good().says_range("bytes 0-9/300000"))),
        (
            "several parts",
            further(good().says_range("").header("content-type", "multipart/byteranges; boundary=x")),
        ),
        ("a part without a length", further(good().without_total())),
        ("a part of another length", further(good().says_range("bytes 65536-131071/300001"))),
        ("a weak tag", further(tagged(&truth(), "W/\"v1\""))),
        ("no tag", further(good().part_without("etag"))),
        ("a tag without quotes", further(tagged(&truth(), "v1"))),
        ("a part that is not stored", further(good().part_header("cache-control", "no-store"))),
        ("a private part", further(good().part_header("cache-control", "private"))),
        ("a part that varies", further(good().part_header("vary", "*"))),
        ("a part in another coding", further(good().codes_parts())),
        ("short parts", further(good().gives_at_most(70_000))),
        ("parts of a few bytes", further(good().gives_at_most(100))),
    ]
}

/// Inner services that give the whole, and answer ranges by this.
fn trouble_with_ranges() -> Vec<(&'static str, Script)> {
    let ranged = |answer: Script| good().instead(header::RANGE, answer);
    vec![
        ("the whole", ranged(whole_alone())),
        ("a redirection", ranged(empty(302).header("location", "/other"))),
        ("a bad request", ranged(empty(400))),
        ("forbidden", ranged(empty(403))),
        ("not acceptable", ranged(empty(406))),
        ("unsatisfiable, without a length", ranged(empty(416))),
        ("an error", ranged(empty(500))),
        ("no validator", ranged(good().without("etag"))),
        ("a weak tag", ranged(tagged(&truth(), "W/\"v1\""))),
        ("a tag without quotes", ranged(tagged(&truth(), "v1"))),
        ("a part without a length", ranged(good().without_total())),
        ("a part that is not stored", ranged(good().part_header("cache-control", "no-store"))),
        ("a private part", ranged(good().part_header("cache-control", "private"))),
        ("a part that varies", ranged(good().part_header("vary", "*"))),
        ("a part of another type", ranged(good().part_header("content-type", "text/html"))),
        ("short parts", ranged(good().gives_at_most(70_000))),
    ]
}

/// The status and the bytes that a client gets without the layer.
async fn direct(script: &Script, range: Option<&str>) -> (StatusCode, Bytes) {
    let mut inner = crate::rig::Inner::default();
    inner.answer(PATH, script.clone());
    let mut request = Request::get(PATH);
    if let Some(range) = range {
        request = request.header(header::RANGE, range);
    }
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let answer: Response<_> = inner.ready().await.unwrap().call(request).await.unwrap();
    (answer.status(), answer.into_body().collect().await.unwrap().to_bytes())
}

async fn ask(rig: &Rig, range: Option<&str>) -> Answer {
    let ask = rig.get(PATH);
    match range {
        Some(range) => ask.range(range).send().await,
        None => ask.send().await,
    }
}

/// The reason why the answer is worse than the direct one, if it is.
fn worse(answer: &Answer, direct: &(StatusCode, Bytes), wanted: &Range<usize>) -> Option<String> {
    if let Some(error) = &answer.error {
        return Some(format!("{} after {} bytes: {error}", answer.status, answer.bytes.len()));
    }
    let is_direct = (answer.status, &answer.bytes) == (direct.0, &direct.1);
    let is_right = answer.status == StatusCode::PARTIAL_CONTENT
        && answer.bytes == truth().slice(wanted.clone())
        || answer.status == StatusCode::OK && answer.bytes == truth();
    (!is_direct && !is_right).then(|| format!("{} with {} bytes", answer.status, answer.bytes.len()))
}

async fn play(kinds: Vec<(&'static str, Script)>, name: &str) {
    let mut wrong = Vec::new();
    for (what, script) in kinds {
        for mode in modes() {
            for (range, wanted) in WISHES {
                let rig = rig(script.clone(), mode);
                let direct = direct(&script, range).await;
                let mut before = 0;
                for client in ["first", "next", "third"] {
                    let answer = ask(&rig, range).await;
                    settle().await;
                    let calls = asked(&rig).split_off(before);
                    before += calls.len();
                    // A server of short parts makes a direct client ask again and again, too.
                    let most = match client {
                        _ if what == "short parts" => 8,
                        "first" => 2,
                        _ => 1,
                    };
                    let scene = || format!("{name}: {what}; {mode:?}; {range:?}; {client}: {calls:?}");
                    if let Some(worse) = worse(&answer, &direct, &wanted) {
                        wrong.push(format!("{}: {worse} {}", scene(), answer.cache_status()));
                    } else if calls.len() > most && mode == Fill::auto() {
                        wrong.push(format!("{}: {}", scene(), answer.cache_status()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{} in all", wrong.join("\n"), wrong.len());
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_to_a_question_for_a_further_part_reaches_no_client() {
    play(trouble_with_further_parts(), "further").await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_to_the_range_of_the_cache_reaches_no_client() {
    play(trouble_with_ranges(), "ranges").await;
}

#[tokio::test]
async fn a_service_that_gives_another_tag_at_each_call_breaks_no_third_body() {
    let mut number = 0;
    let versions = std::iter::repeat_with(|| {
        number += 1;
        tagged(&truth(), &format!("\"v{number}\"")).header("accept-ranges", "bytes")
    });
    let rig = rig(good(), Fill::sliced().read_ahead(CHUNK.into()));
    rig.inner.answer_each(PATH, versions.take(100));
    for _ in 0..2 {
        let answer = rig.get(PATH).send().await;
        assert!(answer.error.is_some() && truth().starts_with(&answer.bytes));
    }
    rig.get(PATH).send().await.whole(&truth());
    rig.get(PATH).range("bytes=100000-").send().await.partial(&truth(), 100_000..LENGTH).is_hit();
}
