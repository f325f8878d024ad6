#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tower_video_cache::fuzzing::playlist(data));
