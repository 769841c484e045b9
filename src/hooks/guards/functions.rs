//! Functions that are what statements of a class do.

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::flags;
use super::writes::may_write;
use crate::guard::rule::Class;
use crate::guard::{self, CLASSES, READS_ONLY};

/// pg_proc.dat: what reads and writes large objects, by `be_lo_…`.
const LARGE_OBJECTS: [u32; 20] = [
    715, 764, 765, 767, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172, 3457, 3458,
    3459, 3460,
];

/// Those of them that write.
const LARGE_OBJECT_WRITERS: [u32; 10] = [715, 764, 767, 955, 957, 964, 1004, 3172, 3457, 3460];

/// What else writes: sequences, the catalogues, statistics, replication, the log of changes. Some came with later versions.
const WRITERS: [u32; 41] = [
    // setval
    1576, 1765, // pg_import_system_collations, pg_extension_config_dump
    3445, 3086, // pg_stat_reset and its kin
    2274, 2307, 3775, 3776, 3777, 6170, 6232,
    6387, // pg_restore_…_stats, pg_clear_…_stats
    6362, 6363, 6397, 6398, 6512,
    6513, // pg_create_…_slot, pg_copy_…, pg_drop_…, pg_replication_slot_advance, pg_sync_replication_slots
    3779, 3780, 3786, 3878, 4220, 4221, 4222, 4223, 4224, 6344,
    // pg_logical_slot_get_…changes, pg_logical_emit_message
    3782, 3783, 3577, 3578, // pg_replication_origin_…
    6003, 6004, 6006, 6007, 6010, 6011, 6012, // pg_create_restore_point, pg_switch_wal
    3098, 2848,
];

/// `pg_advisory_lock` and `pg_try_advisory_lock`, shared and for a transaction.
const ADVISORY_LOCKS: [u32; 16] = [
    2880, 2881, 2882, 2883, 2886, 2887, 2888, 2889, 3089, 3090, 3091, 3092, 3093, 3094, 3095, 3096,
];

const SET_CONFIG: u32 = 2078;

/// A function is about to be executed.
///
/// # Safety
/// From the object access hook, as [`flags`].
pub unsafe fn before_function(function: pg_sys::Oid) {
    let function = u32::from(function);
    // SAFETY: by contract.
    let flags = unsafe { flags() };
    if flags & (CLASSES | READS_ONLY) == 0 || function >= pg_sys::FirstNormalObjectId {
        return;
    }
    let writes = flags & READS_ONLY != 0
        && (LARGE_OBJECT_WRITERS.contains(&function) || WRITERS.contains(&function));
    if writes || class_of(function).is_some() {
        judge_function(function, writes);
    }
}

fn class_of(function: u32) -> Option<Class> {
    match function {
        SET_CONFIG => Some(Class::Set),
        _ if ADVISORY_LOCKS.contains(&function) => Some(Class::Lock),
        _ if LARGE_OBJECTS.contains(&function) => Some(Class::LargeObjects),
        _ => None,
    }
}

#[pg_guard]
extern "C-unwind" fn judge_function(function: u32, writes: bool) {
    if let Some(class) = class_of(function) {
        guard::judge_classes(&[class], "SELECT");
    }
    if writes && !may_write() {
        guard::refuse_write("SELECT");
    }
}
