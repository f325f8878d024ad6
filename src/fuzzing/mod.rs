//! The rules that must hold for any bytes that are decoded: a `Range`, the fields of groups, a playlist, a manifest, a
//! chunk.
//!
//! Each target in `fuzz/` except `request` calls one function here, and finds new bytes. The tests here replay its
//! corpus. The rules for whole requests are in `fuzz/harness/`, which uses the public API alone.

mod asked;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderValue,
    header::{self, HeaderMap, HeaderName},
};
use xxhash_rust::xxh3::xxh3_64;

use self::asked::{Asked, Span};
use crate::{
    format::{
        chunk::{self, Checksum, ChunkName, TRAILER},
        key::Generation,
        manifest::Record,
    },
    policy::{GroupField, Policy},
    semantics::{
        groups::{MOST_GROUPS, groups_of, invalidated, is_group_name},
        multipart::{Boundary, Multipart},
        playlist::{Playlist, Scanner},
        range::{ByteRange, Ranges, resolve},
        structured::push_string,
    },
};

/// `data` is the length of a representation in 8 bytes, then the line of a `Range` field.
///
/// # Panics
///
/// If a range is not inside the representation, or the ranges are not those that were asked for.
pub fn range(data: &[u8]) {
    let Some((length, line)) = data.split_first_chunk() else { return };
    let Ok(value) = HeaderValue::from_bytes(line) else { return };
    let length = u64::from_be_bytes(*length);
    let most = Policy::default().most_ranges();
    let resolved = resolve(&HeaderMap::from_iter([(header::RANGE, value)]), length, most);
    let Some(asked) = Asked::read(line).filter(|asked| asked.len() <= most) else {
        assert_eq!(resolved, Ranges::Whole, "of {length}: an invalid or too large set of ranges is ignored");
        return;
    };
    let mut spans: Vec<_> = asked.iter().filter_map(|asked| asked.span(u128::from(length))).collect();
    let ranges = match resolved {
        // A suffix of an empty representation is all of it, which no `Content-Range` can express.
        Ranges::Whole => {
            let is_suffix = |asked: &Asked| asked.first.is_none() && asked.last != Some(0);
            assert!(length == 0 && asked.iter().any(is_suffix), "all of {length}, asked for {asked:?}");
            return;
        }
        Ranges::NotSatisfiable => Vec::new(),
        Ranges::One(range) => vec![range],
        Ranges::Several(ranges) => {
            assert!(ranges.len() > 1, "several ranges are at least two: {ranges:?}");
            holds_as_content(&ranges, length);
            ranges
        }
    };
    let mut first_asked = None;
    for range in &ranges {
        assert!(range.start < range.end && range.end <= length, "{range:?} of {length}");
        let (start, end) = (u128::from(range.start), u128::from(range.end));
        // The ranges that it is made of, and the place of the first of them in the request.
        let of_it = |span: &Span| start <= span.0 && span.1 <= end;
        let place = spans.iter().position(of_it);
        assert!(place > first_asked, "{ranges:?} of {length} are not in the order of {asked:?}");
        first_asked = place;
        let mut made_of: Vec<_> = spans.iter().copied().filter(of_it).collect();
        made_of.sort_unstable();
        let mut reached = start;
        for (at, span) in made_of.iter().enumerate() {
            let hole = span.0.saturating_sub(reached);
            assert!(hole < if at == 0 { 1 } else { 80 }, "{range:?} of {length} is more than {asked:?}");
            reached = reached.max(span.1);
        }
        assert_eq!(reached, end, "{range:?} of {length} is more than {asked:?}");
    }
    for (at, one) in ranges.iter().enumerate() {
        for other in ranges.iter().skip(at + 1) {
            let (before, after) = if one.start < other.start { (one, other) } else { (other, one) };
            assert!(before.end.saturating_add(80) <= after.start, "{one:?} and {other:?} are too near");
        }
        spans.retain(|span| span.0 < u128::from(one.start) || u128::from(one.end) < span.1);
    }
    assert!(spans.is_empty(), "{ranges:?} of {length} are less than {asked:?}");
}

/// A content of several parts is shorter than the whole, and has the length that it reports.
fn holds_as_content(ranges: &[ByteRange], length: u64) {
    let media_type = HeaderValue::from_static("video/mp4");
    let Some(multipart) = Multipart::of(ranges, Some(&media_type), length, Boundary(7)) else { return };
    let of_parts: u128 = ranges.iter().map(|range| u128::from(range.length())).sum();
    let texts = multipart.parts.iter().map(|part| part.head.len()).sum::<usize>() + multipart.close.len();
    assert_eq!(u128::from(multipart.length()), of_parts + u128::try_from(texts).unwrap_or(u128::MAX));
    assert!(multipart.length() < length, "{ranges:?} of {length}");
}

/// `data` is the lines of a field that names groups. A line feed ends each line.
///
/// # Panics
///
/// If there are too many groups, or a group has a name that no purge can give, or the groups change when they are
/// written and read again.
pub fn groups(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n');
    let lines: Vec<_> = lines.filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let of =
        |name: HeaderName| lines.iter().map(move |line| (name.clone(), line.clone())).collect::<HeaderMap>();
    for field in [GroupField::CacheGroups, GroupField::SurrogateKey, GroupField::CacheTag, GroupField::Xkey] {
        let read = groups_of(&of(field.name()), &[field]);
        assert!(read.names.len() <= MOST_GROUPS, "{read:?}");
        let mut written = String::new();
        for name in &read.names {
            assert!(std::str::from_utf8(name).is_ok_and(is_group_name), "{read:?}");
            written.push_str(if written.is_empty() { "" } else { "," });
            push_string(&mut written, name.iter().copied());
        }
        let written = HeaderValue::from_str(&written);
        let again = HeaderMap::from_iter(written.map(|line| (GroupField::CacheGroups.name(), line)));
        let again = groups_of(&again, &[GroupField::CacheGroups]);
        assert_eq!((again.names, again.ignored), (read.names, 0));
    }
    let invalidation = of(HeaderName::from_static("cache-group-invalidation"));
    let named = groups_of(&of(GroupField::CacheGroups.name()), &[GroupField::CacheGroups]);
    assert_eq!(invalidated(&invalidation), named, "both fields have one syntax");
}

/// `data` is the length of a piece, then an HLS or DASH manifest.
///
/// # Panics
///
/// If the pieces say something else than the whole, or a playlist with an end goes on, or a target is no time.
pub fn playlist(data: &[u8]) {
    let Some((length, text)) = data.split_first() else { return };
    let found = |size: usize| {
        let mut scanner = Scanner::default();
        text.chunks(size).for_each(|piece| scanner.read(piece));
        scanner.found(u64::try_from(text.len()).unwrap_or(u64::MAX))
    };
    let whole = found(usize::MAX);
    assert_eq!(found(usize::from(*length).max(1)), whole, "in pieces of {length}");
    assert!(whole.target().is_none_or(|target| !target.is_zero()), "{whole:?}");
    let has_an_end = text.starts_with(b"#EXTM3U") && text.ends_with(b"\n#EXT-X-ENDLIST");
    assert!(!has_an_end || whole == Playlist::Ended, "{whole:?}");
    let is_either = text.iter().any(|byte| matches!(byte, b'#' | b'<'));
    assert!(is_either || whole == Playlist::Unknown, "{whole:?}");
}

/// `data` is a record, or the bytes between the version and the sum of one.
///
/// # Panics
///
/// If a decoded record changes when it is encoded and decoded again.
pub fn manifest(data: &[u8]) {
    let mut framed = [b"TVCM\x01", data].concat();
    framed.extend_from_slice(&xxh3_64(&framed).to_be_bytes());
    for record in [data, &framed] {
        let Some(decoded) = Record::decode(record) else { continue };
        let encoded = decoded.encode();
        // Not `encoded == record`: a name in upper case, the values of one field apart from each other, or a
        // flag that is neither 0 nor 1 decode as if this crate had written them.
        assert!(encoded.len() <= record.len(), "{decoded:?} grows");
        let again = Record::decode(&encoded);
        assert_eq!(again.as_ref(), Some(&decoded));
        assert_eq!(again.map(|again| again.encode()), Some(encoded), "encoding again changes nothing");
    }
}

/// `data` is a generation, an index, a payload length in 2 bytes, then a chunk record.
///
/// # Panics
///
/// If a record opens under another name than its own, or does not open under its own.
pub fn chunk(data: &[u8]) {
    let Some((generation, rest)) = data.split_first_chunk() else { return };
    let Some((index, rest)) = rest.split_first_chunk() else { return };
    let Some((length, record)) = rest.split_first_chunk() else { return };
    let name = ChunkName {
        generation: Generation(u128::from_be_bytes(*generation)),
        index: u64::from_be_bytes(*index),
        length: usize::from(u16::from_be_bytes(*length)),
    };
    opens_only_as_sealed(record, name);
    if let Some(own) = own_name(record) {
        opens_only_as_sealed(record, own);
        // A guessed sum is never right. Only with a true sum can a wrong trailer be judged.
        let content = but_for_the_sum(record);
        let summed = [content, &xxh3_64(content).to_be_bytes()].concat();
        opens_only_as_sealed(&summed, own);
        opens_only_as_sealed(&summed, name);
    }
    opens_as_sealed(record, name);
}

fn opens_only_as_sealed(record: &[u8], name: ChunkName) {
    let record = Bytes::copy_from_slice(record);
    let seal = |payload: &Bytes, checksum| {
        chunk::seal(BytesMut::from(&payload[..]), name.generation, name.index, checksum)
    };
    if let Some(payload) = chunk::open(&record, name, Checksum::Required) {
        assert_eq!(payload.len(), name.length);
        assert_eq!(seal(&payload, Checksum::Required), record.clone());
        assert_eq!(chunk::open(&record, name, Checksum::Omitted), Some(payload));
    }
    if let Some(payload) = chunk::open(&record, name, Checksum::Omitted) {
        assert_eq!(payload.len(), name.length);
        let sealed = [Checksum::Required, Checksum::Omitted].map(|checksum| seal(&payload, checksum));
        assert!(sealed.iter().any(|sealed| but_for_the_sum(sealed) == but_for_the_sum(&record)));
    }
}

/// Takes the bytes of `payload` for a chunk, whatever length its name has.
fn opens_as_sealed(payload: &[u8], name: ChunkName) {
    let name = ChunkName { length: payload.len(), ..name };
    for checksum in [Checksum::Required, Checksum::Omitted] {
        let record = chunk::seal(BytesMut::from(payload), name.generation, name.index, checksum);
        assert_eq!(chunk::open(&record, name, checksum).as_deref(), Some(payload));
        for other in [
            ChunkName { generation: Generation(name.generation.0 ^ 1), ..name },
            ChunkName { index: name.index ^ 1, ..name },
            ChunkName { length: name.length ^ 1, ..name },
        ] {
            assert_eq!(chunk::open(&record, other, checksum), None, "{name:?} opens as {other:?}");
        }
    }
}

fn but_for_the_sum(record: &[u8]) -> &[u8] {
    record.split_last_chunk::<8>().map_or(record, |(content, _)| content)
}

/// The name that a record gives itself, with the length of its payload.
fn own_name(record: &[u8]) -> Option<ChunkName> {
    let (payload, trailer) = record.split_at_checked(record.len().checked_sub(TRAILER)?)?;
    let (generation, rest) = trailer.split_first_chunk()?;
    let index = rest.first_chunk()?;
    Some(ChunkName {
        generation: Generation(u128::from_be_bytes(*generation)),
        index: u64::from_be_bytes(*index),
        length: payload.len(),
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_corpus_of_ranges_holds() {
        replay("range", range);
    }

    proptest! {
        #[test]
        fn any_likely_ranges_hold(length in 0u64..2000, line in "bytes=([0-9]{0,4}-[0-9]{0,4} ?,){1,6}") {
            range(&[&length.to_be_bytes(), line.as_bytes()].concat());
        }
    }

    #[test]
    fn the_corpus_of_groups_holds() {
        replay("groups", groups);
    }

    proptest! {
        #[test]
        fn any_likely_groups_hold(lines in r#"("?[ -~\t]{0,4}(\\["\\])?"?[ ,;\n]{0,2}){0,12}"#) {
            groups(lines.as_bytes());
        }
    }

    #[test]
    fn the_corpus_of_playlists_holds() {
        replay("playlist", playlist);
    }

    proptest! {
        #[test]
        fn any_likely_playlists_hold(text in "(\u{1}|\u{7})(#EXTM3U|<MPD)((\n#EXT-X-)?(ENDLIST|TARGETDURATION:[0-9]|[ -~])){0,9}") {
            playlist(text.as_bytes());
        }
    }

    #[test]
    fn the_corpus_of_manifests_holds() {
        replay("manifest", manifest);
    }

    #[test]
    fn the_corpus_of_chunks_holds() {
        replay("chunk", chunk);
    }

    fn replay(target: &str, hold: fn(&[u8])) {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        // The published package leaves fuzz/ out; a checkout has it.
        if !package.join("fuzz/Cargo.toml").exists() && !package.join(".git").exists() {
            println!("a packaged crate has no corpus to replay");
            return;
        }
        let corpus = fs::read_dir(package.join("fuzz/corpus").join(target)).unwrap();
        let mut files: Vec<_> = corpus.map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "the corpus of {target} is empty");
        for file in files {
            println!("{}", file.display());
            hold(&fs::read(&file).unwrap());
        }
    }
}
