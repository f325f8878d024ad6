use sfv::{BareItem, List, ListEntry, Parser};

use super::*;

const BY: Signature<'_> = Signature { name: "tower-video-cache", key: None };

fn forwarded(reason: Forwarded) -> Outcome {
    Outcome { forwarded: Some(reason), ..Outcome::default() }
}

#[test]
fn a_member_tells_the_outcome() {
    let (ok, partial) = (StatusCode::OK, StatusCode::PARTIAL_CONTENT);
    for (rule, outcome, status, expected) in [
        (
            "RFC 9651 §3.3.1 fifteen digits",
            Outcome { ttl: Some(i64::MIN), ..Outcome::default() },
            ok,
            "hit; ttl=-999999999999999",
        ),
        ("§2.1, §2.4", Outcome { ttl: Some(299), ..Outcome::default() }, ok, "hit; ttl=299"),
        (
            "§2.5",
            Outcome { stored: true, ttl: Some(300), ..forwarded(Forwarded::UriMiss) },
            ok,
            "fwd=uri-miss; ttl=300; stored",
        ),
        (
            "§2.4 negative, §2.6",
            Outcome { collapsed: true, ttl: Some(-1), ..forwarded(Forwarded::Stale) },
            ok,
            "fwd=stale; ttl=-1; collapsed",
        ),
        (
            "§2.8",
            Outcome { refusal: Some(Refusal::StoreFailed), ..forwarded(Forwarded::VaryMiss) },
            ok,
            "fwd=vary-miss; detail=store-failed",
        ),
        (
            "§2.5 not yet",
            Outcome { storing: true, ttl: Some(300), ..forwarded(Forwarded::UriMiss) },
            ok,
            "fwd=uri-miss; ttl=300; detail=storing",
        ),
        ("§2.8 a hit has no detail", Outcome { storing: true, ..Outcome::default() }, ok, "hit"),
        (
            "§2.3 another status than the answer's",
            Outcome {
                forwarded_status: Some(StatusCode::NOT_MODIFIED),
                stored: true,
                ..forwarded(Forwarded::Stale)
            },
            ok,
            "fwd=stale; fwd-status=304; stored",
        ),
        (
            "§2.3 the same",
            Outcome { forwarded_status: Some(partial), ..forwarded(Forwarded::Partial) },
            partial,
            "fwd=partial",
        ),
        (
            "§2.3, §2.5, §2.6 a hit has none of these",
            Outcome { forwarded_status: Some(ok), stored: true, collapsed: true, ..Outcome::default() },
            partial,
            "hit",
        ),
    ] {
        assert_eq!(outcome.member(status, BY, None), format!("tower-video-cache; {expected}"), "{rule}");
    }
}

#[test]
fn an_answer_of_the_caches_own_is_neither_hit_nor_forwarded() {
    let mut headers = HeaderMap::new();
    Generated(Refusal::OnlyIfCached).append_to(&mut headers, BY);
    assert_eq!(headers[CACHE_STATUS], "tower-video-cache; detail=only-if-cached");
}

#[test]
fn a_key_is_shown_as_a_string_between_the_others() {
    let by = Signature { name: "edge", key: Some(b"\nvideo.example\n/a\"b\\\xff") };
    let outcome = Outcome { refusal: Some(Refusal::Status), ttl: Some(1), ..Outcome::default() };
    assert_eq!(
        outcome.member(StatusCode::OK, by, None),
        r#"edge; hit; ttl=1; key="\\nvideo.example\\n/a\\\"b\\\\\\xff"; detail=status"#
    );
}

#[test]
fn a_type_that_is_refused_is_named_if_it_can_be() {
    let refused = Outcome { refusal: Some(Refusal::Media), ..forwarded(Forwarded::UriMiss) };
    let long = format!("text/{}", "x".repeat(96));
    for (media, detail) in [
        (Some("text/html; charset=utf-8"), "media-type:text/html"),
        (Some("Application/X-Custom+xml"), "media-type:Application/X-Custom+xml"),
        (Some(&long[..100]), &format!("media-type:{}", &long[..100])[..]),
        (None, "media-type"),
        // A type that could end the member, is no token, or is long, is not repeated.
        (Some("text/html, x; hit"), "media-type"),
        (Some("\"text\"/html"), "media-type"),
        (Some("text/h\u{e9}"), "media-type"),
        (Some("text /html"), "media-type"),
        (Some(&long), "media-type"),
        // A type that is stored by now is not the reason.
        (Some("video/mp4"), "media-type"),
    ] {
        let mut headers = HeaderMap::new();
        headers.extend(media.map(|media| (http::header::CONTENT_TYPE, media.parse().unwrap())));
        refused.append_to_passed(&mut headers, StatusCode::OK, BY, &Policy::default());
        let said = headers[CACHE_STATUS].to_str().unwrap();
        assert_eq!(said, format!("tower-video-cache; fwd=uri-miss; detail={detail}"), "{media:?}");
        Parser::new(said).parse::<List>().unwrap();
    }
    let other = Outcome { refusal: Some(Refusal::NoStore), ..refused };
    let mut headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, "text/html".parse().unwrap())]);
    other.append_to_passed(&mut headers, StatusCode::OK, BY, &Policy::default());
    assert_eq!(headers[CACHE_STATUS], "tower-video-cache; fwd=uri-miss; detail=no-store");
}

#[test]
fn a_name_is_a_token_or_a_string() {
    for (name, written) in [
        ("edge-1", "edge-1"),
        ("*", "*"),
        ("cache.example.com:8080/a", "cache.example.com:8080/a"),
        ("1-edge", "\"1-edge\""),
        (" ", "\" \""),
        ("a\"b\\c", r#""a\"b\\c""#),
    ] {
        let name = CacheName::new(name).unwrap();
        assert_eq!(name.as_written(), written);
        assert_eq!(name.member(Forwarded::Bypass), &format!("{written}; fwd=bypass"));
        assert_eq!(name.member(Forwarded::Method), &format!("{written}; fwd=method"));
    }
    let longest = "x".repeat(128);
    assert_eq!(CacheName::new(&longest).unwrap().as_written(), longest);
    for name in ["", "\n", "\t", "\u{7f}", "\u{fc}", &"x".repeat(129)] {
        assert!(CacheName::new(name).unwrap_err().is_config(), "{name:?}");
    }
    assert_eq!(CacheName::new(env!("CARGO_PKG_NAME")).unwrap(), CacheName::default());
}

#[test]
fn an_upstream_caches_members_stay() {
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_STATUS, HeaderValue::from_static("origin; hit"));
    Outcome::default().append_to(&mut headers, StatusCode::OK, BY);
    append(&mut headers, CacheName::default().member(Forwarded::Bypass).clone());
    let values: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
    assert_eq!(values, ["origin; hit", "tower-video-cache; hit", "tower-video-cache; fwd=bypass"]);
}

#[test]
fn a_response_full_of_fields_has_one_less() {
    let mut headers = HeaderMap::new();
    let names = (0..1 << 16).map(|name| format!("x{name}").parse::<HeaderName>().unwrap());
    let full = names.map(|name| headers.try_append(name, HeaderValue::from_static(""))).find(Result::is_err);
    assert!(full.is_some());
    Outcome::default().append_to(&mut headers, StatusCode::OK, BY);
    assert!(!headers.contains_key(CACHE_STATUS));
}

/// Every reason once. A new reason does not compile until it has an arm in this match.
fn reasons() -> Vec<Forwarded> {
    let next = |reason| match reason {
        Forwarded::Bypass => Some(Forwarded::Method),
        Forwarded::Method => Some(Forwarded::Miss),
        Forwarded::Miss => Some(Forwarded::Partial),
        Forwarded::Partial => Some(Forwarded::Request),
        Forwarded::Request => Some(Forwarded::Stale),
        Forwarded::Stale => Some(Forwarded::UriMiss),
        Forwarded::UriMiss => Some(Forwarded::VaryMiss),
        Forwarded::VaryMiss => None,
    };
    std::iter::successors(Some(Forwarded::Bypass), |reason| next(*reason)).collect()
}

/// Every refusal once, checked in the same way.
fn refusals() -> Vec<Refusal> {
    let next = |refusal| match refusal {
        Refusal::Abandoned => Some(Refusal::Authorization),
        Refusal::Authorization => Some(Refusal::ChangedLength),
        Refusal::ChangedLength => Some(Refusal::Cookie),
        Refusal::Cookie => Some(Refusal::Endless),
        Refusal::Endless => Some(Refusal::InnerFailed),
        Refusal::InnerFailed => Some(Refusal::InnerStalled),
        Refusal::InnerStalled => Some(Refusal::Invalidated),
        Refusal::Invalidated => Some(Refusal::InvalidLength),
        Refusal::InvalidLength => Some(Refusal::LeaseLost),
        Refusal::LeaseLost => Some(Refusal::Media),
        Refusal::Media => Some(Refusal::NeverFresh),
        Refusal::NeverFresh => Some(Refusal::NoCache),
        Refusal::NoCache => Some(Refusal::NoParts),
        Refusal::NoParts => Some(Refusal::NoRoom),
        Refusal::NoRoom => Some(Refusal::NoStore),
        Refusal::NoStore => Some(Refusal::OnlyIfCached),
        Refusal::OnlyIfCached => Some(Refusal::PastTheEnd),
        Refusal::PastTheEnd => Some(Refusal::Precondition),
        Refusal::Precondition => Some(Refusal::Private),
        Refusal::Private => Some(Refusal::Rule),
        Refusal::Rule => Some(Refusal::SetCookie),
        Refusal::SetCookie => Some(Refusal::Signed),
        Refusal::Signed => Some(Refusal::StaleIfError),
        Refusal::StaleIfError => Some(Refusal::StaleIfFailed),
        Refusal::StaleIfFailed => Some(Refusal::StaleIfSilent),
        Refusal::StaleIfSilent => Some(Refusal::Status),
        Refusal::Status => Some(Refusal::StoreFailed),
        Refusal::StoreFailed => Some(Refusal::StoreLost),
        Refusal::StoreLost => Some(Refusal::TooLarge),
        Refusal::TooLarge => Some(Refusal::TooManyFills),
        Refusal::TooManyFills => Some(Refusal::VaryAnything),
        Refusal::VaryAnything => Some(Refusal::WaitedTooLong),
        Refusal::WaitedTooLong => None,
    };
    std::iter::successors(Some(Refusal::Abandoned), |refusal| next(*refusal)).collect()
}

/// Every value of a kind, and `None`.
fn or_none<T: Copy>(values: &[T]) -> Vec<Option<T>> {
    [None].into_iter().chain(values.iter().copied().map(Some)).collect()
}

/// Appends to fields that have two members already. Returns the parameters of the last member, as another
/// implementation reads the whole field.
fn appended(name: &CacheName, append: impl FnOnce(&mut HeaderMap)) -> Vec<(String, BareItem)> {
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_STATUS, HeaderValue::from_static("origin; fwd=stale, \"middle one\"; hit"));
    append(&mut headers);
    let lines: Vec<_> = headers.get_all(CACHE_STATUS).iter().map(HeaderValue::as_bytes).collect();
    let mut members: List = Parser::new(&lines.join(&b", "[..])).parse().unwrap();
    assert_eq!(members.len(), 3);
    let Some(ListEntry::Item(member)) = members.pop() else { panic!("an inner list") };
    let written = match member.bare_item {
        BareItem::Token(token) => token.as_str().to_owned(),
        BareItem::String(string) => format!("\"{}\"", string.as_str()),
        other => panic!("{other:?}"),
    };
    assert_eq!(written, name.as_written());
    member.params.into_iter().map(|(key, value)| (key.into(), value)).collect()
}

#[test]
fn another_implementation_reads_every_member_as_it_is_meant() {
    let names = [CacheName::default(), CacheName::new("Edge 1").unwrap()];
    let keys = [&b"\nvideo.example\n/a.mp4?token=1"[..], b"", b"\"\\\x00\xff"];
    let (ok, not_modified) = (StatusCode::OK, StatusCode::NOT_MODIFIED);
    let mut members = 0;
    for (index, forwarded) in or_none(&reasons()).into_iter().enumerate() {
        for refusal in or_none(&refusals()) {
            for flags in 0_u8..16 {
                let (stored, collapsed, storing) = (flags & 1 > 0, flags & 2 > 0, flags & 8 > 0);
                let forwarded_status = (flags & 4 > 0).then_some(not_modified);
                for ttl in or_none(&[0, -7, i64::from(u32::MAX)]) {
                    let key = or_none(&keys)[members % 4];
                    let name = &names[index % 2];
                    let by = Signature { name: name.as_written(), key };
                    let outcome =
                        Outcome { forwarded, forwarded_status, stored, storing, collapsed, ttl, refusal };
                    let mut expected = Vec::new();
                    let mut expect = |name: &str, value| expected.push((name.to_owned(), value));
                    match forwarded {
                        None => expect("hit", BareItem::Boolean(true)),
                        Some(reason) => expect("fwd", token(reason.name())),
                    }
                    if let Some(status) = forwarded_status.filter(|_| forwarded.is_some()) {
                        expect("fwd-status", BareItem::Integer(status.as_u16().into()));
                    }
                    if let Some(ttl) = ttl {
                        expect("ttl", BareItem::Integer(ttl.try_into().unwrap()));
                    }
                    for (name, flag) in [("stored", stored), ("collapsed", collapsed)] {
                        if flag && forwarded.is_some() {
                            expect(name, BareItem::Boolean(true));
                        }
                    }
                    if let Some(key) = key {
                        let escaped = key.escape_ascii().to_string();
                        expect("key", BareItem::String(escaped.try_into().unwrap()));
                    }
                    if let Some(refusal) = refusal {
                        expect("detail", token(refusal.name()));
                    } else if storing && forwarded.is_some() {
                        expect("detail", token("storing"));
                    }
                    assert_eq!(appended(name, |headers| outcome.append_to(headers, ok, by)), expected);
                    members += 1;
                }
            }
        }
    }
    assert_eq!(members, 9 * 34 * 16 * 4);
    for name in &names {
        for (member, reason) in
            [(name.member(Forwarded::Bypass), "bypass"), (name.member(Forwarded::Method), "method")]
        {
            let read = appended(name, |headers| append(headers, member.clone()));
            assert_eq!(read, [("fwd".to_owned(), token(reason))]);
        }
        for refusal in refusals() {
            let by = Signature { name: name.as_written(), key: None };
            let read = appended(name, |headers| Generated(refusal).append_to(headers, by));
            assert_eq!(read, [("detail".to_owned(), token(refusal.name()))]);
        }
    }
}

fn token(name: &str) -> BareItem {
    BareItem::Token(name.to_owned().try_into().unwrap())
}

#[test]
fn the_text_of_a_simple_hit_has_just_the_room_that_it_needs() {
    for ttl in [0, 1, 9, 10, -1, -10, 86_400, MOST_SECONDS, -MOST_SECONDS, i64::MAX, i64::MIN] {
        let hit = Outcome { ttl: Some(ttl), ..Outcome::default() };
        let member = hit.member(StatusCode::OK, Signature { name: "edge", key: None }, None);
        assert_eq!(member.len(), "edge".len() + hit.room(), "{member}");
    }
}
