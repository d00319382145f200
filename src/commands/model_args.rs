//! The flags of every subcommand that runs a model.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use latent_model::kernels::Reference;
use latent_model::kernels::cpu::{Cpu, Isa};
#[cfg(feature = "gpu")]
use latent_model::kernels::gpu::{DeviceChoice, DeviceKind, Gpu, devices};
use latent_model::mla::{Attend, AttendBackward, CacheFormat};
use latent_model::moe::{Experts, ExpertsBackward};
use latent_model::{Form, LoadOptions, Model, ModelError};

use tempfile::TempDir;

use super::{CommandError, output, progress};
use crate::bundled;

/// Which model, and how it is run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Folder with config.json, *.safetensors and, for text, tokenizer.json [default: the small model that adds
    /// numbers up and travels with this program]
    #[arg(long, short, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Where the model that travels with the program was written, if it was asked for.
    #[arg(skip)]
    bundled: OnceCell<TempDir>,
    /// What runs the model
    #[arg(long, value_enum, default_value_t = BackendKind::Auto)]
    pub(crate) backend: BackendKind,
    /// Which GPU: its number in `latent devices`, or `software` [default: the first]
    #[arg(long, value_name = "N", value_parser = device)]
    device: Option<Device>,
    /// Threads of the processor [default: one for each core]
    #[arg(long, short = 'T', value_name = "N", value_parser = at_least_one)]
    threads: Option<usize>,
    /// Instructions of the processor: amx, avx512bf16, avx512vnni, avx512, avx2, neon or portable [default: the
    /// fastest it has]
    #[arg(long, value_name = "SET", value_parser = isa)]
    isa: Option<Isa>,
    /// What products are computed in; weights stay as they are stored, but for int8
    #[arg(long, value_enum, default_value_t = ComputeDtype::F32)]
    pub(crate) dtype: ComputeDtype,
    /// How latent attention is computed: same function, other order of products
    #[arg(long, value_enum, default_value_t = FormKind::Auto)]
    pub(crate) form: FormKind,
    /// Prompt tokens per forward pass [default: all]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) chunk: Option<usize>,
    /// Read files instead of mapping them
    #[arg(long)]
    no_mmap: bool,
    /// Accept tensors that the config does not ask for
    #[arg(long)]
    allow_extra: bool,
    /// Look for NaN and infinities in every weight first
    #[arg(long)]
    check_weights: bool,
}

/// How keys and values are kept, as flags of subcommands that decode.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct CacheArgs {
    /// How keys and values are cached: fewer bytes, rounded once when they are stored
    #[arg(long, value_enum, default_value_t = CacheDtype::Auto)]
    kv_cache_dtype: CacheDtype,
}

/// How keys and values are cached.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum CacheDtype {
    /// As they are computed
    Auto,
    /// Half of f32
    Bf16,
    /// Latents in e4m3 with a scale per 128, rotated keys in bf16: latent attention alone
    Fp8,
}

impl CacheArgs {
    pub(crate) fn format(&self) -> CacheFormat {
        match self.kv_cache_dtype {
            CacheDtype::Auto => CacheFormat::Scalar,
            CacheDtype::Bf16 => CacheFormat::Bf16,
            CacheDtype::Fp8 => CacheFormat::Fp8,
        }
    }
}

/// What runs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendKind {
    /// A GPU where there is one, else the processor; the reference for f64
    Auto,
    /// This machine's processor, near its limit, in f32
    Cpu,
    /// Plain, slow, complete: the definition
    Reference,
    /// Kernels for any GPU, in f32
    Gpu,
}

/// What products are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ComputeDtype {
    F32,
    F64,
    /// Activations are rounded to bf16 when they meet weights stored in bf16: on the processor
    Bf16,
    /// Weights are rounded to 8 bits on loading, and activations when they meet them: on the processor
    Int8,
}

/// How latent attention is computed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FormKind {
    /// Keys and values of every head are made from the latents first
    Expanded,
    /// The query meets the latents themselves
    Absorbed,
    /// The cheaper one for each sequence
    Auto,
}

/// Something to do with a model on a backend that knows gradients.
pub(crate) trait BackwardTask {
    /// Does it.
    fn run<B: AttendBackward + ExpertsBackward>(self, model: &Model<B>)
    -> Result<(), CommandError>;
}

/// Something to do with a model, whatever runs it.
pub(crate) trait Task {
    /// Does it.
    fn run<B: Attend + Experts>(self, model: &Model<B>) -> Result<(), CommandError>;
}

impl ModelArgs {
    /// The folder of the model; that of the one that travels with the program lasts as long as this.
    pub(crate) fn dir(&self) -> Result<&Path, CommandError> {
        if let Some(model) = &self.model {
            return Ok(model);
        }
        if let Some(folder) = self.bundled.get() {
            return Ok(folder.path());
        }
        let folder =
            tempfile::tempdir().map_err(|error| CommandError::io(&std::env::temp_dir(), error))?;
        bundled::ZERO.write(folder.path())?;
        Ok(self.bundled.get_or_init(|| folder).path())
    }

    /// Loads the model on its backend, prints its warnings, and does `task` with it.
    pub(crate) fn run(&self, task: impl Task) -> Result<(), CommandError> {
        self.prove_backend()?;
        #[cfg(feature = "gpu")]
        if let Some(gpu) = self.gpu()? {
            return self.run_on(gpu, task);
        }
        match (self.dtype, self.backend) {
            (ComputeDtype::Bf16, _) => self.run_on(self.cpu()?.bf16(), task),
            (ComputeDtype::Int8, _) => self.run_on(self.cpu()?.int8(), task),
            (ComputeDtype::F64, _) => self.run_on(Reference::<f64>::new(), task),
            (ComputeDtype::F32, BackendKind::Reference) => {
                self.run_on(Reference::<f32>::new(), task)
            }
            (ComputeDtype::F32, _) => self.run_on(self.cpu()?, task),
        }
    }

    /// [`run`](Self::run) on a backend that knows gradients.
    pub(crate) fn run_backward(&self, task: impl BackwardTask) -> Result<(), CommandError> {
        self.prove_backend()?;
        match (self.dtype, self.backend) {
            (ComputeDtype::F64, _) => task.run(&self.load(Reference::<f64>::new())?),
            (ComputeDtype::F32, BackendKind::Reference) => {
                task.run(&self.load(Reference::<f32>::new())?)
            }
            (ComputeDtype::F32, BackendKind::Auto | BackendKind::Cpu) => {
                task.run(&self.load(self.cpu()?)?)
            }
            (ComputeDtype::Bf16, _) => task.run(&self.load(self.cpu()?.bf16())?),
            (ComputeDtype::F32, BackendKind::Gpu) => {
                Err(CommandError::Usage("gradients want --backend cpu or reference".into()))
            }
            (ComputeDtype::Int8, _) => {
                Err(CommandError::Usage("gradients want --dtype f32, bf16 or f64".into()))
            }
        }
    }

    /// The processor, with the instructions and threads that were asked for.
    fn cpu(&self) -> Result<Cpu, CommandError> {
        let isa = self.isa.unwrap_or_else(Isa::best);
        let cpu = Cpu::with(isa, self.threads.unwrap_or_else(Cpu::cores));
        cpu.map_err(|error| ModelError::from(error).into())
    }

    fn run_on<B: Attend + Experts>(&self, backend: B, task: impl Task) -> Result<(), CommandError> {
        task.run(&self.load(backend)?)
    }

    /// Loads the model and prints its warnings.
    fn load<B: Attend + Experts>(&self, backend: B) -> Result<Model<B>, CommandError> {
        let options = LoadOptions {
            mmap: !self.no_mmap,
            allow_extra: self.allow_extra,
            check_weights: self.check_weights,
        };
        let bar = progress::bar(0, "loading {bar:40} {bytes}/{total_bytes}, {eta} left");
        let (model, warnings) =
            Model::load_observed(backend, self.dir()?, &options, &mut |loaded| {
                bar.set_length(loaded.total as u64);
                bar.set_position(loaded.bytes as u64);
            })?;
        bar.finish_and_clear();
        output::warn(warnings);
        Ok(model)
    }

    /// Proves that the flags of the backend go together, and that this build has it.
    fn prove_backend(&self) -> Result<(), CommandError> {
        let wrong = match self.backend {
            BackendKind::Gpu if cfg!(not(feature = "gpu")) => {
                "--backend gpu: this build has none; build with the feature `gpu`"
            }
            BackendKind::Gpu | BackendKind::Reference if self.dtype == ComputeDtype::Int8 => {
                "--dtype int8 wants --backend cpu"
            }
            BackendKind::Gpu | BackendKind::Reference if self.dtype == ComputeDtype::Bf16 => {
                "--dtype bf16 wants --backend cpu"
            }
            BackendKind::Gpu | BackendKind::Cpu if self.dtype == ComputeDtype::F64 => {
                "--dtype f64 wants --backend reference: the others compute in f32"
            }
            BackendKind::Auto | BackendKind::Cpu | BackendKind::Reference
                if self.device.is_some() =>
            {
                "--device wants --backend gpu"
            }
            BackendKind::Auto | BackendKind::Gpu | BackendKind::Reference
                if self.threads.is_some() || self.isa.is_some() =>
            {
                "--threads and --isa want --backend cpu"
            }
            _ => return Ok(()),
        };
        Err(CommandError::Usage(wrong.into()))
    }

    /// The GPU that was asked for, or a real one where there is one.
    #[cfg(feature = "gpu")]
    fn gpu(&self) -> Result<Option<Gpu>, CommandError> {
        let real = || devices().first().is_some_and(|found| found.kind != DeviceKind::Software);
        let wanted = match self.backend {
            BackendKind::Gpu => true,
            BackendKind::Auto => self.dtype == ComputeDtype::F32 && real(),
            BackendKind::Cpu | BackendKind::Reference => false,
        };
        let choice = self.device.unwrap_or_default();
        wanted
            .then(|| Gpu::open(choice).map_err(|error| ModelError::from(error).into()))
            .transpose()
    }

    /// The form that gradients are computed in: `--form auto` is expanded.
    pub(crate) fn fixed_form(&self) -> Form {
        match self.form() {
            Form::Auto => Form::Expanded,
            fixed => fixed,
        }
    }

    pub(crate) fn form(&self) -> Form {
        match self.form {
            FormKind::Expanded => Form::Expanded,
            FormKind::Absorbed => Form::Absorbed,
            FormKind::Auto => Form::Auto,
        }
    }
}

#[cfg(feature = "gpu")]
type Device = DeviceChoice;

/// Without GPUs every device is refused together with the backend.
#[cfg(not(feature = "gpu"))]
type Device = String;

fn isa(text: &str) -> Result<Isa, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn device(text: &str) -> Result<Device, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// Parses a count of at least 1.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("want at least 1".into()),
        Ok(n) => Ok(n),
        Err(error) => Err(format!("{error}")),
    }
}

/// Token ids as users write them: `1,2,3`.
#[derive(Debug, Clone)]
pub(crate) struct TokenIds(pub(crate) Vec<u32>);

impl std::str::FromStr for TokenIds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(|id| id.trim().parse().map_err(|_| format!("token id {id:?}, want a number")))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}
