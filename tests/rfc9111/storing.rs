//! The responses that are stored, and the parts of them that are kept. RFC 9111 §3; RFC 9110 §15.

use super::rig::{Fields, Rig, answer, cached, date, ok};

// RFC 9111 §3: a response with an explicit freshness may be stored, whatever its final status.
#[tokio::test]
async fn every_status_that_says_how_long_it_is_fresh_is_reused() {
    let rig = Rig::new().await;
    for status in [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599] {
        let path = format!("/{status}");
        rig.script(&path, [answer(status, &[("cache-control", "max-age=60"), ("x-kept", "1")])]);
        let (first, second) = (rig.get(&path).await, rig.get(&path).await);
        assert!(second.is_hit(), "{status}: {second:?}");
        assert_eq!((first.status, second.status), (status, status));
        assert_eq!(first.body, second.body, "{status}");
        assert_eq!(second.field("x-kept"), "1", "{status}");
        assert_eq!(rig.count(&path), 1, "{status}");
    }
}

// §4.2.2; RFC 9110 §15.1.
#[tokio::test]
async fn some_statuses_are_reused_by_guessed_freshness_and_the_others_by_leave_alone() {
    let rig = Rig::new().await;
    let modified = date(-1000);
    for status in [200, 203, 204, 300, 301, 302, 303, 307, 308, 400, 404, 405, 410, 414, 500, 501, 503, 599] {
        let guess = answer(status, &[("last-modified", &modified)]);
        let by_leave = guess.clone().field("cache-control", "public");
        let is_guessed = matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501);
        for (kind, answer, reused) in [("guessed", guess, is_guessed), ("public", by_leave, true)] {
            let path = format!("/{kind}/{status}");
            rig.script(&path, [answer]);
            rig.get(&path).await;
            let second = rig.get(&path).await;
            assert_eq!((second.status, second.is_hit()), (status, reused), "{kind} {status}");
            assert_eq!(rig.count(&path), if reused { 1 } else { 2 }, "{kind} {status}");
        }
    }
}

type Row<'a> = (&'a str, u16, Fields<'a>, Fields<'a>, bool);

const AUTHORIZED: Fields<'_> = &[("authorization", "Basic YTpi")];

/// A status, the fields of both requests, the fields of the answers, and whether the second request gets the first
/// one's answer.
const SHARED_OR_NOT: &[Row<'_>] = &[
    ("§5.2.2.1 max-age", 200, &[], &[("cache-control", "max-age=60")], true),
    ("§5.2.2.10 s-maxage", 200, &[], &[("cache-control", "s-maxage=60")], true),
    (
        "§5.2.2.9 public, and a guess",
        200,
        &[],
        &[("cache-control", "public"), ("last-modified", "Sun, 22 Nov 2026 09:43:20 GMT")],
        true,
    ),
    ("§5.2.2.5 no-store", 200, &[], &[("cache-control", "no-store")], false),
    ("§5.2.2.5 no-store beside max-age", 200, &[], &[("cache-control", "max-age=60, no-store")], false),
    (
        "§5.2.2.5 no-store on another line",
        200,
        &[],
        &[("cache-control", "max-age=60"), ("cache-control", "NO-STORE")],
        false,
    ),
    ("§5.2.2.7 private", 200, &[], &[("cache-control", "private, max-age=60")], false),
    ("§5.2.2.7 private of one field", 200, &[], &[("cache-control", "private=\"x-a\", max-age=60")], true),
    ("§5.2.2.4 no-cache of one field", 200, &[], &[("cache-control", "no-cache=\"x-a\", max-age=60")], true),
    ("§5.2.2.3 must-understand", 200, &[], &[("cache-control", "must-understand, max-age=60")], true),
    (
        "§5.2.2.3 must-understand lifts no-store",
        200,
        &[],
        &[("cache-control", "must-understand, no-store, max-age=60")],
        true,
    ),
    (
        "§5.2.2.3 must-understand of an unknown status",
        599,
        &[],
        &[("cache-control", "must-understand, max-age=60")],
        false,
    ),
    (
        "§5.2.2.3 nor does it lift no-store there",
        599,
        &[],
        &[("cache-control", "must-understand, no-store, max-age=60")],
        false,
    ),
    (
        "§5.2.2.2 must-revalidate does not keep it out",
        200,
        &[],
        &[("cache-control", "must-revalidate, max-age=60")],
        true,
    ),
    (
        "§5.2.3 an unknown directive is ignored",
        200,
        &[],
        &[("cache-control", "x-a=\"b, no-store\", max-age=60")],
        true,
    ),
    ("§3.5 credentials", 200, AUTHORIZED, &[("cache-control", "max-age=60")], false),
    ("§3.5 credentials, public", 200, AUTHORIZED, &[("cache-control", "public, max-age=60")], true),
    (
        "§3.5 credentials, must-revalidate",
        200,
        AUTHORIZED,
        &[("cache-control", "must-revalidate, max-age=60")],
        true,
    ),
    ("§3.5 credentials, s-maxage", 200, AUTHORIZED, &[("cache-control", "s-maxage=60")], true),
    (
        "§3.5 credentials, proxy-revalidate is no leave",
        200,
        AUTHORIZED,
        &[("cache-control", "proxy-revalidate, max-age=60")],
        false,
    ),
    (
        "§5.2.1.5 the request says no-store",
        200,
        &[("cache-control", "no-store")],
        &[("cache-control", "max-age=60")],
        false,
    ),
    (
        "§7.3 a cookie alone does not keep it out",
        200,
        &[],
        &[("cache-control", "max-age=60"), ("set-cookie", "a=b")],
        true,
    ),
    ("§4.2.2 no freshness, and no date to guess by", 200, &[], &[], false),
    (
        "RFC 9110 §14.4 a part, whatever its status",
        200,
        &[],
        &[("cache-control", "max-age=60"), ("content-range", "bytes 0-7/9")],
        false,
    ),
];

#[tokio::test]
async fn a_response_is_reused_only_if_it_may_be_shared() {
    let rig = Rig::new().await;
    for (index, (rule, status, request, response, reused)) in SHARED_OR_NOT.iter().enumerate() {
        let path = format!("/{index}");
        rig.script(&path, [answer(*status, response)]);
        let first = rig.get_with(&path, request).await;
        let second = rig.get_with(&path, request).await;
        assert_eq!((first.status, first.text()), (*status, "answer 1"), "{rule}");
        assert_eq!(second.text(), if *reused { "answer 1" } else { "answer 2" }, "{rule}");
        assert_eq!(rig.count(&path), if *reused { 1 } else { 2 }, "{rule}");
        assert_eq!(second.is_hit(), *reused, "{rule}");
    }
}

// §3.5, the other way round: a response to a request without credentials is for a request with some in three cases:
// by the same leave, by a 304 to its own question, or if the operator says so.
#[tokio::test]
async fn a_response_without_credentials_is_for_requests_with_some_only_by_leave() {
    let unchanged = answer(304, &[("etag", "\"a\"")]);
    for (index, (cache_control, etag, second, text)) in [
        ("public, max-age=60", "\"a\"", cached("max-age=60"), "answer 1"),
        ("s-maxage=60", "\"a\"", cached("max-age=60"), "answer 1"),
        ("must-revalidate, max-age=60", "\"a\"", cached("max-age=60"), "answer 1"),
        ("max-age=60", "\"a\"", unchanged, "answer 1"),
        ("max-age=60", "\"a\"", cached("max-age=60"), "answer 2"),
        ("max-age=60", "W/\"a\"", cached("max-age=60"), "answer 2"),
    ]
    .into_iter()
    .enumerate()
    {
        let (rig, path) = (Rig::new().await, format!("/{index}"));
        rig.script(&path, [cached(cache_control).field("etag", etag), second]);
        rig.get(&path).await;
        assert_eq!(rig.get_with(&path, AUTHORIZED).await.text(), text, "{cache_control} {etag}");
        let others = rig.get(&path).await;
        assert_eq!((others.is_hit(), others.text()), (true, "answer 1"), "{cache_control} {etag}");
    }
    let rig = Rig::with(&["--share-with-authorized"]).await;
    rig.script("/a", [cached("max-age=60")]);
    rig.get("/a").await;
    assert!(rig.get_with("/a", AUTHORIZED).await.is_hit());
}

// §5.2.2.4, §5.2.2.7
#[tokio::test]
async fn a_field_that_is_for_one_client_is_not_shown_to_the_next() {
    let rig = Rig::new().await;
    let cache_control = "max-age=60, private=\"x-mine, X-Other\", no-cache=\"set-cookie\"";
    rig.script(
        "/a",
        [cached(cache_control)
            .field("x-mine", "1")
            .field("x-other", "2")
            .field("set-cookie", "a=b")
            .field("x-all", "3")],
    );
    let (first, second) = (rig.get("/a").await, rig.get("/a").await);
    for (name, value) in [("x-mine", "1"), ("x-other", "2"), ("set-cookie", "a=b")] {
        assert_eq!((first.field(name).as_str(), second.field(name).as_str()), (value, ""), "{name}");
    }
    assert_eq!(second.field("x-all"), "3");
    assert_eq!((second.text(), rig.count("/a")), ("answer 1", 1));
}

// §3.1; RFC 9110 §7.6.1
#[tokio::test]
async fn fields_of_one_connection_never_come_out_of_the_store_and_all_others_do() {
    let rig = Rig::new().await;
    let of_the_connection = [
        "x-listed",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
    ];
    let others =
        ["x-own", "content-language", "content-security-policy", "link", "strict-transport-security"];
    let scripted = cached("max-age=60").field("connection", "X-Listed").field("x-own", "0");
    let scripted =
        of_the_connection.iter().chain(&others).fold(scripted, |answer, name| answer.field(name, "1"));
    rig.script("/a", [scripted]);
    rig.get("/a").await;
    let second = rig.get("/a").await;
    assert!(second.is_hit());
    for name in of_the_connection {
        assert_eq!(second.field(name), "", "{name}");
    }
    for name in others {
        assert_eq!(second.field(name), if name == "x-own" { "0, 1" } else { "1" }, "{name}");
    }
}

// §3.3, §3.4: a part is not taken for the whole, whether it was asked for or not.
#[tokio::test]
async fn a_part_never_becomes_the_whole() {
    let rig = Rig::new().await;
    let part = answer(206, &[("cache-control", "max-age=60"), ("content-range", "bytes 0-3/8")]).body("part");
    rig.script("/unasked", [part.clone(), cached("max-age=60")]);
    assert_eq!(rig.get("/unasked").await.status, 206);
    let second = rig.get("/unasked").await;
    assert_eq!((second.status, second.text()), (200, "answer 2"));

    rig.script("/asked", [cached("no-store"), part, cached("max-age=60")]);
    rig.get("/asked").await;
    let second = rig.get_with("/asked", &[("range", "bytes=0-3")]).await;
    assert_eq!((second.status, second.text()), (206, "part"));
    assert_eq!(rig.seen("/asked")[1].field("range"), "bytes=0-3");
    let third = rig.get("/asked").await;
    assert_eq!((third.status, third.text()), (200, "answer 3"));
    let fourth = rig.get_with("/asked", &[("range", "bytes=0-3")]).await;
    assert_eq!((fourth.status, fourth.text(), rig.count("/asked")), (206, "answ", 3));
}

// §3.3; RFC 9112 §8: a message that is incomplete is not a complete response.
#[tokio::test]
async fn a_body_that_ends_before_its_end_is_never_stored() {
    let rig = Rig::new().await;
    let too_short = ok(&[("cache-control", "max-age=60"), ("content-length", "100")]).broken();
    let without_an_end = cached("max-age=60").broken();
    for (path, broken) in [("/declared", too_short), ("/chunked", without_an_end)] {
        rig.script(path, [broken, cached("max-age=60")]);
        assert_eq!(rig.get(path).await.status, 502, "{path}");
        assert_eq!(rig.get(path).await.text(), "answer 2", "{path}");
        assert!(rig.get(path).await.is_hit(), "{path}");
    }
}

// Statuses and media types that the operator may narrow.
#[tokio::test]
async fn only_named_statuses_and_media_are_stored() {
    let rig = Rig::with(&["--statuses", "200,404", "--media", "video/*", "--set-cookie", "false"]).await;
    for (path, status, media, cookie, reused) in [
        ("/200", 200, "video/mp4", None, true),
        ("/404", 404, "video/mp4", None, true),
        ("/410", 410, "video/mp4", None, false),
        ("/text", 200, "text/html", None, false),
        ("/cookie", 200, "video/mp4", Some("a=b"), false),
    ] {
        let scripted = answer(status, &[("cache-control", "max-age=60"), ("content-type", media)]);
        rig.script(path, [cookie.map_or(scripted.clone(), |cookie| scripted.field("set-cookie", cookie))]);
        rig.get(path).await;
        assert_eq!(rig.get(path).await.is_hit(), reused, "{path}");
    }
}
