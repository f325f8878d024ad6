//! Request fields that are no part of the key, although origins answer by them.

use http::{HeaderName, HeaderValue, Request};
use http_body_util::Full;
use hyper::body::Incoming;

use super::{
    fields::NAME_ANOTHER_REQUEST,
    rig::{Answer, Rig, boxed, field, video, whole},
};

#[tokio::test]
async fn a_field_that_tells_the_origin_another_target_host_or_client_is_dropped() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    let mut request = Request::get("/a.mp4").header("host", "a.example");
    for name in DROPPED {
        request = request.header(name, "evil");
    }
    for name in ["accept-language", "x-request-id", "x-playback-session-id", "referer", "user-agent"] {
        request = request.header(name, "good");
    }
    rig.send(request).await;
    let seen = rig.seen().pop().unwrap().headers;
    assert!(seen.values().all(|value| !value.to_str().unwrap().contains("evil")), "{seen:?}");
    assert_eq!(seen.values().filter(|value| *value == "good").count(), 5, "{seen:?}");
    assert_eq!(field(&seen, "x-forwarded-host"), "a.example");
    assert_eq!(field(&seen, "x-forwarded-proto"), "http");
    assert_eq!(field(&seen, "x-forwarded-for"), "127.0.0.1");
}

#[test]
fn the_names_of_such_fields_are_in_the_order_in_which_they_are_sought() {
    assert!(NAME_ANOTHER_REQUEST.is_sorted());
}

#[tokio::test]
async fn no_such_field_fills_an_entry_for_others() {
    let rig = Rig::new(|request| told(&request, "x-original-url")).await;
    for name in ["X-Original-URL", "x_original_url", "X-Rewrite-URL"] {
        let answer = rig.send(Request::get("/x").header(name, "/admin")).await;
        assert_eq!(whole(answer).await, "", "{name}");
    }
    assert_eq!(whole(rig.get("/x").await).await, "");
    assert_eq!(rig.seen().len(), 1);
}

#[tokio::test]
async fn a_field_that_is_passed_is_part_of_the_key() {
    let flags = ["--pass-field", "X-Original-URL, x_mode", "--pass-field", "X-Real-IP"];
    let rig = Rig::with(&flags, |request| told(&request, "x-original-url")).await;
    let asked: [&[(&str, &str)]; 8] = [
        &[("x-original-url", "/a")],
        &[("x-original-url", "/b")],
        &[],
        &[("x-original-url", "")],
        &[("x-original-url", "/a"), ("x-original-url", "/b")],
        &[("x-original-url", "/a"), ("x-real-ip", "192.0.2.1")],
        &[("x-real-ip", "192.0.2.1")],
        &[("x_mode", "1")],
    ];
    for _ in 0..2 {
        for fields in asked {
            let request =
                fields.iter().fold(Request::get("/x"), |ask, (name, value)| ask.header(*name, *value));
            let mut expected = http::HeaderMap::new();
            for (name, value) in fields {
                expected.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            assert_eq!(
                whole(rig.send(request).await).await,
                field(&expected, "x-original-url"),
                "{fields:?}"
            );
        }
    }
    assert_eq!(rig.seen().len(), asked.len());
    // A field that the flag does not name is still dropped.
    whole(rig.send(Request::get("/x").header("x-rewrite-url", "/a")).await).await;
    assert_eq!(rig.seen().len(), asked.len());
}

#[tokio::test]
async fn a_field_in_which_another_proxy_describes_the_client_can_be_passed() {
    let flags = ["--pass-field", "x-forwarded-proto,x-forwarded-host"];
    let rig = Rig::with(&flags, |request| told(&request, "x-forwarded-proto")).await;
    for (proto, said) in [(Some("https"), "https"), (None, "http"), (Some("https"), "https")] {
        let request = Request::get("/x").header("x-forwarded-host", "front.example");
        let request = proto.into_iter().fold(request, |ask, proto| ask.header("x-forwarded-proto", proto));
        assert_eq!(whole(rig.send(request).await).await, said);
    }
    let seen = rig.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(field(&seen[0].headers, "x-forwarded-host"), "front.example");
}

/// Answers with the value of a field that the response does not vary by.
fn told(request: &Request<Incoming>, name: &'static str) -> std::future::Ready<Answer> {
    let value = field(request.headers(), name);
    let mut response = video().map(|_| boxed(Full::from(value)));
    response.headers_mut().remove("content-length");
    std::future::ready(Ok(response))
}

const DROPPED: [&str; 36] = [
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-prefix",
    "x-forwarded-port",
    "x-forwarded-scheme",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-forwarded-path",
    "x-forwarded-uri",
    "x-forwarded-ssl",
    "x-forwarded",
    "x-forwarded-by",
    "forwarded",
    "x-host",
    "x-original-host",
    "x-original-uri",
    "x-http-host-override",
    "x-host-override",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "proxy",
    "x-envoy-original-path",
    "x-script-name",
    "x-url-scheme",
    "front-end-https",
    "x-accel-mapping",
    "x-sendfile-type",
    "x_forwarded_for",
    "x_forwarded_host",
    "x_original_url",
    "x-original_url",
    "accept_language",
    "content_length",
];
