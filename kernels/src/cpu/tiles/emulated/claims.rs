#![expect(clippy::float_cmp, reason = "results are exact")]

use super::*;

/// The words of a tile of one row and one column after a product of pairs of bf16, given as `f32`.
fn product(before: f32, a: &[[f32; 2]], b: &[[f32; 2]]) -> f32 {
    let mut shapes = Shapes { rows: [1; TILES], bytes: [4; TILES] };
    (shapes.bytes[1], shapes.rows[2]) = (4 * a.len(), b.len());
    let bytes = |pairs: &[[f32; 2]]| -> Vec<u8> {
        let element = |v: &f32| {
            assert!(v.to_bits() & 0xffff == 0, "{v} is no bf16");
            (v.to_bits() >> 16) as u16
        };
        pairs.iter().flatten().flat_map(|v| element(v).to_le_bytes()).collect()
    };
    let mut after = [0; 4];
    // SAFETY: needs no instructions; vectors are as long as tiles.
    unsafe {
        let mut tiles = Emulated::configure(&shapes);
        tiles.load::<0>(before.to_le_bytes().as_ptr(), 4);
        tiles.load::<1>(bytes(a).as_ptr(), 4 * a.len());
        tiles.load::<2>(bytes(b).as_ptr(), 4);
        tiles.tdpbf16ps::<0, 1, 2>();
        tiles.store::<0>(after.as_mut_ptr(), 4);
    }
    f32::from_le_bytes(after)
}

const ONE: [f32; 2] = [1.0, 1.0];

#[test]
fn even_and_odd_products_meet_at_the_end() {
    // 2^24 swallows a 1 that it meets alone, and keeps a 2.
    let big = 16_777_216.0;
    assert_eq!(product(0.0, &[[big, 1.0], [0.0, 1.0]], &[ONE; 2]), big + 2.0);
    assert_eq!(product(0.0, &[[big, 0.0], [1.0, 0.0], [1.0, 0.0]], &[ONE; 3]), big);
    // And so does the tile: the sum is added to it as one number.
    assert_eq!(product(big, &[[1.0, 1.0]], &[ONE]), big + 2.0);
    assert_eq!(product(big, &[[1.0, 0.0]], &[ONE]), big);
}

#[test]
fn a_product_is_added_before_it_is_rounded() {
    // Alone, the first product is too large for a number, and the second too small.
    let max = f32::from_bits(0x7f7f_0000);
    assert_eq!(product(0.0, &[[-max, 0.0], [max, 0.0]], &[ONE, [2.0, 0.0]]), max);
    let least = f32::MIN_POSITIVE;
    assert_eq!(product(0.0, &[[least, 0.0], [least, 0.0]], &[ONE, [0.5, 0.0]]), 1.5 * least);
}

#[test]
fn small_numbers_are_zeros_before_and_after() {
    let least = f32::MIN_POSITIVE;
    assert_eq!(product(0.0, &[[least / 2.0, 0.0]], &[[f32::from_bits(0x7f00_0000), 0.0]]), 0.0);
    assert_eq!(product(0.0, &[[1.0, 0.0]], &[[least / 2.0, 0.0]]), 0.0);
    assert_eq!(product(least / 2.0, &[[least, 0.0]], &[ONE]), least);
    assert_eq!(product(0.0, &[[0.5, 0.0]], &[[least, 0.0]]), 0.0);
    assert_eq!(product(0.0, &[[1.5 * least, -least]], &[ONE]), 0.0);
    assert!(product(0.0, &[[-0.5, 0.0]], &[[least, 0.0]]).is_sign_positive(), "0 and -0");
}

#[test]
fn what_rounds_to_the_smallest_normal_number_is_kept() {
    let least = f32::MIN_POSITIVE;
    let power = |n: i32| 2.0_f32.powi(n);
    // 33 * 1016801 is 2^25 + 1, and 97 * 172961 is 2^24 + 1: the sums are `least` times 1 - 2^-25, which
    // 24 bits round to 1, and times 1 - 2^-24, which they hold.
    assert_eq!(fma(-33.0 * power(-75), 1_016_801.0 * power(-76), 2.0 * least), least);
    assert_eq!(fma(-97.0 * power(-75), 172_961.0 * power(-75), 2.0 * least), 0.0);
    assert!(fma(-least, 0.5, 0.0).is_sign_negative());
}

#[test]
fn infinities_and_nan_follow_the_rules() {
    let (inf, max) = (f32::INFINITY, f32::from_bits(0x7f7f_0000));
    assert_eq!(product(1.0, &[[inf, 1.0]], &[ONE]), inf);
    assert!(product(1.0, &[[inf, -inf]], &[ONE]).is_nan());
    assert!(product(1.0, &[[inf, 1.0]], &[[0.0, 1.0]]).is_nan());
    assert!(product(f32::NAN, &[[1.0, 1.0]], &[ONE]).is_nan());
    assert_eq!(product(0.0, &[[max, max]], &[ONE]), inf);
}

#[test]
fn bytes_are_signed_in_rows_and_unsigned_in_columns() {
    let shapes = Shapes { rows: [1; TILES], bytes: [4; TILES] };
    let (a, b) = ([-128_i8, 127, -1, 1], [255_u8, 255, 128, 1]);
    let mut after = [0; 4];
    // SAFETY: needs no instructions; tiles are a word.
    unsafe {
        let mut tiles = Emulated::configure(&shapes);
        tiles.load::<0>(1000_i32.to_le_bytes().as_ptr(), 4);
        tiles.load::<1>(a.as_ptr().cast(), 4);
        tiles.load::<2>(b.as_ptr(), 4);
        tiles.tdpbsud::<0, 1, 2>();
        tiles.store::<0>(after.as_mut_ptr(), 4);
    }
    assert_eq!(i32::from_le_bytes(after), 1000 - 128 * 255 + 127 * 255 - 128 + 1);
}

#[test]
#[should_panic(expected = "depth of the product")]
fn tiles_that_do_not_fit_are_a_fault() {
    product(0.0, &[ONE; 2], &[ONE]);
}
