//! Reads the order of a request that purges.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri, header, request};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

use crate::{error::BoxError, purger::Mark, semantics::fields::media_type};

/// The order of a request: its selectors, and the mark.
pub(super) struct Order {
    pub(super) named: Vec<Named>,
    pub(super) mark: Mark,
}

/// A selector: the responses that are purged.
pub(super) enum Named {
    Uri(Uri),
    UriPrefix(Uri),
    Origin(Uri),
    /// Groups of an origin.
    Groups(Uri, Vec<String>),
    All,
}

impl Named {
    /// The selector, for the answer.
    pub(super) fn json(&self) -> Map<String, Value> {
        let members: Vec<(&str, Value)> = match self {
            Self::Uri(uri) => vec![("uri", uri.to_string().into())],
            Self::UriPrefix(uri) => vec![("uri-prefix", uri.to_string().into())],
            Self::Origin(origin) => vec![("origin", origin.to_string().into())],
            Self::Groups(origin, groups) => {
                vec![("origin", origin.to_string().into()), ("groups", groups.clone().into())]
            }
            Self::All => vec![("all", true.into())],
        };
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Why a request is no purge: the status, and a sentence.
pub(super) type Refused = (StatusCode, &'static str);

impl Order {
    /// Reads the order of a request.
    ///
    /// # Errors
    ///
    /// The request is no purge.
    pub(super) async fn of<A: Body<Data = Bytes>>(
        request: &request::Parts,
        body: A,
        page_hosts: &[String],
        logs_keys: bool,
    ) -> Result<Self, Refused> {
        // Browsers send it with each request that is no GET.
        if let Some(origin) = request.headers.get(header::ORIGIN) {
            if request.method != Method::POST || !is_own_page(request, origin, page_hosts) {
                return Err((StatusCode::FORBIDDEN, "No page of another origin may purge.\n"));
            }
        }
        if request.method.as_str() == "PURGE" {
            return Self::of_purge(request);
        }
        if request.uri.path() != "/invalidate" {
            return Err((StatusCode::NOT_FOUND, "There is PURGE of a URI, and POST /invalidate.\n"));
        }
        if request.method != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "The method is POST.\n"));
        }
        // A form of another site could send any other type.
        if !media_type(&request.headers).is_some_and(|media| media.eq_ignore_ascii_case("application/json")) {
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "The content is application/json.\n"));
        }
        let content = read(body).await?;
        let order: Value =
            serde_json::from_slice(&content).map_err(|_| wrong("The content is no JSON.\n"))?;
        Self::of_json(&order, logs_keys)
    }

    fn of_purge(request: &request::Parts) -> Result<Self, Refused> {
        let mark = match request.headers.get("purge-mark") {
            None => Mark::Stale,
            Some(mark) => named_mark(mark.to_str().ok())
                .ok_or_else(|| wrong("Purge-Mark is stale, invalid or gone.\n"))?,
        };
        if request.uri.authority().is_none() {
            return Err(wrong("The URI is absolute: http://HOST/PATH.\n"));
        }
        Ok(Self { named: vec![Named::Uri(request.uri.clone())], mark })
    }

    fn of_json(order: &Value, logs_keys: bool) -> Result<Self, Refused> {
        let mark = match (order.get("mark"), order.get("purge").map(Value::as_bool)) {
            (Some(mark), _) => {
                named_mark(mark.as_str()).ok_or_else(|| wrong("mark is stale, invalid or gone.\n"))?
            }
            (None, None | Some(Some(false))) => Mark::Invalid,
            (None, Some(Some(true))) => Mark::Gone,
            (None, Some(None)) => return Err(wrong("purge is true or false.\n")),
        };
        let kind = order.get("type").and_then(Value::as_str);
        if kind == Some("all") {
            return Ok(Self { named: vec![Named::All], mark });
        }
        let name: fn(Uri) -> Named = match kind {
            Some("uri") => Named::Uri,
            Some("uri-prefix") => Named::UriPrefix,
            Some("origin") => Named::Origin,
            Some("group") => |origin| Named::Groups(origin, Vec::new()),
            _ => return Err(wrong("The type is uri, uri-prefix, origin, group or all.\n")),
        };
        let selectors = texts(order, "selectors").ok_or_else(|| wrong("Which selectors?\n"))?;
        let uris: Option<Vec<Uri>> = selectors
            .iter()
            .map(|uri| uri.parse().ok().filter(|uri: &Uri| uri.authority().is_some()))
            .collect();
        let uris = uris.ok_or_else(|| wrong("Each selector is an absolute URI: http://HOST/PATH.\n"))?;
        let mut named: Vec<_> = uris.into_iter().map(name).collect();
        let mut count = if kind == Some("uri") && !logs_keys { 0 } else { named.len() };
        if kind == Some("group") {
            let wanted = texts(order, "groups").ok_or_else(|| wrong("Which groups?\n"))?;
            count = count.max(wanted.len());
            for one in &mut named {
                if let Named::Groups(_, groups) = one {
                    wanted.clone_into(groups);
                }
            }
        }
        // Each takes a place in the log, which keeps so many purges.
        if count > MOST_OF_THE_LOG {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "A list has at most 64 selectors and groups.\n"));
        }
        Ok(Self { named, mark })
    }
}

fn wrong(text: &'static str) -> Refused {
    (StatusCode::BAD_REQUEST, text)
}

fn named_mark(name: Option<&str>) -> Option<Mark> {
    match name? {
        "stale" => Some(Mark::Stale),
        "invalid" => Some(Mark::Invalid),
        "gone" => Some(Mark::Gone),
        _ => None,
    }
}

/// The texts of a list. `None` if there is no list, or something else is in it.
fn texts(order: &Value, member: &str) -> Option<Vec<String>> {
    let list = order.get(member)?.as_array()?;
    list.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

/// Whether the request comes from a page that lies where the request goes, under a name that nobody else can make to lead
/// here.
fn is_own_page(request: &request::Parts, origin: &HeaderValue, page_hosts: &[String]) -> bool {
    let asked = match request.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers.get(header::HOST).and_then(|host| host.to_str().ok()),
    };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let Some(from) = origin.as_ref().and_then(Uri::authority) else { return false };
    let host = from.host().to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_safe = host == "localhost" || address.parse::<IpAddr>().is_ok() || page_hosts.contains(&host);
    is_safe && asked.is_some_and(|asked| asked.eq_ignore_ascii_case(from.as_str()))
}

/// Reads the content of a request.
async fn read<A: Body<Data = Bytes>>(body: A) -> Result<Bytes, Refused> {
    match Limited::new(body.map_err(broke_off), LONGEST).collect().await {
        Ok(content) => Ok(content.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err((StatusCode::PAYLOAD_TOO_LARGE, "The content has at most 64 KiB.\n"))
        }
        Err(_) => Err(wrong("The content broke off.\n")),
    }
}

/// The limit needs an error of a known type.
fn broke_off<E>(_: E) -> BoxError {
    "the content broke off".into()
}

/// The most bytes of a list.
const LONGEST: usize = 64 << 10;

/// The most selectors or groups of a list that goes into the log.
const MOST_OF_THE_LOG: usize = 64;
