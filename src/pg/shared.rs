//! Values in shared memory, reserved in the postmaster by `pg_shmem_init!`. Names are unique in the server.

use std::ffi::CStr;

use pgrx::lwlock::{PgLwLockExclusiveGuard, PgLwLockShareGuard};
use pgrx::{PGRXSharedMemory, PgAtomic, PgLwLock, PgSharedMemoryInitialization};

/// Plain data: no references.
#[derive(Clone, Copy)]
pub struct Plain<T>(pub T);

// SAFETY: what is `Copy` has nothing to drop, and by contract no pointers.
unsafe impl<T: Copy + Send + Sync + 'static> PGRXSharedMemory for Plain<T> {}

/// A value under a lock.
pub struct Locked<T>(PgLwLock<Plain<T>>);

impl<T: Copy + Send + Sync + 'static> Locked<T> {
    pub const fn named(name: &'static CStr) -> Self {
        // SAFETY: the name is unique in the server.
        Self(unsafe { PgLwLock::new(name) })
    }

    /// Held while the guard lives.
    pub fn share(&self) -> PgLwLockShareGuard<'_, Plain<T>> {
        self.0.share()
    }

    /// As [`Self::share`].
    pub fn exclusive(&self) -> PgLwLockExclusiveGuard<'_, Plain<T>> {
        self.0.exclusive()
    }
}

impl<T: Copy + Send + Sync + 'static> PgSharedMemoryInitialization for Locked<T> {
    type Value = Plain<T>;

    unsafe fn on_shmem_request(&'static self) {
        // SAFETY: by contract.
        unsafe { self.0.on_shmem_request() }
    }

    unsafe fn on_shmem_startup(&'static self, value: Plain<T>) {
        // SAFETY: by contract.
        unsafe { self.0.on_shmem_startup(value) }
    }
}

/// Atomics: no references, nothing to drop.
#[derive(Default)]
pub struct Atomics<T>(T);

// SAFETY: by contract.
unsafe impl<T: Send + Sync + 'static> PGRXSharedMemory for Atomics<T> {}

/// A value that needs no lock.
pub struct Shared<T>(PgAtomic<Atomics<T>>);

impl<T: Default + Send + Sync + 'static> Shared<T> {
    pub const fn named(name: &'static CStr) -> Self {
        // SAFETY: the name is unique in the server.
        Self(unsafe { PgAtomic::new(name) })
    }

    pub fn get(&self) -> &T {
        &self.0.get().0
    }
}

impl<T: Default + Send + Sync + 'static> PgSharedMemoryInitialization for Shared<T> {
    type Value = Atomics<T>;

    unsafe fn on_shmem_request(&'static self) {
        // SAFETY: by contract.
        unsafe { self.0.on_shmem_request() }
    }

    unsafe fn on_shmem_startup(&'static self, value: Atomics<T>) {
        // SAFETY: by contract.
        unsafe { self.0.on_shmem_startup(value) }
    }
}
