//! [`Experts`] on this processor: weights are streamed from where they lie, those of chosen experts
//! alone, and all threads share the work of all experts.

use latent_kernels::cpu::Cpu;
use latent_kernels::{Matrix, Weight};
use ndarray::ArrayD;

use crate::dispatch::cpu::{array, elements};
use crate::dispatch::{self, check_rows, want_rows};
use crate::experts::check_experts;
use crate::{Dispatch, Experts, GateConfig, Mlp, MlpWeights, MoeError, Routing, SavedRouted, gate};

mod product;

use product::Job;

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
    experts: Vec<Mlp<Cpu>>,
    hidden: usize,
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
            experts.push(Mlp::upload(cpu, w)?);
        }
        let Some([_, hidden]) = shape else {
            return Err(MoeError::shape("experts", &[0], "want at least one").into());
        };
        Ok(Self { experts, hidden })
    }

    /// The bytes that the weights take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of_expert = |w: &Mlp<Cpu>| {
            [&w.gate_proj, &w.up_proj, &w.down_proj].map(Matrix::bytes).iter().sum::<usize>()
        };
        self.experts.iter().map(of_expert).sum()
    }

    /// Each expert.
    pub(crate) fn blocks(&self) -> &[Mlp<Cpu>] {
        &self.experts
    }

    /// The width of what goes into an expert.
    pub(crate) fn hidden(&self) -> usize {
        self.hidden
    }

    /// The width inside of an expert.
    pub(crate) fn inner(&self) -> usize {
        self.experts[0].gate_proj.rows()
    }

    /// The routed part of a layer, and what each row's gate was and what it multiplied.
    pub(crate) fn routed_saving(
        &self,
        cpu: &Cpu,
        x: &ArrayD<f32>,
        routing: &Routing,
    ) -> Result<(ArrayD<f32>, SavedRouted<Cpu>), MoeError> {
        want_rows("routed: x", x.shape(), routing.tokens())?;
        let dispatch = Dispatch::new(routing);
        let jobs = self.jobs(x, |row| dispatch.tokens()[row], routing, &dispatch)?;
        let rows = routing.experts().len();
        let shape = [rows, self.inner()];
        let (y, [gate, up]) = product::run_saving(cpu, &jobs)?;
        let y = dispatch::cpu::combine(cpu, &y, &dispatch, &[], self.hidden);
        let saved = SavedRouted { gate: array(gate, shape), up: array(up, shape) };
        Ok((array(y, [routing.tokens(), self.hidden]), saved))
    }

    /// What the experts have to do, each with its rows: row `row` of the choices is row `from(row)` of `x`.
    fn jobs<'a>(
        &'a self,
        x: &'a ArrayD<f32>,
        from: impl Fn(usize) -> usize,
        routing: &Routing,
        dispatch: &Dispatch,
    ) -> Result<Vec<Job<'a>>, MoeError> {
        check_experts(&self.experts, routing)?;
        if x.shape()[1] != self.hidden {
            let wanted = format!("want [.., {}]", self.hidden);
            return Err(MoeError::shape("experts: x", x.shape(), wanted));
        }
        let x: Vec<&[f32]> = elements(x).chunks_exact(self.hidden).collect();
        let jobs = self.experts.iter().enumerate().map(|(e, mlp)| {
            let rows = dispatch.rows_of_expert(e);
            Job { mlp, rows: rows.map(|row| x[from(row)]).collect() }
        });
        Ok(jobs.filter(|job| !job.rows.is_empty()).collect())
    }

    /// Each token's weighted sum of its experts' results, and that of `shared` added to it.
    fn summed(
        &self,
        cpu: &Cpu,
        shared: Option<&Mlp<Cpu>>,
        x: &ArrayD<f32>,
        routing: &Routing,
    ) -> Result<ArrayD<f32>, MoeError> {
        want_rows("routed: x", x.shape(), routing.tokens())?;
        let dispatch = Dispatch::new(routing);
        let mut jobs = self.jobs(x, |row| dispatch.tokens()[row], routing, &dispatch)?;
        if let Some(mlp) = shared.filter(|_| routing.tokens() > 0) {
            jobs.push(Job { mlp, rows: elements(x).chunks_exact(self.hidden).collect() });
        }
        let rows = product::run(cpu, &jobs);
        let (routed, shared) = rows.split_at(routing.experts().len() * self.hidden);
        let y = dispatch::cpu::combine(cpu, routed, &dispatch, shared, self.hidden);
        Ok(array(y, [routing.tokens(), self.hidden]))
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
        let jobs = experts.jobs(rows, |row| row, routing, &Dispatch::new(routing))?;
        let y = product::run(self, &jobs);
        Ok(array(y, [choices, experts.hidden]))
    }

    fn combine(&self, rows: &ArrayD<f32>, routing: &Routing) -> Result<ArrayD<f32>, MoeError> {
        check_rows(rows.shape(), routing)?;
        let shape = [routing.tokens(), rows.shape()[1]];
        let dispatch = Dispatch::new(routing);
        let y = dispatch::cpu::combine(self, elements(rows), &dispatch, &[], shape[1]);
        Ok(array(y, shape))
    }

    fn routed(
        &self,
        experts: &CpuExperts,
        x: &ArrayD<f32>,
        routing: &Routing,
    ) -> Result<ArrayD<f32>, MoeError> {
        experts.summed(self, None, x, routing)
    }

    fn routed_and_shared(
        &self,
        experts: &CpuExperts,
        shared: &Mlp<Self>,
        x: &ArrayD<f32>,
        routing: &Routing,
    ) -> Result<ArrayD<f32>, MoeError> {
        experts.summed(self, Some(shared), x, routing)
    }
}
