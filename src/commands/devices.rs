//! `latent devices`: the GPUs of this machine.

use clap::Args;
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use latent_model::ModelError;
use latent_model::kernels::gpu::{DeviceChoice, Gpu, devices};

use super::units::bytes;
use super::{CommandError, output};

/// List the devices that --backend gpu can run on, by their numbers.
///
/// GPUs come first; a software device, which is a processor that behaves like one, comes last. It
/// gives the same numbers, slowly.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent devices
  latent generate --model DIR --backend gpu --device 1 --prompt \"Hello\"
  latent generate --model DIR --backend gpu --device software --prompt \"Hello\"")]
pub(crate) struct DevicesArgs {}

impl DevicesArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY);
        table.set_header(["device", "name", "kind", "through", "largest buffer", "shared memory"]);
        for (number, info) in devices().iter().enumerate() {
            let gpu = Gpu::open(DeviceChoice::Number(number)).map_err(ModelError::from)?;
            let limits = gpu.limits();
            table.add_row([
                number.to_string(),
                gpu.device_name().into(),
                info.kind.to_string(),
                info.api.into(),
                bytes(limits.buffer_bytes as u64),
                bytes(limits.shared_bytes as u64),
            ]);
        }
        if devices().is_empty() {
            return Err(CommandError::Failed(
                "no device: a GPU needs its driver for Vulkan, Metal or DirectX 12; Debian's \
                 mesa-vulkan-drivers brings a software device"
                    .into(),
            ));
        }
        output::print(&format!("{table}\n"))
    }
}
