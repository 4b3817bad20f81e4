//! Whether a file is the one that a receipt speaks of.
//!
//! In: the paths of both. Out: the receipt, if its bytes, hash and rows are the file's. Blocking; reads the file twice and holds
//! one buffer, or one record of it.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use ::arrow::ipc::reader::StreamReader;
use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde::Deserializer as _;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use sha2::{Digest as _, Sha256};

use super::{Receipt, Status};
use crate::error::{Error, ErrorKind, Result};
use crate::random;
use crate::request::Format;

/// Size of the buffer that the file is read into, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// Compares a file with a receipt.
///
/// # Errors
///
/// [`ErrorKind::Usage`] where one of them cannot be read or the second is no receipt; [`ErrorKind::Data`] where the file is not
/// what the receipt speaks of, or the export was never complete.
pub fn verify(file: &Path, receipt: &Path) -> Result<Receipt> {
    let receipt = read(receipt)?;
    if receipt.status != Status::Complete {
        let reason = receipt
            .reason
            .as_deref()
            .map_or_else(String::new, |reason| format!(" ({reason})"));
        return Err(Error::new(
            ErrorKind::Data,
            format!(
                "the export {} is not complete but {}{reason}, so no file of it is whole: ask for the receipt again when it \
                 is, or export again",
                receipt.export_id,
                receipt.status.as_str()
            ),
        ));
    }
    let (Some(sha256), Some(format)) = (&receipt.sha256, Format::from_name(&receipt.format)) else {
        return Err(Error::usage(
            "the receipt lacks its sha256, or its format is not known: take one that Rowspout wrote",
        ));
    };
    let differs = |what: fmt::Arguments<'_>| {
        Error::new(
            ErrorKind::Data,
            format!(
                "{} {what}: it was cut or changed, is another export's, or is still compressed; unpack it or export again",
                file.display()
            ),
        )
    };
    let (bytes, found) = hash(file)?;
    if bytes != receipt.bytes {
        return Err(differs(format_args!(
            "has {bytes} bytes and not {}",
            receipt.bytes
        )));
    }
    if !found.eq_ignore_ascii_case(sha256) {
        return Err(differs(format_args!(
            "has the SHA-256 {found} and not {sha256}"
        )));
    }
    let rows = count_rows(file, format)?;
    if rows != receipt.rows {
        return Err(differs(format_args!(
            "has {rows} rows and not {}",
            receipt.rows
        )));
    }
    Ok(receipt)
}

fn read(path: &Path) -> Result<Receipt> {
    let text = std::fs::read(path).map_err(|error| unreadable(path, error))?;
    serde_json::from_slice(&text).map_err(|error| {
        Error::usage(format!(
            "{} is not a receipt: write one with `rowspout export --receipt`, or get one from /api/exports/{{export_id}}",
            path.display()
        ))
        .with_source(error)
    })
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::usage(format!("{} cannot be read", path.display())).with_source(error)
}

/// Bytes and SHA-256 of a file.
///
/// # Errors
///
/// It cannot be read.
pub(crate) fn hash(path: &Path) -> Result<(u64, String)> {
    let mut file = File::open(path).map_err(|error| unreadable(path, error))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(|error| unreadable(path, error))?;
        if read == 0 {
            return Ok((bytes, random::hex(&hash.finalize())));
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}

/// The rows of a file, by what is in it.
///
/// # Errors
///
/// It cannot be read, or is not of that format.
pub(crate) fn count_rows(path: &Path, format: Format) -> Result<u64> {
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(
            ErrorKind::Data,
            format!("{} is not {format}, as its receipt has it", path.display()),
        )
        .with_source(error)
    };
    match format {
        Format::Csv => {
            let mut rows = 0;
            let mut record = ::csv::ByteRecord::new();
            let mut reader = ::csv::Reader::from_reader(file);
            while reader
                .read_byte_record(&mut record)
                .map_err(|error| broken(error.into()))?
            {
                rows += 1;
            }
            Ok(rows)
        }
        Format::Json => {
            let file = BufReader::with_capacity(BUFFER_BYTES, file);
            serde_json::Deserializer::from_reader(file)
                .deserialize_seq(Elements)
                .map_err(|error| broken(error.into()))
        }
        Format::Ndjson => {
            let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
            let mut rows = 0;
            loop {
                let buffer = std::io::BufRead::fill_buf(&mut file)
                    .map_err(|error| unreadable(path, error))?;
                let length = buffer.len();
                if length == 0 {
                    return Ok(rows);
                }
                // A line feed inside a text is written `\n`.
                rows += buffer.iter().filter(|byte| **byte == b'\n').count() as u64;
                std::io::BufRead::consume(&mut file, length);
            }
        }
        Format::Arrow => {
            let file = BufReader::with_capacity(BUFFER_BYTES, file);
            let reader = StreamReader::try_new(file, None).map_err(|error| broken(error.into()))?;
            let mut rows = 0;
            for batch in reader {
                rows += batch.map_err(|error| broken(error.into()))?.num_rows() as u64;
            }
            Ok(rows)
        }
        Format::Parquet => {
            let reader = SerializedFileReader::new(file).map_err(|error| broken(error.into()))?;
            let rows = reader.metadata().file_metadata().num_rows();
            Ok(u64::try_from(rows).unwrap_or(0))
        }
    }
}

/// Counts the elements of an array.
struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<u64, A::Error> {
        let mut count = 0;
        while elements.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}
