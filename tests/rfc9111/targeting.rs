//! Fields for some caches alone. RFC 9213 §2.

use super::rig::{Fields, Rig, ok};

/// Checks how long each response is fresh; 0 means not at all.
async fn assert_lifetimes(rig: &Rig, rows: &[(&str, Fields<'_>, u64)]) {
    for (index, (rule, response, lifetime)) in rows.iter().enumerate() {
        rig.restart_clock();
        let path = format!("/{index}");
        rig.script(&path, [ok(response)]);
        rig.get(&path).await;
        if *lifetime > 0 {
            rig.advance(lifetime - 1);
            assert!(rig.get(&path).await.is_hit(), "{rule}");
            rig.advance(1);
        }
        assert!(!rig.get(&path).await.is_hit(), "{rule}");
    }
}

#[tokio::test]
async fn cdn_cache_control_counts_instead_of_cache_control_and_expires() {
    let rig = Rig::new().await;
    let (hour, earlier) = (super::rig::date(3600), super::rig::date(-1000));
    assert_lifetimes(
        &rig,
        &[
            ("§3.1 longer", &[("cdn-cache-control", "max-age=60"), ("cache-control", "max-age=10")], 60),
            ("§3.1 shorter", &[("cdn-cache-control", "max-age=10"), ("cache-control", "s-maxage=60")], 10),
            ("§2.2 over no-store", &[("cdn-cache-control", "max-age=60"), ("cache-control", "no-store")], 60),
            ("§2.2 over private", &[("cdn-cache-control", "max-age=60"), ("cache-control", "private")], 60),
            ("§2.2 over no-cache", &[("cdn-cache-control", "max-age=60"), ("cache-control", "no-cache")], 60),
            ("§2.2 over Expires", &[("cdn-cache-control", "max-age=60"), ("expires", "0")], 60),
            (
                "§2.2 Expires counts no more",
                &[("cdn-cache-control", "must-revalidate"), ("expires", &hour)],
                0,
            ),
            (
                "§2.2 a guess is still allowed",
                &[("cdn-cache-control", "public"), ("last-modified", &earlier)],
                100,
            ),
            ("§2.1 no-store", &[("cdn-cache-control", "no-store"), ("cache-control", "max-age=60")], 0),
            (
                "§2.1 private",
                &[("cdn-cache-control", "private, max-age=60"), ("cache-control", "max-age=60")],
                0,
            ),
            ("§2.1 s-maxage", &[("cdn-cache-control", "max-age=10, s-maxage=60")], 60),
            ("§2.1 two lines", &[("cdn-cache-control", "public"), ("cdn-cache-control", "max-age=60")], 60),
            (
                "§2.1 the last of two, as Structured Fields have it",
                &[("cdn-cache-control", "max-age=10, max-age=60")],
                60,
            ),
            ("§2.1 parameters are ignored", &[("cdn-cache-control", "max-age=60;x=1")], 60),
            ("§2.1 unknown directives are ignored", &[("cdn-cache-control", "x=?0, max-age=60")], 60),
            (
                "§2.1 an empty field counts for nothing",
                &[("cdn-cache-control", ""), ("cache-control", "max-age=60")],
                60,
            ),
            (
                "§2.1 an unreadable field counts for nothing",
                &[("cdn-cache-control", "max-age=;"), ("cache-control", "max-age=60")],
                60,
            ),
            (
                "§2.1 not even its no-store",
                &[("cdn-cache-control", "no-store, @"), ("cache-control", "max-age=60")],
                60,
            ),
            (
                "§3.1 a field with no known directive",
                &[("cdn-cache-control", "none"), ("cache-control", "no-store"), ("last-modified", &earlier)],
                100,
            ),
            (
                "§2.1 an age that is no integer is not taken",
                &[("cdn-cache-control", "max-age=60.5"), ("cache-control", "max-age=60")],
                0,
            ),
            (
                "§2.1 upper case is no key of a dictionary",
                &[("cdn-cache-control", "MAX-AGE=10"), ("cache-control", "max-age=60")],
                60,
            ),
            ("§2.2 without it, Cache-Control", &[("cache-control", "max-age=60")], 60),
            (
                "§2.2 fields of other lists count for nothing",
                &[("x-cache-control", "max-age=60"), ("cache-control", "max-age=10")],
                10,
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_first_field_of_the_operators_list_that_is_there_counts() {
    let rig = Rig::with(&["--targeted", "My-Cache-Control,CDN-Cache-Control"]).await;
    assert_lifetimes(
        &rig,
        &[
            (
                "§2.2 the first",
                &[("cdn-cache-control", "max-age=10"), ("my-cache-control", "max-age=60")],
                60,
            ),
            ("§2.2 the second", &[("cdn-cache-control", "max-age=10"), ("cache-control", "max-age=60")], 10),
            (
                "§2.1 the second, for the first is empty",
                &[("my-cache-control", ""), ("cdn-cache-control", "max-age=10")],
                10,
            ),
            (
                "§2.1 the second, for the first cannot be read",
                &[("my-cache-control", "\""), ("cdn-cache-control", "max-age=10")],
                10,
            ),
        ],
    )
    .await;
}

// §2.1: the field stays in the response, for the caches that come after.
#[tokio::test]
async fn a_targeted_field_is_handed_on() {
    let rig = Rig::new().await;
    rig.script("/a", [ok(&[("cdn-cache-control", "max-age=60"), ("cache-control", "max-age=60")])]);
    for _ in 0..2 {
        assert_eq!(rig.get("/a").await.field("cdn-cache-control"), "max-age=60");
    }
}
