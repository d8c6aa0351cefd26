//! Every document against Home Assistant's own schemas. Skipped, with a word on stderr, where they cannot be had.

use std::path::Path;
use std::process::Command;

use aimass_core::runtime::files::write_atomically;

use super::tests::config;
use super::*;

/// A Python that has Home Assistant's schemas; `None` where there is none, as the script says on stderr.
fn python() -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/home_assistant/setup.sh");
    let output = Command::new(&script).stderr(std::process::Stdio::inherit()).output().unwrap();
    match output.status.code() {
        Some(0) => Some(String::from_utf8(output.stdout).unwrap().trim().to_owned()),
        Some(3) => {
            eprintln!("SKIPPED: Home Assistant's schemas are not here, nothing was checked");
            None
        }
        _ => panic!("{} failed: {}", script.display(), output.status),
    }
}

fn validate(python: &str, documents: &[Document]) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/home_assistant/validate.py");
    let mut command = Command::new(python);
    command.arg(script);
    for (n, document) in documents.iter().enumerate() {
        let path = folder.path().join(format!("{n}.json"));
        write_atomically(&path, &document.payload).unwrap();
        command.arg(format!("{}={}", document.topic, path.display()));
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn home_assistant_accepts_every_document_and_drops_no_key_of_it() {
    let Some(python) = python() else { return };
    let bare = crate::config::parse(
        "node.site = \"s\"\nnode.id = \"n\"\nbroker.url = \"mqtt://127.0.0.1\"\nhome_assistant.enabled = true",
    );
    let configs = [config("enabled = true"), config("enabled = true\ncontrols = true"), bare.unwrap()];
    let mut documents: Vec<Document> = configs.iter().map(|c| document(c).unwrap()).collect();
    // As it is sent again.
    documents[1].payload.push(b'\n');
    let told = validate(&python, &documents).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(told.contains("3 documents, 0 problems"), "{told}");

    // The check itself can fail: a class that there is not, a key that nobody knows, a topic that is none.
    for (from, to) in [
        (r#""device_class":"motion""#, r#""device_class":"emotion""#),
        (r#""payload_on""#, r#""payload_upon""#),
        ("aimass/v1", "aimass/#/v1"),
        (r#""identifiers""#, r#""identifier""#),
    ] {
        let text = String::from_utf8(documents[0].payload.clone()).unwrap();
        let broken =
            Document { topic: documents[0].topic.clone(), payload: text.replace(from, to).into_bytes() };
        assert_ne!(broken, documents[0], "{from} stands in it");
        assert!(validate(&python, &[broken]).is_err(), "{to} must be refused");
    }
}
