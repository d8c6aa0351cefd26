//! What was measured, in words. Pure.

use std::fmt::Write;

use super::Report;
use super::fit::Proposal;

/// The report, a line each.
pub fn lines(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for chain in &report.chains {
        let c = &chain.cost;
        lines.push(format!("chain {} ({})", chain.analyzers.join(", "), chain.models.join(", ")));
        lines.push(format!(
            "    {:.1} ms a frame on one core (prepare {:.1}, infer {:.1}, decode {:.1}; {} frames), {:.0} ms to load",
            c.frame_ms, c.prepare_ms, c.infer_ms, c.decode_ms, c.runs, c.load_ms
        ));
        lines.push(format!(
            "    {} MiB for its models, {} MiB more for each camera",
            c.models_bytes >> 20,
            c.session_bytes >> 20
        ));
        let fit: Vec<String> = chain.fit.iter().map(|(fps, count)| format!("{count} at {fps} fps")).collect();
        let like = chain.cameras.first().map_or("", String::as_str);
        lines.push(format!("    cameras like {like} that fit alone: {}", fit.join(", ")));
    }
    for camera in &report.cameras {
        if let Some(s) = &camera.source {
            lines.push(format!(
                "camera {}: {}x{} ({}), {:.2} cores before the chain",
                camera.id, s.width, s.height, s.description, s.cores
            ));
        }
    }
    let v = &report.verdict;
    for taken in &v.cameras {
        lines.push(format!(
            "share {}: {} fps, chain {:.2} + pictures {:.2} cores, {} MiB",
            taken.id,
            taken.fps,
            taken.chain_cores,
            taken.source_cores,
            taken.memory_bytes >> 20
        ));
    }
    lines.push(format!(
        "sum: chains {:.2} of {:.2} cores, everything {:.2} of {:.2} cores, {} of {} MiB ({:.0} % of the board kept free)",
        v.chain_cores.0,
        v.chain_cores.1,
        v.all_cores.0,
        v.all_cores.1,
        v.memory_bytes.0 >> 20,
        v.memory_bytes.1 >> 20,
        report.headroom * 100.0
    ));
    lines.extend(report.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.extend(report.problems.iter().map(|problem| format!("problem: {problem}")));
    lines.extend(v.reasons.iter().map(|reason| format!("does not fit: {reason}")));
    lines
}

/// What would fit, as lines to paste into the configuration.
pub fn proposal(proposal: &Proposal) -> String {
    let mut text = String::new();
    for (id, fps) in &proposal.fps {
        // Writing to a String cannot fail.
        writeln!(text, "[[camera]]\nid = \"{id}\"\nfps = {fps}").ok();
    }
    for id in &proposal.leave_out {
        writeln!(text, "# leave out the camera \"{id}\": even at its min_fps it does not fit").ok();
    }
    text
}
