//! The media type of a response whose `Content-Type` tells nothing, or is a known mistake.
//!
//! RFC 9110 §8.3: a recipient may examine content without a type, and wrong types are found in practice. The cache does
//! not look at the bytes. It looks at the ending of the path, which servers take their types from as well.

/// The type for the ending of `path`, if `said`, the essence of the `Content-Type`, is missing, says nothing, or is
/// known to be given to this ending in error.
pub(crate) fn by_ending(path: &str, said: Option<&str>) -> Option<&'static str> {
    let (_, file) = path.rsplit_once('/').unwrap_or(("", path));
    let (_, ending) = file.rsplit_once('.')?;
    let is_in = |names: &[&str], name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    let kind = KINDS.iter().find(|kind| is_in(kind.endings, ending))?;
    let is_in_doubt = said.is_none_or(|said| is_in(&SAYING_NOTHING, said) || is_in(kind.mistakes, said));
    is_in_doubt.then_some(kind.media)
}

/// Whether a type is an HLS or DASH manifest.
pub(crate) fn is_manifest(media_type: &str) -> bool {
    MANIFESTS.iter().any(|name| media_type.eq_ignore_ascii_case(name))
}

/// Whether a type is in a range: `type/subtype` or `type/*`, in lower case.
pub(crate) fn is_in_range(media_type: &str, range: &str) -> bool {
    match range.strip_suffix('*') {
        Some(prefix) => {
            media_type.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        }
        None => media_type.eq_ignore_ascii_case(range),
    }
}

/// The endings of one type.
struct Kind {
    media: &'static str,
    endings: &'static [&'static str],
    /// Wrong types that servers give to these endings.
    mistakes: &'static [&'static str],
}

/// HLS under all the names that servers give it, and DASH.
const MANIFESTS: [&str; 6] = [
    "application/vnd.apple.mpegurl",
    "application/x-mpegurl",
    "application/mpegurl",
    "audio/mpegurl",
    "audio/x-mpegurl",
    "application/dash+xml",
];

/// Types that may mean anything. S3 stores `binary/octet-stream` if the uploader named no type. The download types make
/// a browser save the file.
const SAYING_NOTHING: [&str; 8] = [
    "application/octet-stream",
    "application/binary",
    "application/download",
    "application/force-download",
    "application/unknown",
    "application/x-download",
    "binary/octet-stream",
    "unknown/unknown",
];

/// The types that players fetch. The mistakes come from the lists that servers read. A Qt translation and another
/// document also end in `.ts`. A server that knows no playlists takes them for text or XML.
const KINDS: [Kind; 14] = [
    Kind {
        media: "application/dash+xml",
        endings: &["mpd"],
        mistakes: &["application/xml", "text/plain", "text/xml", "video/vnd.mpeg.dash.mpd"],
    },
    Kind {
        media: "application/vnd.apple.mpegurl",
        endings: &["m3u8", "m3u"],
        mistakes: &["text/plain", "video/mpegurl", "video/x-mpegurl"],
    },
    Kind { media: "text/vtt", endings: &["vtt", "webvtt"], mistakes: &["text/plain"] },
    Kind {
        media: "video/mp2t",
        endings: &["ts", "m2t", "m2ts", "mts"],
        mistakes: &[
            "application/x-linguist",
            "text/texmacs",
            "text/vnd.qt.linguist",
            "text/vnd.trolltech.linguist",
            "video/vnd.dlna.mpeg-tts",
        ],
    },
    Kind {
        media: "video/mp4",
        endings: &["mp4", "m4s", "m4v", "cmfv", "cmfa", "cmft", "m4f"],
        mistakes: &["application/x-mp4"],
    },
    Kind { media: "audio/mp4", endings: &["m4a", "m4b"], mistakes: &[] },
    Kind { media: "video/x-matroska", endings: &["mkv", "mka"], mistakes: &["application/x-matroska"] },
    Kind { media: "video/webm", endings: &["webm", "weba"], mistakes: &[] },
    Kind { media: "video/quicktime", endings: &["mov", "qt"], mistakes: &[] },
    Kind { media: "video/mpeg", endings: &["mpg", "mpeg"], mistakes: &[] },
    Kind { media: "video/ogg", endings: &["ogv", "ogg", "oga", "opus"], mistakes: &["application/ogg"] },
    Kind { media: "audio/mpeg", endings: &["mp3"], mistakes: &[] },
    Kind { media: "audio/aac", endings: &["aac", "ac3", "ec3", "flac", "wav"], mistakes: &[] },
    Kind { media: "video/x-msvideo", endings: &["avi", "flv", "wmv", "3gp"], mistakes: &[] },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_decides_where_the_type_does_not() {
        let octets = Some("application/octet-stream");
        for (path, said, media) in [
            ("/v/a.m4s", octets, Some("video/mp4")),
            ("/v/a.mkv", octets, Some("video/x-matroska")),
            ("/v/a.vtt", octets, Some("text/vtt")),
            ("/v/a.mpd", octets, Some("application/dash+xml")),
            ("/v/a.mpd", Some("text/xml"), Some("application/dash+xml")),
            ("/v/a.mpd", Some("application/xml"), Some("application/dash+xml")),
            ("/v/a.m3u8", Some("text/plain"), Some("application/vnd.apple.mpegurl")),
            ("/v/a.m3u8", octets, Some("application/vnd.apple.mpegurl")),
            ("/v/a.ts", Some("text/vnd.trolltech.linguist"), Some("video/mp2t")),
            ("/v/a.ts", Some("Text/Vnd.Trolltech.Linguist"), Some("video/mp2t")),
            ("/v/a.TS", Some("text/texmacs"), Some("video/mp2t")),
            ("/v/a.ts", Some("binary/octet-stream"), Some("video/mp2t")),
            ("/v/a.ts", None, Some("video/mp2t")),
            ("/v/a.b.mp4", Some("application/force-download"), Some("video/mp4")),
            (".mp4", None, Some("video/mp4")),
            // The type counts if it says something and is no known mistake.
            ("/v/a.mp4", Some("text/html"), None),
            ("/v/a.mp4", Some("text/plain"), None),
            ("/v/a.mp4", Some("text/vnd.trolltech.linguist"), None),
            ("/v/a.ts", Some("text/plain"), None),
            ("/v/a.ts", Some("application/typescript"), None),
            ("/v/a.mp4", Some("video/mp4"), None),
            ("/v/a.m3u8", Some("text/html"), None),
            // No ending, or the ending of something else.
            ("/v/a.html", octets, None),
            ("/v/a.ts.html", None, None),
            ("/v/a.ts/", None, None),
            ("/v/a.ts;b", None, None),
            ("/v/a.t%73", None, None),
            ("/v.ts/a", None, None),
            ("/v/ts", None, None),
            ("/v/a.", None, None),
            ("*", None, None),
            ("", None, None),
        ] {
            assert_eq!(by_ending(path, said), media, "{path} {said:?}");
        }
    }
}
