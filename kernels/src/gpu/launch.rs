//! How work is laid over cubes, within what a device allows.

use cubecl::prelude::*;

use crate::KernelError;

/// The cubes of one launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cubes {
    /// How many there are.
    pub cubes: usize,
    /// The units of each.
    pub units: usize,
    /// The bytes of shared memory of each.
    pub shared_bytes: usize,
}

impl Cubes {
    /// Cubes of `units` units without shared memory, one unit at least for each of `work` parts.
    #[must_use]
    pub fn covering(work: usize, units: usize) -> Self {
        Self { cubes: work.div_ceil(units), units, shared_bytes: 0 }
    }
}

/// What a device allows of one launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The units of a cube.
    pub units: u32,
    /// The cubes along each axis of a grid.
    pub cubes: [u32; 3],
    /// The bytes of shared memory of a cube.
    pub shared_bytes: usize,
    /// The bytes of one buffer.
    pub buffer_bytes: usize,
    /// The buffers of one kernel.
    pub bindings: u32,
}

/// The most buffers that a kernel of this workspace binds: its arrays, and one that cubecl fills with
/// their lengths and the kernel's numbers. What WebGPU promises at least.
const BINDINGS: u32 = 8;

impl Limits {
    pub(super) fn of(client: &Client) -> Self {
        let properties = client.properties();
        let hardware = &properties.hardware;
        let (x, y, z) = hardware.max_cube_count;
        Self {
            units: hardware.max_units_per_cube.min(hardware.max_cube_dim.0),
            cubes: [x, y, z],
            shared_bytes: hardware.max_shared_memory_size,
            buffer_bytes: usize::try_from(properties.memory.max_page_size).unwrap_or(usize::MAX),
            bindings: hardware.max_bindings,
        }
    }

    /// Proves that the device binds as many buffers as the largest kernel has.
    ///
    /// # Errors
    /// [`KernelError::DeviceLimit`] when it does not.
    pub fn prove_bindings(&self) -> Result<(), KernelError> {
        if self.bindings >= BINDINGS {
            return Ok(());
        }
        Err(KernelError::limit("buffers of a kernel", BINDINGS as usize, self.bindings as usize))
    }

    /// A grid of at least `cubes` cubes: along one axis where they fit, else over two or three.
    ///
    /// A kernel must do nothing where `CUBE_POS` is not below `cubes`.
    ///
    /// ```
    /// use latent_kernels::gpu::Limits;
    /// let limits = Limits {
    ///     units: 1024, cubes: [65535; 3], shared_bytes: 32768, buffer_bytes: 1 << 27, bindings: 8 };
    /// assert_eq!(limits.grid("k", 70_000)?, [35_000, 2, 1]);
    /// # Ok::<(), latent_kernels::KernelError>(())
    /// ```
    ///
    /// # Errors
    /// [`KernelError::DeviceLimit`] when there are more than the whole grid has.
    pub fn grid(&self, kernel: &str, cubes: usize) -> Result<[u32; 3], KernelError> {
        let [x, y, z] = self.cubes.map(|n| n as usize);
        let rows = cubes.div_ceil(x.max(1));
        let layers = rows.div_ceil(y.max(1));
        if layers > z {
            let limit = x.saturating_mul(y).saturating_mul(z);
            return Err(KernelError::limit(format!("{kernel}: cubes"), cubes, limit));
        }
        let depth = layers.max(1);
        let height = rows.div_ceil(depth).max(1);
        let width = cubes.div_ceil(height * depth);
        let axis = |n: usize| {
            u32::try_from(n).map_err(|_| KernelError::limit(format!("{kernel}: cubes"), n, x))
        };
        Ok([axis(width)?, axis(height)?, axis(depth)?])
    }

    /// Proves that a cube of `units` units with `shared_bytes` of shared memory fits, and gives its
    /// units as launches count them.
    ///
    /// # Errors
    /// [`KernelError::DeviceLimit`] when it does not.
    pub fn prove_cube(
        &self,
        kernel: &str,
        units: usize,
        shared_bytes: usize,
    ) -> Result<u32, KernelError> {
        if shared_bytes > self.shared_bytes {
            let name = format!("{kernel}: bytes of shared memory");
            return Err(KernelError::limit(name, shared_bytes, self.shared_bytes));
        }
        match u32::try_from(units) {
            Ok(units) if units <= self.units => Ok(units),
            _ => {
                let name = format!("{kernel}: units of a cube");
                Err(KernelError::limit(name, units, self.units as usize))
            }
        }
    }
}
