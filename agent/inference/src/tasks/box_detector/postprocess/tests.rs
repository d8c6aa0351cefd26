//! Decoders on hand-made tensors with known answers.

use super::*;
use crate::library::manifest::tests::SSD;

struct Fake(Vec<Vec<f32>>);

impl Outputs for Fake {
    fn output(&self, n: usize) -> &[f32] {
        &self.0[n]
    }
}

fn decoder(parameters: &str, shapes: &[(&str, &[usize])]) -> Result<Decoder, InferenceError> {
    let (head, tail) = SSD.split_once("[decoder]").unwrap();
    let tail = tail.split_once("[licence]").unwrap().1;
    let text = format!("{head}[decoder]\n{parameters}\nnms_iou = 0.5\n[licence]{tail}")
        .replace("300, 300", "64, 64");
    let manifest = Manifest::parse(&text).unwrap();
    let outputs: Vec<OutputInfo> = shapes
        .iter()
        .map(|(name, shape)| OutputInfo { name: (*name).into(), shape: shape.to_vec() })
        .collect();
    Decoder::new(&manifest, &outputs)
}

fn decode(decoder: &Decoder, outputs: Vec<Vec<f32>>, wanted: &[bool]) -> Vec<Detection> {
    let mut found = Vec::new();
    decoder.decode(&Fake(outputs), 0.5, wanted, &mut found);
    found
}

fn near(a: [f32; 4], b: [f32; 4]) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3)
}

const SSD_HEAD: &str = "kind = \"ssd\"\nscores = \"s\"\nboxes = \"b\"";

#[test]
fn ssd_boxes_come_in_pixels_and_unwanted_classes_do_not() {
    let d = decoder(SSD_HEAD, &[("b", &[1, 2, 1, 4]), ("s", &[1, 2, 3])]).unwrap();
    let boxes = vec![0.25, 0.5, 0.75, 1.0, 0.0, 0.0, 0.5, 0.5];
    let scores = vec![0.1, 0.9, 0.8, 0.0, 0.49, 0.7];
    let found = decode(&d, vec![boxes, scores], &[true, true]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].class, found[0].score), (1, 0.9));
    assert!(near(found[0].corners, [32.0, 16.0, 64.0, 48.0]));
}

#[test]
fn a_graph_without_the_output_is_refused_with_its_name_and_what_there_is() {
    let error = decoder(SSD_HEAD, &[("b", &[1, 2, 1, 4]), ("other", &[1, 2, 3])]).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::WrongOutputs);
    let text = error.to_string();
    assert!(text.contains("decoder ssd") && text.contains("no output \"s\" for scores"), "{text}");
    assert!(text.contains("other [1, 2, 3]"), "{text}");
    let error = decoder(SSD_HEAD, &[("b", &[1, 3, 4]), ("s", &[1, 2, 3])]).unwrap_err();
    assert!(error.to_string().contains("\"b\" for boxes has the shape [1, 3, 4]"), "{error}");
}

#[test]
fn nanodet_distances_are_the_mean_bins_times_the_stride() {
    let head = "kind = \"nanodet\"\nscores = [\"s\"]\nboxes = [\"b\"]\nstrides = [32]\nbins = 3";
    let d = decoder(head, &[("s", &[1, 4, 2]), ("b", &[1, 4, 12])]).unwrap();
    let mut scores = vec![0.0; 8];
    scores[3 * 2 + 1] = 0.8;
    // Left: surely bin 1; top: evenly 0 and 2; right: surely bin 0; bottom: surely bin 2.
    let cell = [-99.0, 0.0, -99.0, 0.0, -99.0, 0.0, 0.0, -99.0, -99.0, -99.0, -99.0, 0.0];
    let boxes = cell.repeat(4);
    let found = decode(&d, vec![scores, boxes], &[true; 2]);
    assert_eq!((found.len(), found[0].class), (1, 1));
    assert!(near(found[0].corners, [48.0 - 32.0, 48.0 - 32.0, 48.0, 48.0 + 64.0]), "{found:?}");
}

#[test]
fn centerface_sizes_are_logs_and_its_points_are_parts_of_the_box() {
    let head =
        "kind = \"centerface\"\nheatmap = \"h\"\nsize = \"s\"\noffset = \"o\"\nlandmarks = \"l\"\nstride = 4";
    let shape = |c: usize| vec![1, c, 16, 16];
    let (h, s, o, l) = (shape(1), shape(2), shape(2), shape(10));
    let d = decoder(head, &[("h", &h), ("s", &s), ("o", &o), ("l", &l)]).unwrap();
    let cell = 5 * 16 + 6;
    let plane = |values: &[f32]| -> Vec<f32> {
        values.iter().flat_map(|v| (0..256).map(move |n| if n == cell { *v } else { 0.0 })).collect()
    };
    let outputs = vec![
        plane(&[0.9]),
        plane(&[4f32.ln(), 2f32.ln()]),
        plane(&[0.25, -0.25]),
        plane(&[0.5, 0.25, 0.5, 0.75, 0.6, 0.5, 0.8, 0.3, 0.8, 0.7]),
    ];
    let found = decode(&d, outputs, &[]);
    assert_eq!((found.len(), found[0].point_count), (1, 5));
    // Centre (6 - 0.25 + 0.5, 5 + 0.25 + 0.5) cells; 8 wide, 16 high.
    assert!(near(found[0].corners, [25.0 - 4.0, 23.0 - 8.0, 29.0, 31.0]), "{found:?}");
    let eye = found[0].points[0];
    assert!((eye.x - (21.0 + 2.0)).abs() < 1e-3 && (eye.y - (15.0 + 8.0)).abs() < 1e-3, "{eye:?}");
}

#[test]
fn blazeface_boxes_are_relative_to_their_anchor() {
    let head = "kind = \"blazeface\"\nscores = [\"s\"]\nboxes = [\"b\"]\nanchors = [[32, 2]]";
    let d = decoder(head, &[("s", &[1, 8, 1]), ("b", &[1, 8, 16])]).unwrap();
    let mut scores = vec![-9.0; 8];
    scores[5] = 2.0;
    scores[6] = f32::NAN;
    let mut boxes = vec![0.0; 8 * 16];
    boxes[5 * 16..5 * 16 + 6].copy_from_slice(&[2.0, -4.0, 10.0, 20.0, -3.0, 1.0]);
    let found = decode(&d, vec![scores, boxes], &[]);
    assert_eq!((found.len(), found[0].point_count), (1, 6));
    assert!((found[0].score - 0.880_797).abs() < 1e-4);
    // Anchor 5 is the second of cell 2: column 0, row 1.
    assert!(near(found[0].corners, [18.0 - 5.0, 44.0 - 10.0, 23.0, 54.0]), "{found:?}");
    assert_eq!((found[0].points[0].x, found[0].points[0].y), (13.0, 49.0));
}
