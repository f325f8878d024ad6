//! The world of a run: paths with all their versions, and the events that change them.

use std::num::NonZeroUsize;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use http::Method;
use tokio::time::{Instant, timeout};
use tower_video_cache::{Abandon, ChunkSize, Fill, Limits, Policy, Retry, Timeouts, VideoCacheLayer};

use super::{
    dice::Dice,
    shelf::{Shelf, Trouble},
};
use crate::{
    rig::{Answer, CHUNK, Reading, Rig, Script, seconds},
    truth::{Heard, Kind, Question, Verdict, Version, judge},
};

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weather {
    /// No call fails, but representations change, and clients leave.
    Calm,
    /// The store loses values, and has little room.
    Lossy,
    /// The store fails in every way, and so does the inner service.
    Stormy,
}

pub(super) struct World {
    pub(super) places: Vec<Place>,
    pub(super) weather: Weather,
    rig: Rig,
    shelf: Shelf,
    /// Whether the store may fail to remove. If so, an invalidated response may come back.
    fails_to_remove: bool,
    /// Whether an operator changes the settings while the clients are active.
    is_steered: bool,
    began: Instant,
}

/// A path and its history.
pub(super) struct Place {
    path: String,
    kind: Kind,
    story: Mutex<Story>,
}

#[derive(Default)]
struct Story {
    versions: Vec<Version>,
    /// The oldest version that no unsafe request has invalidated.
    floor: u32,
    /// Whether there was another version, or an unsafe request. Older stored bytes are not completed after that.
    is_disturbed: bool,
    /// Whether a body may have stalled. A client that gets that body directly waits for ever.
    stalls: bool,
    /// The latest events at this place.
    events: VecDeque<String>,
}

impl World {
    /// `fill` stays for the whole run, unless an operator chooses it anew.
    pub(super) fn new(fill: Option<Fill>, weather: Weather, dice: &mut Dice) -> Self {
        let room = if weather == Weather::Calm { 5000 } else { dice.within(60..200) };
        let fails_to_remove = weather == Weather::Stormy && dice.percent(40);
        let shelf =
            Shelf::new(dice.fork(), usize::try_from(room).unwrap(), dice.percent(50), dice.percent(70));
        let mut rig = Rig::new();
        rig.layer =
            VideoCacheLayer::new(shelf.clone())
                .chunk_size(ChunkSize::new(CHUNK).unwrap())
                .patience(Duration::MAX)
                .clock(rig.clock.clone())
                .fill(settings_of(fill.unwrap_or_else(|| *dice.one_of(&FILLS)), dice))
                .abandon(*dice.one_of(&ABANDONS))
                // A body whose refill finds no place among the fills breaks.
                .limits(Limits::default().max_fills(at_least_one(
                    *dice.one_of(if weather == Weather::Calm { &[256] } else { &[3, 256, 256] }),
                )))
                .retry(Retry::default().attempts(*dice.one_of(&[0, 1, 3])))
                .timeouts(
                    Timeouts::default()
                        .follower(seconds(*dice.one_of(&[1, 30])))
                        .store(Duration::from_millis(*dice.one_of(&[100, 2000]))),
                );
        let places = (0..12).map(|index| {
            let kind = *dice.one_of(if index < 4 { &[Kind::Tagged, Kind::Dated] } else { &Kind::ALL });
            Place::new(format!("/{index}.mp4"), kind)
        });
        let places = places.collect();
        let is_steered = fill.is_none();
        let world = Self { places, weather, rig, shelf, fails_to_remove, is_steered, began: Instant::now() };
        for place in &world.places {
            world.change(place, dice);
        }
        world
    }

    /// Makes one change to the world that no client asked for.
    pub(super) fn turn(&self, dice: &mut Dice) {
        if self.is_steered && dice.percent(30) {
            return self.steer(dice);
        }
        match dice.below(5) {
            0 => self.change(dice.one_of(&self.places), dice),
            1 => self.rig.clock.advance(seconds(dice.below(60))),
            2 if self.weather >= Weather::Lossy => self.shelf.lose(dice.within(1..8)),
            3 if self.weather >= Weather::Stormy => self.shelf.trouble(Trouble {
                gets: *dice.one_of(&[0, 2, 20, 100]),
                puts: *dice.one_of(&[0, 2, 20, 100]),
                removes: if self.fails_to_remove { 50 } else { 0 },
            }),
            _ => self.shelf.trouble(Trouble::default()),
        }
    }

    /// Gives the running cache other settings.
    fn steer(&self, dice: &mut Dice) {
        let layer = self.rig.layer.clone();
        let policy = Policy::default().default_ttl(seconds(*dice.one_of(&[30, 300])));
        let other = layer
            .policy(policy)
            .fill(settings_of(*dice.one_of(&FILLS), dice))
            .abandon(*dice.one_of(&ABANDONS))
            .retry(Retry::default().attempts(*dice.one_of(&[0, 1, 3])));
        other.apply_to(&self.rig.layer.handle()).unwrap();
    }

    /// Ends all trouble.
    pub(super) fn clear_up(&self) {
        self.shelf.trouble(Trouble::default());
        self.shelf.make_room();
        for place in &self.places {
            let script = place.story().versions.last().unwrap().script();
            self.rig.inner.answer(&place.path, script);
        }
    }

    /// Asks for the place and judges the answer. The client may be slow, and may leave at any moment.
    pub(super) async fn ask(
        &self,
        place: &Place,
        question: &Question,
        dice: &mut Dice,
    ) -> Result<Sight, String> {
        let floor = if self.fails_to_remove { 0 } else { place.story().floor };
        let (heard, left) = self.hear(question, dice).await;
        let mut story = place.story();
        let stalls = story.stalls;
        let why = |why: String| format!("{why}\n{question:?}\nnot before version {floor}\n{heard:#?}");
        if !left && !stalls && matches!(heard, Heard::Nothing | Heard::Start(_)) {
            return Err(why("it hangs".into()));
        }
        story.recall(&heard).map_err(why)?;
        let lawful: Vec<_> =
            story.versions.iter().filter(|version| version.number >= floor).cloned().collect();
        let verdict = judge(question, &heard, &lawful).map_err(why)?;
        let is_disturbed = story.is_disturbed;
        drop(story);
        let sight = Sight::new(verdict, left || stalls, &heard);
        self.note(place, &format!("{:?} {:?}: {sight:?}", question.method, question.fields));
        let may_fail = left || self.weather == Weather::Stormy;
        let may_break = may_fail || self.weather == Weather::Lossy || is_disturbed;
        match verdict {
            Verdict::Failed if !may_fail => {
                Err(why("the inner service was well, and this is an error".into()))
            }
            Verdict::Broken(_) if !may_break => Err(why("nothing changed, and the body breaks".into())),
            _ => Ok(sight),
        }
    }

    /// Sends an unsafe request, which makes the stored response untrue.
    pub(super) async fn ask_unsafely(&self, place: &Place, dice: &mut Dice) {
        if dice.percent(70) {
            self.change(place, dice);
        }
        let newest = {
            let mut story = place.story();
            story.is_disturbed = true;
            story.versions.last().unwrap().number
        };
        let method = dice.one_of(&[Method::PUT, Method::POST, Method::DELETE]).clone();
        self.note(place, &format!("{method} begins"));
        let response = Question::new(method, &place.path).of(&self.rig).response().await;
        if response.is_ok_and(|response| response.status().is_success()) {
            let mut story = place.story();
            story.floor = story.floor.max(newest);
            drop(story);
            self.note(place, &format!("nothing before version {newest} is true any more"));
        }
    }

    /// Checks that a client gets all of it, now that there is no more trouble. The second request must succeed,
    /// because the first may still be the one that finds a value lost for good.
    pub(super) async fn is_well(&self, place: &Place) -> Result<(), String> {
        let question = Question::new(Method::GET, &place.path);
        let first = question.put_to(&self.rig, PATIENCE).await;
        let second = question.put_to(&self.rig, PATIENCE).await;
        let story = place.story();
        judge(&question, &first, &story.versions).map_err(|why| format!("{why}: {first:#?}"))?;
        match judge(&question, &second, &story.versions) {
            Ok(Verdict::True(_)) => Ok(()),
            Ok(_) => Err(format!("not well after all trouble: {second:#?}")),
            Err(why) => Err(format!("{why}: {second:#?}")),
        }
    }

    async fn hear(&self, question: &Question, dice: &mut Dice) -> (Heard, bool) {
        let (leaves_early, leaves_midway) = (dice.percent(5), dice.percent(10));
        let waits = if leaves_early { Duration::from_millis(dice.below(40)) } else { PATIENCE };
        let mut reading = match timeout(waits, question.of(&self.rig).response()).await {
            Ok(Ok(response)) => Reading::of(response),
            Ok(Err(refused)) => return (Heard::Refused(refused), false),
            Err(_) => return (Heard::Nothing, leaves_early),
        };
        let mut frames = if leaves_midway { dice.below(6) } else { u64::MAX };
        let pause = *dice.one_of(&[0, 0, 0, 1, 10, 100]);
        while frames > 0 {
            if pause > 0 {
                tokio::time::sleep(Duration::from_millis(dice.below(pause))).await;
            }
            match timeout(PATIENCE, reading.next()).await {
                Ok(Some(Ok(_))) => frames -= 1,
                Ok(Some(Err(error))) => return (Heard::All(reading.stop(Some(error))), false),
                Ok(None) => return (Heard::All(reading.stop(None)), false),
                Err(_) => return (Heard::Start(reading.stop(None)), false),
            }
        }
        (Heard::Start(reading.stop(None)), true)
    }

    /// Changes the representation at the place.
    fn change(&self, place: &Place, dice: &mut Dice) {
        let mut story = place.story();
        let number = u32::try_from(story.versions.len()).unwrap() + 1;
        let length = match (dice.below(10), story.versions.last()) {
            // The new version has the length of the old one, so the length does not tell them apart.
            (0..=5, Some(version)) => version.bytes.len(),
            (6, _) => *dice.one_of(&[0, 1, 999, 1000, 1001, 2000]),
            _ => usize::try_from(dice.below(14_000)).unwrap(),
        };
        let mut version = Version::new(&place.path, number, place.kind, length);
        // Two empty versions are the same.
        let same = story.versions.iter().filter(|other| other.bytes == version.bytes);
        version.made = same.flat_map(|other| other.made.clone()).collect();
        let scripts = self.scripts(&version, &mut story, dice);
        self.rig.inner.answer_each(&place.path, scripts);
        story.is_disturbed |= !story.versions.is_empty();
        story.versions.push(version);
        drop(story);
        self.note(place, &format!("version {number}, of {length} bytes"));
    }

    /// The scripts by which the inner service gives this version.
    fn scripts(&self, version: &Version, story: &mut Story, dice: &mut Dice) -> Vec<Script> {
        let millis = |dice: &mut Dice| Duration::from_millis(*dice.one_of(&[0, 0, 1, 5, 40]));
        let mut script = version.script().takes(millis(dice)).paced(millis(dice));
        if self.weather < Weather::Stormy {
            return vec![script];
        }
        let at = dice.below(version.bytes.len() as u64 + 1);
        let times = u32::try_from(dice.within(1..6)).unwrap();
        match dice.below(20) {
            0..=5 => script = script.dies_at(at).dies_times(times),
            6..=7 if version.kind.has_length() => script = script.ends_at(at).dies_times(times),
            8 => {
                script = script.stalls_at(at).dies_times(1);
                story.stalls = true;
            }
            9 => return vec![script.clone().fails(), script.clone(), script.clone().fails(), script],
            10 => return vec![Script::absent().status(503), script],
            _ => {}
        }
        vec![script]
    }

    fn note(&self, place: &Place, event: &str) {
        let mut story = place.story();
        if story.events.len() == 100 {
            story.events.pop_front();
        }
        let at = self.began.elapsed().as_secs_f64();
        story.events.push_back(format!("{at:9.4} {event}"));
    }
}

impl Place {
    fn new(path: String, kind: Kind) -> Self {
        Self { path, kind, story: Mutex::default() }
    }

    /// A random question that a client might ask about this place.
    pub(super) fn question(&self, dice: &mut Dice) -> Question {
        let story = self.story();
        let length = story.versions.last().unwrap().bytes.len() as u64;
        let method = if dice.percent(8) { Method::HEAD } else { Method::GET };
        let mut question = Question::new(method, &self.path);
        let mut closed = |most: u64| {
            let first = dice.below(length + 1);
            format!("{first}-{}", first + dice.below(most))
        };
        let several = [closed(900), closed(3000), closed(10)].join(", ");
        let (short, long) = (closed(1500), closed(length + 2000));
        let range = match dice.below(20) {
            0..=5 => String::new(),
            6..=8 => short,
            9..=10 => long,
            11..=13 => format!("{}-", dice.below(length + 1)),
            14..=15 => format!("-{}", dice.below(length + 300)),
            16..=17 => several,
            18 => format!("{}-", length + dice.below(2000)),
            _ => "9-5".to_owned(),
        };
        let version = dice.one_of(&story.versions);
        let tags = version.etag.iter().chain(&version.modified).chain(&version.made);
        let tags: Vec<_> = tags.cloned().collect();
        if !range.is_empty() {
            question = question.field("range", format!("bytes={range}"));
            if !tags.is_empty() && dice.percent(20) {
                question = question.field("if-range", dice.one_of(&tags).clone());
            }
        }
        if dice.percent(5) {
            question = question.field("cache-control", "no-cache");
        }
        match tags.first().filter(|tag| tag.contains('"') && dice.percent(5)) {
            Some(tag) => question.field("if-none-match", tag.clone()),
            None => question,
        }
    }

    /// The history of the place, for people to read.
    pub(super) fn tell(&self) -> String {
        let story = self.story();
        let events: Vec<_> = story.events.iter().cloned().collect();
        format!("{} is {:?}:\n  {}", self.path, self.kind, events.join("\n  "))
    }

    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap()
    }
}

impl Story {
    /// Remembers the tag that the cache made for a version without one. No two different versions may get the same
    /// tag.
    fn recall(&mut self, heard: &Heard) -> Result<(), String> {
        let (Heard::All(answer) | Heard::Start(answer)) = heard else { return Ok(()) };
        let (tag, number) = (answer.field("etag"), answer.field("x-version"));
        let bytes = self.versions.iter().find(|version| version.number.to_string() == number);
        let Some(bytes) = bytes.map(|version| version.bytes.clone()) else { return Ok(()) };
        for version in self.versions.iter_mut().filter(|version| version.etag.is_none() && !tag.is_empty()) {
            let is_known = version.made.iter().any(|made| made == tag);
            if is_known && version.bytes != bytes {
                return Err(format!("version {} had this tag", version.number));
            }
            if !is_known && version.bytes == bytes {
                version.made.push(tag.to_owned());
            }
        }
        Ok(())
    }
}

/// A client's result, for the record.
#[derive(Clone, Debug, Hash)]
pub(super) struct Sight {
    pub(super) is_true: bool,
    pub(super) is_hit: bool,
    /// Whether the client ended it.
    pub(super) left: bool,
    what: String,
}

impl Sight {
    fn new(verdict: Verdict, left: bool, heard: &Heard) -> Self {
        let (Heard::All(answer) | Heard::Start(answer)) = heard else {
            return Self { is_true: false, is_hit: false, left, what: format!("{heard:?}") };
        };
        let Answer { status, bytes, error, .. } = answer;
        let error = error.as_ref().map(ToString::to_string).unwrap_or_default();
        let (range, by) = (answer.field("content-range"), answer.cache_status());
        Self {
            is_true: matches!(verdict, Verdict::True(_)),
            is_hit: by.contains("; hit"),
            left,
            what: format!("{verdict:?} {status} {range} {} bytes {error} {by}", bytes.len()),
        }
    }
}

fn at_least_one(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

/// Longer than all limits of the layer together.
const PATIENCE: Duration = Duration::from_secs(400);

fn settings_of(fill: Fill, dice: &mut Dice) -> Fill {
    fill.read_ahead(*dice.one_of(&[0, 1000, 3500, 8 << 20]))
        .max_lead(*dice.one_of(&[1000, 3000, 32_000]))
        .max_calls(at_least_one(*dice.one_of(&[1, 3, 32])))
}

pub(super) const FILLS: [Fill; 4] = [Fill::auto(), Fill::whole(), Fill::progressive(), Fill::sliced()];

const ABANDONS: [Abandon; 5] = [
    Abandon::Finish,
    Abandon::Finish,
    Abandon::Stop,
    Abandon::FinishFromPercent(50),
    Abandon::FinishWithin(3000),
];
