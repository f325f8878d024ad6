//! The words that scripts are made of. Useful words are listed more than once.

use http::Version;

use super::script::{
    Length, Row,
    Value::{self, Fixed, In, SeenDate, SeenModified, SeenTag, SeenTagTurned},
};

pub(super) const STATUSES_STORED: [&[u16]; 6] =
    [&[200], &[200, 203, 204, 301, 404, 410, 503], &[200], &[200, 203, 404], &[200], &[404, 206]];

/// The empty method stands for raw bytes.
pub(super) const METHODS: [&str; 16] = [
    "GET", "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "HEAD", "POST", "DELETE", "PUT", "OPTIONS",
    "TRACE", "PATCH", "",
];

pub(super) const TARGETS: [&str; 14] =
    ["/a", "/a", "/a", "/a", "/a", "/a", "/a", "/b", "/a?x", "http://h/a", "https://H/a", "//a", "*", ""];

pub(super) const VERSIONS: [Version; 6] = [
    Version::HTTP_11,
    Version::HTTP_11,
    Version::HTTP_2,
    Version::HTTP_10,
    Version::HTTP_3,
    Version::HTTP_09,
];

pub(super) const REQUEST_FIELDS: [Row; 27] = [
    ("range", &RANGES),
    ("range", &RANGES),
    ("range", &RANGES),
    ("if-range", &[SeenTag, SeenTagTurned, SeenModified, SeenDate, Fixed("\"other\""), In(0)]),
    ("if-range", &[SeenTag, SeenModified]),
    ("if-match", &[SeenTag, SeenTagTurned, Fixed("*"), Fixed("\"other\", \"a,b\""), Fixed("")]),
    ("if-none-match", &[SeenTag, SeenTagTurned, Fixed("*"), Fixed("\"other\", W/\"a,b\""), Fixed("other")]),
    ("if-none-match", &[SeenTag]),
    ("if-modified-since", &[SeenModified, SeenDate, In(0), In(-1), In(-86_400), Fixed("0")]),
    ("if-unmodified-since", &[SeenModified, SeenDate, In(0), In(-1), In(-86_400), Fixed("0")]),
    (
        "cache-control",
        &[
            Fixed("no-store"),
            Fixed("no-cache"),
            Fixed("max-age=0"),
            Fixed("only-if-cached"),
            Fixed("max-stale"),
            Fixed("min-fresh=20"),
            Fixed("max-age=5"),
        ],
    ),
    ("cache-control", &[Fixed("only-if-cached")]),
    ("pragma", &[Fixed("no-cache")]),
    ("authorization", &[Fixed("Bearer one"), Fixed("Basic two")]),
    ("cookie", &[Fixed("user=1"), Fixed("user=2")]),
    ("accept-encoding", &[Fixed("gzip"), Fixed("gzip, br"), Fixed("gzip ,br"), Fixed("identity"), Fixed("")]),
    ("accept-language", &[Fixed("de"), Fixed("en"), Fixed("en, de;q=0.5")]),
    ("host", &[Fixed("h"), Fixed("H"), Fixed("other"), Fixed("")]),
    ("content-length", &[Fixed("0"), Fixed("5"), Fixed("x")]),
    ("transfer-encoding", &[Fixed("chunked")]),
    ("expect", &[Fixed("100-continue")]),
    ("te", &[Fixed("trailers")]),
    ("connection", &[Fixed("close"), Fixed("range, if-none-match"), Fixed("upgrade")]),
    ("upgrade", &[Fixed("websocket")]),
    ("x-forwarded-host", &[Fixed("other")]),
    ("x-http-method-override", &[Fixed("DELETE"), Fixed("POST")]),
    ("origin", &[Fixed("http://one"), Fixed("http://two")]),
];

pub(super) const MORE_REQUEST_FIELDS: [Row; 8] = [
    (
        "cache-control",
        &[
            Fixed("max-stale=20"),
            Fixed("stale-if-error=60"),
            Fixed("max-age=30, max-stale=20"),
            Fixed("max-stale, min-fresh=5"),
            Fixed("only-if-cached, max-stale"),
            Fixed("only-if-cached, no-store"),
            Fixed("no-cache, stale-if-error=60"),
            Fixed("max-age=60"),
        ],
    ),
    ("cache-control", &[Fixed("stale-if-error=60")]),
    ("cache-control", &[Fixed("no-cache")]),
    ("cache-control", &[Fixed("no-store")]),
    ("accept-encoding", &[Fixed("gzip")]),
    ("accept-encoding", &[Fixed("br")]),
    ("cookie", &[Fixed("user=1")]),
    ("x-method-override", &[Fixed("DELETE")]),
];

pub(super) const RANGES: [Value; 18] = [
    Fixed("bytes=0-"),
    Fixed("bytes=0-0"),
    Fixed("bytes=0-6"),
    Fixed("bytes=7-13"),
    Fixed("bytes=3-20"),
    Fixed("bytes=50-"),
    Fixed("bytes=100-"),
    Fixed("bytes=-5"),
    Fixed("bytes=-0"),
    Fixed("bytes=-200"),
    Fixed("bytes=5-1"),
    Fixed("bytes=0-18446744073709551615"),
    Fixed("bytes=0-0,5-9"),
    Fixed("bytes=40-60, 0-1, 90-"),
    Fixed("bytes=0-0, -1,,99-200"),
    Fixed("bytes=0-,0-,0-,-1,-1,-1"),
    Fixed("BYTES=2-4"),
    Fixed("seconds=0-1"),
];

pub(super) const STATUSES: [u16; 48] = [
    200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200,
    200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 203, 204, 206, 299, 301, 304, 404, 404, 410, 412,
    416, 500, 502, 503, 504, 599,
];

pub(super) const MEDIA: [&str; 8] = [
    "video/mp4",
    "video/mp4",
    "video/mp4",
    "video/mp4",
    "Audio/aac; x=1",
    "application/x-mpegurl",
    "text/html",
    "",
];

pub(super) const LENGTHS: [Length; 14] = [
    Length::True,
    Length::True,
    Length::True,
    Length::True,
    Length::Absent,
    Length::True,
    Length::True,
    Length::True,
    Length::Absent,
    Length::Absent,
    Length::Absent,
    Length::Twice,
    Length::Longer,
    Length::Shorter,
];

/// The empty line stands for raw bytes.
pub(super) const CACHE_CONTROL: [&str; 22] = [
    "max-age=60",
    "max-age=60",
    "max-age=300",
    "max-age=300",
    "max-age=300",
    "immutable, max-age=31536000",
    "s-maxage=300",
    "s-maxage=10, max-age=600",
    "public, max-age=10",
    "public",
    "max-age=60, must-revalidate",
    "max-age=\"60\", x=\"no-store, private\"",
    "max-age=0",
    "no-store",
    "NO-STORE, max-age=60",
    "max-age=60,Private",
    "max-age=300, private=\"x-one\"",
    "no-cache",
    "public, no-cache, max-age=60",
    "max-age=10, stale-while-revalidate=30",
    "max-age=10, stale-if-error=30",
    "",
];

pub(super) const MORE_CACHE_CONTROL: [&str; 17] = [
    "max-age=10, stale-while-revalidate=30",
    "max-age=10, stale-if-error=30",
    "max-age=0, stale-while-revalidate=30, stale-if-error=60",
    "max-age=10",
    "max-age=10",
    "max-age=10, must-revalidate, stale-if-error=60",
    "max-age=10, proxy-revalidate, stale-while-revalidate=60",
    "s-maxage=10, stale-while-revalidate=60, stale-if-error=60",
    "max-age=10, stale-while-revalidate=0",
    "max-age=10, stale-if-error=0",
    "no-cache, stale-while-revalidate=60, stale-if-error=60",
    "no-cache",
    "max-age=60, no-cache=\"x-one, set-cookie\"",
    "max-age=60, private=\"set-cookie\"",
    "s-maxage=60, private=\"x-one\"",
    "private=\"\", max-age=60",
    "private, s-maxage=60",
];

/// The fields that target the cache.
pub(super) const TARGETED: [&[&str]; 4] =
    [&[], &[], &["cdn-cache-control"], &["surrogate-control", "cdn-cache-control"]];

pub(super) const VARY: [&str; 10] = [
    "",
    "",
    "",
    "",
    "accept-encoding",
    "Accept-Language, accept-encoding",
    "origin",
    "authorization",
    "cookie",
    "*",
];

pub(super) const ANSWER_FIELDS: [Row; 23] = [
    ("expires", &[In(60), In(0), In(-60), Fixed("0")]),
    ("date", &[In(0), In(-50), In(50), Fixed("now")]),
    ("age", &[Fixed("0"), Fixed("10"), Fixed("100000"), Fixed("old"), Fixed("10, 20")]),
    ("content-range", &[Fixed("bytes 0-9/100"), Fixed("bytes */100")]),
    ("content-encoding", &[Fixed("gzip"), Fixed("identity")]),
    ("set-cookie", &[Fixed("user=1")]),
    ("accept-ranges", &[Fixed("bytes"), Fixed("none")]),
    ("cdn-cache-control", &[Fixed("max-age=60"), Fixed("no-store"), Fixed("max-age=1, private")]),
    ("surrogate-control", &[Fixed("max-age=60"), Fixed("no-store")]),
    ("location", &[Fixed("/b"), Fixed("http://other/a")]),
    ("content-location", &[Fixed("/b")]),
    ("connection", &[Fixed("close, x-hop")]),
    ("x-hop", &[Fixed("1")]),
    ("keep-alive", &[Fixed("timeout=5")]),
    ("transfer-encoding", &[Fixed("chunked")]),
    ("trailer", &[Fixed("x-sum")]),
    ("cache-status", &[Fixed("other; hit"), Fixed("tower-video-cache; hit; ttl=5")]),
    ("content-digest", &[Fixed("sha-256=:AAAA:")]),
    ("cache-groups", &[Fixed("\"one\"")]),
    ("pragma", &[Fixed("no-cache")]),
    ("warning", &[Fixed("110 - \"old\"")]),
    ("access-control-allow-origin", &[Fixed("*")]),
    ("link", &[Fixed("</b>; rel=next")]),
];

pub(super) const MORE_ANSWER_FIELDS: [Row; 9] = [
    ("set-cookie", &[Fixed("user=1")]),
    ("set-cookie", &[Fixed("user=2")]),
    ("x-one", &[Fixed("1"), Fixed("2")]),
    ("x-one", &[Fixed("3")]),
    ("cdn-cache-control", &[Fixed("max-age=10"), Fixed("max-age=300"), Fixed("no-cache"), Fixed("private")]),
    ("cdn-cache-control", &[Fixed("max-age=10, stale-while-revalidate=30"), Fixed("max-age=60, no-store")]),
    ("surrogate-control", &[Fixed("max-age=300"), Fixed("Max-Age=300"), Fixed("max-age=5, must-revalidate")]),
    ("content-location", &[Fixed("/a")]),
    ("location", &[Fixed("/a")]),
];
