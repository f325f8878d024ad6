//! Clients that identify themselves, list fields for one connection, or have odd hosts; and refusals of them.

use tower_video_cache::Invalidate;

use super::{
    reader::Reader,
    script::{
        Row,
        Value::{Fixed, SeenTag},
    },
    words::RANGES,
};

/// Settings that scripts did not choose before clients had names.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// Seconds that a request may get beyond what a response allows.
    pub(super) stale_on_request: u64,
    pub(super) with_authorized: bool,
    pub(super) invalidate: Invalidate,
}

impl Sharing {
    pub(super) fn read(bytes: &mut Reader<'_>) -> Self {
        let on_success = Invalidate::OnSuccess;
        Self {
            stale_on_request: bytes.pick(&[0, 0, 0, 20, 1000]),
            with_authorized: bytes.pick(&[false, false, false, true]),
            invalidate: bytes.pick(&[on_success, on_success, Invalidate::Never, Invalidate::OnNonError]),
        }
    }
}

pub(super) const CLIENT_FIELDS: [Row; 20] = [
    (
        "connection",
        &[
            Fixed("range"),
            Fixed("If-None-Match"),
            Fixed("close, if-range,range"),
            Fixed(" RANGE ,, If-Range\t,close"),
            Fixed("if-match, if-modified-since, if-unmodified-since"),
        ],
    ),
    (
        "connection",
        &[
            Fixed("cache-control"),
            Fixed("Pragma, Cache-Control"),
            Fixed("authorization"),
            Fixed("Keep-Alive , COOKIE"),
            Fixed("authorization,cookie,if-none-match"),
        ],
    ),
    (
        "connection",
        &[
            Fixed("accept-encoding"),
            Fixed("Origin, Accept-Language"),
            Fixed("accept-encoding, x-one"),
            Fixed("host"),
            Fixed("connection, close"),
            Fixed("\"range\", range;q=1, cookie"),
        ],
    ),
    ("connection", &[Fixed("close"), Fixed("Keep-Alive"), Fixed("keep-alive, close"), Fixed(""), Fixed(",")]),
    ("connection", &[Fixed("range"), Fixed("if-none-match"), Fixed("authorization"), Fixed("cookie")]),
    ("host", &[Fixed("h"), Fixed("H:80"), Fixed("h:"), Fixed("h:443"), Fixed("h:8080"), Fixed("h.")]),
    ("host", &[Fixed("h"), Fixed("h:80"), Fixed("h/a"), Fixed(":80"), Fixed("u@h:80"), Fixed("[::1]:80")]),
    ("host", &[Fixed("h"), Fixed("h:080"), Fixed("h, h"), Fixed("[::1]"), Fixed("U@H"), Fixed("h?x")]),
    ("authorization", &[Fixed("Bearer one"), Fixed("Bearer two"), Fixed("")]),
    ("authorization", &[Fixed("Bearer one")]),
    ("cookie", &[Fixed("user=1"), Fixed("user=2"), Fixed("")]),
    ("cookie", &[Fixed("user=1")]),
    ("cache-control", &[Fixed("max-stale"), Fixed("max-stale=5"), Fixed("max-stale=100, max-age=600")]),
    ("cache-control", &[Fixed("stale-if-error=5"), Fixed("stale-if-error=600")]),
    ("cache-control", &[Fixed("no-cache"), Fixed("max-age=0")]),
    ("range", &RANGES),
    ("if-none-match", &[SeenTag]),
    ("if-range", &[SeenTag]),
    ("accept-encoding", &[Fixed("gzip"), Fixed("br")]),
    ("origin", &[Fixed("http://one"), Fixed("http://two")]),
];

pub(super) const REFUSALS: [Option<u16>; 16] = [
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    Some(401),
    Some(403),
    Some(404),
    Some(410),
    Some(451),
    Some(503),
];
