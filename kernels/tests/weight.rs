//! Weights as they lie in a file.

use std::sync::Arc;

use latent_kernels::{BlockScale, Bytes, Dtype, KernelError, Tolerance, Weight, assert_close};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

fn scaled(shape: [usize; 2], block: [usize; 2], values: &[f32]) -> Result<Weight, KernelError> {
    let ones = vec![0x38_u8; shape[0] * shape[1]];
    let scale = BlockScale { block, values: values.to_vec() };
    Weight::new(Dtype::F8E4m3, shape, ones.into(), Some(scale))
}

#[test]
fn edge_blocks_have_their_own_scales() {
    // Blocks of 2 x 2 over 3 x 5 ones: each value is its block's scale.
    let w = scaled([3, 5], [2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let top = [1.0, 1.0, 2.0, 2.0, 3.0];
    let want = [top, top, [4.0, 4.0, 5.0, 5.0, 6.0]].concat();
    assert_close(&w.decode::<f64>(), &want, Tolerance::EXACT);
    assert_eq!(w.stored_bytes(), 15 + 6 * 4);
}

#[test]
fn a_block_larger_than_the_matrix_is_one_scale() {
    let w = scaled([2, 3], [128, 128], &[0.5]).unwrap();
    assert_close(&w.decode::<f32>(), &[0.5; 6], Tolerance::EXACT);
}

#[test]
fn a_scaled_value_is_rounded_to_f32() {
    // 1.125 * 0.1_f32 needs 27 bits.
    let scale = BlockScale { block: [128, 128], values: vec![0.1] };
    let w = Weight::new(Dtype::F8E4m3, [1, 1], vec![0x39].into(), Some(scale)).unwrap();
    assert_close(&w.decode::<f64>(), &[f64::from(1.125 * 0.1_f32)], Tolerance::EXACT);
    assert_ne!(f64::from(1.125 * 0.1_f32).to_bits(), (1.125 * f64::from(0.1_f32)).to_bits());
}

#[test]
fn scales_that_do_not_cover_the_matrix_are_errors() {
    for (block, scales) in
        [([2, 2], 5), ([2, 2], 7), ([2, 2], 0), ([0, 2], 6), ([2, 0], 6), ([128, 128], 2)]
    {
        let error = scaled([3, 5], block, &vec![1.0; scales]).unwrap_err();
        assert!(matches!(error, KernelError::Shape { .. }), "{block:?}: {error}");
    }
    let error = scaled([3, 5], [2, 2], &[1.0; 5]).unwrap_err();
    let wanted = "weight_scale_inv: shape [5], blocks of [2, 2] want [2, 3] scales";
    assert_eq!(error.to_string(), wanted);
    let error = Weight::quantize_e4m3([1, 1], &[1.0], [0, 1]).unwrap_err();
    assert!(matches!(error, KernelError::Shape { .. }), "{error}");
}

#[test]
fn a_number_of_bytes_that_does_not_fit_is_an_error() {
    let error = Weight::new(Dtype::Bf16, [2, 3], vec![0; 11].into(), None).unwrap_err();
    assert_eq!(error.to_string(), "weight: 11 bytes, shape [2, 3] in BF16 wants 12");
    for shape in [[2, 2], [0, 3], [usize::MAX, 3], [usize::MAX, usize::MAX], [1 << 63, 2]] {
        let error = Weight::new(Dtype::F32, shape, vec![0; 12].into(), None).unwrap_err();
        assert!(matches!(error, KernelError::Length { .. }), "{shape:?}: {error}");
        let error = Weight::quantize_e4m3(shape, &[0.0; 3], [2, 2]).unwrap_err();
        assert!(matches!(error, KernelError::Length { .. }), "{shape:?}: {error}");
    }
}

#[test]
fn an_axis_of_zero_holds_nothing() {
    for shape in [[0, 0], [0, 3], [3, 0], [0, usize::MAX], [1 << 40, 0]] {
        let w = Weight::quantize_e4m3::<f32>(shape, &[], [2, 2]).unwrap();
        assert!(w.decode::<f64>().is_empty());
        assert_eq!((w.rows(), w.cols(), w.stored_bytes()), (shape[0], shape[1], 0));
    }
}

#[test]
fn bytes_are_a_checked_range_of_their_owner() {
    let owner = Arc::new(vec![1_u8, 2, 3, 4]);
    let range = |start, end| Bytes::new(owner.clone(), start..end);
    assert_eq!(range(1, 3).unwrap().as_slice(), [2, 3]);
    assert!(range(4, 4).unwrap().as_slice().is_empty());
    for (start, end) in [(3, 1), (0, 5), (5, 5), (5, 4), (usize::MAX, usize::MAX), (usize::MAX, 0)]
    {
        assert!(range(start, end).is_none(), "{start}..{end}");
    }
}

#[test]
fn clones_share_their_bytes_and_odd_offsets_are_fine() {
    let owner = Arc::new(vec![0xff, 0x80, 0x3f, 0x00, 0xc0, 0xff]);
    let bytes = Bytes::new(owner, 1..5).unwrap();
    let w = Weight::new(Dtype::Bf16, [1, 2], bytes, None).unwrap();
    assert_close(&w.decode::<f32>(), &[1.0, -2.0], Tolerance::EXACT);
    assert_eq!(w.clone().bytes().as_slice().as_ptr(), w.bytes().as_slice().as_ptr());
}

#[test]
fn quantising_zeros_gives_zeros() {
    let w = Weight::quantize_e4m3([2, 2], &[0.0_f32; 4], [1, 2]).unwrap();
    assert_close(&w.decode::<f32>(), &[0.0; 4], Tolerance::EXACT);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource(
            "proptest-regressions",
        ))),
        ..ProptestConfig::default()
    })]

    /// Three mantissa bits are off by at most 1/16; below 2^-6 the step is 2^-9 of the scale.
    #[test]
    fn quantising_is_off_by_a_sixteenth_at_most(
        (rows, cols) in (1_usize..9, 1_usize..9),
        block in [1_usize..5, 1_usize..5],
        magnitude in -20_i32..20,
        seeds in prop::collection::vec(-1.0_f64..1.0, 64),
    ) {
        let values: Vec<f64> =
            seeds[..rows * cols].iter().map(|v| v * 2_f64.powi(magnitude)).collect();
        let w = Weight::quantize_e4m3([rows, cols], &values, block).unwrap();
        let largest = values.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let tolerance = Tolerance { atol: 1.001 * largest / 448.0 / 1024.0, rtol: 1.001 / 16.0 };
        assert_close(&w.decode::<f64>(), &values, tolerance);
    }

    #[test]
    fn one_row_decodes_as_it_does_among_all(
        (rows, cols) in (1_usize..9, 1_usize..9),
        block in [1_usize..5, 1_usize..5],
        values in prop::collection::vec(-1.0_f32..1.0, 64),
    ) {
        let w = Weight::quantize_e4m3([rows, cols], &values[..rows * cols], block).unwrap();
        let all = w.decode::<f32>();
        for row in 0..rows {
            let mut out = vec![f32::NAN; cols];
            w.decode_row(row, &mut out);
            assert_close(&out, &all[row * cols..][..cols], Tolerance::EXACT);
        }
    }
}
