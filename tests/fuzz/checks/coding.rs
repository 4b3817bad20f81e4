//! The coding that a client gets: none that it did not ask for, the one that it likes best, and its bytes are the file's.

use std::io::Read as _;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use rowspout::request::Format;
use rowspout::serve::fuzzing::{compressed, negotiated};

use super::super::expected::cut;
use super::input::{rest, sizes};

/// Fields of `Accept-Encoding`, and chunks in a coding.
pub fn coding(input: &[u8]) {
    let _ = check(&mut Unstructured::new(input));
}

fn check(u: &mut Unstructured<'_>) -> Result<()> {
    match u.int_in_range(0..=2)? {
        0 => any_field(rest(u)?),
        1 => chosen(u)?,
        _ => {
            let coding = *u.choose(&["zstd", "br", "gzip", "identity"])?;
            let sizes = sizes(u)?;
            let times = u.int_in_range(1..=20)?;
            let file = rest(u)?.repeat(times);
            comes_back(coding, &file, &sizes);
        }
    }
    Ok(())
}

/// No field gives a coding that it does not have; it does not matter how fields are written.
fn any_field(field: &[u8]) {
    for format in Format::ALL {
        let found = negotiated(&[field], format);
        let text = String::from_utf8_lossy(field).to_ascii_lowercase();
        match found {
            None => assert!(text.contains("identity") || text.contains('*')),
            Some("identity") => {}
            Some(coding) => {
                assert_ne!(format, Format::Parquet);
                assert!(text.contains(coding) || text.contains('*') && coding == "gzip");
            }
        }
        let upper: Vec<u8> = field.to_ascii_uppercase();
        assert_eq!(negotiated(&[&upper], format), found);
        if field.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            let parts: Vec<&[u8]> = field.split(|&byte| byte == b',').collect();
            assert_eq!(negotiated(&parts, format), found);
            let backwards: Vec<&[u8]> = parts.iter().rev().copied().collect();
            assert_eq!(negotiated(&backwards, format), found);
            let spaced = String::from_utf8_lossy(field)
                .replace(',', " , ,")
                .replace(';', " ; ");
            assert_eq!(negotiated(&[spaced.as_bytes()], format), found);
        }
    }
}

/// A client that names codings with weights gets what they say.
fn chosen(u: &mut Unstructured<'_>) -> Result<()> {
    const NAMES: [&str; 7] = ["zstd", "br", "gzip", "identity", "*", "deflate", "x-gzip"];
    let mut weights = [None::<u32>; NAMES.len()];
    let mut field = String::new();
    for (name, weight) in NAMES.iter().zip(&mut weights) {
        if u.ratio(1, 2)? {
            continue;
        }
        let thousandths = *u.choose(&[0, 1, 250, 500, 500, 999, 1000])?;
        *weight = Some(thousandths);
        let written = format!(
            "{name};q={}.{:03}, ",
            thousandths / 1000,
            thousandths % 1000
        );
        if u.arbitrary()? {
            field += &written;
        } else {
            field.insert_str(0, &written);
        }
    }
    let [zstd, br, gzip, identity, any, _, x_gzip] = weights;
    let gzip = gzip.max(x_gzip);
    for format in Format::ALL {
        let found = negotiated(&[field.as_bytes()], format);
        let takes_file = identity.or(any) != Some(0);
        let mut possible = vec![("zstd", zstd), ("br", br), ("gzip", gzip)];
        if format == Format::Parquet {
            possible.clear();
        }
        let best = possible
            .iter()
            .filter_map(|(_, weight)| *weight)
            .max()
            .filter(|weight| *weight > 0);
        let expected = match best {
            // The file as it is only where it is liked better than any coding.
            Some(best) if identity.unwrap_or(0) <= best => possible
                .iter()
                .find(|(_, weight)| *weight == Some(best))
                .map(|(name, _)| *name),
            _ if takes_file => Some("identity"),
            _ if format != Format::Parquet && gzip.or(any).is_some_and(|weight| weight > 0) => {
                Some("gzip")
            }
            _ => None,
        };
        assert_eq!(found, expected, "{field} {format}");
    }
    Ok(())
}

fn comes_back(coding: &str, file: &[u8], sizes: &[usize]) {
    let chunks: Vec<_> = cut(file, sizes)
        .into_iter()
        .map(Bytes::copy_from_slice)
        .collect();
    let sent = compressed(coding, &chunks).unwrap();
    let whole = sent.concat();
    let decoded = |bytes: &[u8]| {
        let mut text = Vec::new();
        let ended = match coding {
            "zstd" => zstd::Decoder::new(bytes)
                .unwrap()
                .read_to_end(&mut text)
                .is_ok(),
            "br" => brotli::Decompressor::new(bytes, 4096)
                .read_to_end(&mut text)
                .is_ok(),
            "gzip" => flate2::read::GzDecoder::new(bytes)
                .read_to_end(&mut text)
                .is_ok(),
            _ => {
                text = bytes.to_vec();
                true
            }
        };
        (text, ended)
    };
    assert!(decoded(&whole) == (file.to_vec(), true));
    if coding != "identity" {
        // Without its end a stream is broken; all that was put in is there before.
        let open = sent[..sent.len() - 1].concat();
        if !open.is_empty() {
            let (text, ended) = decoded(&open);
            assert!(text == file && !ended);
        }
    }
}
