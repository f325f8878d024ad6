//! Whether a stored response is still good. RFC 9111 §4.3, §3.2, §5.2.2.4; RFC 9110 §13, §15.4.5.

use futures_util::future::join_all;

use super::rig::{Answer, Fields, Gate, Rig, answer, cached, date, ok};

// §4.3.1
#[tokio::test]
async fn a_stale_response_is_validated_by_its_own_validator() {
    type Row<'a> = (&'a str, Fields<'a>, [&'a str; 2]);
    let modified = date(-50);
    let rows: &[Row<'_>] = &[
        ("a strong tag", &[("etag", "\"a\"")], ["\"a\"", ""]),
        ("a weak tag", &[("etag", "W/\"a\"")], ["W/\"a\"", ""]),
        ("a date", &[("last-modified", &modified)], ["", &modified]),
        ("both", &[("etag", "\"a\""), ("last-modified", &modified)], ["\"a\"", &modified]),
    ];
    let rig = Rig::new().await;
    for (rule, validators, conditions) in rows {
        rig.restart_clock();
        let path = format!("/{}", rule.replace(' ', "-"));
        let maximum = [("cache-control", "max-age=10")];
        let unchanged = answer(304, &[&maximum, *validators].concat());
        rig.script(&path, [ok(&[&maximum, *validators].concat()), unchanged]);
        rig.get(&path).await;
        rig.advance(10);
        // The client's own conditions are judged by the stored response, and never forwarded.
        let own = [("if-none-match", "\"mine\""), ("if-modified-since", "Sun, 22 Nov 2020 10:00:00 GMT")];
        let second = rig.get_with(&path, &own).await;
        assert_eq!(
            (second.status, second.text(), second.field("age").as_str()),
            (200, "answer 1", "0"),
            "{rule}"
        );
        let seen = rig.seen(&path).pop().unwrap();
        assert_eq!(
            [seen.field("if-none-match"), seen.field("if-modified-since")],
            conditions.map(str::to_owned),
            "{rule}"
        );
        rig.advance(9);
        assert!(rig.get(&path).await.is_hit(), "{rule}");
        assert_eq!(rig.count(&path), 2, "{rule}");
    }
}

#[tokio::test]
async fn a_response_without_a_validator_of_the_origin_is_fetched_anew_without_conditions() {
    let rig = Rig::new().await;
    rig.script("/a", [cached("max-age=10")]);
    let first = rig.get("/a").await;
    // The cache's own tag is for its clients; the origin does not know it.
    assert_ne!(first.field("etag"), "");
    rig.advance(10);
    assert_eq!(rig.get("/a").await.text(), "answer 2");
    assert_eq!(rig.seen("/a")[1].field("if-none-match"), "");
}

// §4.3.2, RFC 9110 §13.2.2: a client's condition is judged once the stored response is known to be good.
#[tokio::test]
async fn a_client_whose_copy_is_still_good_gets_a_304_and_the_origin_answers_one_question() {
    let rig = Rig::new().await;
    let unchanged = answer(304, &[("etag", "\"a\""), ("cache-control", "max-age=10")]);
    rig.script("/a", [cached("max-age=10").field("etag", "\"a\""), unchanged]);
    rig.get("/a").await;
    rig.advance(10);
    let mine = [("if-none-match", "\"a\"")];
    for _ in 0..2 {
        let got = rig.get_with("/a", &mine).await;
        assert_eq!((got.status, got.text(), got.field("etag").as_str()), (304, "", "\"a\""));
    }
    assert_eq!(rig.count("/a"), 2);
}

// §4.3.4, §3.2
#[tokio::test]
async fn a_304_updates_its_fields_except_those_that_the_bytes_depend_on() {
    let rig = Rig::new().await;
    let stored = [
        ("cache-control", "max-age=10"),
        ("etag", "\"a\""),
        ("content-type", "text/plain"),
        ("content-encoding", "identity"),
        ("content-md5", "AAAA"),
        ("x-old", "1"),
        ("x-both", "1"),
        ("x-both", "2"),
        ("age", "3"),
    ];
    let news = [
        ("cache-control", "max-age=100"),
        ("etag", "W/\"a\""),
        ("content-type", "application/xml"),
        ("content-language", "de"),
        ("content-encoding", "gzip"),
        ("content-md5", "BBBB"),
        ("content-range", "bytes 0-0/1"),
        ("x-both", "3"),
        ("x-new", "4"),
        ("connection", "x-hop"),
        ("x-hop", "5"),
    ];
    rig.script("/a", [ok(&stored), answer(304, &news)]);
    rig.get("/a").await;
    rig.advance(20);
    rig.get("/a").await;
    rig.advance(99);
    let got = rig.get("/a").await;
    assert!(got.is_hit());
    for (name, value) in [
        ("cache-control", "max-age=100"),
        ("etag", "\"a\""),
        ("content-type", "text/plain"),
        ("content-language", "de"),
        ("content-encoding", "identity"),
        ("content-md5", "AAAA"),
        ("content-range", ""),
        ("content-length", "8"),
        ("x-old", "1"),
        ("x-both", "3"),
        ("x-new", "4"),
        ("x-hop", ""),
        ("age", "99"),
        ("date", &date(20)),
    ] {
        assert_eq!(got.field(name), value, "{name}");
    }
    assert_eq!((got.text(), rig.count("/a")), ("answer 1", 2));
}

// §4.3.4: a 304 about another response says nothing of this one.
#[tokio::test]
async fn after_a_304_about_another_response_the_origin_is_asked_without_conditions() {
    let (modified, later) = (date(-500), date(-5));
    let rig = Rig::new().await;
    for (index, (stored, answered)) in [
        ([("etag", "\"a\"")], [("etag", "\"b\"")]),
        ([("etag", "\"a\"")], [("etag", "W/\"b\"")]),
        ([("etag", "W/\"a\"")], [("etag", "\"a\"")]),
        ([("last-modified", modified.as_str())], [("etag", "\"a\"")]),
        ([("last-modified", &modified)], [("last-modified", &later)]),
    ]
    .into_iter()
    .enumerate()
    {
        rig.restart_clock();
        let path = format!("/{index}");
        let maximum = [("cache-control", "max-age=10")];
        let [stored, unchanged] = [stored, answered].map(|fields| [maximum, fields].concat());
        rig.script(&path, [ok(&stored), answer(304, &unchanged), ok(&stored)]);
        rig.get(&path).await;
        rig.advance(10);
        let got = rig.get(&path).await;
        assert_eq!((got.status, got.text(), rig.count(&path)), (200, "answer 3", 3), "{stored:?}");
        let last = rig.seen(&path).pop().unwrap();
        assert_eq!([last.field("if-none-match"), last.field("if-modified-since")], ["", ""], "{stored:?}");
        assert!(rig.get(&path).await.is_hit(), "{stored:?}");
    }
}

// §4.3.3
#[tokio::test]
async fn an_answer_in_its_own_right_replaces_the_stored_response_or_takes_it_out() {
    let rig = Rig::new().await;
    let kept = |status| answer(status, &[("cache-control", "max-age=10"), ("etag", "\"b\"")]);
    let rows: [(&str, Answer, u16, bool); 7] = [
        ("200", kept(200), 200, true),
        ("404-for-a-while", kept(404), 404, true),
        ("301-for-a-while", kept(301), 301, true),
        ("200-no-store", cached("no-store"), 200, false),
        ("200-private", cached("private"), 200, false),
        ("404", answer(404, &[]), 404, false),
        ("410", answer(410, &[]), 410, false),
    ];
    for (name, news, status, replaces) in rows {
        rig.restart_clock();
        let path = format!("/{name}");
        rig.script(&path, [cached("max-age=10").field("etag", "\"a\""), news, cached("max-age=10")]);
        rig.get(&path).await;
        rig.advance(10);
        let second = rig.get(&path).await;
        assert_eq!((second.status, second.text()), (status, "answer 2"), "{name}");
        assert_eq!(rig.seen(&path)[1].field("if-none-match"), "\"a\"", "{name}");
        if !replaces {
            // The time passes until unstorable answers are judged anew. A stored response would be validated now.
            rig.advance(10);
        }
        let third = rig.get(&path).await;
        assert_eq!(
            (third.is_hit(), third.text()),
            (replaces, if replaces { "answer 2" } else { "answer 3" }),
            "{name}"
        );
        if !replaces {
            assert_eq!(rig.seen(&path)[2].field("if-none-match"), "", "{name}");
        }
    }
}

// §4.3.1: the question is whether the stored response, the whole, is good. The answer is the requested range.
#[tokio::test]
async fn a_seek_in_a_stale_response_costs_one_question_and_is_answered_from_the_store() {
    let rig = Rig::new().await;
    let maximum = ("cache-control", "max-age=10");
    let tagged = |tag| ok(&[maximum, ("etag", tag)]);
    rig.script("/good", [tagged("\"a\""), answer(304, &[maximum, ("etag", "\"a\"")])]);
    rig.script("/new", [tagged("\"a\""), tagged("\"b\"")]);
    for (path, part, whole) in [("/good", "1", "answer 1"), ("/new", "2", "answer 2")] {
        rig.restart_clock();
        rig.get(path).await;
        rig.advance(10);
        let got = rig.get_with(path, &[("range", "bytes=7-7")]).await;
        assert_eq!((got.status, got.text(), got.field("content-range").as_str()), (206, part, "bytes 7-7/8"));
        let seen = rig.seen(path).pop().unwrap();
        assert_eq!([seen.field("if-none-match"), seen.field("range")], ["\"a\"", ""]);
        assert_eq!((rig.get(path).await.text(), rig.count(path)), (whole, 2));
    }
    // RFC 9110 §13.1.5: If-Range is judged by the response that is stored after the question.
    rig.script("/if-range", [tagged("\"a\""), tagged("\"b\"")]);
    rig.restart_clock();
    rig.get("/if-range").await;
    rig.advance(10);
    let got = rig.get_with("/if-range", &[("range", "bytes=7-7"), ("if-range", "\"a\"")]).await;
    assert_eq!((got.status, got.text()), (200, "answer 2"));
}

// §5.2.2.4
#[tokio::test]
async fn a_no_cache_response_is_validated_before_each_use() {
    let rig = Rig::new().await;
    let fields = [("cache-control", "no-cache, max-age=60"), ("etag", "\"a\"")];
    rig.script("/a", [ok(&fields), answer(304, &fields)]);
    for count in 1..=4 {
        let got = rig.get("/a").await;
        assert_eq!((got.status, got.text(), rig.count("/a")), (200, "answer 1", count));
        let question = if count > 1 { "\"a\"" } else { "" };
        assert_eq!(rig.seen("/a").pop().unwrap().field("if-none-match"), question);
    }
    let part = rig.get_with("/a", &[("range", "bytes=0-2")]).await;
    assert_eq!((part.status, part.text(), rig.count("/a")), (206, "ans", 5));
}

// §4: waiting requests do not share a response that needs an answer of the origin for each request.
#[tokio::test]
async fn a_no_cache_response_is_asked_for_by_each_of_many_requests_at_once() {
    let (rig, first, others) = (Rig::new().await, Gate::default(), Gate::default());
    let fields = [("cache-control", "no-cache"), ("etag", "\"a\"")];
    let unchanged = answer(304, &fields);
    rig.script("/a", [ok(&fields), unchanged.clone().behind(&first), unchanged.behind(&others)]);
    rig.get("/a").await;
    let asking = join_all((0..10).map(|_| rig.get("/a")));
    let opening = async {
        rig.arrived("/a", 2).await;
        first.open();
        // All requests are there before one of them is answered.
        rig.arrived("/a", 11).await;
        others.open();
    };
    let (got, ()) = tokio::join!(asking, opening);
    assert!(got.iter().all(|got| got.status == 200 && got.text() == "answer 1"), "{got:?}");
    assert_eq!(rig.count("/a"), 11);
}

// §4.3.5
#[tokio::test]
async fn a_head_updates_a_stale_response() {
    let (maximum, tag) = (("cache-control", "max-age=10"), ("etag", "\"a\""));
    // The next condition: none if the response is fresh, its tag if it is stored still, and an empty one if it was
    // removed.
    let (fresh, stale, gone) = (None, Some("\"a\""), Some(""));
    let rows: [(&str, Fields<'_>, Option<&str>); 5] = [
        ("the same", &[maximum, tag, ("x-news", "1"), ("content-length", "8")], fresh),
        ("without a validator", &[maximum, ("x-news", "1"), ("content-length", "8")], stale),
        ("another tag", &[maximum, ("etag", "\"b\""), ("content-length", "8")], gone),
        ("another length", &[maximum, tag, ("content-length", "9")], gone),
        ("a tag and no length", &[maximum, tag, ("x-news", "1")], fresh),
    ];
    let rig = Rig::new().await;
    for (rule, head, asked) in rows {
        rig.restart_clock();
        let path = format!("/{}", rule.replace(' ', "-"));
        let get = ok(&[maximum, tag]);
        // Without a length of its own, a HEAD would get the length of the scripted body.
        let body = if rule == "another length" { "123456789" } else { "12345678" };
        rig.script(&path, [get.clone(), ok(head).body(body), get]);
        rig.get(&path).await;
        rig.advance(10);
        assert_eq!(rig.ask("HEAD", &path, &[]).await.status, 200, "{rule}");
        assert_eq!(rig.seen(&path)[1].method, "HEAD", "{rule}");
        let got = rig.get(&path).await;
        assert_eq!(got.is_hit(), asked.is_none(), "{rule}");
        if asked.is_none() {
            assert_eq!((got.text(), got.field("x-news").as_str()), ("answer 1", "1"), "{rule}");
        }
        let seen = rig.seen(&path);
        assert_eq!(seen.get(2).map(|request| request.field("if-none-match")).as_deref(), asked, "{rule}");
    }
}
