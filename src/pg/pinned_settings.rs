//! The settings that change what SQL text, formats and plans mean, as elevated code has them, whatever the session, its role, its
//! database or its client has set. What the server's own configuration says is the administrator's and stays.
//!
//! Left to the caller, because they bound what the call may cost him: `statement_timeout`, `lock_timeout`, `transaction_timeout`, the idle
//! timeouts; and what has no bearing on results: `client_min_messages`, `application_name`, `synchronous_commit`, `client_encoding`.

use std::cell::OnceCell;
use std::ffi::CStr;

use pgrx::pg_sys;

use super::compat;

/// With PostgreSQL's own defaults. A version that does not know one has nothing to pin.
const PINNED: &[(&CStr, &CStr)] = &[
    // What a text means.
    (c"array_nulls", c"on"),
    (c"backslash_quote", c"safe_encoding"),
    (c"escape_string_warning", c"on"),
    (c"standard_conforming_strings", c"on"),
    (c"transform_null_equals", c"off"),
    (c"xmlbinary", c"base64"),
    (c"xmloption", c"content"),
    (c"timezone_abbreviations", c"Default"),
    // How values are written.
    (c"bytea_output", c"hex"),
    (c"DateStyle", c"ISO, MDY"),
    (c"extra_float_digits", c"1"),
    (c"IntervalStyle", c"postgres"),
    (c"lc_monetary", c"C"),
    (c"lc_numeric", c"C"),
    (c"lc_time", c"C"),
    (c"quote_all_identifiers", c"off"),
    (c"TimeZone", c"GMT"),
    // What statements do.
    (c"check_function_bodies", c"on"),
    (c"createrole_self_grant", c""),
    (c"default_table_access_method", c"heap"),
    (c"default_tablespace", c""),
    (c"default_toast_compression", c"pglz"),
    (c"event_triggers", c"on"),
    (c"exit_on_error", c"off"),
    (c"gin_fuzzy_search_limit", c"0"),
    (c"password_encryption", c"scram-sha-256"),
    (c"restrict_nonsystem_relation_kind", c""),
    (c"row_security", c"on"),
    (c"session_replication_role", c"origin"),
    (c"stats_fetch_consistency", c"cache"),
    (c"temp_tablespaces", c""),
    // What is shown of them: to the client, too.
    (c"debug_pretty_print", c"on"),
    (c"debug_print_parse", c"off"),
    (c"debug_print_plan", c"off"),
    (c"debug_print_rewritten", c"off"),
    (c"log_parameter_max_length_on_error", c"0"),
    // How they are planned.
    (c"constraint_exclusion", c"partition"),
    (c"cpu_index_tuple_cost", c"0.005"),
    (c"cpu_operator_cost", c"0.0025"),
    (c"cpu_tuple_cost", c"0.01"),
    (c"cursor_tuple_fraction", c"0.1"),
    (c"debug_parallel_query", c"off"),
    (c"effective_cache_size", c"4GB"),
    (c"enable_async_append", c"on"),
    (c"enable_bitmapscan", c"on"),
    (c"enable_distinct_reordering", c"on"),
    (c"enable_gathermerge", c"on"),
    (c"enable_group_by_reordering", c"on"),
    (c"enable_hashagg", c"on"),
    (c"enable_hashjoin", c"on"),
    (c"enable_incremental_sort", c"on"),
    (c"enable_indexonlyscan", c"on"),
    (c"enable_indexscan", c"on"),
    (c"enable_material", c"on"),
    (c"enable_memoize", c"on"),
    (c"enable_mergejoin", c"on"),
    (c"enable_nestloop", c"on"),
    (c"enable_parallel_append", c"on"),
    (c"enable_parallel_hash", c"on"),
    (c"enable_partition_pruning", c"on"),
    (c"enable_partitionwise_aggregate", c"off"),
    (c"enable_partitionwise_join", c"off"),
    (c"enable_presorted_aggregate", c"on"),
    (c"enable_self_join_elimination", c"on"),
    (c"enable_seqscan", c"on"),
    (c"enable_sort", c"on"),
    (c"enable_tidscan", c"on"),
    (c"force_parallel_mode", c"off"),
    (c"from_collapse_limit", c"8"),
    (c"geqo", c"on"),
    (c"geqo_effort", c"5"),
    (c"geqo_generations", c"0"),
    (c"geqo_pool_size", c"0"),
    (c"geqo_seed", c"0"),
    (c"geqo_selection_bias", c"2"),
    (c"geqo_threshold", c"12"),
    (c"hash_mem_multiplier", c"2"),
    (c"jit", c"off"),
    (c"join_collapse_limit", c"8"),
    (c"max_parallel_workers_per_gather", c"0"),
    (c"min_parallel_index_scan_size", c"512kB"),
    (c"min_parallel_table_scan_size", c"8MB"),
    (c"parallel_leader_participation", c"on"),
    (c"parallel_setup_cost", c"1000"),
    (c"parallel_tuple_cost", c"0.1"),
    (c"plan_cache_mode", c"auto"),
    (c"random_page_cost", c"4"),
    (c"recursive_worktable_factor", c"10"),
    (c"seq_page_cost", c"1"),
    (c"work_mem", c"4MB"),
];

struct Pin {
    setting: *const pg_sys::config_generic,
    name: &'static CStr,
    value: &'static CStr,
}

thread_local! {
    static PINS: OnceCell<Vec<Pin>> = const { OnceCell::new() };
}

/// Pins them all in the current nest level, which undoes it: a load and a branch for each that nobody has set.
///
/// # Safety
/// Inside a transaction, in a nest level of the caller's.
pub unsafe fn pin() {
    PINS.with(|pins| {
        for pin in pins.get_or_init(find) {
            // SAFETY: PostgreSQL's own settings stay where they are for as long as the process; terminated constants.
            unsafe {
                if (*pin.setting).source > pg_sys::GucSource::PGC_S_GLOBAL {
                    set(pin.name, pin.value);
                }
            }
        }
    });
    // SAFETY: by contract.
    unsafe { set(c"search_path", c"pg_catalog, pg_temp") };
}

fn find() -> Vec<Pin> {
    let settings = compat::settings();
    let pin = |&(name, value): &(&'static CStr, &'static CStr)| {
        // SAFETY: each has a terminated name.
        let found = settings
            .iter()
            .find(|&&setting| unsafe { CStr::from_ptr((*setting).name) } == name);
        found.map(|&setting| Pin {
            setting,
            name,
            value,
        })
    };
    PINNED.iter().filter_map(pin).collect()
}

/// # Safety
/// As [`pin`].
unsafe fn set(name: &CStr, value: &CStr) {
    // SAFETY: by contract; terminated.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
    }
}
