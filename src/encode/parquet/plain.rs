//! Texts as a page has them that are not in a dictionary: each behind its length.

use crate::decode::Span;
use crate::encode::copy::{Nothing, Seen, copy_text};
use crate::encode::margin::{Readable, Writable};
use crate::encode::vector::{Block16, MAX_STEP};

/// Longer texts are copied at once, in bytes, shorter ones in blocks: without a call.
const SHORT_BYTES: usize = 64;

/// Most texts that are copied, and the bytes that they take at most.
const MOST_COPIED: usize = 64;
pub(super) const MOST_COPIED_BYTES: usize = MOST_COPIED * (LENGTH_BYTES + SHORT_BYTES);

/// Bytes of a text's length.
const LENGTH_BYTES: usize = size_of::<u32>();

/// Appends texts that lie in `bytes`, each behind its length, up to the first one that is long, is not UTF-8, or lies where no block
/// can be read, and [`MOST_COPIED`] of them. Gives how many.
#[inline(always)]
pub(super) fn copy_short(
    bytes: &[u8],
    texts: impl Iterator<Item = Span> + Clone,
    page: &mut Vec<u8>,
) -> usize {
    let is_short = |text: &Span| text.len as usize <= SHORT_BYTES;
    let texts = texts.take(MOST_COPIED).take_while(is_short);
    let lens = texts.clone().map(|text| LENGTH_BYTES + text.len as usize);
    let room = lens.sum::<usize>();
    let start = page.len();
    page.resize(start + room + MAX_STEP, 0);
    let (mut at, mut copied) = (0, 0);
    let sides = Readable::new(bytes).zip(Writable::new(&mut page[start..]));
    if let Some((bytes, mut out)) = sides {
        for text in texts {
            let Some(end) = copy_one(bytes, text, &mut out, at) else {
                break;
            };
            at = end;
            copied += 1;
        }
    }
    page.truncate(start + at);
    copied
}

/// Copies a text behind its length to `at`. Gives where it ends.
#[inline(always)]
fn copy_one(texts: Readable<'_>, span: Span, out: &mut Writable<'_>, at: usize) -> Option<usize> {
    out.put(&span.len.to_le_bytes(), at)?;
    let mut seen = Seen::default();
    let end = copy_text::<Nothing, Block16>(texts, span, out, at + LENGTH_BYTES, &mut seen)?;
    let is_utf8 = seen.is_ascii() || simdutf8::basic::from_utf8(span.of(texts.bytes())).is_ok();
    is_utf8.then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts one behind the other, and so many bytes behind the last one.
    fn laid_out(texts: &[&[u8]], behind: usize) -> (Vec<u8>, Vec<Span>) {
        let mut bytes = Vec::new();
        let spans = texts.iter().map(|text| {
            let (start, len) = (bytes.len() as u32, text.len() as u32);
            bytes.extend_from_slice(text);
            Span { start, len }
        });
        let spans = spans.collect();
        bytes.resize(bytes.len() + behind, 0xff);
        (bytes, spans)
    }

    fn is_copied(texts: &[&[u8]], behind: usize, expected: usize) {
        let (bytes, spans) = laid_out(texts, behind);
        let mut page = b"before".to_vec();
        let copied = copy_short(&bytes, spans.iter().copied(), &mut page);
        let mut whole = b"before".to_vec();
        for text in &texts[..copied] {
            whole.extend_from_slice(&(text.len() as u32).to_le_bytes());
            whole.extend_from_slice(text);
        }
        assert_eq!((copied, page), (expected, whole), "{texts:?}");
    }

    #[test]
    fn texts_of_every_short_length_are_copied_and_no_longer_one() {
        let text = [b'x'; 80];
        for len in 1..80 {
            let expected = if len <= 64 { 3 } else { 1 };
            is_copied(&[b"one", &text[..len], b"three"], MAX_STEP, expected);
        }
    }

    #[test]
    fn texts_are_copied_up_to_one_that_is_not_utf8() {
        let valid = "S\u{e3}o Paulo".as_bytes();
        is_copied(&[valid, b"b", valid], MAX_STEP, 3);
        is_copied(&[valid, b"b", &valid[..2], b"c"], MAX_STEP, 2);
        // What stands behind a text counts for nothing.
        is_copied(&[b"a", &valid[..1]], MAX_STEP, 2);
    }

    #[test]
    fn texts_are_copied_for_as_long_as_a_block_can_be_read() {
        is_copied(&[b"a", b"b"], 0, 0);
        is_copied(&[b"a", b"b"], MAX_STEP - 2, 1);
        is_copied(&[b"a", b"b"], MAX_STEP - 1, 2);
    }

    #[test]
    fn there_is_room_for_as_many_as_are_copied() {
        let text = [b'x'; SHORT_BYTES];
        is_copied(&vec![&text[..]; 70], MAX_STEP, MOST_COPIED);
        assert_eq!(MOST_COPIED_BYTES, 64 * 68);
    }
}
