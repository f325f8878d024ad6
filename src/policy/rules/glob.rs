//! Matches a path with a pattern, segment by segment.
//!
//! RFC 3986 §3.3 (path). The matcher never goes back: the time is linear in the pattern and the path.

use crate::error::Error;

/// A pattern of paths: `*` is any text within a segment, and a segment `**` is any number of segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    pattern: String,
    /// The segments before, between and after the `**`s.
    blocks: Vec<Vec<Segment>>,
}

/// The texts before, between and after the stars of a segment.
type Segment = Vec<String>;

impl Glob {
    pub(crate) fn new(pattern: &str) -> Self {
        let mut blocks = vec![Vec::new()];
        for segment in segments(pattern) {
            match blocks.last_mut() {
                Some(block) if segment != "**" => block.push(segment.split('*').map(str::to_owned).collect()),
                _ => blocks.push(Vec::new()),
            }
        }
        Self { pattern: pattern.to_owned(), blocks }
    }

    /// # Errors
    ///
    /// The first limit that the pattern exceeds.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !self.pattern.starts_with('/') {
            return Err(Error::config("the pattern of a path begins with a slash"));
        }
        if self.pattern.len() > LONGEST_PATTERN {
            return Err(Error::config("the pattern of a path has at most 1024 bytes"));
        }
        // Such a block is tried at each segment of the path.
        let between = self.blocks.get(1..self.blocks.len().saturating_sub(1)).unwrap_or_default();
        if between.iter().any(|block| block.len() > MOST_BETWEEN) {
            return Err(Error::config("the pattern of a path has at most 8 segments between two `**`"));
        }
        Ok(())
    }

    pub(crate) fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Whether a path with these segments fits.
    pub(crate) fn fits(&self, segments: &[&str]) -> bool {
        let Some((first, others)) = self.blocks.split_first() else { return false };
        let Some((head, rest)) = segments.split_at_checked(first.len()) else { return false };
        if !all_fit(first, head) {
            return false;
        }
        let Some((last, between)) = others.split_last() else { return rest.is_empty() };
        let from_the_end = rest.len().checked_sub(last.len());
        let Some((mut rest, tail)) = from_the_end.and_then(|at| rest.split_at_checked(at)) else {
            return false;
        };
        // The first place where a block fits leaves the most for the next ones, so no other place need be tried.
        let finds = |block: &Vec<Segment>| {
            if block.is_empty() {
                return true;
            }
            let found = rest.windows(block.len()).position(|window| all_fit(block, window));
            let after = found.and_then(|at| rest.get(at.saturating_add(block.len())..));
            rest = after.unwrap_or_default();
            after.is_some()
        };
        all_fit(last, tail) && between.iter().all(finds)
    }
}

/// The segments of a path, or of a pattern.
pub(crate) fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

/// Whether each text fits its segment. There are as many of both.
fn all_fit(block: &[Segment], texts: &[&str]) -> bool {
    block.iter().zip(texts).all(|(segment, text)| fits(segment, text))
}

fn fits(segment: &Segment, text: &str) -> bool {
    let Some((first, others)) = segment.split_first() else { return false };
    let Some(rest) = text.strip_prefix(&**first) else { return false };
    let Some((last, between)) = others.split_last() else { return rest.is_empty() };
    let Some(mut rest) = rest.strip_suffix(&**last) else { return false };
    between.iter().all(|piece| {
        let after = rest.split_once(&**piece).map(|(_, after)| after);
        rest = after.unwrap_or_default();
        after.is_some()
    })
}

/// In bytes.
const LONGEST_PATTERN: usize = 1 << 10;

/// The most segments of a pattern between two `**`.
const MOST_BETWEEN: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_fit(pattern: &str, path: &str) -> bool {
        Glob::new(pattern).fits(&segments(path).collect::<Vec<_>>())
    }

    #[test]
    fn a_pattern_fits_by_whole_segments() {
        for (pattern, fitting, others) in [
            ("/a.mp4", &["/a.mp4"][..], &["/A.mp4", "/a.mp4/", "/b/a.mp4", "/a.mp", "/a.mp42", "/"][..]),
            ("/live/*", &["/live/a", "/live/"], &["/live", "/live/a/b", "/old/a"]),
            ("/live/**", &["/live", "/live/", "/live/a", "/live/a/b"], &["/lives", "/lives/a", "/a/live/b"]),
            ("/**", &["/", "/a", "/a/b", "//"], &[]),
            ("/**/*.m3u8", &["/a.m3u8", "/x/y/a.m3u8", "/.m3u8"], &["/a.m3u8/b", "/a.m3u", "/am3u8"]),
            ("/**/live/**", &["/live", "/x/live/y/z", "/live/live"], &["/x/alive/y", "/"]),
            (
                "/a/**/b/**/c",
                &["/a/b/c", "/a/x/b/x/y/c", "/a/b/b/c/c"],
                &["/a/c/b", "/a/b", "/a/x/c", "/a/c"],
            ),
            ("/a/**/**/c", &["/a/c", "/a/b/c"], &["/a", "/c"]),
            ("/v*-*-*.ts", &["/v--.ts", "/v1-2-3-4.ts"], &["/v1-2.ts", "/1-2-3.ts", "/v-.ts"]),
            ("/a**b/c", &["/ab/c", "/axb/c"], &["/a/b/c"]),
            ("/ab*ba", &["/abba", "/abxba"], &["/aba", "/abb"]),
            ("/%41", &["/%41"], &["/A"]),
        ] {
            for path in fitting {
                assert!(is_fit(pattern, path), "{pattern} {path}");
            }
            for path in others {
                assert!(!is_fit(pattern, path), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn no_pattern_makes_a_long_path_slow() {
        let block = format!("/{}x", "*a".repeat(56));
        let pattern = format!("/**{}/**/end", block.repeat(8));
        assert!(Glob::new(&pattern).check().is_ok(), "{} bytes", pattern.len());
        for path in [format!("/{}", "a".repeat(1 << 20)), format!("/{}", "a/".repeat(1 << 19))] {
            assert!(!is_fit(&pattern, &path));
        }
    }

    #[test]
    fn a_pattern_has_limits() {
        let blocks = |count: usize| format!("/**{}/**", "/a".repeat(count));
        for (pattern, is_allowed) in [
            ("/".to_owned(), true),
            (String::new(), false),
            ("live/**".to_owned(), false),
            ("**".to_owned(), false),
            (format!("/{}", "a".repeat(1023)), true),
            (format!("/{}", "a".repeat(1024)), false),
            (blocks(8), true),
            (blocks(9), false),
            (format!("{}/**", "/a".repeat(9)), true),
            (format!("/**{}", "/a".repeat(9)), true),
        ] {
            assert_eq!(Glob::new(&pattern).check().is_ok(), is_allowed, "{pattern}");
        }
    }

    /// The same by trying everything.
    fn oracle(pattern: &[&str], path: &[&str]) -> bool {
        match pattern.split_first() {
            None => path.is_empty(),
            Some((&"**", rest)) => (0..=path.len()).any(|skipped| oracle(rest, &path[skipped..])),
            Some((segment, rest)) => path.split_first().is_some_and(|(text, path)| {
                within(segment.as_bytes(), text.as_bytes()) && oracle(rest, path)
            }),
        }
    }

    fn within(segment: &[u8], text: &[u8]) -> bool {
        match segment.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skipped| within(rest, &text[skipped..])),
            Some((byte, rest)) => text.first() == Some(byte) && within(rest, &text[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn every_pattern_fits_what_the_oracle_says(pattern in "/(([ab*]{0,4}|\\*\\*)/){0,5}[ab*]{0,3}", path in "/([ab]{0,4}/){0,5}[ab]{0,4}") {
            let split = |text: &str| segments(text).map(str::to_owned).collect::<Vec<_>>();
            let (patterns, paths) = (split(&pattern), split(&path));
            let patterns: Vec<_> = patterns.iter().map(String::as_str).collect();
            let paths: Vec<_> = paths.iter().map(String::as_str).collect();
            prop_assert_eq!(is_fit(&pattern, &path), oracle(&patterns, &paths));
        }
    }
}
