//! The tensors that each kind asks for, and what a wrong one leads to.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use latent_mla::kernels::{Dtype, PairLayout, Reference, Weight};
use latent_mla::suite::kinds;
use latent_mla::{Attention, AttentionConfig, MlaConfig, MlaError, RopeConfig};

fn v3(q_lora_rank: Option<usize>) -> MlaConfig {
    MlaConfig {
        hidden_size: 7168,
        num_attention_heads: 128,
        q_lora_rank,
        kv_lora_rank: 512,
        qk_nope_head_dim: 128,
        qk_rope_head_dim: 64,
        v_head_dim: 128,
        rope: RopeConfig { theta: 10_000.0, yarn: None, layout: PairLayout::Interleaved },
    }
}

fn listed(config: &MlaConfig) -> Vec<(String, Vec<usize>)> {
    config.tensors().into_iter().map(|t| (t.name, t.shape)).collect()
}

#[test]
fn v3_asks_for_its_published_tensors() {
    let want = [
        ("q_a_proj.weight", vec![1536, 7168]),
        ("q_a_layernorm.weight", vec![1536]),
        ("q_b_proj.weight", vec![24_576, 1536]),
        ("kv_a_proj_with_mqa.weight", vec![576, 7168]),
        ("kv_a_layernorm.weight", vec![512]),
        ("kv_b_proj.weight", vec![32_768, 512]),
        ("o_proj.weight", vec![7168, 16_384]),
    ];
    assert_eq!(listed(&v3(Some(1536))), want.map(|(n, s)| (n.to_string(), s)));
}

#[test]
fn a_plain_query_is_one_matrix() {
    assert_eq!(listed(&v3(None))[0], ("q_proj.weight".into(), vec![24_576, 7168]));
    assert_eq!(listed(&v3(None)).len(), 5);
}

fn zeros(shape: &[usize]) -> Weight {
    let shape = if let [n] = *shape { [1, n] } else { [shape[0], shape[1]] };
    Weight::encode(Dtype::Bf16, shape, &vec![0.0_f32; shape[0] * shape[1]]).unwrap()
}

fn load(
    config: &AttentionConfig,
    change: impl Fn(&str, &mut Vec<usize>),
) -> (Vec<String>, Result<Attention<Reference<f32>>, MlaError>) {
    let mut asked = Vec::new();
    let layer = Attention::new(&Reference::new(), config, &mut |name: &str| {
        asked.push(name.to_string());
        let mut shape = config.tensors().into_iter().find(|t| t.name == name).unwrap().shape;
        change(name, &mut shape);
        Ok(zeros(&shape))
    });
    (asked, layer)
}

#[test]
fn a_layer_asks_for_every_listed_tensor_once() {
    for (name, config) in kinds() {
        let (mut asked, layer) = load(&config, |_, _| {});
        assert_eq!(layer.unwrap().config(), &config);
        let mut listed: Vec<String> = config.tensors().into_iter().map(|t| t.name).collect();
        asked.sort();
        listed.sort();
        assert_eq!(asked, listed, "{name}");
    }
}

#[test]
fn every_wrong_shape_is_an_error_that_names_it() {
    for (_, config) in kinds() {
        for tensor in config.tensors() {
            for axis in 0..tensor.shape.len() {
                let (_, layer) = load(&config, |name, shape| {
                    if name == tensor.name {
                        shape[axis] += 1;
                    }
                });
                let Err(MlaError::Weight { name, found, wanted }) = layer else {
                    panic!("{tensor:?}: a wrong shape was taken");
                };
                assert_eq!((&name, &wanted), (&tensor.name, &tensor.shape));
                assert_ne!(found, wanted);
            }
        }
    }
}

#[test]
fn a_wrong_shape_reads_well() {
    let (_, config) = kinds().swap_remove(3);
    let (_, layer) = load(&config, |name, shape| {
        if name == "kv_b_proj.weight" {
            shape[1] = 32;
        }
    });
    let message = layer.unwrap_err().to_string();
    assert_eq!(message, "kv_b_proj.weight: shape [51, 32], the config wants [51, 36]");
}

#[test]
fn an_error_of_the_checkpoint_comes_back_as_it_is() {
    #[derive(Debug, PartialEq)]
    enum Mine {
        Missing(String),
        Attention(MlaError),
    }
    impl From<MlaError> for Mine {
        fn from(error: MlaError) -> Self {
            Self::Attention(error)
        }
    }
    let (_, config) = kinds().swap_remove(0);
    let mut get = |name: &str| Err(Mine::Missing(name.to_string()));
    let error = Attention::new(&Reference::<f32>::new(), &config, &mut get).unwrap_err();
    assert_eq!(error, Mine::Missing("q_proj.weight".into()));
    assert_ne!(error, Mine::Attention(MlaError::Layer { found: 0, layers: 0 }));
}
