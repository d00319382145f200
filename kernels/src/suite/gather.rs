//! Properties of [`gather`](crate::gather).

use proptest::prelude::*;

use super::{
    Values, assert_error, assert_rows_stand_alone, assert_same_bits, assert_threads_change_no_bit,
    batch, done, download, for_all, is_index, size, storage,
};
use crate::{Backend, Dtype, Tensor, Tolerance, Weight};

fn ids(n: usize, vocab: usize, seed: u64) -> Vec<u32> {
    let indices = Values::new(seed).indices(n, vocab);
    indices.iter().map(|&i| u32::try_from(i).expect("a small vocabulary")).collect()
}

/// Each row of the result is the decoded row of its id, in every stored dtype.
pub fn follows_its_definition<B: Backend>(b: &B, _: Tolerance) {
    let sizes = (batch(), 1_usize..20, size());
    for_all((sizes, storage(), any::<u64>()), |((tokens, vocab, dim), storage, seed)| {
        let w = storage.weight([vocab, dim], &mut Values::new(seed));
        let ids = ids(tokens, vocab, seed);
        let all: Vec<B::Scalar> = w.decode();
        let want: Vec<B::Scalar> =
            ids.iter().flat_map(|&id| all[id as usize * dim..][..dim].to_vec()).collect();
        let y = done(b.matrix(w).and_then(|w| b.gather(&w, &ids)));
        assert_eq!(y.shape(), [tokens, dim]);
        assert_same_bits(&done(b.download(&y)), &want);
    });
}

/// A row has the same bits in any batch.
pub fn a_row_alone_equals_the_row_in_a_batch<B: Backend>(b: &B, _: Tolerance) {
    for_all((batch(), size(), storage(), any::<u64>()), |(tokens, dim, storage, seed)| {
        let w = b.matrix(storage.weight([17, dim], &mut Values::new(seed)));
        let (w, ids) = (done(w), ids(tokens, 17, seed));
        assert_rows_stand_alone(tokens, |rows| download(b, b.gather(&w, &ids[rows])));
    });
}

/// The number of threads changes no bit.
pub fn threads_change_no_bit<B: Backend>(b: &B, _: Tolerance) {
    let w = Weight::encode(Dtype::Bf16, [17, 65], &Values::new(6).draw::<f64>(17 * 65));
    let w = done(w.and_then(|w| b.matrix(w)));
    assert_threads_change_no_bit(|| download(b, b.gather(&w, &ids(31, 17, 6))));
}

/// An id that names no row is an error, however large; no ids are none, even of no rows.
pub fn an_id_out_of_range_is_an_error<B: Backend>(b: &B, _: Tolerance) {
    let weight = |rows| {
        let w = Weight::encode(Dtype::F32, [rows, 2], &vec![0.0_f32; rows * 2]);
        done(w.and_then(|w| b.matrix(w)))
    };
    for id in [3, 4, u32::MAX] {
        assert_error(b.gather(&weight(3), &[0, id, 1]), is_index);
    }
    assert_error(b.gather(&weight(0), &[0]), is_index);
    assert!(download(b, b.gather(&weight(0), &[])).is_empty());
}
