//! Whole requests against a judge of the RFCs: the corpus of `fuzz/`, and scripts by chance.

use std::{fs, path::Path};

#[expect(unreachable_pub, reason = "the file is a crate of its own, too")]
#[path = "../../fuzz/harness/lib.rs"]
mod harness;

#[test]
fn the_corpus_of_requests_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/request");
    let mut files: Vec<_> = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus is empty");
    for file in files {
        println!("{}", file.display());
        harness::request(&fs::read(&file).unwrap());
    }
}
