#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rowspout_fuzz::checks::statement(input));
