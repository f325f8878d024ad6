//! The attributes of the root of a DASH manifest that say how it goes on.
//!
//! ISO/IEC 23009-1 §5.3.1.2 (`MPD`); XML 1.0 §2.4 (markup), §2.5 (comments), §2.6 (processing instructions), §2.8
//! (prolog).

use std::{mem, time::Duration};

use super::{life::Playlist, period::duration};

/// The text of a manifest up to the end of the start tag of its root.
#[derive(Debug, Default)]
pub(super) struct Root {
    at: At,
    /// The first bytes of the name under way.
    name: Vec<u8>,
    /// The first bytes of the value under way.
    value: Vec<u8>,
    is_dynamic: bool,
    period: Option<Duration>,
}

/// The place in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Before the root, outside of markup.
    #[default]
    Prolog,
    /// After `<`.
    Markup,
    /// After `<!`, with so many dashes after it.
    Declared(u8),
    /// In a comment, after so many dashes in a row.
    Comment(u8),
    /// In another declaration, within so many brackets.
    Declaration(u32),
    /// In a processing instruction. The last byte may be a question mark.
    Instruction(bool),
    /// In the name of the root.
    Element,
    /// In the start tag of the root, between attributes, in a name, or before a value.
    Tag,
    /// In a value, which ends with this quote.
    Value(u8),
    /// After the start tag of a manifest.
    Done,
    /// The text is no manifest.
    Lost,
}

impl Root {
    pub(super) fn read(&mut self, piece: &[u8]) {
        for byte in piece {
            if matches!(self.at, At::Done | At::Lost) {
                return;
            }
            self.at = self.after(*byte);
        }
    }

    /// What the manifest says. A static one has all that it will ever have, and `static` is the default.
    pub(super) fn found(self) -> Playlist {
        match self.at {
            At::Done if self.is_dynamic => Playlist::Live(self.period),
            At::Done => Playlist::Ended,
            _ => Playlist::Unknown,
        }
    }

    /// The place after the next byte.
    fn after(&mut self, byte: u8) -> At {
        match (self.at, byte) {
            (At::Prolog, b'<') => At::Markup,
            // The end of some markup before the root, or text, which a manifest does not have here.
            (At::Declared(_) | At::Comment(2) | At::Declaration(0) | At::Instruction(true), b'>')
            | (At::Prolog, _) => At::Prolog,
            (At::Markup, b'!') => At::Declared(0),
            (At::Markup, b'?') => At::Instruction(false),
            (At::Markup, b'/' | b'>') => At::Lost,
            (At::Declared(0), b'-') => At::Declared(1),
            (At::Declared(1), b'-') => At::Comment(0),
            (At::Declared(_), _) => At::Declaration(u32::from(byte == b'[')),
            (At::Comment(dashes), b'-') => At::Comment(dashes.saturating_add(1).min(2)),
            (At::Comment(_), _) => At::Comment(0),
            (At::Declaration(depth), b'[') => At::Declaration(depth.saturating_add(1)),
            (At::Declaration(depth), b']') => At::Declaration(depth.saturating_sub(1)),
            (At::Declaration(depth), _) => At::Declaration(depth),
            (At::Instruction(_), _) => At::Instruction(byte == b'?'),
            (At::Markup | At::Element, _) => self.in_the_name_of_the_root(byte),
            (At::Tag, _) => self.in_the_tag(byte),
            (At::Value(quote), byte) if byte == quote => {
                self.end_attribute();
                At::Tag
            }
            (At::Value(quote), _) => {
                push(&mut self.value, byte);
                At::Value(quote)
            }
            (at @ (At::Done | At::Lost), _) => at,
        }
    }

    fn in_the_name_of_the_root(&mut self, byte: u8) -> At {
        let has_ended = byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/');
        if !has_ended {
            push(&mut self.name, byte);
            return At::Element;
        }
        let name = mem::take(&mut self.name);
        // A prefix may name the namespace.
        match name.rsplit(|byte| *byte == b':').next() {
            Some(b"MPD") if byte == b'>' => At::Done,
            Some(b"MPD") => At::Tag,
            _ => At::Lost,
        }
    }

    fn in_the_tag(&mut self, byte: u8) -> At {
        match byte {
            b'>' => return At::Done,
            b'"' | b'\'' => return At::Value(byte),
            b'=' | b'/' => {}
            byte if byte.is_ascii_whitespace() => {}
            byte => push(&mut self.name, byte),
        }
        At::Tag
    }

    fn end_attribute(&mut self) {
        let (name, value) = (mem::take(&mut self.name), mem::take(&mut self.value));
        match &name[..] {
            b"type" => self.is_dynamic = value.trim_ascii() != b"static",
            b"minimumUpdatePeriod" => self.period = duration(&value),
            _ => {}
        }
    }
}

/// Adds a byte, unless the text is longer than any name or period.
fn push(text: &mut Vec<u8>, byte: u8) {
    if text.len() < LONGEST {
        text.push(byte);
    }
}

const LONGEST: usize = 64;
