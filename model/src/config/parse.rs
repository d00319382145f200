//! From the text of a `config.json` to a [`ModelConfig`].

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use latent_kernels::Dtype;
use latent_mla::{AttentionConfig, GqaConfig, MlaConfig};

use super::fields::Fields;
use super::json::Json;
use super::{ConfigError, ModelConfig, ModelType, Quantization, Warning, gate, keys, rope};

/// The longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

pub(super) const DTYPES: &[(&str, Dtype)] = &[
    ("float64", Dtype::F64),
    ("float32", Dtype::F32),
    ("float16", Dtype::F16),
    ("bfloat16", Dtype::Bf16),
];

impl ModelConfig {
    /// Reads `config.json` in a model's folder.
    ///
    /// # Errors
    /// [`ConfigError::NotFound`] when there is none, and as [`from_file`](Self::from_file).
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<(Self, Vec<Warning>), ConfigError> {
        let dir = dir.as_ref();
        let path = dir.join("config.json");
        Self::from_file(&path).map_err(|error| match error {
            ConfigError::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
                ConfigError::NotFound { dir: dir.into(), looked_for: path }
            }
            other => other,
        })
    }

    /// Reads a file that is called otherwise.
    ///
    /// # Errors
    /// [`ConfigError::Io`] when it cannot be read, and as [`from_json`](Self::from_json).
    pub fn from_file(path: impl AsRef<Path>) -> Result<(Self, Vec<Warning>), ConfigError> {
        let file = path.as_ref().display().to_string();
        match read(path.as_ref()) {
            Ok(text) => parse(&file, &text),
            Err(source) => Err(ConfigError::Io { file, source }),
        }
    }

    /// Reads the text of a `config.json`.
    ///
    /// ```
    /// use latent_model::config::ModelConfig;
    /// let error = ModelConfig::from_json(r#"{"model_type": "deepseek_v4"}"#).unwrap_err();
    /// assert!(error.to_string().contains(r#"unsupported model_type "deepseek_v4"; supported:"#));
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] that names the field, what was found, and what is wanted.
    pub fn from_json(text: &str) -> Result<(Self, Vec<Warning>), ConfigError> {
        parse("config.json", text)
    }
}

/// The text of a regular file of reasonable length.
fn read(path: &Path) -> std::io::Result<String> {
    let invalid = |reason: String| std::io::Error::new(ErrorKind::InvalidData, reason);
    // Before opening: a pipe without a writer would block.
    if !path.metadata()?.is_file() {
        return Err(invalid("not a regular file".into()));
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(invalid(format!("longer than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

fn parse(file: &str, text: &str) -> Result<(ModelConfig, Vec<Warning>), ConfigError> {
    let document = Json::parse(file, text)?;
    let Json::Object(object) = &document else {
        return Err(ConfigError::Value {
            file: file.into(),
            field: "the document".into(),
            found: document.to_string(),
            wanted: "an object".into(),
        });
    };
    let fields = Fields { file, parent: "", object };
    let config = model(&fields)?;
    config.check(file)?;
    let mut warnings = keys::unknown(&fields);
    let ids = config.bos_token_id.iter().map(|id| ("bos_token_id", id));
    for (field, &id) in ids.chain(config.eos_token_id.iter().map(|id| ("eos_token_id", id))) {
        if id as usize >= config.vocab_size {
            let (file, vocab_size) = (file.into(), config.vocab_size);
            warnings.push(Warning::TokenId { file, field, id, vocab_size });
        }
    }
    Ok((config, warnings))
}

fn model(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    let model_type =
        fields.choice("model_type", &ModelType::ALL.map(|kind| (kind.name(), kind)), None)?;
    keys::check_fixed(fields)?;
    let hidden_size = fields.size("hidden_size")?;
    Ok(ModelConfig {
        model_type,
        vocab_size: fields.size("vocab_size")?,
        hidden_size,
        num_hidden_layers: fields.size("num_hidden_layers")?,
        num_nextn_predict_layers: fields.optional_size("num_nextn_predict_layers")?.unwrap_or(0),
        intermediate_size: fields.size("intermediate_size")?,
        rms_norm_eps: fields.number("rms_norm_eps")?,
        max_position_embeddings: fields.size("max_position_embeddings")?,
        tie_word_embeddings: fields.flag("tie_word_embeddings", false)?,
        dtype: dtype(fields)?,
        quantization: quantization(fields)?,
        attention: if model_type.has_grouped_attention() {
            AttentionConfig::Grouped(grouped(fields, model_type, hidden_size)?)
        } else {
            AttentionConfig::Latent(latent(fields, model_type, hidden_size)?)
        },
        moe: gate::parse(fields, model_type, hidden_size)?,
        bos_token_id: fields
            .value("bos_token_id")
            .map(|v| id(fields, "bos_token_id", v))
            .transpose()?,
        eos_token_id: match fields.value("eos_token_id") {
            None => Vec::new(),
            Some(Json::Array(ids)) => {
                ids.iter().map(|v| id(fields, "eos_token_id", v)).collect::<Result<_, _>>()?
            }
            Some(one) => vec![id(fields, "eos_token_id", one)?],
        },
    })
}

fn latent(
    fields: &Fields<'_>,
    model_type: ModelType,
    hidden_size: usize,
) -> Result<MlaConfig, ConfigError> {
    let config = MlaConfig {
        hidden_size,
        num_attention_heads: fields.size("num_attention_heads")?,
        q_lora_rank: fields.nullable_size("q_lora_rank")?,
        kv_lora_rank: fields.size("kv_lora_rank")?,
        qk_nope_head_dim: fields.size("qk_nope_head_dim")?,
        qk_rope_head_dim: fields.size("qk_rope_head_dim")?,
        v_head_dim: fields.size("v_head_dim")?,
        rope: rope::parse(fields, model_type)?,
    };
    let derived = [
        ("num_key_value_heads", "num_attention_heads", config.num_attention_heads),
        ("qk_head_dim", "qk_nope_head_dim + qk_rope_head_dim", config.qk_head_dim()),
    ];
    for (field, other, wanted) in derived {
        match fields.optional_size(field)? {
            Some(found) if found != wanted => {
                return Err(ConfigError::Contradiction {
                    file: fields.file.into(),
                    field: field.into(),
                    found: found.to_string(),
                    other: other.into(),
                    other_found: wanted.to_string(),
                });
            }
            _ => {}
        }
    }
    Ok(config)
}

fn grouped(
    fields: &Fields<'_>,
    model_type: ModelType,
    hidden_size: usize,
) -> Result<GqaConfig, ConfigError> {
    let latent = "kv_lora_rank";
    if let Some(rank) = fields.value(latent) {
        return Err(fields.unsupported(latent, rank, format!("null in {model_type}")));
    }
    let num_attention_heads = fields.size("num_attention_heads")?;
    let head_dim = match fields.optional_size("head_dim")? {
        Some(head_dim) => head_dim,
        None if hidden_size.is_multiple_of(num_attention_heads) => {
            hidden_size / num_attention_heads
        }
        None => {
            let wanted = format!("a divisor of hidden_size {hidden_size} where head_dim is absent");
            return Err(fields.wrong("num_attention_heads", num_attention_heads, wanted));
        }
    };
    Ok(GqaConfig {
        hidden_size,
        num_attention_heads,
        num_key_value_heads: fields
            .optional_size("num_key_value_heads")?
            .unwrap_or(num_attention_heads),
        head_dim,
        rope: rope::parse(fields, model_type)?,
    })
}

fn dtype(fields: &Fields<'_>) -> Result<Option<Dtype>, ConfigError> {
    let read = |key: &str| match fields.value(key) {
        None => Ok(None),
        Some(_) => fields.choice(key, DTYPES, None).map(Some),
    };
    match (read("torch_dtype")?, read("dtype")?) {
        (Some(a), Some(b)) if a != b => Err(ConfigError::Contradiction {
            file: fields.file.into(),
            field: "torch_dtype".into(),
            found: a.to_string(),
            other: "dtype".into(),
            other_found: b.to_string(),
        }),
        (a, b) => Ok(a.or(b)),
    }
}

fn quantization(fields: &Fields<'_>) -> Result<Option<Quantization>, ConfigError> {
    let Some(fields) = fields.object("quantization_config")? else { return Ok(None) };
    fields.choice("quant_method", &[("fp8", ())], None)?;
    fields.choice("fmt", &[("e4m3", ())], Some(()))?;
    fields.choice("activation_scheme", &[("dynamic", ())], Some(()))?;
    let key = "weight_block_size";
    match fields.object.get(key) {
        None => Err(fields.missing(key)),
        Some(Json::Array(sides)) if sides.len() == 2 => {
            let block = [fields.read_size(key, &sides[0])?, fields.read_size(key, &sides[1])?];
            Ok(Some(Quantization::Fp8 { block }))
        }
        Some(other) => Err(fields.wrong(key, other, "two sizes, rows and columns")),
    }
}

fn id(fields: &Fields<'_>, key: &str, value: &Json) -> Result<u32, ConfigError> {
    match value {
        Json::Integer(i) => u32::try_from(*i).ok(),
        _ => None,
    }
    .ok_or_else(|| fields.wrong(key, value, "a token id"))
}
