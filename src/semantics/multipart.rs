//! `multipart/byteranges`: several parts of a representation in one content.
//!
//! RFC 9110 §14.6 (the media type), §15.3.7.2 (its content); RFC 2046 §5.1.1 (delimiters).

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderValue;

use super::range::ByteRange;

/// A content of several parts, without the bytes of the representation.
#[derive(Debug)]
pub(crate) struct Multipart {
    pub(crate) parts: Vec<Part>,
    /// The text after the last part.
    pub(crate) close: Bytes,
    boundary: Boundary,
    length: u64,
}

/// One part, and the text before its bytes.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) head: Bytes,
    pub(crate) range: ByteRange,
}

/// The 128 bits that separate the parts. The author of the content must not know them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boundary(pub(crate) u128);

impl Multipart {
    /// The content of these parts of a representation of `complete` bytes and this `Content-Type`. `None` if it would
    /// not be shorter than the whole representation.
    pub(crate) fn of(
        ranges: &[ByteRange],
        content_type: Option<&HeaderValue>,
        complete: u64,
        boundary: Boundary,
    ) -> Option<Self> {
        let delimiter = boundary.text();
        let mut text = BytesMut::new();
        let mut parts = Vec::with_capacity(ranges.len());
        let mut length = 0_u64;
        for range in ranges {
            if !parts.is_empty() {
                text.put_slice(b"\r\n");
            }
            text.put_slice(b"--");
            text.put_slice(delimiter.as_bytes());
            if let Some(content_type) = content_type {
                text.put_slice(b"\r\nContent-Type: ");
                text.put_slice(content_type.as_bytes());
            }
            text.put_slice(b"\r\nContent-Range: ");
            text.put_slice(range.within(complete).as_bytes());
            text.put_slice(b"\r\n\r\n");
            let head = text.split().freeze();
            length = length.checked_add(bytes_in(&head))?.checked_add(range.length())?;
            // Checked for each part, since the heads of many parts are long too.
            if length >= complete {
                return None;
            }
            parts.push(Part { head, range: *range });
        }
        let close = Bytes::from(format!("\r\n--{delimiter}--\r\n"));
        length = length.checked_add(bytes_in(&close))?;
        (length < complete).then_some(Self { parts, close, boundary, length })
    }

    /// The length of the whole content in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The `Content-Type` of the whole message.
    pub(crate) fn media_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary.text())
    }
}

impl Boundary {
    /// Always of the same length, in characters that need no quotes.
    fn text(self) -> String {
        format!("{:032x}", self.0)
    }
}

fn bytes_in(text: &Bytes) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDARY: Boundary = Boundary(0xabc);

    fn ranges(ranges: &[(u64, u64)]) -> Vec<ByteRange> {
        ranges.iter().map(|(start, end)| ByteRange { start: *start, end: *end }).collect()
    }

    /// The whole text, with `*` for each byte of the representation.
    fn text(multipart: &Multipart) -> String {
        let mut text = String::new();
        for part in &multipart.parts {
            text += std::str::from_utf8(&part.head).unwrap();
            text += &"*".repeat(usize::try_from(part.range.length()).unwrap());
        }
        text + std::str::from_utf8(&multipart.close).unwrap()
    }

    #[test]
    fn the_text_matches_the_example_of_the_rfc() {
        let two = ranges(&[(500, 503), (7000, 7002)]);
        let media = HeaderValue::from_static("video/mp4");
        let multipart = Multipart::of(&two, Some(&media), 8000, BOUNDARY).unwrap();
        let boundary = "00000000000000000000000000000abc";
        assert_eq!(multipart.media_type(), format!("multipart/byteranges; boundary={boundary}"));
        let expected = format!(
            "--{boundary}\r\nContent-Type: video/mp4\r\nContent-Range: bytes 500-502/8000\r\n\r\n***\r\n\
             --{boundary}\r\nContent-Type: video/mp4\r\nContent-Range: bytes 7000-7001/8000\r\n\r\n**\r\n\
             --{boundary}--\r\n"
        );
        assert_eq!(text(&multipart), expected);
        assert_eq!(multipart.length(), u64::try_from(expected.len()).unwrap());
    }

    #[test]
    fn parts_of_an_untyped_response_have_no_type() {
        let multipart = Multipart::of(&ranges(&[(0, 1), (100, 101)]), None, 8000, BOUNDARY).unwrap();
        assert!(!text(&multipart).contains("Content-Type"));
    }

    #[test]
    fn a_multipart_is_never_longer_than_the_whole() {
        let two = ranges(&[(0, 1), (300, 301)]);
        let length = Multipart::of(&two, None, 999, BOUNDARY).unwrap().length();
        // All numbers have three digits, so the length of the whole does not change the length of the parts.
        assert!(Multipart::of(&two, None, length, BOUNDARY).is_none());
        assert!(
            Multipart::of(&two, None, length + 1, BOUNDARY).is_some_and(|parts| parts.length() == length)
        );
        // The heads of these parts are longer than their bytes.
        let media = HeaderValue::from_str(&"x".repeat(2000)).unwrap();
        assert!(Multipart::of(&two, Some(&media), 4000, BOUNDARY).is_none());
        let all = ranges(&[(0, u64::MAX - 1), (u64::MAX - 1, u64::MAX)]);
        assert!(Multipart::of(&all, None, u64::MAX, BOUNDARY).is_none());
    }

    proptest! {
        #[test]
        fn the_length_is_that_of_the_text_and_never_that_of_the_whole(
            parts in proptest::collection::vec((0u64..5000, 1u64..500), 0..20),
            media in proptest::option::of("[a-z]{1,9}/[a-z]{1,9}"),
            complete in 5500u64..20_000,
            boundary: u128,
        ) {
            let parts: Vec<_> = parts.iter().map(|(start, length)| (*start, start + length)).collect();
            let media = media.map(|media| HeaderValue::from_str(&media).unwrap());
            let multipart = Multipart::of(&ranges(&parts), media.as_ref(), complete, Boundary(boundary));
            if let Some(multipart) = multipart {
                prop_assert_eq!(multipart.length(), u64::try_from(text(&multipart).len()).unwrap());
                prop_assert!(multipart.length() < complete);
            }
        }
    }
}
