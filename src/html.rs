//! Text inside HTML. Pure.
#![forbid(unsafe_code)]

use crate::text::is_unseen;

/// A text that is no markup, in elements and in quoted attributes.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            // What turns the direction of the text around it, hides, or is not allowed in a page.
            other if is_unseen(other) => out.push('\u{FFFD}'),
            other => out.push(other),
        }
    }
    out
}

/// A page that is the same in every encoding.
pub fn ascii(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    for character in html.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            out += &format!("&#{};", u32::from(character));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{ascii, escaped};

    #[test]
    fn html_of_any_text_is_text() {
        assert_eq!(
            escaped("<b a=\"x\" c='y'>&amp;\u{202E}\u{7}\n"),
            "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;amp;\u{FFFD}\u{FFFD}\n"
        );
        assert_eq!(ascii("<p>\u{2026}</p>"), "<p>&#8230;</p>");
        assert_eq!(escaped("caf\u{e9} \u{1f600}"), "caf\u{e9} \u{1f600}");
    }
}
