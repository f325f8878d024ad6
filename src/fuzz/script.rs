//! What happens in one run of the `request` target, read from its bytes: settings, requests, answers.
//!
//! Bytes that run out read as zero, and a table is entered by the remainder, so that any bytes are a script. A table
//! that changes changes what the corpus says: what is new goes to the end of a script, or the corpus is made anew.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use super::words::{
    ANSWER_FIELDS, CACHE_CONTROL, LENGTHS, MEDIA, METHODS, REQUEST_FIELDS, STATUSES, STATUSES_STORED,
    TARGETS, VARY, VERSIONS,
};

/// One run.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) settings: Settings,
    pub(super) steps: Vec<Step>,
}

/// What the layer and its store are told.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) chunk_size: u32,
    pub(super) default_ttl: u64,
    pub(super) any_media: bool,
    pub(super) statuses: &'static [u16],
    pub(super) max_size: u64,
    pub(super) can_alter: bool,
    pub(super) capacity: Option<u64>,
}

/// One request, and how the inner service would answer it.
#[derive(Debug)]
pub(super) struct Step {
    /// Seconds since the step before.
    pub(super) elapsed: i64,
    /// The store loses one value before the request, which one by this number.
    pub(super) evict: Option<u8>,
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
    /// The date so many seconds from now.
    In(i64),
    /// What the last answer that had one said.
    SeenDate,
    SeenModified,
    SeenTag,
    /// The same with its strength turned over.
    SeenTagTurned,
}

/// How the inner service answers the calls that one request leads to.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of the script's, made or not")]
pub(super) struct Answer {
    /// The content changes first, and gets this length.
    pub(super) advance: Option<u8>,
    /// It fails instead.
    pub(super) fails: bool,
    pub(super) status: StatusCode,
    pub(super) media: &'static str,
    pub(super) tag: Tag,
    pub(super) modified: bool,
    pub(super) length: Length,
    pub(super) cache_control: Vec<Directives>,
    pub(super) vary: &'static str,
    pub(super) fields: Vec<(&'static str, Value)>,
    /// Bytes in each frame of the body.
    pub(super) frame: u8,
    /// The body fails after so many bytes.
    pub(super) breaks: Option<u8>,
    /// The body knows its length beforehand.
    pub(super) exact: bool,
    /// Conditions and a single range are answered as asked.
    pub(super) heeds: bool,
}

/// What the `ETag` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Absent,
    Strong,
    Unquoted,
    Weak,
}

/// What the `Content-Length` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Absent,
    Longer,
    Shorter,
    True,
    Twice,
}

/// A line of `Cache-Control`, and what it means to a shared cache by RFC 9111 §5.2.2, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct Directives {
    pub(super) line: HeaderValue,
    /// Never to be served a second time without asking.
    pub(super) forbids: bool,
    /// §3.5: what was asked for with credentials may be shared.
    pub(super) shares: bool,
    pub(super) lifetime: Lifetime,
}

/// How long a line of `Cache-Control` says that the response is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    Seconds(u64),
    Unsaid,
    /// It cannot be told, or there is leave to serve it stale.
    Unknown,
}

impl Script {
    pub(super) fn read(data: &[u8]) -> Self {
        let mut bytes = Reader(data);
        let settings = Settings {
            chunk_size: bytes.pick(&[7, 1, 16, 64]),
            default_ttl: bytes.pick(&[300, 300, 10, 0]),
            any_media: bytes.flag(),
            statuses: bytes.pick(&STATUSES_STORED),
            max_size: bytes.pick(&[8 << 30, 8 << 30, 8 << 30, 8 << 30, 8 << 30, 50, 0]),
            can_alter: bytes.flag(),
            capacity: bytes.pick(&[None, None, Some(16 << 10), Some(4000)]),
        };
        let steps = 1 + bytes.byte() % 6;
        Self { settings, steps: (0..steps).map(|_| Step::read(&mut bytes)).collect() }
    }
}

impl Step {
    fn read(bytes: &mut Reader<'_>) -> Self {
        let elapsed = bytes.pick(&[0, 0, 1, 5, 9, 10, 11, 59, 60, 61, 300, 86_400, -1, -60]);
        let evict = bytes.rarely().then(|| bytes.byte());
        let method = bytes.pick(&METHODS);
        let raw_method = if method.is_empty() { bytes.raw() } else { Vec::new() };
        let method = if method.is_empty() { &raw_method[..] } else { method.as_bytes() };
        let target = bytes.pick(&TARGETS);
        let raw_target = if target.is_empty() { bytes.raw() } else { Vec::new() };
        let target = if target.is_empty() { &raw_target[..] } else { target.as_bytes() };
        let version = bytes.pick(&VERSIONS);
        let fields = bytes.fields(&REQUEST_FIELDS);
        Self {
            elapsed,
            evict,
            method: Method::from_bytes(method).unwrap_or_default(),
            uri: Uri::try_from(target).unwrap_or_default(),
            version,
            fields,
            answer: Answer::read(bytes),
        }
    }
}

impl Answer {
    fn read(bytes: &mut Reader<'_>) -> Self {
        let advance = bytes.pick(&[false, false, true]).then(|| bytes.byte() % 101);
        let lines = bytes.pick(&[1, 1, 1, 0, 2]);
        Self {
            advance,
            fails: bytes.rarely(),
            status: StatusCode::from_u16(bytes.pick(&STATUSES)).unwrap_or_default(),
            media: bytes.pick(&MEDIA),
            tag: bytes.pick(&[Tag::Strong, Tag::Absent, Tag::Weak, Tag::Unquoted]),
            modified: bytes.flag(),
            length: bytes.pick(&LENGTHS),
            cache_control: (0..lines).map(|_| bytes.directives()).collect(),
            vary: bytes.pick(&VARY),
            fields: bytes.fields(&ANSWER_FIELDS),
            frame: bytes.pick(&[255, 1, 5, 7, 0]),
            breaks: bytes.rarely().then(|| bytes.byte() % 101),
            exact: bytes.flag(),
            heeds: bytes.flag(),
        }
    }
}

/// The bytes of a script that are still to be read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn rarely(&mut self) -> bool {
        self.byte() % 32 == 31
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder is less than its divisor")]
    fn pick<T: Clone, const N: usize>(&mut self, table: &[T; N]) -> T {
        table[usize::from(self.byte()) % N].clone()
    }

    /// Up to 31 bytes as they come.
    fn raw(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte() % 32).min(self.0.len());
        let (raw, rest) = self.0.split_at(length);
        self.0 = rest;
        raw.to_vec()
    }

    /// Up to 4 fields; the values of one are those of its row, or raw.
    fn fields<const N: usize>(
        &mut self,
        table: &[(&'static str, &[Value]); N],
    ) -> Vec<(&'static str, Value)> {
        let count = self.byte() % 5;
        let mut fields = Vec::new();
        for _ in 0..count {
            let (name, values) = self.pick(table);
            let value = usize::from(self.byte());
            let fixed = values.get(value % (values.len() + 1)).cloned();
            fields.push((name, fixed.unwrap_or_else(|| Value::Raw(self.raw()))));
        }
        fields
    }

    fn directives(&mut self) -> Directives {
        let (line, forbids, shares, lifetime) = self.pick(&CACHE_CONTROL);
        let fixed = HeaderValue::from_static(line);
        let line =
            if line.is_empty() { HeaderValue::from_bytes(&self.raw()).unwrap_or(fixed) } else { fixed };
        Directives { line, forbids, shares, lifetime }
    }
}

impl Value {
    /// `None` if it is no field value, or if what it takes up was not there.
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
