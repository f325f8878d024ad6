//! One run of the `request` target, read from its bytes: settings, requests, answers.
//!
//! Bytes that run out read as zero, and a choice is a remainder, so that any bytes are a script. A changed table would
//! change the meaning of the corpus. New choices are only for scripts that ask for them, in the byte that counts the
//! steps.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use super::{
    clients::{CLIENT_FIELDS, REFUSALS, Sharing},
    manner::Manner,
    modes::{Mishap, Modes},
    reader::Reader,
    words::{
        ANSWER_FIELDS, LENGTHS, MEDIA, METHODS, MORE_ANSWER_FIELDS, MORE_REQUEST_FIELDS, REQUEST_FIELDS,
        STATUSES, STATUSES_STORED, TARGETED, TARGETS, VARY, VERSIONS,
    },
};

/// One run.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) settings: Settings,
    pub(super) steps: Vec<Step>,
}

/// The settings of the layer and its store.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of the script's, made or not")]
pub(super) struct Settings {
    pub(super) chunk_size: u32,
    pub(super) default_ttl: u64,
    pub(super) any_media: bool,
    pub(super) statuses: &'static [u16],
    pub(super) max_size: u64,
    pub(super) can_alter: bool,
    pub(super) capacity: Option<u64>,
    /// A share in percent, and a limit.
    pub(super) heuristics: (u32, u64),
    pub(super) stale_while_revalidate: u64,
    pub(super) stale_if_error: u64,
    pub(super) any_status: bool,
    pub(super) set_cookie: bool,
    pub(super) targeted: &'static [&'static str],
    pub(super) heeds: bool,
    pub(super) max_ranges: usize,
    /// How many polls the inner service takes to answer.
    pub(super) delay: u8,
    pub(super) modes: Modes,
    pub(super) sharing: Sharing,
}

/// One request, and how the inner service would answer it.
#[derive(Debug)]
pub(super) struct Step {
    /// The request begins together with the one before.
    pub(super) together: bool,
    /// The client leaves after this many polls.
    pub(super) leaves: Option<u8>,
    /// Seconds since the step before.
    pub(super) elapsed: i64,
    /// The store loses one value before the request; this number chooses the value.
    pub(super) evict: Option<u8>,
    pub(super) mishaps: Vec<Mishap>,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) fields: Vec<(&'static str, Value)>,
    pub(super) answer: Answer,
}

/// The value of a field.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Fixed(&'static str),
    Raw(Vec<u8>),
    /// The date this many seconds from now.
    In(i64),
    /// The date of the last answer that had one.
    SeenDate,
    SeenModified,
    SeenTag,
    /// The same tag, strong if it was weak and weak if it was strong.
    SeenTagTurned,
}

/// How the inner service answers the calls for one request.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of the script's, made or not")]
pub(super) struct Answer {
    /// The content changes first, and gets this length.
    pub(super) advance: Option<u8>,
    /// The call fails.
    pub(super) fails: bool,
    pub(super) status: StatusCode,
    pub(super) media: &'static str,
    pub(super) tag: Tag,
    pub(super) modified: bool,
    pub(super) length: Length,
    pub(super) cache_control: Vec<HeaderValue>,
    pub(super) vary: &'static str,
    /// The fields that it varies by do not change the content.
    pub(super) same: bool,
    pub(super) fields: Vec<(&'static str, Value)>,
    /// The number of bytes in each frame of the body.
    pub(super) frame: u8,
    /// The body fails after this many bytes.
    pub(super) breaks: Option<u8>,
    /// The body reports its length in advance.
    pub(super) exact: bool,
    /// Conditions and a single range are answered as asked.
    pub(super) heeds: bool,
    pub(super) manner: Manner,
}

/// The kind of `ETag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Absent,
    Strong,
    Unquoted,
    Weak,
}

/// The kind of `Content-Length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Absent,
    Longer,
    Shorter,
    True,
    Twice,
}

impl Script {
    pub(super) fn read(data: &[u8]) -> Self {
        let mut bytes = Reader::of(data);
        let mut settings = Settings {
            chunk_size: bytes.pick(&[7, 1, 16, 64]),
            default_ttl: bytes.pick(&[300, 300, 10, 0]),
            any_media: bytes.flag(),
            statuses: bytes.pick(&STATUSES_STORED),
            max_size: bytes.pick(&[8 << 30, 8 << 30, 8 << 30, 8 << 30, 8 << 30, 50, 0]),
            can_alter: bytes.flag(),
            capacity: bytes.pick(&[None, None, Some(16 << 10), Some(4000)]),
            heuristics: (0, 0),
            stale_while_revalidate: 0,
            stale_if_error: 0,
            any_status: false,
            set_cookie: false,
            targeted: &[],
            heeds: true,
            max_ranges: 16,
            delay: 0,
            modes: Modes::default(),
            sharing: Sharing::default(),
        };
        let steps = bytes.byte();
        bytes.more = steps / 6 % 2 == 1;
        bytes.parts = steps / 12 % 2 == 1;
        bytes.clients = steps / 24 % 2 == 1;
        if bytes.more {
            settings.read_more(&mut bytes);
        }
        if bytes.parts {
            settings.modes = Modes::read(&mut bytes);
        }
        if bytes.clients {
            settings.sharing = Sharing::read(&mut bytes);
        }
        Self { settings, steps: (0..=steps % 6).map(|_| Step::read(&mut bytes)).collect() }
    }
}

impl Settings {
    fn read_more(&mut self, bytes: &mut Reader<'_>) {
        self.heuristics = bytes.pick(&[(0, 0), (10, 100_000), (10, 30), (100, 100)]);
        self.stale_while_revalidate = bytes.pick(&[0, 0, 20, 1000]);
        self.stale_if_error = bytes.pick(&[0, 0, 20, 1000]);
        self.targeted = bytes.pick(&TARGETED);
        self.max_ranges = bytes.pick(&[16, 2, 1, 0]);
        let choices = bytes.byte();
        self.any_status = choices & 1 == 1;
        self.set_cookie = choices & 2 == 2;
        self.heeds = choices & 0xc != 0xc;
        self.delay = choices / 16 % 4;
    }
}

impl Step {
    fn read(bytes: &mut Reader<'_>) -> Self {
        let manner = if bytes.more { bytes.byte() } else { 0 };
        let elapsed = bytes.pick(&[0, 0, 1, 5, 9, 10, 11, 59, 60, 61, 300, 86_400, -1, -60]);
        let evict = bytes.rarely().then(|| bytes.byte());
        let method = bytes.pick(&METHODS);
        let raw_method = if method.is_empty() { bytes.raw() } else { Vec::new() };
        let method = if method.is_empty() { &raw_method[..] } else { method.as_bytes() };
        let target = bytes.pick(&TARGETS);
        let raw_target = if target.is_empty() { bytes.raw() } else { Vec::new() };
        let target = if target.is_empty() { &raw_target[..] } else { target.as_bytes() };
        let version = bytes.pick(&VERSIONS);
        let mut fields = bytes.fields(&REQUEST_FIELDS, &MORE_REQUEST_FIELDS);
        if bytes.clients {
            fields.extend(bytes.fields(&CLIENT_FIELDS, &[]));
        }
        Self {
            together: manner & 3 == 3,
            leaves: (manner & 0xc == 0xc).then_some(manner / 16),
            elapsed,
            evict,
            method: Method::from_bytes(method).unwrap_or_default(),
            uri: Uri::try_from(target).unwrap_or_default(),
            version,
            fields,
            answer: Answer::read(bytes),
            mishaps: if bytes.parts { Mishap::read_all(bytes) } else { Vec::new() },
        }
    }
}

impl Answer {
    fn read(bytes: &mut Reader<'_>) -> Self {
        let refusal = if bytes.clients { bytes.pick(&REFUSALS) } else { None };
        let advance = bytes.pick(&[false, false, true]).then(|| bytes.byte() % 101);
        let lines = bytes.pick(&[1, 1, 1, 0, 2]);
        Self {
            advance,
            fails: bytes.rarely(),
            status: refused(bytes.pick(&STATUSES), refusal),
            media: bytes.pick(&MEDIA),
            tag: bytes.pick(&[Tag::Strong, Tag::Absent, Tag::Weak, Tag::Unquoted]),
            modified: bytes.flag(),
            length: bytes.pick(&LENGTHS),
            cache_control: (0..lines).map(|_| bytes.cache_control()).collect(),
            vary: bytes.pick(&VARY),
            same: bytes.more && bytes.flag(),
            fields: bytes.fields(&ANSWER_FIELDS, &MORE_ANSWER_FIELDS),
            frame: bytes.pick(&[255, 1, 5, 7, 0]),
            breaks: bytes.rarely().then(|| bytes.byte() % 101),
            exact: bytes.flag(),
            heeds: bytes.flag(),
            manner: if bytes.parts { Manner::read(bytes) } else { Manner::default() },
        }
    }
}

fn refused(status: u16, refusal: Option<u16>) -> StatusCode {
    StatusCode::from_u16(refusal.unwrap_or(status)).unwrap_or_default()
}

/// The name of a field, and its possible values.
pub(super) type Row = (&'static str, &'static [Value]);

impl Value {
    /// The field value. `None` if it is invalid, or repeats a value that was not there.
    pub(super) fn render(&self, now: u64, seen: &HeaderMap) -> Option<HeaderValue> {
        let seen = |name| seen.get(HeaderName::from_static(name)).cloned();
        match self {
            Self::Fixed(text) => Some(HeaderValue::from_static(text)),
            Self::Raw(raw) => HeaderValue::from_bytes(raw).ok(),
            Self::In(seconds) => HeaderValue::try_from(date(now.saturating_add_signed(*seconds))).ok(),
            Self::SeenDate => seen("date"),
            Self::SeenModified => seen("last-modified"),
            Self::SeenTag => seen("etag"),
            Self::SeenTagTurned => {
                let tag = seen("etag")?;
                let turned = match tag.as_bytes().strip_prefix(b"W/") {
                    Some(opaque) => opaque.to_vec(),
                    None => [b"W/", tag.as_bytes()].concat(),
                };
                HeaderValue::from_bytes(&turned).ok()
            }
        }
    }
}

/// An HTTP date.
pub(super) fn date(seconds: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}
