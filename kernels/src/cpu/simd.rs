//! Sixteen lanes of `f32`, whatever registers a processor has.

use super::bf16::nearest;
use super::dots::Dots;

/// The lanes of a vector.
pub const LANES: usize = 16;

/// Work that is compiled once for each instruction set: see [`Isa::run`](super::Isa::run).
pub trait Kernel {
    /// What it gives.
    type Output;

    /// Does the work. Every function on the way must be `#[inline(always)]`, so that it is compiled
    /// for the instruction set.
    ///
    /// # Safety
    /// The processor has the instructions of `S`.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// A register, of which one or some are a vector: what tiles are made of that fill all registers.
///
/// # Safety
/// As [`Simd`], with [`WIDTH`](Self::WIDTH) lanes in the place of [`LANES`].
#[expect(clippy::missing_safety_doc, reason = "all share the contract of the trait")]
pub unsafe trait Register: Copy {
    /// Its lanes, which [`LANES`] are a multiple of.
    const WIDTH: usize;
    /// The rows of a tile that fits into the registers, four across, with its factors.
    const ROWS: usize;

    /// `value` in each lane.
    unsafe fn splat(value: f32) -> Self;
    /// So many neighbours.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes so many neighbours.
    unsafe fn store(self, to: *mut f32);
    /// `self b + c`, rounded once.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
}

/// The arithmetic of one instruction set on [`LANES`] lanes.
///
/// All sets give the same bits, the portable one excepted, whose [`fma`](Self::fma) rounds twice.
///
/// # Safety
/// No function may be called where the processor lacks the instructions. Those that load or store
/// reach over [`LANES`] elements from a pointer that need not be aligned.
#[expect(clippy::missing_safety_doc, reason = "all share the contract of the trait")]
pub unsafe trait Simd: Dots {
    /// Sixteen lanes.
    type V: Copy;
    /// A part of them.
    type Register: Register;

    /// The rows of a tile that fits into the registers.
    const ROWS: usize;
    /// Its columns.
    const COLUMNS: usize;

    /// `value` in each lane.
    unsafe fn splat(value: f32) -> Self::V;
    /// Sixteen neighbours.
    unsafe fn load(from: *const f32) -> Self::V;
    /// Writes sixteen neighbours.
    unsafe fn store(to: *mut f32, v: Self::V);
    /// `a b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a + b`
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a b`
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `if a < b { a } else { b }`: a NaN gives `b`.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// `if a > b { a } else { b }`: a NaN gives `b`.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The nearest whole number, ties to even.
    unsafe fn round(v: Self::V) -> Self::V;
    /// `2^n` for whole `n` from -126 to 127.
    unsafe fn power_of_two(n: Self::V) -> Self::V;
    /// Lane `l` plus lane `l + 8`, of these `l` plus `l + 4`, then 2, then 1.
    unsafe fn sum(v: Self::V) -> f32;

    /// [`sum`](Self::sum) of each of sixteen neighbouring vectors.
    #[inline(always)]
    unsafe fn sums(from: *const f32) -> Self::V {
        let mut sums = [0.0; LANES];
        // SAFETY: by the contract of the trait.
        unsafe {
            for i in 0..LANES {
                sums[i] = Self::sum(Self::load(from.add(i * LANES)));
            }
            Self::load(sums.as_ptr())
        }
    }

    /// Writes element `[i, j]` of sixteen rows of sixteen, `from_stride` elements apart, as element `[j, i]`
    /// of rows `to_stride` apart, bit for bit. The two do not overlap.
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for i in 0..LANES {
            for j in 0..LANES {
                // SAFETY: by the contract of the trait.
                unsafe {
                    let word = from.add(i * from_stride + j).cast::<u32>().read();
                    to.add(j * to_stride + i).cast::<u32>().write(word);
                }
            }
        }
    }

    /// The nearest bf16, ties to even; NaN stays NaN.
    #[inline(always)]
    unsafe fn round_bf16(v: Self::V) -> Self::V {
        let mut lanes = [0.0; LANES];
        // SAFETY: by the contract of the trait.
        unsafe {
            Self::store(lanes.as_mut_ptr(), v);
            for l in 0..LANES {
                lanes[l] = f32::from_bits(u32::from(nearest(lanes[l])) << 16);
            }
            Self::load(lanes.as_ptr())
        }
    }
    /// Writes the bf16 that numbers without other bits are.
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u8, v: Self::V) {
        let mut lanes = [0.0_f32; LANES];
        // SAFETY: by the contract of the trait.
        unsafe {
            Self::store(lanes.as_mut_ptr(), v);
            for l in 0..LANES {
                to.cast::<[u8; 2]>().add(l).write(high_bytes(lanes[l]));
            }
        }
    }
    /// The same of sixteen pairs.
    #[inline(always)]
    unsafe fn store_bf16_pairs(to: *mut u8, first: Self::V, second: Self::V) {
        let mut lanes = [[0.0_f32; LANES]; 2];
        // SAFETY: by the contract of the trait.
        unsafe {
            Self::store(lanes[0].as_mut_ptr(), first);
            Self::store(lanes[1].as_mut_ptr(), second);
            for l in 0..LANES {
                let pair = [high_bytes(lanes[0][l]), high_bytes(lanes[1][l])];
                to.cast::<[[u8; 2]; 2]>().add(l).write(pair);
            }
        }
    }

    /// Sixteen bf16.
    unsafe fn load_bf16(from: *const u8) -> Self::V;
    /// The first and the second ones of sixteen pairs of bf16.
    unsafe fn load_bf16_pairs(from: *const u8) -> [Self::V; 2];
    /// Sixteen f16.
    unsafe fn load_f16(from: *const u8) -> Self::V;
    /// Sixteen e4m3, each a 256th of its value.
    unsafe fn load_e4m3_256th(from: *const u8) -> Self::V;
    /// Thirty-two of them.
    #[inline(always)]
    unsafe fn load_two_e4m3_256th(from: *const u8) -> [Self::V; 2] {
        // SAFETY: by the contract of the trait.
        unsafe { [Self::load_e4m3_256th(from), Self::load_e4m3_256th(from.add(LANES))] }
    }
    /// Sixteen whole numbers of 8 bits.
    unsafe fn load_i8(from: *const u8) -> Self::V;
    /// The nearest numbers.
    unsafe fn from_i32(v: Self::I) -> Self::V;
    /// Writes sixteen neighbours of 8 bits, each the nearest to a lane, ties to even, from -128 to 127;
    /// anything for a NaN.
    unsafe fn store_i8(to: *mut i8, v: Self::V);
    /// Asks for the cache line at an address that may lie anywhere, into the first cache: it is used soon.
    #[inline(always)]
    unsafe fn prefetch(_at: *const u8) {}
    /// The same into the second cache: some ten KiB of others are used before.
    #[inline(always)]
    unsafe fn prefetch_far(_at: *const u8) {}
}

/// The upper half of the bits of a number, as memory has it.
#[inline(always)]
fn high_bytes(v: f32) -> [u8; 2] {
    let [.., low, high] = v.to_bits().to_le_bytes();
    [low, high]
}

/// `e^v`, within two units in the last place; 0 below -104 and ∞ above 89.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub unsafe fn exp<S: Simd>(v: S::V) -> S::V {
    // Cody and Waite's reduction to [-ln 2 / 2, ln 2 / 2], then Taylor's polynomial, whose last term
    // there is below half a unit.
    const LN2_HIGH: f32 = 0.693_359_4; // its product with any exponent is exact
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // SAFETY: by the contract of this function.
    unsafe {
        let v = S::max(S::splat(-104.0), S::min(S::splat(89.0), v));
        let n = S::round(S::mul(v, S::splat(std::f32::consts::LOG2_E)));
        let r = S::fma(n, S::splat(-LN2_HIGH), v);
        let r = S::fma(n, S::splat(-LN2_LOW), r);
        let mut p = S::splat(1.0 / 5040.0);
        for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = S::fma(p, r, S::splat(c));
        }
        // Two factors, since the power itself may be no number of 32 bits.
        let half = S::round(S::mul(n, S::splat(0.5)));
        S::mul(S::mul(p, S::power_of_two(half)), S::power_of_two(S::sub(n, half)))
    }
}

/// `v / (1 + e^-v)`; -0 at -∞.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub unsafe fn silu<S: Simd>(v: S::V) -> S::V {
    // SAFETY: by the contract of this function.
    unsafe {
        // Below -104 the quotient is 0 to any precision; at -∞ it would be NaN.
        let v = S::max(S::splat(-1e4), v);
        let e = exp::<S>(S::sub(S::splat(0.0), v));
        S::div(v, S::add(S::splat(1.0), e))
    }
}

/// Adds the products of `terms` and of the registers `at` elements behind `others` to the sums of a tile.
///
/// One side stays in registers and the other comes by, a register at a time: beside its sums a tile takes `R + 1`,
/// where both sides would take `R + C` and spill what [`Register::ROWS`] leaves room for.
///
/// # Safety
/// The processor has the instructions of `V`, and a register can be loaded `at` elements behind each pointer.
#[inline(always)]
pub unsafe fn add_products<V: Register, const R: usize, const C: usize>(
    terms: &[V; R],
    others: &[*const f32; C],
    at: usize,
    sums: &mut [[V; C]; R],
) {
    for c in 0..C {
        // SAFETY: by the contract of this function.
        unsafe {
            let other = V::load(others[c].add(at));
            for r in 0..R {
                sums[r][c] = terms[r].fma(other, sums[r][c]);
            }
        }
    }
}
