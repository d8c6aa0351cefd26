//! Names this crate's sources: a compiled plan that other sources kept (`src/plan_cache.rs`) is not used.

#![allow(clippy::print_stdout, reason = "a build script answers cargo on stdout")]

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::{fs, io};

fn main() -> io::Result<()> {
    let mut files = Vec::new();
    // What a saved plan means is also a matter of the kernels, and of what was locked: tract reads the graph.
    for folder in ["src", "../kernels/src"] {
        println!("cargo::rerun-if-changed={folder}");
        collect(folder.as_ref(), &mut files)?;
    }
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    files.push("../../Cargo.lock".into());
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        hasher.write(file.to_string_lossy().as_bytes());
        hasher.write(&fs::read(&file)?);
    }
    println!("cargo::rustc-env=AIMASS_INFERENCE_SOURCES={:016x}", hasher.finish());
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
