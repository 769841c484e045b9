//! Settings of a library that hear of their values.

use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;

/// The text of a setting, which PostgreSQL keeps for as long as it is the setting's value.
pub struct Kept(AtomicPtr<c_char>);

impl Kept {
    pub const fn none() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    /// The first byte; 0 of an empty text.
    #[inline]
    pub fn first(&self) -> u8 {
        let text = self.0.load(Ordering::Relaxed);
        if text.is_null() {
            return 0;
        }
        // SAFETY: the setting's current value, terminated.
        unsafe { *text.cast() }
    }

    /// Looks at the text; `None` when it is empty. It does not change meanwhile, because `look` gets no way to change it.
    #[inline]
    pub fn with<R>(&self, look: impl FnOnce(&CStr) -> R) -> Option<R> {
        if self.first() == 0 {
            return None;
        }
        // SAFETY: the setting's current value, terminated.
        Some(look(unsafe {
            CStr::from_ptr(self.0.load(Ordering::Relaxed))
        }))
    }
}

/// A value that a setting is about to have.
pub struct Value<'a>(*const c_char, PhantomData<&'a CStr>);

impl Value<'_> {
    #[inline]
    pub fn is_empty(&self) -> bool {
        // SAFETY: NULL, or a terminated text.
        self.0.is_null() || unsafe { *self.0 } == 0
    }

    /// NULL counts as empty.
    pub fn text(&self) -> &CStr {
        if self.0.is_null() {
            return c"";
        }
        // SAFETY: a terminated text.
        unsafe { CStr::from_ptr(self.0) }
    }
}

/// Who hears of the values of a setting.
pub trait Watched {
    /// Where its value is found.
    fn kept() -> &'static Kept;
    /// May it have this value? Must not fail. `restoring`: a parallel worker takes over what its leader has.
    fn check(text: &CStr, restoring: bool) -> bool;
    /// It has. Must not fail: PostgreSQL also calls it while a transaction ends or aborts.
    fn assign(value: &Value<'_>, restoring: bool);
}

/// Defines a setting that only superusers may change.
pub fn define_watched<W: Watched>(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
    context: GucContext,
    flags: GucFlags,
) {
    let hooks = (Some(check::<W> as _), Some(assign::<W> as _));
    // SAFETY: neither hook can fail.
    unsafe { register(name, short, long, setting, context, flags, hooks) }
}

/// Registers a text with hooks on its values.
///
/// # Safety
/// The hooks are guarded, or cannot fail.
pub(super) unsafe fn register(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
    context: GucContext,
    flags: GucFlags,
    (check, assign): (pg_sys::GucStringCheckHook, pg_sys::GucStringAssignHook),
) {
    // SAFETY: by contract; the hooks have the types that PostgreSQL asks for.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name, short, long, setting, context, flags, check, assign, None,
        );
    }
}

/// Unguarded, as [`assign`]: those who are told must not panic.
unsafe extern "C-unwind" fn check<W: Watched>(
    new_value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes valid pointers, and a plain read of a backend global.
    let (value, restoring) = unsafe {
        (
            Value(*new_value, PhantomData),
            pg_sys::InitializingParallelWorker,
        )
    };
    W::check(value.text(), restoring)
}

unsafe extern "C-unwind" fn assign<W: Watched>(new_value: *const c_char, _extra: *mut c_void) {
    W::kept().0.store(new_value.cast_mut(), Ordering::Relaxed);
    // SAFETY: a plain read of a backend global.
    let restoring = unsafe { pg_sys::InitializingParallelWorker };
    W::assign(&Value(new_value, PhantomData), restoring);
}
