//! Finding a text in an answer however each of its bytes is written there: as it is, as JSON escapes it, as an address does,
//! or as both do.
//!
//! Invariant: the time grows with the answer's length plus the texts', never with one times the other: an answer is read as
//! what it stands for, once in each way, and searched as a whole. What is held besides grows with the places that are apart,
//! never with how often they are found: an answer may be nothing but the text.
//!
//! To know another way to write a byte: a field of [`Reading`], and a line in [`Reading::unit`] and in [`Texts::readings`].

use std::ops::Range;

use memchr::memmem::Finder;
use memchr::{memchr, memchr3};

/// Texts to be found.
pub(crate) struct Texts<'t> {
    finders: Vec<Finder<'t>>,
    /// Whether any of them has a blank, which forms write as a sign of its own.
    has_blanks: bool,
}

/// Which signs are taken for what they stand for; without any, the bytes are what they are.
#[derive(Clone, Copy)]
struct Reading {
    /// `\u002B`, `\/`.
    json: bool,
    /// `%2B`.
    percent: bool,
    /// `+` for a blank.
    form: bool,
}

/// One part of what is written, and what it is read as.
struct Piece<'w> {
    /// What stands there for itself; empty where something else is meant.
    plain: &'w [u8],
    meant: [u8; 4],
    read: usize,
    written: usize,
}

impl<'t> Texts<'t> {
    pub(crate) fn new(texts: impl Iterator<Item = &'t [u8]>) -> Self {
        let mut texts: Vec<_> = texts.collect();
        texts.sort_unstable();
        texts.dedup();
        let has_blanks = texts.iter().any(|text| memchr(b' ', text).is_some());
        Self { finders: texts.into_iter().map(Finder::new).collect(), has_blanks }
    }

    /// Where any of them stands in what is written: in order, and none touching another.
    pub(crate) fn places(&self, written: &[u8]) -> Vec<Range<usize>> {
        let mut places = Places::default();
        if !self.finders.is_empty() {
            self.readings(written).for_each(|reading| places.add(reading.places(written, &self.finders)));
        }
        places.0
    }

    /// All that can make a difference.
    fn readings(&self, written: &[u8]) -> impl Iterator<Item = Reading> + use<> {
        let has = |sign| memchr(sign, written).is_some();
        let (json, percent) = (has(b'\\'), has(b'%'));
        let form = self.has_blanks && (json || has(b'+'));
        let ways = |may: bool| [false, true].into_iter().filter(move |way| may || !way);
        ways(json).flat_map(move |json| {
            ways(percent).flat_map(move |percent| ways(form).map(move |form| Reading { json, percent, form }))
        })
    }
}

impl Reading {
    fn places(self, written: &[u8], finders: &[Finder<'_>]) -> Vec<Range<usize>> {
        if !(self.json || self.percent || self.form) {
            return Places::of(finders, written).0;
        }
        let mut read = Vec::with_capacity(written.len());
        self.pieces(written).for_each(|piece| read.extend_from_slice(piece.read()));
        self.written(written, Places::of(finders, &read).0)
    }

    fn pieces(self, mut written: &[u8]) -> impl Iterator<Item = Piece<'_>> {
        std::iter::from_fn(move || {
            let piece = self.piece(written)?;
            written = written.get(piece.written..)?;
            Some(piece)
        })
    }

    /// What comes first in this.
    fn piece(self, written: &[u8]) -> Option<Piece<'_>> {
        let plain = memchr3(b'\\', b'%', b'+', written).unwrap_or(written.len());
        // A sign that stands for nothing else is one of its own.
        let plain = if plain == 0 { written.get(..1)? } else { written.get(..plain)? };
        let itself = Piece { plain, meant: [0; 4], read: plain.len(), written: plain.len() };
        Some(self.unit(written).unwrap_or(itself))
    }

    /// What stands there for something else.
    fn unit(self, written: &[u8]) -> Option<Piece<'static>> {
        let (letter, length) = match *written.first()? {
            b'\\' if self.json => escaped(written)?,
            sign @ (b'%' | b'+') => (char::from(sign), 1),
            _ => return None,
        };
        if self.percent
            && letter == '%'
            && let Some(byte) = written.get(length..length + 2).and_then(number)
        {
            let byte = u8::try_from(byte).ok()?;
            return Some(Piece { plain: &[], meant: [byte, 0, 0, 0], read: 1, written: length + 2 });
        }
        let letter = if self.form && letter == '+' { ' ' } else { letter };
        let mut meant = [0; 4];
        let read = letter.encode_utf8(&mut meant).len();
        Some(Piece { plain: &[], meant, read, written: length })
    }

    /// Where that is written which is read at these places, of which none begins in another.
    fn written(self, written: &[u8], places: Vec<Range<usize>>) -> Vec<Range<usize>> {
        let mut found = Vec::with_capacity(places.len());
        let mut places = places.into_iter().peekable();
        let (mut read, mut at, mut begun) = (0, 0, None);
        for piece in self.pieces(written) {
            while let Some(place) = places.peek().filter(|place| place.start < read + piece.read) {
                let start = *begun.get_or_insert_with(|| at + piece.before(place.start.saturating_sub(read)));
                if place.end > read + piece.read {
                    break;
                }
                found.push(start..at + piece.up_to(place.end - read));
                (begun, _) = (None, places.next());
            }
            if places.peek().is_none() {
                break;
            }
            (read, at) = (read + piece.read, at + piece.written);
        }
        found
    }
}

impl Piece<'_> {
    fn read(&self) -> &[u8] {
        if self.plain.is_empty() { self.meant.get(..self.read).unwrap_or_default() } else { self.plain }
    }

    /// Where that begins which is read after so many bytes of it.
    fn before(&self, read: usize) -> usize {
        if self.plain.is_empty() { 0 } else { read }
    }

    /// Where so many bytes of it end.
    fn up_to(&self, read: usize) -> usize {
        if self.plain.is_empty() { self.written } else { read }
    }
}

/// What a backslash and what follows it stand for in JSON, and how long that is.
fn escaped(written: &[u8]) -> Option<(char, usize)> {
    let letter = match *written.get(1)? {
        b'u' => return by_number(written),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        sign @ (b'"' | b'\\' | b'/') => char::from(sign),
        _ => return None,
    };
    Some((letter, 2))
}

/// `\u00e9`, or `\ud83d\udd11`.
fn by_number(written: &[u8]) -> Option<(char, usize)> {
    let half = |from: usize| {
        let digits = written.get(from..from + 6)?.strip_prefix(b"\\u")?;
        u16::try_from(number(digits)?).ok()
    };
    let first = half(0)?;
    let (letter, length) = match char::decode_utf16([first]).next()? {
        Ok(letter) => (letter, 6),
        Err(_) => (char::decode_utf16([first, half(6)?]).next()?.ok()?, 12),
    };
    Some((letter, length))
}

/// Of hexadecimal digits alone, in whichever case.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

/// Places in order, of which none touches another.
#[derive(Default)]
struct Places(Vec<Range<usize>>);

impl Places {
    fn of(finders: &[Finder<'_>], read: &[u8]) -> Self {
        let mut places = Self::default();
        for finder in finders {
            places.add(finder.find_iter(read).map(|at| at..at + finder.needle().len()));
        }
        places
    }

    /// Of what is found, in order, nothing is kept that is known already or goes on where the last one ends.
    fn add(&mut self, found: impl IntoIterator<Item = Range<usize>>) {
        let (known, mut nth) = (self.0.len(), 0);
        for place in found {
            while nth < known && self.0.get(nth).is_some_and(|before| before.end < place.end) {
                nth += 1;
            }
            if nth < known && self.0.get(nth).is_some_and(|before| before.start <= place.start) {
                continue;
            }
            match self.0.get_mut(known..).and_then(<[_]>::last_mut) {
                Some(last) if place.start <= last.end => last.end = last.end.max(place.end),
                _ => self.0.push(place),
            }
        }
        if known > 0 && self.0.len() > known {
            self.merge();
        }
    }

    fn merge(&mut self) {
        self.0.sort_unstable_by_key(|place| place.start);
        self.0.dedup_by(|next, place| {
            let touches = next.start <= place.end;
            if touches {
                place.end = place.end.max(next.end);
            }
            touches
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const SECRET: &str = "abc+def/ghi&==1234~x <\"é\\🔑";

    fn found<'w>(written: &'w str, texts: &[&str]) -> Vec<&'w str> {
        let places = Texts::new(texts.iter().map(|text| text.as_bytes())).places(written.as_bytes());
        places.into_iter().map(|place| &written[place]).collect()
    }

    /// Each is how some encoder in wide use writes it: serde_json, PHP, .NET, Go, Python (`json`, `quote`, `quote_plus`),
    /// JavaScript (`encodeURIComponent`, `encodeURI`), forms in HTML; and JSON with an address in it.
    ///
    /// Mutations: `Texts::readings`, without any of the three; `number`, capitals alone; `by_number`, without pairs.
    #[test]
    fn a_text_is_found_in_whatever_writing() {
        let writings = [
            r#"abc+def/ghi&==1234~x <\"é\\🔑"#,
            r#"abc+def\/ghi&==1234~x <\"\u00e9\\\ud83d\udd11"#,
            r#"abc\u002Bdef/ghi\u0026==1234~x \u003C\u0022\u00E9\\\uD83D\uDD11"#,
            r#"abc+def/ghi\u0026==1234~x \u003c\"é\\🔑"#,
            r"abc%2Bdef%2Fghi%26%3D%3D1234~x%20%3C%22%C3%A9%5C%F0%9F%94%91",
            r"abc%2Bdef%2Fghi%26%3D%3D1234~x+%3C%22%C3%A9%5C%F0%9F%94%91",
            r"abc%2bdef%2fghi%26%3d%3d1234%7ex%20%3c%22%c3%a9%5c%f0%9f%94%91",
            r"abc%2Bdef%2Fghi%26%3D%3D1234%7Ex+%3C%22%C3%A9%5C%F0%9F%94%91",
            r"abc+def/ghi&==1234~x%20%3C%22%C3%A9%5C%F0%9F%94%91",
            r"abc%2Bdef\/ghi\u0026\u003d=1234~x\u0020%3C%22%C3%A9%5C%F0%9F%94%91",
            r"\u0061b\u0063\u00252Bdef/ghi%26==1234~x\u002b<\u0022%C3%A9%5c%F0%9F%94%91",
        ];
        for writing in writings {
            for (before, after) in
                [("", ""), ("key=", "&n=1"), ("{\"%zz\\n\":\"", "\",\"\\\\\":\"50 % + 1\"}"), ("é\\u", "%")]
            {
                let all = format!("{before}{writing}{after};{before}{writing}");
                assert_eq!(found(&all, &[SECRET]), [writing, writing], "{all}");
            }
        }
    }

    /// What a text is, and not what it could stand for.
    ///
    /// Mutation: `Texts::readings`, `true` where there may be both.
    #[test]
    fn a_text_that_looks_like_an_escape_is_found_as_it_is_and_as_it_is_escaped() {
        let text = r"100%2Bof\u0041\\+%";
        for writing in [text, r"100%252Bof%5Cu0041%5C%5C%2B%25", r"100%2Bof\\u0041\\\\+%", r"100%252Bof\\u0041\\\\+%25"]
        {
            assert_eq!(found(&format!("<{writing}>"), &[text]), [writing]);
        }
    }

    #[test]
    fn what_is_something_else_is_left() {
        for written in [
            "",
            "abcdefgh",
            r"abc\u002",
            r"abc%2",
            r"abc\\u002bdefghi",
            r"abc%252bdefghi",
            r"abc\u0062defghi",
            r"abc%2Cdefghi",
            r"abc defghi",
            r"abc\+defghi",
            r"\ud83dabc",
            r"\ud83d\u0041",
        ] {
            assert_eq!(found(written, &["abc+defghi"]), [""; 0], "{written}");
        }
    }

    /// Of sixteen mebibytes of one text these were two million places, in each of eight readings.
    ///
    /// Mutations: `Places::add`, each place that is found; or those that are known already, too.
    #[test]
    fn an_answer_that_is_nothing_but_the_text_is_one_place_and_apart_each_is_kept_once() {
        let texts = ["hunter22", "hunter22hunter22"];
        let finders = texts.map(|text| Finder::new(text.as_bytes()));
        let places = Places::of(&finders, "hunter22".repeat(10_000).as_bytes()).0;
        assert!(places.len() == 1 && places.capacity() < 10, "{} of {}", places.len(), places.capacity());
        for written in ["hunter22", "h%75nter2\\u0032"] {
            let answer = written.repeat(10_000);
            let places = Texts::new(texts.iter().map(|text| text.as_bytes())).places(answer.as_bytes());
            assert_eq!((places.len(), places.first()), (1, Some(&(0..answer.len()))), "{written}");
            assert!(places.capacity() < 10, "{written}: {}", places.capacity());
        }
        let apart = "hunter22|".repeat(1_000) + "%\\";
        let places = Texts::new(texts.iter().map(|text| text.as_bytes())).places(apart.as_bytes());
        assert_eq!((places.len(), places.last()), (1_000, Some(&(8_991..8_999))));
        assert!(places.capacity() < 2_000, "{}", places.capacity());
    }

    /// Mutations: `Places::add` or `Places::merge`, as they come; or without the longer end.
    #[test]
    fn texts_that_overlap_are_found_as_one_in_whatever_order_and_writing() {
        for texts in [["abcdefgh", "abcdefgh/0123", "/0123456789"], ["/0123456789", "abcdefgh/0123", "abcdefgh"]] {
            for writing in ["abcdefgh/0123456789", r"abcdefgh\/0123456789", "abcdefgh%2f0123456789"] {
                assert_eq!(found(&format!("<{writing}-{writing}>"), &texts), [writing, writing]);
            }
        }
        assert_eq!(found("hunter22hunter22,hunter22", &["hunter22"]), ["hunter22hunter22", "hunter22"]);
        assert_eq!(found("<abcdefgh12345678>", &["12345678", "abcdefgh"]), ["abcdefgh12345678"]);
    }
}
