//! The line about a server in docs/origins.md: what it does, and what it costs behind the layer.

use std::fs;

use http::{
    StatusCode,
    header::{IF_RANGE, LAST_MODIFIED},
};

use crate::{
    origins::{
        asking::{Answer, Ask},
        bench::Bench,
        site::{FILM, OTHERS, PLAYLIST},
    },
    trials::packages,
};

/// The columns that the server's own answers fill.
pub(crate) struct Row {
    name: &'static str,
    columns: Vec<String>,
}

/// Asks the server directly.
pub(crate) async fn row(name: &'static str, bench: &mut Bench) -> Row {
    let plain = bench.direct(&Ask::get(FILM)).await;
    let (tag, date) = (plain.field("etag"), plain.field(LAST_MODIFIED));
    let mut validators: Vec<_> = tag.iter().map(|tag| strength(tag)).collect();
    validators.extend(date.is_some().then_some("date"));
    let part = || Ask::get(FILM).range("bytes=1500000-1899999");
    let two = Ask::get(FILM).range("bytes=100-199,2000000-2099999");
    let mut conditions = Vec::new();
    for (word, validator) in [("tag", tag), ("date", date), ("other tag", Some("\"other\"".to_owned()))] {
        if let Some(validator) = validator {
            let answer = bench.direct(&part().with(IF_RANGE, validator)).await;
            conditions.push(format!("{word} {}", answer.status.as_u16()));
        }
    }
    let mut types = Vec::new();
    for path in [FILM, PLAYLIST].into_iter().chain(OTHERS) {
        types.push(bench.direct(&Ask::get(path)).await.field("content-type").unwrap_or("none".to_owned()));
    }
    let columns = vec![
        plain.field("server").unwrap_or_default(),
        cuts(&bench.direct(&part()).await).to_owned(),
        cuts(&bench.direct(&two).await).to_owned(),
        validators.join(", "),
        conditions.join(", "),
        plain.field("cache-control").unwrap_or_default(),
        types.join(" "),
    ];
    Row { name, columns }
}

impl Row {
    /// Writes the line, with the costs in the default mode.
    pub(crate) fn keep(mut self, bench: &Bench) {
        for scene in COSTS {
            let cost = bench.cost(scene);
            self.columns.push(format!("{} / {}", cost.calls, cost.bytes.div_ceil(1024)));
        }
        let _ = fs::create_dir_all(packages());
        let line = format!("| {} | {} |\n", self.name, self.columns.join(" | "));
        fs::write(packages().join(self.name).with_extension("md"), line).unwrap();
    }
}

fn strength(tag: &str) -> &'static str {
    match tag {
        tag if tag.starts_with('"') => "strong",
        tag if tag.starts_with("W/") => "weak",
        _ => "unquoted",
    }
}

fn cuts(answer: &Answer) -> &'static str {
    let is_multipart = answer.field("content-type").is_some_and(|kind| kind.starts_with("multipart/"));
    match answer.status {
        StatusCode::PARTIAL_CONTENT if is_multipart => "multipart",
        StatusCode::PARTIAL_CONTENT => "part",
        StatusCode::OK => "whole",
        StatusCode::RANGE_NOT_SATISFIABLE => "416",
        _ => "error",
    }
}

const COSTS: [&str; 8] = [
    "warm, first",
    "warm, whole",
    "middle, first",
    "middle, again",
    "suffix, first",
    "two ranges, first",
    "warm, reload",
    "changed, reload",
];
