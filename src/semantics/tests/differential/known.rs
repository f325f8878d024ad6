//! The known differences of the two readings, each with the sentence that makes ours right, or allows both.
//!
//! The sections are of RFC 9111 unless another RFC is named.

use super::{
    Aspect::{self, Age, Fresh, Lifetime, Reused, Stored},
    Compared, Refusal,
    cases::Case,
};

/// A known difference, the aspects that it touches, and a case that only this difference explains.
pub(super) struct Known {
    pub(super) rule: &'static str,
    pub(super) touches: &'static [Aspect],
    pub(super) applies: fn(&Compared) -> bool,
    pub(super) example: fn() -> Case,
}

/// Differences in which our reading is right, or both are.
pub(super) const KNOWN: &[Known] = &[
    Known {
        rule: "§3: storing is never required, and a response of no use to later requests is not stored",
        touches: &[Stored],
        applies: |of| matches!(of.refusal, Some(Refusal::NeverFresh | Refusal::NoCache)) && of.theirs.stored,
        example: || {
            let mut case = Case::of(&["max-age=0"]);
            case.answer.fields.clear();
            case
        },
    },
    Known {
        rule: "§3: any final status may be stored, but with must-understand; theirs has a list",
        touches: &[Stored],
        applies: |of| of.ours.stored && !THEIRS.contains(&of.case.status) && of.case.answer.is_explicit(),
        example: || Case { status: 503, ..Case::of(&["max-age=60"]) },
    },
    Known {
        rule: "§4.1: Vary with * never matches, so there is no use in storing",
        touches: &[Stored],
        applies: |of| of.refusal == Some(Refusal::VaryAnything),
        example: || Case::of(&["max-age=60"]).field("vary", "*"),
    },
    Known {
        rule: "§5.2.2.3: no-store gives way to must-understand, if the status is understood",
        touches: &[Stored],
        applies: |of| {
            of.ours.stored && ["must-understand", "no-store"].iter().all(|name| of.case.answer.says(name))
        },
        example: || Case::of(&["max-age=60", "must-understand", "no-store"]),
    },
    Known {
        rule: "§5.2.2.7: private with field names is about these alone",
        touches: &[Stored],
        applies: |of| {
            of.ours.stored && of.case.answer.says("private") && !of.case.answer.says_unqualified("private")
        },
        example: || Case::of(&["max-age=60", "private=\"x-user\""]),
    },
    Known {
        rule: "§4.2.1: text after half a quote cannot be read, and gets its most restrictive meaning",
        touches: &[Stored, Lifetime, Fresh, Reused],
        applies: |of| {
            let answer = &of.case.answer;
            answer.has_half_a_quote()
                && (of.refusal == Some(Refusal::NoStore) || answer.says("must-understand"))
        },
        example: || Case::of(&["max-age=\"60"]),
    },
    Known {
        rule: "§5.2: names are case-insensitive (response)",
        touches: &[Stored, Lifetime, Fresh, Reused],
        applies: |of| of.case.answer.has_upper_case(),
        example: || Case::of(&["MAX-AGE=60"]),
    },
    Known {
        rule: "§5.2: names are case-insensitive (request)",
        touches: &[Stored],
        applies: |of| of.case.asked.has_upper_case() && !of.ours.stored,
        example: || Case::of(&["max-age=60"]).asked(&["No-Store"], &[]),
    },
    Known {
        rule: "§5.2: names are case-insensitive (later request)",
        touches: &[Reused],
        applies: |of| of.case.presented.has_upper_case(),
        example: || Case::of(&["max-age=60"]).presented(0, &["No-Cache"]),
    },
    Known {
        rule: "RFC 9110 §5.6.4: a comma in a quoted string separates nothing (response)",
        touches: &[Stored, Lifetime, Fresh, Reused],
        applies: |of| of.case.answer.has_quoted_comma(),
        example: || Case::of(&["max-age=60", "x=\"a, no-store, b\""]),
    },
    Known {
        rule: "RFC 9110 §5.6.4: a comma in a quoted string separates nothing (request)",
        touches: &[Stored],
        applies: |of| of.case.asked.has_quoted_comma() && of.ours.stored,
        example: || Case::of(&["max-age=60"]).asked(&["x=\"a, no-store, b\""], &[]),
    },
    Known {
        rule: "RFC 9110 §5.6.4: a comma in a quoted string separates nothing (later request)",
        touches: &[Reused],
        applies: |of| of.case.presented.has_quoted_comma() && of.ours.reused,
        example: || Case::of(&["max-age=60"]).presented(0, &["x=\"a, no-cache, b\""]),
    },
    Known {
        rule: "§4.2.1: the first of two values of a directive may be used; theirs adds must-revalidate",
        touches: &[Stored, Reused],
        applies: |of| of.case.answer.contradicts_itself() && (of.ours.reused || !of.ours.stored),
        example: || Case::of(&["max-age=60", "max-age=600"]).presented(90, &["max-stale"]),
    },
    Known {
        rule: "§1.2.2: a number too large to represent is 2^31; theirs is 0",
        touches: &[Lifetime, Fresh, Reused],
        applies: |of| of.ours.lifetime == 1 << 31 && of.theirs.lifetime == 0,
        example: || Case::of(&["max-age=99999999999999999999"]),
    },
    Known {
        rule: "§1.2.2: a cache may choose which numbers are too large",
        touches: &[Lifetime],
        applies: |of| of.ours.lifetime == 1 << 31 && of.theirs.lifetime > 1 << 31,
        example: || Case::of(&["max-age=4294967296"]),
    },
    Known {
        rule: "§1.2.2: a number of seconds is digits alone, and §4.2.1: anything else is stale",
        touches: &[Lifetime, Fresh, Reused],
        applies: |of| of.case.answer.has_plus() && of.ours.lifetime == 0,
        example: || Case::of(&["max-age=+60"]),
    },
    Known {
        rule: "§1.2.2: a number of seconds is digits alone (later request)",
        touches: &[Reused],
        applies: |of| of.case.presented.has_plus() && of.ours.reused,
        example: || Case::of(&["max-age=60"]).presented(50, &["max-age=+30"]),
    },
    Known {
        rule: "§4.2.1: a lifetime without its number is invalid, and so stale; theirs looks for another",
        touches: &[Lifetime, Fresh, Reused],
        applies: |of| {
            let mut names = ["max-age", "s-maxage"].iter();
            names.any(|name| of.case.answer.says_unqualified(name)) && of.ours.lifetime == 0
        },
        example: || Case::of(&["max-age"]).field("expires", "Sun, 22 Nov 2026 10:10:00 GMT"),
    },
    Known {
        rule: "§5.2.2.8: proxy-revalidate forbids stale use; theirs takes the response for stale at once",
        touches: &[Lifetime, Fresh, Reused],
        applies: |of| of.case.answer.says("proxy-revalidate") && of.theirs.lifetime == 0,
        example: || Case::of(&["max-age=60", "proxy-revalidate"]),
    },
    Known {
        rule: "§5.2.2.4: no-cache asks for a validation each time; theirs has no lifetime then",
        touches: &[Lifetime, Fresh],
        applies: |of| of.case.answer.says_unqualified("no-cache") && of.theirs.lifetime == 0,
        example: || Case::of(&["max-age=60", "no-cache"]),
    },
    Known {
        rule: "§5.2.2.4: no-cache with field names is about these alone",
        touches: &[Lifetime, Fresh, Reused],
        applies: |of| {
            of.case.answer.arguments("no-cache").any(|names| !names.is_empty()) && of.theirs.lifetime == 0
        },
        example: || Case::of(&["max-age=60", "no-cache=\"x-user\""]),
    },
    Known {
        rule: "§7.3: Set-Cookie does not inhibit caching, where the policy stores it; theirs wants public",
        touches: &[Lifetime, Fresh, Reused],
        applies: |of| of.case.answer.values("set-cookie").next().is_some() && of.theirs.lifetime == 0,
        example: || Case::of(&["max-age=60"]).field("set-cookie", "a=b"),
    },
    Known {
        rule: "§5.4: the meaning of Pragma in a response was never specified",
        touches: &[Lifetime, Fresh, Reused],
        applies: |of| {
            let answer = &of.case.answer;
            answer.directives.is_empty()
                && answer.values("pragma").next().is_some()
                && of.theirs.lifetime == 0
        },
        example: || {
            Case::of(&[]).field("expires", "Sun, 22 Nov 2026 10:10:00 GMT").field("pragma", "no-cache")
        },
    },
    Known {
        rule: "RFC 9110 §5.6.7: a recipient must accept all three forms of a date",
        touches: &[Lifetime, Fresh, Reused],
        applies: |of| of.case.answer.has_obsolete_date(),
        example: || Case::of(&[]).field("expires", "Sunday, 22-Nov-26 10:01:30 GMT"),
    },
    Known {
        rule: "RFC 9110 §5.6.7: a date is in GMT, and §5.3: an invalid one is past",
        touches: &[Lifetime, Fresh, Reused],
        applies: |of| {
            of.case.answer.values("expires").any(|date| date.ends_with("+0000")) && of.ours.lifetime == 0
        },
        example: || Case::of(&[]).field("expires", "Sun, 22 Nov 2026 10:01:30 +0000"),
    },
    Known {
        rule: "§4.2.1: the first of two Expires may be used, or the response is stale",
        touches: &[Lifetime, Fresh, Reused],
        applies: |of| of.case.answer.values("expires").count() > 1 && of.ours.lifetime == 0,
        example: || {
            let first = Case::of(&[]).field("expires", "Sun, 22 Nov 2026 10:10:00 GMT");
            first.field("expires", "Sun, 22 Nov 2026 10:20:00 GMT")
        },
    },
    Known {
        rule: "§4.2.3: the apparent age counts, if it is greater than Age",
        touches: &[Age, Fresh, Reused],
        applies: |of| {
            of.case.answer.values("date").any(|date| date.contains("09:59:20")) && of.ours.age > of.theirs.age
        },
        example: || Case::of(&["max-age=30"]).field("date", "Sun, 22 Nov 2026 09:59:20 GMT"),
    },
    Known {
        rule: "§4.2.3: the time that the answer took counts as age",
        touches: &[Age, Fresh, Reused],
        applies: |of| of.case.delay > 0 && of.ours.age == of.theirs.age + of.case.delay,
        example: || Case { delay: 3, ..Case::of(&["max-age=60"]).presented(59, &[]) },
    },
    Known {
        rule: "§5.1: the first of a list of ages is used",
        touches: &[Age, Fresh, Reused],
        applies: |of| {
            of.case.answer.values("age").any(|age| age.contains(',')) && of.ours.age > of.theirs.age
        },
        example: || Case::of(&["max-age=60"]).field("age", "40, 50"),
    },
    Known {
        rule: "§1.2.2: an age too large to represent is 2^31; theirs is 0",
        touches: &[Age, Fresh, Reused],
        applies: |of| of.ours.age >= 1 << 31 && of.theirs.age < 1 << 31,
        example: || Case::of(&["max-age=60"]).field("age", "99999999999999999999"),
    },
    Known {
        rule: "§4.2.4: max-stale allows nothing that no-cache, proxy-revalidate or s-maxage forbid",
        touches: &[Reused],
        applies: |of| {
            let forbids = ["no-cache", "proxy-revalidate", "s-maxage"];
            of.case.presented.says("max-stale")
                && forbids.iter().any(|name| of.case.answer.says(name))
                && !of.ours.reused
        },
        example: || Case::of(&["s-maxage=60"]).presented(90, &["max-stale"]),
    },
    Known {
        rule: "§5.2.1.2: stale by no more than max-stale says, so by as much",
        touches: &[Reused],
        applies: |of| {
            let staleness = of.ours.age.saturating_sub(of.ours.lifetime).to_string();
            of.case.presented.arguments("max-stale").any(|most| most == staleness) && of.ours.reused
        },
        example: || Case::of(&["max-age=60"]).presented(90, &["max-stale=30"]),
    },
    Known {
        rule: "§5.2.1.2: only max-stale without a value takes any staleness, and x is a value",
        touches: &[Reused],
        applies: |of| of.case.presented.arguments("max-stale").any(|most| most == "x") && !of.ours.reused,
        example: || Case::of(&["max-age=60"]).presented(90, &["max-stale=x"]),
    },
    Known {
        rule: "§5.2.1.3: a response that must stay fresh may not be stale, even for min-fresh=0 and max-stale",
        touches: &[Reused],
        applies: |of| {
            let presented = &of.case.presented;
            presented.says("min-fresh") && presented.says("max-stale") && !of.ours.fresh && !of.ours.reused
        },
        example: || Case::of(&["max-age=60"]).presented(90, &["min-fresh=0", "max-stale"]),
    },
    Known {
        rule: "RFC 8246 §2: an immutable response does not change while it is fresh, however old",
        touches: &[Reused],
        applies: |of| {
            of.case.answer.says("immutable")
                && of.case.presented.says("max-age")
                && of.ours.fresh
                && of.ours.reused
        },
        example: || Case::of(&["max-age=60", "immutable"]).presented(50, &["max-age=30"]),
    },
    Known {
        rule: "RFC 5861 §3: stale within its window, it goes out while it is validated",
        touches: &[Reused],
        applies: |of| of.case.answer.says("stale-while-revalidate") && !of.ours.fresh && of.ours.reused,
        example: || Case::of(&["max-age=60", "stale-while-revalidate=60"]).presented(90, &[]),
    },
    Known {
        rule: "§5.4: Pragma is for caches that know no Cache-Control, and beside one it does not count",
        touches: &[Reused],
        applies: |of| {
            let presented = &of.case.presented;
            !presented.directives.is_empty() && presented.values("pragma").next().is_some() && of.ours.reused
        },
        example: || {
            let mut case = Case::of(&["max-age=60"]).presented(0, &["max-age=600"]);
            case.presented.fields.push(("pragma", "no-cache"));
            case
        },
    },
    Known {
        rule: "§5.2.1: the RFC gives no meaning to a request that contradicts itself",
        touches: &[Reused],
        applies: |of| of.case.presented.contradicts_itself(),
        example: || Case::of(&["max-age=60"]).presented(50, &["max-age=soon", "max-age=30"]),
    },
];

/// The statuses that the other implementation understands.
const THEIRS: &[u16] = &[200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 501];
