//! The record that a key leads to: a stored response's manifest, or the fields that select among variants.
//!
//! ```text
//! "TVCM" │ version 1 │ kind 1 │ key │ … │ xxh3-64 8
//!   kind 0, a response: status 2 │ length 8 │ chunk size 4 │ generation 16 │ requested 12 │ received 12
//!                       │ selecting fields: count 2, (name, present 1, value) … │ fields: count 2, (name, value) …
//!   kind 2, a response: flags 1 (bit 0: the ETag was made here, bit 1: sparse, bit 2: with a digest, bit 3: asked for
//!                       with a cookie, bit 4: withdrawn, bit 5: a playlist by its path, bit 6: with an end, bit 7: purged)
//!                       │ digest 16, if so │ end 12, if so │ purged 12 and mark 1, if so │ the rest as in kind 0
//!   kind 4, a response: log of purges 8 │ number in it 8 │ origin 8 │ groups: count 1, (hash 8) … │ host │ path
//!                       │ the rest as in kind 2
//!   kind 5, a manifest: life 1 (1: ended, 2: multivariant, 3: live) │ target in milliseconds 8, or 0 │ the rest as in kind 4
//!   kind 1, variants:   mark 16 │ count 1, (count 1, name …) …
//!   kind 3, variants:   as kind 1 │ count 1, (slot, entity tag) …
//! ```
//! A record of an unknown version, or one whose sum is wrong, does not decode: it is a miss.

use bytes::{BufMut, Bytes, BytesMut};
use http::{
    StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use super::{
    key::{CacheKey, Generation, SelectingField, Slot},
    layout::Layout,
    playlist::{playlist, put_playlist},
    wire::{Input, open, put_bytes, put_count, put_time, seal},
};
use crate::semantics::{
    freshness::{ByUri, Ended, Exchange},
    partial::Binding,
    place::Place,
    playlist::Playlist,
    purge::{Membership, Position},
};

/// A record in the store.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all records are responses, and none stays in this form"
)]
pub(crate) enum Record {
    Response(Manifest),
    Variants(Variants),
}

/// Everything about a stored response except its body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manifest {
    pub(crate) key: CacheKey,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) selecting: Vec<SelectingField>,
    pub(crate) exchange: Exchange,
    pub(crate) layout: Layout,
    /// The cache made the `ETag` from the content, so the inner service cannot be asked about it.
    pub(crate) own_etag: bool,
    /// Some of the chunks have not been stored yet.
    pub(crate) sparse: bool,
    /// Facts taken from the request's URI when the response was stored.
    pub(crate) by_uri: ByUri,
    /// The inner service has refused the response since, perhaps for everybody, so it must not be used stale.
    pub(crate) withdrawn: bool,
    /// When an operator ended its freshness, and how.
    pub(crate) purged: Option<Ended>,
    /// The sets by which a purge can name it.
    pub(crate) membership: Membership,
    /// The xxh3-128 sum of the body, if the inner service gave no strong validator.
    pub(crate) digest: Option<u128>,
    /// The life that an HLS or DASH manifest tells in its body.
    pub(crate) playlist: Playlist,
}

impl Manifest {
    /// Binds further parts to the stored response, by the strong validator that the response had when its bytes came. A
    /// response without one has a digest instead. If its date became strong with time, that proves nothing about its
    /// bytes.
    pub(crate) fn binding(&self) -> Option<Binding> {
        // RFC 9110 §14.2: only a 200 has parts.
        let is_bound = self.status == StatusCode::OK && !self.own_etag && self.digest.is_none();
        is_bound.then(|| Binding::of(&self.headers)).flatten()
    }
}

/// The sets of request fields that tell the variants of one key apart, the latest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variants {
    pub(crate) key: CacheKey,
    /// A part of every variant's slot: without this record, its variants are never found again.
    pub(crate) mark: Generation,
    pub(crate) selecting: Vec<Vec<HeaderName>>,
    /// The slots and strong tags of some variants, the latest first. A request that selects none of the variants may
    /// still be answered by one of these (RFC 9111 §4.1).
    pub(crate) tagged: Vec<Tagged>,
}

/// A variant and its strong entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tagged {
    pub(crate) slot: Slot,
    pub(crate) etag: Vec<u8>,
}

impl Record {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(512);
        out.put_slice(MAGIC);
        out.put_u8(VERSION);
        match self {
            Self::Response(manifest) => {
                let kind = manifest.kind();
                out.put_u8(kind);
                manifest.encode(kind, &mut out);
            }
            Self::Variants(variants) => {
                out.put_u8(if variants.tagged.is_empty() { VARIANTS } else { TAGGED_VARIANTS });
                variants.encode(&mut out);
            }
        }
        seal(&mut out);
        // A buffer that grew may be far larger than its content, and a store counts only the content.
        if out.capacity() / 5 > out.len() / 4 && out.len() > 512 {
            return Bytes::copy_from_slice(&out);
        }
        out.freeze()
    }

    /// Returns `None` unless the bytes are a record of this version with the right sum.
    pub(crate) fn decode(record: &[u8]) -> Option<Self> {
        let mut input = open(record)?;
        if input.array()? != MAGIC || input.number::<1>()? != u64::from(VERSION) {
            return None;
        }
        let record = match input.array()? {
            [kind @ (RESPONSE | FLAGGED_RESPONSE | NAMED_RESPONSE | PLAYLIST_RESPONSE)] => {
                Self::Response(Manifest::decode(&mut input, *kind)?)
            }
            [VARIANTS] => Self::Variants(Variants::decode(&mut input, false)?),
            [TAGGED_VARIANTS] => Self::Variants(Variants::decode(&mut input, true)?),
            _ => return None,
        };
        input.0.is_empty().then_some(record)
    }
}

impl Manifest {
    fn flags(&self) -> u8 {
        let flag = |set, flag| if set { flag } else { 0 };
        flag(self.own_etag, OWN_ETAG)
            | flag(self.sparse, SPARSE)
            | flag(self.digest.is_some(), DIGEST)
            | flag(self.by_uri.is_manifest, PLAYLIST_BY_PATH)
            | flag(self.by_uri.until.is_some(), END)
            | flag(self.exchange.with_cookie, COOKIE)
            | flag(self.withdrawn, WITHDRAWN)
            | flag(self.purged.is_some(), PURGED)
    }

    fn kind(&self) -> u8 {
        if self.playlist != Playlist::Unknown {
            return PLAYLIST_RESPONSE;
        }
        let is_named = self.membership != Membership::default() || self.by_uri.place != Place::default();
        if is_named || self.exchange.purges != Position::default() {
            NAMED_RESPONSE
        } else if self.flags() != 0 {
            FLAGGED_RESPONSE
        } else {
            RESPONSE
        }
    }

    fn encode(&self, kind: u8, out: &mut BytesMut) {
        put_bytes(out, self.key.as_bytes());
        if kind == PLAYLIST_RESPONSE {
            put_playlist(out, self.playlist);
        }
        if matches!(kind, NAMED_RESPONSE | PLAYLIST_RESPONSE) {
            let Membership { origin, groups } = &self.membership;
            out.put_u64(self.exchange.purges.log);
            out.put_u64(self.exchange.purges.number);
            out.put_u64(*origin);
            put_count::<1>(out, groups.len());
            for group in groups {
                out.put_u64(*group);
            }
            put_bytes(out, self.by_uri.place.host.as_bytes());
            put_bytes(out, self.by_uri.place.path.as_bytes());
        }
        if kind != RESPONSE {
            out.put_u8(self.flags());
        }
        if let Some(digest) = self.digest {
            out.put_u128(digest);
        }
        if let Some(until) = self.by_uri.until {
            put_time(out, until);
        }
        if let Some(Ended { at, must_be_validated }) = self.purged {
            put_time(out, at);
            out.put_u8(u8::from(must_be_validated));
        }
        out.put_u16(self.status.as_u16());
        out.put_u64(self.layout.length);
        out.put_u32(self.layout.chunk_size);
        out.put_u128(self.layout.generation.0);
        put_time(out, self.exchange.requested);
        put_time(out, self.exchange.received);
        put_count::<2>(out, self.selecting.len());
        for field in &self.selecting {
            put_bytes(out, field.name.as_str().as_bytes());
            out.put_u8(u8::from(field.value.is_some()));
            put_bytes(out, field.value.as_deref().unwrap_or_default());
        }
        put_count::<2>(out, self.headers.len());
        for (name, value) in &self.headers {
            put_bytes(out, name.as_str().as_bytes());
            put_bytes(out, value.as_bytes());
        }
    }

    fn decode(input: &mut Input<'_>, kind: u8) -> Option<Self> {
        let key = CacheKey::new(input.bytes()?);
        let (mut asked_after, mut membership) = (Position::default(), Membership::default());
        let mut place = Place::default();
        let playlist = if kind == PLAYLIST_RESPONSE { playlist(input)? } else { Playlist::Unknown };
        if matches!(kind, NAMED_RESPONSE | PLAYLIST_RESPONSE) {
            asked_after = Position { log: input.number::<8>()?, number: input.number::<8>()? };
            membership.origin = input.number::<8>()?;
            for _ in 0..input.number::<1>()? {
                membership.groups.push(input.number::<8>()?);
            }
            place.host = String::from_utf8(input.bytes()?.to_vec()).ok()?;
            place.path = String::from_utf8(input.bytes()?.to_vec()).ok()?;
        }
        let flags = if kind == RESPONSE { 0 } else { input.number::<1>()? };
        let is_set = |flag| flags & u64::from(flag) != 0;
        let digest = if is_set(DIGEST) { Some(u128::from_be_bytes(*input.array()?)) } else { None };
        let until = if is_set(END) { Some(input.time()?) } else { None };
        let by_uri = ByUri { is_manifest: is_set(PLAYLIST_BY_PATH), until, place };
        let purged = if is_set(PURGED) {
            let (at, mark) = (input.time()?, input.number::<1>()?);
            // Only a later version knows the meaning of other marks.
            (mark <= 1).then_some(Some(Ended { at, must_be_validated: mark == 1 }))?
        } else {
            None
        };
        let status = StatusCode::from_u16(u16::try_from(input.number::<2>()?).ok()?).ok()?;
        let length = input.number::<8>()?;
        let chunk_size = u32::try_from(input.number::<4>()?).ok().filter(|size| *size > 0)?;
        let generation = Generation(u128::from_be_bytes(*input.array()?));
        let (requested, received) = (input.time()?, input.time()?);
        let exchange = Exchange { requested, received, with_cookie: is_set(COOKIE), purges: asked_after };
        let mut selecting = Vec::new();
        for _ in 0..input.number::<2>()? {
            let name = HeaderName::from_bytes(input.bytes()?).ok()?;
            let present = input.number::<1>()? == 1;
            let value = input.bytes()?.to_vec();
            selecting.push(SelectingField { name, value: present.then_some(value) });
        }
        let mut headers = HeaderMap::new();
        for _ in 0..input.number::<2>()? {
            let name = HeaderName::from_bytes(input.bytes()?).ok()?;
            let value = HeaderValue::from_bytes(input.bytes()?).ok()?;
            headers.try_append(name, value).ok()?;
        }
        let layout = Layout { generation, chunk_size, length };
        let (own_etag, sparse, withdrawn) = (is_set(OWN_ETAG), is_set(SPARSE), is_set(WITHDRAWN));
        Some(Self {
            key,
            status,
            headers,
            selecting,
            exchange,
            layout,
            own_etag,
            sparse,
            by_uri,
            withdrawn,
            purged,
            membership,
            digest,
            playlist,
        })
    }
}

impl Variants {
    fn encode(&self, out: &mut BytesMut) {
        put_bytes(out, self.key.as_bytes());
        out.put_u128(self.mark.0);
        put_count::<1>(out, self.selecting.len());
        for names in &self.selecting {
            put_count::<1>(out, names.len());
            for name in names {
                put_bytes(out, name.as_str().as_bytes());
            }
        }
        if !self.tagged.is_empty() {
            put_count::<1>(out, self.tagged.len());
            for Tagged { slot, etag } in &self.tagged {
                put_bytes(out, slot.as_str().as_bytes());
                put_bytes(out, etag);
            }
        }
    }

    fn decode(input: &mut Input<'_>, has_tags: bool) -> Option<Self> {
        let key = CacheKey::new(input.bytes()?);
        let mark = Generation(u128::from_be_bytes(*input.array()?));
        let mut selecting = Vec::new();
        for _ in 0..input.number::<1>()? {
            let mut names = Vec::new();
            for _ in 0..input.number::<1>()? {
                names.push(HeaderName::from_bytes(input.bytes()?).ok()?);
            }
            selecting.push(names);
        }
        let mut tagged = Vec::new();
        for _ in 0..if has_tags { input.number::<1>()? } else { 0 } {
            tagged.push(Tagged { slot: Slot::named(input.bytes()?)?, etag: input.bytes()?.to_vec() });
        }
        Some(Self { key, mark, selecting, tagged })
    }
}

const MAGIC: &[u8; 4] = b"TVCM";
const VERSION: u8 = 1;
const RESPONSE: u8 = 0;
const VARIANTS: u8 = 1;
const FLAGGED_RESPONSE: u8 = 2;
const TAGGED_VARIANTS: u8 = 3;
const NAMED_RESPONSE: u8 = 4;
const PLAYLIST_RESPONSE: u8 = 5;
const OWN_ETAG: u8 = 1;
const SPARSE: u8 = 2;
const DIGEST: u8 = 4;
const COOKIE: u8 = 8;
const WITHDRAWN: u8 = 16;
const PLAYLIST_BY_PATH: u8 = 32;
const END: u8 = 64;
const PURGED: u8 = 128;

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use http::header;
    use proptest::prelude::*;

    use super::*;

    fn manifest(own_etag: bool) -> Record {
        let mut headers = HeaderMap::new();
        headers.append(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
        headers.append(header::LINK, HeaderValue::from_static("one"));
        headers.append(header::LINK, HeaderValue::from_static("two"));
        headers.append(header::SERVER, HeaderValue::from_bytes(b"caf\xe9").unwrap());
        Record::Response(Manifest {
            key: CacheKey::new("\nhost\n/movie.mp4"),
            status: StatusCode::OK,
            headers,
            selecting: vec![
                SelectingField { name: header::ORIGIN, value: Some(b"https://a.example".to_vec()) },
                SelectingField { name: header::RANGE, value: None },
            ],
            exchange: Exchange {
                requested: UNIX_EPOCH + Duration::new(1_795_000_000, 1),
                received: UNIX_EPOCH + Duration::new(1_795_000_000, 999_999_999),
                with_cookie: false,
                purges: Position::default(),
            },
            layout: Layout { generation: Generation(7), chunk_size: 1 << 20, length: 5_000_000_000 },
            own_etag,
            sparse: false,
            by_uri: ByUri::default(),
            withdrawn: false,
            purged: None,
            membership: Membership::default(),
            digest: None,
            playlist: Playlist::Unknown,
        })
    }

    /// The manifest of a playlist.
    fn manifest_of(playlist: Playlist) -> Record {
        match manifest_with_groups(vec![3, 5]) {
            Record::Response(manifest) => Record::Response(Manifest { playlist, ..manifest }),
            variants @ Record::Variants(_) => variants,
        }
    }

    /// The manifest of a response with these hashes of groups, asked for after some purges.
    fn manifest_with_groups(groups: Vec<u64>) -> Record {
        match manifest(false) {
            Record::Response(manifest) => {
                let purges = Position { log: 0xfeed, number: 12 };
                let exchange = Exchange { purges, ..manifest.exchange };
                let membership = Membership { origin: 0xcafe, groups };
                let place = Place { host: "video.example".to_owned(), path: "/movie.mp4".to_owned() };
                let by_uri = ByUri { place, ..ByUri::default() };
                Record::Response(Manifest { exchange, membership, sparse: true, by_uri, ..manifest })
            }
            variants @ Record::Variants(_) => variants,
        }
    }

    /// The manifest of a sparse response, or of one with a sum of its bytes.
    fn manifest_with(sparse: bool, digest: Option<u128>) -> Record {
        match manifest(digest.is_some()) {
            Record::Response(manifest) => Record::Response(Manifest { sparse, digest, ..manifest }),
            variants @ Record::Variants(_) => variants,
        }
    }

    /// The manifest of a playlist known by its path, under a URI that expires.
    fn manifest_by_uri() -> Record {
        let until = UNIX_EPOCH + Duration::new(1_795_000_600, 0);
        match manifest(false) {
            Record::Response(manifest) => Record::Response(Manifest {
                by_uri: ByUri { is_manifest: true, until: Some(until), ..ByUri::default() },
                ..manifest
            }),
            variants @ Record::Variants(_) => variants,
        }
    }

    /// The manifest of a response that was asked for with a cookie, and refused since.
    fn manifest_of_a_cookie() -> Record {
        match manifest(false) {
            Record::Response(manifest) => {
                let exchange = Exchange { with_cookie: true, ..manifest.exchange };
                Record::Response(Manifest { exchange, withdrawn: true, ..manifest })
            }
            variants @ Record::Variants(_) => variants,
        }
    }

    /// The manifest of a response whose freshness an operator has ended.
    fn manifest_purged(must_be_validated: bool) -> Record {
        let at = UNIX_EPOCH + Duration::new(1_795_000_700, 5);
        match manifest(false) {
            Record::Response(manifest) => {
                Record::Response(Manifest { purged: Some(Ended { at, must_be_validated }), ..manifest })
            }
            variants @ Record::Variants(_) => variants,
        }
    }

    fn variants(tagged: bool) -> Record {
        let slot = Slot::variant(&CacheKey::new("k"), Generation(3), &[]);
        let tagged = if tagged { vec![Tagged { slot, etag: b"\"v1\"".to_vec() }] } else { Vec::new() };
        Record::Variants(Variants {
            key: CacheKey::new("\nhost\n/movie.mp4"),
            mark: Generation(9),
            selecting: vec![vec![header::ACCEPT_ENCODING, header::ORIGIN], vec![header::ORIGIN]],
            tagged,
        })
    }

    #[test]
    fn records_come_back_as_they_went() {
        let with = [(true, None), (false, Some(5)), (true, Some(u128::MAX))]
            .map(|(sparse, digest)| manifest_with(sparse, digest));
        let records = [
            manifest(false),
            manifest(true),
            manifest_by_uri(),
            manifest_of_a_cookie(),
            manifest_purged(false),
            manifest_purged(true),
            manifest_with_groups(Vec::new()),
            manifest_with_groups(vec![1, u64::MAX]),
            manifest_of(Playlist::Ended),
            manifest_of(Playlist::Multivariant),
            manifest_of(Playlist::Live(None)),
            manifest_of(Playlist::Live(Some(Duration::from_millis(1)))),
            variants(false),
            variants(true),
        ];
        for record in records.into_iter().chain(with) {
            let encoded = record.encode();
            assert_eq!(Record::decode(&encoded), Some(record));
            assert!(encoded.len() < 512, "{} bytes", encoded.len());
        }
    }

    #[test]
    fn the_records_of_version_1_decode_for_ever() {
        let golden: [(Record, &[u8]); 11] = [
            (manifest(false), include_bytes!("golden/manifest-v1.bin")),
            (manifest(true), include_bytes!("golden/manifest-v1-flagged.bin")),
            (manifest_with(true, None), include_bytes!("golden/manifest-v1-sparse.bin")),
            (manifest_with(false, Some(5)), include_bytes!("golden/manifest-v1-digest.bin")),
            (manifest_by_uri(), include_bytes!("golden/manifest-v1-uri.bin")),
            (manifest_of_a_cookie(), include_bytes!("golden/manifest-v1-cookie.bin")),
            (manifest_purged(true), include_bytes!("golden/manifest-v1-purged.bin")),
            (manifest_with_groups(vec![3, 5]), include_bytes!("golden/manifest-v1-groups.bin")),
            (
                manifest_of(Playlist::Live(Some(Duration::from_millis(6006)))),
                include_bytes!("golden/manifest-v1-playlist.bin"),
            ),
            (variants(false), include_bytes!("golden/variants-v1.bin")),
            (variants(true), include_bytes!("golden/variants-v1-tagged.bin")),
        ];
        for (record, bytes) in &golden {
            assert_eq!(Record::decode(bytes).as_ref(), Some(record));
            assert_eq!(
                record.encode(),
                *bytes,
                "records of version 1 are still written byte for byte as before"
            );
        }
    }

    #[test]
    fn a_playlist_of_another_life_is_a_miss() {
        let encoded = manifest_of(Playlist::Ended).encode();
        let life = encoded.len() - manifest_with_groups(vec![3, 5]).encode().len();
        assert_eq!(life, 9, "a byte and a number more than kind 4");
        let at = b"TVCM\x01\x05".len() + 4 + b"\nhost\n/movie.mp4".len();
        for (life, target, is_known) in
            [(0, 0, false), (1, 0, true), (1, 1, false), (2, 1, false), (3, 1, true), (4, 0, false)]
        {
            let mut record = BytesMut::from(&encoded[..encoded.len() - 8]);
            (record[at], record[at + 8]) = (life, target);
            seal(&mut record);
            assert_eq!(Record::decode(&record).is_some(), is_known, "{life} {target}");
        }
    }

    #[test]
    fn any_cut_or_flipped_bit_is_a_miss() {
        let whole = manifest(true).encode();
        for length in 0..whole.len() {
            assert_eq!(Record::decode(&whole[..length]), None, "cut to {length}");
        }
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        // The sum is right, so only the claimed length can fail.
        let mut record = BytesMut::from(&b"TVCM\x01\x00\xff\xff\xff\xff"[..]);
        seal(&mut record);
        assert_eq!(Record::decode(&record), None);
    }

    proptest! {
        #[test]
        fn hostile_records_do_not_decode(noise: Vec<u8>) {
            prop_assert_eq!(Record::decode(&noise), None);
        }

        #[test]
        fn hostile_records_with_a_true_sum_neither_panic_nor_claim(kind in 0u8..7, noise: Vec<u8>) {
            let mut record = BytesMut::from(&b"TVCM\x01"[..]);
            record.put_u8(kind);
            record.put_slice(&noise);
            seal(&mut record);
            if let Some(decoded) = Record::decode(&record) {
                prop_assert_eq!(Record::decode(&decoded.encode()), Some(decoded));
            }
        }
    }
}
