//! Playlists, manifests and subtitles: text that the inner service compresses as a whole, and not in parts.

use tower_video_cache::{Fill, Policy};

use crate::rig::{Rig, Script, movie};

/// A text that the inner service gives in parts, too.
fn text(path: &str) -> Script {
    let script = Script::movie(path, 9500).without("content-type").header("content-type", "text/vtt");
    script.header("etag", "\"v1\"").honours_ranges()
}

#[tokio::test]
async fn a_text_that_may_be_compressed_is_asked_for_as_a_whole() {
    for fill in [Fill::sliced(), Fill::auto()] {
        for (path, codings, asked) in [
            ("/a.m3u8", "gzip, br", ""),
            ("/a.mpd", "gzip", ""),
            ("/a.vtt", "*", ""),
            ("/a.ism/Manifest", "br", ""),
            ("/a.vtt", "identity", "bytes=3000-3999"),
            ("/a.mp4", "gzip, br", "bytes=3000-3999"),
        ] {
            let rig = Rig::new().fill(fill).script(path, text(path));
            let rig = rig.layer(|layer| layer.policy(Policy::default().media_types(["*/*"])));
            for _ in 0..2 {
                let ask = rig.get(path).header("accept-encoding", codings).range("bytes=3000-3999");
                ask.send().await.partial(&movie(path, 9500), 3000..4000);
            }
            assert_eq!(rig.inner.ranges(path), [asked], "{path} {codings}");
        }
    }
}
