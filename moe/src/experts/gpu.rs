//! [`Experts`] on a device: gate, sort and products, each token's sum in a fixed order.

use latent_kernels::columns::gpu::in_packets;
use latent_kernels::gpu::{Gpu, GpuMatrix, GpuTensor};
use latent_kernels::{Matrix, Tensor, Weight};

use crate::dispatch::{self, want_rows};
use crate::gpu::{ExpertPlan, GpuRouting};
use crate::{Experts, GateConfig, MlpWeights, MoeError, Routing, gate};

mod down;
mod product;
pub(crate) mod tiles;
mod up;

use product::Rows;

/// The weights of a layer's experts on a device, in their stored dtype: three stacks, whose buffers
/// hold whole experts.
#[derive(Debug)]
pub struct GpuExperts {
    experts: usize,
    gate_proj: GpuMatrix, // experts times [inner, hidden]
    up_proj: GpuMatrix,   // experts times [inner, hidden]
    down_proj: GpuMatrix, // experts times [hidden, inner]
}

impl GpuExperts {
    fn new(gpu: &Gpu, weights: &[MlpWeights]) -> Result<Self, MoeError> {
        let stack = |of: fn(&MlpWeights) -> &Weight| {
            let weights: Vec<Weight> = weights.iter().map(|w| of(w).clone()).collect();
            GpuMatrix::stack(gpu, &weights)
        };
        let gate_proj = stack(|w| &w.gate_proj)?;
        let [inner, hidden] = [gate_proj.rows(), gate_proj.cols()];
        if inner == 0 || hidden == 0 {
            let found = [inner, hidden];
            return Err(MoeError::shape("gate_proj", &found, "want at least one row and column"));
        }
        let (up_proj, down_proj) = (stack(|w| &w.up_proj)?, stack(|w| &w.down_proj)?);
        fits("up_proj", &up_proj, [inner, hidden])?;
        fits("down_proj", &down_proj, [hidden, inner])?;
        Ok(Self { experts: weights.len(), gate_proj, up_proj, down_proj })
    }

    /// The bytes that the device holds for it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        [&self.gate_proj, &self.up_proj, &self.down_proj].map(Matrix::bytes).iter().sum()
    }

    /// Sends the row of each choice through its expert: rows of `x` that were dispatched, or those
    /// of the tokens if `gathered`.
    fn run(
        &self,
        gpu: &Gpu,
        x: &GpuTensor,
        routing: &GpuRouting,
        gathered: bool,
    ) -> Result<GpuTensor, MoeError> {
        if self.experts != routing.n_routed_experts {
            let wanted = format!("{}, as the stack holds", self.experts);
            return Err(MoeError::routing("n_routed_experts", routing.n_routed_experts, wanted));
        }
        let (inputs, hidden) = (x.shape()[0], self.gate_proj.cols());
        if x.shape()[1] != hidden {
            return Err(MoeError::shape("experts: x", x.shape(), format!("want [.., {hidden}]")));
        }
        let plan = ExpertPlan::new(routing.choices(), self.experts);
        let tiles = &tiles::list(gpu, routing, plan, gathered)?;
        let rows = Rows { plan, tiles, choices: routing.choices(), hit: routing.most_hit() };
        let x = in_packets(gpu, x, hidden)?;
        let inner = up::up(gpu, [&self.gate_proj, &self.up_proj], &x, inputs, rows)?;
        Ok(down::down(gpu, &self.down_proj, &inner, rows)?)
    }
}

fn fits(name: &str, stack: &GpuMatrix, wanted: [usize; 2]) -> Result<(), MoeError> {
    let found = [stack.rows(), stack.cols()];
    if found == wanted {
        return Ok(());
    }
    Err(MoeError::Weight { name: name.into(), found, wanted })
}

impl Experts for Gpu {
    type Routing = GpuRouting;
    type ExpertStack = GpuExperts;

    fn route(
        &self,
        logits: &GpuTensor,
        bias: Option<&GpuTensor>,
        gate: &GateConfig,
    ) -> Result<GpuRouting, MoeError> {
        gate::check(logits.shape(), bias.map(Tensor::shape), gate)?;
        gate::gpu::route(self, logits, bias, gate)
    }

    fn host_routing(&self, routing: &GpuRouting) -> Result<Routing, MoeError> {
        routing.to_host(self)
    }

    fn expert_stack<E: From<MoeError>>(
        &self,
        experts: usize,
        get: impl FnMut(usize) -> Result<MlpWeights, E>,
    ) -> Result<GpuExperts, E> {
        let weights = (0..experts).map(get).collect::<Result<Vec<_>, E>>()?;
        Ok(GpuExperts::new(self, &weights)?)
    }

    fn dispatch(&self, x: &GpuTensor, routing: &GpuRouting) -> Result<GpuTensor, MoeError> {
        dispatch::gpu::dispatch(self, x, routing)
    }

    fn run_experts(
        &self,
        experts: &GpuExperts,
        rows: &GpuTensor,
        routing: &GpuRouting,
    ) -> Result<GpuTensor, MoeError> {
        want_rows("run_experts: rows", rows.shape(), routing.choices())?;
        experts.run(self, rows, routing, false)
    }

    fn combine(&self, rows: &GpuTensor, routing: &GpuRouting) -> Result<GpuTensor, MoeError> {
        dispatch::gpu::combine(self, rows, routing)
    }

    fn routed(
        &self,
        experts: &GpuExperts,
        x: &GpuTensor,
        routing: &GpuRouting,
    ) -> Result<GpuTensor, MoeError> {
        want_rows("routed: x", x.shape(), routing.tokens())?;
        self.combine(&experts.run(self, x, routing, true)?, routing)
    }
}
