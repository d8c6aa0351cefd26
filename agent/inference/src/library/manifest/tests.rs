//! Manifests, sound and damaged.

use super::*;
use proptest::prelude::*;

pub(crate) const SSD: &str = r#"
name = "tiny"
version = "1"
task = "detect"
file = "model.onnx"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
bytes = 3
precision = "int8"
labels = "labels.txt"
default_min_score = 0.5
[input]
name = "in"
shape = [1, 3, 300, 300]
layout = "nchw"
colour = "rgb"
mean = [127.5, 127.5, 127.5]
std = [127.5, 127.5, 127.5]
resize = "stretch"
[decoder]
kind = "ssd"
scores = "s"
boxes = "b"
nms_iou = 0.5
[licence]
spdx = "Apache-2.0"
[source]
registry = "npm"
package = "p"
version = "1"
[measured]
anything = { goes = 1 }
"#;

#[test]
fn a_sound_manifest_is_read() {
    let manifest = Manifest::parse(SSD).unwrap();
    assert_eq!((manifest.input.width(), manifest.input.len()), (300, 270_000));
    assert_eq!(manifest.decoder.kind(), "ssd");
}

#[test]
fn what_is_wrong_is_said_with_its_key() {
    for (from, to, said) in [
        ("file = \"model.onnx\"", "file = \"../model.onnx\"", "file: "),
        ("file = \"model.onnx\"", "file = \"/etc/passwd\"", "file: "),
        ("file = \"model.onnx\"", "file = \"..\"", "file: "),
        ("labels = \"labels.txt\"", "labels = \"a/b\"", "labels: "),
        ("labels = \"labels.txt\"", "", "labels: "),
        ("[1, 3, 300, 300]", "[2, 3, 300, 300]", "input.shape"),
        ("[1, 3, 300, 300]", "[1, 3, 300, 99999999]", "input.shape"),
        ("std = [127.5, 127.5, 127.5]", "std = [1, 0, 1]", "input.std"),
        ("std = [127.5, 127.5, 127.5]", "std = [1, nan, 1]", "input.std"),
        ("nms_iou = 0.5", "nms_iou = nan", "decoder.nms_iou"),
        ("bytes = 3", "bytes = 99999999999", "bytes"),
        ("bytes = 3", "bytes = 3\nextra = 1", "extra"),
        ("nms_iou = 0.5", "nms_iou = 0.5\nstride = 4", "stride"),
        ("kind = \"ssd\"", "kind = \"yolo\"", "yolo"),
        ("sha256 = \"0", "sha256 = \"G", "sha256"),
    ] {
        let error = Manifest::parse(&SSD.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(said), "{to}: {error}");
    }
}

#[test]
fn the_seeds_of_the_fuzz_target_are_read_or_refused() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/model_toml");
    let files = std::fs::read_dir(folder).unwrap().map(|e| std::fs::read(e.unwrap().path()).unwrap());
    let read = files.filter(|bytes| Manifest::parse(&String::from_utf8_lossy(bytes)).is_ok()).count();
    assert!(read >= 4, "{read}");
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic_and_what_it_accepts_is_bounded(
        at in 0..SSD.len(), cut in 0..40usize, put in "[ -~\n]{0,20}"
    ) {
        let mut text = SSD.to_owned();
        text.replace_range(at..(at + cut).min(SSD.len()), &put);
        if let Ok(manifest) = Manifest::parse(&text) {
            prop_assert!(manifest.input.len() <= MAX_INPUT_SIDE * MAX_INPUT_SIDE * 3);
            prop_assert!(!manifest.file.contains('/'));
        }
    }
}
