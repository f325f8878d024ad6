//! Where the layer is known to be worse than a server: the mode (or `*`), the start of the scene's name, and the reason.
//!
//! A test fails if an answer is worse that no list of its server names, and if a list names an answer that is no worse.

/// Names, and the reason that they share.
pub(crate) type Known = (&'static [&'static str], &'static str);

pub(crate) const FORGOTTEN_416: Known = (
    &["auto: beyond the end, again", "sliced: beyond the end, again"],
    "the cache asks for whole pieces, gets a 416, asks as the client did, and remembers nothing for the next client",
);
pub(crate) const FORGOTTEN_EMPTY: Known = (
    &["auto: empty file by suffix, again"],
    "the cache asks for a longer suffix, gets a 416, asks as the client did, and remembers nothing for the next client",
);
pub(crate) const FORGOTTEN_SUFFIX: Known = (
    &["auto: suffix, again"],
    "the server takes no suffixes: the cache asks for a longer one, gets a 416, asks as the client did, and remembers nothing",
);
pub(crate) const TORN_IF_RANGE: Known = (
    &["auto: If-Range, other tag, first", "sliced: If-Range, other tag, first"],
    "the cache asks for the part, finds that If-Range wants the whole, and asks for the bytes before and behind the part",
);
pub(crate) const NO_END_BEYOND: Known = (
    &["sliced: to the end, again"],
    "the server refuses a range that ends behind the file: the cache ends its own at a whole chunk, and remembers nothing",
);
pub(crate) const SLICED_TEXT: Known = (
    &["auto: playlist by gzip and range, first", "sliced: playlist by gzip and range, first"],
    "the cache asks for whole pieces, gets a 416, asks for the whole, may not store that, and asks as the client did",
);
pub(crate) const PART_FOR_304: Known = (
    &[
        "sliced: changed in length, hard reload",
        "sliced: changed, hard reload",
        "sliced: changed, whole stored, If-None-Match",
        "sliced: changed, whole stored, If-Range",
        "sliced: warm, reload",
    ],
    "the server looks at Range before If-None-Match, and the cache forgets what it has though the 206 has the same tag",
);
pub(crate) const PART_FOR_304_ALWAYS: Known = (
    &[
        "sliced: If-Modified-Since, long ago, again",
        "sliced: If-None-Match, other tag, again",
        "sliced: If-Range, other tag, again",
        "sliced: changed in length, whole",
        "sliced: changed, whole",
        "sliced: from the start, again",
        "sliced: suffix",
        "sliced: two ranges, again",
        "sliced: warm, If-Modified-Since, long ago",
        "sliced: warm, If-None-Match, other tag",
        "sliced: warm, If-Range, other tag",
        "sliced: warm, beyond the end",
        "sliced: warm, from the start",
        "sliced: warm, suffix",
        "sliced: warm, two ranges",
        "sliced: warm, whole",
    ],
    "as above, for each request: the server says no-cache",
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
pub(crate) const SET_TO_THE_END: Known = (
    &["auto: two ranges, first"],
    "the call for the second range does not end with that range, but with the read-ahead",
);
pub(crate) const ONE_TAG_FOR_EVER: Known = (
    &["*: changed"],
    "the tag of a path never changes while the process lives, nor does a direct client get more than a 304 with it",
);
