//! SmolLM2-135M-Instruct, end to end: prompts, greedy answers and texts as in transformers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use latent_model::kernels::Reference;
use latent_model::sampling::SamplingConfig;
use latent_model::text::{ChatTemplate, GenerationConfig, Message, RenderOptions, Tokenizer};
use latent_model::{Finish, Form, GenerateOptions, Generation, LoadOptions, Model};
use serde::Deserialize;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// `conformance/smollm2_greedy.json`, which `scripts/check_smollm2.py` writes.
#[derive(Deserialize)]
struct Golden {
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    messages: Vec<Turn>,
    prompt: String,
    prompt_ids: Vec<u32>,
    /// The end token included, where the answer ends before its limit of tokens.
    greedy_ids: Vec<u32>,
    greedy_text: String,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: String,
}

fn folder() -> PathBuf {
    let folder = Path::new(ROOT).join("data/smollm2-135m-instruct");
    assert!(
        folder.join("model.safetensors").is_file(),
        "{}: no model.safetensors; run scripts/fetch_smollm2.py first",
        folder.display()
    );
    folder
}

fn answers() -> Vec<Answer> {
    let text = fs::read_to_string(Path::new(ROOT).join("conformance/smollm2_greedy.json")).unwrap();
    let golden: Golden = serde_json::from_str(&text).unwrap();
    assert_eq!(golden.answers.len(), 3);
    golden.answers
}

#[test]
fn prompts_are_those_of_transformers() {
    let tokenizer = Tokenizer::from_dir(&folder()).unwrap();
    let template = ChatTemplate::from_dir(&folder()).unwrap().unwrap();
    let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
    for answer in answers() {
        let turns = answer.messages.iter();
        let messages: Vec<_> = turns.map(|t| Message::new(&t.role, &t.content)).collect();
        assert_eq!(template.render(&messages, &options).unwrap(), answer.prompt);
        let ids = template.encode(&tokenizer, &messages, &options).unwrap();
        assert_eq!(ids, answer.prompt_ids);
    }
}

#[test]
fn greedy_answers_are_those_of_transformers() {
    let tokenizer = Tokenizer::from_dir(&folder()).unwrap();
    let eos_token_ids = GenerationConfig::from_dir(&folder()).unwrap().eos_token_ids;
    let (model, warnings) =
        Model::load(Reference::<f32>::new(), &folder(), &LoadOptions::default()).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    for answer in answers() {
        let options = GenerateOptions {
            sampling: SamplingConfig::default(),
            eos_token_ids: eos_token_ids.clone(),
            max_new_tokens: answer.greedy_ids.len(),
            form: Form::Expanded,
            chunk: None,
        };
        let mut cache = model.cache(256).unwrap();
        let sequence = cache.new_sequence();
        let mut generation =
            Generation::new(&model, &mut cache, sequence, &answer.prompt_ids, options).unwrap();
        let ids: Vec<u32> = generation.by_ref().map(Result::unwrap).collect();
        let end = match generation.finish() {
            Some(Finish::Eos(id)) => vec![id],
            _ => Vec::new(),
        };
        assert_eq!([ids.as_slice(), &end].concat(), answer.greedy_ids);
        assert_eq!(tokenizer.decode(&ids).unwrap(), answer.greedy_text);
    }
}
