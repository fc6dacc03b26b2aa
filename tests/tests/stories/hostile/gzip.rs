//! A gzip stream of nothing but zeros, written by hand: what a bomb is made of.

/// A gzip member that holds at least so many zeros, in about a thousandth of the bytes.
///
/// One deflate block with the fixed codes: the literal 0, then matches of the 258 bytes before, at distance 1.
pub(super) fn of_zeros(length: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    let matches = length / 258;
    // The last block, fixed codes.
    bits.push(0b1, 1);
    bits.push(0b01, 2);
    // The literal 0 is 00110000, codes with their highest bit first.
    bits.push(0b0000_1100, 8);
    for _ in 0..matches {
        // Length 258 is symbol 285, 11000101; distance 1 is symbol 0, five zero bits.
        bits.push(0b1010_0011, 8);
        bits.push(0, 5);
    }
    // The end of the block, symbol 256.
    bits.push(0, 7);
    let zeros = 1 + 258 * matches;
    let mut member = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    member.extend(bits.finish());
    member.extend(crc_of_zeros(zeros).to_le_bytes());
    member.extend(u32::try_from(zeros).unwrap().to_le_bytes());
    member
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    open: u32,
    count: u32,
}

impl Bits {
    /// The lowest `count` bits, lowest first.
    fn push(&mut self, bits: u32, count: u32) {
        self.open |= bits << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(u8::try_from(self.open & 0xff).unwrap());
            self.open >>= 8;
            self.count -= 8;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.push(0, 7);
        self.bytes
    }
}

fn crc_of_zeros(length: usize) -> u32 {
    let table: Vec<u32> = (0..256_u32)
        .map(|byte| (0..8).fold(byte, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }))
        .collect();
    !(0..length).fold(u32::MAX, |crc, _| table[(crc & 0xff) as usize] ^ crc >> 8)
}

/// What everybody else unpacks is what was packed here.
#[tokio::test]
async fn the_bomb_is_one() {
    let bomb = of_zeros(10 << 20);
    assert!(bomb.len() < 100 << 10, "{} bytes", bomb.len());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bomb.gz");
    std::fs::write(&file, &bomb).unwrap();
    let unpacked = tokio::process::Command::new("gzip").arg("-dc").arg(&file).output().await.unwrap();
    assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
    assert!(unpacked.stdout.len() >= (10 << 20) - 258 && unpacked.stdout.iter().all(|byte| *byte == 0));
}
