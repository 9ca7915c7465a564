//! Bounds on text that others wrote: names, keys and messages that go into logs, records and answers.

use std::borrow::Cow;

/// The text, cut to at most `most` bytes on a character boundary; what was cut off is replaced by the length of the whole.
pub fn bounded(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let note = format!("… ({} bytes)", text.len());
    let end = text.floor_char_boundary(most.saturating_sub(note.len()));
    Cow::Owned(format!("{}{note}", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_stays_and_a_long_one_says_how_long_it_was() {
        assert_eq!(bounded("shop", 4), "shop");
        assert_eq!(bounded(&"x".repeat(100), 20), "xxxxx… (100 bytes)");
    }

    #[test]
    fn characters_are_never_split_and_the_bound_holds() {
        for length in 16..40 {
            let cut = bounded(&"é".repeat(100), length).into_owned();
            assert!(cut.len() <= length && cut.ends_with("… (200 bytes)"), "{length}: {cut}");
        }
    }
}
