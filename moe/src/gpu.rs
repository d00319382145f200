//! Gate, dispatch and routed experts on a [`Gpu`](latent_kernels::gpu::Gpu), without a read-back.
//!
//! | you want | look at |
//! | --- | --- |
//! | the choice of a gate on the device, and its order by expert | [`GpuRouting`] |
//! | the weights of a layer's experts | [`GpuExperts`] |
//! | how the gate is laid over a cube | [`GatePlan`] |
//! | how the rows of all experts are cut into tiles | [`ExpertPlan`] |
//!
//! A layer's routed part is six launches, whatever the routing: `gate`, `sort_choices`,
//! `expert_tiles`, `experts_up`, `experts_down`, `combine`; the two products are launched once more
//! for each further buffer that a stack of experts lies in.

pub use crate::experts::gpu::GpuExperts;
pub use crate::experts::gpu::tiles::ExpertPlan;
pub use crate::gate::gpu::GatePlan;
pub use crate::routing::gpu::GpuRouting;
