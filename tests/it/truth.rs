//! The one truth function: whether an answer is the true bytes of one representation, or an error.
//!
//! Each representation that a path ever had is a [`Version`], and states its number in a field of its own. The
//! statements of an answer (status, validators, `Content-Range`, lengths) and its bytes are all compared with that
//! one version. So a mixture is caught whether it is of bytes or of bytes and fields.

use std::{ops::Range, sync::OnceLock, time::Duration};

use bytes::Bytes;
use http::Method;
use tokio::time::timeout;

use crate::rig::{Answer, Ask, Reading, Refused, Rig, Script, date, movie};

/// One representation of a path.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) number: u32,
    pub(crate) kind: Kind,
    pub(crate) bytes: Bytes,
    pub(crate) etag: Option<String>,
    pub(crate) modified: Option<String>,
    pub(crate) coding: &'static str,
    /// The tags that the cache made for it, if it had none.
    pub(crate) made: Vec<String>,
}

/// The fields that an inner service sends with its representations, and whether it gives parts of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Parts, and a strong tag.
    Tagged,
    /// Parts, and a date that is long past.
    Dated,
    /// The same, but it ignores `If-Range`, as tower-http's `ServeDir` does.
    Deaf,
    /// Parts, and a weak tag, so the parts may not be put together.
    Weak,
    /// A strong tag, and no parts.
    Undivided,
    /// No parts, no validator.
    Plain,
    /// No parts, no validator, no length.
    Streamed,
    /// Parts and a strong tag, but only a part says how long the whole is.
    StreamedTagged,
    /// Parts and a strong tag, but no part says how long the whole is.
    Totalless,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Tagged,
        Self::Dated,
        Self::Deaf,
        Self::Weak,
        Self::Undivided,
        Self::Plain,
        Self::Streamed,
        Self::StreamedTagged,
        Self::Totalless,
    ];

    /// Whether the missing parts of a response can be fetched for the stored ones.
    pub(crate) fn can_be_divided(self) -> bool {
        matches!(self, Self::Tagged | Self::Dated | Self::Deaf | Self::StreamedTagged)
    }

    pub(crate) fn has_length(self) -> bool {
        !matches!(self, Self::Streamed | Self::StreamedTagged)
    }

    fn has_date(self) -> bool {
        matches!(self, Self::Dated | Self::Deaf)
    }
}

impl Version {
    pub(crate) fn new(path: &str, number: u32, kind: Kind, length: usize) -> Self {
        let etag = match kind {
            Kind::Weak => Some(format!("W/\"v{number}\"")),
            Kind::Tagged | Kind::Undivided | Kind::StreamedTagged | Kind::Totalless => {
                Some(format!("\"v{number}\""))
            }
            _ => None,
        };
        let modified = kind.has_date().then(|| date(-100_000 + 60 * i64::from(number)));
        // A piece of one long video: no two versions of a path are the same piece, and to make one costs nothing.
        let reel = REEL.get_or_init(|| movie("/reel", 100_000));
        let start = (path.bytes().map(usize::from).sum::<usize>() + number as usize * 101) % 80_000;
        let bytes = reel.slice(start..start + length);
        Self { number, kind, bytes, etag, modified, coding: "", made: Vec::new() }
    }

    /// The script of the inner service while it has this version.
    pub(crate) fn script(&self) -> Script {
        let mut script =
            Script::of(&self.bytes).header(NUMBER, &self.number.to_string()).honours_conditions();
        for (name, value) in [
            ("content-length", self.kind.has_length().then(|| self.bytes.len().to_string())),
            ("etag", self.etag.clone()),
            ("last-modified", self.modified.clone()),
        ] {
            if let Some(value) = value {
                script = script.header(name, &value);
            }
        }
        match self.kind {
            Kind::Undivided | Kind::Plain | Kind::Streamed => script,
            Kind::Deaf => script.honours_ranges().ignores_if_range(),
            Kind::Totalless => script.honours_ranges().without_total(),
            _ => script.honours_ranges(),
        }
    }

    /// RFC 9110 §13.1.5: whether an `If-Range` names this version.
    fn is_meant_by(&self, if_range: &str) -> bool {
        let own = if if_range.starts_with('"') { &self.etag } else { &self.modified };
        own.as_deref() == Some(if_range) || self.made.iter().any(|made| made == if_range)
    }
}

/// A client's request.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) path: String,
    pub(crate) method: Method,
    pub(crate) fields: Vec<(&'static str, String)>,
}

impl Question {
    pub(crate) fn new(method: Method, path: &str) -> Self {
        Self { path: path.to_owned(), method, fields: Vec::new() }
    }

    pub(crate) fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    pub(crate) fn of(&self, rig: &Rig) -> Ask {
        let ask = rig.ask(self.method.clone(), &self.path);
        self.fields.iter().fold(ask, |ask, (name, value)| ask.header(name, value))
    }

    /// Asks and reads to the end. Leaves when nothing comes for `patience`, by tokio's clock.
    pub(crate) async fn put_to(&self, rig: &Rig, patience: Duration) -> Heard {
        let mut reading = match timeout(patience, self.of(rig).response()).await {
            Ok(Ok(response)) => Reading::of(response),
            Ok(Err(refused)) => return Heard::Refused(refused),
            Err(_) => return Heard::Nothing,
        };
        loop {
            match timeout(patience, reading.next()).await {
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Heard::All(reading.stop(Some(error))),
                Ok(None) => return Heard::All(reading.stop(None)),
                Err(_) => return Heard::Start(reading.stop(None)),
            }
        }
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str())
    }
}

/// The result that a client got.
#[derive(Debug)]
pub(crate) enum Heard {
    /// An answer, read to its end or to an error.
    All(Answer),
    /// An answer that the client did not read to its end.
    Start(Answer),
    /// The inner service's own error.
    Refused(Refused),
    Nothing,
}

/// The verdict on an answer that is no lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A complete answer of the version with this number.
    True(u32),
    /// The same, up to an error, or to the byte at which the client left.
    Broken(u32),
    /// An error from the start, or no answer.
    Failed,
}

/// Judges whether one of these `versions` allows this answer to `question`. If not, the error says why.
pub(crate) fn judge(question: &Question, heard: &Heard, versions: &[Version]) -> Result<Verdict, String> {
    let (answer, is_whole) = match heard {
        Heard::All(answer) => (answer, answer.error.is_none() && !is_cut(question, answer)),
        Heard::Start(answer) => (answer, false),
        Heard::Refused(_) | Heard::Nothing => return Ok(Verdict::Failed),
    };
    if answer.status.is_server_error() {
        return Ok(Verdict::Failed);
    }
    let mut why = Vec::new();
    for version in versions {
        // Only an answer without content may leave out its version.
        let is_meant = match answer.field(NUMBER) {
            "" => matches!(answer.status.as_u16(), 304 | 416),
            number => number == version.number.to_string(),
        };
        if is_meant {
            match (Held { question, answer, is_whole, version }).judge() {
                Ok(()) if is_whole => return Ok(Verdict::True(version.number)),
                Ok(()) => return Ok(Verdict::Broken(version.number)),
                Err(otherwise) => why.push(format!("of version {}: {otherwise}", version.number)),
            }
        }
    }
    Err(if why.is_empty() { "no version has this number".to_owned() } else { why.join("; ") })
}

/// Whether a body was passed through and is shorter than its `Content-Length`. The connection breaks then, as it
/// would without the layer.
fn is_cut(question: &Question, answer: &Answer) -> bool {
    let length = answer.field("content-length").parse::<usize>();
    let has_content = question.method != Method::HEAD && matches!(answer.status.as_u16(), 200 | 206);
    has_content && !answer.knows_its_length && length.is_ok_and(|length| answer.bytes.len() < length)
}

/// An answer that is compared with a version.
struct Held<'a> {
    question: &'a Question,
    answer: &'a Answer,
    /// If not, an error came, or the client left.
    is_whole: bool,
    version: &'a Version,
}

impl Held<'_> {
    fn judge(&self) -> Result<(), String> {
        let Self { question, answer, version, .. } = self;
        let length = version.bytes.len();
        let ranges = question.value("range").filter(|_| question.method == Method::GET);
        let asked = ranges.and_then(|ranges| resolve(ranges, length));
        let if_range = question.value("if-range").filter(|_| version.kind != Kind::Deaf);
        let gives_parts = asked.is_some() && if_range.is_none_or(|if_range| version.is_meant_by(if_range));
        let asked = asked.unwrap_or_default();
        if answer.status != 416 {
            self.says("etag", version.etag.as_deref())?;
            self.says("last-modified", version.modified.as_deref())?;
        }
        if matches!(answer.status.as_u16(), 200 | 206) {
            self.says("content-encoding", Some(version.coding))?;
        }
        match answer.status.as_u16() {
            200 => {
                ensure(!answer.has("content-range"), "a 200 has no range")?;
                if version.kind.has_length() || answer.has("content-length") {
                    self.says("content-length", Some(&length.to_string()))?;
                }
                self.gives(&version.bytes)
            }
            206 if !gives_parts => Err("a part came, but no part was asked for".into()),
            206 if answer.has("content-range") => {
                let given = content_range(answer.field("content-range"), length)?;
                covers(std::slice::from_ref(&given), &asked)?;
                self.says("content-length", Some(&given.len().to_string()))?;
                self.gives(&version.bytes[given])
            }
            206 => {
                let given = self.parts()?;
                if self.is_whole {
                    self.says("content-length", Some(&answer.bytes.len().to_string()))?;
                    covers(&given, &asked)?;
                }
                Ok(())
            }
            304 => {
                let tag = question.value("if-none-match");
                let has_it = tag.is_some_and(|tag| {
                    version.etag.as_deref() == Some(tag) || version.made.iter().any(|made| made == tag)
                });
                ensure(has_it, "the client does not have this tag")
            }
            416 => {
                ensure(gives_parts && asked.is_empty(), "the requested bytes exist")?;
                self.says("content-range", Some(&format!("bytes */{length}")))
            }
            other => Err(format!("{other}")),
        }
    }

    /// Checks that a field which the version has is the same in the answer. Otherwise the answer has none, or one of
    /// the cache's own.
    fn says(&self, name: &str, own: Option<&str>) -> Result<(), String> {
        let said = self.answer.field(name);
        ensure(own.is_none_or(|own| own == said), &format!("{name}: {said}"))
    }

    /// Checks that the answer has all of these bytes, or the first of them before an error. A HEAD has none.
    fn gives(&self, bytes: &[u8]) -> Result<(), String> {
        let given = &self.answer.bytes;
        if self.question.method == Method::HEAD {
            return ensure(given.is_empty() && self.answer.error.is_none(), "a HEAD with content");
        }
        ensure(given.len() <= bytes.len(), "more bytes than the version has")?;
        if !bytes.starts_with(given) {
            let at = given.iter().zip(bytes).position(|(given, byte)| given != byte);
            return Err(format!("byte {} of {} is wrong", at.unwrap_or_default(), bytes.len()));
        }
        let is_good = given.len() == bytes.len() || !self.is_whole;
        ensure(is_good, &format!("{} of {} bytes, and a clean end", given.len(), bytes.len()))
    }

    /// The ranges of the parts of a multipart content, whose bytes are checked. Before an error, only the complete
    /// parts count.
    ///
    /// Each part is as long as it says; `it::ranges` finds the parts by their delimiters alone.
    fn parts(&self) -> Result<Vec<Range<usize>>, String> {
        let (answer, truth) = (self.answer, &self.version.bytes);
        let boundary = answer.field("content-type").strip_prefix("multipart/byteranges; boundary=");
        let delimiter = format!("\r\n--{}", boundary.ok_or("no multipart content")?);
        let body = [b"\r\n", &answer.bytes[..]].concat();
        let (mut rest, mut found) = (&body[..], Vec::new());
        loop {
            let part = rest.strip_prefix(delimiter.as_bytes()).unwrap_or_default();
            if part == b"--\r\n" {
                return Ok(found);
            }
            let Some(end) = part.windows(4).position(|window| window == b"\r\n\r\n") else {
                ensure(!self.is_whole, "no last delimiter")?;
                return Ok(found);
            };
            let fields = String::from_utf8_lossy(&part[..end]).to_lowercase();
            let said = fields.lines().find_map(|line| line.strip_prefix("content-range: "));
            let range = content_range(said.unwrap_or_default(), truth.len())?;
            let bytes = &part[end + 4..];
            let bytes = &bytes[..bytes.len().min(range.len())];
            ensure(truth[range.clone()].starts_with(bytes), &format!("not the bytes of {range:?}"))?;
            if bytes.len() == range.len() {
                found.push(range);
            }
            rest = &part[end + 4 + bytes.len()..];
        }
    }
}
/// The range that a `Content-Range` states, half-open. The field may leave out the length of the whole.
fn content_range(said: &str, length: usize) -> Result<Range<usize>, String> {
    let parse = || {
        let (range, whole) = said.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let range = first.parse().ok()?..last.parse::<usize>().ok()? + 1;
        let is_within = range.start < range.end && range.end <= length;
        (is_within && (whole == "*" || whole == length.to_string())).then_some(range)
    };
    parse().ok_or_else(|| said.to_owned())
}

/// Checks that each requested byte is given, and that each part begins and ends where a requested range does.
fn covers(given: &[Range<usize>], asked: &[Range<usize>]) -> Result<(), String> {
    let is_given =
        |asked: &Range<usize>| given.iter().any(|given| given.start <= asked.start && asked.end <= given.end);
    let is_asked = |given: &Range<usize>| {
        asked.iter().any(|asked| asked.start == given.start)
            && asked.iter().any(|asked| asked.end == given.end)
    };
    let is_good = !asked.is_empty() && asked.iter().all(is_given) && given.iter().all(is_asked);
    ensure(is_good, &format!("{given:?} given, {asked:?} asked"))
}

/// The parts of `length` bytes that a `Range` asks for. Empty if it asks for none of them; `None` if it is to be
/// ignored.
fn resolve(ranges: &str, length: usize) -> Option<Vec<Range<usize>>> {
    let mut resolved = Vec::new();
    for range in ranges.strip_prefix("bytes=")?.split(',') {
        let (first, last) = range.trim().split_once('-')?;
        let range = match (first, last) {
            ("", suffix) => length.saturating_sub(suffix.parse().ok()?)..length,
            (first, "") => first.parse().ok()?..length,
            (first, last) => {
                let (first, last) = (first.parse().ok()?, last.parse::<usize>().ok()?);
                if last < first {
                    return None;
                }
                first..(last + 1).min(length)
            }
        };
        if !range.is_empty() {
            resolved.push(range);
        }
    }
    Some(resolved)
}

fn ensure(is_true: bool, else_why: &str) -> Result<(), String> {
    is_true.then_some(()).ok_or_else(|| else_why.to_owned())
}

/// The bytes of which all versions are pieces.
static REEL: OnceLock<Bytes> = OnceLock::new();

/// The field in which an answer states its version.
const NUMBER: &str = "x-version";
