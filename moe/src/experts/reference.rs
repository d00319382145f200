//! The definition of [`Experts`]: one expert after the other, each on its own rows.

use latent_kernels::{Backend, Reference, Scalar};
use ndarray::ArrayD;

use crate::dispatch::{self, check_rows};
use crate::{Dispatch, Experts, GateConfig, Mlp, MlpWeights, MoeError, Routing, gate};

impl<T: Scalar> Experts for Reference<T> {
    type Routing = Routing;
    type ExpertStack = Vec<Mlp<Self>>;

    fn route(
        &self,
        logits: &ArrayD<T>,
        bias: Option<&ArrayD<T>>,
        gate: &GateConfig,
    ) -> Result<Routing, MoeError> {
        gate::check(logits.shape(), bias.map(ArrayD::shape), gate)?;
        let bias = bias.map(|b| self.download(b)).transpose()?;
        gate::reference::route(&self.download(logits)?, bias.as_deref(), gate)
    }

    fn host_routing(&self, routing: &Routing) -> Result<Routing, MoeError> {
        Ok(routing.clone())
    }

    fn expert_stack<E: From<MoeError>>(
        &self,
        experts: usize,
        mut get: impl FnMut(usize) -> Result<MlpWeights, E>,
    ) -> Result<Vec<Mlp<Self>>, E> {
        (0..experts).map(|e| Ok(Mlp::upload(self, get(e)?)?)).collect()
    }

    fn dispatch(&self, x: &ArrayD<T>, routing: &Routing) -> Result<ArrayD<T>, MoeError> {
        dispatch::reference::dispatch(x, routing)
    }

    fn run_experts(
        &self,
        experts: &Vec<Mlp<Self>>,
        rows: &ArrayD<T>,
        routing: &Routing,
    ) -> Result<ArrayD<T>, MoeError> {
        check_rows(rows.shape(), routing)?;
        check_experts(experts, routing)?;
        let dispatch = Dispatch::new(routing);
        let mut y = Vec::with_capacity(rows.len());
        for (e, expert) in experts.iter().enumerate() {
            let range: Vec<usize> = dispatch.rows_of_expert(e).collect();
            if !range.is_empty() {
                let x = self.select_rows(rows, &range)?;
                y.extend(self.download(&expert.forward(self, &x)?)?);
            }
        }
        Ok(self.upload(&y, rows.shape())?)
    }

    fn combine(&self, rows: &ArrayD<T>, routing: &Routing) -> Result<ArrayD<T>, MoeError> {
        dispatch::reference::combine(rows, routing)
    }
}

/// Proves that a routing chooses among these experts.
pub(crate) fn check_experts<E>(experts: &[E], routing: &Routing) -> Result<(), MoeError> {
    if experts.len() == routing.n_routed_experts() {
        return Ok(());
    }
    let wanted = format!("{}, as the stack holds", experts.len());
    Err(MoeError::routing("n_routed_experts", routing.n_routed_experts(), wanted))
}
