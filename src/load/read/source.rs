//! A file's bytes, hashed and counted on their way.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::random;

/// Most bytes of one record or line: what an exported event may have. It bounds the readers' memory.
pub(in crate::load) const MAX_RECORD_BYTES: usize = 32 << 20;

/// Bytes that are read at a time.
pub(super) const BUFFER_BYTES: usize = 1 << 20;

/// A UTF-8 file may begin with this.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A text file, less its byte order mark.
pub(super) struct Source {
    file: File,
    hash: Sha256,
    /// Bytes that were read to look for the mark and are still to be handed out.
    pending: Vec<u8>,
    position: u64,
    /// Bytes of the file before the text.
    skipped: u64,
    /// Quotation marks that were read.
    quotes: u64,
    /// Bytes since a record began, up to a buffer more.
    since_record: usize,
}

impl Source {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut source = Self {
            file: File::open(path).map_err(|error| unreadable(path, error))?,
            hash: Sha256::new(),
            pending: Vec::new(),
            position: 0,
            skipped: 0,
            quotes: 0,
            since_record: 0,
        };
        let mut head = Vec::new();
        let mark = BYTE_ORDER_MARK.len() as u64;
        Read::by_ref(&mut source)
            .take(mark)
            .read_to_end(&mut head)
            .map_err(|error| unreadable(path, error))?;
        if head == BYTE_ORDER_MARK {
            source.skipped = mark;
        } else {
            head.reverse();
            source.pending = head;
        }
        Ok(source)
    }

    /// Where a byte of the text is in the file.
    pub(super) fn place_in_file(&self, byte: u64) -> u64 {
        byte + self.skipped
    }

    /// Bytes of the file that were read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Whether a quotation mark is left open: those of a well-formed CSV come in pairs.
    pub(super) fn has_open_quote(&self) -> bool {
        self.quotes % 2 == 1
    }

    /// A record begins: the bound counts from here.
    pub(super) fn record_begins(&mut self) {
        self.since_record = 0;
    }

    /// The SHA-256 of the whole file, once it was read to its end.
    pub(super) fn finish(self) -> Sha256Hex {
        random::hex(&self.hash.finalize())
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(byte) = buffer.first_mut()
            && let Some(pending) = self.pending.pop()
        {
            *byte = pending;
            return Ok(1);
        }
        if self.since_record > MAX_RECORD_BYTES + BUFFER_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let count = self.file.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.position += count as u64;
        self.quotes += buffer[..count].iter().filter(|&&byte| byte == b'"').count() as u64;
        self.since_record += count;
        Ok(count)
    }
}

/// A SHA-256 as 64 lower-case hexadecimal digits.
pub(in crate::load) type Sha256Hex = String;

/// The SHA-256 of a file that is read elsewhere in another order.
///
/// # Errors
///
/// The file cannot be read.
pub(super) fn hash(path: &Path) -> Result<Sha256Hex> {
    let mut file = File::open(path).map_err(|error| unreadable(path, error))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file
            .read(&mut buffer)
            .map_err(|error| unreadable(path, error))?
        {
            0 => return Ok(random::hex(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// The line, from 1, of the first byte at or behind `byte` that does not end a line. Reads the file up to there, so it is
/// for errors alone.
///
/// # Errors
///
/// The file cannot be read.
pub(super) fn line_at(path: &Path, byte: u64) -> io::Result<u64> {
    let mut line = 1;
    let mut after_return = false;
    let bytes = io::BufReader::with_capacity(BUFFER_BYTES, File::open(path)?).bytes();
    for (at, next) in (0..).zip(bytes) {
        let next = next?;
        if at >= byte && next != b'\n' && next != b'\r' {
            break;
        }
        // CR LF is one end of a line.
        line += u64::from(next == b'\r' || (next == b'\n' && !after_return));
        after_return = next == b'\r';
    }
    Ok(line)
}

/// A file that cannot be read.
pub(super) fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::new(
        ErrorKind::Data,
        format!("the file {} cannot be read", path.display()),
    )
    .with_source(error)
}

/// What went wrong while a record was read.
pub(super) fn record_unreadable(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::FileTooLarge {
        return Error::new(
            ErrorKind::Data,
            format!(
                "the record that begins here has more than {} MiB: is a quotation mark or a bracket not closed?",
                MAX_RECORD_BYTES >> 20
            ),
        );
    }
    Error::new(ErrorKind::Data, "the file cannot be read further").with_source(error)
}
