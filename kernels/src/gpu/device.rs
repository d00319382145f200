//! Which device runs the kernels: the list, a choice, and errors where there is none.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use cubecl::Device;
use cubecl::device::WgpuDeviceKind;

use crate::KernelError;

/// Opens a device of a kind through one graphics API.
type Open = fn(WgpuDeviceKind) -> Option<Device>;

/// The graphics APIs that are asked, best first. OpenGL is not among them: where nothing better is
/// there it would be used silently, and compute shaders on it are slow and often wrong.
const APIS: [(&str, Open); 4] = [
    ("Vulkan", |kind| Device::vulkan(kind).ok()),
    ("Metal", |kind| Device::metal_msl(kind).ok()),
    ("DirectX 12", |kind| Device::dx12(kind).ok()),
    ("WebGPU", |kind| Device::webgpu(kind).ok()),
];

/// Which device to open.
///
/// ```
/// use latent_kernels::gpu::DeviceChoice;
/// assert_eq!("1".parse(), Ok(DeviceChoice::Number(1)));
/// assert_eq!("software".parse(), Ok(DeviceChoice::Software));
/// assert!("fastest".parse::<DeviceChoice>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first of [`devices`]: a GPU where there is one.
    #[default]
    First,
    /// A device by its place in [`devices`].
    Number(usize),
    /// A processor that behaves like a GPU: right, and slow.
    Software,
}

impl FromStr for DeviceChoice {
    type Err = KernelError;

    fn from_str(text: &str) -> Result<Self, KernelError> {
        match (text, text.parse()) {
            ("software", _) => Ok(Self::Software),
            (_, Ok(number)) => Ok(Self::Number(number)),
            _ => Err(KernelError::Setting {
                name: "device".into(),
                found: text.into(),
                wanted: "a number of the list of devices, or `software`".into(),
            }),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("any device"),
            Self::Number(number) => write!(f, "device {number}"),
            Self::Software => f.write_str("a software device"),
        }
    }
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// A card of its own.
    Discrete,
    /// A part of the processor that shares its memory.
    Integrated,
    /// A GPU handed into a virtual machine.
    Virtual,
    /// A processor that behaves like a GPU.
    Software,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual",
            Self::Software => "software",
        })
    }
}

/// A device of this machine that can be opened.
#[derive(Debug, Clone)]
pub struct DeviceInfo {
    /// What it is.
    pub kind: DeviceKind,
    /// How it is reached, as in `Vulkan` or `CUDA`.
    pub api: &'static str,
    pub(super) device: Device,
}

/// Every device that this build reaches on this machine: GPUs first, software last.
///
/// The machine is asked once. Asking starts no work on any of them. An empty list means that there is neither a GPU with a
/// driver nor a software one (on Debian the package `mesa-vulkan-drivers` has one).
#[must_use]
pub fn devices() -> &'static [DeviceInfo] {
    static DEVICES: OnceLock<Vec<DeviceInfo>> = OnceLock::new();
    DEVICES.get_or_init(enumerate)
}

fn enumerate() -> Vec<DeviceInfo> {
    let mut found = vendor_devices();
    type Kind = fn(usize) -> WgpuDeviceKind;
    let kinds: [(DeviceKind, Kind); 4] = [
        (DeviceKind::Discrete, WgpuDeviceKind::DiscreteGpu),
        (DeviceKind::Integrated, WgpuDeviceKind::IntegratedGpu),
        (DeviceKind::Virtual, WgpuDeviceKind::VirtualGpu),
        (DeviceKind::Software, |_| WgpuDeviceKind::Cpu),
    ];
    for (kind, of) in kinds {
        for (api, open) in APIS {
            let count = if kind == DeviceKind::Software { 1 } else { usize::MAX };
            let devices = (0..count).map_while(|i| open(of(i)));
            found.extend(devices.map(|device| DeviceInfo { kind, api, device }));
        }
    }
    found
}

/// The devices of the runtimes of single vendors, where they were built in.
fn vendor_devices() -> Vec<DeviceInfo> {
    let runtime = |api: &'static str, open: fn(usize) -> Option<Device>| {
        (0..).map_while(open).map(move |device| DeviceInfo {
            kind: DeviceKind::Discrete,
            api,
            device,
        })
    };
    let cuda = runtime("CUDA", |i| Device::cuda(i).ok());
    cuda.chain(runtime("HIP", |i| Device::rocm(i).ok())).collect()
}

/// The device that `choice` names.
pub(super) fn choose(choice: DeviceChoice) -> Result<DeviceInfo, KernelError> {
    let mut all = devices().iter();
    let chosen = match choice {
        DeviceChoice::First => all.next(),
        DeviceChoice::Number(number) => all.nth(number),
        DeviceChoice::Software => all.find(|d| d.kind == DeviceKind::Software),
    };
    chosen.cloned().ok_or_else(|| {
        let (wanted, found) = (choice.to_string(), devices().len());
        KernelError::NoDevice { wanted, found }
    })
}
