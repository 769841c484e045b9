//! A value for each process that may have a client, in shared memory.

use std::ffi::CStr;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::{PgSharedMemoryInitialization, pg_sys};

/// Values of atomics: no references, nothing to drop.
pub struct PerBackend<T> {
    name: &'static CStr,
    /// NULL without the preload.
    first: AtomicPtr<T>,
}

/// How many there are. Known before memory is reserved.
fn count() -> usize {
    // SAFETY: a plain read of a global of the server.
    usize::try_from(unsafe { pg_sys::MaxBackends }).unwrap_or(0)
}

impl<T: Default + Send + Sync + 'static> PerBackend<T> {
    pub const fn named(name: &'static CStr) -> Self {
        // As PostgreSQL aligns all that is in shared memory (PG_CACHE_LINE_SIZE).
        const { assert!(align_of::<T>() <= 128) };
        Self {
            name,
            first: AtomicPtr::new(null_mut()),
        }
    }

    /// All of them; none without the preload.
    pub fn all(&self) -> &'static [T] {
        let first = self.first.load(Ordering::Acquire);
        if first.is_null() {
            return &[];
        }
        // SAFETY: so many were written at start-up; shared memory stays for as long as the process lives, and nobody
        // writes to it but through shared references.
        unsafe { std::slice::from_raw_parts(first, count()) }
    }

    /// This process's: its place among PostgreSQL's own. `None` in a process that can have no client.
    pub fn own(&self) -> Option<&'static T> {
        // SAFETY: both are in the one array of all processes, once this process has its entry.
        let place = unsafe {
            let own = pg_sys::MyProc;
            if own.is_null() {
                return None;
            }
            own.offset_from((*pg_sys::ProcGlobal).allProcs)
        };
        // Those with clients come first, MaxBackends in all.
        self.all().get(usize::try_from(place).ok()?)
    }
}

impl<T: Default + Send + Sync + 'static> PgSharedMemoryInitialization for PerBackend<T> {
    type Value = ();

    unsafe fn on_shmem_request(&'static self) {
        // SAFETY: called when memory may be asked for.
        unsafe { pg_sys::RequestAddinShmemSpace(size_of::<T>() * count()) }
    }

    unsafe fn on_shmem_startup(&'static self, (): ()) {
        let mut found = false;
        // SAFETY: in the postmaster, which is alone; the memory is as long as so many values.
        unsafe {
            let bytes = size_of::<T>() * count();
            let first = pg_sys::ShmemInitStruct(self.name.as_ptr(), bytes, &mut found).cast::<T>();
            if !found {
                for place in 0..count() {
                    first.add(place).write(T::default());
                }
            }
            self.first.store(first, Ordering::Release);
        }
    }
}
