//! Whether two kinds of tiles compute the same: what the processor's have to show before they are used.

use super::{ROW_BYTES, Shapes, TILE_ROWS, Tiles};

/// The rows of a tile, one after the other.
type Bytes = [u8; TILE_ROWS * ROW_BYTES];

/// Whether products on tiles `T` and `U` have the same bits: of bf16 of common magnitudes, around the
/// smallest normal number, and of any bits; of bytes; on whole tiles and on smaller ones.
///
/// # Safety
/// The processor has the instructions of both, and this process may use them.
pub(super) unsafe fn same_bits<T: Tiles, U: Tiles>() -> bool {
    let whole = Shapes::WHOLE;
    // `C` of 5 rows and 3 columns, a depth of 7.
    let mut small = whole;
    (small.rows[0], small.rows[1], small.rows[2]) = (5, 5, 7);
    (small.bytes[0], small.bytes[1], small.bytes[2]) = (12, 28, 12);
    // The exponents' bits that are kept, and those that are set.
    let magnitudes = [(0x8780, 0x3c00), (0x8380, 0x2000), (0x8780, 0x0000), (0xff80, 0x0000)];
    let mut state = 1;
    for shapes in [whole, small] {
        for (kept, set) in magnitudes {
            let (a, b) = (bf16(&mut state, kept, set), bf16(&mut state, kept, set));
            let c = bf16(&mut state, kept, set);
            // SAFETY: by the contract of this function.
            let same = unsafe {
                let of_t = products::<T>(&shapes, &a, &b, &c);
                alike(&of_t, &products::<U>(&shapes, &a, &b, &c))
            };
            if !same {
                return false;
            }
        }
    }
    true
}

/// A tile of bf16 whose signs and exponents have no bits but those of `kept`, and those of `set`.
fn bf16(state: &mut u64, kept: u16, set: u16) -> Bytes {
    let mut bytes = [0; TILE_ROWS * ROW_BYTES];
    for element in bytes.as_chunks_mut().0 {
        // Knuth's generator.
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let [.., low, high] = state.to_le_bytes();
        *element = (u16::from_le_bytes([low, high]) & (kept | 0x7f) | set).to_le_bytes();
    }
    bytes
}

/// `A` times `B` as bf16, from zeros and from `C` on, and as bytes from `C` on.
///
/// # Safety
/// The processor has the instructions of `T`.
unsafe fn products<T: Tiles>(shapes: &Shapes, a: &Bytes, b: &Bytes, c: &Bytes) -> [Bytes; 3] {
    let mut results = [[0; TILE_ROWS * ROW_BYTES]; 3];
    // SAFETY: by the contract of this function; each tile has memory of the largest shape.
    unsafe {
        let mut tiles = T::configure(shapes);
        tiles.load::<1>(a.as_ptr(), ROW_BYTES);
        tiles.load::<2>(b.as_ptr(), ROW_BYTES);
        tiles.tdpbf16ps::<0, 1, 2>();
        tiles.store::<0>(results[0].as_mut_ptr(), ROW_BYTES);
        tiles.load::<0>(c.as_ptr(), ROW_BYTES);
        tiles.tdpbf16ps::<0, 1, 2>();
        tiles.store::<0>(results[1].as_mut_ptr(), ROW_BYTES);
        tiles.load::<0>(c.as_ptr(), ROW_BYTES);
        tiles.tdpbsud::<0, 1, 2>();
        tiles.store::<0>(results[2].as_mut_ptr(), ROW_BYTES);
    }
    results
}

/// Whether sums of bf16 are the same numbers, or both none, and those of bytes are the same.
fn alike(got: &[Bytes; 3], want: &[Bytes; 3]) -> bool {
    for i in 0..2 {
        for (got, want) in got[i].as_chunks().0.iter().zip(want[i].as_chunks().0) {
            let (got, want) = (f32::from_le_bytes(*got), f32::from_le_bytes(*want));
            if got.to_bits() != want.to_bits() && !(got.is_nan() && want.is_nan()) {
                return false;
            }
        }
    }
    got[2] == want[2]
}

#[cfg(test)]
mod claims;
