//! Calls that are made again: a migration's, run in another database or once more, maybe after a later one has changed the scope.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use pgrx::pg_sys;

use super::declared::queries::{REMEMBER, REMEMBERED};
use super::plan::Holdings;
use super::request::Request;
use super::{Error, declared};
use crate::pg::{identity, spi};

/// What tells one request from another: the same call, made again, in another database too, has the same.
pub fn fingerprint(request: &Request) -> Result<String, Error> {
    let list = |oids: &[u32]| {
        let oids: Vec<String> = oids.iter().map(u32::to_string).collect();
        format!("{{{}}}", oids.join(","))
    };
    let relations: Vec<u32> = request
        .tables
        .iter()
        .chain(&request.sequences)
        .copied()
        .collect();
    let lists = [
        list(&relations),
        list(&request.functions),
        list(&request.schemas),
    ];
    let [relations, functions, schemas] = lists.each_ref().map(String::as_str);
    let names = identity::elevated(|| {
        spi::facts::<Vec<Vec<String>>>(NAMES, &[relations, functions, schemas])
    })?;
    let text = format!(
        "{} {:?} {} {names:?}",
        request.verbs.to_text(),
        request.columns,
        request.future,
    );
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    Ok(hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// The names of relations, functions and schemas, by their OIDs.
const NAMES: &str = "
SELECT pg_catalog.jsonb_build_array(
         ARRAY(SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE c.oid = ANY ($1::oid[]) ORDER BY 1),
         ARRAY(SELECT p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc p WHERE p.oid = ANY ($2::oid[]) ORDER BY 1),
         ARRAY(SELECT n.nspname::text FROM pg_catalog.pg_namespace n WHERE n.oid = ANY ($3::oid[]) ORDER BY 1))::text";

/// A call has made just this of the scope: the same call again asks for nothing new, whatever the scope was made into since.
pub fn remember(scope: pg_sys::Oid, name: &str, request: &str) -> Result<(), Error> {
    let scope = u32::from(scope).to_string();
    identity::elevated(|| spi::write(REMEMBER, &[&scope, name, request]))?;
    Ok(())
}

/// Has such a call been made?
pub fn is_remembered(scope: pg_sys::Oid, name: &str, request: &str) -> Result<bool, Error> {
    let scope = u32::from(scope).to_string();
    let found = identity::elevated(|| spi::facts::<bool>(REMEMBERED, &[&scope, name, request]))?;
    Ok(!found.is_empty())
}

/// Is what the scope holds just what it declares?
pub fn is_as_declared(scope: pg_sys::Oid, name: &str, held: &Holdings) -> Result<bool, Error> {
    let declaration = declared::by(scope, name)?;
    let mut all = BTreeMap::from([(u32::from(scope), declaration)]);
    let (newcomers, _) = declared::newcomers(&all)?;
    let declaration = all.remove(&scope.into()).unwrap_or_default();
    let drift = declaration.drift(held, &newcomers);
    Ok(drift.excess.is_empty() && drift.missing.is_empty())
}
