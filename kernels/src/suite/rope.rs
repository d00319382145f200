//! Properties of [`rope`](crate::rope).

use proptest::prelude::*;

use super::{
    Values, assert_error, assert_rows_stand_alone, assert_threads_change_no_bit, batch, download,
    for_all, is_shape, upload, wide, with_one_hostile_row,
};
use crate::{Backend, PairLayout, RopeTable, Scalar, Tolerance, Yarn, assert_close};

/// The two elements of pair `i` of `pairs`, counted from the start of the rotated part.
fn pair(layout: PairLayout, i: usize, pairs: usize) -> [usize; 2] {
    match layout {
        PairLayout::Interleaved => [2 * i, 2 * i + 1],
        PairLayout::HalfSplit => [i, i + pairs],
    }
}

/// Each pair of `[token, head, dim]` as a complex number, turned by adding to its argument.
#[must_use]
pub fn definition(
    x: &[f64],
    [heads, dim]: [usize; 2],
    table: &RopeTable,
    positions: &[usize],
) -> Vec<f64> {
    let mut y = x.to_vec();
    let pairs = table.frequencies().len();
    for (row, head) in y.chunks_mut(dim.max(1)).enumerate() {
        let rotated = &mut head[dim - table.dim()..];
        for (i, frequency) in table.frequencies().iter().enumerate() {
            let [re, im] = pair(table.layout(), i, pairs);
            let length = rotated[re].hypot(rotated[im]) * table.attention_factor();
            let angle = rotated[im].atan2(rotated[re]) + positions[row / heads] as f64 * frequency;
            (rotated[re], rotated[im]) = (length * angle.cos(), length * angle.sin());
        }
    }
    y
}

fn yarn(mscale: f64) -> Yarn {
    Yarn {
        factor: 40.0,
        original_max_position_embeddings: 4096,
        beta_fast: 32.0,
        beta_slow: 1.0,
        mscale: Some(mscale),
        mscale_all_dim: Some(1.0),
    }
}

/// Tables of 0 to 33 pairs in either layout: plain, with YaRN, and with YaRN that stretches.
fn table() -> impl Strategy<Value = RopeTable> {
    let pairs = prop::sample::select(vec![0, 1, 2, 3, 8, 16, 17, 32, 33]);
    let layout = prop::sample::select(vec![PairLayout::Interleaved, PairLayout::HalfSplit]);
    let yarn = prop::sample::select(vec![None, Some(yarn(1.0)), Some(yarn(2.0))]);
    (pairs, layout, yarn).prop_map(|(pairs, layout, yarn)| {
        RopeTable::new(2 * pairs, 10_000.0, yarn.as_ref(), layout).expect("settings in range")
    })
}

fn rotate<B: Backend>(
    b: &B,
    x: &[f64],
    heads: usize,
    table: &RopeTable,
    positions: &[usize],
) -> Vec<f64> {
    let dim = x.len() / (positions.len() * heads).max(1);
    wide(&download(b, b.rope(&upload(b, x, &[positions.len(), heads, dim]), table, positions)))
}

/// The last elements of each head are complex numbers that turn; those before them do not change.
pub fn turns_complex_numbers<B: Backend>(b: &B, tolerance: Tolerance) {
    let sizes = (batch(), 0_usize..4, 0_usize..6);
    for_all((sizes, table(), any::<u64>()), |((tokens, heads, still), table, seed)| {
        let (mut values, dim) = (Values::new(seed), still + table.dim());
        let x: Vec<B::Scalar> = values.draw(tokens * heads * dim);
        let positions = values.indices(tokens, 5000);
        let want = definition(&wide(&x), [heads, dim], &table, &positions);
        let y = b.rope(&upload(b, &wide(&x), &[tokens, heads, dim]), &table, &positions);
        assert_close(&download(b, y), &want, tolerance);
    });
}

/// Half-split pairs are interleaved pairs in another order.
pub fn layouts_are_a_permutation<B: Backend>(b: &B, tolerance: Tolerance) {
    for_all((1_usize..34, any::<u64>()), |(pairs, seed)| {
        let [interleaved, half] = [PairLayout::Interleaved, PairLayout::HalfSplit]
            .map(|l| RopeTable::new(2 * pairs, 10_000.0, None, l).expect("settings in range"));
        let mut values = Values::new(seed);
        let (x, position): (Vec<f64>, _) = (values.draw(2 * pairs), values.indices(1, 5000));
        let to_halves = |x: &[f64]| -> Vec<f64> {
            (0..2).flat_map(|part| (0..pairs).map(move |i| x[2 * i + part])).collect()
        };
        let got = rotate(b, &to_halves(&x), 1, &half, &position);
        let want = to_halves(&rotate(b, &x, 1, &interleaved, &position));
        assert_close(&got, &want, tolerance);
    });
}

/// A rotation changes the length of a head only by the attention factor.
pub fn keeps_lengths<B: Backend>(b: &B, tolerance: Tolerance) {
    for_all((table(), any::<u64>()), |(table, seed)| {
        let mut values = Values::new(seed);
        let (x, position): (Vec<B::Scalar>, _) =
            (values.draw(table.dim()), values.indices(1, 1 << 20));
        let length = |x: &[f64]| [x.iter().map(|v| v * v).sum::<f64>().sqrt()];
        let y = rotate(b, &wide(&x), 1, &table, &position);
        let [want] = length(&wide(&x));
        assert_close(&length(&y), &[want * table.attention_factor()], tolerance);
    });
}

/// At position 0 nothing turns.
pub fn position_zero_is_the_identity<B: Backend>(b: &B, _: Tolerance) {
    for_all((table(), any::<u64>()), |(table, seed)| {
        let x: Vec<B::Scalar> = Values::new(seed).draw(table.dim() + 3);
        let factor = B::Scalar::from_f64(table.attention_factor());
        let want: Vec<B::Scalar> =
            (0..x.len()).map(|i| if i < 3 { x[i] } else { x[i] * factor }).collect();
        let got = rotate(b, &wide(&x), 1, &table, &[0]);
        assert_close(&got, &want, Tolerance::EXACT);
    });
}

/// A score depends on the distance of query and key alone: moving both changes nothing.
pub fn a_common_offset_changes_no_score<B: Backend>(b: &B, tolerance: Tolerance) {
    let positions = (0_usize..300, 0_usize..300, 0_usize..3000);
    for_all((table(), positions, any::<u64>()), |(table, (at_q, at_k, offset), seed)| {
        let mut values = Values::new(seed);
        let qk: Vec<f64> = values.draw(2 * table.dim());
        let score = |offset| {
            let turned = rotate(b, &qk, 1, &table, &[at_q + offset, at_k + offset]);
            let (q, k) = turned.split_at(table.dim());
            [q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>()]
        };
        assert_close(&score(offset), &score(0), tolerance);
    });
}

/// A row has the same bits in any batch, whatever its neighbours hold.
pub fn a_row_alone_equals_the_row_in_a_batch<B: Backend>(b: &B, _: Tolerance) {
    for_all((batch(), 1_usize..4, table(), any::<u64>()), |(tokens, heads, table, seed)| {
        let dim = table.dim() + 1;
        let x: Vec<B::Scalar> = with_one_hostile_row(tokens, heads * dim, seed);
        let positions = Values::new(seed).indices(tokens, 5000);
        assert_rows_stand_alone(tokens, |rows| {
            let part = &x[rows.start * heads * dim..rows.end * heads * dim];
            let x = b.upload(part, &[rows.len(), heads, dim]);
            download(b, x.and_then(|x| b.rope(&x, &table, &positions[rows])))
        });
    });
}

/// The number of threads changes no bit.
pub fn threads_change_no_bit<B: Backend>(b: &B, _: Tolerance) {
    let table = RopeTable::new(32, 10_000.0, None, PairLayout::Interleaved);
    let table = table.expect("settings in range");
    let x = upload(b, &Values::new(3).draw(17 * 3 * 33), &[17, 3, 33]);
    let positions: Vec<usize> = (0..17).collect();
    assert_threads_change_no_bit(|| download(b, b.rope(&x, &table, &positions)));
}

/// Too few axes, another number of positions, or heads too short to rotate, are errors.
pub fn wrong_shapes_are_errors<B: Backend>(b: &B, _: Tolerance) {
    let table = RopeTable::new(4, 10_000.0, None, PairLayout::HalfSplit);
    let table = table.expect("settings in range");
    for shape in [&[][..], &[8], &[2, 4], &[1, 1, 4], &[3, 1, 4], &[2, 1, 3], &[2, 1, 1, 4]] {
        let x = upload(b, &vec![0.0; shape.iter().product()], shape);
        assert_error(b.rope(&x, &table, &[0, 1]), is_shape);
    }
    for shape in [[0, 1, 4], [2, 0, 4]] {
        let y = b.rope(&upload(b, &[], &shape), &table, &[0, 1][..shape[0]]);
        assert!(download(b, y).is_empty());
    }
    let far = b.rope(&upload(b, &[1.0; 4], &[1, 1, 4]), &table, &[usize::MAX]);
    assert!(wide(&download(b, far)).iter().all(|v| v.is_finite()), "a far position");
}
