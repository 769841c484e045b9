//! What a line of the server log begins with (`log_line_prefix`, PostgreSQL 15, section 20.8.3). Pure.
#![forbid(unsafe_code)]

/// Of the process that writes.
pub struct Writer<'a> {
    /// The process id, in digits.
    pub pid: &'a [u8],
    /// `None`: a process without a client.
    pub client: Option<Client<'a>>,
    /// As the server's messages say it, in their language.
    pub unknown: &'a [u8],
}

#[derive(Clone, Copy)]
pub struct Client<'a> {
    pub user: &'a [u8],
    pub database: &'a [u8],
    pub application: &'a [u8],
}

/// Writes the prefix behind `line`; `None`, with `line` as it was, for a format with an escape or a width that
/// is not known here. `time` writes what `%m` stands for.
pub fn write(
    line: &mut Vec<u8>,
    format: &[u8],
    writer: &Writer<'_>,
    mut time: impl FnMut(&mut Vec<u8>),
) -> Option<()> {
    let begin = line.len();
    let mut rest = format.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            line.push(byte);
            continue;
        }
        let of_client = |field: for<'b> fn(&Client<'b>) -> &'b [u8]| match &writer.client {
            None => &[],
            Some(client) if field(client).is_empty() => writer.unknown,
            Some(client) => field(client),
        };
        match rest.next() {
            // PostgreSQL ignores a lone one at the end.
            None => break,
            Some(b'%') => line.push(b'%'),
            Some(b'm') => time(line),
            Some(b'p') => line.extend_from_slice(writer.pid),
            Some(b'u') => line.extend_from_slice(of_client(|client| client.user)),
            Some(b'd') => line.extend_from_slice(of_client(|client| client.database)),
            Some(b'a') => line.extend_from_slice(of_client(|client| client.application)),
            // What is logged is no error.
            Some(b'e') => line.extend_from_slice(b"00000"),
            Some(b'q') if writer.client.is_none() => break,
            Some(b'q') => {}
            Some(_) => {
                line.truncate(begin);
                return None;
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(format: &str, client: Option<Client<'_>>) -> Option<String> {
        let writer = Writer {
            pid: b"4711",
            client,
            unknown: b"[unknown]",
        };
        let mut line = b"before ".to_vec();
        let known = write(&mut line, format.as_bytes(), &writer, |line| {
            line.extend_from_slice(b"now");
        });
        let text = String::from_utf8(line).unwrap_or_default();
        let written = text.strip_prefix("before ").unwrap_or(&text).to_owned();
        assert!(known.is_some() || written.is_empty(), "{written}");
        known.map(|()| written)
    }

    const JOE: Client<'_> = Client {
        user: b"joe",
        database: b"shop",
        application: b"",
    };

    #[test]
    fn audit_prefix_is_as_the_server_writes_it() {
        for (format, of_client, of_worker) in [
            ("", "", ""),
            ("%m [%p] ", "now [4711] ", "now [4711] "),
            ("%m [%p] %q%u@%d ", "now [4711] joe@shop ", "now [4711] "),
            ("%%%e|%a|%u|", "%00000|[unknown]|joe|", "%00000|||"),
            ("100%", "100", "100"),
        ] {
            assert_eq!(prefix(format, Some(JOE)).as_deref(), Some(of_client));
            assert_eq!(prefix(format, None).as_deref(), Some(of_worker));
        }
    }

    #[test]
    fn audit_prefix_with_other_escapes_is_left_to_the_server() {
        for format in ["%m %l", "%5p", "%-9u", "%h", "%m [%p] %q%u@%d %x"] {
            assert_eq!(prefix(format, Some(JOE)), None, "{format}");
        }
    }
}
