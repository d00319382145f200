use super::super::emulated::Emulated;
use super::*;

/// Tiles whose product of bf16 is written anew, right or with one of three faults, or whose bytes have their
/// signs on the wrong side; the rest is emulated.
struct Other<const FAULT: u8>(Emulated, Shapes);

const NONE: u8 = 0;
const GRADUAL: u8 = 1;
const ONE_SUM: u8 = 2;
const FROM_THE_TILE: u8 = 3;
const SIGNED: u8 = 4;

impl<const FAULT: u8> Other<FAULT> {
    fn words(&self, tile: usize) -> Vec<Vec<u32>> {
        let mut bytes = [0_u8; TILE_ROWS * ROW_BYTES];
        // SAFETY: memory of the largest shape, as below.
        unsafe {
            match tile {
                0 => self.0.store::<0>(bytes.as_mut_ptr(), ROW_BYTES),
                1 => self.0.store::<1>(bytes.as_mut_ptr(), ROW_BYTES),
                _ => self.0.store::<2>(bytes.as_mut_ptr(), ROW_BYTES),
            }
        }
        let row = |row: &[u8]| row.as_chunks().0.iter().map(|w| u32::from_le_bytes(*w)).collect();
        bytes.chunks(ROW_BYTES).map(row).collect()
    }
}

fn flushed<const FAULT: u8>(v: f32) -> f32 {
    if FAULT != GRADUAL && v.is_subnormal() { 0.0_f32.copysign(v) } else { v }
}

// SAFETY: needs no instructions.
unsafe impl<const FAULT: u8> Tiles for Other<FAULT> {
    unsafe fn configure(shapes: &Shapes) -> Self {
        // SAFETY: by the contract of the trait, as below.
        Self(unsafe { Emulated::configure(shapes) }, *shapes)
    }
    unsafe fn zero<const T: usize>(&mut self) {
        // SAFETY: as above.
        unsafe { self.0.zero::<T>() }
    }
    unsafe fn load<const T: usize>(&mut self, from: *const u8, stride: usize) {
        // SAFETY: as above.
        unsafe { self.0.load::<T>(from, stride) }
    }
    unsafe fn store<const T: usize>(&self, to: *mut u8, stride: usize) {
        // SAFETY: as above.
        unsafe { self.0.store::<T>(to, stride) }
    }
    unsafe fn tdpbf16ps<const C: usize, const A: usize, const B: usize>(&mut self) {
        // The elements of even or odd place.
        let of = |word: u32, odd: usize| {
            let bits = if odd == 1 { word & 0xffff_0000 } else { word << 16 };
            flushed::<FAULT>(f32::from_bits(bits))
        };
        let (mut c, a, b) = (self.words(C), self.words(A), self.words(B));
        for m in 0..TILE_ROWS {
            for n in 0..ROW_BYTES / 4 {
                let before = flushed::<FAULT>(f32::from_bits(c[m][n]));
                let mut sums = [0.0_f32; 2];
                if FAULT == FROM_THE_TILE {
                    sums[0] = before;
                }
                for (k, b) in b[..self.1.rows[B]].iter().enumerate() {
                    for odd in 0..2 {
                        let sum = &mut sums[if FAULT == ONE_SUM { 0 } else { odd }];
                        let product = of(a[m][k], odd).mul_add(of(b[n], odd), *sum);
                        *sum = flushed::<FAULT>(product);
                    }
                }
                let sum = flushed::<FAULT>(sums[0] + sums[1]);
                let sum = if FAULT == FROM_THE_TILE { sum } else { sum + before };
                c[m][n] = flushed::<FAULT>(sum).to_bits();
            }
        }
        let bytes: Vec<u8> = c.concat().iter().flat_map(|w| w.to_le_bytes()).collect();
        // SAFETY: memory of the largest shape.
        unsafe { self.0.load::<C>(bytes.as_ptr(), ROW_BYTES) }
    }
    unsafe fn tdpbsud<const C: usize, const A: usize, const B: usize>(&mut self) {
        // SAFETY: as above.
        unsafe {
            if FAULT == SIGNED { self.0.tdpbsud::<C, B, A>() } else { self.0.tdpbsud::<C, A, B>() }
        }
    }
}

#[test]
fn emulated_tiles_are_their_definition() {
    // SAFETY: needs no instructions, here and below.
    assert!(unsafe { same_bits::<Other<NONE>, Emulated>() });
}

#[test]
fn tiles_that_compute_something_else_are_found() {
    // SAFETY: as above.
    unsafe {
        assert!(!same_bits::<Other<GRADUAL>, Emulated>(), "small numbers are kept");
        assert!(!same_bits::<Other<ONE_SUM>, Emulated>(), "even and odd in one sum");
        assert!(!same_bits::<Other<FROM_THE_TILE>, Emulated>(), "sums begin with the tile");
        assert!(!same_bits::<Other<SIGNED>, Emulated>(), "the signs of bytes");
    }
}
