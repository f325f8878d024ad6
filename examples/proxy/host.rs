//! The host that a request is for, and the hosts that the proxy answers for.
//!
//! RFC 9110 §7.2 (`Host`), §7.4 (misdirected requests); RFC 9112 §3.2; RFC 9113 §8.3.1; RFC 3986 §3.2.2.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use http::{HeaderValue, Version, header, request};

use super::answers::OwnAnswer;

/// A valid host in its normal form: lower case, and without a port if that is 80.
///
/// The key and the origin get the same form, so all requests of one key are the same request to the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    name: String,
    port: Option<u16>,
}

impl Host {
    /// The host of a request; `None` for an HTTP/1.0 request that names none.
    pub(crate) fn of(request: &request::Parts) -> Result<Option<Self>, OwnAnswer> {
        let mut fields = request.headers.get_all(header::HOST).iter();
        let (field, another) = (fields.next(), fields.next());
        if another.is_some() {
            return Err(OwnAnswer::SeveralHosts);
        }
        let field = field.map(Self::parse).transpose()?;
        let target = request.uri.authority().map(|authority| authority.as_str().parse()).transpose()?;
        match (request.version, target, field) {
            // RFC 9112 §3.2: the field is required even if the target names its own host.
            (Version::HTTP_11, _, None) | (Version::HTTP_2, None, None) => Err(OwnAnswer::NoHost),
            // RFC 9113 §8.3.1. In HTTP/1.1, the target wins (RFC 9112 §3.2.2).
            (Version::HTTP_2, Some(target), Some(field)) if target != field => Err(OwnAnswer::TwoHosts),
            (_, target, field) => Ok(target.or(field)),
        }
    }

    /// The value of a `Host` field. Most clients have `sent` just this one.
    pub(crate) fn into_field(self, sent: Option<&HeaderValue>) -> Option<HeaderValue> {
        let is_this = |sent: &&HeaderValue| sent.to_str().is_ok_and(|sent| self.is_written(sent));
        sent.filter(is_this).cloned().or_else(|| HeaderValue::try_from(self.to_string()).ok())
    }

    /// Whether `text` is the normal form.
    fn is_written(&self, text: &str) -> bool {
        match (text.strip_prefix(&self.name), self.port) {
            (Some(rest), None) => rest.is_empty(),
            (Some(rest), Some(port)) => rest
                .strip_prefix(':')
                .is_some_and(|digits| !digits.starts_with(['0', '+']) && digits.parse() == Ok(port)),
            (None, _) => false,
        }
    }

    fn parse(field: &HeaderValue) -> Result<Self, OwnAnswer> {
        field.to_str().map_err(|_| OwnAnswer::InvalidHost)?.parse()
    }
}

impl FromStr for Host {
    type Err = OwnAnswer;

    /// `uri-host [ ":" port ]`
    fn from_str(text: &str) -> Result<Self, OwnAnswer> {
        let (name, port) = split(text).ok_or(OwnAnswer::InvalidHost)?;
        Ok(Self { name, port: port.filter(|port| *port != HTTP_PORT) })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// A host that the proxy answers for, at one port, or at every port if it names none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    name: String,
    port: Option<u16>,
}

impl Allowed {
    pub(crate) fn matches(&self, host: &Host) -> bool {
        let at_port = self.port.is_none_or(|port| port == host.port.unwrap_or(HTTP_PORT));
        self.name == host.name && at_port
    }
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = split(text.trim()).ok_or("expected HOST or HOST:PORT")?;
        Ok(Self { name, port })
    }
}

/// The name in lower case, and the port if there is one.
fn split(text: &str) -> Option<(String, Option<u16>)> {
    let (name, port) = if let Some(literal) = text.strip_prefix('[') {
        let (address, rest) = literal.split_once(']')?;
        // An address has several spellings, but a host must have one key.
        let address: Ipv6Addr = address.parse().ok()?;
        let port = if rest.is_empty() { "" } else { rest.strip_prefix(':')? };
        (format!("[{address}]"), port)
    } else {
        let (name, port) = text.split_once(':').unwrap_or((text, ""));
        (is_registered_name(name.as_bytes()).then(|| name.to_ascii_lowercase())?, port)
    };
    match port {
        // RFC 3986 §6.2.3: an empty port is the default one.
        "" => Some((name, None)),
        digits if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            Some((name, Some(digits.parse().ok()?)))
        }
        _ => None,
    }
}

/// RFC 3986 §3.2.2, reg-name; RFC 9110 §4.2.1: the host of an `http` URI is not empty.
fn is_registered_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
            (byte, after) if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => after,
            _ => return false,
        };
    }
    !name.is_empty()
}

const HTTP_PORT: u16 = 80;
