//! `latent chat` on a pipe: a random model with a real tokenizer and a chat template.

use latent_model::text::{ChatTemplate, Message, RenderOptions, Tokenizer};
use serde_json::Value;

use crate::folder::{Folder, list};
use crate::program::{
    Printed, command, ends_on, refuses_data, refuses_usage, succeeds, succeeds_on,
};

/// With one form, a cached token has the bits that it has when it is computed again.
const FIXED: [&str; 5] = ["-n", "24", "--ignore-eos", "--form", "absorbed"];

const FIRST: &str = "the quick brown fox";
const SECOND: &str = "and the lazy dog";

fn args<'a>(dir: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["chat", "--model", dir], &FIXED[..], more].concat()
}

fn chat(folder: &Folder, input: &str, flags: &[&str]) -> Printed {
    succeeds_on(input, &args(&folder.dir(), flags))
}

/// What `latent generate` prints.
fn generate(folder: &Folder, flags: &[&str]) -> String {
    succeeds(&[&["generate", "--model", &folder.dir()], &FIXED[..], flags].concat()).out
}

/// The ids of all that was said, system message first if there is one, user and model in turn.
pub(crate) fn rendered(folder: &Folder, system: Option<&str>, said: &[&str]) -> Vec<u32> {
    let template = ChatTemplate::from_dir(folder.path()).unwrap().unwrap();
    let turns = said.iter().zip(["user", "assistant"].iter().cycle());
    let messages: Vec<Message> = system
        .map(|text| Message::new("system", text))
        .into_iter()
        .chain(turns.map(|(text, role)| Message::new(*role, *text)))
        .collect();
    let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
    template.encode(&Tokenizer::from_dir(folder.path()).unwrap(), &messages, &options).unwrap()
}

/// The ids and the line that follow `prompt`, by `latent generate` alone.
fn follows(folder: &Folder, prompt: &[u32]) -> (Vec<u32>, String) {
    let ids = generate(folder, &["--tokens", &list(prompt)]);
    let ids: Vec<u32> = ids.trim_end().split(',').map(|id| id.parse().unwrap()).collect();
    let text = Tokenizer::from_dir(folder.path()).unwrap().decode(&ids).unwrap();
    (ids, text + "\n")
}

fn without_newline(line: &str) -> &str {
    line.strip_suffix('\n').unwrap()
}

/// The number of tokens that each answer took from the cache.
fn reused(err: &str) -> Vec<usize> {
    let number = |line: &str| line.split_once(" reused)")?.0.rsplit_once('(')?.1.parse().ok();
    err.lines().filter_map(number).collect()
}

#[test]
fn the_first_answer_is_that_of_generate() {
    let folder = Folder::with_text();
    assert_eq!(chat(&folder, FIRST, &[]).out, generate(&folder, &["--chat", FIRST]));
    let system = ["--system", "be brief"];
    let want = generate(&folder, &["--system", "be brief", "--chat", FIRST]);
    assert_eq!(chat(&folder, FIRST, &system).out, want);
    let drawn = ["--temperature", "1", "--seed", "3"];
    let want = generate(&folder, &[&["--chat", FIRST][..], &drawn].concat());
    assert_eq!(chat(&folder, FIRST, &drawn).out, want);
}

#[test]
fn an_answer_is_that_to_all_that_was_said() {
    let folder = Folder::with_text();
    let first_prompt = rendered(&folder, None, &[FIRST]);
    let (ids, first) = follows(&folder, &first_prompt);
    let prompt = rendered(&folder, None, &[FIRST, without_newline(&first), SECOND]);
    let (_, second) = follows(&folder, &prompt);
    assert_ne!(second, generate(&folder, &["--chat", SECOND]), "the first turn counts");

    let printed = chat(&folder, &format!("{FIRST}\n{SECOND}\n"), &[]);
    assert_eq!(printed.out, format!("{first}{second}"));
    // The answer's last token was never computed.
    let held = [first_prompt, ids[..ids.len() - 1].to_vec()].concat();
    let common = held.iter().zip(&prompt).take_while(|(a, b)| a == b).count();
    assert!(common > rendered(&folder, None, &[FIRST]).len(), "a part of the answer at least");
    assert_eq!(reused(&printed.err), [0, common], "{}", printed.err);
    let account = format!("latent: prompt {} tokens ({common} reused) in ", prompt.len());
    assert!(printed.err.lines().last().unwrap().starts_with(&account), "{}", printed.err);
    assert_eq!(printed.err.lines().count(), 2);
}

/// An answer of one token that the next prompt has, too, as the tokenizer would have cut it.
#[test]
fn the_token_that_ended_an_answer_was_not_computed_and_is_not_reused() {
    let folder = Folder::with_text();
    let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
    let answers = ["the", "quick", "brown", "fox", "lazy", "dog"].map(|message| {
        let prompt = rendered(&folder, None, &[message]);
        (message, follows(&folder, &prompt).0[0], prompt)
    });
    let whole = |id: u32| tokenizer.encode(&tokenizer.decode(&[id]).unwrap()).unwrap() == [id];
    let (message, id, prompt) = answers.iter().find(|(_, id, _)| whole(*id)).unwrap();
    let answer = tokenizer.decode(&[*id]).unwrap();
    let next = rendered(&folder, None, &[message, &answer, SECOND]);
    assert!(next.starts_with(&[&prompt[..], &[*id]].concat()));

    let dir = folder.dir();
    let one = ["chat", "--model", &dir, "-n", "1", "--ignore-eos"];
    let printed = succeeds_on(&format!("{message}\n{SECOND}\n"), &one);
    assert_eq!(reused(&printed.err), [0, prompt.len()]);
}

#[test]
fn in_a_smaller_cache_the_conversation_goes_on_as_it_began() {
    let folder = Folder::with_text();
    let input = format!("{FIRST}\n{SECOND}\n{FIRST}\n");
    for format in ["bf16", "fp8"] {
        let printed = chat(&folder, &input, &["--kv-cache-dtype", format]);
        assert_eq!(reused(&printed.err).len(), 3);
        let again = chat(&folder, &input, &["--kv-cache-dtype", format, "--chunk", "3"]);
        assert_eq!(again.out, printed.out);
    }
}

/// As with models that were trained on one question at a time.
#[test]
fn a_template_may_leave_out_what_was_said_before() {
    let folder = Folder::with_text();
    let template = "Q: {{ messages[-1]['content'] }}\nA: ";
    folder.edit("tokenizer_config.json", |c| c["chat_template"] = template.into());
    let [first, second] = [FIRST, SECOND].map(|text| generate(&folder, &["--chat", text]));
    let printed = chat(&folder, &format!("{FIRST}\n{SECOND}\n{SECOND}\n"), &[]);
    assert_eq!(printed.out, format!("{first}{second}{second}"));
    let [one, other] = [FIRST, SECOND].map(|text| rendered(&folder, None, &[text]));
    let common = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    assert!(common > 0);
    // The last token of a prompt is computed whatever is kept.
    assert_eq!(reused(&printed.err), [0, common, other.len() - 1]);
}

#[test]
fn clear_begins_a_new_conversation_with_the_same_system_message() {
    let folder = Folder::with_text();
    let input = format!("{FIRST}\n{SECOND}\n/clear\n{FIRST}\n");
    let printed = chat(&folder, &input, &["--system", "be brief"]);
    let first = generate(&folder, &["--system", "be brief", "--chat", FIRST]);
    assert!(printed.out.starts_with(&first));
    assert!(printed.out.ends_with(&format!("\n{first}")));
    let prompt = rendered(&folder, Some("be brief"), &[FIRST]);
    assert_eq!(reused(&printed.err)[2], prompt.len() - 1);
}

#[test]
fn the_system_message_can_be_set_on_the_way_and_taken_away() {
    let folder = Folder::with_text();
    let first = generate(&folder, &["--chat", FIRST]);
    let line = without_newline(&first);
    let with = rendered(&folder, Some("be brief"), &[FIRST, line, SECOND]);
    let (_, second) = follows(&folder, &with);
    let said = [FIRST, line, SECOND, without_newline(&second), FIRST];
    let (_, third) = follows(&folder, &rendered(&folder, None, &said));
    let input = format!("{FIRST}\n/system be brief\n{SECOND}\n/system\n{FIRST}\n");
    assert_eq!(chat(&folder, &input, &[]).out, format!("{first}{second}{third}"));
}

#[test]
fn a_line_that_is_no_command_is_refused_and_the_chat_goes_on() {
    let folder = Folder::with_text();
    let want = generate(&folder, &["--chat", FIRST]);
    let dir = folder.dir();
    for (line, why) in [
        ("/sytem be brief", r#"no command "/sytem"; /help shows those there are"#),
        ("/", r#"no command "/"; "#),
        ("/usr/bin", r#"no command "/usr/bin"; "#),
        ("/clear all", "/clear stands alone on its line"),
    ] {
        let printed = ends_on(format!("{line}\n{FIRST}\n").as_bytes(), &args(&dir, &[]), 1);
        assert_eq!(printed.out, want, "{line}");
        assert!(printed.err.starts_with(&format!("error: {why}")), "{}", printed.err);
        assert!(printed.err.ends_with("error: lines that were refused: 1\n"), "{}", printed.err);
    }
}

#[test]
fn a_space_before_a_slash_makes_it_a_message() {
    let folder = Folder::with_text();
    let want = generate(&folder, &["--chat", " /clear"]);
    assert_eq!(chat(&folder, " /clear\n", &[]).out, want);
}

#[test]
fn empty_lines_ask_for_nothing_and_exit_ends_the_chat() {
    let folder = Folder::with_text();
    let want = generate(&folder, &["--chat", FIRST]);
    let printed = chat(&folder, &format!("\n  \r\n{FIRST}\r\n\n/exit\n{SECOND}\n/what\n"), &[]);
    assert_eq!(printed.out, want);
    for input in ["", "\n", "/exit\n"] {
        let printed = chat(&folder, input, &[]);
        assert_eq!((printed.out.as_str(), printed.err.as_str()), ("", ""), "{input:?}");
    }
    let printed = chat(&folder, "/help", &[]);
    assert_eq!(printed.out, "");
    for name in ["/clear", "/system", "/help", "/exit"] {
        assert!(printed.err.contains(&format!("\n{name} ")) || printed.err.starts_with(name));
    }
}

#[test]
fn a_full_context_is_said_and_can_be_cleared() {
    let folder = Folder::with_text();
    let prompt = rendered(&folder, None, &[FIRST]);
    let most = (prompt.len() + 24).to_string();
    let dir = folder.dir();
    let flags = args(&dir, &["--max-model-len", &most]);
    let first = generate(&folder, &["--chat", FIRST]);

    let input = format!("{FIRST}\n{SECOND}\n/clear\n{FIRST}\n");
    let printed = ends_on(input.as_bytes(), &flags, 1);
    assert_eq!(printed.out, format!("{first}{first}"));
    let full =
        format!("latent: the context of {most} tokens is full; /clear begins a new conversation\n");
    assert_eq!(printed.err.matches(&full).count(), 2, "{}", printed.err);
    let refused = format!("leaves no room for an answer in {most}; /clear begins a new one\n");
    assert!(printed.err.contains(&refused), "{}", printed.err);

    // An answer is cut off at the end of the context, and a message alone may be too long for it.
    let most = (prompt.len() + 1).to_string();
    let flags = args(&dir, &["--max-model-len", &most]);
    let input = format!("{FIRST} {FIRST}\n{FIRST}\n");
    let printed = ends_on(input.as_bytes(), &flags, 1);
    assert_eq!(printed.out, follows_by_one(&folder, &prompt));
    let refused = format!(" tokens leaves no room for an answer in {most}\n");
    assert!(printed.err.starts_with("error: a message of "), "{}", printed.err);
    assert!(printed.err.contains(&refused), "{}", printed.err);
    assert!(
        printed.err.contains("; limit of 1 tokens\nlatent: the context of "),
        "{}",
        printed.err
    );
}

fn follows_by_one(folder: &Folder, prompt: &[u32]) -> String {
    let (ids, _) = follows(folder, prompt);
    Tokenizer::from_dir(folder.path()).unwrap().decode(&ids[..1]).unwrap() + "\n"
}

/// The first message is taken back, so that roles alternate in the prompt for the second.
#[test]
fn what_the_template_refuses_is_no_part_of_the_conversation() {
    let folder = Folder::with_text();
    let template = "{% for m in messages %}{% if 'secret' in m['content'] %}\
                    {{ raise_exception('no secrets') }}{% endif %}{{ m['content'] }}: {% endfor %}";
    folder.edit("tokenizer_config.json", |c| c["chat_template"] = template.into());
    let want = generate(&folder, &["--chat", FIRST]);
    let dir = folder.dir();
    let printed = ends_on(format!("a secret\n{FIRST}\n").as_bytes(), &args(&dir, &[]), 1);
    assert_eq!(printed.out, want);
    let why = "error: chat template refuses the messages: no secrets\n";
    assert!(printed.err.starts_with(why), "{}", printed.err);
}

#[test]
fn a_stop_text_ends_each_answer() {
    let folder = Folder::with_text();
    let whole = generate(&folder, &["--chat", FIRST]);
    let stop: String = whole.chars().skip(5).take(3).collect();
    let cut = whole.split(&stop).next().unwrap();
    let prompt = rendered(&folder, None, &[FIRST, cut, SECOND]);
    let (_, second) = follows(&folder, &prompt);
    let second = without_newline(&second).split(&stop).next().unwrap();
    let printed = chat(&folder, &format!("{FIRST}\n{SECOND}"), &["--stop", &stop]);
    assert_eq!(printed.out, format!("{cut}\n{second}\n"));
}

#[test]
fn input_that_is_not_utf8_is_an_error_behind_the_answers_before_it() {
    let folder = Folder::with_text();
    let dir = folder.dir();
    let input = [FIRST.as_bytes(), b"\n\xff\xfe\n"].concat();
    let printed = ends_on(&input, &args(&dir, &[]), 1);
    assert_eq!(printed.out, generate(&folder, &["--chat", FIRST]));
    let error = "error: standard input: stream did not contain valid UTF-8\n";
    assert!(printed.err.ends_with(error), "{}", printed.err);
}

#[test]
fn a_model_without_a_template_or_a_tokenizer_cannot_chat() {
    let folder = Folder::with_text();
    folder.edit("tokenizer_config.json", |c| c["chat_template"] = Value::Null);
    let dir = folder.dir();
    let error = refuses_usage(&["chat", "--model", &dir]);
    assert!(error.contains("has no chat template; use latent generate --prompt"), "{error}");
    folder.write("chat_template.jinja", "{{ messages[-1]['content'] }}");
    assert_eq!(chat(&folder, FIRST, &[]).out, generate(&folder, &["--chat", FIRST]));
    let error = refuses_data(&["chat", "--model", &Folder::of("v3").dir()]);
    assert!(error.ends_with("tokenizer.json: not found; wanted a tokenizer"), "{error}");
}

/// As with `| head -1`.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::io::Write;
    use std::process::Stdio;
    let folder = Folder::with_text();
    let dir = folder.dir();
    let mut command = command(&args(&dir, &[]));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(FIRST.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
