//! The shipped network on the shipped split, and what the loaders make of hostile files.

use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView, serialize};

use super::{data::scale_pixels, *};
use crate::{
    Matrix, MatrixError,
    tensors::{ReadError, TensorError, TensorFile},
};

/// Smallest top-two margin that an answer may hang on: twice what an error of 2^-10 on every logit can move it.
const MIN_MARGIN: f64 = 1.0 / 256.0;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/digits").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(shipped(name)).unwrap()
}

/// Share of right answers among the first n samples.
fn accuracy(network: &Network, split: &TestSplit, n: usize) -> f64 {
    let right = split.samples().take(n).filter(|(x, label)| network.classify(x) == *label).count();
    right as f64 / n as f64
}

/// SplitMix64, as a uniform value in [-1, 1).
fn noise(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

#[test]
fn held_out_accuracy() {
    let (network, split) = (Network::embedded().unwrap(), TestSplit::embedded().unwrap());
    assert_eq!((split.images().len(), split.labels().len(), split.samples().len()), (360, 360, 360));
    let (first, all) = (accuracy(&network, &split, 100), accuracy(&network, &split, 360));
    println!("right: {first:.4} of the first 100, {all:.4} of 360");
    assert!(first >= 0.95 && all >= 0.95, "{first} of the first 100, {all} of all");
}

#[test]
fn every_value_fits_the_message_room_and_no_answer_hangs_on_a_hair() {
    let (network, split) = (Network::embedded().unwrap(), TestSplit::embedded().unwrap());
    let traces: Vec<Trace> = split.samples().map(|(x, _)| network.trace(&x)).collect();
    let largest = traces.iter().map(Trace::largest).fold(0.0, f64::max);
    let margin = traces.iter().map(|t| top_two_margin(&t.logits)).fold(f64::INFINITY, f64::min);
    println!("largest value {largest:.3}, smallest margin {margin:.5}");
    assert!(largest <= VALUE_LIMIT, "{largest}");
    assert!(margin > MIN_MARGIN, "{margin}");
}

/// The notes in the weights were written by the numpy twin: two evaluations that share no code.
#[test]
fn figures_agree_with_the_training_script() {
    let (network, split) = (Network::embedded().unwrap(), TestSplit::embedded().unwrap());
    let weights = bytes("weights.safetensors");
    let file = TensorFile::parse(&weights).unwrap();
    let noted = |key: &str| file.note(key).unwrap().parse::<f64>().unwrap();
    let margin =
        split.samples().map(|(x, _)| top_two_margin(&network.forward(&x))).fold(f64::INFINITY, f64::min);
    assert!((noted("smallest_margin") - margin).abs() < 1e-5);
    assert!((noted("test_accuracy") - accuracy(&network, &split, 360)).abs() < 1e-4);
    assert!((noted("test_accuracy_first_100") - accuracy(&network, &split, 100)).abs() < 1e-4);
    for name in ["weights.safetensors", "test.safetensors"] {
        let bytes = bytes(name);
        let file = TensorFile::parse(&bytes).unwrap();
        for key in ["source", "licence", "script"] {
            assert!(file.note(key).is_some_and(|note| !note.is_empty()), "{name}: {key}");
        }
    }
}

/// An encrypted run adds an error to each value after each step: uniform within 2^-10, it flips no answer.
#[test]
fn answers_survive_an_error_after_every_step() {
    let (network, split) = (Network::embedded().unwrap(), TestSplit::embedded().unwrap());
    let w = network.weights();
    let (state, mut worst) = (&mut 1, 0.0f64);
    for (x, _) in split.samples() {
        let mut shake = |v: f64| v + noise(state) / 1024.0;
        let h1 = w.layer1.apply(&x.map(&mut shake)).map(&mut shake).map(|z| shake(z * z));
        let h2 = w.layer2.apply(&h1).map(&mut shake).map(|z| shake(z * z));
        let logits = w.layer3.apply(&h2).map(&mut shake);
        let clean = network.forward(&x);
        assert_eq!(classify_logits(&logits), classify_logits(&clean));
        worst = logits.iter().zip(&clean).fold(worst, |worst, (a, b)| worst.max((a - b).abs()));
    }
    println!("largest error of a logit: 2^{:.1}", worst.log2());
}

#[test]
fn shapes() {
    let network = Network::embedded().unwrap();
    let w = network.weights();
    let sides = |m: &Matrix| (m.rows(), m.cols());
    assert_eq!(sides(w.layer1.weight()), (64, 64));
    assert_eq!(sides(w.layer2.weight()), (32, 64));
    assert_eq!(sides(w.layer3.weight()), (10, 32));
    assert_eq!((w.layer1.bias().len(), w.layer2.bias().len(), w.layer3.bias().len()), (64, 32, 10));
    let matrix = |rows, cols| Matrix::from_row_major(rows, cols, vec![0.0; rows * cols]).unwrap();
    assert!(Linear::<3, 2>::new(matrix(2, 3), vec![0.0; 2]).is_ok());
    let error = Linear::<3, 2>::new(matrix(3, 2), vec![0.0; 2]).unwrap_err();
    assert_eq!(error, MatrixError::Size { what: "outputs of the weight", found: 3, expected: 2 });
    assert!(Linear::<3, 2>::new(matrix(2, 3), vec![0.0; 3]).is_err());
}

#[test]
fn a_linear_layer_by_hand() {
    let weight = Matrix::from_row_major(2, 3, vec![1.0, 2.0, 3.0, 0.0, -1.0, 0.5]).unwrap();
    let layer = Linear::<3, 2>::new(weight, vec![10.0, -10.0]).unwrap();
    assert_eq!(layer.apply(&[1.0, 2.0, 4.0]), [27.0, -10.0]);
}

#[test]
fn answers_and_margins() {
    let mut logits = [0.0; CLASSES];
    assert_eq!((classify_logits(&logits), top_two_margin(&logits)), (0, 0.0));
    (logits[9], logits[3], logits[0]) = (2.5, 2.0, f64::NAN);
    assert_eq!(classify_logits(&logits), 9);
    logits[0] = -7.0;
    assert_eq!(top_two_margin(&logits), 0.5);
    assert_eq!(classify_logits(&[f64::NAN; CLASSES]), 0);
}

#[test]
fn pixels_are_scaled_exactly() {
    let mut image = [0; INPUTS];
    (image[1], image[63]) = (1, MAX_PIXEL);
    let x = scale_pixels(&image);
    assert_eq!((x[0], x[1], x[63]), (0.0, 0.0625, 1.0));
}

#[test]
fn files_and_embedded_bytes_are_the_same() {
    assert_eq!(TestSplit::from_path(&shipped("test.safetensors")).unwrap(), TestSplit::embedded().unwrap());
    assert_eq!(Network::from_path(&shipped("weights.safetensors")).unwrap(), Network::embedded().unwrap());
    let none = Network::from_path(&shipped("none.safetensors"));
    assert!(matches!(none, Err(DigitsError::Read(ReadError::Io { .. }))));
    let other = TestSplit::from_path(&shipped("weights.safetensors"));
    assert!(matches!(other, Err(DigitsError::Tensor(TensorError::Missing { name, .. })) if name == "images"));
}

#[test]
fn truncated_files_are_malformed() {
    for name in ["weights.safetensors", "test.safetensors"] {
        let whole = bytes(name);
        for n in (0..2500).chain((2500..whole.len()).step_by(211)).chain([whole.len() - 1]) {
            let part = &whole[..n];
            let malformed =
                |e| matches!(e, DigitsError::Tensor(TensorError::Malformed { bytes, .. }) if bytes == n);
            assert!(malformed(Weights::from_bytes(part).unwrap_err()), "{name} cut to {n}");
            assert!(malformed(TestSplit::from_bytes(part).unwrap_err()), "{name} cut to {n}");
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(Weights::from_bytes(&longer).is_err() && TestSplit::from_bytes(&longer).is_err());
    }
}

/// A flipped bit gives an error or other values, all of them finite and in range; never a panic.
#[test]
fn flipped_files_never_panic() {
    for name in ["weights.safetensors", "test.safetensors"] {
        let mut file = bytes(name);
        let header = 8 + usize::try_from(u64::from_le_bytes(*file.first_chunk().unwrap())).unwrap();
        for at in (0..header).chain((header..file.len()).step_by(101)) {
            for bit in [0, 4, 5, 7] {
                file[at] ^= 1 << bit;
                if let Ok(weights) = Weights::from_bytes(&file) {
                    assert!(weights.layer1.weight().data().iter().all(|v| v.is_finite()));
                }
                if let Ok(split) = TestSplit::from_bytes(&file) {
                    assert!(split.images().iter().flatten().all(|&p| p <= MAX_PIXEL));
                    assert!(split.labels().iter().all(|&l| l <= 9));
                }
                file[at] ^= 1 << bit;
            }
        }
    }
}

/// A split of these images and labels, with sizes as given.
fn split_file(images: &[u8], labels: &[u8], columns: usize) -> Vec<u8> {
    let images = TensorView::new(Dtype::U8, vec![images.len() / columns, columns], images).unwrap();
    let labels = TensorView::new(Dtype::U8, vec![labels.len()], labels).unwrap();
    serialize([("images", images), ("labels", labels)], None).unwrap()
}

#[test]
fn wrong_splits_are_named() {
    let said = |images: &[u8], labels: &[u8], columns| {
        TestSplit::from_bytes(&split_file(images, labels, columns)).unwrap_err().to_string()
    };
    assert!(TestSplit::from_bytes(&split_file(&[16; 128], &[0, 9], 64)).is_ok());
    assert_eq!(
        said(&[0; 126], &[0, 9], 63),
        r#"tensor "images": found shape [2, 63], expected [1..=1797, 64]"#
    );
    assert_eq!(said(&[], &[], 64), r#"tensor "images": found shape [0, 64], expected [1..=1797, 64]"#);
    assert_eq!(said(&[0; 128], &[0; 3], 64), r#"tensor "labels": found shape [3], expected [2]"#);
    assert_eq!(said(&[0; 128], &[0, 10], 64), "label 1: found 10, expected 0..=9");
    let mut images = [0; 128];
    images[70] = 17;
    assert_eq!(said(&images, &[0, 9], 64), "image 1, pixel 6: found 17, expected 0..=16");
}

/// A weights file filled with `fill`, but for one tensor: of this name, with this dtype and shape; left out if the
/// shape is empty.
fn weights_file(fill: &[u8], other: Option<(&str, Dtype, &[usize])>) -> Vec<u8> {
    let mut views = Vec::new();
    for (layer, outputs, inputs) in [("layer1", 64, 64), ("layer2", 32, 64), ("layer3", 10, 32)] {
        for (part, shape) in [("weight", &[outputs, inputs][..]), ("bias", &[outputs])] {
            let name = format!("{layer}.{part}");
            let (dtype, shape) = match other {
                Some((at, dtype, shape)) if at == name => (dtype, shape),
                _ => (Dtype::F32, shape),
            };
            if !shape.is_empty() {
                let n = shape.iter().product::<usize>() * dtype.bitsize() / 8;
                views.push((name, TensorView::new(dtype, shape.to_vec(), &fill[..n]).unwrap()));
            }
        }
    }
    serialize(views, None).unwrap()
}

#[test]
fn wrong_weights_are_named() {
    let mut fill = vec![0u8; 4 * 64 * 64];
    let said = |other| Weights::from_bytes(&weights_file(&fill, Some(other))).unwrap_err().to_string();
    assert!(Weights::from_bytes(&weights_file(&fill, None)).is_ok());
    let missing =
        r#"no tensor "layer2.bias", found ["layer1.bias", "layer1.weight", "layer2.weight", "layer3."#;
    assert!(said(("layer2.bias", Dtype::F32, &[])).starts_with(missing));
    assert_eq!(
        said(("layer2.weight", Dtype::F32, &[64, 32])),
        r#"tensor "layer2.weight": found shape [64, 32], expected [32, 64]"#
    );
    assert_eq!(
        said(("layer3.bias", Dtype::F64, &[10])),
        r#"tensor "layer3.bias": found dtype F64, expected F32"#
    );
    fill[20..24].copy_from_slice(&f32::INFINITY.to_le_bytes());
    assert_eq!(
        Weights::from_bytes(&weights_file(&fill, None)).unwrap_err().to_string(),
        r#"tensor "layer1.weight": found inf at index 5, expected finite values"#
    );
}
