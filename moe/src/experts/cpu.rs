//! [`Experts`] on this processor: weights are streamed from where they lie, those of chosen experts
//! alone, and all threads share the work of all experts.

use latent_kernels::cpu::{Cpu, CpuMatrix, Inputs};
use latent_kernels::{Backend, Matrix, Weight};
use ndarray::ArrayD;

use crate::dispatch::cpu::elements;
use crate::dispatch::{self, want_rows};
use crate::{Dispatch, Experts, GateConfig, MlpWeights, MoeError, Routing, gate};

mod product;

/// The weights of a layer's experts as the backend takes them over, at least one expert, all of the same
/// shapes.
///
/// As they are stored, nothing is copied: experts that no token chooses stay on disk where their file is
/// mapped, and each weight may have a dtype of its own.
///
/// ```
/// use latent_moe::kernels::cpu::Cpu;
/// use latent_moe::kernels::{Backend, Dtype, Weight};
/// use latent_moe::{Experts, MlpWeights, MoeError, Routing};
/// let cpu = Cpu::new();
/// let experts = cpu.expert_stack(4, |e| {
///     let w = Weight::encode(Dtype::Bf16, [1, 1], &[e as f32])?;
///     Ok::<_, MoeError>(MlpWeights { gate_proj: w.clone(), up_proj: w.clone(), down_proj: w })
/// })?;
/// // silu(3 * 40) * (3 * 40) * 3, by half.
/// let routing = Routing::new(4, 1, vec![3], vec![0.5])?;
/// let y = cpu.routed(&experts, &cpu.upload(&[40.0], &[1, 1])?, &routing)?;
/// assert_eq!(cpu.download(&y)?, [21_600.0]);
/// # Ok::<(), MoeError>(())
/// ```
#[derive(Debug)]
pub struct CpuExperts {
    experts: Vec<CpuExpert>,
    hidden: usize,
    inner: usize,
}

/// The weights of one expert.
#[derive(Debug)]
struct CpuExpert {
    gate_proj: CpuMatrix,
    up_proj: CpuMatrix,
    down_proj: CpuMatrix,
}

impl CpuExperts {
    /// Takes the weights of expert after expert over, each as soon as it is there.
    fn new<E: From<MoeError>>(
        cpu: &Cpu,
        weights: impl Iterator<Item = Result<MlpWeights, E>>,
    ) -> Result<Self, E> {
        let mut experts = Vec::new();
        let mut shape = None;
        for (e, w) in weights.enumerate() {
            let w = w?;
            let (inner, hidden) = (w.gate_proj.rows(), w.gate_proj.cols());
            if inner == 0 || hidden == 0 {
                let found = [inner, hidden];
                let wanted = "want at least one row and column";
                return Err(MoeError::shape("gate_proj", &found, wanted).into());
            }
            let [inner, hidden] = *shape.get_or_insert([inner, hidden]);
            fits(e, "gate_proj", &w.gate_proj, [inner, hidden])?;
            fits(e, "up_proj", &w.up_proj, [inner, hidden])?;
            fits(e, "down_proj", &w.down_proj, [hidden, inner])?;
            let take = |w| cpu.matrix(w).map_err(MoeError::from);
            experts.push(CpuExpert {
                gate_proj: take(w.gate_proj)?,
                up_proj: take(w.up_proj)?,
                down_proj: take(w.down_proj)?,
            });
        }
        let Some([inner, hidden]) = shape else {
            return Err(MoeError::shape("experts", &[0], "want at least one").into());
        };
        Ok(Self { experts, hidden, inner })
    }

    /// The bytes that the weights take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of_expert = |w: &CpuExpert| {
            [&w.gate_proj, &w.up_proj, &w.down_proj].map(Matrix::bytes).iter().sum::<usize>()
        };
        self.experts.iter().map(of_expert).sum()
    }

    /// Sends row `row` of the choices through its expert: row `from[row]` of `x`.
    fn run(
        &self,
        cpu: &Cpu,
        x: &ArrayD<f32>,
        from: impl Iterator<Item = usize>,
        routing: &Routing,
        dispatch: &Dispatch,
    ) -> Result<ArrayD<f32>, MoeError> {
        if self.experts.len() != routing.n_routed_experts() {
            let wanted = format!("{}, as the stack holds", self.experts.len());
            return Err(MoeError::routing("n_routed_experts", routing.n_routed_experts(), wanted));
        }
        let hidden = self.hidden;
        if x.shape()[1] != hidden {
            return Err(MoeError::shape("experts: x", x.shape(), format!("want [.., {hidden}]")));
        }
        let x = elements(x);
        let slices: Vec<&[f32]> = from.map(|row| &x[row * hidden..][..hidden]).collect();
        let rows = slices.len();
        let ups = self.experts.iter().flat_map(|w| [&w.gate_proj, &w.up_proj]);
        let x = Inputs::new(cpu, &ups.collect::<Vec<_>>(), &slices);
        let inner = product::up(cpu, self, &x, rows, dispatch);
        let downs = self.experts.iter().map(|w| &w.down_proj);
        let inner = Inputs::of(cpu, &downs.collect::<Vec<_>>(), inner);
        Ok(product::down(cpu, self, &inner, rows, dispatch))
    }
}

fn fits(e: usize, name: &str, weight: &Weight, wanted: [usize; 2]) -> Result<(), MoeError> {
    let found = [weight.rows(), weight.cols()];
    if found == wanted {
        return Ok(());
    }
    Err(MoeError::Weight { name: format!("experts.{e}.{name}.weight"), found, wanted })
}

impl Experts for Cpu {
    type Routing = Routing;
    type ExpertStack = CpuExperts;

    fn route(
        &self,
        logits: &ArrayD<f32>,
        bias: Option<&ArrayD<f32>>,
        gate: &GateConfig,
    ) -> Result<Routing, MoeError> {
        gate::check(logits.shape(), bias.map(ArrayD::shape), gate)?;
        gate::reference::route(elements(logits), bias.map(elements), gate)
    }

    fn host_routing(&self, routing: &Routing) -> Result<Routing, MoeError> {
        Ok(routing.clone())
    }

    fn expert_stack<E: From<MoeError>>(
        &self,
        experts: usize,
        get: impl FnMut(usize) -> Result<MlpWeights, E>,
    ) -> Result<CpuExperts, E> {
        CpuExperts::new(self, (0..experts).map(get))
    }

    fn dispatch(&self, x: &ArrayD<f32>, routing: &Routing) -> Result<ArrayD<f32>, MoeError> {
        dispatch::reference::dispatch(x, routing)
    }

    fn run_experts(
        &self,
        experts: &CpuExperts,
        rows: &ArrayD<f32>,
        routing: &Routing,
    ) -> Result<ArrayD<f32>, MoeError> {
        let choices = routing.experts().len();
        want_rows("run_experts: rows", rows.shape(), choices)?;
        experts.run(self, rows, 0..choices, routing, &Dispatch::new(routing))
    }

    fn combine(&self, rows: &ArrayD<f32>, routing: &Routing) -> Result<ArrayD<f32>, MoeError> {
        dispatch::cpu::combine(self, rows, routing)
    }

    fn routed(
        &self,
        experts: &CpuExperts,
        x: &ArrayD<f32>,
        routing: &Routing,
    ) -> Result<ArrayD<f32>, MoeError> {
        want_rows("routed: x", x.shape(), routing.tokens())?;
        let dispatch = Dispatch::new(routing);
        let rows = experts.run(self, x, dispatch.tokens().iter().copied(), routing, &dispatch)?;
        dispatch::cpu::combine(self, &rows, routing)
    }
}
