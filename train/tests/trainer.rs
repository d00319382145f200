//! Runs of tiny models: the same bits whatever happens, and errors that name step and tensor.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::path::Path;

use latent_kernels::cpu::{Cpu, Isa};
use latent_kernels::{Reference, Tolerance, assert_close};
use latent_model::{LoadOptions, Model};
use latent_train::checkpoint::{Checkpoints, Restored};
use latent_train::data::Packing;
use latent_train::{
    LossConfig, Outcome, Parameters, Sequence, StepReport, TrainError, Trainer, Watch, gradients,
    initial_weights, train,
};
use serde_json::Value;

#[path = "runs/tiny.rs"]
mod tiny;

use tiny::{MLA_MOE, Place, assert_same_files, names};

const BIAS: &str = "model.layers.1.mlp.gate.e_score_correction_bias";

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A whole run elsewhere, on a number of threads.
fn run_on(threads: usize, set: &[&str]) -> (Place, Outcome) {
    let place = Place::new();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let outcome = pool.install(|| place.train(set, false)).unwrap();
    (place, outcome)
}

#[test]
fn a_seed_gives_the_same_checkpoint_on_any_number_of_threads() {
    let (_one, a) = run_on(1, &[]);
    let (_two, b) = run_on(2, &[]);
    let (_three, c) = run_on(3, &[]);
    assert_same_files(&a.checkpoint, &b.checkpoint);
    assert_same_files(&a.checkpoint, &c.checkpoint);
    let (_other, d) = run_on(1, &["run.seed=1"]);
    let weights =
        |outcome: &Outcome| fs::read(outcome.checkpoint.join("model.safetensors")).unwrap();
    assert!(weights(&a) != weights(&d), "another seed, the same weights");
}

#[test]
fn a_run_in_parts_is_a_run_at_once() {
    for muon in ["adamw", "muon"] {
        let muon = format!("optimizer.hidden_matrices={muon}");
        let (place, whole) = (Place::new(), Place::new());
        for steps in 1..=6 {
            let steps = format!("run.steps={steps}");
            let outcome = place.train(&[&steps, "run.eval_every=3", &muon], steps != "run.steps=1");
            assert!(outcome.unwrap().last.is_some());
        }
        let all = whole.train(&["run.eval_every=3", &muon], false).unwrap();
        let newest = Checkpoints::new(&place.out(), 2).unwrap().latest().unwrap().unwrap();
        assert_same_files(&newest, &all.checkpoint);
        // Nothing is left to do.
        let again = place.train(&[&muon], true).unwrap();
        assert_eq!((again.step, again.last, again.checkpoint), (6, None, newest));
    }
}

#[test]
fn what_changes_no_bit_may_change_on_the_way() {
    let (place, whole) = (Place::new(), Place::new());
    place.train(&["run.steps=2"], false).unwrap();
    let set = ["run.recompute=true", "run.keep=1", "run.eval_every=1", "run.checkpoint_every=1"];
    let outcome = place.train(&set, true).unwrap();
    assert_same_files(&outcome.checkpoint, &whole.train(&[], false).unwrap().checkpoint);
}

#[test]
fn g7_another_run_is_refused_by_the_setting_that_differs() {
    let place = Place::new();
    place.train(&["run.steps=2"], false).unwrap();
    let before = tiny::files(&place.out().join("step-00000002"));
    let refused = |set: &[&str]| place.train(set, true).unwrap_err().to_string();
    let file = place.out().join("step-00000002/trainer.json");
    for (set, wanted) in [
        ("run.seed=3", "run.seed: what is there has 0, this run 3"),
        (
            "optimizer.learning_rate=0.02",
            "optimizer.learning_rate: what is there has 0.01, this run 0.02",
        ),
        (
            "optimizer.hidden_matrices=muon",
            "optimizer.hidden_matrices: what is there has \"adamw\", this run \"muon\"",
        ),
        ("schedule.kind=cosine", "schedule.floor: what is there has nothing, this run 0.1"),
        ("data.seq_len=8", "data.seq_len: what is there has 16, this run 8"),
        ("data.micro_batch_size=2", "data.micro_batch_size: what is there has 4, this run 2"),
        (
            "data.tokenizer=bpe:300",
            "data.tokenizer: what is there has \"bytes\", this run \"bpe:300\"",
        ),
        (
            "data.validation_fraction=0.3",
            "data.validation_fraction: what is there has 0.2, this run 0.3",
        ),
        ("loss.center_biases=true", "loss.center_biases: what is there has false, this run true"),
        (
            "model.num_hidden_layers=3",
            "model.config.num_hidden_layers: what is there has 2, this run 3",
        ),
        ("run.dtype=bf16", "run.dtype: what is there has \"f32\", this run \"bf16\""),
        ("run.form=absorbed", "run.form: what is there has \"expanded\", this run \"absorbed\""),
    ] {
        assert_eq!(refused(&[set]), format!("{}: another run: {wanted}", file.display()));
    }
    let text = fs::read_to_string(place.text()).unwrap();
    fs::write(place.text(), text.replacen("sheep", "goats", 1)).unwrap();
    let error = refused(&[]);
    assert!(
        error.contains("another run: data.corpus: what is there has \"10 documents, hash "),
        "{error}"
    );
    assert_eq!(tiny::files(&place.out().join("step-00000002")), before);
    fs::write(place.text(), text).unwrap();
    fs::remove_file(place.out().join("step-00000002/optimizer.safetensors")).unwrap();
    let error = refused(&[]);
    assert!(
        error.contains("optimizer.safetensors: not found; the checkpoint is not whole"),
        "{error}"
    );
}

#[test]
fn g7_a_run_goes_on_where_it_began_on_any_number_of_threads() {
    let place = Place::new();
    let on = |threads, set: &[&str], resume| {
        let cpu = Cpu::with(Isa::best(), threads).unwrap();
        train(cpu, place.config(MLA_MOE, set), resume, &mut ())
    };
    on(1, &["run.steps=2"], false).unwrap();
    let error = place.train(&[], true).unwrap_err().to_string();
    let wanted = "run.backend: what is there has \"cpu f32\", this run \"reference f32\"";
    let file = place.out().join("step-00000002/trainer.json");
    assert_eq!(error, format!("{}: another run: {wanted}", file.display()));
    on(2, &[], true).unwrap();
}

/// V3 lowers the weight of multi-token prediction late in a run, and its biases stand still at the end.
#[test]
fn late_values_count_from_the_step_behind_the_one_that_is_named() {
    let set = [
        "model.num_nextn_predict_layers=1",
        "loss.mtp_weight_late={ after = 2, value = 0.1 }",
        "loss.bias_update_speed=0.25",
        "loss.bias_update_speed_late={ after = 3, value = 0 }",
    ];
    let place = Place::new();
    let mut trainer = place.trainer(MLA_MOE, &set);
    for (step, weight) in [(1, 0.3), (2, 0.3), (3, 0.1), (4, 0.1), (5, 0.1)] {
        let before = trainer.weights().get(BIAS).unwrap().clone();
        let report = trainer.step().unwrap();
        let losses = report.losses;
        let want = losses.cross_entropy + losses.balance + weight * losses.mtp;
        assert!((report.loss - want).abs() < 1e-12 && losses.mtp > 1.0, "step {step}");
        let moved = trainer.weights().get(BIAS).unwrap() != &before;
        assert_eq!(moved, step <= 3, "step {step}");
    }
    // In parts, over both changes, it is the same run.
    let (parts, whole) = (Place::new(), Place::new());
    for steps in ["run.steps=2", "run.steps=3", "run.steps=6"] {
        parts.train(&[&set[..], &[steps]].concat(), steps != "run.steps=2").unwrap();
    }
    let all = whole.train(&set, false).unwrap();
    assert_same_files(&parts.out().join("step-00000006"), &all.checkpoint);
    let other = [&set[..], &["loss.mtp_weight_late.value=0.2"]].concat();
    let error = parts.train(&other, true).unwrap_err().to_string();
    let wanted = "loss.mtp_weight_late.value: what is there has 0.1, this run 0.2";
    assert!(error.ends_with(wanted), "{error}");
    // The weight moves gradients, too, not the report alone.
    let constant = Place::new();
    let early = constant.train(&[&set[..1], &set[2..]].concat(), false).unwrap();
    let weights = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    assert!(weights(&early.checkpoint) != weights(&all.checkpoint));
}

/// It is asked after each step but the last: there is nothing left to be stopped.
#[test]
fn a_run_that_is_stopped_saves_its_step_and_goes_on_to_the_same_bits() {
    struct StopAt(u64, u64, Vec<std::path::PathBuf>);
    impl Watch for StopAt {
        fn stepped(&mut self, report: &StepReport) {
            self.1 = report.step;
        }
        fn saved(&mut self, folder: &Path) {
            self.2.push(folder.into());
        }
        fn stop(&mut self) -> bool {
            self.1 >= self.0
        }
    }
    let (place, whole) = (Place::new(), Place::new());
    // A checkpoint of step 2 is due anyway, one of 3 is not.
    for (at, stopped, saved) in [(2, true, 1), (3, true, 1), (6, false, 2)] {
        let mut watch = StopAt(at, 0, Vec::new());
        let config = place.config(MLA_MOE, &[]);
        let outcome = train(Reference::<f32>::new(), config, at > 2, &mut watch).unwrap();
        assert_eq!((outcome.step, outcome.stopped), (at, stopped));
        assert_eq!(outcome.checkpoint, place.out().join(format!("step-{at:08}")));
        assert_eq!(watch.2.len(), saved, "{:?}", watch.2);
        assert_eq!(watch.2.last(), Some(&outcome.checkpoint));
    }
    let all = whole.train(&[], false).unwrap();
    assert_same_files(&place.out().join("step-00000006"), &all.checkpoint);
    let steps = |place: &Place| lines(&place.out().join("metrics.jsonl")).len();
    assert_eq!(steps(&place), steps(&whole));
}

#[test]
fn g8_a_folder_that_is_taken_or_cannot_be_written_is_refused_before_the_first_step() {
    let place = Place::new();
    place.train(&["run.steps=2"], false).unwrap();
    let error = place.train(&[], false).unwrap_err();
    let wanted = format!(
        "{}: holds a run: step-00000002; go on with it by --resume, or give another run.out",
        place.out().display()
    );
    assert_eq!(error.to_string(), wanted);
    let file = format!("run.out={:?}", place.text());
    let error = place.train(&[&file], false).unwrap_err().to_string();
    assert!(error.starts_with(&place.text().display().to_string()), "{error}");
    // Another process is at work: here, another run of this one.
    struct Second<'a>(&'a Place, Option<TrainError>);
    impl Watch for Second<'_> {
        fn begins(&mut self, _: &latent_train::Prepared, _: usize, _: Option<&Path>, _: u64) {
            self.1 = self.0.train(&[], true).err();
        }
    }
    let mut second = Second(&place, None);
    let config = place.config(MLA_MOE, &["run.steps=3"]);
    train(Reference::<f32>::new(), config, true, &mut second).unwrap();
    let error = second.1.unwrap().to_string();
    assert_eq!(error, format!("{}: another run is writing here", place.out().display()));
}

#[test]
fn g6_texts_that_do_not_do_are_named() {
    let place = Place::new();
    let refused = |set: &[&str]| place.train(set, false).unwrap_err().to_string();
    let error = refused(&["data.seq_len=100000"]);
    assert!(error.starts_with("corpus is shorter than one sequence: found "), "{error}");
    let error = refused(&["data.files=[\"/no/such/text\"]"]);
    assert!(error.starts_with("/no/such/text: not found; want text"), "{error}");
    fs::write(place.text(), [b'a', 0xff]).unwrap();
    let error = refused(&[]);
    assert!(error.ends_with("line 1: found byte 0xff at offset 1, want text in UTF-8"), "{error}");
    fs::write(place.text(), " \n").unwrap();
    assert!(refused(&[]).starts_with("corpus is empty"));
    assert!(!place.out().join("latest").exists());
}

#[test]
fn the_loss_falls_and_the_last_checkpoint_is_that_of_the_last_step() {
    let (_place, outcome) =
        run_on(2, &["run.steps=40", "run.checkpoint_every=7", "run.eval_every=0"]);
    assert_eq!(outcome.checkpoint.file_name().unwrap(), "step-00000040");
    let (last, found) = (outcome.last.unwrap(), outcome.evaluation.unwrap());
    let chance = 257.0_f64.ln();
    assert!(last.losses.cross_entropy < chance - 2.0, "{}, by chance {chance}", last.loss);
    assert!(found.loss < chance - 2.0, "{found:?}");
}

#[test]
fn metrics_have_a_line_for_each_step_once_whatever_was_interrupted() {
    let place = Place::new();
    place.train(&["run.steps=3", "run.checkpoint_every=2"], false).unwrap();
    let path = place.out().join("metrics.jsonl");
    // What a process leaves that took two more steps and ended within a line.
    let mut text = fs::read_to_string(&path).unwrap();
    text += "{\"step\":4,\"loss\":1.0}\n{\"step\":5,\"loss\":1.0}\n{\"step\":6,\"lo";
    fs::write(&path, text).unwrap();
    place.train(&["run.steps=6"], true).unwrap();
    let all = lines(&path);
    let steps = |key: &str| -> Vec<u64> {
        all.iter().filter(|l| l.get(key).is_some()).map(|l| l["step"].as_u64().unwrap()).collect()
    };
    assert_eq!(steps("loss"), [1, 2, 3, 4, 5, 6]);
    assert_eq!(steps("validation"), [3, 6]);
    let found = &all.iter().find(|l| l.get("validation").is_some()).unwrap()["validation"];
    let number = |key: &str| found[key].as_f64().unwrap();
    let bits = number("loss") * number("targets") / std::f64::consts::LN_2 / number("bytes");
    assert!((number("bits_per_byte") - bits).abs() < 1e-9, "{found}");
    let line = &all[0];
    for key in ["cross_entropy", "balance", "learning_rate", "grad_norm", "tokens_per_second"] {
        assert!(line[key].as_f64().unwrap() > 0.0, "{key}: {line}");
    }
    let load: Vec<u64> =
        line["load"]["1"].as_array().unwrap().iter().map(|l| l.as_u64().unwrap()).collect();
    assert_eq!((load.len(), load.iter().sum::<u64>()), (4, 4 * 16 * 2));
    let largest = *load.iter().max().unwrap() as f64;
    assert!((line["max_vio"]["1"].as_f64().unwrap() - (largest / 32.0 - 1.0)).abs() < 1e-12);
    let events = names(&place.out()).into_iter().filter(|n| n.starts_with("events.out.tfevents."));
    let events: Vec<_> = events.collect();
    assert_eq!(events.len(), 2);
    // Both processes evaluated, at steps 3 and 6.
    for file in events {
        let bytes = fs::read(place.out().join(file)).unwrap();
        for tag in ["grad_norm", "load/layer_1", "validation/bits_per_byte"] {
            assert!(bytes.windows(tag.len()).any(|part| part == tag.as_bytes()), "{tag}");
        }
    }
}

/// Biases move by the loads of the step, outside of the gradient, and with a mean of 0 where asked for.
/// Five experts share 128 choices: none has the mean, and so many up are never as many down.
#[test]
fn biases_follow_the_loads_of_each_step() {
    for center in [false, true] {
        let place = Place::new();
        let center_biases = format!("loss.center_biases={center}");
        let set =
            ["model.experts.n_routed_experts=5", "loss.bias_update_speed=0.25", &center_biases];
        let mut trainer = place.trainer(MLA_MOE, &set);
        let (mut want, mut largest_mean) = ([0.0_f64; 5], 0.0_f64);
        for _ in 0..20 {
            let report = trainer.step().unwrap();
            let (layer, load) = report.loads.iter().next().unwrap();
            assert_eq!((layer, report.loads.iter().count()), (1, 1));
            for (b, &l) in want.iter_mut().zip(load) {
                *b += 0.25 * (25.6 - l as f64).signum();
            }
            let mean = want.iter().sum::<f64>() / 5.0;
            largest_mean = largest_mean.max(mean.abs());
            want.iter_mut().for_each(|b| *b -= if center { mean } else { 0.0 });
            let got = trainer.weights().get(BIAS).unwrap().values();
            assert_close(got, &want, Tolerance { atol: 1e-6, rtol: 0.0 });
        }
        // There was something to be taken off.
        assert!(largest_mean > 0.04, "{largest_mean}");
    }
}

#[test]
fn layers_for_multi_token_prediction_train_and_balance_their_gates_too() {
    let place = Place::new();
    let mut trainer = place.trainer(MLA_MOE, &["model.num_nextn_predict_layers=1"]);
    let reports: Vec<StepReport> = (0..8).map(|_| trainer.step().unwrap()).collect();
    assert!(reports[7].losses.mtp < reports[0].losses.mtp - 0.1);
    let layers: Vec<usize> = reports[0].loads.iter().map(|(layer, _)| layer).collect();
    assert_eq!(layers, [1, 2]);
    let bias = trainer.weights().get("model.layers.2.mlp.gate.e_score_correction_bias").unwrap();
    assert!(bias.values().iter().any(|b| *b != 0.0));
    let saved =
        Checkpoints::new(&place.out(), 1).unwrap().save(&trainer.contents().unwrap()).unwrap();
    Model::load(Reference::<f32>::new(), &saved, &LoadOptions::default()).unwrap();
}

#[test]
fn an_evaluation_is_the_mean_loss_of_the_validation_documents() {
    let place = Place::new();
    let run = place.prepared(MLA_MOE, &["loss.logits_chunk=5"]);
    let trainer = Trainer::new(Reference::<f32>::new(), run.clone()).unwrap();
    let found = trainer.evaluate().unwrap().unwrap();
    let (model, mut sum, mut count) = (trainer.model().unwrap(), 0.0, 0);
    for batch in Packing::new(16, 4).unwrap().pass(&run.validation) {
        let sequences: Vec<Sequence> = batch.segments.iter().map(Sequence::from).collect();
        let (losses, _) = gradients(&model, &sequences, &LossConfig::default(), &mut ()).unwrap();
        sum += losses.cross_entropy * losses.targets as f64;
        count += losses.targets;
    }
    assert_eq!(found.targets, count);
    // Each document but its end is predicted by what stands before it, its first token by nothing.
    assert_eq!(count, run.validation.tokens() - run.validation.len());
    assert!((found.loss - sum / count as f64).abs() < 1e-9, "{found:?}");
    // Bytes are tokens, but an end is no byte, and a document's first byte is predicted by nothing.
    let bytes = run.validation.tokens() - 2 * run.validation.len();
    assert_eq!(found.bytes, bytes);
    let bits = sum / std::f64::consts::LN_2 / bytes as f64;
    assert!((found.bits_per_byte().unwrap() - bits).abs() < 1e-9, "{found:?}");
    assert_eq!(found.kinds.into_iter().collect::<Vec<_>>(), [("text".into(), (found.loss, count))]);
    let none = place.trainer(MLA_MOE, &["data.validation_fraction=0"]);
    assert_eq!(none.evaluate().unwrap(), None);
}

/// A token of several bytes counts as many: where nothing was learned, all tokens are as likely, and
/// the bits of a byte tell by how much fewer tokens there are.
#[test]
fn bits_per_byte_count_the_bytes_of_text_whatever_the_tokenizer() {
    let place = Place::new();
    for tokenizer in ["bytes", "bpe:300"] {
        let set = [&format!("data.tokenizer={tokenizer}"), "model.initializer_range=1e-9"];
        let run = place.prepared(MLA_MOE, &set);
        let found = Trainer::new(Reference::<f32>::new(), run.clone()).unwrap().evaluate();
        let found = found.unwrap().unwrap();
        let mut bytes = 0;
        for index in 0..run.validation.len() {
            let tokens = run.validation.document(index);
            let text = |tokens: &[u32]| run.codec.decode(tokens).unwrap().len();
            bytes += text(&tokens[..tokens.len() - 1]) - text(&tokens[..1]);
        }
        assert_eq!(found.bytes, bytes, "{tokenizer}");
        let bits = (run.model.vocab_size as f64).log2() * found.targets as f64 / bytes as f64;
        assert!((found.bits_per_byte().unwrap() - bits).abs() < 1e-3, "{tokenizer}: {found:?}");
    }
}

#[test]
fn an_evaluation_of_a_few_batches_sees_all_kinds() {
    let place = Place::new();
    let line = |i: u32| {
        let kind = ["prose", "verse"][usize::from(i >= 40)];
        format!("{{\"kind\": \"{kind}\", \"text\": \"{i} sheep jump\"}}\n")
    };
    let file = place.text().with_extension("jsonl");
    fs::write(&file, (0..80).map(line).collect::<String>()).unwrap();
    let files = format!("data.files=[{file:?}]");
    let set = [&files, "data.validation_fraction=0.5", "run.eval_batches=2"];
    let found = place.trainer(MLA_MOE, &set).evaluate().unwrap().unwrap();
    let kinds: Vec<&str> = found.kinds.keys().map(|kind| &**kind).collect();
    assert_eq!(kinds, ["prose", "verse"]);
    assert!(found.targets < 2 * 64, "{}", found.targets);
}

#[test]
fn micro_batches_add_up_to_the_batch() {
    let place = Place::new();
    let after = |set: &[&str]| {
        let mut trainer = place.trainer(MLA_MOE, &[set, &["loss.sequence_loss_alpha=0"]].concat());
        let reports: Vec<StepReport> = (0..3).map(|_| trainer.step().unwrap()).collect();
        (reports, trainer.weights().clone())
    };
    let (whole, a) = after(&[]);
    for micro in ["data.micro_batch_size=1", "data.micro_batch_size=2"] {
        let (parts, b) = after(&[micro]);
        for (whole, part) in whole.iter().zip(&parts) {
            assert!((whole.loss - part.loss).abs() < 1e-5, "{} and {}", whole.loss, part.loss);
            assert!((whole.grad_norm - part.grad_norm).abs() < 1e-4 * whole.grad_norm);
            assert_eq!((whole.tokens, &whole.loads), (part.tokens, &part.loads));
            assert_eq!(whole.losses.targets, part.losses.targets);
        }
        for ((name, a), (_, b)) in a.iter().zip(b.iter()) {
            // Adam's first steps are of the size of the learning rate whatever the gradient's.
            let far = a.values().iter().zip(b.values()).filter(|(a, b)| (**a - **b).abs() > 1e-3);
            assert!(far.count() * 100 <= a.values().len(), "{name}");
        }
    }
}

#[test]
fn every_attention_trains_and_is_loaded_again() {
    let settings = |kind: &str, sizes: &str| {
        format!(
            "[model]\nattention = \"{kind}\"\nhidden_size = 16\nnum_hidden_layers = 2\n\
             num_attention_heads = 4\nintermediate_size = 24\n{sizes}\n\
             [data]\nfiles = [\"TEXT\"]\nseq_len = 16\nbatch_size = 2\n[run]\nout = \"OUT\"\n"
        )
    };
    let latent = "kv_lora_rank = 8\nqk_nope_head_dim = 4\nqk_rope_head_dim = 2\nv_head_dim = 4";
    let experts = |sizes: &str| {
        format!(
            "{sizes}\n[model.experts]\nn_routed_experts = 4\nnum_experts_per_tok = 4\n\
             moe_intermediate_size = 8\nn_shared_experts = 1\nfirst_k_dense_replace = 1\n"
        )
    };
    for (kind, sizes, name) in [
        ("mha", "tie_word_embeddings = true".to_owned(), "llama"),
        ("gqa", "num_key_value_heads = 2".to_owned(), "llama"),
        ("mqa", "num_nextn_predict_layers = 1".to_owned(), "llama"),
        ("mla", latent.to_owned(), "deepseek_v3"),
        ("mha", experts("head_dim = 6"), "deepseek"),
        ("gqa", experts("num_key_value_heads = 2") + "scoring_func = \"softmax\"", "deepseek"),
        ("mqa", experts("num_nextn_predict_layers = 1"), "deepseek"),
        ("mla", experts(latent), "deepseek_v3"),
    ] {
        let place = Place::new();
        let mut trainer = place.trainer(&settings(kind, &sizes), &[]);
        assert_eq!(trainer.model_config().model_type.name(), name);
        let first = trainer.weights().clone();
        (0..2).for_each(|_| drop(trainer.step().unwrap()));
        for ((tensor, a), (_, b)) in first.iter().zip(trainer.weights().iter()) {
            // Where a token goes to all experts their loads are even, and no bias moves.
            let moves = !tensor.ends_with("e_score_correction_bias");
            assert_eq!(a != b, moves, "{kind}, {name}: {tensor}");
        }
        let checkpoints = Checkpoints::new(&place.out(), 1).unwrap();
        let saved = checkpoints.save(&trainer.contents().unwrap()).unwrap();
        let (loaded, _) =
            Model::load(Reference::<f32>::new(), &saved, &LoadOptions::default()).unwrap();
        assert_eq!(loaded.config(), trainer.model_config());
    }
}

#[test]
fn a_tokenizer_that_was_trained_goes_with_the_checkpoint() {
    let place = Place::new();
    let set = ["data.tokenizer=bpe:300", "run.steps=2", "model.vocab_multiple=64"];
    let outcome = place.train(&set, false).unwrap();
    let tokenizer = latent_model::text::Tokenizer::from_dir(&outcome.checkpoint).unwrap();
    assert!(tokenizer.encode("sheep jump over").unwrap().len() < 10);
    // It is read from there, not trained again.
    fs::remove_dir_all(place.out().join("tokenizer")).unwrap();
    let on = ["data.tokenizer=bpe:300", "run.steps=4", "model.vocab_multiple=64"];
    place.train(&on, true).unwrap();
    assert!(!place.out().join("tokenizer").exists());
}

#[test]
fn a_loss_that_is_no_number_stops_with_the_step_and_leaves_the_last_checkpoint() {
    let place = Place::new();
    place.train(&["run.steps=2"], false).unwrap();
    let before = tiny::files(&place.out().join("step-00000002"));
    let run = place.prepared(MLA_MOE, &[]);
    let settings = run.settings(&Reference::<f32>::new());
    let restored = Restored::read(&place.out().join("step-00000002"), &settings).unwrap();
    let mut trainer = Trainer::resume(Reference::<f32>::new(), run, restored).unwrap();
    let (head, unharmed) = ("lm_head.weight", trainer.weights().clone());
    trainer.weights_mut().get_mut(head).unwrap().values_mut()[3] = f32::INFINITY;
    let harmed = trainer.weights().clone();
    let error = trainer.step().unwrap_err().to_string();
    assert!(error.starts_with("step 3: "), "{error}");
    assert!(trainer.weights() == &harmed, "a step that failed moved weights");
    let error = trainer.contents().unwrap_err().to_string();
    assert!(error.starts_with("step 2: lm_head.weight: weight 3 is inf, want a finite"), "{error}");
    assert_eq!(tiny::files(&place.out().join("step-00000002")), before);
    // The trainer is as it was: with the weight it had, it goes on as if nothing had been.
    *trainer.weights_mut() = unharmed;
    for _ in 0..4 {
        trainer.step().unwrap();
    }
    let checkpoints = Checkpoints::new(&place.out().join("other"), 1).unwrap();
    let saved = checkpoints.save(&trainer.contents().unwrap()).unwrap();
    let whole = Place::new();
    assert_same_files(&saved, &whole.train(&[], false).unwrap().checkpoint);
}

#[test]
fn a_run_that_diverges_names_step_and_cause() {
    let place = Place::new();
    let set = ["optimizer.learning_rate=1e30", "run.checkpoint_every=1", "run.eval_every=0"];
    let error = place.train(&set, false).unwrap_err();
    assert!(matches!(error, TrainError::Step { step: 2..=4, .. }), "{error}");
    let newest = Checkpoints::new(&place.out(), 2).unwrap().latest().unwrap().unwrap();
    let run = place.prepared(MLA_MOE, &set);
    Restored::read(&newest, &run.settings(&Reference::<f32>::new())).unwrap();
}

#[test]
fn a_gradient_that_is_no_number_is_named_with_its_tensor() {
    let place = Place::new();
    let mut trainer = place.trainer(MLA_MOE, &[]);
    // The gain of a norm so large that logits are finite and the squares of gradients are not.
    let gain = trainer.weights_mut().get_mut("model.norm.weight").unwrap();
    gain.values_mut().fill(1e30);
    let error = trainer.step().unwrap_err().to_string();
    assert!(error.starts_with("step 1: "), "{error}");
    assert!(error.contains(".weight: "), "{error}");
    assert_eq!(trainer.step_count(), 0);
}

#[test]
fn first_weights_depend_on_seed_and_name_alone() {
    let place = Place::new();
    let run = place.prepared(MLA_MOE, &[]);
    let more = place.prepared(MLA_MOE, &["model.num_hidden_layers=3"]);
    let weights = initial_weights(&run.model, 0.006, 5);
    let wider = initial_weights(&more.model, 0.006, 5);
    for (name, array) in weights.iter() {
        assert_eq!(Some(array), wider.get(name), "{name}");
    }
    let names: Vec<&str> = weights.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), run.model.tensors().len());
    let same = |other: &Parameters<f32>, name: &str| other.get(name) == weights.get(name);
    let others = initial_weights(&run.model, 0.006, 6);
    for name in names {
        let drawn = !name.ends_with("norm.weight") && name != BIAS;
        assert_eq!(same(&others, name), !drawn, "{name}");
        let values = weights.get(name).unwrap().values();
        if !drawn {
            let fixed = if name == BIAS { 0.0 } else { 1.0 };
            assert!(values.iter().all(|v| v.to_bits() == f32::to_bits(fixed)), "{name}");
        }
    }
    // The spread that was asked for: 257 x 16 numbers, and four standard errors.
    let values = weights.get("lm_head.weight").unwrap().values();
    let n = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let spread = (values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt();
    assert!(mean.abs() < 4.0 * 0.006 / n.sqrt(), "{mean}");
    assert!((spread / 0.006 - 1.0).abs() < 4.0 / (2.0 * n).sqrt(), "{spread}");
}
