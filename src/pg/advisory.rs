//! Cluster-wide advisory locks on names, held to the end of the transaction.
//!
//! They live in database 0, where no SQL function can take or hold one, so no user can block us.

use pgrx::pg_sys;

/// Marks the locks as ours in `pg_locks.classid` ("scop").
const CLASS: u32 = 0x7363_6f70;

#[derive(Debug, Clone, Copy)]
pub enum Mode {
    Share,
    Exclusive,
}

/// Waits for the lock on `key`; ends with the transaction.
pub fn lock(key: u32, mode: Mode) {
    acquire(key, mode, false);
}

/// Takes the lock if nobody is in the way.
#[must_use]
pub fn try_lock(key: u32, mode: Mode) -> bool {
    acquire(key, mode, true)
}

fn acquire(key: u32, mode: Mode, at_once: bool) -> bool {
    let tag = pg_sys::LOCKTAG {
        locktag_field1: 0,
        locktag_field2: CLASS,
        locktag_field3: key,
        // As pg_advisory_lock(int, int): objsubid 2.
        locktag_field4: 2,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    };
    let mode = match mode {
        Mode::Share => pg_sys::ShareLock,
        Mode::Exclusive => pg_sys::ExclusiveLock,
    };
    // SAFETY: a complete tag on our stack, copied by the lock manager; inside a transaction.
    // What others committed while we waited must be seen by the catalogue look-ups that follow.
    unsafe {
        let result = pg_sys::LockAcquire(&tag, mode as i32, false, at_once);
        pg_sys::AcceptInvalidationMessages();
        result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
    }
}
