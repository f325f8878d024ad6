//! Times that no field can express: a clock that was never set, and a clock that runs far ahead.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tower_video_cache::{Fill, Policy};

use crate::rig::{PATH, Rig, Script, movie, seconds, settle};

const LENGTH: usize = 4300;

/// Times before 1970, after 9999, and as far as the system can express.
fn times() -> Vec<SystemTime> {
    let after = |seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap();
    let before = |seconds| UNIX_EPOCH.checked_sub(Duration::from_secs(seconds)).unwrap();
    vec![
        UNIX_EPOCH,
        before(1),
        before(100 * 365 * 86_400),
        before(i64::MAX as u64),
        after(253_402_300_799),
        after(253_402_300_800),
        after(i64::MAX as u64),
    ]
}

fn script() -> Script {
    let script = Script::movie(PATH, LENGTH).without("date").header("etag", "\"v1\"");
    script.header("cache-control", "max-age=60").honours_ranges().honours_conditions()
}

/// Puts a stored response through all the events of its life.
async fn lives_through(rig: &Rig, others: &[SystemTime]) {
    let truth = movie(PATH, LENGTH);
    rig.get(PATH).range("bytes=100-199").send().await.partial(&truth, 100..200);
    settle().await;
    rig.get(PATH).send().await.whole(&truth);
    settle().await;
    for time in others {
        rig.clock.set(*time);
        rig.get(PATH).send().await.whole(&truth);
        rig.get(PATH).range("bytes=-300").send().await.partial(&truth, 4000..4300);
        let answer = rig.get(PATH).header("if-none-match", "\"v1\"").send().await;
        assert_eq!(answer.status, 304);
        rig.get(PATH).header("if-modified-since", "Fri, 31 Dec 9999 23:59:59 GMT").send().await;
        assert_eq!(rig.head(PATH).send().await.field("content-length"), "4300");
        rig.get(PATH).header("cache-control", "max-stale").send().await.whole(&truth);
        rig.get(PATH).header("cache-control", "no-cache").send().await.whole(&truth);
        settle().await;
        rig.clock.advance(seconds(70));
        rig.get(PATH).send().await.whole(&truth);
        settle().await;
        rig.ask(http::Method::POST, PATH).send().await;
        settle().await;
    }
    rig.get(PATH).send().await.whole(&truth);
}

#[tokio::test]
async fn a_clock_at_any_time_gives_true_bytes_and_no_panic() {
    for mode in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
        for first in times() {
            let policy = Policy::default().stale_while_revalidate(seconds(20)).stale_if_error(seconds(20));
            let rig = Rig::new().fill(mode).script(PATH, script()).layer(|layer| layer.policy(policy));
            rig.clock.set(first);
            lives_through(&rig, &times()).await;
        }
    }
}

#[tokio::test]
async fn a_response_without_a_date_gets_no_date_that_a_field_cannot_hold() {
    for time in times() {
        let rig = Rig::new().script(PATH, script());
        rig.clock.set(time);
        let answer = rig.get(PATH).send().await;
        let since = time.duration_since(UNIX_EPOCH).map(|since| since.as_secs());
        assert_eq!(answer.has("date"), since.is_ok_and(|since| since < 253_402_300_800), "{time:?}");
    }
}

#[tokio::test]
async fn dates_of_the_inner_service_are_used_whatever_the_clock_says() {
    for time in times() {
        for said in [
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "Sun, 22 Nov 2026 10:00:00 GMT",
        ] {
            let mut script =
                Script::movie(PATH, LENGTH).without("date").header("age", "99999999999999999999");
            for name in ["date", "last-modified", "expires"] {
                script = script.header(name, said);
            }
            let rig = Rig::new().script(PATH, script);
            rig.clock.set(time);
            for _ in 0..3 {
                rig.get(PATH).send().await.whole(&movie(PATH, LENGTH));
            }
        }
    }
}
