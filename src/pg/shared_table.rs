//! A table in shared memory whose length is known when the server starts.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use pgrx::{PgSharedMemoryInitialization, pg_sys};

/// In shared memory, followed by the entries.
#[repr(C)]
struct Head<G, F> {
    lock: *mut pg_sys::LWLock,
    places: usize,
    guarded: G,
    free: F,
}

/// Entries `E` and `G` under one lock, and beside it `F`, which needs none. All are plain data: no references, nothing to drop.
pub struct Table<E, G, F> {
    name: &'static CStr,
    places: AtomicUsize,
    /// NULL without the preload, or without a single place.
    head: AtomicPtr<Head<G, F>>,
    of: PhantomData<fn(E)>,
}

impl<E, G, F> Table<E, G, F>
where
    E: Copy + Default + Send + Sync + 'static,
    G: Copy + Default + Send + Sync + 'static,
    F: Default + Send + Sync + 'static,
{
    pub const fn named(name: &'static CStr) -> Self {
        const { assert!(align_of::<E>() <= align_of::<Head<G, F>>()) };
        Self {
            name,
            places: AtomicUsize::new(0),
            head: AtomicPtr::new(null_mut()),
            of: PhantomData,
        }
    }

    /// How many entries there will be. In the postmaster, before memory is reserved.
    pub fn set_places(&self, places: usize) {
        self.places.store(places, Ordering::Relaxed);
    }

    fn bytes(&self) -> usize {
        size_of::<Head<G, F>>() + self.places.load(Ordering::Relaxed) * size_of::<E>()
    }

    /// What needs no lock; `None` without a table.
    pub fn free(&self) -> Option<&'static F> {
        // SAFETY: shared memory stays where it is for as long as the process lives, and nobody writes to this part but
        // through shared references.
        unsafe { Some(&(*self.existing()?).free) }
    }

    fn existing(&self) -> Option<*mut Head<G, F>> {
        let head = self.head.load(Ordering::Acquire);
        (!head.is_null()).then_some(head)
    }

    /// Looks while others may look, too; `None` without a table.
    pub fn read<R>(&self, look: impl FnOnce(&G, &[E]) -> R) -> Option<R> {
        let head = self.existing()?;
        // SAFETY: so many entries follow the head, which is as aligned; the lock is held.
        unsafe {
            let _held = Held::take((*head).lock, pg_sys::LWLockMode::LW_SHARED);
            let entries = std::slice::from_raw_parts(head.add(1).cast(), (*head).places);
            Some(look(&(*head).guarded, entries))
        }
    }

    /// Changes it alone; `None` without a table.
    pub fn write<R>(&self, change: impl FnOnce(&mut G, &mut [E]) -> R) -> Option<R> {
        let head = self.existing()?;
        // SAFETY: as in `read`; nobody else reads or writes.
        unsafe {
            let _held = Held::take((*head).lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
            let entries = std::slice::from_raw_parts_mut(head.add(1).cast(), (*head).places);
            Some(change(&mut (*head).guarded, entries))
        }
    }
}

/// No interrupt is served while it lives.
struct Held(*mut pg_sys::LWLock);

impl Held {
    /// # Safety
    /// A lock in shared memory.
    unsafe fn take(lock: *mut pg_sys::LWLock, mode: pg_sys::LWLockMode::Type) -> Self {
        // SAFETY: by contract.
        unsafe { pg_sys::LWLockAcquire(lock, mode) };
        Held(lock)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: taken by us.
        unsafe { pg_sys::LWLockRelease(self.0) }
    }
}

impl<E, G, F> PgSharedMemoryInitialization for Table<E, G, F>
where
    E: Copy + Default + Send + Sync + 'static,
    G: Copy + Default + Send + Sync + 'static,
    F: Default + Send + Sync + 'static,
{
    type Value = ();

    unsafe fn on_shmem_request(&'static self) {
        // SAFETY: called when memory may be asked for.
        unsafe {
            pg_sys::RequestAddinShmemSpace(self.bytes());
            pg_sys::RequestNamedLWLockTranche(self.name.as_ptr(), 1);
        }
    }

    unsafe fn on_shmem_startup(&'static self, (): ()) {
        let places = self.places.load(Ordering::Relaxed);
        if places == 0 {
            return;
        }
        let mut found = false;
        // SAFETY: in the postmaster, which is alone; the memory is as long as head and entries.
        unsafe {
            let head = pg_sys::ShmemInitStruct(self.name.as_ptr(), self.bytes(), &mut found);
            let head = head.cast::<Head<G, F>>();
            if !found {
                head.write(Head {
                    lock: &raw mut (*pg_sys::GetNamedLWLockTranche(self.name.as_ptr())).lock,
                    places,
                    guarded: G::default(),
                    free: F::default(),
                });
                let entries = head.add(1).cast::<E>();
                for place in 0..places {
                    entries.add(place).write(E::default());
                }
            }
            self.head.store(head, Ordering::Release);
        }
    }
}
