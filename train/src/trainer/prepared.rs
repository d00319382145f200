//! All that a run is made of before its first step.

use std::path::Path;
use std::sync::Arc;

use latent_kernels::Backend;
use latent_model::config::ModelConfig;
use serde_json::{Value, json};

use crate::config::{TokenizerChoice, TrainConfig};
use crate::data::{Corpus, Document, Packing, TokenCodec, TokenizedCorpus};
use crate::hash::Hash;
use crate::random::{Use, permutation};
use crate::{LossConfig, Schedule, TrainError};

/// The settings of a run, its texts as tokens, and what follows from both.
#[derive(Debug)]
pub struct Prepared {
    /// The settings.
    pub config: TrainConfig,
    /// The model.
    pub model: ModelConfig,
    /// The tokenizer.
    pub codec: TokenCodec,
    /// What the model is trained on.
    pub train: Arc<TokenizedCorpus>,
    /// What validates it, in an order that the seed draws; empty where no share of the documents does.
    pub validation: TokenizedCorpus,
    /// How the learning rate goes.
    pub schedule: Schedule,
    /// What is minimised as the run begins: see
    /// [`mtp_weight_at`](crate::config::LossSection::mtp_weight_at) for what may change.
    pub loss: LossConfig,
    /// Every setting that changes a bit of the weights, but for the backend.
    settings: Value,
    /// What is computed at once.
    pub(crate) micro: Packing,
}

impl Prepared {
    /// Reads and splits the texts, and turns them into tokens.
    ///
    /// A tokenizer that is trained is written to `tokenizer_dir`; with `trained`, it is read from
    /// there: it was trained before.
    ///
    /// # Errors
    /// [`TrainError::Config`] as of [`TrainConfig::validate`], [`TrainError::Data`] for texts, and
    /// for a tokenizer with more tokens than the model may have.
    pub fn new(
        config: TrainConfig,
        tokenizer_dir: &Path,
        trained: bool,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        let corpus = Corpus::read(&config.data.files, &config.data.read_options())?;
        let split = corpus.split(config.data.validation_fraction, config.run.seed)?;
        let codec = match config.data.tokenizer_choice()? {
            TokenizerChoice::Bytes => TokenCodec::bytes(),
            TokenizerChoice::Folder(dir) => TokenCodec::from_dir(&dir)?,
            TokenizerChoice::Bpe(_) if trained => TokenCodec::from_dir(tokenizer_dir)?,
            TokenizerChoice::Bpe(size) => TokenCodec::train_bpe(&split.train, size, tokenizer_dir)?,
        };
        let train = TokenizedCorpus::encode(&codec, &split.train)?;
        let validation = TokenizedCorpus::encode(&codec, &shuffled(split.validation, &config))?;
        let vocab_size = codec.vocab_size(config.model.vocab_multiple);
        let model = config.model.to_config(vocab_size, codec.end_id(), config.data.seq_len)?;
        let schedule = config.schedule.resolve(config.run.steps)?;
        let run = &config.run;
        let loss = config.loss.to_config(&config.model, run.form(), run.keep_of_layers());
        let micro = Packing::new(config.data.seq_len, config.data.micro_batch())?;
        let settings = settings(&config, &model, &schedule, corpus.documents(), &train)?;
        let train = Arc::new(train);
        Ok(Self { config, model, codec, train, validation, schedule, loss, settings, micro })
    }

    /// Every setting that changes a bit of the weights of a run on this backend: see
    /// [`Progress::settings`](crate::checkpoint::Progress::settings).
    #[must_use]
    pub fn settings<B: Backend>(&self, backend: &B) -> Value {
        let mut settings = self.settings.clone();
        // In brackets stand threads, which change no bit, and instruction sets, of which the portable one
        // alone does.
        settings["run"]["backend"] = json!(backend.name().split(" (").next());
        settings
    }
}

/// Documents in an order that the seed draws: the first of them are of all kinds.
fn shuffled(documents: Vec<Document>, config: &TrainConfig) -> Vec<Document> {
    let order = permutation(documents.len(), config.run.seed, Use::Validation, 0);
    order.into_iter().map(|index| documents[index].clone()).collect()
}

/// Every setting that changes a bit of the weights. The tokens' hash comes last by name: where they
/// differ because another setting does, that one is named.
fn settings(
    config: &TrainConfig,
    model: &ModelConfig,
    schedule: &Schedule,
    documents: &[Document],
    train: &TokenizedCorpus,
) -> Result<Value, TrainError> {
    let published = model.to_json().map_err(crate::config::TrainConfigError::from)?;
    let published: Value = serde_json::from_str(&published).unwrap_or(Value::String(published));
    let TrainConfig { data, optimizer, loss, run, .. } = config;
    Ok(json!({
        "data": {
            "batch_size": data.batch_size,
            "corpus": of_documents(documents),
            "micro_batch_size": data.micro_batch(),
            "seq_len": data.seq_len,
            "tokenizer": data.tokenizer,
            "validation_fraction": data.validation_fraction,
        },
        "loss": {
            "aux_loss_alpha": loss.aux_loss_alpha,
            "bias_update_speed": loss.gamma_at(&config.model, 1),
            "bias_update_speed_late": loss.bias_update_speed_late,
            "center_biases": loss.center_biases,
            "logits_chunk": loss.logits_chunk,
            "mtp_weight": loss.mtp_weight_at(&config.model, 1),
            "mtp_weight_late": loss.mtp_weight_late,
            "sequence_loss_alpha": loss.sequence_loss_alpha,
            "z_loss_alpha": loss.z_loss_alpha,
        },
        "model": { "config": published, "initializer_range": config.model.initializer_range },
        "optimizer": optimizer,
        "run": { "dtype": run.dtype, "form": run.form, "seed": run.seed },
        "schedule": schedule,
        "tokens": of_tokens(train),
    }))
}

fn of_documents(documents: &[Document]) -> String {
    let mut hash = Hash::new();
    for document in documents {
        hash.add_part(document.kind.as_bytes());
        hash.add_part(document.text.as_bytes());
    }
    format!("{} documents, hash {:016x}", documents.len(), hash.value())
}

fn of_tokens(corpus: &TokenizedCorpus) -> String {
    let mut hash = Hash::new();
    for index in 0..corpus.len() {
        let ids = corpus.document(index).iter().flat_map(|id| id.to_le_bytes());
        hash.add_part(&ids.collect::<Vec<u8>>());
    }
    format!("{} tokens, hash {:016x}", corpus.tokens(), hash.value())
}
