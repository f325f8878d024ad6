//! Measures when the first byte of a cold video leaves, and how many calls and bytes the inner service is asked for
//! until then and after. It does so in each mode and beside the bare inner service, whose answers each come at 32
//! MiB/s.
//!
//! Prints a table. Each ratio is to the bare service in the same run, and a goal that is missed is no failure. With
//! `--test`, it runs small sizes and one round, for the assertions: statuses, and each byte that a client reads.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark may panic and print"
)]

mod inner;
mod scene;

use std::time::Duration;

use tower_video_cache::Fill;

use self::scene::{Ask, Scene, Seen};

fn main() {
    // As with criterion, `cargo test` runs this without `--bench`.
    let is_told = |what: &str| std::env::args().any(|argument| argument == what);
    let sizes = if is_told("--bench") && !is_told("--test") { MEASURED } else { TESTED };
    println!("| cold | | first byte | × bare | inner bytes | inner calls | goals |");
    println!("|---|---|---|---|---|---|---|");

    let start = Ask { from: 0, to: None, reads: sizes.played };
    let goals = Goals { progressive: IN_A_CHUNK, sliced: IN_A_CHUNK, bytes: None };
    sizes.show("all", &sizes.scene(sizes.played, Duration::ZERO, vec![start]), [5, 5, 5, 5, 5], &goals);

    let from = sizes.seeked / 10 * 9;
    let touched = (from + MIB).div_ceil(sizes.chunk) - from / sizes.chunk;
    let bytes = Some(touched * sizes.chunk + sizes.read_ahead);
    for (name, to) in [("1 MiB at 90 %", Some(from + MIB)), ("from 90 % on, 1 MiB read", None)] {
        let seek = Ask { from, to, reads: MIB };
        for (latency, sliced, rounds) in [
            // The bare service's first byte comes in a frame of 16 KiB. The cache stores a piece first.
            (Duration::ZERO, FirstByte::InChunks(2.0), [5, 5, 0, 0, 5]),
            (sizes.latency, FirstByte::InBare(2.0), [5, 5, 1, 1, 5]),
        ] {
            let goals = Goals { progressive: FirstByte::Any, sliced, bytes };
            sizes.show(name, &sizes.scene(sizes.seeked, latency, vec![seek]), rounds, &goals);
        }
    }

    let parts = (0..sizes.viewers).map(|viewer| {
        let place = |viewer: u64| sizes.seeked * viewer / sizes.viewers;
        // This client also reads a little of the bytes that the next client reads.
        let to = (place(viewer + 1) + sizes.chunk / 4).min(sizes.seeked);
        Ask { from: place(viewer), to: None, reads: to - place(viewer) }
    });
    let bytes = Some(sizes.seeked / 100 * 105);
    let goals = Goals { progressive: FirstByte::Any, sliced: FirstByte::Any, bytes };
    let name = format!("{} viewers, each a part", sizes.viewers);
    sizes.show(&name, &sizes.scene(sizes.seeked, sizes.latency, parts.collect()), [1, 3, 1, 1, 3], &goals);
}

struct Sizes {
    chunk: u64,
    read_ahead: u64,
    /// Length of the object that is played from its start.
    played: u64,
    /// Length of the object that clients seek in.
    seeked: u64,
    viewers: u64,
    /// Time before an answer of the inner service begins: many real origins are that far away.
    latency: Duration,
    most_rounds: usize,
}

const MEASURED: Sizes = Sizes {
    chunk: MIB,
    read_ahead: 8 * MIB,
    played: 64 * MIB,
    seeked: 256 * MIB,
    viewers: 50,
    latency: Duration::from_millis(50),
    most_rounds: usize::MAX,
};

const TESTED: Sizes = Sizes {
    chunk: MIB / 8,
    read_ahead: MIB / 2,
    played: 3 * MIB + 12_345,
    seeked: 12 * MIB + 12_345,
    viewers: 10,
    latency: Duration::from_millis(5),
    most_rounds: 1,
};

struct Goals {
    progressive: FirstByte,
    sliced: FirstByte,
    /// The most bytes that the inner service may send to `Auto` and `Sliced`.
    bytes: Option<u64>,
}

/// The default mode: a piece of 64 KiB is four frames of the bare service.
const IN_PIECES: FirstByte = FirstByte::InBare(4.5);

/// When the first byte should be there.
#[derive(Clone, Copy)]
enum FirstByte {
    Any,
    /// At most this many times the bare service's first byte.
    InBare(f64),
    /// At most this many times the time that the bare service takes for a chunk.
    InChunks(f64),
}

impl Sizes {
    fn scene(&self, length: u64, latency: Duration, asks: Vec<Ask>) -> Scene {
        Scene { length, latency, asks, chunk: self.chunk, read_ahead: self.read_ahead }
    }

    /// Plays the scene this many times in each mode, in turn, and prints the median of each.
    fn show(&self, name: &str, scene: &Scene, rounds: [usize; 5], goals: &Goals) {
        let modes =
            [None, Some(Fill::auto()), Some(Fill::whole()), Some(Fill::progressive()), Some(Fill::sliced())];
        let mut seen = modes.map(|_| Vec::new());
        for round in 0..rounds[0].min(self.most_rounds) {
            for ((mode, seen), rounds) in modes.into_iter().zip(&mut seen).zip(rounds) {
                if round < rounds {
                    seen.push(scene.play(mode));
                }
            }
        }
        let bare = Seen::in_the_middle(&mut seen[0]);
        for (mode, mut seen) in modes.into_iter().zip(seen).filter(|(_, seen)| !seen.is_empty()) {
            let seen = Seen::in_the_middle(&mut seen);
            let ratio = seen.first_byte.as_secs_f64() / bare.first_byte.as_secs_f64();
            println!(
                "| {name} of {}{} | {} | {} | {ratio:.2} | {} | {} | {} |",
                in_mib(scene.length),
                if scene.latency.is_zero() {
                    String::new()
                } else {
                    format!(", {} away", in_ms(scene.latency))
                },
                name_of(mode),
                in_ms(seen.first_byte),
                in_mib(seen.inner_bytes),
                seen.calls,
                goals.judged(mode, &seen, &bare).join("; "),
            );
        }
    }
}

fn name_of(mode: Option<Fill>) -> &'static str {
    match mode {
        None => "bare",
        Some(mode) if mode == Fill::auto() => "Auto",
        Some(mode) if mode == Fill::whole() => "Whole",
        Some(mode) if mode == Fill::progressive() => "Progressive",
        Some(_) => "Sliced",
    }
}

impl Goals {
    fn judged(&self, mode: Option<Fill>, seen: &Seen, bare: &Seen) -> Vec<String> {
        let (first_byte, bytes) = match mode {
            Some(mode) if mode == Fill::auto() => (IN_PIECES, self.bytes),
            Some(mode) if mode == Fill::progressive() => (self.progressive, None),
            Some(mode) if mode == Fill::sliced() => (self.sliced, self.bytes),
            Some(_) => (FirstByte::Any, None),
            None => return vec![format!("first chunk {}", in_ms(bare.first_chunk))],
        };
        let soonest = match first_byte {
            FirstByte::Any => None,
            FirstByte::InBare(times) => Some(bare.first_byte.mul_f64(times)),
            FirstByte::InChunks(times) => Some(bare.first_chunk.mul_f64(times)),
        };
        let met = |is_met| if is_met { "met" } else { "MISSED" };
        let first_byte =
            soonest.map(|most| format!("first byte ≤ {} {}", in_ms(most), met(seen.first_byte <= most)));
        let bytes = bytes.map(|most| format!("bytes ≤ {} {}", in_mib(most), met(seen.inner_bytes <= most)));
        first_byte.into_iter().chain(bytes).collect()
    }
}

fn in_ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn in_mib(bytes: u64) -> String {
    let kib = f64::from(u32::try_from(bytes >> 10).unwrap());
    format!("{:.1} MiB", kib / 1024.0).replace(".0 ", " ")
}

const IN_A_CHUNK: FirstByte = FirstByte::InChunks(1.05);
const MIB: u64 = 1 << 20;
