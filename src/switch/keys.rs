//! The keys that `scope_roles.jwt_secret` names, parsed once per value.

use std::cell::RefCell;
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::Error;
use crate::guc;
use crate::jwt::KeySet;

thread_local! {
    static PARSED: RefCell<Option<Parsed>> = const { RefCell::new(None) };
}

struct Parsed {
    source: Source,
    keys: KeySet,
}

/// What the keys were read from: the same source means the same keys.
#[derive(PartialEq, Eq)]
struct Source {
    setting: Zeroizing<String>,
    is_base64: bool,
    /// Modification time and length, when the setting names a file.
    file: Option<(SystemTime, u64)>,
}

/// Calls `work` with the keys that are configured now: a reload, or a changed file, counts at once.
pub fn with<R>(work: impl FnOnce(&KeySet) -> R) -> Result<R, Error> {
    let source = source()?;
    PARSED.with(|cell| {
        let mut parsed = cell.borrow_mut();
        if !parsed
            .as_ref()
            .is_some_and(|parsed| parsed.source == source)
        {
            *parsed = None;
            let keys = read(&source)?;
            *parsed = Some(Parsed { source, keys });
        }
        match parsed.as_ref() {
            Some(parsed) => Ok(work(&parsed.keys)),
            None => Err(Error::NoSecret),
        }
    })
}

fn source() -> Result<Source, Error> {
    let setting = guc::jwt_secret().ok_or(Error::NoSecret)?;
    let file = match setting.strip_prefix('@') {
        Some(path) => {
            let facts = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
            let modified = facts.modified().map_err(|error| unreadable(path, &error))?;
            Some((modified, facts.len()))
        }
        None => None,
    };
    Ok(Source {
        setting,
        is_base64: guc::jwt_secret_is_base64(),
        file,
    })
}

fn read(source: &Source) -> Result<KeySet, Error> {
    let text = match source.setting.strip_prefix('@') {
        Some(path) => {
            let mut bytes =
                Zeroizing::new(std::fs::read(path).map_err(|error| unreadable(path, &error))?);
            // Editors end files with one newline that is not part of the secret.
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
            }
            bytes
        }
        None => Zeroizing::new(source.setting.as_bytes().to_vec()),
    };
    KeySet::parse(&text, source.is_base64).map_err(Error::BadSecret)
}

fn unreadable(path: &str, error: &std::io::Error) -> Error {
    Error::SecretFile {
        path: path.to_owned(),
        kind: error.kind(),
    }
}
