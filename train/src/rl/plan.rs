//! The runs of a file of settings: one, or variants with some seeds each.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::RlConfig;
use crate::config::{Override, TrainConfig, TrainConfigError, each_once, keys, read_file};

/// The runs that a file of settings asks for.
///
/// Without `[ablation]` it is one. With it there is a run for each variant and seed, in a folder of its own in
/// that of `run.out`; the first variant has the settings of the file.
///
/// ```
/// use latent_train::rl::RlPlan;
/// let text = r#"
///     [base]
///     model = "runs/base"
///     [task]
///     kind.sum = {}
///     [ablation]
///     seeds = [0, 1]
///     variants = [{ name = "no std", set = ["grpo.scale_rewards=none"] }]
/// "#;
/// let plan = RlPlan::from_toml(text, &["run.out=runs/std".parse()?])?;
/// let folders: Vec<_> = plan.runs.iter().map(|run| run.run.out.to_str().unwrap()).collect();
/// assert_eq!(folders[..2], ["runs/std/as given/seed-0", "runs/std/no std/seed-0"]);
/// assert_eq!(folders.len(), 4);
/// # Ok::<(), latent_train::config::TrainConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RlPlan {
    /// The settings of each run: all variants of a seed, then those of the next.
    pub runs: Vec<RlConfig>,
    /// The folder that all runs are in, or the run itself.
    pub out: PathBuf,
}

/// `[ablation]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Section {
    seeds: Vec<u64>,
    variants: Vec<Variant>,
}

impl Default for Section {
    fn default() -> Self {
        Self { seeds: vec![0, 1, 2], variants: Vec::new() }
    }
}

/// A variant: its name, and the settings that are others.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variant {
    name: String,
    #[serde(default)]
    set: Vec<String>,
}

impl RlPlan {
    /// What the variant that has the file's settings is called.
    pub const AS_GIVEN: &str = "as given";

    /// Reads a file, with some settings of all runs replaced.
    ///
    /// # Errors
    /// [`TrainConfigError::File`] with the file, around the error of [`from_toml`](Self::from_toml)
    /// or of the system.
    pub fn from_file(path: &Path, overrides: &[Override]) -> Result<Self, TrainConfigError> {
        read_file(path, |text| Self::from_toml(text, overrides))
    }

    /// Reads the text of a file, with some settings of all runs replaced.
    ///
    /// # Errors
    /// Those of [`RlConfig::from_toml`], for a variant with its name, and [`TrainConfigError::Setting`] for
    /// seeds or names that are there twice, and names that are no names of folders.
    pub fn from_toml(text: &str, overrides: &[Override]) -> Result<Self, TrainConfigError> {
        let mut table = TrainConfig::table(text, overrides)?;
        let Some(section) = table.remove("ablation") else {
            let config = RlConfig::from_table(table)?;
            let out = config.run.out.clone();
            return Ok(Self { runs: vec![config], out });
        };
        let section = Section::read(section)?;
        let base = RlConfig::from_table(table.clone())?;
        let mut variants = vec![(Self::AS_GIVEN.to_owned(), base.clone())];
        for Variant { name, set } in &section.variants {
            let config = variant(table.clone(), set);
            let config = config.map_err(|source| TrainConfigError::Variant {
                name: name.clone(),
                source: Box::new(source),
            })?;
            variants.push((name.clone(), config));
        }
        let folder = |name: &str, seed: u64| base.run.out.join(name).join(format!("seed-{seed}"));
        let with_seed = |&seed: &u64| {
            variants.iter().map(move |(name, config)| (name, seed, config)).collect::<Vec<_>>()
        };
        let runs = section.seeds.iter().flat_map(with_seed).map(|(name, seed, config)| {
            let mut config = config.clone();
            (config.run.seed, config.run.out) = (seed, folder(name, seed));
            config
        });
        Ok(Self { runs: runs.collect(), out: base.run.out.clone() })
    }
}

impl Section {
    fn read(value: Value) -> Result<Self, TrainConfigError> {
        keys::check_section::<Self>("ablation", &value)?;
        for variant in value.get("variants").and_then(Value::as_array).into_iter().flatten() {
            keys::check_section::<Variant>("ablation.variants", variant)?;
        }
        let section = Self::deserialize(value);
        let section = section.map_err(|error| TrainConfigError::of_section("ablation", &error))?;
        each_once("ablation.seeds", section.seeds.iter().map(u64::to_string))?;
        let names = section.variants.iter().map(|variant| variant.name.clone());
        each_once("ablation.variants", names.chain([RlPlan::AS_GIVEN.to_owned()]))?;
        let plain = |name: &str| {
            let fits = |c: char| c.is_alphanumeric() || " -_=,+".contains(c);
            !name.trim().is_empty() && name.chars().all(fits)
        };
        match section.variants.iter().find(|variant| !plain(&variant.name)) {
            None => Ok(section),
            Some(Variant { name, .. }) => {
                let wanted = "letters, digits, spaces and -_=,+: it names a folder";
                Err(TrainConfigError::setting("ablation.variants", format!("{name:?}"), wanted))
            }
        }
    }
}

fn variant(mut table: Table, set: &[String]) -> Result<RlConfig, TrainConfigError> {
    for setting in set {
        setting.parse::<Override>()?.apply(&mut table)?;
    }
    RlConfig::from_table(table)
}
