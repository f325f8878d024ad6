use proptest::prelude::*;

use super::{super::fields::tests::headers, *};

const NONE: Ranges = Ranges::NotSatisfiable;

fn one(start: u64, end: u64) -> Ranges {
    Ranges::One(ByteRange { start, end })
}

fn several(ranges: &[(u64, u64)]) -> Ranges {
    Ranges::Several(ranges.iter().map(|(start, end)| ByteRange { start: *start, end: *end }).collect())
}

#[test]
fn single_ranges_resolve_as_the_rfc_says() {
    for (rule, line, length, expected) in [
        ("§14.1.2 first and last are inclusive", "bytes=0-499", 1000, one(0, 500)),
        ("§14.1.2 one byte", "bytes=0-0", 1000, one(0, 1)),
        ("§14.1.2 the last byte", "bytes=999-999", 1000, one(999, 1000)),
        ("§14.1.2 open end", "bytes=500-", 1000, one(500, 1000)),
        ("§14.1.2 last past the end is the end", "bytes=500-2000", 1000, one(500, 1000)),
        ("§14.1.2 suffix", "bytes=-500", 1000, one(500, 1000)),
        ("§14.1.2 suffix longer than the whole", "bytes=-5000", 1000, one(0, 1000)),
        ("§14.1.2 suffix of no bytes", "bytes=-0", 1000, NONE),
        ("§14.1.2 first at the end", "bytes=1000-", 1000, NONE),
        ("§14.1.2 first past the end", "bytes=1000-2000", 1000, NONE),
        ("§14.1.2 an empty body has no range", "bytes=0-", 0, NONE),
        ("§14.1.2 suffix of an empty one", "bytes=-1", 0, Ranges::Whole),
        ("numbers past 64 bits clamp", "bytes=0-99999999999999999999", 1000, one(0, 1000)),
        ("numbers past 64 bits clamp", "bytes=99999999999999999999-", 1000, NONE),
        ("numbers past 64 bits clamp", "bytes=-99999999999999999999", 1000, one(0, 1000)),
        ("u64::MAX as last does not overflow", "bytes=0-18446744073709551615", 1000, one(0, 1000)),
        ("§14.1 units are case-insensitive", "BYTES=0-15", 1000, one(0, 16)),
        ("§14.1 units are case-insensitive", "Bytes=0-15", 1000, one(0, 16)),
        ("leading zeros are digits", "bytes=00-015", 1000, one(0, 16)),
        ("§5.6.1 white space around members", "bytes= 0-15\t", 1000, one(0, 16)),
        ("§5.6.1.2 empty members", "bytes=,0-15,,", 1000, one(0, 16)),
        ("§14.1.1 no white space inside", "bytes=0 - 15", 1000, Ranges::Whole),
        ("§14.1.1 last before first is invalid", "bytes=15-0", 1000, Ranges::Whole),
        ("§14.2 unknown units are ignored", "seconds=0-15", 1000, Ranges::Whole),
        ("§14.2 unknown units are ignored", "bytesx=0-15", 1000, Ranges::Whole),
        ("nonsense is ignored", "bytes", 1000, Ranges::Whole),
        ("nonsense is ignored", "bytes=", 1000, Ranges::Whole),
        ("nonsense is ignored", "bytes=-", 1000, Ranges::Whole),
        ("nonsense is ignored", "bytes=a-b", 1000, Ranges::Whole),
        ("nonsense is ignored", "bytes=+1-2", 1000, Ranges::Whole),
        ("nonsense is ignored", "bytes=0-1-2", 1000, Ranges::Whole),
        ("nonsense is ignored", "bytes=--5", 1000, Ranges::Whole),
    ] {
        for most in [0, 1, 16] {
            assert_eq!(resolve_line(line, length, most), expected, "{rule}: {line}");
        }
    }
}

#[test]
fn sets_of_ranges_resolve_as_the_rfc_says() {
    for (rule, line, length, expected) in [
        ("§14.1.1 two", "bytes=0-9,500-509", 1000, several(&[(0, 10), (500, 510)])),
        (
            "§14.1.2 first, middle and last",
            "bytes= 0-0, 500-599 ,-1",
            1000,
            several(&[(0, 1), (500, 600), (999, 1000)]),
        ),
        (
            "§15.3.7.2 in the order asked",
            "bytes=-1,500-599,0-0",
            1000,
            several(&[(999, 1000), (500, 600), (0, 1)]),
        ),
        (
            "§14.1.2 any that can be satisfied",
            "bytes=1000-,0-9,-0,500-509",
            1000,
            several(&[(0, 10), (500, 510)]),
        ),
        ("§14.1.2 only one can be satisfied", "bytes=1000-,5-9", 1000, one(5, 10)),
        ("§14.1.2 only one can be satisfied", "bytes=5-9,-0", 1000, one(5, 10)),
        ("§14.1.2 none can be satisfied", "bytes=1000-,-0,2000-2001", 1000, NONE),
        ("§14.1.2 suffix of an empty one", "bytes=0-,-1", 0, Ranges::Whole),
        ("§14.1.2 suffix of an empty one", "bytes=-1,0-", 0, Ranges::Whole),
        ("§14.1.1 one invalid", "bytes=0-9,15-0", 1000, Ranges::Whole),
        ("§14.1.1 one invalid", "bytes=x,0-9,500-509", 1000, Ranges::Whole),
        ("§14.1.1 one invalid", "bytes=0-9,500-509,-", 1000, Ranges::Whole),
        ("§14.1.1 one invalid after none", "bytes=1000-,2-1", 1000, Ranges::Whole),
        ("§5.6.1.2 empty members", "bytes=, ,0-9,,\t,500-509,", 1000, several(&[(0, 10), (500, 510)])),
        ("§15.3.7.2 overlapping", "bytes=0-99,50-149", 1000, one(0, 150)),
        ("§15.3.7.2 one in another", "bytes=0-99,10-19", 1000, one(0, 100)),
        ("§15.3.7.2 one in another", "bytes=10-19,0-99", 1000, one(0, 100)),
        ("§15.3.7.2 the same", "bytes=5-9,5-9", 1000, one(5, 10)),
        ("§15.3.7.2 adjacent", "bytes=100-199,0-99", 1000, one(0, 200)),
        ("§15.3.7.2 79 bytes between", "bytes=0-0,80-80", 1000, one(0, 81)),
        ("§15.3.7.2 80 bytes between", "bytes=0-0,81-81", 1000, several(&[(0, 1), (81, 82)])),
        ("§15.3.7.2 all of it", "bytes=500-,0-499", 1000, one(0, 1000)),
        (
            "a joined range takes the place of its first member",
            "bytes=900-909,0-9,500-509,890-905,10-20",
            1000,
            several(&[(890, 910), (0, 21), (500, 510)]),
        ),
        ("a third joins two that are apart", "bytes=300-309,0-9,5-299", 1000, one(0, 310)),
        (
            "u64::MAX does not overflow",
            "bytes=18446744073709551614-,0-0",
            u64::MAX,
            several(&[(u64::MAX - 1, u64::MAX), (0, 1)]),
        ),
    ] {
        assert_eq!(resolve_line(line, length, 16), expected, "{rule}: {line}");
    }
}

#[test]
fn a_set_of_more_members_than_the_limit_is_ignored() {
    let three = "bytes=0-0,,5000-,900-900";
    assert_eq!(resolve_line(three, 1000, 3), several(&[(0, 1), (900, 901)]));
    for most in [0, 1, 2] {
        assert_eq!(resolve_line(three, 1000, most), Ranges::Whole, "{most}");
    }
    let hostile = format!("bytes={}", "0-,".repeat(20_000));
    assert_eq!(resolve_line(&hostile, 1000, 16), Ranges::Whole);
    assert_eq!(resolve_line(&hostile, 1000, usize::MAX), one(0, 1000));
}

#[test]
fn two_range_fields_are_ignored() {
    let twice = headers(&[("range", "bytes=0-1"), ("range", "bytes=0-1")]);
    assert_eq!(resolve(&twice, 1000, 16), Ranges::Whole);
    assert_eq!(resolve(&headers(&[("range", "bytes=0-1")]), 1000, 16), one(0, 2));
    assert_eq!(resolve(&headers(&[]), 1000, 16), Ranges::Whole);
}

proptest! {
    #[test]
    fn any_two_positions_give_their_slice(first in 0u64..2000, last in 0u64..2000, length in 0u64..2000) {
        let expected = match (first <= last, first < length) {
            (false, _) => Ranges::Whole,
            (true, false) => Ranges::NotSatisfiable,
            (true, true) => one(first, (last + 1).min(length)),
        };
        prop_assert_eq!(resolve_line(&format!("bytes={first}-{last}"), length, 16), expected);
    }

    #[test]
    fn any_text_resolves_inside_the_representation(line in "\\PC*", length: u64) {
        prop_assert!(is_inside(&resolve_line(&line, length, 16), length));
    }

    #[test]
    fn any_likely_text_resolves_inside_the_representation(line in "bytes=[0-9,\\- ]{0,24}", length: u64) {
        prop_assert!(is_inside(&resolve_line(&line, length, 16), length));
    }

    #[test]
    fn any_set_is_answered_with_all_that_it_asks_for_and_little_else(
        asked in proptest::collection::vec((0u64..2000, 0u64..400), 1..20),
        length in 0u64..2000,
    ) {
        let set: Vec<_> =
            asked.iter().map(|(first, more)| format!("{first}-{}", first + more)).collect();
        let resolved = resolve_line(&format!("bytes={}", set.join(",")), length, 16);
        prop_assert!(is_inside(&resolved, length));
        let is_asked_for = |position: u64| {
            asked.iter().any(|(first, more)| (*first..=first + more).contains(&position))
        };
        let answered = match resolved {
            Ranges::Whole => {
                prop_assert!(asked.len() > 16);
                return Ok(());
            }
            Ranges::NotSatisfiable => Vec::new(),
            Ranges::One(range) => vec![range],
            Ranges::Several(ranges) => ranges,
        };
        prop_assert!(asked.len() <= 16 && answered.len() <= asked.len());
        for position in 0..length {
            let times =
                answered.iter().filter(|range| (range.start..range.end).contains(&position)).count();
            let is_near = || {
                (position.saturating_sub(79)..position).any(is_asked_for)
                    && (position..position + 80).any(is_asked_for)
            };
            if is_asked_for(position) {
                prop_assert_eq!(times, 1, "{} is asked for", position);
            } else {
                prop_assert!(times == 0 || (times == 1 && is_near()), "{}", position);
            }
        }
    }
}

fn is_inside(resolved: &Ranges, length: u64) -> bool {
    let holds = |range: &ByteRange| range.start < range.end && range.end <= length;
    match resolved {
        Ranges::Whole | Ranges::NotSatisfiable => true,
        Ranges::One(range) => holds(range),
        Ranges::Several(ranges) => (2..=16).contains(&ranges.len()) && ranges.iter().all(holds),
    }
}

proptest! {
    #[test]
    fn a_plain_line_is_read_as_the_grammar_has_it(
        line in "(bytes|Bytes|byte)?=? ?([0-9]{0,21}|18446744073709551615)-? ?[0-9]{0,21}[, ]?",
        length in prop_oneof![0_u64..2000, any::<u64>()],
    ) {
        if let Some(spec) = RangeSpec::plain(line.as_bytes()) {
            prop_assert_eq!(spec.resolve(length), resolve_line(&line, length, 1));
        }
    }
}
