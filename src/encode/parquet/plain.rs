//! Texts as a page has them that are not in a dictionary: each behind its length.

use crate::decode::Span;
use crate::encode::copy::{Seen, Special, copy_text};
use crate::encode::margin::{Readable, Writable};
use crate::encode::vector::{Block, Block16, MAX_STEP};

/// Longer texts are copied at once, in bytes, shorter ones in blocks: without a call.
const QUICK_BYTES: usize = 64;

/// Appends texts that lie in `bytes`, each behind its length, which take `room` bytes together: in blocks, up to the first one that is
/// long, is not UTF-8, or lies where no block can be read. Gives how many.
#[inline(always)]
pub(super) fn copy_short(
    bytes: &[u8],
    texts: impl Iterator<Item = Span>,
    room: usize,
    page: &mut Vec<u8>,
) -> usize {
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
    if span.len as usize > QUICK_BYTES {
        return None;
    }
    out.put(&span.len.to_le_bytes(), at)?;
    let mut seen = Seen::default();
    let end = copy_text::<Nothing, Block16>(texts, span, out, at + 4, &mut seen)?;
    let is_utf8 = seen.is_ascii() || simdutf8::basic::from_utf8(span.of(texts.bytes())).is_ok();
    is_utf8.then_some(end)
}

/// No byte is special.
struct Nothing;

impl Special for Nothing {
    #[inline(always)]
    fn among<B: Block>(_: B) -> B {
        B::zero()
    }
}
