#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| scope_roles_fuzz::answer::run(data));
