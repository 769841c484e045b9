//! Reading a claim path.

use std::borrow::Cow;

use serde_json_path::JsonPath;

use super::{Comparison, PathError, Step};

/// How many wildcards, slices and lists a JSONPath may have; see [`check_cost`].
const MAX_LISTS: usize = 8;
/// Brackets and parentheses that are open at the same time.
const MAX_DEPTH: usize = 16;
const TOO_DEEP: &str = "at most 16 brackets and parentheses may be open";

/// A path in PostgREST's grammar.
pub fn steps(text: &str) -> Result<Vec<Step>, PathError> {
    Reader::new(text).steps()
}

/// One in that of RFC 9535.
pub fn json_path(text: &str) -> Result<JsonPath, PathError> {
    check_cost(text)?;
    JsonPath::parse(text).map_err(|parse| library_error(text, &parse))
}

/// Reads PostgREST's grammar: `.key`, `."quoted key"`, `[0]` and, at the end, `[?(@ == "text")]`.
/// A bare key has letters, digits and `_$@`; nothing is escaped inside quotes.
struct Reader<'a> {
    rest: &'a str,
    position: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            position: 1,
        }
    }

    fn steps(mut self) -> Result<Vec<Step>, PathError> {
        let mut steps = Vec::new();
        while !self.rest.is_empty() {
            if self.take(".") {
                steps.push(Step::Key(self.key()?));
            } else if self.take("[?(") {
                steps.push(self.filter()?);
                if !self.rest.is_empty() {
                    return Err(self.error("a filter must be the end of the path"));
                }
            } else if self.take("[") {
                steps.push(Step::Index(self.index()?));
                self.expect("]", "expected ] after the array index")?;
            } else {
                return Err(self.error("expected . or ["));
            }
        }
        Ok(steps)
    }

    fn key(&mut self) -> Result<String, PathError> {
        if self.rest.starts_with('"') {
            return self.quoted();
        }
        let key = self.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '@'));
        if key.is_empty() {
            return Err(self
                .error("expected a key of letters, digits, _, $ and @, or one in double quotes"));
        }
        Ok(key.to_owned())
    }

    fn index(&mut self) -> Result<usize, PathError> {
        let digits = self.take_while(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return Err(self.error("expected an array index or a filter such as [?(@ == \"x\")]"));
        }
        digits
            .parse()
            .map_err(|_| self.error("the array index is too large"))
    }

    fn filter(&mut self) -> Result<Step, PathError> {
        self.skip_space();
        self.expect("@", "expected @ in the filter")?;
        self.skip_space();
        let comparison = self.comparison()?;
        self.skip_space();
        let text = self.quoted()?;
        self.skip_space();
        self.expect(")]", "expected )] at the end of the filter")?;
        Ok(Step::Filter(comparison, text))
    }

    fn comparison(&mut self) -> Result<Comparison, PathError> {
        for (symbol, comparison) in [
            ("==^", Comparison::EndsWith),
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("^==", Comparison::StartsWith),
            ("*==", Comparison::Contains),
        ] {
            if self.take(symbol) {
                return Ok(comparison);
            }
        }
        Err(self.error("expected one of ==, !=, ^==, ==^ and *=="))
    }

    fn quoted(&mut self) -> Result<String, PathError> {
        self.expect("\"", "expected a string in double quotes")?;
        let text = self.take_while(|c| c != '"').to_owned();
        self.expect("\"", "the string has no closing quote")?;
        Ok(text)
    }

    fn skip_space(&mut self) {
        self.take_while(|c| c == ' ');
    }

    fn expect(&mut self, token: &str, message: &'static str) -> Result<(), PathError> {
        if self.take(token) {
            Ok(())
        } else {
            Err(self.error(message))
        }
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                self.position += token.chars().count();
                true
            }
            None => false,
        }
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        self.position += taken.chars().count();
        taken
    }

    fn error(&self, message: &'static str) -> PathError {
        error(self.position, message)
    }
}

pub fn error(position: usize, message: &'static str) -> PathError {
    PathError {
        position,
        message: Cow::Borrowed(message),
    }
}

/// The library reports a byte offset from 0.
fn library_error(text: &str, parse: &serde_json_path::ParseError) -> PathError {
    let before = text.get(..parse.position()).unwrap_or(text);
    PathError {
        position: before.chars().count() + 1,
        message: Cow::Owned(format!("not JSONPath: {}", parse.message())),
    }
}

/// Refuses JSONPath that could take a time or memory out of proportion to the payload: paths come
/// from SQL and payloads from token holders, and nothing can interrupt the library. Measured: it
/// parses nested filters in exponential time, copies nodes for every further descent, and compiles
/// the pattern of `match` and `search` anew for every element (up to 55 ms each). And it recurses, by
/// some kilobytes for every level.
fn check_cost(text: &str) -> Result<(), PathError> {
    let mut quote = None;
    let mut escaped = false;
    let (mut brackets, mut parentheses) = (0_usize, 0_usize);
    let mut filter = None;
    let mut roots = 0;
    let mut lists = 0;
    let mut descended = false;
    for (number, (at, c)) in text.char_indices().enumerate() {
        if let Some(mark) = quote {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == mark {
                quote = None;
            }
            continue;
        }
        let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
        let complaint = match c {
            '\'' | '"' => {
                quote = Some(c);
                None
            }
            '[' => {
                brackets += 1;
                (brackets + parentheses > MAX_DEPTH).then_some(TOO_DEEP)
            }
            ')' => {
                parentheses = parentheses.saturating_sub(1);
                None
            }
            ']' => {
                if filter == Some(brackets) {
                    filter = None;
                }
                brackets = brackets.saturating_sub(1);
                None
            }
            '?' if filter.replace(brackets).is_some() => {
                Some("a filter inside a filter is not supported")
            }
            '$' => {
                roots += 1;
                (roots > 2).then_some("$ is supported at the start and once more")
            }
            '*' | ':' | ',' => {
                lists += 1;
                if filter.is_some() && roots > 1 {
                    Some("no list inside a filter after $")
                } else {
                    (lists > MAX_LISTS).then_some("at most 8 of *, : and , are supported")
                }
            }
            '.' if after.starts_with("..") => {
                let again = std::mem::replace(&mut descended, true);
                (again || filter.is_some())
                    .then_some(".. is supported once, and not inside a filter")
            }
            '(' if before.ends_with("match") || before.ends_with("search") => {
                Some("the functions match and search are not supported")
            }
            '(' => {
                parentheses += 1;
                (brackets + parentheses > MAX_DEPTH).then_some(TOO_DEEP)
            }
            _ => None,
        };
        if let Some(message) = complaint {
            return Err(error(number + 1, message));
        }
    }
    Ok(())
}
