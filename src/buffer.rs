//! A buffer that is used again and again. Pure.
#![forbid(unsafe_code)]

use std::cell::Cell;

/// In bytes. One that has grown for a long text is not kept: a session may have many such in its life, and few at a time.
const LONGEST_KEPT: usize = 4_096;

/// The bytes of the last line, for the next.
pub struct Buffer(Cell<Vec<u8>>);

impl Buffer {
    pub const fn new() -> Self {
        Self(Cell::new(Vec::new()))
    }

    /// It has what it had when it was given back.
    pub fn take(&self) -> Vec<u8> {
        self.0.take()
    }

    pub fn give_back(&self, bytes: Vec<u8>) {
        if bytes.capacity() <= LONGEST_KEPT {
            self.0.set(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_is_kept_until_it_has_grown_for_a_long_text() {
        let buffer = Buffer::new();
        let mut bytes = buffer.take();
        bytes.extend_from_slice(b"a line");
        let place = bytes.as_ptr();
        buffer.give_back(bytes);
        let mut bytes = buffer.take();
        assert_eq!(bytes.as_ptr(), place);
        bytes.resize(LONGEST_KEPT + 1, b'x');
        buffer.give_back(bytes);
        assert_eq!(buffer.take().capacity(), 0);
    }
}
