use http::{Request, Version, header};

use super::*;

fn key(target: &str, host: Option<&str>) -> CacheKey {
    let mut request = Request::get(target);
    if let Some(host) = host {
        request = request.header("host", host);
    }
    CacheKey::of(&request.body(()).unwrap().into_parts().0)
}

#[test]
fn targets_that_differ_have_keys_that_differ() {
    let targets = [
        "/a/b",
        "/a%2Fb",
        "/a%2fb",
        "//a/b",
        "/A/b",
        "/a/b/",
        "/a/./b",
        "/c/../a/b",
        "/a//b",
        "/a/%62",
        "/a;/b",
        "/a/b;",
        "/a/b?",
        "/a/b??",
        "/a/b?x",
        "/a/b?X",
        "/a/b?x=",
        "/a/b?x&y",
        "/a/b?y&x",
        "/a/b?x&y&",
        "*",
        "/a/b%0A",
        "/a/b%00",
        "/a/\u{fc}",
        "/a/%C3%BC",
    ];
    for (index, one) in targets.iter().enumerate() {
        for other in &targets[index + 1..] {
            assert_ne!(key(one, None), key(other, None), "{one} {other}");
        }
    }
}

#[test]
fn hosts_are_kept_apart_whatever_their_case() {
    assert_ne!(key("/a", Some("one.example")), key("/a", Some("two.example")));
    assert_eq!(key("/a", Some("ONE.example")), key("/a", Some("one.example")));
    assert_eq!(key("http://one.example/a", None), key("http://ONE.example/a", Some("One.example")));
    assert_ne!(key("http://one.example/a", None), key("https://one.example/a", None));
    assert_ne!(key("/a", Some("one.example:443")), key("/a", Some("one.example:80")));
    assert_ne!(key("/a", Some("one.example")), key("/a", Some("one.example.")));
    assert_ne!(key("/a", Some("")), key("/a", Some("one.example")));
}

#[test]
fn a_default_port_is_left_out() {
    for (why, target, host, other, other_host, same) in [
        ("the port of http", "/a", "h:80", "/a", "h", true),
        ("no port", "/a", "h:", "/a", "h", true),
        ("whatever the case", "/a", "H:80", "/a", "h:", true),
        ("the default port of an IPv6 address", "/a", "[::1]:80", "/a", "[::1]", true),
        ("the default port of an IPv4 address", "/a", "127.0.0.1:80", "/a", "127.0.0.1", true),
        ("the default port in a target", "http://h:80/a", "", "http://h/a", "", true),
        ("the default port in a target and in Host", "http://h/a", "h:80", "http://h:/a", "h", true),
        ("the port of https", "https://h:443/a", "h", "https://h/a", "h:443", true),
        ("the port of http is not left out for https", "https://h:80/a", "", "https://h/a", "", false),
        ("the port of https is not left out for http", "http://h:443/a", "", "http://h/a", "", false),
        ("the port of https is not left out if the scheme is unknown", "/a", "h:443", "/a", "h", false),
        ("another port", "/a", "h:8080", "/a", "h", false),
        ("another port in Host", "http://h/a", "h:8080", "http://h/a", "h", false),
        ("the end of another port", "/a", "h:180", "/a", "h", false),
        ("the end of an address", "/a", "[::80]", "/a", "[:]", false),
        ("an address without brackets is no host", "/a", "::80", "/a", ":", false),
        ("a port and no host", "/a", ":80", "/a", "", false),
        ("a name with a dot at its end", "/a", "h.:80", "/a", "h.", true),
        ("a name with a dot at its end is another host", "/a", "h.:80", "/a", "h", false),
        ("one of two hosts", "/a", "h:80, i", "/a", "h, i", false),
    ] {
        let said = |host: &'static str| Some(host).filter(|host| !host.is_empty());
        let (one, other) = (key(target, said(host)), key(other, said(other_host)));
        assert_eq!(one == other, same, "{why}: {one:?} {other:?}");
    }
}

#[test]
fn user_information_is_case_sensitive() {
    assert_ne!(key("http://me@one.example/a", None), key("http://ME@one.example/a", None));
    assert_eq!(key("http://me@one.example/a", None), key("http://me@ONE.example/a", None));
    assert_ne!(key("http://me@one.example/a", None), key("http://one.example/a", None));
    assert_ne!(key("/a", Some("me@one.example")), key("/a", Some("ME@one.example")));
}

#[test]
fn requests_that_name_two_hosts_never_share_a_key() {
    let sayings: [(&str, &[&[u8]]); 15] = [
        ("/a", &[]),
        ("/a", &[b""]),
        ("/a", &[b"one"]),
        ("/a", &[b"two"]),
        ("/a", &[b"one", b"two"]),
        ("/a", &[b"two", b"one"]),
        ("/a", &[b"one, two"]),
        ("/a", &[b"one", b"two", b"one"]),
        ("/a", &[b"one", b""]),
        ("/a", &[b"one\xff"]),
        ("/a", &[b"one\xfe"]),
        ("http://one/a", &[]),
        ("http://one/a", &[b"two"]),
        ("http://one/a", &[b"one", b"two"]),
        ("http://two/a", &[b"one"]),
    ];
    let keys: Vec<_> = sayings
        .iter()
        .map(|(target, hosts)| {
            let ask = hosts.iter().fold(Request::get(*target), |ask, host| ask.header("host", *host));
            CacheKey::of(&ask.body(()).unwrap().into_parts().0)
        })
        .collect();
    for (index, one) in keys.iter().enumerate() {
        for other in &keys[index + 1..] {
            assert_ne!(one, other);
        }
    }
}

#[test]
fn a_second_host_makes_another_key_over_http_2_too() {
    let over_http_2 = |host: Option<&str>| {
        let ask = Request::get("https://one/a").version(Version::HTTP_2);
        let ask = host.into_iter().fold(ask, |ask, host| ask.header("host", host));
        CacheKey::of(&ask.body(()).unwrap().into_parts().0)
    };
    let two_fields = Request::get("/a").header("host", "one").header("host", "two").body(()).unwrap();
    assert_eq!(over_http_2(Some("one")), over_http_2(None));
    assert_ne!(over_http_2(Some("two")), over_http_2(None));
    assert_ne!(over_http_2(Some("two")), CacheKey::of(&two_fields.into_parts().0));
}

#[test]
fn http_2_and_http_1_find_the_same() {
    let mut over_http_2 = Request::get("https://one.example/a").body(()).unwrap().into_parts().0;
    over_http_2.version = Version::HTTP_2;
    assert_eq!(CacheKey::of(&over_http_2), key("/a", Some("one.example")));
}

#[test]
fn store_keys_are_short_and_use_only_allowed_characters() {
    let key = key("/ü?\u{7f}".replace(['ü', '\u{7f}'], "%C3").as_str(), Some("h"));
    let field = SelectingField { name: header::ACCEPT, value: Some(b"x".to_vec()) };
    for name in [
        Slot::primary(&key).0,
        Slot::variant(&key, Generation(u128::MAX), &[field]).0,
        chunk_key(Generation(u128::MAX), u64::MAX),
        lease_key(&Slot::primary(&key)),
        passed_key(&lease_key(&Slot::primary(&key))),
        commit_key(&Slot::primary(&key)),
        holder(Generation(u128::MAX)),
    ] {
        assert!(name.len() <= 128, "{name}");
        assert!(
            name.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase() || b"/._-".contains(&b)),
            "{name}"
        );
    }
}

#[test]
fn names_have_all_their_digits() {
    for number in [0, 1, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef, u128::MAX] {
        assert_eq!(chunk_key(Generation(number), 42), format!("c/{number:032x}/42"));
    }
}

#[test]
fn a_lease_has_the_digits_of_its_slot() {
    let key = key("/a", None);
    for slot in [Slot::primary(&key), Slot::variant(&key, Generation(1), &[])] {
        assert_eq!(lease_key(&slot), format!("l/{}", &slot.0[2..]));
        assert_eq!(lease_key(&slot).len(), 34);
        assert_eq!(passed_key(&lease_key(&slot)), format!("l/{}/passed", &slot.0[2..]));
    }
    let all_digits = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210;
    for number in [0, 0xabc, u128::MAX, all_digits, !all_digits, all_digits << 4, 0x99aa_9a9a << 60] {
        assert_eq!(holder(Generation(number)), format!("{number:032x}"));
    }
}

#[test]
fn an_absent_field_is_not_an_empty_one() {
    let key = key("/a", None);
    let slot = |value: Option<&[u8]>| {
        let value = value.map(<[u8]>::to_vec);
        Slot::variant(&key, Generation(1), &[SelectingField { name: header::ACCEPT, value }])
    };
    assert_ne!(slot(None), slot(Some(b"")));
    assert_ne!(slot(Some(b"a")), slot(Some(b"b")));
}
