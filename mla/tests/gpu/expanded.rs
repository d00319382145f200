//! Attention by keys and values that are made first.

use latent_mla::gpu::attend_expanded_within;
use latent_mla::kernels::suite::assert_same_bits;
use latent_mla::kernels::{Backend, Reference};

use super::case::{Case, DIMS, assert_follows, attend_expanded, kv_b, published, random};
use super::gpu;

#[test]
fn the_expanded_form_follows_the_reference() {
    let case = Case::new(&[(20, 20), (1, 1), (0, 0), (2, 66), (3, 258)], 27);
    for weight in [&kv_b(DIMS)[3], &kv_b(DIMS)[7]] {
        let want = attend_expanded(&Reference::<f64>::new(), &case, weight, DIMS);
        assert_follows(&attend_expanded(&gpu(), &case, weight, DIMS), &want);
    }
    let (dims, weight, case) = published();
    let want = attend_expanded(&Reference::<f64>::new(), &case, &weight, dims);
    assert_follows(&attend_expanded(&gpu(), &case, &weight, dims), &want);
}

#[test]
fn the_expanded_form_has_the_same_bits_in_any_memory() {
    let case = Case::new(&[(20, 300), (1, 600), (2, 2)], 27);
    let weight = &kv_b(DIMS)[5];
    let want = attend_expanded(&gpu(), &case, weight, DIMS);
    let q = random(&gpu(), 9, &[23, 3, 16]);
    let (pages, matrix) = (case.pages(&gpu()), gpu().matrix(weight.clone()).unwrap());
    // Of one split and one head, of two splits, of all splits of two heads.
    for bytes in [1, 100_000, 300_000] {
        let o = attend_expanded_within(&gpu(), &q, &pages, &case.spans, &matrix, DIMS, 0.3, bytes);
        assert_same_bits(&gpu().download(&o.unwrap()).unwrap(), &want);
    }
}
