//! Any bytes are a checkpoint or an error: never a panic, and every weight of one can be used.
#![no_main]

use std::path::Path;

use latent_model::checkpoint::{Checkpoint, OpenOptions, VerifyOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let options = OpenOptions { block: [2, 3], ..OpenOptions::default() };
    let file = Path::new("model.safetensors");
    let Ok(checkpoint) = Checkpoint::from_bytes(file, bytes.to_vec(), options) else { return };
    for name in checkpoint.names() {
        let info = checkpoint.info(name).expect("a name of the checkpoint");
        let data = checkpoint.bytes(name).expect("a name of the checkpoint");
        assert_eq!(data.as_slice().len(), info.bytes);
        if let Ok(weight) = checkpoint.weight(name, info.shape) {
            assert_eq!(weight.decode::<f32>().len(), weight.rows() * weight.cols());
        }
    }
    let _ = checkpoint.check_weights();
    let _ = checkpoint.verify(&[], &VerifyOptions::default());
    assert_eq!(checkpoint.summary().disk_bytes, bytes.len());
});
