//! What a valid configuration names and this machine does not have. It may be meant for another machine, so these are
//! warnings.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use aimass_core::finding::Label;
use aimass_inference::library::instead_of;
use aimass_inference::{AnalyzerConfig, DetectConfig};
use aimass_media::MicrophoneUri;
use aimass_media::video::SourceUri;

use super::chain;
use super::paths::open_library;
use super::{Config, Problem};

/// Files and devices that are not here, or cannot be read by whoever asks, by their place in the configuration; and
/// devices that two cameras want, of which one can have it.
pub fn missing(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut look = |at: String, path: &Path| {
        // What is no file is not opened: a pipe would wait for its writer.
        let read = match std::fs::metadata(path) {
            Ok(about) if !about.is_file() => Err("it is no file".to_owned()),
            Ok(_) => File::open(path).map(drop).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = read {
            problems.push(Problem::new(at, format!("{} cannot be read here: {error}", path.display())));
        }
    };
    let mut look_if =
        |at: String, path: &Option<PathBuf>| path.iter().for_each(|path| look(at.clone(), path));
    if let Some(broker) = &config.broker {
        let files = [
            ("password_file", &broker.password_file),
            ("ca_file", &broker.ca_file),
            ("cert_file", &broker.cert_file),
            ("key_file", &broker.key_file),
        ];
        files.into_iter().for_each(|(name, path)| look_if(format!("broker.{name}"), path));
    }
    look_if("http.token_file".into(), &config.http.token_file);
    for (n, camera) in config.camera.iter().enumerate() {
        look_if(format!("camera[{n}].password_file"), &camera.password_file);
        look_if(format!("camera[{n}].ca_file"), &camera.ca_file);
        if let Ok(SourceUri::File(clip)) = camera.source.parse() {
            look_if(format!("camera[{n}].source"), &Some(clip.path));
        }
    }
    for (n, microphone) in config.microphone.iter().enumerate() {
        if let Ok(MicrophoneUri::File(clip)) = microphone.source.parse() {
            look_if(format!("microphone[{n}].source"), &Some(clip.path));
        }
    }
    problems.extend(devices(config));
    problems.extend(models(config));
    problems
}

/// Models that are not installed, and zones that ask for what the models of their camera never find.
fn models(config: &Config) -> Vec<Problem> {
    let library = match open_library(&config.inference.model_folders) {
        Ok(library) => library,
        Err(error) => return vec![Problem::new("inference.model_folders", error.to_string())],
    };
    let library = &library;
    let mut problems = Vec::new();
    for (name, analyzer) in &config.analyzer {
        if let Err(error) = analyzer.check_models(library) {
            problems.push(Problem::new(format!("analyzer.{name}"), error.to_string()));
        }
        let AnalyzerConfig::Detect(detect) = analyzer else { continue };
        // What the model knows, whatever is asked of it; one without a list of classes says nothing.
        let all = AnalyzerConfig::Detect(DetectConfig { labels: Vec::new(), ..detect.clone() });
        let Some(all) = all.labels(library).ok().filter(|all| !all.is_empty()) else { continue };
        for text in detect.labels.iter().filter_map(|label| never_found(label, &all, "the analyzer's model"))
        {
            problems.push(Problem::new(format!("analyzer.{name}.labels"), text));
        }
    }
    for (n, camera) in config.camera.iter().enumerate() {
        // A name that nobody knows is an error, and told as such.
        let Ok(links) = chain::resolve(&camera.chain, &config.analyzer) else { continue };
        let mut found: Option<Vec<Label>> = Some(Vec::new());
        for (name, analyzer) in &links {
            match (analyzer.labels(library), &mut found) {
                (Ok(labels), Some(found)) => found.extend(labels),
                (Ok(_), None) => {}
                (Err(_), _) => found = None,
            }
            // Its own table was looked at above.
            if let Err(error) = analyzer.check_models(library)
                && !config.analyzer.contains_key(name)
            {
                problems.push(Problem::new(format!("camera[{n}].chain"), error.to_string()));
            }
        }
        let Some(mut found) = found else { continue };
        let mut known = HashSet::new();
        found.retain(|label| known.insert(label.clone()));
        let zones = camera.zone.iter().enumerate().map(|(z, zone)| (format!("zone[{z}]"), &zone.labels));
        let lines = camera.line.iter().enumerate().map(|(l, line)| (format!("line[{l}]"), &line.labels));
        for (place, label) in
            zones.chain(lines).flat_map(|(at, all)| all.iter().map(move |l| (at.clone(), l)))
        {
            if let Some(text) = never_found(label, &found, "the camera's chain") {
                problems.push(Problem::new(format!("camera[{n}].{place}.labels"), text));
            }
        }
    }
    // Cameras share analyzers.
    let mut seen = HashSet::new();
    problems.retain(|problem| seen.insert(problem.to_string()));
    problems
}

/// What to say of a label that is not among those which can be found.
fn never_found(label: &str, found: &[Label], who: &str) -> Option<String> {
    if found.iter().any(|known| **known == *label) {
        return None;
    }
    if found.is_empty() {
        return Some(format!("\"{label}\" is never found: the camera has no chain"));
    }
    let instead = instead_of(label, found.iter().map(|known| &**known));
    Some(format!("{who} never finds \"{label}\"{instead}"))
}

/// A device of characters that the kernel does not list among its cameras.
fn is_other_device(path: &Path) -> bool {
    let listed = path.file_name().map(|name| Path::new("/sys/class/video4linux").join(name));
    let is_device = std::fs::metadata(path).is_ok_and(|about| about.file_type().is_char_device());
    is_device && !listed.is_some_and(|listed| listed.exists())
}

/// Cameras on this board. They are not opened: the node that runs may have them.
fn devices(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut owners: HashMap<PathBuf, usize> = HashMap::new();
    for (n, camera) in config.camera.iter().enumerate() {
        let Ok(SourceUri::V4l2(device)) = camera.source.parse() else { continue };
        let at = format!("camera[{n}].source");
        match device.path.canonicalize() {
            Ok(path) if is_other_device(&path) => {
                problems.push(Problem::new(at, format!("{} is no camera", device.path.display())));
            }
            Ok(path) => {
                let first = *owners.entry(path).or_insert(n);
                if first != n {
                    let text = format!(
                        "camera[{first}] has the same device, {}: only one can have it",
                        device.path.display()
                    );
                    problems.push(Problem::new(at, text));
                }
            }
            Err(error) => {
                let text = format!(
                    "{} is not here ({error}): `aimass-agent probe` lists the cameras of a machine",
                    device.path.display()
                );
                problems.push(Problem::new(at, text));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn paths(problems: &[Problem]) -> Vec<&str> {
        problems.iter().map(|problem| problem.path.as_str()).collect()
    }

    #[test]
    fn files_and_devices_that_are_not_here_are_told_by_their_place() {
        let text = "node = { site = \"s\", id = \"n\" }\n\
                    [broker]\nurl = \"mqtts://b\"\nusername = \"u\"\npassword_file = \"/nowhere/password\"\n\
                    [[camera]]\nid = \"a\"\nsource = \"file:/nowhere/clip.mp4\"\n\
                    [[camera]]\nid = \"b\"\nsource = \"v4l2:/nowhere/video0\"\n\
                    [[camera]]\nid = \"c\"\nsource = \"rtsp://10.0.0.1/a\"\n\
                    [[camera]]\nid = \"d\"\nsource = \"v4l2:/dev/null\"\n\
                    [[microphone]]\nid = \"m\"\nsource = \"file:/nowhere/sound.wav\"\n";
        let problems = missing(&parse(text).unwrap());
        assert_eq!(
            paths(&problems),
            [
                "broker.password_file",
                "camera[0].source",
                "microphone[0].source",
                "camera[1].source",
                "camera[3].source"
            ]
        );
        assert!(problems[0].message.contains("No such file"), "{}", problems[0].message);
    }

    #[test]
    fn what_is_here_is_no_problem_and_two_cameras_on_one_device_are() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("video0");
        File::create(&device).unwrap();
        std::os::unix::fs::symlink(&device, folder.path().join("by-id")).unwrap();
        let text = format!(
            "node = {{ site = \"s\", id = \"n\" }}\n\
             [[camera]]\nid = \"a\"\nsource = \"v4l2:{0}/video0\"\n\
             [[camera]]\nid = \"b\"\nsource = \"v4l2:{0}/by-id\"\n\
             [[camera]]\nid = \"c\"\nsource = \"file:{0}/video0\"\n",
            folder.path().display()
        );
        let problems = missing(&parse(&text).unwrap());
        assert_eq!(paths(&problems), ["camera[1].source"]);
        assert!(problems[0].message.contains("camera[0]"), "{}", problems[0].message);
    }

    #[test]
    fn models_that_are_not_here_and_labels_that_are_never_found_are_told() {
        let zone = |label: &str| {
            format!("[[camera.zone]]\nid = \"z\"\nlabels = [\"{label}\"]\npolygon = [[0,0],[1,0],[1,1]]\n")
        };
        let camera = |id: &str, more: &str| format!("[[camera]]\nid = \"{id}\"\nsource = \"test:\"\n{more}");
        let text = "node = { site = \"s\", id = \"n\" }\n".to_owned()
            + &camera("a", &zone("person"))
            + &camera("b", &zone("persn"))
            + &camera("c", &format!("chain = []\n{}", zone("person")))
            + &camera("d", &format!("chain = [\"own\"]\n{}", zone("persn")))
            + &camera("e", &format!("chain = [\"detect\", \"faces\"]\n{}", zone("face")))
            + &camera("f", "chain = [\"own\", \"few\"]\n")
            + &camera("g", &format!("chain = [\"faces\", \"more\"]\n{}", zone("forklift")))
            + "[analyzer.more]\nkind = \"faces\"\n"
            + "[analyzer.own]\nkind = \"detect\"\nmodel = \"coco-sd-lite\"\n"
            + "[analyzer.wrong]\nkind = \"faces\"\nmodel = \"coco-ssd-lite\"\n"
            + "[analyzer.few]\nkind = \"detect\"\nlabels = [\"person\", \"forklft\"]\nsmaller_model = \"tiny\"\n";
        let problems = missing(&parse(&text).unwrap());
        assert_eq!(
            paths(&problems),
            [
                "analyzer.few",
                "analyzer.few.labels",
                "analyzer.own",
                "analyzer.wrong",
                "camera[1].zone[0].labels",
                "camera[2].zone[0].labels",
                "camera[6].zone[0].labels"
            ]
        );
        assert!(problems[1].message.contains("never finds \"forklft\""), "{}", problems[1].message);
        assert!(problems[2].message.contains("coco-ssd-lite"), "{}", problems[2].message);
        assert!(problems[3].message.contains("no model for faces"), "{}", problems[3].message);
        assert!(problems[4].message.ends_with("did you mean \"person\"?"), "{}", problems[4].message);
        assert!(problems[5].message.contains("no chain"), "{}", problems[5].message);
        assert!(
            problems[6].message.ends_with("never finds \"forklift\", but face"),
            "{}",
            problems[6].message
        );
    }
}
