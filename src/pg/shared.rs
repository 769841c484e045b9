//! Values in shared memory, reserved in the postmaster by `pg_shmem_init!`. Names are unique in the server.

use std::ffi::CStr;
use std::ops::Deref;

use pgrx::{PGRXSharedMemory, PgAtomic, PgLwLock};

/// Plain data: no references.
#[derive(Clone, Copy)]
pub struct Plain<T>(pub T);

// SAFETY: what is `Copy` has nothing to drop, and by contract no pointers.
unsafe impl<T: Copy + Send + Sync + 'static> PGRXSharedMemory for Plain<T> {}

/// A value under a lock, which is held while the guard lives.
pub type Locked<T> = PgLwLock<Plain<T>>;

pub const fn locked<T: Copy + Send + Sync + 'static>(name: &'static CStr) -> Locked<T> {
    // SAFETY: the name is unique in the server.
    unsafe { PgLwLock::new(name) }
}

/// Atomics: no references, nothing to drop.
#[derive(Default)]
pub struct Atomics<T>(T);

// SAFETY: by contract.
unsafe impl<T: Send + Sync + 'static> PGRXSharedMemory for Atomics<T> {}

impl<T> Deref for Atomics<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A value that needs no lock.
pub type Shared<T> = PgAtomic<Atomics<T>>;

pub const fn shared<T: Send + Sync + 'static>(name: &'static CStr) -> Shared<T> {
    // SAFETY: the name is unique in the server.
    unsafe { PgAtomic::new(name) }
}
