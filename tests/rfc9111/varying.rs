//! The response that a request selects among several. RFC 9111 §4.1; RFC 9110 §12.5.5.

use super::rig::{Fields, Rig, cached};

#[tokio::test]
async fn a_response_is_reused_by_every_request_that_asks_alike() {
    type Row<'a> = (&'a str, &'a [&'a str], Fields<'a>, Fields<'a>, bool);
    let rows: &[Row<'_>] = &[
        ("§4.1 the same value", &["x-a"], &[("x-a", "1")], &[("x-a", "1")], true),
        ("§4.1 another value", &["x-a"], &[("x-a", "1")], &[("x-a", "2")], false),
        ("§4.1 absent twice", &["x-a"], &[], &[], true),
        ("§4.1 absent is no value", &["x-a"], &[("x-a", "")], &[], false),
        ("§4.1 absent, then present", &["x-a"], &[], &[("x-a", "1")], false),
        ("§4.1 white space", &["x-a"], &[("x-a", "1,2")], &[("x-a", " 1 ,\t2 ")], true),
        ("§4.1 two lines are one", &["x-a"], &[("x-a", "1"), ("x-a", "2")], &[("x-a", "1, 2")], true),
        ("§4.1 the order may matter", &["x-a"], &[("x-a", "1, 2")], &[("x-a", "2, 1")], false),
        ("§4.1 names in any case", &["X-A"], &[("x-a", "1")], &[("x-a", "1")], true),
        ("§4.1 a field that is not named does not matter", &["x-a"], &[("x-b", "1")], &[("x-b", "2")], true),
        (
            "§4.1 all named fields",
            &["x-a, x-b"],
            &[("x-a", "1"), ("x-b", "1")],
            &[("x-a", "1"), ("x-b", "2")],
            false,
        ),
        ("§4.1 on two lines of Vary", &["x-a", "x-b"], &[("x-b", "1")], &[("x-b", "2")], false),
        ("§4.1 on two lines of Vary, alike", &["x-a", "x-b"], &[("x-b", "1")], &[("x-b", "1")], true),
        ("§4.1 *", &["*"], &[], &[], false),
        ("§4.1 * among names", &["x-a, *"], &[], &[], false),
        ("§4.1 * on another line", &["x-a", "*"], &[], &[], false),
    ];
    let rig = Rig::new().await;
    for (index, (rule, vary, one, other, reused)) in rows.iter().enumerate() {
        let path = format!("/{index}");
        let scripted = vary.iter().fold(cached("max-age=60"), |answer, names| answer.field("vary", names));
        rig.script(&path, [scripted]);
        assert_eq!(rig.get_with(&path, one).await.text(), "answer 1", "{rule}");
        let second = rig.get_with(&path, other).await;
        assert_eq!((second.is_hit(), rig.count(&path) == 1), (*reused, *reused), "{rule}");
        assert_eq!(second.text() == "answer 1", *reused, "{rule}");
    }
}

#[tokio::test]
async fn several_variants_are_kept_side_by_side() {
    let rig = Rig::new().await;
    rig.script("/a", [cached("max-age=60").field("vary", "accept-language")]);
    let languages: [Fields<'_>; 4] =
        [&[("accept-language", "en")], &[("accept-language", "de")], &[("accept-language", "en, de")], &[]];
    let texts = ["answer 1", "answer 2", "answer 3", "answer 4"];
    for round in 0..3 {
        for (fields, text) in languages.iter().zip(texts) {
            let got = rig.get_with("/a", fields).await;
            assert_eq!((got.text(), got.is_hit()), (text, round > 0));
        }
    }
    assert_eq!(rig.count("/a"), 4);
}

// RFC 9110 §8.4, §14.2: a range counts the bytes of the selected representation, in its coding.
#[tokio::test]
async fn encodings_never_mix_and_ranges_are_of_the_encoded_bytes() {
    let rig = Rig::new().await;
    let coded = |coding, body| {
        cached("max-age=60").field("vary", "accept-encoding").field("content-encoding", coding).body(body)
    };
    let plain = cached("max-age=60").field("vary", "accept-encoding").body("the plain text");
    rig.script("/a", [coded("gzip", "ZZZZzzzz"), coded("br", "BBBBbbbb"), plain]);
    let codings: [(Fields<'_>, &str, &str, &str); 3] = [
        (&[("accept-encoding", "gzip")], "gzip", "ZZZZzzzz", "zzzz"),
        (&[("accept-encoding", "br")], "br", "BBBBbbbb", "bbbb"),
        (&[], "", "the plain text", "plai"),
    ];
    for _ in 0..2 {
        for (fields, coding, whole, part) in codings {
            let got = rig.get_with("/a", fields).await;
            assert_eq!((got.text(), got.field("content-encoding").as_str()), (whole, coding));
            let ranged = [fields, &[("range", "bytes=4-7")]].concat();
            let got = rig.get_with("/a", &ranged).await;
            assert_eq!((got.status, got.text(), got.field("content-encoding").as_str()), (206, part, coding));
            assert_eq!(got.field("content-range"), format!("bytes 4-7/{}", whole.len()));
        }
    }
    assert_eq!(rig.count("/a"), 3);
}

// §4.3.1
#[tokio::test]
async fn a_stale_variant_is_asked_about_by_its_own_validator() {
    let rig = Rig::new().await;
    let variant = |tag| cached("max-age=10").field("vary", "x-a").field("etag", tag);
    let unchanged = super::rig::answer(304, &[("vary", "x-a"), ("cache-control", "max-age=10")]);
    rig.script("/a", [variant("\"one\""), variant("\"two\""), unchanged]);
    rig.get_with("/a", &[("x-a", "1")]).await;
    rig.get_with("/a", &[("x-a", "2")]).await;
    rig.advance(10);
    let got = rig.get_with("/a", &[("x-a", "1")]).await;
    assert_eq!((got.status, got.text()), (200, "answer 1"));
    assert_eq!(rig.seen("/a")[2].field("if-none-match"), "\"one\"");
    // The other variant is as stale as before.
    let got = rig.get_with("/a", &[("x-a", "2")]).await;
    assert_eq!((got.status, got.text()), (200, "answer 2"));
    assert_eq!(rig.seen("/a")[3].field("if-none-match"), "\"two\"");
}
