//! Whether a request is for a text that the inner service may compress.
//!
//! RFC 9110 §12.5.3 (`Accept-Encoding`), §8.4 (content codings).

use http::{HeaderMap, header, request};

use super::fields::{has, members};

/// Whether the inner service may answer with a coded playlist, manifest or subtitle file.
///
/// Many servers compress these as they send them. A part of such a text is a part of the text as it is, so the parts and
/// the whole would be two representations.
pub(crate) fn may_be_coded(request: &request::Parts) -> bool {
    is_text(request.uri.path()) && accepts_a_coding(&request.headers)
}

fn is_text(path: &str) -> bool {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let ends_in = |name: &str, endings: &[&str]| {
        let ending = name.rsplit_once('.').map(|(_, ending)| ending);
        ending.is_some_and(|ending| endings.iter().any(|known| known.eq_ignore_ascii_case(ending)))
    };
    // Smooth Streaming: `/a.ism/Manifest`, and `/a.ism/manifest(format=mpd-time-csf)`.
    let is_manifest = || file.get(..MANIFEST.len()).is_some_and(|start| start.eq_ignore_ascii_case(MANIFEST));
    ends_in(file, &TEXTS) || ends_in(folder, &["ism", "isml"]) && is_manifest()
}

/// Whether a coding other than `identity` is acceptable. A request without the field is not taken for one that accepts
/// all codings, because servers do not take it for one either.
fn accepts_a_coding(request: &HeaderMap) -> bool {
    if !has(request, &header::ACCEPT_ENCODING) {
        return false;
    }
    let mut codings = members(request, &header::ACCEPT_ENCODING);
    codings.any(|member| {
        let (coding, parameters) = member.split_once(';').unwrap_or((member, ""));
        let weight = parameters.trim_ascii().strip_prefix(['q', 'Q']).unwrap_or_default();
        let weight = weight.trim_ascii_start().strip_prefix('=').unwrap_or_default().trim_ascii();
        // RFC 9110 §12.4.2: a weight of 0 is "not acceptable".
        let is_refused = weight.parse().is_ok_and(|weight: f32| weight <= 0.0);
        !coding.trim_ascii().is_empty()
            && !coding.trim_ascii().eq_ignore_ascii_case("identity")
            && !is_refused
    })
}

/// Playlists, manifests and subtitles.
const TEXTS: [&str; 15] = [
    "ass", "dfxp", "f4m", "json", "m3u", "m3u8", "mpd", "smil", "srt", "ssa", "ttml", "txt", "vtt", "webvtt",
    "xml",
];

const MANIFEST: &str = "manifest";

#[cfg(test)]
mod tests {
    use super::{super::fields::tests::headers, *};

    #[test]
    fn playlists_manifests_and_subtitles_are_text() {
        for path in [
            "/v/a.m3u8",
            "/v/a.M3U8",
            "/v/a.mpd",
            "/a.vtt",
            "/a.en.srt",
            "/a.ttml",
            "/a.xml",
            "/a.json",
            "/a.ism/manifest",
            "/v/a.ism/Manifest(format=m3u8-aapl)",
            "/v/a.isml/manifest",
        ] {
            assert!(is_text(path), "{path}");
        }
        for path in
            ["/a.mp4", "/a.m4s", "/a.ts", "/a.m3u8/b.ts", "/manifest", "/a.ism/manifes", "/a.ism", "/", ""]
        {
            assert!(!is_text(path), "{path}");
        }
    }

    #[test]
    fn a_coding_is_accepted_if_it_has_a_name_and_a_weight() {
        for (line, expected) in [
            ("gzip", true),
            ("gzip, deflate, br", true),
            ("identity, br;q=0.1", true),
            ("*", true),
            ("gzip;q=x", true),
            ("identity", false),
            ("IDENTITY;q=1", false),
            ("gzip;q=0, br ; Q = 0.000", false),
            ("*;q=0", false),
            ("", false),
        ] {
            assert_eq!(accepts_a_coding(&headers(&[("accept-encoding", line)])), expected, "{line}");
        }
        assert!(!accepts_a_coding(&headers(&[])));
    }
}
