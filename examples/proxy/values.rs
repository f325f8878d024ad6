//! The values of the command line: their meaning, and the errors for invalid ones.

use std::net::SocketAddr;

use bytesize::ByteSize;
use clap::ValueEnum;
use http::{
    HeaderName, StatusCode, Uri,
    uri::{Authority, Scheme},
};
use tower_video_cache::{Abandon, ChunkSize, Fill, GroupField, Invalidate};

use super::fields::may_be_passed;

/// [`Fill`], by the names of its modes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FillArg {
    /// As the request and the origin suggest: each byte leaves once it is stored. One call of the origin brings a video
    /// from its start, further calls bring the parts that clients seek.
    Auto,
    /// Once the whole response is stored.
    Whole,
    /// Once its first chunk is stored, then each chunk once it is stored. One call of the origin brings all of them.
    Progressive,
    /// As progressive, but only the chunks that some client asks for are fetched, by ranges, if the origin supports
    /// ranges.
    Sliced,
}

impl From<FillArg> for Fill {
    fn from(fill: FillArg) -> Self {
        match fill {
            FillArg::Auto => Self::auto(),
            FillArg::Whole => Self::whole(),
            FillArg::Progressive => Self::progressive(),
            FillArg::Sliced => Self::sliced(),
        }
    }
}

/// [`GroupField`], by the name of the field.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum GroupFieldArg {
    /// RFC 9875.
    CacheGroups,
    /// Separated by spaces.
    SurrogateKey,
    /// Separated by commas.
    CacheTag,
    /// Separated by spaces or commas.
    Xkey,
}

impl From<GroupFieldArg> for GroupField {
    fn from(field: GroupFieldArg) -> Self {
        match field {
            GroupFieldArg::CacheGroups => Self::CacheGroups,
            GroupFieldArg::SurrogateKey => Self::SurrogateKey,
            GroupFieldArg::CacheTag => Self::CacheTag,
            GroupFieldArg::Xkey => Self::Xkey,
        }
    }
}

/// [`Invalidate`], by the answers that invalidate.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum InvalidateArg {
    /// None.
    Never,
    /// Those with a 2xx status.
    Success,
    /// Those with a 2xx or 3xx status.
    NonError,
}

impl From<InvalidateArg> for Invalidate {
    fn from(invalidate: InvalidateArg) -> Self {
        match invalidate {
            InvalidateArg::Never => Self::Never,
            InvalidateArg::Success => Self::OnSuccess,
            InvalidateArg::NonError => Self::OnNonError,
        }
    }
}

/// `finish`, `stop`, `90%` or `8MiB`.
pub(crate) fn abandon(text: &str) -> Result<Abandon, String> {
    if let Some(number) = text.strip_suffix('%') {
        let percent = number.trim_end().parse().ok().filter(|percent| *percent <= 100);
        return percent
            .map(Abandon::FinishFromPercent)
            .ok_or_else(|| "expected a whole number of percent from 0% to 100%".to_owned());
    }
    match text {
        "finish" => Ok(Abandon::Finish),
        "stop" => Ok(Abandon::Stop),
        // A bare number could mean percent or bytes, so it is refused.
        number if number.ends_with(|last: char| last.is_ascii_digit()) => {
            Err(format!("a number without its unit: write {number}% or {number}B"))
        }
        size => size
            .parse::<ByteSize>()
            .map(|most| Abandon::FinishWithin(most.as_u64()))
            .map_err(|_| "expected finish, stop, a percentage such as 90%, or bytes such as 8MiB".to_owned()),
    }
}

/// An address that only this machine reaches.
pub(crate) fn own_address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "expected ADDRESS:PORT")?;
    let is_own = address.ip().to_canonical().is_loopback();
    is_own.then_some(address).ok_or_else(|| "expected a loopback address, such as 127.0.0.1:9901".to_owned())
}

pub(crate) fn origin(text: &str) -> Result<Authority, String> {
    let parts = text.parse::<Uri>().map_err(|error| error.to_string())?.into_parts();
    match (parts.scheme, parts.authority, parts.path_and_query) {
        (Some(scheme), Some(authority), path)
            if scheme == Scheme::HTTP
                && !authority.as_str().contains('@')
                && path.as_ref().is_none_or(|path| path == "/") =>
        {
            Ok(authority)
        }
        _ => Err("expected http://HOST[:PORT], without a path".to_owned()),
    }
}

pub(crate) fn chunk_size(text: &str) -> Result<ChunkSize, String> {
    let bytes = text.parse::<ByteSize>()?.as_u64();
    // A number that does not fit a u32 is too large for a chunk as well.
    ChunkSize::new(u32::try_from(bytes).unwrap_or(u32::MAX)).map_err(|error| error.to_string())
}

/// A status code; none for `any`.
pub(crate) type StatusArg = Option<StatusCode>;

pub(crate) fn status(text: &str) -> Result<StatusArg, String> {
    if text == "any" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| "expected a status code, or any".to_owned())
}

pub(crate) fn passed_field(text: &str) -> Result<HeaderName, String> {
    let name: HeaderName = text.trim().parse().map_err(|_| "expected the name of a field".to_owned())?;
    if may_be_passed(&name) {
        Ok(name)
    } else {
        Err(format!("{name} is of one connection, or the proxy's own"))
    }
}

pub(crate) fn media(text: &str) -> Result<String, String> {
    match text.trim().split_once('/') {
        Some((kind, subtype)) if !kind.is_empty() && !subtype.is_empty() => Ok(text.trim().to_owned()),
        _ => Err("expected type/subtype, type/* or */*".to_owned()),
    }
}
