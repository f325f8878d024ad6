//! A video that the inner service gives in parts, and rigs that fetch it so.

use bytes::Bytes;
use http::header;
use tower_video_cache::Fill;

use super::{CHUNK, PATH, Rig, Script, movie};

/// Nine whole chunks and a half.
pub(crate) const LENGTH: usize = 9500;

pub(crate) fn truth() -> Bytes {
    movie(PATH, LENGTH)
}

/// The bytes of another version.
pub(crate) fn other() -> Bytes {
    movie("/other.mp4", LENGTH)
}

pub(crate) fn tagged(bytes: &Bytes, tag: &str) -> Script {
    let length = bytes.len().to_string();
    Script::of(bytes).header("content-length", &length).header("etag", tag).honours_ranges()
}

pub(crate) fn parted() -> Script {
    tagged(&truth(), "\"v1\"")
}

/// The same bytes from an inner service that knows no ranges.
pub(crate) fn unparted() -> Script {
    Script::movie(PATH, LENGTH).header("etag", "\"v1\"")
}

pub(crate) fn changed() -> Script {
    tagged(&other(), "\"v2\"")
}

pub(crate) fn rig(script: Script) -> Rig {
    Rig::new().fill(Fill::sliced()).script(PATH, script)
}

/// The same with slices that are small beside the video.
pub(crate) fn small(script: Script, chunks: u64) -> Rig {
    rig(script).fill(Fill::sliced().read_ahead(chunks * u64::from(CHUNK)))
}

/// A rig that has one chunk stored.
pub(crate) async fn begun(script: Script) -> Rig {
    let rig = rig(script);
    rig.get(PATH).range("bytes=0-0").send().await.partial(&truth(), 0..1);
    assert_eq!(asked(&rig), ["0-999"]);
    rig
}

/// The ranges that the inner service was asked for, each with its validator.
pub(crate) fn asked(rig: &Rig) -> Vec<String> {
    let calls = rig.inner.calls();
    let text = |call: &http::request::Parts, name| {
        call.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
    };
    let line = |call| {
        let range = text(call, header::RANGE).replace("bytes=", "");
        let range = if range.is_empty() { "all".to_owned() } else { range };
        format!("{range} {}", text(call, header::IF_RANGE)).trim_end().to_owned()
    };
    calls.iter().map(line).collect()
}
