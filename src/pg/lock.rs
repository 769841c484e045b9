//! Locks of the lock manager (storage/lock.h) that no SQL function takes.

use pgrx::pg_sys;

#[derive(Debug, Clone, Copy)]
pub enum Mode {
    Share,
    Exclusive,
}

/// Takes an advisory lock in database 0, until the transaction ends; false when it is to be taken at once and somebody is in the
/// way. Of the numbers the first is `pg_locks.objsubid`, the others are shown as `classid` and `objid`.
pub fn acquire_advisory((kind, high, low): (u16, u32, u32), mode: Mode, at_once: bool) -> bool {
    let tag = pg_sys::LOCKTAG {
        locktag_field1: 0,
        locktag_field2: high,
        locktag_field3: low,
        locktag_field4: kind,
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
