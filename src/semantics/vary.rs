//! Which request fields a response was selected by, and whether another request has the same.
//!
//! RFC 9110 §12.5.5 (`Vary`), RFC 9111 §4.1.

use http::header::{self, HeaderMap, HeaderName};

use super::fields::{is_condition_or_range, is_whitespace, members};

/// What a response says of its selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Vary {
    /// The same for every request.
    Nothing,
    /// `*`, or what is no field name: no request can be known to match.
    Anything,
    /// By these request fields, in order and each once.
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
            // Nobody selects by so many; a record could not hold them all.
            Ok(names) if names.len() > MOST_FIELDS => Self::Anything,
            Ok(mut names) => {
                names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
                names.dedup();
                Self::Fields(names)
            }
        }
    }
}

/// The value of one selecting field: its lines joined by `,`, each member without white space around it
/// (RFC 9111 §4.1); `None` where the request does not have it.
///
/// Conditions and ranges select nothing here: what is stored was asked for without them.
pub(crate) fn selecting_value(request: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    if is_condition_or_range(name) {
        return None;
    }
    let mut lines = request.get_all(name).iter().peekable();
    lines.peek()?;
    let mut value = Vec::new();
    for (index, member) in lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).enumerate() {
        if index > 0 {
            value.push(b',');
        }
        value.extend_from_slice(trim(member));
    }
    Some(value)
}

/// Selecting fields of one response.
const MOST_FIELDS: usize = 64;

fn trim(mut member: &[u8]) -> &[u8] {
    while let Some((first, rest)) =
        member.split_first().filter(|(first, _)| is_whitespace(char::from(**first)))
    {
        let _ = first;
        member = rest;
    }
    while let Some((last, rest)) = member.split_last().filter(|(last, _)| is_whitespace(char::from(**last))) {
        let _ = last;
        member = rest;
    }
    member
}

#[cfg(test)]
mod tests {
    use super::{super::fields::tests::headers, *};

    fn fields(names: &[&'static str]) -> Vary {
        Vary::Fields(names.iter().copied().map(HeaderName::from_static).collect())
    }

    #[test]
    fn vary_is_nothing_or_anything_or_named_fields() {
        let crowd = (0..65).map(|index| format!("x-{index}")).collect::<Vec<_>>().join(",");
        for (lines, expected) in [
            (vec![], Vary::Nothing),
            (vec![""], Vary::Nothing),
            (vec!["Origin, accept-encoding", "ORIGIN"], fields(&["accept-encoding", "origin"])),
            (vec!["*"], Vary::Anything),
            (vec!["origin, *"], Vary::Anything),
            (vec!["origin", "*"], Vary::Anything),
            (vec!["not a name"], Vary::Anything),
            (vec![crowd.as_str()], Vary::Anything),
        ] {
            let lines: Vec<_> = lines.into_iter().map(|value| ("vary", value)).collect();
            assert_eq!(Vary::of(&headers(&lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn values_match_whatever_their_lines_and_white_space() {
        let value = |lines: &[(&str, &str)]| selecting_value(&headers(lines), &header::ACCEPT_ENCODING);
        let joined = value(&[("accept-encoding", "gzip,br")]);
        assert_eq!(joined.as_deref(), Some(b"gzip,br".as_slice()));
        assert_eq!(value(&[("accept-encoding", " gzip \t, br ")]), joined);
        assert_eq!(value(&[("accept-encoding", "gzip"), ("accept-encoding", "br")]), joined);
        assert_ne!(value(&[("accept-encoding", "br,gzip")]), joined);
        assert_eq!(value(&[]), None);
        assert_eq!(value(&[("accept-encoding", "")]).as_deref(), Some(b"".as_slice()));
    }
}
