//! Step 10: an answer that comes packed though nothing of the kind was asked for is unpacked before anybody looks into it:
//! what is captured and redacted is what the guest reads.
//!
//! Invariant: it takes no more memory, and no more time, than an answer of the largest allowed size: what unpacks to more is
//! given up at the limit.
//!
//! To know another coding, give `unpacked` a line for it: a decoder that reads from a slice and stands at its end.

use std::io::{self, Read};

use flate2::bufread::{GzDecoder, ZlibDecoder};

use crate::error::{DoorError, Large};
use crate::request::Answer;

/// Most members of one gzip stream: each begins with tables of its own, however little it holds.
const MOST_MEMBERS: usize = 1_024;

/// Whether it has to be unpacked.
pub(crate) fn is_packed(answer: &Answer) -> bool {
    !answer.body.is_empty() && codings(answer).next().is_some()
}

/// Puts what was packed in the place of the packed body; and how much was `unpacked`, whatever came of it.
pub(crate) fn unpack(answer: &mut Answer, limit: usize, unpacked: &mut usize) -> Result<(), DoorError> {
    let status = answer.status;
    let packed = |problem| DoorError::Packed { status, problem };
    let coding = {
        let mut codings = codings(answer);
        let first = codings.next().unwrap_or_default().to_ascii_lowercase();
        if codings.next().is_some() {
            return Err(packed("it is packed more than once"));
        }
        first
    };
    let mut body = Vec::new();
    let whole = match coding.as_str() {
        "gzip" | "x-gzip" => gunzip(&answer.body, limit, &mut body),
        "deflate" => read(ZlibDecoder::new(&*answer.body), limit, &mut body).map(|rest| rest.into_inner().is_empty()),
        _ => return Err(packed("it is packed in a way that is not known here; gzip and deflate are")),
    };
    *unpacked = body.len().min(limit);
    if body.len() > limit {
        return Err(DoorError::TooLarge { what: Large::Answer { status }, limit });
    }
    match whole {
        Ok(true) => {}
        Ok(false) => return Err(packed("there is more after its end")),
        Err(_) => return Err(packed("it breaks off or is damaged")),
    }
    answer.headers.retain(|(name, _)| name != "content-encoding");
    for (_, length) in answer.headers.iter_mut().filter(|(name, _)| name == "content-length") {
        *length = body.len().to_string();
    }
    answer.body = body.into();
    Ok(())
}

/// What was done to the body, in order.
fn codings(answer: &Answer) -> impl Iterator<Item = &str> {
    let values = answer.headers.iter().filter(|(name, _)| name == "content-encoding").map(|(_, value)| value);
    let codings = values.flat_map(|value| value.split(',')).map(str::trim);
    codings.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
}

/// All members, as long as there is room for what they hold; whether that was all.
fn gunzip(mut packed: &[u8], limit: usize, into: &mut Vec<u8>) -> io::Result<bool> {
    for _ in 0..MOST_MEMBERS {
        packed = read(GzDecoder::new(packed), limit, into)?.into_inner();
        if packed.is_empty() || into.len() > limit {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads to the end, or until there is one byte more than is allowed.
fn read<D: Read>(decoder: D, limit: usize, into: &mut Vec<u8>) -> io::Result<D> {
    let mut bounded = decoder.take(limit.saturating_add(1).saturating_sub(into.len()) as u64);
    bounded.read_to_end(into)?;
    Ok(bounded.into_inner())
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    pub(crate) fn gzipped(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn deflated(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn answer(coding: &str, body: Vec<u8>) -> Answer {
        let length = ("content-length".to_owned(), body.len().to_string());
        let headers =
            vec![("content-encoding".to_owned(), coding.to_owned()), length, ("x".to_owned(), "y".to_owned())];
        Answer { status: 200, headers, body: body.into() }
    }

    fn unpacked(coding: &str, body: Vec<u8>, limit: usize) -> Result<Answer, DoorError> {
        let mut answer = answer(coding, body);
        unpack(&mut answer, limit, &mut 0).map(|()| answer)
    }

    fn problem(result: Result<Answer, DoorError>) -> &'static str {
        match result {
            Err(DoorError::Packed { status: 200, problem }) => problem,
            other => panic!("{other:?}"),
        }
    }

    /// Mutations: `unpack`, leave the headers; `gunzip`, read the first member alone.
    #[test]
    fn what_was_packed_is_read_and_nothing_says_that_it_was() {
        let text = b"{\"secret\": \"whsec_1\"}".repeat(100);
        let two = [gzipped(&text[..1_000]), gzipped(b""), gzipped(&text[1_000..])].concat();
        for (coding, body) in [
            ("gzip", gzipped(&text)),
            ("x-gzip", gzipped(&text)),
            ("GZip, identity", gzipped(&text)),
            ("gzip", two),
            ("deflate", deflated(&text)),
        ] {
            assert!(is_packed(&answer(coding, body.clone())), "{coding}");
            let answer = unpacked(coding, body, text.len()).unwrap();
            assert_eq!(answer.body, text);
            let headers = [("content-length", text.len().to_string()), ("x", "y".to_owned())];
            assert_eq!(answer.headers, headers.map(|(name, value)| (name.to_owned(), value)), "{coding}");
        }
        for (coding, body) in [("identity", "x"), ("", "x"), (",", "x"), ("gzip", "")] {
            assert!(!is_packed(&answer(coding, body.into())), "{coding} {body:?}");
        }
    }

    /// The largest is a thousand times what it is packed in; reading it whole would take a thousand times the limit.
    ///
    /// Mutations: `read`, without `take`; `unpack`, without the comparison of lengths.
    #[test]
    fn what_unpacks_to_more_than_is_allowed_is_given_up_at_the_limit() {
        let bomb = vec![0; 8 << 20];
        for (coding, body) in
            [("gzip", gzipped(&bomb)), ("deflate", deflated(&bomb)), ("gzip", gzipped(b"xy").repeat(6))]
        {
            let error = unpacked(coding, body.clone(), 11).unwrap_err();
            assert!(
                matches!(error, DoorError::TooLarge { what: Large::Answer { status: 200 }, limit: 11 }),
                "{coding}: {error:?}"
            );
            assert!(error.request_sent() && !error.ambiguous());
        }
        let mut into = Vec::new();
        assert!(gunzip(&gzipped(&bomb), 1_000, &mut into).unwrap());
        assert_eq!(into.len(), 1_001);
        // What it is damaged by comes after that, and is not come to.
        let mut damaged = gzipped(&bomb);
        damaged.truncate(4_000);
        assert!(matches!(unpacked("gzip", damaged, 1_000), Err(DoorError::TooLarge { limit: 1_000, .. })));
    }

    /// Mutations: `unpack`, take what was read where it broke off; without `codings.next()`; with what is left.
    #[test]
    fn what_cannot_be_unpacked_whole_is_no_answer() {
        let damaged = "it breaks off or is damaged";
        for body in [gzipped(b"some text"), deflated(b"some text")] {
            let coding = if body[0] == 0x1f { "gzip" } else { "deflate" };
            for length in 1..body.len() {
                assert_eq!(problem(unpacked(coding, body[..length].to_vec(), 100)), damaged, "{coding} {length}");
            }
            let last = body.len() - 1;
            let mut flipped = body.clone();
            flipped[last] ^= 1;
            assert_eq!(problem(unpacked(coding, flipped, 100)), damaged);
        }
        assert_eq!(problem(unpacked("gzip", b"some text".to_vec(), 100)), damaged);
        assert_eq!(problem(unpacked("gzip", [gzipped(b"a"), b"b".to_vec()].concat(), 100)), damaged);
        let after = "there is more after its end";
        assert_eq!(problem(unpacked("deflate", [deflated(b"a"), b"b".to_vec()].concat(), 100)), after);
        assert_eq!(problem(unpacked("gzip", gzipped(b"").repeat(MOST_MEMBERS + 1), 100)), after);
        unpacked("gzip", gzipped(b"").repeat(MOST_MEMBERS), 100).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::best());
        raw.write_all(b"without what says how it was packed").unwrap();
        assert_eq!(problem(unpacked("deflate", raw.finish().unwrap(), 100)), damaged);
    }

    /// Mutation: `unpack`, hand on what is packed in an unknown way.
    #[test]
    fn what_is_packed_in_an_unknown_way_or_twice_is_no_answer() {
        for coding in ["br", "zstd", "compress", "aes128gcm", "gzip2", "gzip;q=1", "g zip"] {
            assert!(problem(unpacked(coding, gzipped(b"a"), 100)).contains("not known here"), "{coding}");
        }
        let twice = gzipped(&gzipped(b"a"));
        for coding in ["gzip, gzip", "gzip,br", "identity, deflate, gzip"] {
            assert_eq!(problem(unpacked(coding, twice.clone(), 100)), "it is packed more than once", "{coding}");
        }
        let mut answer = answer("gzip", twice);
        answer.headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
        let error = unpack(&mut answer, 100, &mut 0).unwrap_err();
        assert!(error.request_sent() && !error.ambiguous() && !error.retryable(), "{error}");
    }

    /// What was done for it is what its tenant's turns are taken for.
    ///
    /// Mutations: `unpack`, say the limit, or only what could be read to its end.
    #[test]
    fn of_what_cannot_be_read_is_said_how_much_was_unpacked() {
        let done = |coding: &str, body: Vec<u8>, limit: usize| {
            let mut unpacked = 0;
            let result = unpack(&mut answer(coding, body), limit, &mut unpacked);
            (result.is_ok(), unpacked)
        };
        let text = vec![b'x'; 100_000];
        assert_eq!(done("gzip", gzipped(&text), 1 << 20), (true, 100_000));
        assert_eq!(done("gzip", gzipped(&text), 50_000), (false, 50_000));
        let then_damaged = [gzipped(&text), b"no member".to_vec()].concat();
        assert_eq!(done("gzip", then_damaged, 1 << 20), (false, 100_000));
        for (coding, body) in [("br", &text), ("gzip, gzip", &gzipped(&text)), ("gzip", &text), ("deflate", &text)] {
            assert_eq!(done(coding, body.clone(), 1 << 20), (false, 0), "{coding}");
        }
    }
}
