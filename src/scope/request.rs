//! What a caller asks for: privileges by their words, objects by their OIDs.

use super::privilege::{Named, Verbs};

/// What a caller asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub verbs: Verbs,
    pub tables: Vec<u32>,
    pub columns: Option<Vec<String>>,
    pub sequences: Vec<u32>,
    pub functions: Vec<u32>,
    pub schemas: Vec<u32>,
    /// With what will be created in the schemas.
    pub future: bool,
}

impl Request {
    pub fn named(&self) -> Named {
        Named {
            tables: !self.tables.is_empty(),
            columns: self.columns.is_some(),
            sequences: !self.sequences.is_empty(),
            functions: !self.functions.is_empty(),
            schemas: !self.schemas.is_empty(),
        }
    }
}
