//! The files that each server gives, and their versions.

use std::{
    fs::{self, File},
    path::Path,
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use crate::folder::Folder;

/// A folder of files for one server.
pub(crate) struct Site {
    folder: Folder,
    /// The time from which the files' ages count.
    now: SystemTime,
}

impl Site {
    pub(crate) fn new() -> Self {
        let site = Self { folder: Folder::new(), now: SystemTime::now() };
        fs::create_dir_all(site.root().join("films")).unwrap();
        site.put(FILM, &film(0), 3);
        site.put(PLAYLIST, &playlist(), 3);
        site.put(EMPTY, &Bytes::new(), 3);
        for path in OTHERS {
            site.put(path, &film(0).slice(..1000), 3);
        }
        site
    }

    /// The folder for the server's own files.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The folder whose files the server gives.
    pub(crate) fn root(&self) -> std::path::PathBuf {
        self.folder.as_ref().join("www")
    }

    /// Puts another version of the film in the place of the one before. A version is a day younger than the one before.
    pub(crate) fn change(&self, version: u8) {
        self.put(FILM, &film(version), 3 - u32::from(version));
    }

    /// Replaces a file at once, as a deployment does.
    fn put(&self, path: &str, bytes: &[u8], days: u32) {
        let new = self.folder.as_ref().join("new");
        fs::write(&new, bytes).unwrap();
        let time = self.now - Duration::from_secs(86_400) * days - Duration::from_secs(3600);
        File::options().write(true).open(&new).unwrap().set_modified(time).unwrap();
        fs::rename(new, self.root().join(Path::new(path).strip_prefix("/").unwrap())).unwrap();
    }
}

/// The bytes of a version of the film: each depends on its place. Version 1 is as long as version 0; version 2 is
/// shorter.
pub(crate) fn film(version: u8) -> Bytes {
    static FILMS: LazyLock<[Bytes; 3]> =
        LazyLock::new(|| [made(0, LENGTH), made(1, LENGTH), made(2, SHORTER)]);
    FILMS[usize::from(version)].clone()
}

pub(crate) fn playlist() -> Bytes {
    let line = |number| format!("#EXTINF:4.0,\nsegment-{number}.m4s\n");
    let lines: String = (0..50).map(line).collect();
    format!("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n{lines}#EXT-X-ENDLIST\n").into()
}

/// The film begins like an mp4, for servers that look. It goes on with numbers that no other place has.
fn made(version: u8, length: usize) -> Bytes {
    let numbers = (0_u32..).flat_map(|number| {
        number.wrapping_mul(2_654_435_761).wrapping_add(u32::from(version) * 7_919).to_be_bytes()
    });
    FTYP.iter().copied().chain(numbers).take(length).collect()
}

pub(crate) const FILM: &str = "/films/film.mp4";
pub(crate) const PLAYLIST: &str = "/films/list.m3u8";
pub(crate) const EMPTY: &str = "/films/empty.mp4";
pub(crate) const MISSING: &str = "/films/missing.mp4";
pub(crate) const OTHERS: [&str; 3] = ["/films/list.mpd", "/films/film.webm", "/films/segment.m4s"];

/// Several chunks, and the last is short.
pub(crate) const LENGTH: usize = (3 << 20) + 123;
const SHORTER: usize = (3 << 20) - 70_001;
const FTYP: &[u8] = b"\0\0\0\x18ftypisom\0\0\x02\0isommp42";
