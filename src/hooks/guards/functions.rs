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
    if function == SET_CONFIG
        || LARGE_OBJECTS.contains(&function)
        || ADVISORY_LOCKS.contains(&function)
    {
        judge_function(function);
    }
}

#[pg_guard]
extern "C-unwind" fn judge_function(function: u32) {
    let class = match function {
        SET_CONFIG => Class::Set,
        _ if ADVISORY_LOCKS.contains(&function) => Class::Lock,
        _ => Class::LargeObjects,
    };
    guard::judge_classes(&[class], "SELECT");
    let writes = class == Class::LargeObjects && LARGE_OBJECT_WRITERS.contains(&function);
    // SAFETY: in the hook's session.
    if writes && unsafe { flags() } & READS_ONLY != 0 && !may_write() {
        guard::refuse_write("SELECT");
    }
}
