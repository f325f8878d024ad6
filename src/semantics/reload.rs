//! A reload by force, as the requests of the cache's own say it.
//!
//! RFC 9111 §5.2.1.4 (`no-cache`), §5.2.1.1 (`max-age`), §5.4 (`Pragma`).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::{
    cache_control::RequestDirectives,
    fields::{is_whitespace, split_outside_quotes},
};

/// Says `max-age=0` in the place of `no-cache`.
///
/// Both ask a cache further in for a validation. Frameworks answer a request with `no-cache` by the whole response, even
/// if its conditions would bring a 304.
pub(crate) fn say_max_age(request: &mut HeaderMap) {
    if !RequestDirectives::of(request).no_cache {
        return;
    }
    // `no-cache` beats these, and `max-age=0` must not be weaker.
    let weaker = ["no-cache", "max-age", "max-stale", "stale-if-error"];
    let Some(mut directives) = others(request, &header::CACHE_CONTROL, &weaker) else {
        return;
    };
    directives.push("max-age=0".to_owned());
    // §5.4 defines no other member, and no other use.
    request.remove(header::PRAGMA);
    request.remove(header::CACHE_CONTROL);
    if let Ok(value) = HeaderValue::try_from(directives.join(", ")) {
        request.insert(header::CACHE_CONTROL, value);
    }
}

/// The members of a list, without those of these names. Returns `None` if nobody can tell where a member ends: such a list is
/// best left as it is.
fn others(request: &HeaderMap, field: &HeaderName, names: &[&str]) -> Option<Vec<String>> {
    let lines: Vec<_> =
        request.get_all(field).iter().map(|line| line.to_str().ok()).collect::<Option<_>>()?;
    if lines.iter().any(|line| line.contains('\\') || line.matches('"').count() % 2 > 0) {
        return None;
    }
    let is_named = |member: &str| {
        let (name, _) = member.split_once('=').unwrap_or((member, ""));
        names.iter().any(|known| name.trim_matches(is_whitespace).eq_ignore_ascii_case(known))
    };
    let members = |line: &str| -> Vec<String> {
        let members = split_outside_quotes(line, ',').map(|member| member.trim_matches(is_whitespace));
        members.filter(|member| !member.is_empty() && !is_named(member)).map(str::to_owned).collect()
    };
    Some(lines.into_iter().flat_map(members).collect())
}

#[cfg(test)]
mod tests {
    use super::{super::fields::tests::headers, *};

    #[test]
    fn a_list_that_cannot_be_read_stays() {
        for line in ["no-cache, a=\"b", "no-cache, a=\u{de}", "no-cache, a=\"\\\"\""] {
            let mut request = headers(&[("cache-control", line), ("pragma", "no-cache")]);
            say_max_age(&mut request);
            assert_eq!(request, headers(&[("cache-control", line), ("pragma", "no-cache")]), "{line}");
        }
    }

    #[test]
    fn a_reload_by_force_is_said_as_an_age() {
        type Lines<'a> = &'a [(&'a str, &'a str)];
        let rows: &[(&str, Lines<'_>, Lines<'_>)] = &[
            ("§5.2.1.4", &[("cache-control", "no-cache")], &[("cache-control", "max-age=0")]),
            ("§5.2 in any case", &[("cache-control", "No-Cache")], &[("cache-control", "max-age=0")]),
            ("§5.4", &[("pragma", "no-cache")], &[("cache-control", "max-age=0")]),
            (
                "both, as browsers say it",
                &[("cache-control", "no-cache"), ("pragma", "no-cache")],
                &[("cache-control", "max-age=0")],
            ),
            (
                "weaker directives go, and others stay",
                &[
                    ("cache-control", "x=\"a, no-cache\", max-age=60, no-cache"),
                    ("cache-control", "max-stale"),
                ],
                &[("cache-control", "x=\"a, no-cache\", max-age=0")],
            ),
            ("another pragma goes, too", &[("pragma", "x, no-cache")], &[("cache-control", "max-age=0")]),
            ("no reload", &[("cache-control", "max-age=60, x")], &[("cache-control", "max-age=60, x")]),
            (
                "§5.4 a pragma beside Cache-Control",
                &[("cache-control", "max-age=60"), ("pragma", "no-cache")],
                &[("cache-control", "max-age=60"), ("pragma", "no-cache")],
            ),
            ("nothing said", &[], &[]),
        ];
        for (rule, said, expected) in rows {
            let mut request = headers(said);
            say_max_age(&mut request);
            assert_eq!(request, headers(expected), "{rule}");
        }
    }
}
