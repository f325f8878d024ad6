//! The request fields that a response was selected by, and whether another request has the same values.
//!
//! RFC 9110 §12.5.5 (`Vary`), RFC 9111 §4.1.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::fields::{is_condition_or_range, members};

/// The `Vary` of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Vary {
    /// The response is the same for every request.
    Nothing,
    /// `*`, or a member that is no field name: no request can be known to match.
    Anything,
    /// The response depends on these request fields, sorted and each once.
    Fields(Vec<HeaderName>),
}

impl Vary {
    pub(crate) fn of(response: &HeaderMap) -> Self {
        // A line that cannot be read may name anything.
        if response.get_all(header::VARY).iter().any(|line| line.to_str().is_err()) {
            return Self::Anything;
        }
        let names: Result<Vec<HeaderName>, _> = members(response, &header::VARY)
            .map(|member| if member == "*" { Err(()) } else { member.parse().map_err(drop) })
            .collect();
        match names {
            Err(()) => Self::Anything,
            Ok(names) if names.is_empty() => Self::Nothing,
            // No service selects by so many, and a record could not hold them all.
            Ok(names) if names.len() > MOST_FIELDS || bytes_of(&names) > MOST_BYTES => Self::Anything,
            Ok(mut names) => {
                names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
                names.dedup();
                Self::Fields(names)
            }
        }
    }
}

impl Vary {
    /// The names of the fields that the response depends on; none if it depends on nothing, or on anything.
    pub(crate) fn names(self) -> Vec<HeaderName> {
        match self {
            Self::Fields(names) => names,
            Self::Anything | Self::Nothing => Vec::new(),
        }
    }
}

/// The value of one selecting field: its lines joined by `,`, each member without white space around it (RFC 9111
/// §4.1). `None` if the request does not have the field.
///
/// Values with the same meaning by the field's own rules are the same (RFC 9110 §12.5.3, §12.5.4). Codings and
/// languages are case-insensitive, and a weight of 1 need not be written. The order of codings means nothing. Languages
/// keep their order, since many inner services take it for a preference.
///
/// Conditions and ranges select nothing here: the stored response was asked for without them.
pub(crate) fn selecting_value(request: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    if is_condition_or_range(name) {
        return None;
    }
    let mut lines = request.get_all(name).iter().peekable();
    lines.peek()?;
    let is_preference = name == header::ACCEPT_ENCODING || name == header::ACCEPT_LANGUAGE;
    let length = || request.get_all(name).iter().map(HeaderValue::len).sum::<usize>();
    if is_preference && length() <= LONGEST_PREFERENCE {
        let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        let mut members: Vec<_> = members.map(preference).filter(|member| !member.is_empty()).collect();
        if name == header::ACCEPT_ENCODING {
            members.sort_unstable();
        }
        return Some(members.join(&b','));
    }
    if name == header::COOKIE {
        // A cookie is no list, and its commas separate nothing. RFC 9113 §8.2.3 joins its lines like this.
        return Some(lines.map(|line| line.as_bytes().trim_ascii()).collect::<Vec<_>>().join(&b"; "[..]));
    }
    let mut value = Vec::new();
    for (index, member) in lines.flat_map(|line| outside_quotes(line.as_bytes())).enumerate() {
        if index > 0 {
            value.push(b',');
        }
        value.extend_from_slice(member.trim_ascii());
    }
    Some(value)
}

/// The members of one line. White space is part of a quoted string (RFC 9110 §5.6.4).
fn outside_quotes(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |byte| {
        quoted ^= *byte == b'"' && !escaped;
        escaped = quoted && !escaped && *byte == b'\\';
        *byte == b',' && !quoted
    })
}

/// One coding or language in lower case, with its weight unless the weight is 1.
fn preference(member: &[u8]) -> Vec<u8> {
    let mut parts = member.split(|byte| *byte == b';').map(|part| part.trim_ascii().to_ascii_lowercase());
    let mut preference = parts.next().unwrap_or_default();
    for part in parts {
        let is_one = part
            .strip_prefix(b"q=1")
            .is_some_and(|rest| matches!(rest, b"" | b"." | b".0" | b".00" | b".000"));
        if !is_one {
            preference.push(b';');
            preference.extend_from_slice(&part);
        }
    }
    preference
}

fn bytes_of(names: &[HeaderName]) -> usize {
    names.iter().map(|name| name.as_str().len()).sum()
}

/// In bytes. No real client has so many preferences, and sorting that many takes time.
const LONGEST_PREFERENCE: usize = 1024;

/// The most selecting fields of one response.
const MOST_FIELDS: usize = 64;

/// The most bytes of their names, so that a record stays small.
const MOST_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::{super::fields::tests::headers, *};

    fn fields(names: &[&'static str]) -> Vary {
        Vary::Fields(names.iter().copied().map(HeaderName::from_static).collect())
    }

    #[test]
    fn vary_is_nothing_or_anything_or_named_fields() {
        let crowd = (0..65).map(|index| format!("x-{index}")).collect::<Vec<_>>().join(",");
        let long = "x".repeat(4097);
        for (lines, expected) in [
            (vec![], Vary::Nothing),
            (vec![""], Vary::Nothing),
            (vec!["Origin, accept-encoding", "ORIGIN"], fields(&["accept-encoding", "origin"])),
            (vec!["*"], Vary::Anything),
            (vec!["origin, *"], Vary::Anything),
            (vec!["origin", "*"], Vary::Anything),
            (vec!["not a name"], Vary::Anything),
            (vec![crowd.as_str()], Vary::Anything),
            (vec![long.as_str()], Vary::Anything),
        ] {
            let lines: Vec<_> = lines.into_iter().map(|value| ("vary", value)).collect();
            assert_eq!(Vary::of(&headers(&lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn values_match_whatever_their_lines_and_white_space() {
        let value = |lines: &[(&str, &str)]| selecting_value(&headers(lines), &header::ACCEPT);
        let joined = value(&[("accept", "gzip,br")]);
        assert_eq!(joined.as_deref(), Some(b"gzip,br".as_slice()));
        assert_eq!(value(&[("accept", " gzip \t, br ")]), joined);
        assert_eq!(value(&[("accept", "gzip"), ("accept", "br")]), joined);
        assert_ne!(value(&[("accept", "br,gzip")]), joined);
        assert_ne!(value(&[("accept", "GZIP,br")]), joined);
        assert_eq!(value(&[]), None);
        assert_eq!(value(&[("accept", "")]).as_deref(), Some(b"".as_slice()));
    }

    #[test]
    fn white_space_is_left_where_it_may_mean_something() {
        let value = |name: &HeaderName, lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| (name.as_str(), *line)).collect();
            selecting_value(&headers(&lines), name)
        };
        for (name, one, other, same) in [
            (header::ACCEPT, "\"a , b\"", "\"a,b\"", false),
            (header::ACCEPT, "\"a\\\" , b\"", "\"a\\\",b\"", false),
            (header::ACCEPT, "\"a\" , b", "\"a\",b", true),
            (header::ACCEPT, "\"a\\\\\" , b", "\"a\\\\\",b", true),
            (header::COOKIE, "a=b , c", "a=b,c", false),
            (header::COOKIE, " a=b; c=d ", "a=b; c=d", true),
        ] {
            assert_eq!(value(&name, &[one]) == value(&name, &[other]), same, "{name}: {one} and {other}");
        }
        assert_eq!(value(&header::COOKIE, &["a=b", "c=d"]), value(&header::COOKIE, &["a=b; c=d"]));
    }

    #[test]
    fn codings_and_languages_match_by_their_meaning() {
        // RFC 9111 §4.1: normalised in a way that is known to have identical semantics.
        for (name, one, other, same) in [
            (header::ACCEPT_ENCODING, "gzip, br", "BR,gzip;q=1.0", true),
            (header::ACCEPT_ENCODING, "gzip;q=0.5, br", "br, gzip ; q=0.5", true),
            (header::ACCEPT_ENCODING, "gzip,, br", "br,gzip", true),
            (header::ACCEPT_ENCODING, "gzip;q=0", "gzip", false),
            (header::ACCEPT_ENCODING, "gzip;q=0.5", "gzip", false),
            (header::ACCEPT_ENCODING, "gzip;q=1.5", "gzip", false),
            (header::ACCEPT_ENCODING, "", "identity", false),
            (header::ACCEPT_LANGUAGE, "EN-gb, de;Q=0.5", "en-GB,de;q=0.5", true),
            (header::ACCEPT_LANGUAGE, "en, de", "de, en", false),
            (
                header::ACCEPT_ENCODING,
                &format!("gzip,{}", "a".repeat(1024)),
                &format!("{},gzip", "a".repeat(1024)),
                false,
            ),
        ] {
            let value = |value: &str| selecting_value(&headers(&[(name.as_str(), value)]), &name);
            assert_eq!(value(one) == value(other), same, "{name}: {one} and {other}");
        }
    }
}
