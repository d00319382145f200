//! The backend for GPUs: one kernel source for every graphics API and vendor that cubecl reaches.
//!
//! | you want | look at |
//! | --- | --- |
//! | which devices there are, and to open one | [`devices`], [`DeviceChoice`], [`Gpu::open`] |
//! | arrays and weights on it | [`GpuTensor`], [`GpuMatrix`] |
//! | what launches cost | [`Backend::take_ledger`], [`Cost`] |
//! | to launch a kernel of your own | [`Gpu::launch`], [`Limits`] |
//! | weights as packed words | [`unpack`] |
//!
//! Activations are `f32`. Weights stay in their stored dtype. Storage is 32 bits wide everywhere,
//! so that a device needs no feature beyond plain compute shaders.
//!
//! ```
//! use latent_kernels::gpu::{DeviceChoice, Gpu};
//! use latent_kernels::Backend;
//! let gpu = Gpu::open(DeviceChoice::First)?;
//! let x = gpu.upload(&[0.0, 1.0], &[2])?;
//! assert_eq!(gpu.download(&gpu.add(&x, &x)?)?, [0.0, 2.0]);
//! # Ok::<(), latent_kernels::KernelError>(())
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cubecl::prelude::*;

use crate::{Backend, Cost, KernelError, Ledger, Tensor};

mod backend;
mod device;
mod launch;
mod matrix;
mod memo;
mod reduce;
mod tensor;
mod tune;
pub mod unpack;

pub use device::{DeviceChoice, DeviceInfo, DeviceKind, devices};
pub use launch::{Cubes, Limits};
pub use matrix::{GpuMatrix, Layout, Shard, scaled};
pub use reduce::{cube_max, cube_sum};
pub use tensor::{Buffer, GpuTensor};
pub use unpack::{PACKET, Quad};

use memo::Memo;
use tune::Tuned;

/// A device, open for work.
///
/// Clones share it. Work is queued: an operation returns before the device has done it, and
/// [`Backend::download`] waits. A failure of the device shows at the next download at the latest.
#[derive(Clone)]
pub struct Gpu {
    open: Arc<Open>,
}

struct Open {
    client: Client,
    info: DeviceInfo,
    limits: Limits,
    poison: bool,
    ledger: Mutex<Ledger>,
    unread: Mutex<Vec<&'static str>>,
    memo: Mutex<Memo>,
    tuned: Mutex<Tuned>,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({})", self.device_name())
    }
}

impl Gpu {
    /// Opens a device.
    ///
    /// # Errors
    /// [`KernelError::NoDevice`] when there is none such (OpenGL is never taken in its place),
    /// [`KernelError::DeviceLimit`] when its kernels may have too few buffers.
    pub fn open(choice: DeviceChoice) -> Result<Self, KernelError> {
        Self::start(choice, false, usize::MAX)
    }

    /// Opens a device whose new arrays are full of NaN, so that a result that no kernel wrote shows:
    /// for tests.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn poisoned(choice: DeviceChoice) -> Result<Self, KernelError> {
        Self::start(choice, true, usize::MAX)
    }

    /// Opens a device as [`poisoned`](Self::poisoned) does that refuses buffers of more than
    /// `buffer_bytes`, as smaller devices would: for tests of weights that lie in several.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn poisoned_within(choice: DeviceChoice, buffer_bytes: usize) -> Result<Self, KernelError> {
        Self::start(choice, true, buffer_bytes)
    }

    fn start(choice: DeviceChoice, poison: bool, buffer_bytes: usize) -> Result<Self, KernelError> {
        let info = device::choose(choice)?;
        let client = info.device.client();
        let mut limits = Limits::of(&client);
        limits.prove_bindings()?;
        limits.buffer_bytes = limits.buffer_bytes.min(buffer_bytes);
        let open = Open {
            client,
            info,
            limits,
            poison,
            ledger: Mutex::default(),
            unread: Mutex::default(),
            memo: Mutex::default(),
            tuned: Mutex::default(),
        };
        Ok(Self { open: Arc::new(open) })
    }

    /// What the device is and how it is reached.
    #[must_use]
    pub fn info(&self) -> &DeviceInfo {
        &self.open.info
    }

    /// The device's own name.
    #[must_use]
    pub fn device_name(&self) -> &str {
        &self.open.client.properties().identity.name
    }

    /// The device's queue and memory, for kernels that are not launched through this type.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.open.client
    }

    /// Waits until the device has done everything that was queued.
    ///
    /// # Errors
    /// [`KernelError::DeviceFailed`] when the device is lost. A kernel that failed shows when its
    /// result is read.
    pub fn wait(&self) -> Result<(), KernelError> {
        cubecl::future::block_on(self.open.client.sync()).map_err(|error| {
            KernelError::DeviceFailed { name: "wait".into(), reason: error.to_string() }
        })
    }

    /// What the device allows of one launch.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.open.limits
    }

    /// Queues a kernel that `run` launches, after its grid and its cubes were proved to fit.
    ///
    /// `run` is given the client, the grid and the cube; it must do nothing else than launch the one
    /// kernel called `kernel`. No cubes: nothing is launched.
    ///
    /// # Errors
    /// [`KernelError::DeviceLimit`] when the device does not allow it.
    pub fn launch(
        &self,
        kernel: &'static str,
        cubes: Cubes,
        cost: Cost,
        run: impl FnOnce(&Client, CubeCount, CubeDim),
    ) -> Result<(), KernelError> {
        let Cubes { cubes, units, shared_bytes } = cubes;
        if cubes == 0 {
            return Ok(());
        }
        let units = self.limits().prove_cube(kernel, units, shared_bytes)?;
        let [x, y, z] = self.limits().grid(kernel, cubes)?;
        held(&self.open.ledger).record(kernel, cost);
        held(&self.open.unread).push(kernel);
        run(&self.open.client, CubeCount::Static(x, y, z), CubeDim::new_1d(units));
        Ok(())
    }

    /// An array whose elements some kernel will write.
    ///
    /// # Errors
    /// [`KernelError::Shape`] when the size overflows, [`KernelError::DeviceLimit`] when it is larger
    /// than a buffer of the device may be.
    pub fn empty(&self, shape: &[usize]) -> Result<GpuTensor, KernelError> {
        let elements = shape.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis));
        let bytes = elements.and_then(|n| n.checked_mul(4));
        let bytes =
            bytes.ok_or_else(|| KernelError::shape("tensor", shape, "want a size that fits"))?;
        GpuTensor::new(self.buffer(bytes)?, shape)
    }

    /// An array full of `value`.
    ///
    /// # Errors
    /// Those of [`empty`](Self::empty).
    pub fn filled(&self, value: f32, shape: &[usize]) -> Result<GpuTensor, KernelError> {
        let elements = self.empty(shape)?.elements();
        self.upload(&vec![value; elements], shape)
    }

    /// Memory for `bytes` bytes.
    ///
    /// # Errors
    /// [`KernelError::DeviceLimit`] when the device has no buffers so large.
    pub fn buffer(&self, bytes: usize) -> Result<Buffer, KernelError> {
        let padded = self.prove_buffer(bytes)?;
        if self.open.poison {
            let nan = f32::NAN.to_le_bytes();
            return Ok(self.filled_buffer(nan.repeat(padded / 4), bytes));
        }
        Ok(Buffer::new(self.open.client.empty(padded), bytes))
    }

    /// Copies bytes to the device.
    ///
    /// # Errors
    /// [`KernelError::DeviceLimit`] when the device has no buffers so large.
    pub fn upload_bytes(&self, mut bytes: Vec<u8>) -> Result<Buffer, KernelError> {
        let length = bytes.len();
        bytes.resize(self.prove_buffer(length)?, 0);
        Ok(self.filled_buffer(bytes, length))
    }

    /// Copies numbers to the device: what kernels index by. A list that was copied a short while
    /// ago is not copied again.
    ///
    /// # Errors
    /// [`KernelError::DeviceLimit`] when the device has no buffers so large.
    pub fn upload_words(&self, words: &[u32]) -> Result<Buffer, KernelError> {
        self.upload_known("words", words.to_vec(), || {
            words.iter().flat_map(|w| w.to_le_bytes()).collect()
        })
    }

    /// Copies to the device what `make` makes of a list `key`, unless the same of its `kind` was
    /// copied a short while ago: layers of a step ask for the same tables one after another.
    ///
    /// # Errors
    /// [`KernelError::DeviceLimit`] when the device has no buffers so large.
    pub fn upload_known(
        &self,
        kind: &'static str,
        key: Vec<u32>,
        make: impl FnOnce() -> Vec<u8>,
    ) -> Result<Buffer, KernelError> {
        let known = held(&self.open.memo).get(kind, &key);
        if let Some(known) = known {
            return Ok(known);
        }
        let buffer = self.upload_bytes(make())?;
        held(&self.open.memo).put(kind, key, buffer.clone());
        Ok(buffer)
    }

    /// Waits for the device and copies a buffer back.
    ///
    /// # Errors
    /// [`KernelError::DeviceFailed`] when a kernel that it depends on failed.
    pub fn read_bytes(&self, buffer: &Buffer) -> Result<Vec<u8>, KernelError> {
        held(&self.open.ledger).synchronisations += 1;
        let unread = std::mem::take(&mut *held(&self.open.unread));
        match self.open.client.read_one(buffer.handle()) {
            Ok(bytes) => Ok(bytes[..buffer.bytes()].to_vec()),
            Err(error) => {
                let mut kernels = unread;
                kernels.dedup();
                let name = if kernels.is_empty() { "transfer".into() } else { kernels.join(", ") };
                Err(KernelError::DeviceFailed { name, reason: error.to_string() })
            }
        }
    }

    /// Waits for the device and copies whole numbers back.
    ///
    /// # Errors
    /// [`KernelError::DeviceFailed`] when a kernel that they depend on failed.
    pub fn read_words(&self, buffer: &Buffer) -> Result<Vec<u32>, KernelError> {
        let bytes = self.read_bytes(buffer)?;
        let (words, _) = bytes.as_chunks::<4>();
        Ok(words.iter().map(|&w| u32::from_le_bytes(w)).collect())
    }

    fn prove_buffer(&self, bytes: usize) -> Result<usize, KernelError> {
        let (padded, limit) = (Buffer::padded(bytes), self.limits().buffer_bytes);
        if padded <= limit {
            return Ok(padded);
        }
        Err(KernelError::limit("bytes of a buffer", bytes, limit))
    }

    fn filled_buffer(&self, padded: Vec<u8>, bytes: usize) -> Buffer {
        let data = cubecl::bytes::Bytes::from_bytes_vec(padded);
        Buffer::new(self.open.client.create(data), bytes)
    }
}

/// What a lock holds, whatever happened to others that held it: counts and lists stay usable.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Proves that `x` has an axis, and gives its rows and their width.
pub(crate) fn rows_of(x: &GpuTensor) -> (usize, usize) {
    let width = x.shape().last().copied().unwrap_or(1);
    (x.elements().checked_div(width).unwrap_or(0), width)
}
