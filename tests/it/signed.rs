//! Signed URLs: the requests that share a response to one, and for how long.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode};
use tower_video_cache::{Fill, TargetUri};

use crate::rig::{Ask, PATH, Rig, Script, movie, noon, seconds};

/// The day of all rigs.
const NOON: &str = "20261122T120000Z";

/// URLs of the video that hold for a minute from noon, as services sign them.
fn for_a_minute() -> [String; 4] {
    let end = noon() + seconds(60);
    let epoch = end.duration_since(UNIX_EPOCH).unwrap().as_secs();
    [
        format!("{PATH}?X-Amz-Date={NOON}&X-Amz-Expires=60&X-Amz-Signature=ab"),
        format!("{PATH}?AWSAccessKeyId=a&Signature=b&Expires={epoch}"),
        format!("{PATH}?X-Goog-Date={NOON}&X-Goog-Expires=60&X-Goog-Signature=ab"),
        format!("{PATH}?sv=2022-11-02&se=2026-11-22T12%3A01%3A00Z&sr=b&sp=r&sig=ab"),
    ]
}

fn fresh_for_an_hour() -> Script {
    Script::movie(PATH, 2500)
        .header("cache-control", "max-age=3600")
        .header("etag", "\"v1\"")
        .honours_ranges()
}

async fn is_hit(ask: Ask) -> bool {
    let answer = ask.send().await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.cache_status().contains("; hit")
}

#[tokio::test]
async fn an_expired_url_goes_to_the_inner_service_however_fresh_the_stored_response_is() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
        for unsigned in [false, true] {
            for url in for_a_minute() {
                let uri = if unsigned { TargetUri::new().without_signatures() } else { TargetUri::new() };
                let rig = Rig::new().fill(fill).layer(|layer| layer.key(uri.into_fn()));
                rig.inner.answer(PATH, fresh_for_an_hour());
                rig.get(&url).send().await.whole(&movie(PATH, 2500));
                rig.clock.advance(seconds(59));
                assert!(is_hit(rig.get(&url)).await, "{url}");
                rig.inner.answer(PATH, Script::absent().status(403));
                rig.clock.advance(seconds(1));
                for ask in [rig.get(&url), rig.get(&url).range("bytes=0-9"), rig.head(&url)] {
                    let refused = ask.send().await;
                    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{url}");
                    assert_eq!(refused.cache_status(), "tower-video-cache; fwd=bypass");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_response_is_fresh_no_longer_than_its_signed_url_holds() {
    let rig = Rig::new().layer(|layer| layer.key(TargetUri::new().without_signatures().into_fn()));
    rig.inner.answer(PATH, fresh_for_an_hour().honours_conditions());
    let [short, _, long, _] = for_a_minute();
    let long = long.replace("Expires=60", "Expires=7200");
    rig.get(&short).send().await.whole(&movie(PATH, 2500));
    let hit = rig.get(&long).send().await;
    assert_eq!(hit.is_hit().cache_status(), "tower-video-cache; hit; ttl=60");
    rig.clock.advance(seconds(60));
    // The signer may have withdrawn the video meanwhile. So the longer URL asks for itself, and then its own end
    // counts.
    let validated = rig.get(&long).send().await;
    assert_eq!(validated.cache_status(), "tower-video-cache; fwd=stale; fwd-status=304; ttl=3600");
    assert!(rig.inner.calls()[1].headers.contains_key("if-none-match"));
    assert!(is_hit(rig.get(&long)).await);
    rig.inner.was_called(2);
}

#[tokio::test]
async fn holders_of_a_url_share_if_the_signature_is_left_out_and_nobody_else_does() {
    let [v4, v2, google, azure] = for_a_minute();
    let other = |url: &str| url.replace("=ab", "=cd").replace("=b&", "=e&");
    for (unsigned, shares) in [(true, true), (false, false)] {
        let uri = if unsigned { TargetUri::new().without_signatures() } else { TargetUri::new() };
        for url in [&v4, &v2, &google, &azure] {
            let rig = Rig::new().layer(|layer| layer.key(uri.clone().into_fn()));
            rig.inner.answer(PATH, fresh_for_an_hour());
            assert!(!is_hit(rig.get(url)).await);
            assert_eq!(is_hit(rig.get(&other(url))).await, shares, "{url}");
            assert!(!is_hit(rig.get(&format!("{url}&response-content-type=x&rsct=x"))).await, "{url}");
            assert_eq!(is_hit(rig.get(PATH)).await, shares, "{url}");
        }
    }
}

#[tokio::test]
async fn an_application_may_set_its_own_end_of_a_url_or_none() {
    let until = |request: &http::request::Parts| -> Option<SystemTime> {
        let mut parameters = request.uri.query()?.split('&');
        let text = parameters.find_map(|parameter| parameter.strip_prefix("until="))?;
        Some(noon() + Duration::from_secs(text.parse().unwrap_or(0)))
    };
    let rig = Rig::new().layer(|layer| layer.expiry(until));
    rig.inner.answer(PATH, fresh_for_an_hour());
    for url in ["/a.mp4?until=60", "/a.mp4"] {
        assert!(!is_hit(rig.get(url)).await);
        assert!(is_hit(rig.get(url)).await);
    }
    assert!(!is_hit(rig.get("/a.mp4?until=soon")).await);
    assert!(!is_hit(rig.get("/a.mp4?until=soon")).await);
    rig.clock.advance(seconds(60));
    assert!(!is_hit(rig.get("/a.mp4?until=60")).await);
    assert!(is_hit(rig.get("/a.mp4")).await);

    let heedless = Rig::new().layer(|layer| layer.expiry(|_| None));
    heedless.inner.answer(PATH, fresh_for_an_hour());
    let [url, ..] = for_a_minute();
    assert!(!is_hit(heedless.get(&url)).await);
    heedless.clock.advance(seconds(600));
    assert!(is_hit(heedless.get(&url)).await);
}

#[tokio::test]
async fn an_unsafe_request_takes_out_the_stored_response_whether_its_url_holds_or_not() {
    let rig = Rig::new().layer(|layer| layer.key(TargetUri::new().without_signatures().into_fn()));
    rig.inner.answer(PATH, fresh_for_an_hour());
    let [ended, _, long, _] = for_a_minute();
    let long = long.replace("Expires=60", "Expires=7200");
    assert!(!is_hit(rig.get(&long)).await);
    rig.clock.advance(seconds(60));
    assert!(is_hit(rig.get(&long)).await);
    rig.ask(Method::DELETE, &ended).send().await;
    assert!(!is_hit(rig.get(&long)).await);
}

#[tokio::test]
async fn a_body_that_began_in_time_is_sent_to_its_end() {
    let rig = Rig::new();
    rig.inner.answer(PATH, fresh_for_an_hour());
    let [url, ..] = for_a_minute();
    rig.get(&url).send().await.whole(&movie(PATH, 2500));
    let mut reading = rig.get(&url).reading().await;
    assert!(reading.next().await.unwrap().is_ok());
    rig.clock.advance(seconds(600));
    reading.rest().await.whole(&movie(PATH, 2500)).is_hit();
}
