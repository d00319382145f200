//! Blocks and layers from named weights.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use latent_moe::kernels::{Backend, Dtype, Reference, Weight};
use latent_moe::{
    Experts, GateConfig, Mlp, MlpWeights, MoeConfig, MoeError, MoeLayer, Routing, ScoringFunc,
    TopkMethod,
};

type Cpu = Reference<f64>;

fn config(n_shared_experts: usize, topk_method: TopkMethod) -> MoeConfig {
    MoeConfig {
        hidden_size: 2,
        moe_intermediate_size: 3,
        n_shared_experts,
        gate: GateConfig {
            n_routed_experts: 2,
            num_experts_per_tok: 1,
            scoring_func: ScoringFunc::Sigmoid,
            topk_method,
            norm_topk_prob: false,
            routed_scaling_factor: 1.0,
        },
    }
}

const NOAUX_TC: TopkMethod = TopkMethod::NoauxTc { n_group: 1, topk_group: 1 };

fn filled(shape: [usize; 2], value: f64) -> Weight {
    Weight::encode(Dtype::F64, shape, &vec![value; shape[0] * shape[1]]).unwrap()
}

/// The weight that `config` wants under `name`, all of one value.
fn wanted(config: &MoeConfig, name: &str, value: f64) -> Weight {
    let spec = config.tensors().into_iter().find(|t| t.name == name).unwrap();
    let cols = *spec.shape.last().unwrap();
    filled([spec.shape.iter().product::<usize>() / cols, cols], value)
}

#[test]
fn a_block_gates_by_silu() {
    // silu(ln 3) = 3/4 ln 3; up = 2 ln 3; down = 10.
    let mut value = |name: &str| {
        let value = match name {
            "gate_proj.weight" => 1.0,
            "up_proj.weight" => 2.0,
            _ => 10.0,
        };
        Ok::<_, MoeError>(filled([1, 1], value))
    };
    let cpu = Cpu::new();
    let mlp = Mlp::new(&cpu, 1, 1, &mut value).unwrap();
    let ln3 = 3.0_f64.ln();
    let y = mlp.forward(&cpu, &cpu.upload(&[ln3], &[1, 1]).unwrap()).unwrap();
    assert!((cpu.download(&y).unwrap()[0] - 15.0 * ln3 * ln3).abs() < 1e-14);
}

#[test]
fn a_layer_asks_for_the_published_names() {
    for (shared, method) in [(0, TopkMethod::Greedy), (2, NOAUX_TC)] {
        let config = config(shared, method);
        let mut asked = Vec::new();
        MoeLayer::new(&Cpu::new(), &config, &mut |name| {
            asked.push(name.to_owned());
            Ok::<_, MoeError>(wanted(&config, name, 0.0))
        })
        .unwrap();
        let names: Vec<String> = config.tensors().into_iter().map(|t| t.name).collect();
        assert_eq!(asked, names);
    }
    let tensors = config(2, NOAUX_TC).tensors();
    let shape = |name: &str| tensors.iter().find(|t| t.name == name).unwrap().shape.clone();
    assert_eq!(tensors.len(), 2 + 2 * 3 + 3);
    assert_eq!(shape("gate.weight"), [2, 2]);
    assert_eq!(shape("gate.e_score_correction_bias"), [2]);
    assert_eq!(shape("experts.1.down_proj.weight"), [2, 3]);
    assert_eq!(shape("shared_experts.up_proj.weight"), [6, 2]);
}

#[test]
fn a_wrong_shape_is_named() {
    for name in [
        "gate.weight",
        "gate.e_score_correction_bias",
        "experts.1.up_proj.weight",
        "shared_experts.down_proj.weight",
    ] {
        let config = config(1, NOAUX_TC);
        let result = MoeLayer::new(&Cpu::new(), &config, &mut |asked| {
            let weight =
                if asked == name { filled([5, 7], 0.0) } else { wanted(&config, asked, 0.0) };
            Ok::<_, MoeError>(weight)
        });
        let message = result.unwrap_err().to_string();
        assert!(
            message.starts_with(&format!("{name}: shape [5, 7], the config wants [")),
            "{message}"
        );
    }
}

#[test]
fn an_error_of_the_checkpoint_comes_through() {
    #[derive(Debug, PartialEq)]
    enum Missing {
        Tensor(String),
        Layer(MoeError),
    }
    impl From<MoeError> for Missing {
        fn from(error: MoeError) -> Self {
            Self::Layer(error)
        }
    }
    let config = config(0, TopkMethod::Greedy);
    let result = MoeLayer::new(&Cpu::new(), &config, &mut |name| {
        if name == "experts.1.gate_proj.weight" {
            return Err(Missing::Tensor(name.into()));
        }
        Ok(wanted(&config, name, 0.0))
    });
    assert_eq!(result.unwrap_err(), Missing::Tensor("experts.1.gate_proj.weight".into()));
    let mut broken = config.clone();
    broken.gate.num_experts_per_tok = 3;
    let result = MoeLayer::new(&Cpu::new(), &broken, &mut |name| {
        Err(Missing::Tensor(format!("asked for {name}")))
    });
    assert!(matches!(result.unwrap_err(), Missing::Layer(MoeError::Config { .. })));
}

#[test]
fn a_bias_that_is_no_number_is_refused_when_loading() {
    let config = config(0, NOAUX_TC);
    let result = MoeLayer::new(&Cpu::new(), &config, &mut |name| {
        let bad = if name.ends_with("bias") { f64::NAN } else { 0.0 };
        Ok::<_, MoeError>(wanted(&config, name, bad))
    });
    assert!(matches!(result.unwrap_err(), MoeError::Bias { expert: 0, .. }));
}

#[test]
fn nan_in_the_input_is_an_error_of_the_gate() {
    let config = config(1, TopkMethod::Greedy);
    let cpu = Cpu::new();
    let layer =
        MoeLayer::new(&cpu, &config, &mut |name| Ok::<_, MoeError>(wanted(&config, name, 1.0)))
            .unwrap();
    let x = cpu.upload(&[0.0, 0.0, 1.0, f64::NAN], &[2, 2]).unwrap();
    let error = layer.forward(&cpu, &x).unwrap_err();
    assert!(matches!(error, MoeError::Logit { token: 1, expert: 0, .. }), "{error}");
}

#[test]
fn a_routing_to_other_experts_is_refused() {
    let cpu = Cpu::new();
    let stack = cpu
        .expert_stack(2, |_| {
            MlpWeights::read("", 1, 1, &mut |_| Ok::<_, MoeError>(filled([1, 1], 1.0)))
        })
        .unwrap();
    assert_eq!(stack.len(), 2);
    let routing = Routing::new(3, 1, vec![2], vec![1.0]).unwrap();
    let x = cpu.upload(&[1.0], &[1, 1]).unwrap();
    assert!(matches!(cpu.routed(&stack, &x, &routing), Err(MoeError::Routing { .. })));
}
