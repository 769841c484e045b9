//! SQL types as arguments that pgrx does not read, or not in every encoding: `name`, `text`, `cidr` and `jsonb`, alone and in arrays.

use std::ffi::CStr;
use std::ops::Deref;

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::datum::UnboxDatum;
use pgrx::pgrx_sql_entity_graph::impl_sql_translatable;
use pgrx::{FromDatum, IntoDatum, pg_sys};

use super::name::Name;
use crate::bytes;

/// A `text`, whatever its encoding: pgrx's own reading trusts a database in UTF-8 to hold nothing else, which names of
/// roles that another database has made don't keep to.
#[derive(Debug, Clone)]
pub struct Text(pub String);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl IntoDatum for Text {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        bytes::bytes(&self.0).as_ref().into_datum()
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::TEXTOID
    }
}

/// The elements of a `text[]`.
pub fn strings(texts: Option<Vec<Option<Text>>>) -> Option<Vec<Option<String>>> {
    let string = |text: Option<Text>| text.map(|text| text.0);
    texts.map(|texts| texts.into_iter().map(string).collect())
}

/// The text of a `cidr` value.
#[derive(Debug, Clone)]
pub struct Cidr(pub String);

/// The text of a `jsonb` value, which has no key twice.
#[derive(Debug, Clone)]
pub struct JsonText(pub String);

/// A type that is read from its datum by a function of ours.
trait Read: Sized {
    /// # Safety
    /// The datum is a valid, non-null value of the SQL type.
    unsafe fn read(datum: pg_sys::Datum) -> Self;
}

impl Read for Name {
    unsafe fn read(datum: pg_sys::Datum) -> Self {
        // SAFETY: a `name` is a terminated string of at most 64 bytes.
        let text = unsafe { CStr::from_ptr(datum.cast_mut_ptr()) };
        Name(super::text::read(text).into_owned())
    }
}

impl Read for Text {
    unsafe fn read(datum: pg_sys::Datum) -> Self {
        // SAFETY: by contract; the bytes of a `text` are laid out as those of a `bytea`.
        let bytes = unsafe { <&[u8]>::from_datum(datum, false) };
        Text(super::text::of(bytes.unwrap_or_default()).into_owned())
    }
}

impl Read for Cidr {
    unsafe fn read(datum: pg_sys::Datum) -> Self {
        // SAFETY: by contract; cidr_out takes a cidr and never returns NULL.
        let text = unsafe { pgrx::direct_function_call::<&CStr>(pg_sys::cidr_out, &[Some(datum)]) };
        Cidr(super::text::read(text.unwrap_or_default()).into_owned())
    }
}

impl Read for JsonText {
    unsafe fn read(datum: pg_sys::Datum) -> Self {
        // SAFETY: by contract; jsonb_out takes a jsonb and never returns NULL.
        let text =
            unsafe { pgrx::direct_function_call::<&CStr>(pg_sys::jsonb_out, &[Some(datum)]) };
        JsonText(super::text::read(text.unwrap_or_default()).into_owned())
    }
}

macro_rules! argument {
    ($rust:ty) => {
        impl FromDatum for $rust {
            unsafe fn from_polymorphic_datum(
                datum: pg_sys::Datum,
                is_null: bool,
                _type: pg_sys::Oid,
            ) -> Option<Self> {
                // SAFETY: PostgreSQL passes a value of the declared type.
                (!is_null).then(|| unsafe { Read::read(datum) })
            }
        }

        // SAFETY: copies the value; nothing borrowed is kept.
        unsafe impl UnboxDatum for $rust {
            type As<'src> = $rust;
            unsafe fn unbox<'src>(datum: pgrx::datum::Datum<'src>) -> Self
            where
                Self: 'src,
            {
                // SAFETY: by the trait's contract.
                unsafe { Read::read(datum.sans_lifetime()) }
            }
        }

        // SAFETY: as above.
        unsafe impl<'fcx> ArgAbi<'fcx> for $rust {
            unsafe fn unbox_arg_unchecked(argument: Arg<'_, 'fcx>) -> Self {
                // SAFETY: by the trait's contract; NULL is asked for as an Option.
                let value: Option<Self> = unsafe { argument.unbox_arg_using_from_datum() };
                match value {
                    Some(value) => value,
                    None => unreachable!("NULL is read as an Option"),
                }
            }

            unsafe fn unbox_nullable_arg(
                argument: Arg<'_, 'fcx>,
            ) -> pgrx::nullable::Nullable<Self> {
                // SAFETY: by the trait's contract.
                unsafe { argument.unbox_arg_using_from_datum() }.into()
            }
        }
    };
}

argument!(Name);
argument!(Text);
argument!(Cidr);
argument!(JsonText);

impl_sql_translatable!(Cidr, "cidr");

impl_sql_translatable!(Text, "text");

impl_sql_translatable!(JsonText, "jsonb");
