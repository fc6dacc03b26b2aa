//! Takes memory and touches it, so that it has to be there.

use std::hint::black_box;

const PIECE: usize = 1 << 20;

pub(crate) fn hoard() -> ! {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    loop {
        pieces.push(vec![0xaa; PIECE]);
        black_box(&mut pieces);
    }
}
