//! The settings of an ablation: those of a run, and `[ablation]`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::choice::{AttentionChoice, ExpertsChoice, FeedForward, RoutingChoice};
use super::{Equal, Point};
use crate::config::{Override, TrainConfig, TrainConfigError, each_once, keys, read_file};

/// The settings of an ablation: a run's, and what is varied.
///
/// ```
/// use latent_train::ablation::AblationConfig;
/// let text = format!("{}{}", include_str!("../../tiny.toml"), r#"
/// [ablation]
/// seeds = [1, 2, 3]
/// axes.attention = ["mha", "mla:16", "mla"]
/// axes.mtp = [false, true]
/// "#);
/// let config = AblationConfig::from_toml(&text, &[])?;
/// assert_eq!(config.variants.len(), 3 * 2);
/// assert_eq!(config.variants[2].name, "mla:16-no-mtp");
/// assert_eq!(config.runs().count(), 3 * 2 * 3);
/// # Ok::<(), latent_train::config::TrainConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AblationConfig {
    /// The settings that variants differ from.
    pub base: TrainConfig,
    /// What is compared. The others are compared with the first.
    pub variants: Vec<Variant>,
    /// The seeds of each variant.
    pub seeds: Vec<u64>,
}

/// A variant, without a seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// What it is called; no other is.
    pub name: String,
    /// Where it stands on each axis.
    pub point: Point,
    /// What it has as much of as the settings do.
    pub equal: Equal,
    /// Its settings.
    pub config: TrainConfig,
}

/// `[ablation]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Section {
    seeds: Vec<u64>,
    equal: Equal,
    axes: Axes,
    variants: Vec<VariantSection>,
}

impl Default for Section {
    fn default() -> Self {
        let (axes, variants) = (Axes::default(), Vec::new());
        Self { seeds: vec![0, 1, 2], equal: Equal::Total, axes, variants }
    }
}

/// `[ablation.axes]`: every mix of these is a variant.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Axes {
    attention: Vec<AttentionChoice>,
    feed_forward: Vec<FeedForward>,
    experts: Vec<ExpertsChoice>,
    routing: Vec<RoutingChoice>,
    mtp: Vec<bool>,
    set: Vec<Vec<String>>,
}

/// `[[ablation.variants]]`: one more variant.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct VariantSection {
    name: Option<String>,
    equal: Option<Equal>,
    attention: Option<AttentionChoice>,
    feed_forward: Option<FeedForward>,
    experts: Option<ExpertsChoice>,
    routing: Option<RoutingChoice>,
    mtp: Option<bool>,
    set: Vec<String>,
}

impl AblationConfig {
    /// Reads a file, with some settings of the run replaced.
    ///
    /// # Errors
    /// [`TrainConfigError::File`] with the file, around the error of [`from_toml`](Self::from_toml)
    /// or of the system.
    pub fn from_file(path: &Path, overrides: &[Override]) -> Result<Self, TrainConfigError> {
        read_file(path, |text| Self::from_toml(text, overrides))
    }

    /// Reads the text of a file, with some settings of the run replaced.
    ///
    /// # Errors
    /// Those of [`TrainConfig::from_toml`] for the settings and for each variant, with its name;
    /// [`TrainConfigError::Missing`] without `[ablation]`, [`TrainConfigError::Setting`] for seeds or
    /// names that are there twice, or none, and when a size cannot be made equal: see
    /// [`Equal::apply`].
    pub fn from_toml(text: &str, overrides: &[Override]) -> Result<Self, TrainConfigError> {
        let mut table = TrainConfig::table(text, overrides)?;
        let Some(section) = table.remove("ablation") else {
            let because = "a section that says what is varied".into();
            return Err(TrainConfigError::Missing { field: "ablation", because });
        };
        let section = Section::read(section)?;
        let base = TrainConfig::from_table(table.clone())?;
        each_once("ablation.seeds", section.seeds.iter().map(u64::to_string))?;
        let seeds = section.seeds.clone();
        let mut variants = Vec::new();
        for (name, equal, point) in section.points(&base) {
            let name = name.unwrap_or_else(|| point.name());
            let variant = variant(&table, &base, name.clone(), equal, point);
            variants.push(
                variant.map_err(|source| TrainConfigError::Variant {
                    name,
                    source: Box::new(source),
                })?,
            );
        }
        each_once("ablation.variants", variants.iter().map(Variant::folder))?;
        Ok(Self { base, variants, seeds })
    }

    /// Every run, with its settings: all variants of a seed, then those of the next.
    pub fn runs(&self) -> impl Iterator<Item = (&Variant, TrainConfig)> {
        self.seeds.iter().flat_map(move |&seed| {
            self.variants.iter().map(move |variant| {
                let mut config = variant.config.clone();
                config.run.seed = seed;
                config.run.out = self.folder(variant, seed);
                (variant, config)
            })
        })
    }

    /// The settings of the base and of every variant, to be changed alike.
    pub fn settings_mut(&mut self) -> impl Iterator<Item = &mut TrainConfig> {
        let variants = self.variants.iter_mut().map(|variant| &mut variant.config);
        std::iter::once(&mut self.base).chain(variants)
    }

    /// The folder of a run.
    #[must_use]
    pub fn folder(&self, variant: &Variant, seed: u64) -> PathBuf {
        self.base.run.out.join(variant.folder()).join(format!("seed-{seed}"))
    }
}

impl Variant {
    /// The name, where every system can have a folder of it.
    fn folder(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.=".contains(c) { c } else { '_' };
        self.name.chars().map(plain).collect()
    }
}

impl Section {
    fn read(value: Value) -> Result<Self, TrainConfigError> {
        keys::check_section::<Self>("ablation", &value)?;
        if let Some(axes) = value.get("axes") {
            keys::check_section::<Axes>("ablation.axes", axes)?;
        }
        for variant in value.get("variants").and_then(Value::as_array).into_iter().flatten() {
            keys::check_section::<VariantSection>("ablation.variants", variant)?;
        }
        Self::deserialize(value).map_err(|error| TrainConfigError::of_section("ablation", &error))
    }

    /// The points of the grid, each once, and those that are named.
    fn points(self, base: &TrainConfig) -> Vec<(Option<String>, Equal, Point)> {
        let mut grid = vec![Point::default()];
        let Axes { attention, feed_forward, experts, routing, mtp, set } = self.axes;
        spread(&mut grid, attention, |point, value| point.attention = Some(value));
        spread(&mut grid, feed_forward, |point, value| point.feed_forward = Some(value));
        spread(&mut grid, experts, |point, value| point.experts = Some(value));
        spread(&mut grid, routing, |point, value| point.routing = Some(value));
        spread(&mut grid, mtp, |point, value| point.mtp = Some(value));
        spread(&mut grid, set, |point, value| point.set = value);
        if grid.len() == 1 && grid[0] == Point::default() && !self.variants.is_empty() {
            grid.clear();
        }
        let mut points: Vec<(Option<String>, Equal, Point)> = Vec::new();
        for point in grid.into_iter().map(|point| point.without_idle(base)) {
            if points.iter().all(|(_, _, other)| *other != point) {
                points.push((None, self.equal, point));
            }
        }
        points.extend(self.variants.into_iter().map(|variant| {
            let VariantSection { name, equal, attention, feed_forward, .. } = variant;
            let VariantSection { experts, routing, mtp, set, .. } = variant;
            let point = Point { attention, feed_forward, routing, experts, mtp, set };
            (name, equal.unwrap_or(self.equal), point)
        }));
        points
    }
}

/// Every point with every value; as they are where there is none.
fn spread<T: Clone>(points: &mut Vec<Point>, values: Vec<T>, put: impl Fn(&mut Point, T)) {
    if values.is_empty() {
        return;
    }
    let with = |point: &Point, value: &T| {
        let mut point = point.clone();
        put(&mut point, value.clone());
        point
    };
    *points = points
        .iter()
        .flat_map(|point| values.iter().map(move |value| with(point, value)))
        .collect();
}

fn variant(
    table: &Table,
    base: &TrainConfig,
    name: String,
    equal: Equal,
    point: Point,
) -> Result<Variant, TrainConfigError> {
    let mut table = table.clone();
    for setting in &point.set {
        setting.parse::<Override>()?.apply(&mut table)?;
    }
    let config = point.apply(&TrainConfig::from_table(table)?)?;
    let config = equal.apply(base, config)?;
    config.validate()?;
    Ok(Variant { name, point, equal, config })
}
