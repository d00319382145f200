//! Tiles in memory, with the results of the processor's to the bit.
//!
//! Products follow the operation sections of `TDPBF16PS` and `TDPBSUD` in Intel's Software Developer's
//! Manual, volume 2: products of even and of odd elements are added up apart, with `fma` and from zero, one
//! pair after the other; then the two sums are added, and their sum is added to the tile. Each step rounds to
//! the nearest, ties to even, takes numbers below the normal ones as zeros and gives zeros for them. Which
//! NaN a NaN is, is left open.

use super::{ROW_BYTES, Shapes, TILE_ROWS, TILES, Tiles};

/// Below, a sum is 0: what rounds to less than the smallest normal number. Processors of this architecture
/// judge that as if exponents had no end.
const TINY: f64 = f32::MIN_POSITIVE as f64 * (1.0 - 1.0 / (1 << 25) as f64);

/// Rows of bytes; what lies outside of a tile's shape is zeros.
type Tile = [[u8; ROW_BYTES]; TILE_ROWS];

/// Eight tiles and their shapes.
#[derive(Debug)]
pub(crate) struct Emulated {
    tiles: [Tile; TILES],
    shapes: Shapes,
}

impl Emulated {
    /// The rows, columns and depth of a product, in words; the processor raises a fault where tiles do
    /// not fit.
    #[inline(always)]
    fn sizes(&self, c: usize, a: usize, b: usize) -> [usize; 3] {
        let Shapes { rows, bytes } = &self.shapes;
        assert!(c != a && c != b && a != b, "three different tiles");
        assert!(rows[c] == rows[a] && bytes[c] == bytes[b], "shape of the sums");
        assert!(bytes[a] == 4 * rows[b], "depth of the product");
        [rows[c], bytes[c] / 4, rows[b]]
    }
}

// SAFETY: needs no instructions; loads and stores reach over the rows of a shape.
unsafe impl Tiles for Emulated {
    #[inline(always)]
    unsafe fn configure(shapes: &Shapes) -> Self {
        for t in 0..TILES {
            assert!((1..=TILE_ROWS).contains(&shapes.rows[t]), "rows of a tile");
            assert!((4..=ROW_BYTES).contains(&shapes.bytes[t]), "bytes of a row");
            assert!(shapes.bytes[t].is_multiple_of(4), "words of a row");
        }
        Self { tiles: [[[0; ROW_BYTES]; TILE_ROWS]; TILES], shapes: *shapes }
    }
    #[inline(always)]
    unsafe fn zero<const T: usize>(&mut self) {
        self.tiles[T] = [[0; ROW_BYTES]; TILE_ROWS];
    }
    #[inline(always)]
    unsafe fn load<const T: usize>(&mut self, from: *const u8, stride: usize) {
        let bytes = self.shapes.bytes[T];
        for row in 0..self.shapes.rows[T] {
            // SAFETY: by the contract of the trait.
            let from = unsafe { std::slice::from_raw_parts(from.add(row * stride), bytes) };
            self.tiles[T][row][..bytes].copy_from_slice(from);
        }
    }
    #[inline(always)]
    unsafe fn store<const T: usize>(&self, to: *mut u8, stride: usize) {
        let bytes = self.shapes.bytes[T];
        for row in 0..self.shapes.rows[T] {
            // SAFETY: by the contract of the trait.
            unsafe { to.add(row * stride).copy_from(self.tiles[T][row].as_ptr(), bytes) };
        }
    }
    #[inline(always)]
    unsafe fn tdpbf16ps<const C: usize, const A: usize, const B: usize>(&mut self) {
        let [rows, columns, depth] = self.sizes(C, A, B);
        for m in 0..rows {
            let mut sums = [[0.0_f32; 2]; ROW_BYTES / 4];
            for k in 0..depth {
                let a = pair(&self.tiles[A][m], k);
                for n in 0..columns {
                    let b = pair(&self.tiles[B][k], n);
                    sums[n] = [fma(a[0], b[0], sums[n][0]), fma(a[1], b[1], sums[n][1])];
                }
            }
            for n in 0..columns {
                let sum = fma(sums[n][0], 1.0, sums[n][1]);
                let before = f32::from_le_bytes(word(&self.tiles[C][m], n));
                let after = fma(sum, 1.0, normal(before)).to_le_bytes();
                self.tiles[C][m][4 * n..][..4].copy_from_slice(&after);
            }
        }
    }
    #[inline(always)]
    unsafe fn tdpbsud<const C: usize, const A: usize, const B: usize>(&mut self) {
        let [rows, columns, depth] = self.sizes(C, A, B);
        for m in 0..rows {
            for n in 0..columns {
                let mut sum = i32::from_le_bytes(word(&self.tiles[C][m], n));
                for k in 0..depth {
                    let (a, b) = (word(&self.tiles[A][m], k), word(&self.tiles[B][k], n));
                    for i in 0..4 {
                        let product = i32::from(a[i].cast_signed()) * i32::from(b[i]);
                        sum = sum.wrapping_add(product);
                    }
                }
                self.tiles[C][m][4 * n..][..4].copy_from_slice(&sum.to_le_bytes());
            }
        }
    }
}

/// Word `i` of a row.
#[inline(always)]
fn word(row: &[u8; ROW_BYTES], i: usize) -> [u8; 4] {
    [row[4 * i], row[4 * i + 1], row[4 * i + 2], row[4 * i + 3]]
}

/// The two bf16 of word `i` of a row, those below the normal numbers as zeros.
#[inline(always)]
fn pair(row: &[u8; ROW_BYTES], i: usize) -> [f32; 2] {
    let word = u32::from_le_bytes(word(row, i));
    [normal(f32::from_bits(word << 16)), normal(f32::from_bits(word & 0xffff_0000))]
}

/// `v`, or the zero of its sign where it is below the normal numbers.
#[inline(always)]
fn normal(v: f32) -> f32 {
    if v.abs() < f32::MIN_POSITIVE { 0.0_f32.copysign(v) } else { v }
}

/// `a b + c`, rounded once, or the zero of its sign where that is below the normal numbers; `a` and `b` have
/// no more than 24 bits together, or one of them is 1.
#[inline(always)]
fn fma(a: f32, b: f32, c: f32) -> f32 {
    let rounded = a.mul_add(b, c);
    // Near the bound this has as many bits as the sum.
    let exact = f64::from(a) * f64::from(b) + f64::from(c);
    if exact.abs() < TINY { 0.0_f32.copysign(rounded) } else { rounded }
}

#[cfg(test)]
mod claims;
