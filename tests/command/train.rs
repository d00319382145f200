//! `latent train`: from a file of settings to a model that generates, whatever interrupts it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use crate::folder::{Folder, text};
use crate::program::{command, refuses_data, refuses_usage, succeeds};

const SETTINGS: &str = r#"
[model]
attention = "mla"
hidden_size = 16
num_hidden_layers = 2
num_attention_heads = 2
intermediate_size = 24
kv_lora_rank = 8
qk_nope_head_dim = 4
qk_rope_head_dim = 4
v_head_dim = 4
max_position_embeddings = 64

[model.experts]
n_routed_experts = 4
num_experts_per_tok = 2
moe_intermediate_size = 8
first_k_dense_replace = 1

[data]
files = [TEXT]
separator = "%%"
seq_len = 16
batch_size = 2
validation_fraction = 0.2

[schedule]
warmup = 2

[run]
steps = 12
out = OUT
eval_every = 4
checkpoint_every = 1
"#;

/// A folder with settings and a text, and room for a run.
fn folder() -> Folder {
    Folder::to_train_in("tiny.toml", SETTINGS)
}

fn settings(folder: &Folder) -> String {
    text(&folder.join("tiny.toml"))
}

fn out(folder: &Folder) -> PathBuf {
    folder.join("out")
}

/// The names and bytes of all files of the checkpoint of a step.
fn checkpoint(out: &Path, step: u64) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(out.join(format!("step-{step:08}"))).unwrap();
    let read = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    let mut files: Vec<_> = entries.map(|entry| read(entry.unwrap())).collect();
    files.sort();
    assert_eq!(files.len(), 6);
    files
}

#[test]
fn what_was_trained_generates() {
    let folder = folder();
    let printed = succeeds(&["train", &settings(&folder)]);
    let out = out(&folder);
    let model = text(&out.join("step-00000012"));
    assert!(printed.out.contains(&format!("latent generate --model {model} --prompt ")));
    assert!(printed.out.contains(&format!("{}/metrics.jsonl\n", out.display())));
    let validation =
        printed.out.lines().find(|line| line.starts_with("validation: loss ")).unwrap();
    assert!(validation.ends_with(" bits a byte"), "{validation}");
    // Quiet where nobody watches: what it is, where it goes, and three evaluations.
    let said: Vec<&str> = printed.err.lines().collect();
    assert_eq!(said.len(), 5, "{}", printed.err);
    assert!(said[0].contains(" parameters, "), "{}", said[0]);
    assert!(said[1].starts_with(&format!("writing to {}; ", out.display())), "{}", said[1]);
    assert!(said[4].starts_with("step 12: validation loss "), "{}", said[4]);
    let generate =
        ["generate", "--model", &model, "--prompt", "7 sheep", "-n", "8", "--ignore-eos"];
    assert!(!succeeds(&generate).out.is_empty());
    let perplexity = ["perplexity", "--model", &model, "--text", &text(&folder.join("text.txt"))];
    assert!(succeeds(&perplexity).out.contains("perplexity"));
}

/// Products are in bf16 where the settings say so: activations are rounded on the processor alone.
#[test]
fn products_are_in_what_the_settings_say() {
    let loss = |set: &[&str]| {
        let folder = folder();
        let settings = settings(&folder);
        let args = ["train", &settings, "--set", "run.steps=1", "--set", "schedule.kind=constant"];
        succeeds(&[&args[..], &["--set", "schedule.warmup=0"], set].concat());
        let metrics = fs::read_to_string(out(&folder).join("metrics.jsonl")).unwrap();
        let first: serde_json::Value =
            serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
        first["loss"].as_f64().unwrap()
    };
    let bf16 = ["--set", "run.dtype=bf16"];
    let losses = [loss(&[]), loss(&bf16), loss(&[&bf16[..], &["--backend", "reference"]].concat())];
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        let far = (losses[a] - losses[b]).abs();
        assert!(far > 1e-7 && far < 1e-2, "{losses:?}");
    }
}

/// Killed again and again, at times that have nothing to do with what it is at.
#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_bytes() {
    let (killed, whole) = (folder(), folder());
    let begin = Instant::now();
    succeeds(&["train", &settings(&whole)]);
    let (mut kills, mut resumed) = (0, 0);
    // Too little for the whole run on this machine, and each time a little more: so it comes to its end.
    let mut time = begin.elapsed() / 6;
    loop {
        let config = settings(&killed);
        let mut process = command(&["train", &config, "--resume"]);
        let mut child = process.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let newest = fs::read_to_string(out(&killed).join("latest")).unwrap_or_default();
        resumed += u32::from(newest.as_str() > "step-00000000\n");
        std::thread::sleep(time);
        time = time * 9 / 8;
        if child.try_wait().unwrap().is_some() {
            let ended = child.wait_with_output().unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 2 && resumed > 0, "killed {kills} times, resumed {resumed} times");
    let same = checkpoint(&out(&killed), 12) == checkpoint(&out(&whole), 12);
    assert!(same, "other bytes after {kills} kills");
    let metrics = fs::read_to_string(out(&killed).join("metrics.jsonl")).unwrap();
    let steps: Vec<u64> = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line.get("loss").is_some())
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, (1..=12).collect::<Vec<u64>>());
    let left = ["latest", "metrics.jsonl", "step-00000011", "step-00000012"];
    let mut names = fs::read_dir(out(&killed)).unwrap().map(|e| e.unwrap().file_name());
    assert!(names.all(|name| {
        let name = name.to_str().unwrap();
        left.contains(&name) || name == ".lock" || name.starts_with("events.out.tfevents.")
    }));
}

#[test]
fn a_run_goes_on_where_it_is_told_to_and_only_there() {
    let folder = folder();
    let config = settings(&folder);
    let schedule = "schedule.total=12";
    let printed =
        succeeds(&["train", &config, "--resume", "--set", "run.steps=3", "--set", schedule]);
    assert!(printed.err.contains("nothing to resume in "), "{}", printed.err);
    let error = refuses_data(&["train", &config]);
    assert!(error.ends_with(
        "holds a run: step-00000003; go on with it by --resume, or give another run.out"
    ));
    let error = refuses_data(&["train", &config, "--resume", "--backend", "reference"]);
    let wanted = "run.backend: what is there has \"cpu f32\", this run \"reference f32\"";
    assert!(error.ends_with(wanted), "{error}");
    let printed = succeeds(&["train", &config, "--resume"]);
    assert!(printed.err.contains("step-00000003 at step 3\n"), "{}", printed.err);
    let other = ["train", &config, "--resume", "--set", "optimizer.learning_rate=0.5"];
    let error = refuses_data(&other);
    assert!(
        error.ends_with("optimizer.learning_rate: what is there has 0.001, this run 0.5"),
        "{error}"
    );
    let printed = succeeds(&["train", &config, "--resume"]);
    assert!(printed.out.starts_with("all 12 steps were taken before\n"), "{}", printed.out);
}

/// A run that was started and takes its first steps, what it says, and what it has said.
#[cfg(unix)]
struct Running {
    child: std::process::Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStderr>>,
    said: Vec<String>,
}

#[cfg(unix)]
impl Running {
    fn start(args: &[&str]) -> Self {
        let mut process = command(args);
        let mut child = process.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = std::io::BufReader::new(child.stderr.take().unwrap());
        let lines = std::io::BufRead::lines(said);
        let mut running = Self { child, lines, said: Vec::new() };
        running.wait_for("writing to ");
        running
    }

    fn wait_for(&mut self, beginning: &str) {
        while !self.said.last().is_some_and(|line| line.starts_with(beginning)) {
            let line = self.lines.next().unwrap_or_else(|| panic!("ended with {:?}", self.said));
            self.said.push(line.unwrap());
        }
    }

    fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        assert!(std::process::Command::new("sh").args(["-c", &line]).status().unwrap().success());
    }

    /// The exit code, what was printed, and all that was said.
    fn end(mut self) -> (Option<i32>, String, Vec<String>) {
        self.said.extend(self.lines.map(Result::unwrap));
        let ended = self.child.wait_with_output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stdout).unwrap(), self.said)
    }
}

#[cfg(unix)]
#[test]
fn a_run_that_is_interrupted_ends_after_its_step_and_goes_on_to_the_same_bytes() {
    for name in ["INT", "TERM"] {
        let (stopped, whole) = (folder(), folder());
        let with = |folder: &Folder, steps: u64, more: &[&str]| -> Vec<String> {
            let mut args = vec!["train".to_owned(), settings(folder)];
            let steps = format!("run.steps={steps}");
            for set in [
                "run.checkpoint_every=100000",
                "schedule.kind=constant",
                "schedule.warmup=0",
                &steps,
            ] {
                args.extend(["--set", set].map(str::to_owned));
            }
            args.extend(more.iter().map(|&arg| arg.to_owned()));
            args
        };
        let args = with(&stopped, 50_000, &[]);
        let running = Running::start(&args.iter().map(String::as_str).collect::<Vec<_>>());
        running.signal(name);
        let (code, printed, said) = running.end();
        assert_eq!((code, printed.as_str()), (Some(130), ""), "{said:?}");
        assert!(said.iter().any(|line| line.starts_with("ending after this step; ")), "{said:?}");
        let latest = fs::read_to_string(out(&stopped).join("latest")).unwrap();
        let step: u64 = latest.trim().strip_prefix("step-").unwrap().parse().unwrap();
        assert!((1..50_000).contains(&step), "{step}");
        let saved = out(&stopped).join(latest.trim());
        let wanted = format!(
            "error: interrupted after step {step}; saved {}; go on with the same command and --resume",
            saved.display()
        );
        assert_eq!(said.last(), Some(&wanted));
        let last = step + 2;
        for (folder, more) in [(&stopped, &["--resume"][..]), (&whole, &[])] {
            let args = with(folder, last, more);
            succeeds(&args.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let same = checkpoint(&out(&stopped), last) == checkpoint(&out(&whole), last);
        assert!(same, "other bytes after SIG{name} at step {step}");
    }
}

/// A step of seconds: the second signal comes before it ends.
#[cfg(unix)]
#[test]
fn a_second_interrupt_ends_a_run_at_once() {
    let folder = folder();
    let config = settings(&folder);
    let long = "data.batch_size=30000";
    let mut running = Running::start(&["train", &config, "--set", long, "--backend", "reference"]);
    running.signal("INT");
    running.wait_for("ending after this step; ");
    running.signal("INT");
    let (code, printed, said) = running.end();
    assert_eq!((code, printed.as_str()), (Some(130), ""), "{said:?}");
    assert!(said.last().unwrap().starts_with("ending after this step; "), "{said:?}");
    assert_eq!(fs::read_to_string(out(&folder).join("latest")).unwrap(), "step-00000000\n");
    assert_eq!(fs::read_to_string(out(&folder).join("metrics.jsonl")).unwrap(), "");
}

#[test]
fn settings_that_cannot_be_are_refused_before_anything_is_written() {
    let folder = folder();
    let config = settings(&folder);
    for (set, wanted) in [
        (
            "optimizer.learing_rate=1",
            "optimizer.learing_rate: unknown key; did you mean optimizer.learning_rate?",
        ),
        (
            "optimizer.learning_rate=nan",
            "optimizer.learning_rate: found NaN, want a finite number above 0",
        ),
        ("run.steps=none", "run.steps: invalid type: string \"none\", expected u64"),
    ] {
        let error = refuses_data(&["train", &config, "--set", set]);
        assert_eq!(error, format!("{config}: {wanted}"));
    }
    assert!(refuses_data(&["train", "/no/such.toml"]).starts_with("/no/such.toml: "));
    assert!(refuses_usage(&["train", &config, "--set", "steps"]).contains("want KEY=VALUE"));
    refuses_usage(&["train"]);
    assert!(!out(&folder).exists());
}
