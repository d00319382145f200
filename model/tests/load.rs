//! How far loading is, as it is told.

use std::path::Path;

use latent_model::kernels::Reference;
use latent_model::{LoadOptions, LoadProgress, Model};

#[test]
fn loading_tells_how_far_it_is() {
    for case in ["v3_fp8", "llama", "v3_mtp"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance").join(case);
        let mut told: Vec<LoadProgress> = Vec::new();
        let cpu = Reference::<f32>::new();
        Model::load_observed(cpu, &dir, &LoadOptions::default(), &mut |p| told.push(p)).unwrap();
        let total = told[0].total;
        assert!(total > 0 && told.iter().all(|p| p.total == total));
        assert_eq!((told[0].bytes, told.last().unwrap().bytes), (0, total), "{case}");
        assert!(told.len() > 10 && told.is_sorted_by_key(|p| p.bytes), "{case}");
    }
}
