//! Runs model files by any backend on command, for comparison with another runtime in one run: `models/build/peer.py`
//! speaks with it. Lines in, lines out:
//!
//! * `load BACKEND FILE [PATH]`: loads an ONNX file, by the kernels of one path if given; answers `ok` and figures
//! * `input FILE`: fills the input from little-endian f32; answers `ok`
//! * `run N`: runs N times; answers the times in milliseconds
//! * `outputs PREFIX`: writes each output as little-endian f32 to `PREFIX.n`; answers their shapes
//! * `profile N`: answers the steps' times as JSON
//!
//! What fails answers `error` and why.
#![allow(clippy::print_stdout, reason = "an example that prints")]
#![allow(clippy::disallowed_methods, reason = "an example keeps no state")]

use std::io::{BufRead, Write};

use aimass_core::runtime::clock::Stopwatch;
use aimass_inference::backend::Session;
use aimass_inference::library::manifest::{ChannelOrder, InputSpec, Layout, Resize};
use aimass_inference::{Backend, Model, onnx};
use aimass_kernels::Kernels;

type Answer = Result<String, Box<dyn std::error::Error>>;

#[derive(Default)]
struct Bench {
    loaded: Option<(Model, Session)>,
}

impl Bench {
    fn answer(&mut self, words: &[&str]) -> Answer {
        match words {
            ["load", backend, file] => self.load(backend, file, Kernels::detect()),
            ["load", backend, file, path] => self.load(backend, file, Kernels::force(path.parse()?)?),
            ["input", file] => {
                let bytes = std::fs::read(file)?;
                let (_, session) = self.loaded.as_mut().ok_or("nothing is loaded")?;
                session.fill(|input| {
                    let values = bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]));
                    input.iter_mut().zip(values).for_each(|(to, from)| *to = from);
                })?;
                Ok("ok".into())
            }
            ["run", count] => {
                let (_, session) = self.loaded.as_mut().ok_or("nothing is loaded")?;
                let mut times = Vec::new();
                for _ in 0..count.parse::<usize>()? {
                    let mut watch = Stopwatch::start();
                    session.run()?;
                    times.push(format!("{:.4}", watch.lap().as_secs_f64() * 1e3));
                }
                Ok(times.join(" "))
            }
            ["outputs", prefix] => {
                let (model, session) = self.loaded.as_ref().ok_or("nothing is loaded")?;
                let mut shapes = Vec::new();
                for (n, info) in model.outputs().iter().enumerate() {
                    let bytes: Vec<u8> = session.output(n).iter().flat_map(|v| v.to_le_bytes()).collect();
                    std::fs::write(format!("{prefix}.{n}"), bytes)?;
                    shapes.push(format!("{:?}", info.shape).replace(' ', ""));
                }
                Ok(shapes.join(" "))
            }
            ["profile", count] => {
                let (_, session) = self.loaded.as_mut().ok_or("nothing is loaded")?;
                Ok(serde_json::to_string(&session.profile(count.parse()?)?)?)
            }
            _ => Err("no such command".into()),
        }
    }

    fn load(&mut self, backend: &str, file: &str, kernels: Kernels) -> Answer {
        self.loaded = None;
        let backend = Backend::ALL.into_iter().find(|b| b.as_str() == backend).ok_or("no such backend")?;
        let bytes = std::fs::read(file)?;
        let spec = input_of(&bytes)?;
        let mut watch = Stopwatch::start();
        let model = Model::load_by(bytes, &spec, backend, kernels)?;
        let session = model.session()?;
        let took = watch.lap().as_secs_f64() * 1e3;
        let figures = serde_json::json!({
            "load_ms": took, "fallbacks": model.fallbacks(), "session_bytes": model.session_bytes(),
            "path": kernels.path().name(),
        });
        self.loaded = Some((model, session));
        Ok(format!("ok {figures}"))
    }
}

/// What the file says of its input.
fn input_of(bytes: &[u8]) -> Result<InputSpec, Box<dyn std::error::Error>> {
    let (name, shape) = onnx::picture_input(&onnx::decode(bytes)?)?;
    Ok(InputSpec {
        name,
        shape,
        layout: Layout::Nchw,
        colour: ChannelOrder::Rgb,
        mean: [0.0; 3],
        std: [1.0; 3],
        resize: Resize::Stretch,
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut bench = Bench::default();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match bench.answer(&words) {
            Ok(answer) => println!("{answer}"),
            Err(error) => println!("error {}", error.to_string().replace('\n', " ")),
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}
