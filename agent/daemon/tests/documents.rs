//! Manual pages and shell completions: what is committed is what the command line's types say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../examples/documents.rs"]
#[allow(dead_code, reason = "its main writes the files; here they are compared")]
mod made;

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reference")
}

#[test]
fn the_committed_pages_and_completions_are_what_the_types_say() {
    for (name, now) in made::documents().unwrap() {
        let path = reference().join(&name);
        let committed = fs::read(&path).unwrap_or_default();
        assert!(committed == now, "{} is out of date: run `make reference`", path.display());
    }
}

#[test]
fn no_page_or_completion_is_left_of_a_command_that_is_gone() {
    let made: BTreeSet<PathBuf> = made::documents().unwrap().into_keys().collect();
    let committed = ["man", "completions"].into_iter().flat_map(|folder| {
        let files = fs::read_dir(reference().join(folder)).unwrap();
        files.map(move |file| Path::new(folder).join(file.unwrap().file_name()))
    });
    for name in committed {
        assert!(made.contains(&name), "{} belongs to no command: delete it", name.display());
    }
}

#[test]
fn every_command_has_a_page_that_tells_its_options() {
    let all = made::documents().unwrap();
    let run = String::from_utf8(all[Path::new("man/aimass-agent-run.1")].clone()).unwrap();
    assert!(run.contains("\\-\\-config") && run.contains("SIGTERM"), "{run}");
    assert!(all.contains_key(Path::new("man/aimass-agent-config-rollback.1")));
    let bash = String::from_utf8(all[Path::new("completions/aimass-agent.bash")].clone()).unwrap();
    assert!(bash.contains("rollback"), "{bash}");
}

#[test]
fn bash_completes_options_of_commands_and_of_commands_below_them() {
    let file = reference().join("completions/aimass-agent.bash");
    for (words, wanted) in [
        (&["validate", "--on"][..], "--on-this-board"),
        (&["config", "roll"][..], "rollback"),
        (&["models", "bench", "--thr"][..], "--threads"),
    ] {
        let line = std::iter::once(&"aimass-agent").chain(words).copied().collect::<Vec<_>>();
        let [.., before, last] = line[..] else { unreachable!() };
        let script = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={}; _aimass__agent aimass-agent {last} {before}; echo ${{COMPREPLY[@]}}",
            file.display(),
            line.join(" "),
            line.len() - 1
        );
        let output = std::process::Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(told.trim(), wanted, "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
