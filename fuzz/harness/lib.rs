//! The rules that must hold for any bytes from a client, an inner service or a store.
//!
//! Each target in `fuzz/` has one function here, and finds new bytes. The tests here replay the bytes in
//! `fuzz/corpus/`.

mod bound;
mod calls;
mod clients;
mod conditions;
mod control;
mod decoding;
mod frames;
mod heard;
mod kept;
mod keys;
mod lineage;
mod manner;
mod modes;
mod multipart;
mod origin;
mod parts;
mod passed;
mod reader;
mod request;
mod reuse;
mod script;
mod shelf;
mod sources;
mod verdict;
mod words;

pub use self::{
    decoding::{chunk, manifest, range},
    request::request,
};

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_corpus_of_ranges_holds() {
        replay("range", range);
    }

    proptest! {
        #[test]
        fn any_likely_ranges_hold(length in 0u64..2000, line in "bytes=([0-9]{0,4}-[0-9]{0,4} ?,){1,6}") {
            range(&[&length.to_be_bytes(), line.as_bytes()].concat());
        }
    }

    #[test]
    fn the_corpus_of_manifests_holds() {
        replay("manifest", manifest);
    }

    #[test]
    fn the_corpus_of_chunks_holds() {
        replay("chunk", chunk);
    }

    #[test]
    fn the_corpus_of_requests_holds() {
        replay("request", request);
    }

    fn replay(target: &str, hold: fn(&[u8])) {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        // The published package leaves fuzz/ out; a checkout has it.
        if !package.join("fuzz/Cargo.toml").exists() && !package.join(".git").exists() {
            println!("a packaged crate has no corpus to replay");
            return;
        }
        let corpus = fs::read_dir(package.join("fuzz/corpus").join(target)).unwrap();
        let mut files: Vec<_> = corpus.map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "the corpus of {target} is empty");
        for file in files {
            println!("{}", file.display());
            hold(&fs::read(&file).unwrap());
        }
    }
}
