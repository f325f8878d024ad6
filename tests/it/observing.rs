//! An observer hears of each event, once and in order.

use std::sync::{Arc, Mutex};

use http::Method;
use tower_video_cache::{Event, Fault, Fill, Operation, Timeouts};

use crate::rig::{Gate, PATH, Rig, Script, Step, movie, parted::parted, parted::truth, seconds};

/// All events, each written in a few words.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn of(rig: Rig) -> (Self, Rig) {
        let heard = Self::default();
        let rig = rig.layer(|layer| {
            let heard = heard.clone();
            layer.observer(move |event: &Event<'_>| heard.0.lock().unwrap().extend(written(event)))
        });
        (heard, rig)
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Those that do not begin so.
    fn but(&self, left_out: &str) -> Vec<String> {
        self.take().into_iter().filter(|event| !event.starts_with(left_out)).collect()
    }
}

fn written(event: &Event<'_>) -> Option<String> {
    let key = |key: &[u8]| key.escape_ascii().to_string();
    Some(match event {
        Event::Answered { method, uri, status, outcome, detail, .. } => {
            let status = status.map_or("none", |status| if status.is_success() { "well" } else { "ill" });
            format!("answered {method} {uri} {status} {outcome} {}", detail.unwrap_or("-"))
        }
        Event::BodyEnded { uri, outcome, from_store, from_inner, end, .. } => {
            format!("body {uri} {outcome} {from_store}+{from_inner} {end}")
        }
        Event::InnerCalled { reason, .. } => format!("inner {reason}"),
        Event::FillBegan { key: began, .. } => format!("fill begun {}", key(began)),
        Event::FillEnded { key: ended, end, .. } => format!("fill {end} {}", key(ended)),
        Event::StoreCalled { operation, has_failed, .. } => {
            format!("store {operation} {}", if *has_failed { "ill" } else { "well" })
        }
        Event::StoreLeftAlone { operation, .. } => format!("left alone {operation}"),
        Event::StoreBack { operation, .. } => format!("back {operation}"),
        Event::ChunkDamaged => "damaged".to_owned(),
        Event::ChunkLost => "lost".to_owned(),
        Event::ChunksHealed { chunks, .. } => format!("healed {chunks}"),
        Event::Invalidated { key: invalidated, .. } => format!("invalidated {}", key(invalidated)),
        _ => return None,
    })
}

#[tokio::test]
async fn an_observer_hears_of_a_miss_a_hit_and_an_invalidation() {
    let (heard, rig) = Heard::of(Rig::new().movie(PATH, 2500));
    rig.get(PATH).send().await.whole(&movie(PATH, 2500));
    rig.get(PATH).range("bytes=0-99").send().await.partial(&movie(PATH, 2500), 0..100);
    rig.head(PATH).send().await;
    rig.ask(Method::DELETE, PATH).send().await;
    let key = heard.take();
    let key = key.iter().find_map(|event| event.strip_prefix("fill begun ")).unwrap().to_owned();
    // Again, without the calls of the store.
    rig.get(PATH).send().await;
    rig.get(PATH).range("bytes=0-99").send().await;
    rig.head(PATH).send().await;
    rig.ask(Method::DELETE, PATH).send().await;
    let expected = [
        format!("fill begun {key}"),
        "inner fill".to_owned(),
        format!("fill stored {key}"),
        format!("answered GET {PATH} well uri-miss -"),
        format!("body {PATH} uri-miss 2500+0 whole"),
        format!("answered GET {PATH} well hit -"),
        format!("body {PATH} hit 100+0 whole"),
        format!("answered HEAD {PATH} well hit -"),
        "inner pass".to_owned(),
        format!("invalidated {key}"),
    ];
    let heard = heard.but("store");
    assert_eq!(heard[..expected.len()], expected);
    assert!(heard[expected.len()].starts_with(&format!("answered DELETE {PATH}")), "{heard:?}");
}

#[tokio::test]
async fn an_observer_hears_how_a_body_ended_and_by_whose_bytes() {
    let gate = Gate::shut();
    let broken = Script::movie("/broken.mp4", 9500).step(5, Step::Wait(gate.clone())).cut(8);
    let private = Script::movie("/private.mp4", 900).header("cache-control", "private");
    let rig = Rig::new().fill(Fill::progressive()).movie(PATH, 2500);
    let (heard, rig) = Heard::of(rig.script("/broken.mp4", broken).script("/private.mp4", private));
    let reading = rig.get("/broken.mp4").reading().await;
    gate.open();
    let got = reading.rest().await.bytes.len();
    let events = heard.take();
    assert!(events.contains(&format!("body /broken.mp4 uri-miss {got}+0 broken")), "{events:?}");

    rig.get("/private.mp4").send().await;
    let events = heard.take();
    assert!(events.contains(&"answered GET /private.mp4 well uri-miss private".to_owned()), "{events:?}");
    assert!(events.contains(&"body /private.mp4 uri-miss 0+900 whole".to_owned()), "{events:?}");

    rig.get(PATH).send().await;
    let mut reading = rig.get(PATH).reading().await;
    let got = reading.next().await.unwrap().unwrap().len();
    drop(reading);
    let events = heard.take();
    assert_eq!(events.last(), Some(&format!("body {PATH} hit {got}+0 left")), "{events:?}");
}

#[tokio::test]
async fn an_observer_hears_of_a_failure_of_the_inner_service() {
    let (heard, rig) = Heard::of(Rig::new().script(PATH, Script::absent().fails()));
    assert!(rig.get(PATH).response().await.is_err());
    assert_eq!(heard.take().last(), Some(&format!("answered GET {PATH} none error -")));
}

#[tokio::test]
async fn an_observer_hears_of_lost_and_damaged_chunks() {
    let rig = Rig::new().fill(Fill::whole()).script(PATH, parted());
    let (heard, rig) = Heard::of(rig);
    rig.get(PATH).send().await.whole(&truth());
    let gets = rig.store.calls(Operation::Get);
    rig.store.spoil(Operation::Get, gets + 3, Fault::Lost);
    rig.get(PATH).send().await.whole(&truth());
    heard.take();
    rig.get(PATH).send().await.whole(&truth());
    let count = |events: &[String], event: &str| events.iter().filter(|heard| *heard == event).count();
    let events = heard.take();
    assert_eq!(["lost", "inner heal", "healed 1"].map(|event| count(&events, event)), [1; 3], "{events:?}");

    rig.ask(Method::DELETE, PATH).send().await;
    let puts = rig.store.calls(Operation::Put);
    rig.store.spoil(Operation::Put, puts + 3, Fault::Corrupt);
    heard.take();
    rig.get(PATH).send().await.whole(&truth());
    let events = heard.take();
    assert!(count(&events, "damaged") > 0, "{events:?}");
    assert_eq!(["inner heal", "healed 1"].map(|event| count(&events, event)), [1; 2], "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_when_the_store_is_left_alone_and_when_it_is_back() {
    let rig = Rig::new().movie(PATH, 2500);
    let (heard, rig) = Heard::of(rig.layer(|layer| layer.timeouts(Timeouts::default().store(seconds(1)))));
    rig.store.spoil_from(Operation::Get, 1, Fault::Hang);
    for _ in 0..4 {
        rig.get(PATH).send().await;
    }
    let events = heard.take();
    assert_eq!(events.iter().filter(|event| *event == "left alone get").count(), 1, "{events:?}");
    assert!(rig.layer.handle().stats().store_is_left_alone);
    rig.store.heal();
    tokio::time::advance(seconds(600)).await;
    rig.get(PATH).send().await;
    let events = heard.take();
    assert!(events.contains(&"back get".to_owned()), "{events:?}");
    assert!(!rig.layer.handle().stats().store_is_left_alone);
}

#[tokio::test]
async fn a_panic_of_an_observer_reaches_no_client() {
    let (heard, rig) = Heard::of(
        Rig::new().movie(PATH, 2500).layer(|layer| layer.observer(|_: &Event<'_>| panic!("the observer"))),
    );
    rig.get(PATH).send().await.whole(&movie(PATH, 2500));
    rig.get(PATH).send().await.is_hit();
    assert!(heard.take().contains(&format!("body {PATH} hit 2500+0 whole")), "the second one hears on");
}
