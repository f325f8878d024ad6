//! Compares two readings of the same fields: this crate's, and that of `http-cache-semantics`, as a shared cache.
//!
//! RFC 9111 §3 (storing), §4.2 (freshness), §5.2.1 (request directives). [`KNOWN`] gives a reason for each difference.

mod cases;
mod known;

use std::{cell::Cell, time::Duration};

use http::{Request, Response, StatusCode};
use http_cache_semantics::{CacheOptions, CachePolicy};
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

use self::{
    cases::{Case, cases, received},
    known::{KNOWN, Known},
};
use crate::{
    policy::Policy,
    semantics::{
        cache_control::RequestDirectives,
        cache_status::Refusal,
        freshness::{Exchange, Freshness},
        storable::storable,
        vary::{Vary, selecting_value},
    },
};

/// The verdict of one implementation on a case.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    stored: bool,
    lifetime: u64,
    age: u64,
    fresh: bool,
    /// The presented request gets the response without waiting for a validation.
    reused: bool,
}

/// An aspect in which two verdicts can differ. A known difference in lifetime or age lists the aspects that follow from
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aspect {
    Stored,
    Lifetime,
    Age,
    Fresh,
    Reused,
}

#[derive(Debug)]
struct Compared {
    case: Case,
    ours: Verdict,
    theirs: Verdict,
    refusal: Option<Refusal>,
}

impl Compared {
    fn new(case: Case) -> Self {
        let (ours, refusal) = ours(&case);
        Self { theirs: theirs(&case), case, ours, refusal }
    }

    fn differing(&self) -> Vec<Aspect> {
        let (ours, theirs) = (&self.ours, &self.theirs);
        let mut aspects = vec![(Aspect::Stored, ours.stored != theirs.stored)];
        // The other implementation calls a response never fresh if it does not store it.
        if theirs.stored && matches!(self.refusal, None | Some(Refusal::NeverFresh | Refusal::NoCache)) {
            aspects.extend([
                (Aspect::Lifetime, ours.lifetime != theirs.lifetime),
                (Aspect::Age, ours.age != theirs.age),
                (Aspect::Fresh, ours.fresh != theirs.fresh),
                (Aspect::Reused, ours.reused != theirs.reused),
            ]);
        }
        aspects.into_iter().filter(|(_, differs)| *differs).map(|(aspect, _)| aspect).collect()
    }

    /// The known differences that explain this aspect.
    fn explained(&self, aspect: Aspect) -> impl Iterator<Item = &'static Known> + '_ {
        let known = KNOWN.iter();
        known.filter(move |known| known.touches.contains(&aspect) && (known.applies)(self))
    }
}

fn ours(case: &Case) -> (Verdict, Option<Refusal>) {
    // The settings of the other implementation, and no more: a tenth of the time unmodified, any status and media,
    // cookies.
    let policy = Policy::default()
        .statuses(crate::policy::Statuses::Any)
        .default_ttl(Duration::ZERO)
        .heuristics(10, Duration::MAX)
        .media_types(["*/*"])
        .store_set_cookie(true)
        .stale_on_request(Duration::MAX);
    let (asked, answer, presented) = (case.asked.headers(), case.answer.headers(), case.presented.headers());
    let status = StatusCode::from_u16(case.status).unwrap();
    let requested = received() - Duration::from_secs(case.delay);
    let exchange = Exchange {
        requested,
        received: received(),
        with_cookie: false,
        purges: crate::semantics::purge::Position::default(),
    };

    let refusal =
        storable(&asked, &crate::semantics::place::Place::at("/"), status, &answer, None, exchange, &policy)
            .err();
    let stored = refusal.is_none() && !RequestDirectives::of(&asked).no_store;
    let freshness = Freshness::of(status, &answer, exchange, &policy);
    let lifetime = freshness.ttl(received()) + i64::try_from(freshness.age(received()).as_secs()).unwrap();
    let selected = match Vary::of(&answer) {
        Vary::Nothing => true,
        Vary::Anything => false,
        Vary::Fields(names) => {
            names.iter().all(|name| selecting_value(&asked, name) == selecting_value(&presented, name))
        }
    };
    let reuse = freshness.reuse(&RequestDirectives::of(&presented), case.now());
    let verdict = Verdict {
        stored,
        lifetime: u64::try_from(lifetime).unwrap(),
        age: freshness.age(case.now()).as_secs(),
        fresh: freshness.is_fresh(case.now()),
        reused: selected && reuse.is_usable(),
    };
    (verdict, refusal)
}

fn theirs(case: &Case) -> Verdict {
    let options = CacheOptions {
        shared: true,
        cache_heuristic: 0.1,
        immutable_min_time_to_live: Duration::ZERO,
        ignore_cargo_cult: false,
    };
    let request = |headers| {
        let mut request = Request::new(());
        *request.headers_mut() = headers;
        request
    };
    let asked = request(case.asked.headers());
    let mut answer = Response::builder().status(case.status).body(()).unwrap();
    *answer.headers_mut() = case.answer.headers();
    let policy = CachePolicy::new_options(&asked, &answer, received(), options);
    // The other implementation tells a lifetime only less the age.
    answer.headers_mut().remove("age");
    let newborn = CachePolicy::new_options(&asked, &answer, received(), options);
    let before = policy.before_request(&request(case.presented.headers()), case.now());
    Verdict {
        stored: policy.is_storable(),
        lifetime: newborn.time_to_live(received()).as_secs(),
        age: policy.age(case.now()).as_secs(),
        fresh: !policy.is_stale(case.now()),
        reused: before.satisfies_without_revalidation(),
    }
}

#[test]
fn another_implementation_agrees_except_for_known_differences() {
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let seeded = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let [alike, stored, reused, validated] = [const { Cell::new(0) }; 4];
    let count = |of: &Cell<u32>, happened| of.set(of.get() + u32::from(happened));
    let outcome = TestRunner::new_with_rng(config, seeded).run(&cases(), |case| {
        let compared = Compared::new(case);
        let differing = compared.differing();
        for aspect in &differing {
            prop_assert!(compared.explained(*aspect).next().is_some(), "{aspect:?} differs: {compared:?}");
        }
        let both = |of: fn(&Verdict) -> bool| of(&compared.ours) && of(&compared.theirs);
        count(&alike, differing.is_empty());
        count(&stored, differing.is_empty() && both(|verdict| verdict.stored));
        count(&reused, differing.is_empty() && both(|verdict| verdict.stored && verdict.reused));
        count(&validated, differing.is_empty() && both(|verdict| verdict.stored && !verdict.reused));
        Ok(())
    });
    outcome.unwrap_or_else(|difference| panic!("{difference}"));
    // Otherwise they might agree only on cases of no interest.
    for (share, of) in [(2, alike), (5, stored), (20, reused), (10, validated)] {
        assert!(of.get() > CASES / share, "{} of {CASES}, and not 1 in {share}", of.get());
    }
}

#[test]
fn each_known_difference_exists_and_explains_itself_alone() {
    for known in KNOWN {
        let compared = Compared::new((known.example)());
        let differing = compared.differing();
        assert!(!differing.is_empty(), "no difference: {}: {compared:?}", known.rule);
        for aspect in differing {
            let rules: Vec<_> = compared.explained(aspect).map(|known| known.rule).collect();
            assert_eq!(rules, [known.rule], "{aspect:?} must have this explanation alone: {compared:?}");
        }
    }
}

const CASES: u32 = 4_000;
