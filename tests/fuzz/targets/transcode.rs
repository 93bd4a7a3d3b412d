#![no_main]
#![allow(dead_code, reason = "each target uses its part of the checks")]

mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::transcode(data));
