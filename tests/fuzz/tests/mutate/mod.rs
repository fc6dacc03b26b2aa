//! A small mutator: no feedback, no clock, the same inputs on every machine.

/// What is put in between: what parsers stumble over.
const WORDS: [&[u8]; 24] = [
    b"\0",
    b"\r\n",
    b"\n",
    b"\t",
    b" ",
    b"\\",
    b"/",
    b"//",
    b"..",
    b"%2e",
    b"%2f",
    b"%25",
    b"@",
    b":",
    b"#",
    b"?",
    b"{",
    b"}",
    b"\"",
    b"[",
    b"]",
    b"\xff",
    b"\xe3\x80\x82",
    b"99999999999999999999",
];
const LONGEST: usize = 64 << 10;

pub(crate) struct Mutator(u64);

impl Mutator {
    /// One whose choices depend on this name and nothing else.
    pub(crate) fn new(name: &str) -> Self {
        Self(
            name.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)),
        )
    }

    /// Some seed, changed in one to four places.
    pub(crate) fn next(&mut self, seeds: &[&[u8]]) -> Vec<u8> {
        let mut bytes = self.one_of(seeds).to_vec();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, seeds);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[&[u8]]) {
        let at = self.below(bytes.len() + 1);
        let to = (at + self.below(16)).min(bytes.len());
        match self.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.random().to_le_bytes()[0],
            2 => drop(bytes.drain(at..to)),
            3 => {
                let again: Vec<u8> = bytes[at..to].to_vec();
                let times = self.below(4);
                for _ in 0..times {
                    bytes.splice(at..at, again.iter().copied());
                }
            }
            4 => {
                let other = self.one_of(seeds);
                let from = self.below(other.len() + 1);
                bytes.splice(at..to, other[from..].iter().copied().take(32));
            }
            5 => bytes.truncate(at),
            _ => drop(bytes.splice(at..at, self.one_of(&WORDS).iter().copied())),
        }
    }

    fn one_of<'a>(&mut self, choices: &[&'a [u8]]) -> &'a [u8] {
        choices[self.below(choices.len())]
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.random() % end as u64).unwrap()
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
