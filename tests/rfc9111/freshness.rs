//! How long a response is fresh, and how old it is. RFC 9111 §4.2, §5.1, §5.3.

use super::rig::{Fields, Rig, START, date, ok};

#[tokio::test]
async fn a_response_is_reused_until_its_freshness_ends_and_no_longer() {
    type Row<'a> = (&'a str, Fields<'a>, u64);
    let (ago, ahead, earlier) = (date(-30), date(30), date(-1000));
    let (minute, hour, year_ago) = (date(60), date(3600), date(-365 * 86_400));
    let rows: &[Row<'_>] = &[
        ("§5.2.2.1 max-age", &[("cache-control", "max-age=60")], 60),
        ("§5.2.2.10 s-maxage over max-age", &[("cache-control", "max-age=60, s-maxage=30")], 30),
        ("§5.2.2.10 also where it is longer", &[("cache-control", "s-maxage=90, max-age=60")], 90),
        ("§5.2.2.10 s-maxage=0", &[("cache-control", "s-maxage=0, max-age=60")], 0),
        ("§5.3 max-age over Expires", &[("cache-control", "max-age=60"), ("expires", &hour)], 60),
        ("§5.3 also over an invalid Expires", &[("cache-control", "max-age=60"), ("expires", "0")], 60),
        ("§5.3 s-maxage over Expires", &[("cache-control", "s-maxage=60"), ("expires", &hour)], 60),
        ("§5.3 Expires", &[("expires", &minute), ("date", START)], 60),
        ("§5.3 Expires without Date", &[("expires", &minute)], 60),
        ("§5.3 Expires less Date, and the age", &[("expires", &minute), ("date", &ago)], 60),
        ("§5.3 Expires before Date", &[("expires", &ago), ("date", START)], 0),
        ("RFC 9110 §5.6.7 Expires of RFC 850", &[("expires", "Sunday, 22-Nov-26 10:01:00 GMT")], 60),
        ("RFC 9110 §5.6.7 Expires of asctime", &[("expires", "Sun Nov 22 10:01:00 2026")], 60),
        ("§5.3 Expires of 0", &[("expires", "0"), ("last-modified", &earlier)], 0),
        ("§5.3 Expires of no date", &[("expires", "tomorrow"), ("last-modified", &earlier)], 0),
        ("§5.3 Expires in another time zone", &[("expires", "Sun, 22 Nov 2026 10:01:00 CET")], 0),
        ("§4.2.1 Expires twice is stale", &[("expires", &minute), ("expires", &hour)], 0),
        ("§4.2.1 the first max-age of two", &[("cache-control", "max-age=60, max-age=90")], 60),
        ("§4.2.1 on two lines", &[("cache-control", "max-age=60"), ("cache-control", "max-age=90")], 60),
        ("§5.2 a quoted argument", &[("cache-control", "max-age=\"60\"")], 60),
        ("§5.2 upper case", &[("cache-control", "MAX-AGE=60")], 60),
        ("§5.2.3 unknown directives", &[("cache-control", "x, y=1, max-age=60, z=\"max-age=1\"")], 60),
        ("§4.2.1 max-age of no number", &[("cache-control", "max-age=soon"), ("expires", &hour)], 0),
        ("§4.2.1 a negative max-age", &[("cache-control", "max-age=-1")], 0),
        ("§4.2.1 max-age with a fraction", &[("cache-control", "max-age=60.5")], 0),
        (
            "§1.2.2 max-age that is too large to count",
            &[("cache-control", "max-age=99999999999999999999")],
            1 << 31,
        ),
        ("§5.1 Age", &[("cache-control", "max-age=60"), ("age", "40")], 20),
        ("§5.1 Age past the lifetime", &[("cache-control", "max-age=60"), ("age", "60")], 0),
        ("§5.1 a list of ages: the first", &[("cache-control", "max-age=60"), ("age", "40, 50")], 20),
        (
            "§5.1 two lines of it: the first",
            &[("cache-control", "max-age=60"), ("age", "40"), ("age", "50")],
            20,
        ),
        ("§5.1 Age of no number", &[("cache-control", "max-age=60"), ("age", "old")], 60),
        ("§5.1 a negative Age", &[("cache-control", "max-age=60"), ("age", "-40")], 60),
        (
            "§1.2.2 Age too large to count",
            &[("cache-control", "max-age=60"), ("age", "99999999999999999999")],
            0,
        ),
        ("§4.2.3 the apparent age", &[("cache-control", "max-age=60"), ("date", &ago)], 30),
        ("§4.2.3 the greater of both", &[("cache-control", "max-age=60"), ("date", &ago), ("age", "40")], 20),
        ("§4.2.3 not their sum", &[("cache-control", "max-age=60"), ("date", &ago), ("age", "10")], 30),
        ("§4.2.3 a Date ahead", &[("cache-control", "max-age=60"), ("date", &ahead)], 60),
        ("§4.2.3 a Date of no date", &[("cache-control", "max-age=60"), ("date", "today")], 60),
        ("§4.2.2 a tenth of the time unmodified", &[("last-modified", &earlier)], 100),
        (
            "§4.2.2 not beside explicit freshness",
            &[("last-modified", &earlier), ("cache-control", "max-age=60")],
            60,
        ),
        ("§4.2.2 not for more than a day", &[("last-modified", &year_ago)], 86_400),
        ("§4.2.2 nor by a change to come", &[("last-modified", &minute)], 0),
        ("§4.2.2 nor by no date", &[("last-modified", "once")], 0),
    ];
    let rig = Rig::new().await;
    for (index, (rule, response, left)) in rows.iter().enumerate() {
        rig.restart_clock();
        let path = format!("/{index}");
        rig.script(&path, [ok(response)]);
        assert_eq!(rig.get(&path).await.text(), "answer 1", "{rule}");
        if *left > 0 {
            rig.advance(left - 1);
            assert!(rig.get(&path).await.is_hit(), "{rule}");
            assert_eq!(rig.count(&path), 1, "{rule}");
            rig.advance(1);
        }
        let stale = rig.get(&path).await;
        assert!(!stale.is_hit(), "{rule}");
        assert_eq!(rig.count(&path), 2, "{rule}");
    }
}

// §4.2: the letters of a date have a specified case, but a cache should accept any.
#[tokio::test]
async fn a_date_is_read_in_any_case() {
    let rig = Rig::new().await;
    for (path, expires) in [("/lower", date(60).to_lowercase()), ("/upper", date(60).to_uppercase())] {
        rig.script(path, [ok(&[("expires", &expires)])]);
        rig.get(path).await;
        assert!(rig.get(path).await.is_hit(), "{expires}");
    }
}

// §4.2.2
#[tokio::test]
async fn the_operator_sets_the_guessed_freshness() {
    let unmodified = date(-1000);
    for (flags, response, lifetime) in [
        (&["--heuristic-percent", "50"][..], &[("last-modified", unmodified.as_str())][..], 500),
        (&["--heuristic-limit", "1m"], &[("last-modified", &unmodified)], 60),
        (&["--heuristic-percent", "0", "--default-ttl", "30s"], &[("last-modified", &unmodified)], 30),
        (&["--default-ttl", "30s"], &[], 30),
    ] {
        let rig = Rig::with(flags).await;
        rig.script("/a", [ok(response)]);
        rig.get("/a").await;
        rig.advance(lifetime - 1);
        assert!(rig.get("/a").await.is_hit(), "{flags:?}");
        rig.advance(1);
        assert!(!rig.get("/a").await.is_hit(), "{flags:?}");
    }
}

// §4 and §5.1: a response from the store has an Age, which is the current age of §4.2.3.
#[tokio::test]
async fn an_answer_says_how_old_it_is_and_grows_older() {
    let rig = Rig::new().await;
    rig.script("/a", [ok(&[("cache-control", "max-age=3600"), ("age", "10"), ("date", &date(-5))])]);
    for (seconds, age) in [(0, "10"), (5, "15"), (85, "100")] {
        rig.advance(seconds);
        let got = rig.get("/a").await;
        assert_eq!((got.field("age").as_str(), got.field("date")), (age, date(-5)));
    }
    let head = rig.ask("HEAD", "/a", &[]).await;
    let part = rig.get_with("/a", &[("range", "bytes=0-0")]).await;
    assert_eq!((head.field("age").as_str(), part.field("age").as_str()), ("100", "100"));
    assert_eq!(rig.count("/a"), 1);
}

// RFC 9110 §6.6.1: if a response does not say when it was sent, a recipient with a clock records when it came.
#[tokio::test]
async fn an_answer_without_a_date_gets_the_time_at_which_it_came() {
    let rig = Rig::new().await;
    rig.script("/a", [ok(&[("cache-control", "max-age=60")])]);
    for (seconds, age) in [(0, "0"), (7, "7")] {
        rig.advance(seconds);
        let got = rig.get("/a").await;
        assert_eq!((got.field("age").as_str(), got.field("date").as_str()), (age, START));
    }
}
