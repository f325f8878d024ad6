//! The answers that are known to be worse than a server's: the mode (or `*`), the start of the scene's name, and the reason.
//!
//! A test fails if an answer is worse that no list of its server names, and if a list names an answer that is no worse.

/// Names, and the reason that they share.
pub(crate) type Known = (&'static [&'static str], &'static str);

pub(crate) const SILENT_416: Known = (
    &["sliced: beyond the end, again"],
    "the 416 says no length: the cache asks for whole chunks, then as the client did, and remembers nothing",
);
pub(crate) const EMPTY_TWICE: Known = (
    &["sliced: empty file by range, again"],
    "the cache validates by a range, gets a 416, and asks for the whole of an empty file",
);
pub(crate) const BEYOND_TWICE: Known = (
    &["sliced: warm, beyond the end"],
    "the cache knows the length, validates by a range behind it, gets an error, and asks as the client did",
);
pub(crate) const DATELESS_PART: Known = (
    &["sliced: playlist"],
    "a part has no Last-Modified, and the cache takes it for the whole, which has one",
);
pub(crate) const TORN_IF_RANGE: Known = (
    &["sometimes auto: If-Range, other tag, first", "sometimes sliced: If-Range, other tag, first"],
    "the server gives the part whatever If-Range says, so the cache asks for the bytes before and behind it, too",
);
pub(crate) const NO_END_BEYOND: Known = (
    &["sliced: to the end, again"],
    "the server refuses a range that ends behind the file: the cache ends its own at a whole chunk, and remembers nothing",
);
pub(crate) const ONE_RUN_MORE: Known = (
    &["sometimes auto: two ranges, whole"],
    "a reader beside a run under way asks for the end of the file by itself: a third call",
);
pub(crate) const TYPE_OF_A_PART: Known = (
    &[
        "auto: suffix longer than the file, again",
        "auto: two ranges, again",
        "sliced: If-Modified-Since",
        "sliced: If-None-Match, other tag, again",
        "sliced: playlist",
        "sliced: suffix",
        "sliced: two ranges, again",
        "sliced: warm",
    ],
    "a part is text/html, and the whole has no type: the cache asks for a part first, may not store it, and remembers nothing",
);
pub(crate) const WEAK_GZIP: Known = (
    &["*: playlist by gzip, again", "*: playlist by gzip and range, again"],
    "the 304 has the strong tag of the plain file: it selects no stored response with the weak tag, and the cache asks again",
);
pub(crate) const FORBIDDEN_FIRST_PART: Known = (
    &["auto: changed, part stored, another part", "sliced: changed, part stored, another part"],
    "the server answers a range that ends behind the file by 400, whatever If-Range says, and the cache asks four times",
);
pub(crate) const WHOLE_FOR_A_PART: Known = (
    &["auto: changed, whole stored, reload of a part"],
    "the cache validates without a range: if the file has changed, a client of a part costs, and waits for, all before it",
);
pub(crate) const ONE_TAG_FOR_EVER: Known = (
    &["*: changed"],
    "the tag of a path never changes while the process lives, nor does a direct client get more than a 304 with it",
);
