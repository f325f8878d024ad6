//! Structured Fields: reading a dictionary or a list, writing a string.
//!
//! RFC 9651 §4.2 (parsing), §4.2.1 (lists), §4.2.2 (dictionaries), §4.1.6 (strings). A field that does not parse counts as absent: §4.2
//! has it fail as a whole, so that no two readers take different parts of it for the truth.

use std::collections::HashMap;

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The value of one member, without its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Boolean(bool),
    Integer(i64),
    /// A value of a type that no field read here uses. It parses, and its content is dropped.
    Other,
    String(String),
    Token(String),
}

/// The members of a dictionary field, over all its lines, in order, or `None` if the field does not parse.
///
/// A field that is absent or empty is a dictionary without members (§3.2).
pub(crate) fn dictionary(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<(String, Item)>> {
    parse(&joined(headers, name))
}

/// The members of a list field, over all its lines, in order, or `None` if the field does not parse. An inner list is an
/// [`Item::Other`].
///
/// A field that is absent or empty is a list without members (§3.1). The number of members has no limit of its own. They
/// take room in proportion to the field.
pub(crate) fn list(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<Item>> {
    parse_list(&joined(headers, name))
}

/// RFC 9110 §5.2: the lines of a field are one value, joined by commas.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let lines: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    lines.join(&b", "[..])
}

/// Whether the text is written as a token (§3.3.4).
pub(crate) fn is_token(text: &str) -> bool {
    text.as_bytes()
        .split_first()
        .is_some_and(|(first, rest)| starts_token(*first) && rest.iter().copied().all(continues_token))
}

/// Writes printable ASCII as a string (§4.1.6).
pub(crate) fn push_string(text: &mut String, characters: impl IntoIterator<Item = u8>) {
    text.push('"');
    for character in characters {
        if matches!(character, b'"' | b'\\') {
            text.push('\\');
        }
        text.push(char::from(character));
    }
    text.push('"');
}

fn parse(text: &[u8]) -> Option<Vec<(String, Item)>> {
    let mut members: Vec<(String, Item)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut input = Input { rest: text };
    input.every(is_space);
    while !input.rest.is_empty() {
        let key = input.key()?;
        let item = if input.takes(b'=') { input.value()? } else { Item::Boolean(true) };
        input.parameters()?;
        // §4.2.2: a key that occurs again gets its last value, and keeps its first place.
        if let Some((_, value)) = places.get(key).and_then(|place| members.get_mut(*place)) {
            *value = item;
        } else if members.len() < MOST_MEMBERS {
            places.insert(key, members.len());
            members.push((key.to_owned(), item));
        } else {
            return None;
        }
        input.comma()?;
    }
    Some(members)
}

fn parse_list(text: &[u8]) -> Option<Vec<Item>> {
    let mut members = Vec::new();
    let mut input = Input { rest: text };
    input.every(is_space);
    while !input.rest.is_empty() {
        members.push(input.value()?);
        input.parameters()?;
        input.comma()?;
    }
    Some(members)
}

/// The text that has not been read yet.
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// Skips the comma after a member, and the whitespace around it. A member must follow the comma, and nothing else may
    /// follow the last member.
    fn comma(&mut self) -> Option<()> {
        self.every(is_optional_whitespace);
        if self.rest.is_empty() {
            return Some(());
        }
        self.expect(b',')?;
        self.every(is_optional_whitespace);
        (!self.rest.is_empty()).then_some(())
    }

    /// A value of §4.2.1.1: an inner list, or a bare item.
    fn value(&mut self) -> Option<Item> {
        if self.takes(b'(') { self.inner_list() } else { self.bare_item() }
    }

    /// §4.2.1.2, after the opening parenthesis. Inner lists contain no lists.
    fn inner_list(&mut self) -> Option<Item> {
        loop {
            self.every(is_space);
            if self.takes(b')') {
                return Some(Item::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.rest.first(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    /// §4.2.3.2: reads parameters and drops them.
    fn parameters(&mut self) -> Option<()> {
        while self.takes(b';') {
            self.every(is_space);
            self.key()?;
            if self.takes(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// §4.2.3.3.
    fn key(&mut self) -> Option<&'a str> {
        self.rest.first().filter(|first| starts_key(**first))?;
        self.some(continues_key)
    }

    /// §4.2.3.1.
    fn bare_item(&mut self) -> Option<Item> {
        match *self.rest.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string().map(Item::String),
            b':' => self.byte_sequence(),
            b'?' => self.boolean(),
            b'@' => self.date(),
            b'%' => self.display_string(),
            first if starts_token(first) => {
                self.some(continues_token).map(|token| Item::Token(token.to_owned()))
            }
            _ => None,
        }
    }

    /// §4.2.4: at most 15 digits, or at most 12 and, after a point, 1 to 3.
    fn number(&mut self) -> Option<Item> {
        let negative = self.takes(b'-');
        let digits = self.some(|byte| byte.is_ascii_digit())?;
        if self.takes(b'.') {
            let fraction = self.some(|byte| byte.is_ascii_digit())?;
            return (digits.len() <= 12 && fraction.len() <= 3).then_some(Item::Other);
        }
        let number: i64 = digits.parse().ok().filter(|_| digits.len() <= 15)?;
        Some(Item::Integer(if negative { -number } else { number }))
    }

    /// §4.2.5.
    fn string(&mut self) -> Option<String> {
        self.expect(b'"')?;
        let mut string = String::new();
        loop {
            match self.next()? {
                b'"' => return Some(string),
                b'\\' => string.push(char::from(self.next().filter(|byte| matches!(byte, b'"' | b'\\'))?)),
                byte if is_printable(byte) => string.push(char::from(byte)),
                _ => return None,
            }
        }
    }

    /// §4.2.7: base64, with or without padding.
    fn byte_sequence(&mut self) -> Option<Item> {
        self.expect(b':')?;
        let digits = self.every(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')).len() % 4;
        let padding = self.every(|byte| byte == b'=').len();
        self.expect(b':')?;
        let ends = match digits {
            0 => padding == 0,
            1 => false,
            over => over + padding <= 4,
        };
        ends.then_some(Item::Other)
    }

    /// §4.2.8.
    fn boolean(&mut self) -> Option<Item> {
        self.expect(b'?')?;
        match self.next()? {
            b'0' => Some(Item::Boolean(false)),
            b'1' => Some(Item::Boolean(true)),
            _ => None,
        }
    }

    /// §4.2.9: whole seconds.
    fn date(&mut self) -> Option<Item> {
        self.expect(b'@')?;
        match self.number()? {
            Item::Integer(_) => Some(Item::Other),
            _ => None,
        }
    }

    /// §4.2.10: UTF-8, with each byte that is not printable ASCII as two digits in lower case.
    fn display_string(&mut self) -> Option<Item> {
        self.expect(b'%')?;
        self.expect(b'"')?;
        let mut string = Vec::new();
        loop {
            match self.next()? {
                b'"' => return String::from_utf8(string).is_ok().then_some(Item::Other),
                b'%' => string.push(self.hexadecimal()? << 4 | self.hexadecimal()?),
                byte if is_printable(byte) => string.push(byte),
                _ => return None,
            }
        }
    }

    fn hexadecimal(&mut self) -> Option<u8> {
        match self.next()? {
            digit @ b'0'..=b'9' => Some(digit - b'0'),
            digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        }
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.takes(byte).then_some(())
    }

    /// Skips `byte` if it comes next.
    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.rest.first() == Some(&byte);
        if is_next {
            self.next();
        }
        is_next
    }

    /// Takes all following bytes of a kind. There may be none.
    fn every(&mut self, is_of_kind: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !is_of_kind(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Like [`every`](Self::every) for ASCII bytes, but there must be one.
    fn some(&mut self, is_of_kind: impl Fn(u8) -> bool) -> Option<&'a str> {
        std::str::from_utf8(self.every(is_of_kind)).ok().filter(|taken| !taken.is_empty())
    }
}

fn starts_token(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'*'
}

/// A `tchar` of RFC 9110 §5.6.2, a colon or a slash.
fn continues_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
}

fn starts_key(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte == b'*'
}

fn continues_key(byte: u8) -> bool {
    starts_key(byte) || byte.is_ascii_digit() || b"_-.".contains(&byte)
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

fn is_space(byte: u8) -> bool {
    byte == b' '
}

/// RFC 9110 §5.6.3. Lists and dictionaries have it between members, since software that joins lines may put tabs there.
fn is_optional_whitespace(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The number of members that §3.2 requires every reader to take.
const MOST_MEMBERS: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::fields::tests::headers, *};

    /// Reads a dictionary field of these lines.
    fn read(lines: &[&str]) -> Option<Vec<(String, Item)>> {
        let lines: Vec<_> = lines.iter().map(|line| ("x", *line)).collect();
        dictionary(&headers(&lines), &HeaderName::from_static("x"))
    }

    fn members(members: &[(&str, Item)]) -> Vec<(String, Item)> {
        members.iter().map(|(key, item)| ((*key).to_owned(), item.clone())).collect()
    }

    #[test]
    fn every_type_is_read_and_its_parameters_are_not_kept() {
        let string = |value: &str| Item::String(value.to_owned());
        for (rule, value, expected) in [
            ("§4.2.4 an integer", "42", Item::Integer(42)),
            ("§4.2.4 a negative integer", "-42", Item::Integer(-42)),
            ("§4.2.4 zeros before it, and a sign before zero", "-000", Item::Integer(0)),
            ("§4.2.4 15 digits", "999999999999999", Item::Integer(999_999_999_999_999)),
            ("§4.2.4 a decimal", "-123456789012.125", Item::Other),
            ("§4.2.5 a string", r#""a b, c;d""#, string("a b, c;d")),
            ("§4.2.5 an empty string", r#""""#, string("")),
            ("§4.2.5 escapes", r#""\"\\""#, string(r#""\"#)),
            ("§4.2.6 a token", "*A/b:c!", Item::Token("*A/b:c!".to_owned())),
            ("§4.2.7 a byte sequence", ":aGk=:", Item::Other),
            ("§4.2.7 without its padding", ":aGk:", Item::Other),
            ("§4.2.7 of no bytes", "::", Item::Other),
            ("§4.2.8 false", "?0", Item::Boolean(false)),
            ("§4.2.8 true", "?1", Item::Boolean(true)),
            ("§4.2.9 a date", "@-1659578233", Item::Other),
            ("§4.2.10 a display string", "%\"f%c3%bc \"", Item::Other),
            ("§4.2.1.2 an inner list", "( 1 \"a\";x=1  b )", Item::Other),
            ("§4.2.1.2 an empty inner list", "()", Item::Other),
            ("§4.2.1.2 parameters of an inner list", "(a);b;c=1", Item::Other),
            ("§4.2.3.2 parameters of an item", "1;a;  b=\"c\";d=?0", Item::Integer(1)),
        ] {
            assert_eq!(read(&[&format!("a={value}")]), Some(members(&[("a", expected)])), "{rule}: {value}");
        }
    }

    #[test]
    fn members_are_read_in_order() {
        let (one, two) = (Item::Integer(1), Item::Integer(2));
        for (rule, lines, expected) in [
            ("§3.2 an absent field has no members", &[][..], members(&[])),
            ("§3.2 an empty field has no members", &[""], members(&[])),
            ("§4.2 a field of spaces has no members", &["  "], members(&[])),
            ("§4.2.2 a key alone is true", &["a"], members(&[("a", Item::Boolean(true))])),
            ("§4.2.2 parameters after it are its own", &["a;x=1"], members(&[("a", Item::Boolean(true))])),
            (
                "§4.2.2 whitespace around commas",
                &["  b=1 \t,\t a=2  "],
                members(&[("b", one.clone()), ("a", two.clone())]),
            ),
            ("§4.2.3.3 the characters of a key", &["*a_-.*0=1"], members(&[("*a_-.*0", one.clone())])),
            (
                "§4.2.2 the last value of a key counts, in its first place",
                &["a=?0, b=2, a=1"],
                members(&[("a", one.clone()), ("b", two.clone())]),
            ),
            (
                "RFC 9110 §5.2 lines are joined by commas",
                &["a=1", "b=2"],
                members(&[("a", one.clone()), ("b", two.clone())]),
            ),
        ] {
            assert_eq!(read(lines), Some(expected), "{rule}: {lines:?}");
        }
    }

    #[test]
    fn a_list_has_members_without_keys() {
        let string = |value: &str| Item::String(value.to_owned());
        for (rule, lines, expected) in [
            ("§3.1 an absent field has no members", &[][..], Some(vec![])),
            ("§3.1 an empty field has no members", &[""], Some(vec![])),
            ("§4.2 spaces alone", &["  "], Some(vec![])),
            (
                "§4.2.1 whitespace around commas",
                &[" \"a\" \t,\t\"b\"  "],
                Some(vec![string("a"), string("b")]),
            ),
            ("§4.2.1 a member may occur twice", &["\"a\",\"a\""], Some(vec![string("a"), string("a")])),
            ("§4.2.1 parameters", &["\"a\";x;y=1, b"], Some(vec![string("a"), Item::Token("b".to_owned())])),
            ("§4.2.1.1 an inner list", &["(\"a\" 1);x"], Some(vec![Item::Other])),
            (
                "RFC 9110 §5.2 lines are joined by commas",
                &["1", "2"],
                Some(vec![Item::Integer(1), Item::Integer(2)]),
            ),
            ("a string does not go on on the next line", &["\"a", "b\""], Some(vec![string("a, b")])),
            ("§4.2.1 a comma at the end", &["1,"], None),
            ("§4.2.1 a comma at the beginning", &[",1"], None),
            ("§4.2.1 no comma", &["1 2"], None),
            ("§4.2.1 an empty line between", &["1", "", "2"], None),
            ("§4.2.1 a member with a key", &["a=1"], None),
            ("§4.2.1 a broken member after a good one", &["1, \"a"], None),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("x", *line)).collect();
            assert_eq!(list(&headers(&lines), &HeaderName::from_static("x")), expected, "{rule}: {lines:?}");
        }
    }

    #[test]
    fn an_error_fails_the_whole_field() {
        for (rule, value) in [
            ("§4.2 text that is not ASCII", "\u{e9}"),
            ("§4.2.2 a comma at the end", "b,"),
            ("§4.2.2 a comma at the beginning", ",b"),
            ("§4.2.2 two commas", "b,,c"),
            ("§4.2.2 no comma", "b c"),
            ("§4.2.2 a space before =", "b =1"),
            ("§4.2.2 a space after =", "b= 1"),
            ("§4.2.2 no value after =", "b="),
            ("§4.2.3.3 a key in upper case", "B=1"),
            ("§4.2.3.3 a key of digits", "1=1"),
            ("§4.2.3.2 a parameter without a key", "b=1;"),
            ("§4.2.3.2 a space before a parameter", "b=1 ;c"),
            ("§4.2.3.2 a parameter that is a list", "b=1;c=()"),
            ("§4.2.4 16 digits", "b=1234567890123456"),
            ("§4.2.4 a decimal of 13 digits", "b=1234567890123.1"),
            ("§4.2.4 a decimal with 4 digits after the point", "b=1.1234"),
            ("§4.2.4 a decimal without digits after the point", "b=1."),
            ("§4.2.4 a decimal without digits before the point", "b=.1"),
            ("§4.2.4 a sign alone", "b=-"),
            ("§4.2.4 a plus", "b=+1"),
            ("§4.2.5 a string that does not end", "b=\"c"),
            ("§4.2.5 an escape of something else", "b=\"\\c\""),
            ("§4.2.5 a tab in a string", "b=\"\t\""),
            ("§4.2.5 a string that is not ASCII", "b=\"\u{e9}\""),
            ("§4.2.6 a character that no token may have", "b=c@"),
            ("§4.2.7 bytes that do not end", "b=:aGk="),
            ("§4.2.7 bytes that are not base64", "b=:a_k=:"),
            ("§4.2.7 a digit of base64 by itself", "b=:a:"),
            ("§4.2.7 more padding than there is room for", "b=:aGk==:"),
            ("§4.2.8 a boolean that is neither", "b=?2"),
            ("§4.2.9 a date in parts of seconds", "b=@1.5"),
            ("§4.2.10 hexadecimals in upper case", "b=%\"%C3%BC\""),
            ("§4.2.10 a display string that is not UTF-8", "b=%\"%c3\""),
            ("§4.2.10 no quote", "b=%c"),
            ("§4.2.1.2 an inner list that does not end", "b=(1"),
            ("§4.2.1.2 an inner list in another", "b=((1))"),
            ("§4.2.1.2 commas in an inner list", "b=(1,2)"),
            ("§4.2.1.2 no space between items", "b=(\"c\"\"d\")"),
        ] {
            assert_eq!(read(&[&format!("a, {value}")]), None, "{rule}: {value}");
            assert_eq!(read(&["a", value]), None, "{rule}, on a line of its own: {value}");
        }
        assert_eq!(read(&["a", "", "b"]), None, "an empty line is a member that is not there");
    }

    #[test]
    fn a_member_too_many_fails_the_field() {
        let field = |members: usize| (0..members).map(|key| format!("a{key}")).collect::<Vec<_>>().join(",");
        assert_eq!(read(&[&field(1024)]).unwrap().len(), 1024, "§3.2: every reader must take this many");
        assert_eq!(read(&[&field(1025)]), None);
        assert_eq!(read(&[&field(1024), "a7"]).unwrap().len(), 1024, "a known key is no new member");
    }

    #[test]
    fn a_written_string_is_read_back() {
        for (characters, written) in [("", "\"\""), ("a b", "\"a b\""), ("\"\\", r#""\"\\""#)] {
            let mut text = String::new();
            push_string(&mut text, characters.bytes());
            assert_eq!(text, written);
            assert_eq!(
                read(&[&format!("a={text}")]),
                Some(members(&[("a", Item::String(characters.to_owned()))]))
            );
        }
    }

    #[test]
    fn a_token_is_read_back_as_a_token() {
        for (text, token) in
            [("a", true), ("*", true), ("edge-1", true), ("a:b/c", true), ("", false), ("1a", false)]
        {
            assert_eq!(is_token(text), token, "{text}");
            let item = Item::Token(text.to_owned());
            assert_eq!(read(&[&format!("a={text}")]) == Some(members(&[("a", item)])), token, "{text}");
        }
        assert!(!is_token("a b") && !is_token("a\""));
    }

    /// Reads a dictionary with another implementation. As of 0.15 that implementation reads RFC 9651, with dates and
    /// display strings, and is as lenient with base64. It does not limit the number of members.
    fn by_another(text: &[u8]) -> Option<Vec<(String, Item)>> {
        let members: sfv::Dictionary = sfv::Parser::new(text).parse().ok()?;
        Some(members.into_iter().map(|(key, entry)| (key.into(), item(entry))).collect())
    }

    /// Reads a list with the same other implementation.
    fn list_by_another(text: &[u8]) -> Option<Vec<Item>> {
        let members: sfv::List = sfv::Parser::new(text).parse().ok()?;
        Some(members.into_iter().map(item).collect())
    }

    fn item(entry: sfv::ListEntry) -> Item {
        match entry {
            sfv::ListEntry::InnerList(_) => Item::Other,
            sfv::ListEntry::Item(item) => match item.bare_item {
                sfv::BareItem::Boolean(boolean) => Item::Boolean(boolean),
                sfv::BareItem::Integer(integer) => Item::Integer(integer.into()),
                sfv::BareItem::String(string) => Item::String(string.into()),
                sfv::BareItem::Token(token) => Item::Token(token.into()),
                _ => Item::Other,
            },
        }
    }

    /// The pieces of a dictionary, whole and broken. Each may follow any other.
    fn piece() -> impl Strategy<Value = &'static str> {
        const PIECES: &str = "a|b|max-age|A|*|=|=|=1|=?1|=\"s\"|=t|,|, |, | , |\t,|;|; p|;p=1| |  |\t|(|)|( |0|-|17|\
            123456789012|123456789012345|.|.5|.125|\"|\\|\\\"|\"x y\"|?|?0|@|@12|%|%\"|%c3|%C3|%\"%c3%bc\"|:|:aGk=:|:aGk:|\
            aGk|==|+|/|token|'|{|\u{7f}|\u{fc}";
        proptest::sample::select(PIECES.split('|').collect::<Vec<_>>())
    }

    /// Text that is nearly a dictionary: here a number is too long, there a string does not end.
    fn nearly() -> impl Strategy<Value = String> {
        let item = [
            r"-?[0-9]{1,13}(\.[0-9]{1,4})?",
            r#""[ -~]{0,3}""#,
            r"[*a-zA-Z][#-~]{0,2}",
            r"\?[0-2]",
            r":[a-zA-Z0-9+/]{2,4}={0,2}:",
            r"@-?[0-9]{1,3}",
            r#"%"([#-$a-z]|%[0-7][0-9a-f]|%c3%bc){0,3}""#,
            r#"\(( ?[a-c0-9"]){0,2}\)"#,
        ]
        .join("|");
        let member = format!("[a-c*]{{1,2}}(=({item}))?(; ?[a-c](=[0-9a])?){{0,2}}");
        proptest::string::string_regex(&format!("{member}( ?, ?{member}){{0,3}}")).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn another_implementation_reads_the_same_of_any_pieces(pieces in proptest::collection::vec(piece(), 0..24)) {
            let text = pieces.concat().into_bytes();
            prop_assert_eq!(parse(&text), by_another(&text), "{}", text.escape_ascii());
            prop_assert_eq!(parse_list(&text), list_by_another(&text), "{}", text.escape_ascii());
        }

        #[test]
        fn another_implementation_reads_nearly_valid_dictionaries_alike(
            text in nearly(),
            garble in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
        ) {
            let mut text = text.into_bytes();
            if let Some((at, byte)) = garble.filter(|_| !text.is_empty()) {
                let at = at.index(text.len());
                text[at] = byte;
            }
            prop_assert_eq!(parse(&text), by_another(&text), "{}", text.escape_ascii());
        }

        #[test]
        fn another_implementation_reads_nearly_valid_lists_alike(text in nearly()) {
            // Without its first key, the first member is one of a list.
            let text = text.split_once('=').map_or(&*text, |(_, rest)| rest).as_bytes();
            prop_assert_eq!(parse_list(text), list_by_another(text), "{}", text.escape_ascii());
        }

        #[test]
        fn another_implementation_reads_the_same_of_any_bytes(text in proptest::collection::vec(any::<u8>(), 0..12)) {
            prop_assert_eq!(parse(&text), by_another(&text), "{}", text.escape_ascii());
            prop_assert_eq!(parse_list(&text), list_by_another(&text), "{}", text.escape_ascii());
        }
    }
}
