//! An entry of an access control list, in numbers. Pure.
#![forbid(unsafe_code)]

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// 0 is PUBLIC.
    pub grantee: u32,
    pub grantor: u32,
    pub rights: u16,
    pub grantable: u16,
}
