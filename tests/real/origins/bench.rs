//! A server under test: what was asked, what it cost, and where the layer was worse.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    ops::Range,
};

use bytes::Bytes;
use http::{
    Method,
    header::{ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, ETAG, LAST_MODIFIED},
};
use tower_video_cache::{Fill, MokaStore, VideoCacheLayer};

use crate::{
    origins::{
        asking::{Answer, Ask, Cost, Origin},
        known::Known,
        site::{EMPTY, FILM, PLAYLIST, Site, film, playlist},
        verdict::{Case, Verdict, Want},
    },
    servers::soon,
};

pub(crate) struct Bench {
    pub(crate) site: Site,
    pub(crate) origin: Origin,
    version: u8,
    /// The direct answers to the version at hand.
    direct: HashMap<Ask, Result<Answer, String>>,
    /// The verdicts, by mode and scene.
    worse: BTreeMap<String, String>,
    costs: BTreeMap<String, Cost>,
}

/// The layer in one mode, and where its store stands.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) mode: &'static str,
    pub(crate) scene: &'static str,
    pub(crate) layer: VideoCacheLayer,
}

impl Stage {
    /// An empty store.
    pub(crate) fn new(mode: &'static str, scene: &'static str) -> Self {
        let fill = match mode {
            "auto" => Fill::auto(),
            "whole" => Fill::whole(),
            "progressive" => Fill::progressive(),
            _ => Fill::sliced(),
        };
        Self { mode, scene, layer: VideoCacheLayer::new(MokaStore::new(64 << 20).unwrap()).fill(fill) }
    }
}

impl Bench {
    pub(crate) fn new(site: Site, origin: Origin) -> Self {
        Self {
            site,
            origin,
            version: 0,
            direct: HashMap::new(),
            worse: BTreeMap::new(),
            costs: BTreeMap::new(),
        }
    }

    /// Changes the film, and waits until the server gives the new one.
    pub(crate) async fn change(&mut self, version: u8) {
        self.site.change(version);
        let (origin, film) = (&self.origin, film(version));
        soon("the server gives the new film", || async {
            (origin.direct(&Ask::get(FILM)).await.ok()?.body == film).then_some(())
        })
        .await;
        self.version = version;
        self.direct.clear();
    }

    /// The direct answer, which each version gives once.
    pub(crate) async fn direct(&mut self, ask: &Ask) -> Answer {
        self.answer(ask).await.unwrap_or_else(|error| panic!("{ask:?}: {error}"))
    }

    async fn answer(&mut self, ask: &Ask) -> Result<Answer, String> {
        if let Some(answer) = self.direct.get(ask) {
            return answer.clone();
        }
        let answer = self.origin.direct(ask).await;
        self.direct.insert(ask.clone(), answer.clone());
        answer
    }

    /// Asks through a layer, and judges the answer. The answer may cost one call more than direct, and in the default
    /// mode few bytes more.
    pub(crate) async fn first(&mut self, stage: &Stage, name: &str, ask: Ask, want: Want) -> Option<Answer> {
        self.ask(stage, name, ask, want, 2).await
    }

    /// As [`first`](Self::first), with no call more than direct.
    pub(crate) async fn then(&mut self, stage: &Stage, name: &str, ask: Ask, want: Want) -> Option<Answer> {
        self.ask(stage, name, ask, want, 1).await
    }

    /// As [`first`](Self::first), where the part may also be the one of the film before: a stored part is fresh for a
    /// while. No part is of both.
    pub(crate) async fn first_of_either(&mut self, stage: &Stage, name: &str, ask: Ask, part: Range<usize>) {
        let (before, name) = (film(self.version - 1), format!("{}: {}, {name}", stage.mode, stage.scene));
        let (ours, cost) = self.origin.through(&stage.layer, &ask).await;
        let is_of = |film: &Bytes, answer: &Answer| {
            let part = part.start..part.end.min(film.len());
            let said = format!("bytes {}-{}/{}", part.start, part.end - 1, film.len());
            answer.body == film.slice(part) && answer.field("content-range") == Some(said)
        };
        let worse = match ours {
            Ok(answer) if is_of(&film(self.version), &answer) || is_of(&before, &answer) => None,
            Ok(answer) => Some(format!("a part of neither film: {}", head(&answer))),
            Err(error) => Some(error),
        };
        let worse = worse.or_else(|| (cost.calls > 2).then(|| format!("{cost:?}")));
        let calls = self.calls();
        self.worse.extend(worse.map(|worse| (name, worse + &calls)));
    }

    /// The calls for the last answer, each in a line.
    fn calls(&self) -> String {
        self.origin.calls().into_iter().fold(String::new(), |calls, call| calls + "\n    call: " + &call)
    }

    pub(crate) fn version(&self) -> u8 {
        self.version
    }

    /// The cost of an answer in the default mode.
    pub(crate) fn cost(&self, scene: &str) -> Cost {
        self.costs[scene]
    }

    /// Fails if an answer was worse that is not known to be, and if one is known to be that was not.
    pub(crate) fn is_no_worse(&self, known: &[Known]) {
        let mut report = String::new();
        let known = || known.iter().flat_map(|(names, why)| names.iter().map(move |name| (*name, *why)));
        for (name, reason) in &self.worse {
            if !known().any(|(known, _)| is_in(name, known)) {
                let _ = writeln!(report, "{name}: {reason}\n");
            }
        }
        for (known, why) in known() {
            if !known.starts_with(SOMETIMES) && !self.worse.keys().any(|name| is_in(name, known)) {
                let _ = writeln!(report, "no longer worse: {known}\n  known because {why}");
            }
        }
        assert!(report.is_empty(), "\n{report}");
    }

    async fn ask(&mut self, stage: &Stage, name: &str, ask: Ask, want: Want, most: u64) -> Option<Answer> {
        let name = format!("{}: {}, {name}", stage.mode, stage.scene);
        let direct = self.answer(&ask).await;
        let mut plain = ask.clone();
        plain.method = Method::GET;
        plain.fields.retain(|(name, _)| *name == ACCEPT_ENCODING);
        let plain = self.direct(&plain).await;
        let (ours, cost) = self.origin.through(&stage.layer, &ask).await;
        let file = match ask.path {
            FILM => film(self.version),
            PLAYLIST => playlist(),
            EMPTY => Bytes::new(),
            _ => plain.body.clone(),
        };
        // The parts of a coded file are parts of its coding.
        let is_coded = plain.fields.contains_key(CONTENT_ENCODING) && !matches!(want, Want::Coded);
        let case = Case {
            ask: &ask,
            file: if is_coded { &plain.body } else { &file },
            want: &want,
            direct: &direct,
            plain: &plain,
            takes_sets_for_the_whole: matches!(want, Want::Parts(_))
                && (stage.mode == "progressive" || !binds(&plain)),
        };
        let verdict = match &ours {
            Ok(ours) => case.judge(ours),
            Err(_) if direct.is_err() => Ok(Verdict::AsDirect),
            Err(error) => Err(error.clone()),
        };
        if stage.mode == "auto" {
            self.costs.insert(format!("{}, {}", stage.scene, name.rsplit(", ").next().unwrap()), cost);
        }
        let is_as_direct =
            stage.mode == "auto" && matches!(verdict, Ok(Verdict::AsDirect)) && offers_parts(&plain);
        let most_bytes =
            direct.as_ref().ok().filter(|_| is_as_direct).map(|direct| direct.body.len() + MORE_BYTES);
        let worse = match verdict {
            Ok(_) if cost.calls > most => format!("{} calls", cost.calls),
            Ok(_) if most_bytes.is_some_and(|most| cost.bytes > most.try_into().unwrap()) => {
                format!("{} bytes", cost.bytes)
            }
            Ok(_) => return ours.ok(),
            Err(reason) => reason,
        };
        let mut said = format!("{worse}\n  asked: {} {} {:?}\n", ask.method, ask.path, ask.fields);
        let _ = writeln!(said, "  direct: {}", direct.as_ref().map_or_else(Clone::clone, head));
        let _ = write!(said, "  ours, with {cost:?}: {}", ours.as_ref().map_or_else(Clone::clone, head));
        said += &self.calls();
        self.worse.insert(name, said);
        ours.ok()
    }
}

/// Whether parts of the file can be bound to each other.
fn binds(plain: &Answer) -> bool {
    plain.field(ETAG).map_or_else(|| plain.field(LAST_MODIFIED).is_some(), |tag| tag.starts_with('"'))
}

/// Whether the cache can know that it gets parts, before it asks for one.
fn offers_parts(plain: &Answer) -> bool {
    binds(plain) && plain.field(ACCEPT_RANGES).is_some_and(|unit| unit == "bytes")
}

/// Whether a known name is the start of this one. In a known name, `*` stands for all modes, and `sometimes` for a race.
fn is_in(name: &str, known: &str) -> bool {
    let known = known.trim_start_matches(SOMETIMES);
    match known.strip_prefix("*: ") {
        Some(known) => name.split_once(": ").is_some_and(|(_, name)| name.starts_with(known)),
        None => name.starts_with(known),
    }
}

fn head(answer: &Answer) -> String {
    let fields = answer.fields.iter().map(|(name, value)| format!("{name}: {value:?}"));
    let fields: Vec<_> = fields.collect();
    format!("{} [{}] {} bytes", answer.status, fields.join(", "), answer.body.len())
}

const SOMETIMES: &str = "sometimes ";

/// The bytes by which an answer in the default mode may cost more than direct, where parts can be had: the pieces that
/// the range cuts, and those on their way when the client leaves.
const MORE_BYTES: usize = 256 << 10;
