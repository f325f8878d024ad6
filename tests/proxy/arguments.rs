//! The command line.

use clap::{Parser, error::ErrorKind};
use http::Response;
use http_body_util::Full;
use tower_video_cache::Abandon;

use super::{
    args::Args,
    rig::{Rig, boxed, field, movie, video, whole},
    store::StoreArg,
};

#[test]
fn wrong_arguments_are_refused() {
    for (wrong, kind) in [
        (&["--memory", "lots"][..], ErrorKind::ValueValidation),
        (&["--store", "memory"], ErrorKind::ValueValidation),
        (&["--store", "moka:lots"], ErrorKind::ValueValidation),
        (&["--store", "redis-cluster://"], ErrorKind::ValueValidation),
        (&["--store", "s3://bucket?zone=a"], ErrorKind::ValueValidation),
        (&["--store", "fs:"], ErrorKind::ValueValidation),
        (&["--store", "foyer:cache?disk=large"], ErrorKind::ValueValidation),
        (&["--store", "moka:1GiB", "--memory", "1GiB"], ErrorKind::ArgumentConflict),
        (&["--near", "close"], ErrorKind::ValueValidation),
        (&["--chunk-size", "0"], ErrorKind::ValueValidation),
        (&["--chunk-size", "65MiB"], ErrorKind::ValueValidation),
        (&["--chunk-size", "5GiB"], ErrorKind::ValueValidation),
        (&["--media", "video"], ErrorKind::ValueValidation),
        (&["--media", "video/*,/mp4"], ErrorKind::ValueValidation),
        (&["--default-ttl", "5"], ErrorKind::ValueValidation),
        (&["--statuses", "200,all"], ErrorKind::ValueValidation),
        (&["--targeted", "not a name"], ErrorKind::ValueValidation),
        (&["--name", ""], ErrorKind::ValueValidation),
        (&["--heed-requests", "maybe"], ErrorKind::InvalidValue),
        (&["--group-fields", "cache-groups,tags"], ErrorKind::InvalidValue),
        (&["--purge-age", "2"], ErrorKind::ValueValidation),
        (&["--purge-log", "moka:1GiB"], ErrorKind::ValueValidation),
        (&["--purge-log", "foyer:log"], ErrorKind::ValueValidation),
        (&["--fill", "half"], ErrorKind::InvalidValue),
        (&["--read-ahead", "far"], ErrorKind::ValueValidation),
        (&["--fill-ahead", "0"], ErrorKind::ValueValidation),
        (&["--most-fills", "-1"], ErrorKind::UnknownArgument),
        (&["--most-fills", "0"], ErrorKind::ValueValidation),
        (&["--most-promised", "half"], ErrorKind::ValueValidation),
        (&["--most-slices", "0"], ErrorKind::ValueValidation),
        (&["--resumes", "often"], ErrorKind::ValueValidation),
        (&["--resume-pause", "1"], ErrorKind::ValueValidation),
        (&["--follower-limit", "soon"], ErrorKind::ValueValidation),
        (&["--idle-limit", "60"], ErrorKind::ValueValidation),
        (&["--hosts", "a/b"], ErrorKind::ValueValidation),
        (&["--hosts", "a,"], ErrorKind::ValueValidation),
        (&["--hosts", "http://a"], ErrorKind::ValueValidation),
        (&["--pass-field", "not a name"], ErrorKind::ValueValidation),
        (&["--pass-field", "Connection"], ErrorKind::ValueValidation),
        (&["--pass-field", "x-real-ip,host"], ErrorKind::ValueValidation),
        (&["--pass-field", "CDN-Loop"], ErrorKind::ValueValidation),
        (&["--write-timeout", "60"], ErrorKind::ValueValidation),
        (&["--most-unread", "much"], ErrorKind::ValueValidation),
        (&["--most-connections", "0"], ErrorKind::ValueValidation),
        (&["--origin", "http://b"], ErrorKind::ArgumentConflict),
        (&["--colour"], ErrorKind::UnknownArgument),
    ] {
        let line = ["proxy", "--listen", "[::1]:0", "--origin", "http://a"];
        let refused = Args::try_parse_from(line.iter().chain(wrong)).unwrap_err();
        assert_eq!(refused.kind(), kind, "{wrong:?}");
    }
    for origin in ["a", "a:80", "https://a", "http://a/path", "http://a?", "http://me@a", "/", ""] {
        let line = ["proxy", "--listen", "[::1]:0", "--origin", origin];
        assert_eq!(Args::try_parse_from(line).unwrap_err().kind(), ErrorKind::ValueValidation, "{origin}");
    }
}

#[test]
fn sizes_durations_and_lists_are_understood() {
    let line = "proxy --listen 127.0.0.1:0 --origin http://a:9000/ --memory 512MiB --chunk-size 64KiB \
                --max-size 1073741824 --media video/*,audio/* --default-ttl 1h30m --grace 0s --fill sliced \
                --statuses 200,404 --stale-if-error 1d --targeted My-CDN-Cache-Control,cdn-cache-control \
                --heed-requests false --name edge-1 --max-ranges 4 --read-ahead 2MiB --fill-ahead 8 \
                --most-fills 1 --most-promised 64MB --most-slices 1 --resumes 0 --resume-pause 1s \
                --follower-limit 5s --idle-limit 2m --stale-on-request 30s --share-with-authorized \
                --invalidate non-error --hosts A.example,b.example:80 --pass-field X-Real-IP,proxy \
                --pass-field x_mode --write-timeout 1m --most-unread 1GiB --most-connections 10 \
                --group-fields xkey,surrogate-key --hide-group-fields false --purge-age 500ms \
                --purge-log fs:log --streaming";
    let args = format!("{:?}", Args::try_parse_from(line.split_whitespace()).unwrap());
    for part in [
        "memory: 512.0 MiB (536870912 bytes)",
        "chunk_size: ChunkSize(65536)",
        "max_size: 1.0 GiB (1073741824 bytes)",
        "media: Some([\"video/*\", \"audio/*\"])",
        "default_ttl: Some(5400s)",
        "streaming: true",
        "statuses: Some([Some(200), Some(404)])",
        "stale_if_error: Some(86400s)",
        "stale_on_request: Some(30s)",
        "share_with_authorized: true",
        "invalidate: Some(NonError)",
        "targeted: Some([\"my-cdn-cache-control\", \"cdn-cache-control\"])",
        "heed_requests: Some(false)",
        "group_fields: Some([Xkey, SurrogateKey])",
        "hide_group_fields: Some(false)",
        "heed_group_invalidation: None",
        "purge_age: 500ms",
        "purge_log: Some(Fs(\"log\"))",
        "name: CacheStatus { name: CacheName(edge-1), shows_key: false }",
        "max_ranges: Some(4)",
        "fill: Sliced",
        "read_ahead: 2.0 MiB (2097152 bytes)",
        "fill_ahead: 8,",
        "most_fills: 1,",
        "most_promised: Some(61.0 MiB (64000000 bytes))",
        "most_slices: 1,",
        "resumes: 0,",
        "resume_pause: 1s",
        "follower_limit: 5s",
        "idle_limit: 120s",
        "hosts: Some([Allowed { name: \"a.example\", port: None }, Allowed { name: \"b.example\", port: Some(80) }])",
        "pass_field: [\"x-real-ip\", \"proxy\", \"x_mode\"]",
        "write_timeout: 60s",
        "most_unread: 1.0 GiB (1073741824 bytes)",
        "most_connections: 10,",
        "grace: 0ns",
    ] {
        assert!(args.contains(part), "{part} in {args}");
    }
}

#[test]
fn a_store_is_named_by_its_kind_and_place() {
    let redis = |url: &str, roots: Option<&str>| StoreArg::Redis {
        url: url.to_owned(),
        roots: roots.map(Into::into),
    };
    for (text, expected) in [
        ("moka:512MiB", StoreArg::Moka(512 << 20)),
        ("redis://:secret@a:6379/1", redis("redis://:secret@a:6379/1", None)),
        ("rediss://a:6380", redis("rediss://a:6380", None)),
        ("rediss://a:6380/1?roots=/etc/ca.pem", redis("rediss://a:6380/1", Some("/etc/ca.pem"))),
        ("redis-cluster://a:7000,b:7001", {
            StoreArg::RedisCluster(vec!["redis://a:7000".to_owned(), "redis://b:7001".to_owned()])
        }),
        ("s3://videos?endpoint=http%3A%2F%2Fa%3A9000&region=eu", {
            let settings = [("endpoint", "http://a:9000"), ("region", "eu")];
            let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
            StoreArg::S3 { bucket: "videos".to_owned(), settings: settings.to_vec() }
        }),
        ("fs:/var/cache/videos", StoreArg::Fs("/var/cache/videos".into())),
        ("foyer:cache?disk=2GiB", {
            StoreArg::Foyer { directory: "cache".into(), memory: 256 << 20, disk: 2 << 30 }
        }),
    ] {
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }
}

#[tokio::test]
async fn memory_before_a_store_answers_as_the_store_does() {
    let rig = Rig::with(&["--store", "moka:64MiB", "--near", "8MiB"], |_| async { Ok(video()) }).await;
    for status in ["storing", "hit", "hit"] {
        let response = rig.get("/a.mp4").await;
        assert!(field(response.headers(), "cache-status").contains(status), "{response:?}");
        assert_eq!(whole(response).await, movie());
    }
    assert_eq!(rig.seen().len(), 1);
}

#[tokio::test]
async fn a_live_playlist_is_fresh_for_half_of_its_target_duration_with_streaming_alone() {
    for (arguments, is_streaming) in [(&["--streaming"][..], true), (&[], false)] {
        let rig = Rig::with(arguments, |_| async {
            let text = "#EXTM3U\n#EXT-X-TARGETDURATION:1200\n#EXTINF:1200,\n1.ts\n";
            Ok(Response::new(boxed(Full::from(text))))
        });
        let rig = rig.await;
        for is_hit in [false, is_streaming] {
            let response = rig.get("/a.m3u8").await;
            let said = field(response.headers(), "cache-status").clone();
            whole(response).await;
            assert_eq!(said.contains("; hit; ttl=599") || said.contains("; hit; ttl=600"), is_hit, "{said}");
        }
    }
}

#[test]
fn the_fate_of_an_abandoned_fill_is_set_in_words_percent_or_bytes() {
    for (text, expected) in [
        ("finish", Ok(Abandon::Finish)),
        ("stop", Ok(Abandon::Stop)),
        ("90%", Ok(Abandon::FinishFromPercent(90))),
        ("0%", Ok(Abandon::FinishFromPercent(0))),
        ("100 %", Ok(Abandon::FinishFromPercent(100))),
        ("8MiB", Ok(Abandon::FinishWithin(8 << 20))),
        ("1.5 MB", Ok(Abandon::FinishWithin(1_500_000))),
        ("0B", Ok(Abandon::FinishWithin(0))),
        ("90", Err("write 90% or 90B")),
        ("101%", Err("from 0% to 100%")),
        ("256%", Err("from 0% to 100%")),
        ("-1%", Err("from 0% to 100%")),
        ("12.5%", Err("from 0% to 100%")),
        ("%", Err("from 0% to 100%")),
        ("8 apples", Err("expected finish, stop, a percentage such as 90%, or bytes such as 8MiB")),
        ("Finish", Err("expected finish, stop")),
        ("", Err("expected finish, stop")),
    ] {
        let line = format!("proxy --listen [::1]:0 --origin http://a --abandon={text}");
        let line = line.splitn(6, ' ');
        match (Args::try_parse_from(line), expected) {
            (Ok(args), Ok(expected)) => {
                let args = format!("{args:?}");
                assert!(args.contains(&format!("abandon: {expected:?},")), "{text}: {args}");
            }
            (Err(error), Err(why)) => {
                assert_eq!(error.kind(), ErrorKind::ValueValidation, "{text}");
                assert!(error.to_string().contains(why), "{text}: {error}");
            }
            (given, _) => panic!("{text}: {given:?}"),
        }
    }
}
